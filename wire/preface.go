package wire

import "encoding/binary"

// What this implementation speaks (PROTOCOL 2).
const (
	Version = 1 // of the protocol
	Suite   = 1 // Noise_XX_25519_ChaChaPoly_SHA256
)

// PrefaceSize is the length of the preface in bytes.
const PrefaceSize = 8

var magic = [4]byte{'a', 'u', 't', 'h'}

// A Preface is what a client sends first, in clear: magic 4, version 1, suite 1, flags 2.
type Preface struct {
	Version, Suite uint8
	Flags          uint16
}

// Bytes returns the encoding, which is also the prologue of the Noise handshake.
func (p Preface) Bytes() [PrefaceSize]byte {
	b := [PrefaceSize]byte{magic[0], magic[1], magic[2], magic[3], p.Version, p.Suite}
	binary.BigEndian.PutUint16(b[6:], p.Flags)
	return b
}

// ParsePreface reads a preface of any version. Another magic is ErrMalformed.
func ParsePreface(b [PrefaceSize]byte) (Preface, error) {
	if [4]byte(b[:4]) != magic {
		return Preface{}, ErrMalformed
	}
	return Preface{b[4], b[5], binary.BigEndian.Uint16(b[6:])}, nil
}

// RefusalSize is the length in bytes of a Refusal, which no M2 has.
const RefusalSize = 8

// A Refusal is the one frame in clear that a server may send, in the place of M2:
// magic 4, highest version 1, highest suite 1, code 2. Nobody vouches for it.
type Refusal struct {
	Version, Suite uint8
	Code           Code // CodeVersion or CodeOverloaded
}

// AppendTo appends the body of the frame.
func (m Refusal) AppendTo(dst []byte) []byte {
	dst = append(dst, magic[:]...)
	dst = append(dst, m.Version, m.Suite)
	return binary.BigEndian.AppendUint16(dst, uint16(m.Code))
}

// ParseRefusal reads the body of a frame as a refusal.
func ParseRefusal(b []byte) (m Refusal, err error) {
	if len(b) != RefusalSize || [4]byte(b[:4]) != magic {
		return m, ErrMalformed
	}
	m = Refusal{b[4], b[5], Code(binary.BigEndian.Uint16(b[6:]))}
	if m.Code != CodeVersion && m.Code != CodeOverloaded {
		return m, ErrMalformed
	}
	return m, nil
}
