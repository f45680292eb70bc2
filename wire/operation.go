package wire

import "encoding/binary"

// OpStart asks for a challenge for one request that needs the password again.
type OpStart struct {
	ID          uint32
	Operation   Type // TypeChangePassword, TypeDeleteAccount or TypeRevokeAll
	ClientNonce [32]byte
}

// AppendTo appends the message.
func (m *OpStart) AppendTo(dst []byte) []byte {
	dst = append(begin(dst, TypeOpStart, m.ID), uint8(m.Operation))
	return append(dst, m.ClientNonce[:]...)
}

// ParseOpStart reads an OpStart.
func ParseOpStart(b []byte) (m OpStart, err error) {
	c, id := request(b, TypeOpStart)
	m.ID, m.Operation = id, Type(c.u8())
	c.check(m.Operation == TypeChangePassword || m.Operation == TypeDeleteAccount || m.Operation == TypeRevokeAll)
	c.copy(m.ClientNonce[:])
	return m, c.end(TypeOpStart)
}

// OpChallenge answers OpStart. The transcript has KDF; a new record is made with NewKDF.
type OpChallenge struct {
	ID          uint32
	ServerNonce [32]byte
	Salt        [16]byte
	KDF, NewKDF KDF
	TTL         uint16 // seconds
	Policy      Policy
}

// AppendTo appends the message.
func (m *OpChallenge) AppendTo(dst []byte) []byte {
	dst = begin(dst, TypeOpChallenge, m.ID)
	dst = append(dst, m.ServerNonce[:]...)
	dst = append(dst, m.Salt[:]...)
	dst = m.NewKDF.appendTo(m.KDF.appendTo(dst))
	dst = binary.BigEndian.AppendUint16(dst, m.TTL)
	return m.Policy.appendTo(dst)
}

// ParseOpChallenge reads an OpChallenge.
func ParseOpChallenge(b []byte) (m OpChallenge, err error) {
	c, id := request(b, TypeOpChallenge)
	m.ID = id
	c.copy(m.ServerNonce[:])
	c.copy(m.Salt[:])
	m.KDF, m.NewKDF, m.TTL, m.Policy = c.kdf(), c.kdf(), c.u16(), c.policy()
	return m, c.end(TypeOpChallenge)
}

// ChangePassword brings a new record, signed by the new key and by the current one.
type ChangePassword struct {
	ID       uint32
	Record   Record
	NewProof [64]byte
	Proof    [64]byte
}

// AppendSigned appends the message up to its first signature: what the op digest is of.
func (m *ChangePassword) AppendSigned(dst []byte) []byte {
	return m.Record.appendTo(begin(dst, TypeChangePassword, m.ID))
}

// AppendTo appends the message.
func (m *ChangePassword) AppendTo(dst []byte) []byte {
	dst = m.AppendSigned(dst)
	dst = append(dst, m.NewProof[:]...)
	return append(dst, m.Proof[:]...)
}

// ParseChangePassword reads a ChangePassword.
func ParseChangePassword(b []byte) (m ChangePassword, err error) {
	c, id := request(b, TypeChangePassword)
	m.ID = id
	m.Record.read(&c)
	c.copy(m.NewProof[:])
	c.copy(m.Proof[:])
	return m, c.end(TypeChangePassword)
}

// PasswordChanged answers ChangePassword with the session that takes the place of the old one.
type PasswordChanged struct {
	ID        uint32
	SessionID [16]byte
	Expires   uint64 // Unix seconds
	Token     []byte
	ResumeKey [32]byte
}

// AppendTo appends the message.
func (m *PasswordChanged) AppendTo(dst []byte) []byte {
	dst = begin(dst, TypePasswordChanged, m.ID)
	dst = append(dst, m.SessionID[:]...)
	dst = binary.BigEndian.AppendUint64(dst, m.Expires)
	dst = appendBytes16(dst, m.Token)
	return appendBytes8(dst, m.ResumeKey[:])
}

// ParsePasswordChanged reads a PasswordChanged. Token aliases b.
func ParsePasswordChanged(b []byte) (m PasswordChanged, err error) {
	c, id := request(b, TypePasswordChanged)
	m.ID = id
	c.copy(m.SessionID[:])
	m.Expires = c.u64()
	m.Token = c.bytes16(1, MaxToken)
	copy(m.ResumeKey[:], c.bytes8(32, 32))
	return m, c.end(TypePasswordChanged)
}

// ProvedOp is an operation with nothing but a proof: DeleteAccount and RevokeAll.
type ProvedOp struct {
	Type  Type
	ID    uint32
	Proof [64]byte
}

// AppendSigned appends the message up to its proof: what the op digest is of.
func (m *ProvedOp) AppendSigned(dst []byte) []byte { return begin(dst, m.Type, m.ID) }

// AppendTo appends the message.
func (m *ProvedOp) AppendTo(dst []byte) []byte { return append(m.AppendSigned(dst), m.Proof[:]...) }

// ParseProvedOp reads an operation of type t that has nothing but a proof.
func ParseProvedOp(b []byte, t Type) (m ProvedOp, err error) {
	c, id := request(b, t)
	m.Type, m.ID = t, id
	c.copy(m.Proof[:])
	return m, c.end(t)
}
