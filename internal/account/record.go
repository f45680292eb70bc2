package account

import (
	"fmt"

	"github.com/authsrv/authsrv/credential"
	"golang.org/x/crypto/cryptobyte"
)

// ID is the random id of an account or of a session.
type ID [16]byte

// Labels of sealed records (STORAGE 3).
const (
	labelName     = "name"
	labelAccount  = "account"
	labelSession  = "session"
	labelThrottle = "throttle"
	labelCode     = "code"
	labelAudit    = "audit"
	labelDevice   = "device"
	labelLink     = "link"
	labelHead     = "head"
)

const flagDisabled = 1 << 0

// accountRecord is one account (STORAGE 3.2). Times are Unix seconds.
type accountRecord struct {
	name             string
	method           uint8
	verifier         Verifier
	generation       uint64 // all sessions of another one are dead
	flags            uint32
	created, changed uint64
}

// Verifier is what is kept of a password (PROTOCOL 5).
type Verifier struct {
	KDF       credential.KDF
	PublicKey [32]byte // A
	ServerKey [32]byte // k_srv
}

func (r *accountRecord) encode() ([]byte, error) {
	b := cryptobyte.NewBuilder(make([]byte, 0, 192))
	addBytes8(b, []byte(r.name))
	b.AddUint8(r.method)
	b.AddBytes(r.verifier.KDF.AppendTo(nil))
	b.AddBytes(r.verifier.PublicKey[:])
	b.AddBytes(r.verifier.ServerKey[:])
	b.AddUint64(r.generation)
	b.AddUint32(r.flags)
	b.AddUint64(r.created)
	b.AddUint64(r.changed)
	return b.Bytes()
}

func (r *accountRecord) decode(record []byte) error {
	s := cryptobyte.String(record)
	var name cryptobyte.String
	v := &r.verifier
	ok := s.ReadUint8LengthPrefixed(&name) && s.ReadUint8(&r.method) &&
		s.ReadUint8(&v.KDF.Algorithm) && s.ReadUint32(&v.KDF.Time) && s.ReadUint32(&v.KDF.MemoryKiB) && s.ReadUint8(&v.KDF.Lanes) &&
		s.CopyBytes(v.PublicKey[:]) && s.CopyBytes(v.ServerKey[:]) &&
		s.ReadUint64(&r.generation) && s.ReadUint32(&r.flags) &&
		s.ReadUint64(&r.created) && s.ReadUint64(&r.changed) && s.Empty()
	if !ok || r.method != credential.MethodPassword {
		return fmt.Errorf("%w: account", ErrDamaged)
	}
	if err := credential.CheckPublicKey(v.PublicKey[:]); err != nil {
		return fmt.Errorf("%w: account: %v", ErrDamaged, err)
	}
	r.name = string(name)
	return nil
}

// sessionRecord is one session (STORAGE 3.2). Times are Unix seconds.
type sessionRecord struct {
	generation                 uint64
	created, lastUsed, expires uint64
	thumbprint                 [32]byte // of the client static
	jti                        ID
	resumeKey                  [32]byte
	address                    string
}

func (r *sessionRecord) encode() ([]byte, error) {
	b := cryptobyte.NewBuilder(make([]byte, 0, 192))
	b.AddUint64(r.generation)
	b.AddUint64(r.created)
	b.AddUint64(r.lastUsed)
	b.AddUint64(r.expires)
	b.AddBytes(r.thumbprint[:])
	b.AddBytes(r.jti[:])
	b.AddBytes(r.resumeKey[:])
	addBytes8(b, []byte(r.address))
	return b.Bytes()
}

func (r *sessionRecord) decode(record []byte) error {
	s := cryptobyte.String(record)
	var address cryptobyte.String
	ok := s.ReadUint64(&r.generation) && s.ReadUint64(&r.created) && s.ReadUint64(&r.lastUsed) && s.ReadUint64(&r.expires) &&
		s.CopyBytes(r.thumbprint[:]) && s.CopyBytes(r.jti[:]) && s.CopyBytes(r.resumeKey[:]) &&
		s.ReadUint8LengthPrefixed(&address) && s.Empty()
	if !ok {
		return fmt.Errorf("%w: session", ErrDamaged)
	}
	r.address = string(address)
	return nil
}

// throttleRecord is the failures of a name or an address (STORAGE 3.2).
type throttleRecord struct {
	failures uint32
	last     uint64 // Unix milliseconds
	row      uint32 // failures since the last success, never forgotten with time; 0 for an address
}

func (r *throttleRecord) encode() ([]byte, error) {
	b := cryptobyte.NewBuilder(make([]byte, 0, 16))
	b.AddUint32(r.failures)
	b.AddUint64(r.last)
	b.AddUint32(r.row)
	return b.Bytes()
}

func (r *throttleRecord) decode(record []byte) error {
	s := cryptobyte.String(record)
	if !s.ReadUint32(&r.failures) || !s.ReadUint64(&r.last) || !s.ReadUint32(&r.row) || !s.Empty() {
		return fmt.Errorf("%w: throttle", ErrDamaged)
	}
	return nil
}

// idRecord is the account id behind a name.
type idRecord struct{ id ID }

func (r *idRecord) encode() ([]byte, error) { return r.id[:], nil }

func (r *idRecord) decode(record []byte) error {
	if len(record) != len(r.id) {
		return fmt.Errorf("%w: name", ErrDamaged)
	}
	r.id = ID(record)
	return nil
}

func addBytes8(b *cryptobyte.Builder, f []byte) {
	b.AddUint8LengthPrefixed(func(c *cryptobyte.Builder) { c.AddBytes(f) })
}
