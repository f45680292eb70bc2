package keyfile

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

const (
	formatName    = "authsrv-keys"
	formatVersion = 2 // of a file with a history; without one it is 1
)

// fault is what is wrong with a file: a line that holds nothing of what is in it.
type fault string

func (f fault) Error() string        { return string(f) }
func (f fault) Is(target error) bool { return target == ErrCorrupt }

// document is the file's JSON, in the order in which it is written.
type document struct {
	Format           string          `json:"format"`
	Version          int             `json:"version"`
	RealmID          hexBytes        `json:"realm_id"`
	Epoch            uint32          `json:"epoch"`
	Identity         hexBytes        `json:"identity"`
	NextIdentity     hexBytes        `json:"next_identity,omitempty"`
	NextIdentityHash hexBytes        `json:"next_identity_hash,omitempty"`
	SaltKey          hexBytes        `json:"salt_key"`
	NameKey          hexBytes        `json:"name_key"`
	AuditKey         hexBytes        `json:"audit_key"`
	CurrentWrapping  uint32          `json:"current_wrapping_key"`
	WrappingKeys     []wrappingEntry `json:"wrapping_keys"`
	CurrentToken     string          `json:"current_token_key"`
	TokenKeys        []tokenEntry    `json:"token_keys"`
	FormerIdentities []formerEntry   `json:"former_identities,omitempty"`
	Rotations        []rotationEntry `json:"rotations,omitempty"`
}

type formerEntry struct {
	PublicKey hexBytes  `json:"public_key"`
	Until     time.Time `json:"until"`
}

type rotationEntry struct {
	Kind string    `json:"kind"`
	Key  string    `json:"key"`
	Time time.Time `json:"time"`
}

type wrappingEntry struct {
	ID      uint32    `json:"id"`
	Key     hexBytes  `json:"key"`
	Created time.Time `json:"created"`
}

type tokenEntry struct {
	ID      string    `json:"id"`
	Seed    hexBytes  `json:"seed"`
	Created time.Time `json:"created"`
}

// hexBytes are bytes as lower-case hex.
type hexBytes []byte

func (h hexBytes) MarshalText() ([]byte, error) { return hex.AppendEncode(nil, h), nil }

func (h *hexBytes) UnmarshalText(text []byte) error {
	b, err := hex.AppendDecode(nil, text)
	if err != nil {
		return fault("a key is not hex")
	}
	*h = b
	return nil
}

// into copies h to dst; an absent value leaves dst zero.
func (h hexBytes) into(dst []byte) bool {
	return len(h) == 0 || len(h) == len(dst) && copy(dst, h) == len(dst)
}

// optional is nil, which omits the field, for a key that is all zeros.
func optional[T Secret | [32]byte](key T) hexBytes {
	if key == (T{}) {
		return nil
	}
	return append(hexBytes(nil), key[:]...)
}

// encode returns the file's plaintext, if k may be written at all.
func encode(k *Keys) ([]byte, error) {
	if err := k.check(); err != nil {
		return nil, err
	}
	d := document{
		Format: formatName, Version: 1,
		RealmID: k.RealmID[:], Epoch: k.Epoch,
		Identity: k.Identity[:], NextIdentity: optional(k.NextIdentity), NextIdentityHash: optional(k.NextIdentityHash),
		SaltKey: k.SaltKey[:], NameKey: k.NameKey[:], AuditKey: k.AuditKey[:],
		CurrentWrapping: k.CurrentWrapping, CurrentToken: k.CurrentToken,
	}
	for i, w := range k.WrappingKeys {
		d.WrappingKeys = append(d.WrappingKeys, wrappingEntry{w.ID, k.WrappingKeys[i].Key[:], w.Created.UTC().Truncate(time.Second)})
	}
	for i, t := range k.TokenKeys {
		d.TokenKeys = append(d.TokenKeys, tokenEntry{t.ID, k.TokenKeys[i].Seed[:], t.Created.UTC().Truncate(time.Second)})
	}
	for i, f := range k.FormerIdentities {
		d.FormerIdentities = append(d.FormerIdentities, formerEntry{k.FormerIdentities[i].PublicKey[:], f.Until.UTC().Truncate(time.Second)})
	}
	for _, r := range k.Rotations {
		d.Rotations = append(d.Rotations, rotationEntry{r.Kind, r.Key, r.Time.UTC().Truncate(time.Second)})
	}
	if len(d.FormerIdentities)+len(d.Rotations) > 0 {
		d.Version = formatVersion
	}
	text, err := json.MarshalIndent(d, "", "  ")
	if err != nil {
		return nil, fault("a time of creation cannot be written") // the one value here that JSON can refuse
	}
	return append(text, '\n'), nil
}

// decode reads what encode writes, and nothing else but other white space.
func decode(text []byte) (*Keys, error) {
	var head struct {
		Format  string `json:"format"`
		Version int    `json:"version"`
	}
	if err := json.Unmarshal(text, &head); err != nil {
		return nil, jsonFault(err)
	}
	if head.Format != formatName {
		return nil, fault("it is not a key file")
	}
	if head.Version > formatVersion {
		return nil, ErrNewer
	}
	var d document
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&d); err != nil {
		return nil, jsonFault(err)
	}
	k, err := d.keys()
	if err != nil {
		return nil, err
	}
	// There is one way to write a value: what encoding/json lets pass (a field twice, or in other letters; a
	// time in another zone; hex in capitals) is not what was written.
	again, err := encode(k)
	if err != nil {
		return nil, err
	}
	var want, have bytes.Buffer
	if json.Compact(&want, again) != nil || json.Compact(&have, text) != nil || !bytes.Equal(want.Bytes(), have.Bytes()) {
		return nil, fault("it is not in the form that is written: a field is there twice, missing or out of order")
	}
	return k, nil
}

func (d *document) keys() (*Keys, error) {
	k := &Keys{Epoch: d.Epoch, CurrentWrapping: d.CurrentWrapping, CurrentToken: d.CurrentToken}
	for _, f := range []struct {
		name string
		from hexBytes
		to   []byte
	}{
		{"realm_id", d.RealmID, k.RealmID[:]},
		{"identity", d.Identity, k.Identity[:]},
		{"next_identity", d.NextIdentity, k.NextIdentity[:]},
		{"next_identity_hash", d.NextIdentityHash, k.NextIdentityHash[:]},
		{"salt_key", d.SaltKey, k.SaltKey[:]},
		{"name_key", d.NameKey, k.NameKey[:]},
		{"audit_key", d.AuditKey, k.AuditKey[:]},
	} {
		if !f.from.into(f.to) {
			return nil, fault(f.name + " has the wrong length")
		}
	}
	for i, e := range d.WrappingKeys {
		w := WrappingKey{ID: e.ID, Created: e.Created.UTC()}
		if !e.Key.into(w.Key[:]) {
			return nil, fault(fmt.Sprintf("wrapping key %d of the list has the wrong length", i+1))
		}
		k.WrappingKeys = append(k.WrappingKeys, w)
	}
	for i, e := range d.TokenKeys {
		t := TokenKey{ID: e.ID, Created: e.Created.UTC()}
		if !e.Seed.into(t.Seed[:]) {
			return nil, fault(fmt.Sprintf("token key %d of the list has the wrong length", i+1))
		}
		k.TokenKeys = append(k.TokenKeys, t)
	}
	for i, e := range d.FormerIdentities {
		f := FormerIdentity{Until: e.Until.UTC()}
		if !e.PublicKey.into(f.PublicKey[:]) {
			return nil, fault(fmt.Sprintf("former identity %d of the list has the wrong length", i+1))
		}
		k.FormerIdentities = append(k.FormerIdentities, f)
	}
	for _, e := range d.Rotations {
		k.Rotations = append(k.Rotations, Rotation{e.Kind, e.Key, e.Time.UTC()})
	}
	return k, nil
}

// jsonFault says where JSON is wrong. The errors of encoding/json are not passed on: they quote the text.
func jsonFault(err error) error {
	var syntax *json.SyntaxError
	var kind *json.UnmarshalTypeError
	var ours fault
	switch {
	case errors.As(err, &ours):
		return ours
	case errors.As(err, &syntax):
		return fault(fmt.Sprintf("it is not JSON at byte %d, or is cut short", syntax.Offset))
	case errors.As(err, &kind):
		return fault(fmt.Sprintf("a value at byte %d is of the wrong kind", kind.Offset))
	}
	return fault("it has a field or a value that does not belong there")
}
