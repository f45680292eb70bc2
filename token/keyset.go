package token

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/json"
)

// algorithm is what the header and the JWKS name. RFC 9864 renames it Ed25519; verifiers in the field know
// this name.
const algorithm = jose.EdDSA

// Key is a key that tokens are signed with. The ID goes into the header of each as kid; it is public, and names
// the key for as long as a token signed with it can live.
type Key struct {
	ID      string
	Private ed25519.PrivateKey
}

// Keyset signs and verifies the tokens of one issuer. It is safe for concurrent use.
type Keyset struct {
	issuer string
	signer *signer
	claims string                       // what every payload begins with
	public map[string]ed25519.PublicKey // by ID
	jwks   []byte
}

// New makes a keyset that signs with the key whose ID is current, and accepts the tokens of all keys. The issuer is
// also the audience. IDs are unique and not empty; the issuer and the longest ID must leave every token within
// [MaxLength]. The keys are copied.
func New(issuer, current string, keys ...Key) (*Keyset, error) {
	if issuer == "" || !utf8.ValidString(issuer) {
		return nil, errors.New("token: the issuer is empty or not UTF-8")
	}
	quoted, err := json.Marshal(issuer)
	if err != nil {
		return nil, fmt.Errorf("token: encoding the issuer: %w", err)
	}
	s := &Keyset{issuer: issuer, claims: fmt.Sprintf(`{"iss":%s,"aud":%s,"sub":"`, quoted, quoted), public: make(map[string]ed25519.PublicKey, len(keys))}
	set := jose.JSONWebKeySet{Keys: []jose.JSONWebKey{}}
	for _, key := range keys {
		if err := s.add(key, current); err != nil {
			return nil, err
		}
		set.Keys = append(set.Keys, jose.JSONWebKey{
			Key: s.public[key.ID], KeyID: key.ID, Algorithm: string(algorithm), Use: "sig",
		})
	}
	if s.signer == nil {
		return nil, errors.New("token: the current key is not among the keys")
	}
	if s.jwks, err = json.Marshal(set); err != nil {
		return nil, fmt.Errorf("token: encoding the public keys: %w", err)
	}
	return s, nil
}

// add takes one key in, and makes it the signer if it is the current one.
func (s *Keyset) add(key Key, current string) error {
	if key.ID == "" || !utf8.ValidString(key.ID) {
		return errors.New("token: a key's ID is empty or not UTF-8")
	}
	if _, ok := s.public[key.ID]; ok {
		return fmt.Errorf("token: two keys with the ID %q", key.ID)
	}
	// NewKeyFromSeed makes the public half anew: with one that does not belong to it, signatures give the private
	// key away.
	if len(key.Private) != ed25519.PrivateKeySize {
		return fmt.Errorf("token: key %q has %d bytes, not %d", key.ID, len(key.Private), ed25519.PrivateKeySize)
	}
	private := ed25519.NewKeyFromSeed(key.Private.Seed())
	if !bytes.Equal(private, key.Private) {
		return fmt.Errorf("token: the halves of key %q do not belong together", key.ID)
	}
	signer, err := newSigner(key.ID, private)
	if err != nil {
		return err
	}
	if err := s.checkLength(signer, key.ID); err != nil {
		return err
	}
	s.public[key.ID] = private.Public().(ed25519.PublicKey)
	if key.ID == current {
		s.signer = signer
	}
	return nil
}

// signer is a key and what every token that it signs begins with: the header, encoded, and the dot behind it.
type signer struct {
	private ed25519.PrivateKey
	header  string
}

// newSigner takes the header from a token of go-jose's making.
func newSigner(id string, private ed25519.PrivateKey) (*signer, error) {
	key := jose.SigningKey{Algorithm: algorithm, Key: jose.JSONWebKey{Key: private, KeyID: id}}
	model, err := jose.NewSigner(key, new(jose.SignerOptions).WithType(Type))
	if err != nil {
		return nil, fmt.Errorf("token: key %q cannot sign: %w", id, err)
	}
	object, err := model.Sign(nil)
	if err != nil {
		return nil, fmt.Errorf("token: key %q cannot sign: %w", id, err)
	}
	token, err := object.CompactSerialize()
	if err != nil {
		return nil, fmt.Errorf("token: key %q cannot sign: %w", id, err)
	}
	return &signer{private, token[:strings.IndexByte(token, '.')+1]}, nil
}

// checkLength signs the longest claims there are: all members but the times have one size.
func (s *Keyset) checkLength(signer *signer, id string) error {
	longest := Claims{
		IssuedAt: time.Unix(maxTime-1, 0), Expires: time.Unix(maxTime, 0), Thumbprint: Thumbprint([32]byte{}),
	}
	if _, err := s.signWith(signer, longest); err != nil {
		return fmt.Errorf("token: with this issuer and the key ID %q: %w", id, err)
	}
	return nil
}

// JWKS is the public keys as a JWK Set (RFC 7517), in the order in which they were given.
func (s *Keyset) JWKS() []byte { return bytes.Clone(s.jwks) }
