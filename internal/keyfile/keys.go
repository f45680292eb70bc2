package keyfile

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"log/slog"
	"time"
)

// Secret is 32 bytes of key material. It is assignable to and from [32]byte; neither fmt nor slog nor json prints it.
type Secret [32]byte

const masked = "[secret]"

// Format writes "[secret]", whatever the verb.
func (Secret) Format(s fmt.State, _ rune) { _, _ = io.WriteString(s, masked) }

// LogValue returns "[secret]".
func (Secret) LogValue() slog.Value { return slog.StringValue(masked) }

// MarshalText returns "[secret]": a key leaves this package through Create and Save alone.
func (Secret) MarshalText() ([]byte, error) { return []byte(masked), nil }

// WrappingKey seals records. Its ID stands in each record that it sealed.
type WrappingKey struct {
	ID      uint32 // from 1
	Key     Secret
	Created time.Time // whole seconds
}

// TokenKey signs tokens. Its ID is their "kid".
type TokenKey struct {
	ID      string // 1 to 64 of A-Z a-z 0-9 - _
	Seed    Secret // Ed25519
	Created time.Time
}

// Keys are the secrets of one server, or of all nodes of one installation.
type Keys struct {
	RealmID [16]byte
	Epoch   uint32 // revocation epoch of the realm's certificates, from 1

	Identity         Secret   // Ed25519 seed
	NextIdentity     Secret   // Ed25519 seed of the successor; zero where it is kept offline
	NextIdentityHash [32]byte // SHA-256 of the successor's public key; zero: no successor

	SaltKey  Secret // salts of names (PROTOCOL 5, K_salt). It never changes: every password depends on it
	NameKey  Secret // names in database keys
	AuditKey Secret // MAC of the audit chain

	WrappingKeys    []WrappingKey // by ascending ID
	CurrentWrapping uint32        // the ID that seals new records
	TokenKeys       []TokenKey    // each ID once
	CurrentToken    string        // the ID that signs new tokens; the keys behind one in the list were made after it

	FormerIdentities []FormerIdentity // oldest first
	Rotations        []Rotation       // oldest first
}

// Generate makes the keys of a new server out of random bytes. Everything is in them, the next identity included.
func Generate(random io.Reader, now time.Time) (*Keys, error) {
	now = now.UTC().Truncate(time.Second)
	k := &Keys{Epoch: 1}
	var wrapping, token Secret
	var tokenID [8]byte
	for _, b := range [][]byte{
		k.RealmID[:], k.Identity[:], k.NextIdentity[:], k.SaltKey[:], k.NameKey[:], k.AuditKey[:],
		wrapping[:], token[:], tokenID[:],
	} {
		if _, err := io.ReadFull(random, b); err != nil {
			return nil, fmt.Errorf("keyfile: no random bytes: %w", err)
		}
	}
	k.NextIdentityHash = publicHash(k.NextIdentity)
	k.CurrentWrapping, k.CurrentToken = 1, hex.EncodeToString(tokenID[:])
	k.WrappingKeys = []WrappingKey{{ID: k.CurrentWrapping, Key: wrapping, Created: now}}
	k.TokenKeys = []TokenKey{{ID: k.CurrentToken, Seed: token, Created: now}}
	if err := k.check(); err != nil {
		return nil, fmt.Errorf("keyfile: the random bytes are not random: %w", err)
	}
	return k, nil
}

// publicHash is the commitment to a successor: SHA-256 of its Ed25519 public key (PROTOCOL 4).
func publicHash(seed Secret) [32]byte {
	public := publicOf(seed)
	return sha256.Sum256(public[:])
}

// check says in one line, without key material, what is wrong with k.
func (k *Keys) check() error {
	if k.RealmID == ([16]byte{}) {
		return fault("realm_id is missing or zero")
	}
	if k.Epoch == 0 {
		return fault("epoch is missing or zero")
	}
	for _, f := range []struct {
		name string
		key  Secret
	}{{"identity", k.Identity}, {"salt_key", k.SaltKey}, {"name_key", k.NameKey}, {"audit_key", k.AuditKey}} {
		if f.key == (Secret{}) {
			return fault(f.name + " is missing or zero")
		}
	}
	if k.NextIdentity != (Secret{}) && publicHash(k.NextIdentity) != k.NextIdentityHash {
		return fault("next_identity_hash is not that of next_identity")
	}
	if publicHash(k.Identity) == k.NextIdentityHash {
		return fault("the next identity is the identity")
	}
	if err := k.checkWrapping(); err != nil {
		return err
	}
	if err := k.checkTokens(); err != nil {
		return err
	}
	return k.checkHistory()
}

func (k *Keys) checkWrapping() error {
	current, last := false, uint32(0)
	for i, w := range k.WrappingKeys {
		switch {
		case w.ID == 0:
			return fault(fmt.Sprintf("wrapping key %d of the list has no id", i+1))
		case w.ID <= last:
			return fault(fmt.Sprintf("wrapping key id %d is there twice or out of order", w.ID))
		case w.Key == (Secret{}):
			return fault(fmt.Sprintf("wrapping key %d is missing or zero", w.ID))
		case w.Created.IsZero():
			return fault(fmt.Sprintf("wrapping key %d has no time of creation", w.ID))
		}
		last = w.ID
		current = current || w.ID == k.CurrentWrapping
	}
	if !current {
		return fault("the current wrapping key is not in the list")
	}
	return nil
}

func (k *Keys) checkTokens() error {
	seen := make(map[string]bool, len(k.TokenKeys))
	for i, t := range k.TokenKeys {
		// A key's id is not shown: in a damaged file it could be anything.
		switch {
		case !validTokenID(t.ID):
			return fault(fmt.Sprintf("token key %d of the list has no valid id", i+1))
		case seen[t.ID]:
			return fault(fmt.Sprintf("token key %d of the list has the id of another", i+1))
		case t.Seed == (Secret{}):
			return fault(fmt.Sprintf("token key %d of the list is missing or zero", i+1))
		case t.Created.IsZero():
			return fault(fmt.Sprintf("token key %d of the list has no time of creation", i+1))
		}
		seen[t.ID] = true
	}
	if !seen[k.CurrentToken] {
		return fault("the current token key is not in the list")
	}
	return nil
}

func validTokenID(id string) bool {
	for i := range len(id) {
		switch c := id[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '_':
		default:
			return false
		}
	}
	return 1 <= len(id) && len(id) <= 64
}
