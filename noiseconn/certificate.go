package noiseconn

import (
	"crypto/ed25519"
	"errors"
	"fmt"
	"time"

	"github.com/authsrv/authsrv/wire"
)

// Rules for the times of a certificate (PROTOCOL 4).
const (
	MaxCertificateLife = 7 * 24 * time.Hour
	ClockTolerance     = 24 * time.Hour // by which a certificate may lie in the future
)

// Errors of VerifyCertificate.
var (
	ErrCertificate            = errors.New("noiseconn: the server's certificate is not valid")
	ErrCertificateExpired     = errors.New("noiseconn: the server's certificate has expired")
	ErrCertificateNotYetValid = errors.New("noiseconn: the server's certificate is not valid yet")
)

// Certify returns the certificate of a node's static key, signed by the realm's identity. Times count
// in whole seconds. Whether the terms are ones that a client accepts is not its business.
func Certify(identity ed25519.PrivateKey, realm [16]byte, static [32]byte, notBefore, notAfter time.Time, epoch uint32) wire.Certificate {
	c := wire.Certificate{NotBefore: seconds(notBefore), NotAfter: seconds(notAfter), Epoch: epoch}
	c.Signature = [64]byte(ed25519.Sign(identity, c.SignedBytes(nil, realm, static)))
	return c
}

// VerifyCertificate judges the certificate in hello, for the static key that the server proved in the
// handshake. Now is the latest of the client's clock, the time when it was built, and the last server time
// that it confirmed. The error is ErrCertificate where the identity did not sign or the terms are ones that
// no client accepts, and otherwise ErrCertificateExpired or ErrCertificateNotYetValid.
//
// Whether the identity is the one that was pinned, and the epoch not below the highest seen, is for the
// caller to judge.
func VerifyCertificate(hello *wire.ServerHello, static [32]byte, now time.Time) error {
	c := &hello.Certificate
	signed := c.SignedBytes(nil, hello.RealmID, static)
	at, life := seconds(now), uint64(MaxCertificateLife/time.Second)
	switch {
	case !ed25519.Verify(hello.Identity[:], signed, c.Signature[:]):
		return fmt.Errorf("%w: its signature is wrong", ErrCertificate)
	case c.Epoch == 0:
		return fmt.Errorf("%w: its epoch is 0", ErrCertificate)
	case c.NotAfter <= c.NotBefore || c.NotAfter-c.NotBefore > life:
		return fmt.Errorf("%w: its lifetime is not one of 1 second to 7 days", ErrCertificate)
	case c.NotAfter < at:
		return ErrCertificateExpired
	case c.NotBefore > at+uint64(ClockTolerance/time.Second):
		return ErrCertificateNotYetValid
	}
	return nil
}

// seconds returns t in Unix seconds, and 0 for what is before 1970.
func seconds(t time.Time) uint64 { return uint64(max(t.Unix(), 0)) }
