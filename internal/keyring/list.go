package keyring

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"strconv"
	"time"

	"github.com/authsrv/authsrv/internal/keyfile"
)

// States of a key.
const (
	Current = "current"
	Kept    = "kept"   // it is needed until what it was used for is over
	Next    = "next"   // the identity that will come
	Former  = "former" // an identity that was
	Fixed   = "fixed"  // it is never rotated
)

// Entry is a key in a list. There is nothing secret in it.
type Entry struct {
	Kind     string    `json:"kind"`
	ID       string    `json:"id"` // of an identity its fingerprint
	State    string    `json:"state"`
	Since    time.Time `json:"since,omitzero"` // unknown of what is as old as the server, but for its first token and wrapping keys
	Until    time.Time `json:"until,omitzero"` // former: it was; kept: it is, at the most
	Sessions *int      `json:"sessions,omitempty"`
	Records  *int      `json:"records,omitempty"`
	Offline  bool      `json:"offline,omitzero"` // next: it is not in the key file
}

func hashText(hash [32]byte) string {
	return "SHA256:" + base64.RawStdEncoding.EncodeToString(hash[:])
}

// fingerprint is that of PROTOCOL 4.
func fingerprint(public [32]byte) string { return hashText(sha256.Sum256(public[:])) }

// FormerIdentity says whether a public key was the server's identity at a time.
func (r *Ring) FormerIdentity(public ed25519.PublicKey, at time.Time) bool {
	for _, f := range r.Keys().FormerIdentities {
		if ed25519.PublicKey(f.PublicKey[:]).Equal(public) && !at.After(f.Until) {
			return true
		}
	}
	return false
}

// since is when a kind was rotated last, or the zero time.
func since(k *keyfile.Keys, kind string) time.Time {
	last, _ := k.Last(kind)
	return last.Time
}

// List returns the keys, kind by kind. It looks at every session and every record where there is more than one key for them.
func (r *Ring) List(ctx context.Context) ([]Entry, error) {
	k := r.Keys()
	list := []Entry{{Kind: keyfile.KindIdentity, ID: fingerprint(k.PublicKey()), State: Current, Since: since(k, keyfile.KindIdentity)}}
	if k.NextIdentityHash != ([32]byte{}) {
		list = append(list, Entry{Kind: keyfile.KindIdentity, ID: hashText(k.NextIdentityHash), State: Next, Offline: k.NextIdentity == keyfile.Secret{}})
	}
	for _, f := range k.FormerIdentities {
		list = append(list, Entry{Kind: keyfile.KindIdentity, ID: fingerprint(f.PublicKey), State: Former, Until: f.Until})
	}
	list = append(list, Entry{Kind: keyfile.KindEpoch, ID: strconv.FormatUint(uint64(k.Epoch), 10), State: Current, Since: since(k, keyfile.KindEpoch)})
	uses, err := r.tokenUses(ctx)
	if err != nil {
		return nil, err
	}
	for _, t := range k.TokenKeys {
		e := Entry{Kind: keyfile.KindToken, ID: t.ID, State: Current, Since: t.Created}
		for _, u := range uses {
			if u.id != t.ID {
				continue
			}
			e.State, e.Sessions, e.Until = Kept, &u.Sessions, u.least.UTC()
			if u.Last.After(u.least) {
				e.Until = u.Last.UTC()
			}
		}
		list = append(list, e)
	}
	under, err := r.accounts.SealedUnder(ctx)
	if err != nil {
		return nil, err
	}
	for _, w := range k.WrappingKeys {
		n := under[w.ID]
		e := Entry{Kind: keyfile.KindWrapping, ID: strconv.FormatUint(uint64(w.ID), 10), State: Current, Since: w.Created, Records: &n}
		if w.ID != k.CurrentWrapping {
			e.State = Kept
		}
		list = append(list, e)
	}
	for _, kind := range []string{"salt", "names", "audit"} {
		list = append(list, Entry{Kind: kind, State: Fixed})
	}
	return list, nil
}
