package wire

import (
	"bytes"
	"encoding/binary"
)

// A Purpose says what an AuthStart begins. It is part of the transcript.
type Purpose uint8

// The purposes that an AuthStart can have.
const (
	PurposeLogin    Purpose = 1
	PurposeSession  Purpose = 2
	PurposeRegister Purpose = 3
	PurposeReset    Purpose = 5 // 4 is that of an operation's transcript
)

// A Method is a way to prove, or to set, a credential.
type Method uint8

// The methods. 2 is reserved for OPAQUE.
const (
	MethodNone     Method = 0 // with a session token
	MethodPassword Method = 1 // the client stretches the password
	MethodChecked  Method = 3 // registration with a password that the server judges
	MethodCode     Method = 4 // reset
)

// AuthStart is the payload of M3, and begins every further attempt (PROTOCOL 7.2).
type AuthStart struct {
	Purpose     Purpose
	Method      Method
	Offered     []byte // methods, ascending
	Lifetime    uint32 // seconds, 0 for the server's default
	Name        []byte
	ClientNonce [32]byte
	Token       []byte // or the public id of a code
}

// AppendTo appends the message.
func (m *AuthStart) AppendTo(dst []byte) []byte {
	start := len(dst)
	dst = append(dst, uint8(TypeAuthStart), uint8(m.Purpose), uint8(m.Method))
	dst = appendBytes8(dst, m.Offered)
	dst = binary.BigEndian.AppendUint32(dst, m.Lifetime)
	dst = appendBytes8(dst, m.Name)
	dst = append(dst, m.ClientNonce[:]...)
	dst = appendBytes16(dst, m.Token)
	return pad(dst, start, TypeAuthStart)
}

// ParseAuthStart reads an AuthStart. Offered, Name and Token alias b.
func ParseAuthStart(b []byte) (m AuthStart, err error) {
	c := parse(b, TypeAuthStart)
	m.Purpose, m.Method = Purpose(c.u8()), Method(c.u8())
	m.Offered = c.bytes8(0, MaxMethods)
	m.Lifetime = c.u32()
	m.Name = c.bytes8(0, MaxName)
	c.copy(m.ClientNonce[:])
	m.Token = c.bytes16(0, MaxToken)
	c.check(m.wellFormed())
	return m, c.end(TypeAuthStart)
}

// wellFormed says whether the fields are those of the purpose.
func (m *AuthStart) wellFormed() bool {
	last := byte(MethodNone)
	for _, method := range m.Offered {
		if method <= last {
			return false
		}
		last = method
	}
	named := bytes.IndexByte(m.Offered, uint8(m.Method)) >= 0 && len(m.Name) > 0
	code := len(m.Token) == CodeIDSize
	switch m.Purpose {
	case PurposeLogin:
		return named && m.Method == MethodPassword && len(m.Token) == 0
	case PurposeRegister:
		invited := m.Method == MethodPassword && code
		return named && (m.Method == MethodPassword || m.Method == MethodChecked) && (len(m.Token) == 0 || invited) && m.Lifetime == 0
	case PurposeReset:
		return named && m.Method == MethodCode && code && m.Lifetime == 0
	case PurposeSession:
		return m.Method == MethodNone && len(m.Offered) == 0 && len(m.Name) == 0 && len(m.Token) > 0 && m.Lifetime == 0
	}
	return false
}

// KDF says how a password is stretched: 10 bytes (PROTOCOL 5).
type KDF struct {
	Algorithm uint8  // 1: Argon2id
	Time      uint32 // passes
	MemoryKiB uint32
	Lanes     uint8
}

func (k KDF) appendTo(dst []byte) []byte {
	dst = append(dst, k.Algorithm)
	dst = binary.BigEndian.AppendUint32(dst, k.Time)
	dst = binary.BigEndian.AppendUint32(dst, k.MemoryKiB)
	return append(dst, k.Lanes)
}

func (c *cursor) kdf() KDF {
	return KDF{c.u8(), c.u32(), c.u32(), c.u8()}
}

// Challenge asks for a proof (PROTOCOL 7.3).
type Challenge struct {
	ServerNonce [32]byte
	Salt        [16]byte
	KDF         KDF
	TTL         uint16 // seconds
}

// AppendTo appends the message.
func (m *Challenge) AppendTo(dst []byte) []byte {
	start := len(dst)
	dst = append(dst, uint8(TypeChallenge))
	dst = m.appendFields(dst)
	return pad(dst, start, TypeChallenge)
}

func (m *Challenge) appendFields(dst []byte) []byte {
	dst = append(dst, m.ServerNonce[:]...)
	dst = append(dst, m.Salt[:]...)
	dst = m.KDF.appendTo(dst)
	return binary.BigEndian.AppendUint16(dst, m.TTL)
}

// ParseChallenge reads a Challenge.
func ParseChallenge(b []byte) (m Challenge, err error) {
	c := parse(b, TypeChallenge)
	m.read(&c)
	return m, c.end(TypeChallenge)
}

func (m *Challenge) read(c *cursor) {
	c.copy(m.ServerNonce[:])
	c.copy(m.Salt[:])
	m.KDF, m.TTL = c.kdf(), c.u16()
}

// Proof answers a Challenge (PROTOCOL 7.4).
type Proof struct {
	Proof [64]byte
}

// AppendTo appends the message.
func (m *Proof) AppendTo(dst []byte) []byte {
	start := len(dst)
	dst = append(dst, uint8(TypeProof))
	dst = append(dst, m.Proof[:]...)
	return pad(dst, start, TypeProof)
}

// ParseProof reads a Proof.
func ParseProof(b []byte) (m Proof, err error) {
	c := parse(b, TypeProof)
	c.copy(m.Proof[:])
	return m, c.end(TypeProof)
}

// Welcome says that the connection is logged in (PROTOCOL 7.5).
type Welcome struct {
	Confirm   [32]byte
	AccountID [16]byte
	SessionID [16]byte
	Expires   uint64 // Unix seconds
	Name      []byte
	Token     []byte // empty after a session token
	ResumeKey []byte // 32 bytes, or empty after a session token
}

// AppendTo appends the message.
func (m *Welcome) AppendTo(dst []byte) []byte {
	start := len(dst)
	dst = append(dst, uint8(TypeWelcome))
	dst = append(dst, m.Confirm[:]...)
	dst = append(dst, m.AccountID[:]...)
	dst = append(dst, m.SessionID[:]...)
	dst = binary.BigEndian.AppendUint64(dst, m.Expires)
	dst = appendBytes8(dst, m.Name)
	dst = appendBytes16(dst, m.Token)
	dst = appendBytes8(dst, m.ResumeKey)
	return pad(dst, start, TypeWelcome)
}

// ParseWelcome reads a Welcome. Name, Token and ResumeKey alias b.
func ParseWelcome(b []byte) (m Welcome, err error) {
	c := parse(b, TypeWelcome)
	c.copy(m.Confirm[:])
	c.copy(m.AccountID[:])
	c.copy(m.SessionID[:])
	m.Expires = c.u64()
	m.Name = c.bytes8(1, MaxName)
	m.Token = c.bytes16(0, MaxToken)
	m.ResumeKey = c.bytes8(0, 32)
	c.check(len(m.ResumeKey) == 0 && len(m.Token) == 0 || len(m.ResumeKey) == 32 && len(m.Token) > 0)
	return m, c.end(TypeWelcome)
}

// Denied refuses an attempt before login (PROTOCOL 7.6).
type Denied struct {
	Code       Code
	Rule       uint8  // with CodeNameInvalid and CodePasswordPolicy
	RetryAfter uint32 // seconds
}

// AppendTo appends the message.
func (m *Denied) AppendTo(dst []byte) []byte {
	start := len(dst)
	dst = append(dst, uint8(TypeDenied))
	dst = m.appendFields(dst)
	return pad(dst, start, TypeDenied)
}

func (m *Denied) appendFields(dst []byte) []byte {
	dst = binary.BigEndian.AppendUint16(dst, uint16(m.Code))
	dst = append(dst, m.Rule)
	return binary.BigEndian.AppendUint32(dst, m.RetryAfter)
}

func (m *Denied) read(c *cursor) {
	m.Code, m.Rule, m.RetryAfter = Code(c.u16()), c.u8(), c.u32()
	c.check(m.Code != 0)
	c.check(m.Rule == 0 || m.Code == CodeNameInvalid || m.Code == CodePasswordPolicy)
}

// ParseDenied reads a Denied.
func ParseDenied(b []byte) (m Denied, err error) {
	c := parse(b, TypeDenied)
	m.read(&c)
	return m, c.end(TypeDenied)
}
