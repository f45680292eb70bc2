package account

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/authsrv/authsrv/kv"
)

// Prefixes of keys (STORAGE 3).
const (
	spaceMeta     = 'm'
	spaceName     = 'n'
	spaceAccount  = 'a'
	spaceSession  = 's'
	spaceThrottle = 't'
	spaceCode     = 'c'
	spaceAudit    = 'u'
	spaceDevice   = 'd'
	spaceLink     = 'l'
	spaceHead     = 'h'
)

// Format is the number of the format of the store that this program writes.
const Format = 1

// Errors of a store that is not this program's or this realm's.
var (
	ErrNewerFormat = errors.New("account: the store was written by a newer version")
	ErrOtherRealm  = errors.New("account: the store belongs to another key file")
)

// store maps records to keys, and seals them.
type store struct {
	engine  kv.Engine
	rand    io.Reader
	secrets Secrets
}

// init writes the record that says whose store it is, or checks it.
func (s *store) init(ctx context.Context) error {
	return kv.Update(ctx, s.engine, func(tx *kv.Tx) error {
		key := []byte{spaceMeta}
		value, ok, err := tx.Get(key)
		if err != nil {
			return err
		}
		if !ok {
			tx.Put(key, append(binary.BigEndian.AppendUint32(nil, Format), s.secrets.RealmID[:]...))
			return nil
		}
		if len(value) < 4 {
			return fmt.Errorf("%w: meta", ErrDamaged)
		}
		if binary.BigEndian.Uint32(value) > Format {
			return ErrNewerFormat
		}
		if binary.BigEndian.Uint32(value) < Format {
			return ErrOlderFormat
		}
		if len(value) != 4+len(s.secrets.RealmID) {
			return fmt.Errorf("%w: meta", ErrDamaged)
		}
		if string(value[4:]) != string(s.secrets.RealmID[:]) {
			return ErrOtherRealm
		}
		return nil
	})
}

func (s *store) nameKey(name string) []byte {
	mac := hmac.New(sha256.New, s.secrets.NameKey[:])
	mac.Write(appendLP(appendLP(nil, "login name"), name))
	return mac.Sum([]byte{spaceName})
}

// madeUpID is the id of a name without an account. Nothing is ever stored of it.
func (s *store) madeUpID(name string) ID {
	mac := hmac.New(sha256.New, s.secrets.NameKey[:])
	mac.Write(appendLP(appendLP(nil, "made-up account"), name))
	return ID(mac.Sum(nil)[:16])
}

func (s *store) throttleKey(kind throttleKind, subject string) []byte {
	mac := hmac.New(sha256.New, s.secrets.NameKey[:])
	mac.Write(appendLP(appendLP(appendLP(nil, "throttle"), []byte{byte(kind)}), subject))
	return mac.Sum([]byte{spaceThrottle, byte(kind)})[:2+16]
}

func accountKey(id ID) []byte { return append([]byte{spaceAccount}, id[:]...) }

func sessionPrefix(account ID) []byte { return append([]byte{spaceSession}, account[:]...) }

func sessionKey(account, session ID) []byte { return append(sessionPrefix(account), session[:]...) }

// record is what a sealed value holds.
type record interface {
	encode() ([]byte, error)
	decode([]byte) error
}

// get reads and opens the record at key, and says whether there is one.
func (s *store) get(tx *kv.Tx, label string, key []byte, r record) (bool, error) {
	sealed, ok, err := tx.Get(key)
	if err != nil || !ok {
		return false, err
	}
	return true, s.decode(label, key, sealed, r)
}

func (s *store) decode(label string, key, sealed []byte, r record) error {
	plain, err := s.open(label, key, sealed)
	if err != nil {
		return err
	}
	return r.decode(plain)
}

// put seals the record and writes it at key.
func (s *store) put(tx *kv.Tx, label string, key []byte, r record) error {
	sealed, err := s.encode(label, key, r)
	if err != nil {
		return err
	}
	tx.Put(key, sealed)
	return nil
}

func (s *store) encode(label string, key []byte, r record) ([]byte, error) {
	plain, err := r.encode()
	if err != nil {
		return nil, err
	}
	return s.seal(label, key, plain)
}
