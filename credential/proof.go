package credential

import (
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"slices"

	"filippo.io/edwards25519"
)

// The labels of what is signed or authenticated with a transcript (PROTOCOL 6): no value for one
// use is good for another.
const (
	labelProof         = "authsrv v1 client-proof\x00"
	labelNewKeyProof   = "authsrv v1 new-key-proof\x00"
	labelCodeProof     = "authsrv v1 code-proof\x00"
	labelConfirm       = "authsrv v1 server-confirm\x00"
	labelResumeConfirm = "authsrv v1 resume-confirm\x00"
)

// signedSpace is more than a label with a transcript and a proof needs.
const signedSpace = 128

func appendSigned(dst []byte, label string, transcript [32]byte) []byte {
	dst = append(dst, label...)
	return append(dst, transcript[:]...)
}

// ErrPublicKey is what [CheckPublicKey] returns.
var ErrPublicKey = errors.New("credential: public key is not canonical, or of small order")

// CheckPublicKey refuses a public key under which a signature proves nothing, or that has a second encoding. It is
// held against a key when it is enrolled and when a record is opened (PROTOCOL 5).
//
// Refused are what is not 32 bytes or no point, every encoding that is not the canonical one, and the eight points of
// small order, the identity among them: under those, signatures can be made without a private key.
// A point of the large order with a part of small order added is let pass. Telling it costs as much as a
// verification, and it gains nothing: to sign under it takes the private key of the part of large order.
func CheckPublicKey(a []byte) error {
	if len(a) != 32 || !belowP(a) || slices.Contains(smallOrder[:], yOf(a)) {
		return ErrPublicKey
	}
	if _, err := new(edwards25519.Point).SetBytes(a); err != nil {
		return ErrPublicKey
	}
	return nil
}

// yOf is an encoding without the sign of x, which is all of it but one bit.
func yOf(a []byte) (y [32]byte) {
	copy(y[:], a)
	y[31] &= 0x7f
	return y
}

// belowP says whether y is below p = 2^255 - 19. Then the encoding is the canonical one, but for x = 0 with a sign, whose points
// are of small order.
func belowP(a []byte) bool {
	y := yOf(a)
	return y[31] != 0x7f || y[0] < 0xed || slices.ContainsFunc(y[1:31], func(b byte) bool { return b != 0xff })
}

// smallOrder is every y of the eight points of small order, little-endian: 1, p - 1, 0, and the two of the points of order 8.
var smallOrder = [...][32]byte{
	{1},
	[32]byte([]byte("\xec\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x7f")),
	{},
	[32]byte([]byte("\xc7\x17\x6a\x70\x3d\x4d\xd8\x4f\xba\x3c\x0b\x76\x0d\x10\x67\x0f\x2a\x20\x53\xfa\x2c\x39\xcc\xc6\x4e\xc7\xfd\x77\x92\xac\x03\x7a")),
	[32]byte([]byte("\x26\xe8\x95\x8f\xc2\xb2\x27\xb0\x45\xc3\xf4\x89\xf2\xef\x98\xf0\xd5\xdf\xac\x05\xd3\xc6\x33\x39\xb1\x38\x02\x88\x6d\x53\xfc\x05")),
}

// VerifyProof reports whether proof is that of the password behind a, which has passed [CheckPublicKey].
func VerifyProof(a, transcript [32]byte, proof [64]byte) bool {
	return verify(a, labelProof, transcript, proof)
}

// VerifyNewKey reports whether proof is that of the holder of a, a key to be enrolled, which has passed [CheckPublicKey].
func VerifyNewKey(a, transcript [32]byte, proof [64]byte) bool {
	return verify(a, labelNewKeyProof, transcript, proof)
}

// VerifyCode reports whether proof is that of the code behind c, which has passed [CheckPublicKey].
func VerifyCode(c, transcript [32]byte, proof [64]byte) bool {
	return verify(c, labelCodeProof, transcript, proof)
}

func verify(a [32]byte, label string, transcript [32]byte, proof [64]byte) bool {
	var space [signedSpace]byte
	return verifySignature(a[:], appendSigned(space[:0], label, transcript), proof[:])
}

// verifySignature is plain Ed25519, which takes a key of 32 bytes and a signature of any length.
func verifySignature(a, message, signature []byte) bool {
	return ed25519.Verify(a, message, signature)
}

// Confirm is what a server that holds k_srv answers to a proof. Compare it with [VerifyConfirm].
func Confirm(serverKey, transcript [32]byte, proof [64]byte) [32]byte {
	var space [signedSpace]byte
	return authenticate(serverKey, append(appendSigned(space[:0], labelConfirm, transcript), proof[:]...))
}

// VerifyConfirm reports, in constant time, whether got is the confirmation of a proof.
func VerifyConfirm(serverKey, transcript [32]byte, proof [64]byte, got [32]byte) bool {
	want := Confirm(serverKey, transcript, proof)
	return hmac.Equal(want[:], got[:])
}

// ResumeConfirm is what a server that has the session's resume key answers when it is resumed. Compare it
// with [VerifyResumeConfirm].
func ResumeConfirm(resumeKey, transcript [32]byte) [32]byte {
	var space [signedSpace]byte
	return authenticate(resumeKey, appendSigned(space[:0], labelResumeConfirm, transcript))
}

// VerifyResumeConfirm reports, in constant time, whether got is the confirmation of a resumed session.
func VerifyResumeConfirm(resumeKey, transcript, got [32]byte) bool {
	want := ResumeConfirm(resumeKey, transcript)
	return hmac.Equal(want[:], got[:])
}

func authenticate(key [32]byte, message []byte) (sum [32]byte) {
	mac := hmac.New(sha256.New, key[:])
	mac.Write(message)
	mac.Sum(sum[:0])
	return sum
}
