package wire

import "encoding/binary"

// Policy is what a server asks of a password: 6 bytes (PROTOCOL 7.7).
type Policy struct {
	Kind                 uint8
	MinLength, MaxLength uint16 // bytes
	MinScore             uint8  // zxcvbn
}

func (p Policy) appendTo(dst []byte) []byte {
	dst = append(dst, p.Kind)
	dst = binary.BigEndian.AppendUint16(dst, p.MinLength)
	dst = binary.BigEndian.AppendUint16(dst, p.MaxLength)
	return append(dst, p.MinScore)
}

func (c *cursor) policy() Policy {
	p := Policy{c.u8(), c.u16(), c.u16(), c.u8()}
	c.check(1 <= p.Kind && p.Kind <= 3)
	c.check(8 <= p.MinLength && p.MinLength <= p.MaxLength && p.MaxLength <= MaxPassword)
	c.check(p.MinScore <= 4 && (p.Kind == 1 || p.MinScore == 0))
	return p
}

// RegisterParams is what a new record is made with (PROTOCOL 7.7).
type RegisterParams struct {
	Challenge
	Policy Policy
}

// AppendTo appends the message.
func (m *RegisterParams) AppendTo(dst []byte) []byte {
	start := len(dst)
	dst = append(dst, uint8(TypeRegisterParams))
	dst = m.Challenge.appendFields(dst)
	dst = m.Policy.appendTo(dst)
	return pad(dst, start, TypeRegisterParams)
}

// ParseRegisterParams reads a RegisterParams.
func ParseRegisterParams(b []byte) (m RegisterParams, err error) {
	c := parse(b, TypeRegisterParams)
	m.Challenge.read(&c)
	m.Policy = c.policy()
	return m, c.end(TypeRegisterParams)
}

// Record is what a server keeps of a password: 74 bytes (PROTOCOL 5).
type Record struct {
	KDF       KDF
	PublicKey [32]byte // A
	ServerKey [32]byte // k_srv
}

func (r *Record) appendTo(dst []byte) []byte {
	dst = r.KDF.appendTo(dst)
	dst = append(dst, r.PublicKey[:]...)
	return append(dst, r.ServerKey[:]...)
}

func (r *Record) read(c *cursor) {
	r.KDF = c.kdf()
	c.copy(r.PublicKey[:])
	c.copy(r.ServerKey[:])
}

// RegisterFinish brings the record of a new account (PROTOCOL 7.7).
type RegisterFinish struct {
	Record    Record
	Signature [64]byte // new-key proof
	CodeProof []byte   // 64 bytes, or empty without an invite
}

// AppendSigned appends the message up to its first signature: what the op digest is of.
func (m *RegisterFinish) AppendSigned(dst []byte) []byte {
	return m.Record.appendTo(append(dst, uint8(TypeRegisterFinish)))
}

// AppendTo appends the message.
func (m *RegisterFinish) AppendTo(dst []byte) []byte {
	start := len(dst)
	dst = m.AppendSigned(dst)
	dst = append(dst, m.Signature[:]...)
	dst = appendBytes8(dst, m.CodeProof)
	return pad(dst, start, TypeRegisterFinish)
}

// ParseRegisterFinish reads a RegisterFinish. CodeProof aliases b.
func ParseRegisterFinish(b []byte) (m RegisterFinish, err error) {
	c := parse(b, TypeRegisterFinish)
	m.Record.read(&c)
	c.copy(m.Signature[:])
	m.CodeProof = c.all8(64)
	return m, c.end(TypeRegisterFinish)
}

// RegisterPassword brings a password that the server is to judge (PROTOCOL 7.8).
type RegisterPassword struct {
	Password []byte
}

// AppendTo appends the message.
func (m *RegisterPassword) AppendTo(dst []byte) []byte {
	start := len(dst)
	dst = append(dst, uint8(TypeRegisterPassword))
	dst = appendBytes16(dst, m.Password)
	return pad(dst, start, TypeRegisterPassword)
}

// ParseRegisterPassword reads a RegisterPassword. Password aliases b.
func ParseRegisterPassword(b []byte) (m RegisterPassword, err error) {
	c := parse(b, TypeRegisterPassword)
	m.Password = c.bytes16(1, MaxPassword)
	return m, c.end(TypeRegisterPassword)
}

// Registered says that the account exists (PROTOCOL 7.9).
type Registered struct {
	Confirm []byte // 32 bytes, or empty without an invite
}

// AppendTo appends the message.
func (m Registered) AppendTo(dst []byte) []byte {
	start := len(dst)
	return pad(appendBytes8(append(dst, uint8(TypeRegistered)), m.Confirm), start, TypeRegistered)
}

// ParseRegistered reads a Registered. Confirm aliases b.
func ParseRegistered(b []byte) (m Registered, err error) {
	c := parse(b, TypeRegistered)
	m.Confirm = c.all8(32)
	return m, c.end(TypeRegistered)
}
