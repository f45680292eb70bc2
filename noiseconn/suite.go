package noiseconn

import (
	"crypto/cipher"
	"encoding/binary"
	"errors"
	"io"

	"github.com/cloudflare/circl/dh/x25519"
	"github.com/flynn/noise"
	"golang.org/x/crypto/chacha20poly1305"
)

// ErrLowOrder says that the peer's X25519 key makes every shared secret zero (RFC 7748, section 6.1).
var ErrLowOrder = errors.New("noiseconn: public key of low order")

// suite is 25519_ChaChaPoly_SHA256 (PROTOCOL 3).
var suite = noise.NewCipherSuite(dh25519{}, chachaPoly{}, noise.HashSHA256)

// dh25519 is X25519 as a noise.DHFunc. It is here because the default one derives the public key anew
// at every operation, which makes a handshake almost three times as expensive.
type dh25519 struct{}

func (dh25519) GenerateKeypair(random io.Reader) (noise.DHKey, error) {
	k, err := NewStaticKey(random)
	if err != nil {
		return noise.DHKey{}, err
	}
	return noise.DHKey{Private: k.Private[:], Public: k.Public[:]}, nil
}

func (dh25519) DH(private, public []byte) ([]byte, error) {
	var shared x25519.Key
	secret, point := x25519.Key(private), x25519.Key(public)
	if !x25519.Shared(&shared, &secret, &point) {
		return nil, ErrLowOrder
	}
	return shared[:], nil
}

func (dh25519) DHLen() int     { return x25519.Size }
func (dh25519) DHName() string { return "25519" }

// chachaPoly is ChaCha20-Poly1305 as a noise.CipherFunc. It is here because the default one allocates
// a nonce for every record.
type chachaPoly struct{}

func (chachaPoly) CipherName() string { return "ChaChaPoly" }

func (chachaPoly) Cipher(key [32]byte) noise.Cipher {
	aead, err := chacha20poly1305.New(key[:])
	if err != nil {
		panic(err) // the key has its length
	}
	return &chachaPolyCipher{aead: aead}
}

// chachaPolyCipher is not safe for concurrent use, as the noise.CipherState around it is not.
type chachaPolyCipher struct {
	aead  cipher.AEAD
	nonce [chacha20poly1305.NonceSize]byte // 4 zeros and n, little-endian (Noise, section 12.3)
}

func (c *chachaPolyCipher) Encrypt(out []byte, n uint64, ad, plaintext []byte) []byte {
	binary.LittleEndian.PutUint64(c.nonce[4:], n)
	return c.aead.Seal(out, c.nonce[:], plaintext, ad)
}

func (c *chachaPolyCipher) Decrypt(out []byte, n uint64, ad, ciphertext []byte) ([]byte, error) {
	binary.LittleEndian.PutUint64(c.nonce[4:], n)
	return c.aead.Open(out, c.nonce[:], ciphertext, ad)
}
