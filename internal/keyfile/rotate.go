package keyfile

import (
	"crypto/ed25519"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"time"
)

// The kinds of rotations.
const (
	KindToken    = "token"
	KindWrapping = "wrapping"
	KindIdentity = "identity"
	KindEpoch    = "epoch"
)

// maxHistory is how many rotations, and how many former identities, a file remembers.
const maxHistory = 64

// Rotation is one that has happened.
type Rotation struct {
	Kind string
	Key  string // token: its id; wrapping: its id as a number; identity: the public key in hex; epoch: the number
	Time time.Time
}

// FormerIdentity is a public key that the server was known by.
type FormerIdentity struct {
	PublicKey [32]byte
	Until     time.Time
}

// Errors of a rotation.
var (
	ErrNoSuccessor    = errors.New("the server has committed to no next identity: clients could not follow")
	ErrNextElsewhere  = errors.New("the next identity is kept elsewhere: it is needed for this")
	ErrOtherSuccessor = errors.New("that is not the next identity that the server has committed to")
	ErrLastEpoch      = errors.New("there is no higher epoch")
)

// Clone returns a copy that shares nothing with k.
func (k *Keys) Clone() *Keys {
	c := *k
	c.WrappingKeys, c.TokenKeys = slices.Clone(k.WrappingKeys), slices.Clone(k.TokenKeys)
	c.Rotations, c.FormerIdentities = slices.Clone(k.Rotations), slices.Clone(k.FormerIdentities)
	return &c
}

// PublicKey returns that of the identity.
func (k *Keys) PublicKey() [32]byte { return publicOf(k.Identity) }

func publicOf(seed Secret) [32]byte {
	return [32]byte(ed25519.NewKeyFromSeed(seed[:]).Public().(ed25519.PublicKey))
}

// note remembers a rotation, the latest ones only.
func (k *Keys) note(kind, key string, now time.Time) {
	k.Rotations = append(k.Rotations, Rotation{kind, key, now})
	k.Rotations = k.Rotations[max(0, len(k.Rotations)-maxHistory):]
}

// Last returns the last rotation of a kind, if the file remembers one.
func (k *Keys) Last(kind string) (last Rotation, known bool) {
	for _, r := range slices.Backward(k.Rotations) {
		if r.Kind == kind {
			return r, true
		}
	}
	return last, false
}

func wholeSecond(now time.Time) time.Time { return now.UTC().Truncate(time.Second) }

func newSecret(random io.Reader) (s Secret, err error) {
	if _, err = io.ReadFull(random, s[:]); err != nil {
		err = fmt.Errorf("keyfile: no random bytes: %w", err)
	}
	return s, err
}

// RotateToken adds a key that signs from now on. With only, the others are dropped.
func (k *Keys) RotateToken(random io.Reader, now time.Time, only bool) error {
	now = wholeSecond(now)
	seed, err := newSecret(random)
	if err != nil {
		return err
	}
	var id [8]byte
	if _, err := io.ReadFull(random, id[:]); err != nil {
		return fmt.Errorf("keyfile: no random bytes: %w", err)
	}
	if only {
		k.TokenKeys = nil
	}
	k.CurrentToken = hex.EncodeToString(id[:])
	k.TokenKeys = append(k.TokenKeys, TokenKey{k.CurrentToken, seed, now})
	k.note(KindToken, k.CurrentToken, now)
	return k.check()
}

// RotateWrapping adds a key that seals from now on.
func (k *Keys) RotateWrapping(random io.Reader, now time.Time) error {
	now = wholeSecond(now)
	key, err := newSecret(random)
	if err != nil {
		return err
	}
	last := k.WrappingKeys[len(k.WrappingKeys)-1].ID
	if r, known := k.Last(KindWrapping); known { // no id is used twice
		id, _ := strconv.ParseUint(r.Key, 10, 32)
		last = max(last, uint32(id))
	}
	if last == math.MaxUint32 {
		return errors.New("keyfile: there are no more ids for wrapping keys")
	}
	k.CurrentWrapping = last + 1
	k.WrappingKeys = append(k.WrappingKeys, WrappingKey{k.CurrentWrapping, key, now})
	k.note(KindWrapping, strconv.FormatUint(uint64(k.CurrentWrapping), 10), now)
	return k.check()
}

// RotateIdentity makes the committed successor the identity, and commits to a new one. The successor's seed is zero where it is in the file.
func (k *Keys) RotateIdentity(random io.Reader, now time.Time, successor Secret) error {
	now = wholeSecond(now)
	switch {
	case k.NextIdentityHash == ([32]byte{}):
		return ErrNoSuccessor
	case successor == (Secret{}) && k.NextIdentity == (Secret{}):
		return ErrNextElsewhere
	case successor == (Secret{}):
		successor = k.NextIdentity
	case publicHash(successor) != k.NextIdentityHash:
		return ErrOtherSuccessor
	}
	next, err := newSecret(random)
	if err != nil {
		return err
	}
	k.FormerIdentities = append(k.FormerIdentities, FormerIdentity{publicOf(k.Identity), now})
	k.FormerIdentities = k.FormerIdentities[max(0, len(k.FormerIdentities)-maxHistory):]
	k.Identity, k.NextIdentity, k.NextIdentityHash = successor, next, publicHash(next)
	public := publicOf(k.Identity)
	k.note(KindIdentity, hex.EncodeToString(public[:]), now)
	return k.check()
}

// RaiseEpoch makes all certificates of before revoked, to who has seen a newer one.
func (k *Keys) RaiseEpoch(now time.Time) error {
	if k.Epoch == math.MaxUint32 {
		return ErrLastEpoch
	}
	k.Epoch++
	k.note(KindEpoch, strconv.FormatUint(uint64(k.Epoch), 10), wholeSecond(now))
	return k.check()
}

// checkHistory is the part of check about what has been.
func (k *Keys) checkHistory() error {
	for i, r := range k.Rotations {
		switch r.Kind {
		case KindToken, KindWrapping, KindIdentity, KindEpoch:
		default:
			return fault(fmt.Sprintf("rotation %d of the list is of no kind", i+1))
		}
		if !validTokenID(r.Key) {
			return fault(fmt.Sprintf("rotation %d of the list has no valid key", i+1))
		}
		if r.Time.IsZero() {
			return fault(fmt.Sprintf("rotation %d of the list has no time", i+1))
		}
	}
	for i, f := range k.FormerIdentities {
		if f.PublicKey == ([32]byte{}) {
			return fault(fmt.Sprintf("former identity %d of the list is missing or zero", i+1))
		}
		if f.Until.IsZero() {
			return fault(fmt.Sprintf("former identity %d of the list has no time", i+1))
		}
	}
	return nil
}
