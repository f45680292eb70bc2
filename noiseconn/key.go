package noiseconn

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"

	"github.com/cloudflare/circl/dh/x25519"
)

// A StaticKey is an X25519 key pair: a server's node key, or a client's device key. Neither fmt nor slog nor json prints it.
type StaticKey struct {
	Private, Public [32]byte
}

const masked = "[secret]"

// Format writes "[secret]", whatever the verb.
func (StaticKey) Format(s fmt.State, _ rune) { _, _ = io.WriteString(s, masked) }

// LogValue returns "[secret]".
func (StaticKey) LogValue() slog.Value { return slog.StringValue(masked) }

// MarshalText returns "[secret]".
func (StaticKey) MarshalText() ([]byte, error) { return []byte(masked), nil }

// NewStaticKey makes a key pair of 32 bytes of random, which may be nil for crypto/rand.Reader.
func NewStaticKey(random io.Reader) (StaticKey, error) {
	if random == nil {
		random = rand.Reader
	}
	var private [32]byte
	if _, err := io.ReadFull(random, private[:]); err != nil {
		return StaticKey{}, err
	}
	return StaticFromPrivate(private), nil
}

// StaticFromPrivate returns the key pair of a private key. Any 32 bytes are one.
func StaticFromPrivate(private [32]byte) StaticKey {
	secret := x25519.Key(private)
	var public x25519.Key
	x25519.KeyGen(&public, &secret)
	return StaticKey{Private: private, Public: public}
}

const fingerprintPrefix = "SHA256:"

// Fingerprint returns what a person compares of an identity's public key: 50 characters (PROTOCOL 4).
func Fingerprint(identity [32]byte) string {
	sum := sha256.Sum256(identity[:])
	return fingerprintPrefix + base64.RawStdEncoding.EncodeToString(sum[:])
}

var errFingerprint = errors.New(`a fingerprint is "SHA256:" and 43 characters of unpadded base64`)

// CheckFingerprint says whether s is the fingerprint of anything. Its error is a message for people.
func CheckFingerprint(s string) error {
	digest, ok := strings.CutPrefix(s, fingerprintPrefix)
	sum, err := base64.RawStdEncoding.Strict().DecodeString(digest)
	if !ok || err != nil || len(sum) != sha256.Size || len(digest) != base64.RawStdEncoding.EncodedLen(sha256.Size) {
		return errFingerprint
	}
	return nil
}
