package credential

import (
	"crypto/ed25519"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"fmt"
	"io"

	"golang.org/x/crypto/argon2"
)

// stretchedSize is the size of K and of the keys derived from it in bytes.
const stretchedSize = 32

// Salt is the salt that a server hands out for a name, prepared: the same one at every time, whether an account
// has the name or not. The key is the server's own secret (PROTOCOL 5).
func Salt(key [32]byte, realmID [16]byte, name string) [16]byte {
	var space [128]byte
	message := appendPrefixed(space[:0], realmID[:])
	message = appendPrefixed(message, name)
	mac := hmac.New(sha256.New, key[:])
	mac.Write(message)
	var sum [32]byte
	mac.Sum(sum[:0])
	return [16]byte(sum[:16])
}

// Key is what a password stretches to: the key that proves it, and the key by which the server confirms that
// it knows the account. It is for one account, salt and KDF, and nobody stores or prints it.
type Key struct {
	private   ed25519.PrivateKey
	public    [32]byte
	serverKey [32]byte
}

// Format writes "[secret]", whatever the verb.
func (Key) Format(s fmt.State, _ rune) { _, _ = io.WriteString(s, "[secret]") }

// Derive stretches a password, as the client does for every login. Password and name are prepared. It takes
// tenths of a second and all the memory of the KDF, which must pass [KDF.Check]. It does not keep the password.
func Derive(password []byte, realmID [16]byte, name string, salt [16]byte, kdf KDF) (*Key, error) {
	if err := kdf.Check(); err != nil {
		return nil, err
	}
	stretched := stretch(password, kdfSalt(realmID, name, salt), kdf)
	defer clear(stretched)
	return newKey(stretched)
}

// kdfSalt is S: it binds what is stretched to the realm and the name, whatever salt a server sends.
func kdfSalt(realmID [16]byte, name string, salt [16]byte) [32]byte {
	var space [256]byte
	b := appendPrefixed(space[:0], "authsrv v1 kdf-salt")
	b = appendPrefixed(b, realmID[:])
	b = appendPrefixed(b, name)
	b = appendPrefixed(b, salt[:])
	return sha256.Sum256(b)
}

// stretch is K.
func stretch(password []byte, s [32]byte, kdf KDF) []byte {
	return argon2.IDKey(password, s[:], kdf.Time, kdf.MemoryKiB, kdf.Lanes, stretchedSize)
}

// newKey is the key of K.
func newKey(stretched []byte) (*Key, error) {
	return expandKey(stretched, "authsrv v1 client-auth ed25519 seed", "authsrv v1 server-confirm key")
}

// expandKey makes a key of K or of a code's PRK, which have labels of their own.
func expandKey(prk []byte, seedLabel, serverLabel string) (*Key, error) {
	seed, err := hkdf.Expand(sha256.New, prk, seedLabel, ed25519.SeedSize)
	if err != nil {
		return nil, err
	}
	defer clear(seed)
	serverKey, err := hkdf.Expand(sha256.New, prk, serverLabel, stretchedSize)
	if err != nil {
		return nil, err
	}
	defer clear(serverKey)
	private := ed25519.NewKeyFromSeed(seed)
	return &Key{
		private:   private,
		public:    [32]byte(private[ed25519.SeedSize:]),
		serverKey: [32]byte(serverKey),
	}, nil
}

// Public is A, the public key that a server stores.
func (k *Key) Public() [32]byte { return k.public }

// ServerKey is k_srv, which a server stores and a client must not.
func (k *Key) ServerKey() [32]byte { return k.serverKey }

// Prove is the proof of the password for a transcript.
func (k *Key) Prove(transcript [32]byte) [64]byte {
	return k.sign(labelProof, transcript)
}

// ProveNew is the proof that a key to be enrolled is held, for a transcript.
func (k *Key) ProveNew(transcript [32]byte) [64]byte {
	return k.sign(labelNewKeyProof, transcript)
}

// ProveCode is the proof of a code, whose key k is, for a transcript.
func (k *Key) ProveCode(transcript [32]byte) [64]byte {
	return k.sign(labelCodeProof, transcript)
}

func (k *Key) sign(label string, transcript [32]byte) [64]byte {
	var space [signedSpace]byte
	return [64]byte(ed25519.Sign(k.private, appendSigned(space[:0], label, transcript)))
}

// Confirm is what a server that knows the account, or the code, answers to a proof.
func (k *Key) Confirm(transcript [32]byte, proof [64]byte) [32]byte {
	return Confirm(k.serverKey, transcript, proof)
}

// VerifyConfirm reports, in constant time, whether got is the confirmation of a proof.
func (k *Key) VerifyConfirm(transcript [32]byte, proof [64]byte, got [32]byte) bool {
	return VerifyConfirm(k.serverKey, transcript, proof, got)
}

// Destroy clears the key, which must not be used afterwards. It is a best effort: the runtime, and the standard
// library's cache of private keys, can hold copies until they are collected.
func (k *Key) Destroy() {
	clear(k.private)
	clear(k.serverKey[:])
	k.private = nil
}
