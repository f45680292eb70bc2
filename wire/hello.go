package wire

import "encoding/binary"

// Lengths of fields, in bytes (PROTOCOL 11).
const (
	MaxName     = 64
	MaxToken    = 800
	MaxPassword = 1024
	MaxMethods  = 8
	CodeIDSize  = 16 // of a code's public id
)

// NodeContext begins what an identity signs in a Certificate (PROTOCOL 4).
const NodeContext = "authsrv v1 node-certificate\x00"

// A Certificate binds a node's X25519 static key to the realm's identity. Neither key stands in it.
type Certificate struct {
	NotBefore, NotAfter uint64 // Unix seconds
	Epoch               uint32
	Signature           [64]byte
}

// SignedBytes appends what the identity signs for a node's static key.
func (c *Certificate) SignedBytes(dst []byte, realmID [16]byte, static [32]byte) []byte {
	dst = append(dst, NodeContext...)
	dst = append(dst, realmID[:]...)
	dst = append(dst, static[:]...)
	return c.appendTerms(dst)
}

func (c *Certificate) appendTerms(dst []byte) []byte {
	dst = binary.BigEndian.AppendUint64(dst, c.NotBefore)
	dst = binary.BigEndian.AppendUint64(dst, c.NotAfter)
	return binary.BigEndian.AppendUint32(dst, c.Epoch)
}

// Features of a server, as bits of ServerHello.
const (
	FeatureRegister        = 1 << 0 // registration with method 1
	FeatureRegisterChecked = 1 << 1 // registration with method 3
	FeatureRegisterInvited = 1 << 2 // registration with method 1, and an invite only
)

// ServerHello is the payload of M2 (PROTOCOL 7.1).
type ServerHello struct {
	Version, HighestVersion, HighestSuite uint8
	RealmID                               [16]byte
	Identity                              [32]byte
	NextIdentity                          [32]byte // SHA-256, or zeros
	Certificate                           Certificate
	Time                                  uint64 // Unix seconds
	Idle, ConnectionLife, SessionLife     uint32 // seconds
	Features                              uint32
}

// AppendTo appends the message.
func (m *ServerHello) AppendTo(dst []byte) []byte {
	start := len(dst)
	dst = append(dst, uint8(TypeServerHello), m.Version, m.HighestVersion, m.HighestSuite)
	dst = append(dst, m.RealmID[:]...)
	dst = append(dst, m.Identity[:]...)
	dst = append(dst, m.NextIdentity[:]...)
	dst = m.Certificate.appendTerms(dst)
	dst = append(dst, m.Certificate.Signature[:]...)
	dst = binary.BigEndian.AppendUint64(dst, m.Time)
	dst = binary.BigEndian.AppendUint32(dst, m.Idle)
	dst = binary.BigEndian.AppendUint32(dst, m.ConnectionLife)
	dst = binary.BigEndian.AppendUint32(dst, m.SessionLife)
	dst = binary.BigEndian.AppendUint32(dst, m.Features)
	return pad(dst, start, TypeServerHello)
}

// ParseServerHello reads a ServerHello.
func ParseServerHello(b []byte) (m ServerHello, err error) {
	c := parse(b, TypeServerHello)
	m.Version, m.HighestVersion, m.HighestSuite = c.u8(), c.u8(), c.u8()
	c.copy(m.RealmID[:])
	c.copy(m.Identity[:])
	c.copy(m.NextIdentity[:])
	m.Certificate.NotBefore, m.Certificate.NotAfter, m.Certificate.Epoch = c.u64(), c.u64(), c.u32()
	c.copy(m.Certificate.Signature[:])
	m.Time = c.u64()
	m.Idle, m.ConnectionLife, m.SessionLife, m.Features = c.u32(), c.u32(), c.u32(), c.u32()
	return m, c.end(TypeServerHello)
}
