package credential

import (
	"crypto/sha256"
	"encoding/binary"
)

// The purposes of an authentication, as in AuthStart (PROTOCOL 7.2); [PurposeOperation] has no message of
// its own.
const (
	PurposeLogin     = 1
	PurposeSession   = 2
	PurposeRegister  = 3
	PurposeOperation = 4
	PurposeReset     = 5
)

// The methods of an authentication (PROTOCOL 7).
const (
	MethodNone            = 0 // a session's
	MethodPassword        = 1
	MethodCheckedPassword = 3
	MethodCode            = 4
)

// Transcript is everything that a proof and a confirmation speak for, in the order in which it is
// hashed (PROTOCOL 6). What a purpose does not have stays empty: a nil slice, or the zero KDF.
type Transcript struct {
	Preface        [8]byte
	Handshake      [32]byte // h, the Noise handshake hash after M3
	RealmID        [16]byte
	Purpose        uint8
	Options        uint32
	Method         uint8
	OfferedMethods []byte // 0 to 8
	LoginName      string // prepared
	ClientStatic   [32]byte
	ClientNonce    [32]byte
	ServerNonce    []byte // 32 or 0
	Salt           []byte // 16 or 0
	KDF            KDF
	OpDigest       []byte // 32 or 0
	SessionID      []byte // 16 or 0
	AccountID      []byte // 16 or 0
}

// transcriptSpace is more than any transcript needs: 17 fields with 370 bytes between them, their lengths, and the label.
const transcriptSpace = 512

// Sum is T, the hash of the transcript.
func (t *Transcript) Sum() [32]byte {
	var space [transcriptSpace]byte
	var kdf [KDFSize]byte
	b := appendPrefixed(space[:0], "authsrv v1 auth-transcript")
	b = appendPrefixed(b, t.Preface[:])
	b = appendPrefixed(b, t.Handshake[:])
	b = appendPrefixed(b, t.RealmID[:])
	b = append(b, 0, 0, 0, 1, t.Purpose)
	b = append(b, 0, 0, 0, 4)
	b = binary.BigEndian.AppendUint32(b, t.Options)
	b = append(b, 0, 0, 0, 1, t.Method)
	b = appendPrefixed(b, t.OfferedMethods)
	b = appendPrefixed(b, t.LoginName)
	b = appendPrefixed(b, t.ClientStatic[:])
	b = appendPrefixed(b, t.ClientNonce[:])
	b = appendPrefixed(b, t.ServerNonce)
	b = appendPrefixed(b, t.Salt)
	if t.KDF == (KDF{}) {
		b = appendPrefixed(b, "")
	} else {
		b = appendPrefixed(b, t.KDF.AppendTo(kdf[:0]))
	}
	b = appendPrefixed(b, t.OpDigest)
	b = appendPrefixed(b, t.SessionID)
	b = appendPrefixed(b, t.AccountID)
	return sha256.Sum256(b)
}

// appendPrefixed appends lp(field) of PROTOCOL 1.
func appendPrefixed[T string | []byte](dst []byte, field T) []byte {
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(field)))
	return append(dst, field...)
}
