package token

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/json"
)

const (
	// Type is the typ of a session token's header: a token for another purpose is not one.
	Type = "session+jwt"
	// MaxLength is the longest token in bytes (PROTOCOL 11).
	MaxLength = 800
	// maxTime is the last second of the year 9999, so that times have a longest encoding.
	maxTime = 253_402_300_799
)

var (
	// ErrMalformed is every token that is not a good one of this issuer, but for those that have expired.
	ErrMalformed = errors.New("token: not a valid token of this issuer")
	// ErrExpired is a token that was good. The claims come with it: expiry is told only to who holds the key of
	// the thumbprint (PROTOCOL 9, rule 4).
	ErrExpired = errors.New("token: expired")
)

// Claims is what a token says. Times count in whole seconds, what is finer is cut off.
type Claims struct {
	Issuer     string // empty when signing: the keyset's
	Audience   string // empty when signing: the keyset's, which is its issuer
	Subject    [16]byte
	SessionID  [16]byte
	ID         [16]byte // jti
	IssuedAt   time.Time
	Expires    time.Time
	Thumbprint string // of the device's key, as by [Thumbprint]
}

// payload is the claims in their order in the token.
type payload struct {
	Issuer       string       `json:"iss"`
	Audience     string       `json:"aud"`
	Subject      string       `json:"sub"`
	SessionID    string       `json:"sid"`
	ID           string       `json:"jti"`
	IssuedAt     int64        `json:"iat"`
	Expires      int64        `json:"exp"`
	Confirmation confirmation `json:"cnf"`
}

type confirmation struct {
	Thumbprint string `json:"jkt"`
}

// base64url refuses bits that are not zero behind the last byte; line ends, which it would skip, are refused
// in decode.
var base64url = base64.RawURLEncoding.Strict()

// Sign makes a token of the claims with the current key. The same claims and key give the same bytes. An
// issuer or audience, if given, must be the keyset's.
func (s *Keyset) Sign(claims Claims) (string, error) {
	return s.signWith(s.signer, claims)
}

func (s *Keyset) signWith(signer *signer, claims Claims) (string, error) {
	issued, expires := claims.IssuedAt.Unix(), claims.Expires.Unix()
	switch {
	case claims.Issuer != "" && claims.Issuer != s.issuer, claims.Audience != "" && claims.Audience != s.issuer:
		return "", errors.New("token: another issuer or audience than the keyset's")
	case !timesValid(issued, expires):
		return "", errors.New("token: it must expire after it is issued, from 1970 to 9999")
	case !thumbprintValid(claims.Thumbprint):
		return "", errors.New("token: the thumbprint is not 32 bytes of base64url")
	}
	// The claims are of one form, and only the issuer can hold what JSON escapes: to write them down is a tenth of what an encoder takes.
	var space, encoded [MaxLength]byte
	body := append(space[:0], s.claims...)
	body = hex.AppendEncode(body, claims.Subject[:])
	body = hex.AppendEncode(append(body, `","sid":"`...), claims.SessionID[:])
	body = hex.AppendEncode(append(body, `","jti":"`...), claims.ID[:])
	body = strconv.AppendInt(append(body, `","iat":`...), issued, 10)
	body = strconv.AppendInt(append(body, `,"exp":`...), expires, 10)
	body = append(append(append(body, `,"cnf":{"jkt":"`...), claims.Thumbprint...), `"}}`...)
	token := append(encoded[:0], signer.header...)
	token = base64url.AppendEncode(token, body)
	signature := ed25519.Sign(signer.private, token)
	token = base64url.AppendEncode(append(token, '.'), signature)
	if len(token) > MaxLength {
		return "", fmt.Errorf("token: %d bytes are over %d", len(token), MaxLength)
	}
	return string(token), nil
}

// Verify checks a token and gives its claims. The error wraps [ErrMalformed], or is [ErrExpired] with the claims. Whether
// the peer holds the key of the thumbprint, and the session is there, is still to be checked.
// That a token was issued in the future is not held against it: the clocks of two nodes differ.
func (s *Keyset) Verify(token string, now time.Time) (Claims, error) {
	if len(token) > MaxLength {
		return Claims{}, malformed("too long")
	}
	key, err := s.keyOf(token)
	if err != nil {
		return Claims{}, err
	}
	object, err := jose.ParseSignedCompact(token, []jose.SignatureAlgorithm{algorithm})
	if err != nil {
		return Claims{}, malformed("not a JWS")
	}
	body, err := object.Verify(key)
	if err != nil {
		return Claims{}, malformed("signature")
	}
	claims, err := s.parseClaims(body)
	if err != nil {
		return Claims{}, err
	}
	if now.Unix() >= claims.Expires.Unix() {
		return claims, ErrExpired
	}
	return claims, nil
}

// keyOf checks the encoding and the header of a token, before any of it reaches a parser that knows more than is
// needed here, and gives the key that it names.
func (s *Keyset) keyOf(token string) (any, error) {
	parts := strings.SplitN(token, ".", 4)
	if len(parts) != 3 {
		return nil, malformed("not three parts")
	}
	var raw []byte
	for i, part := range parts {
		decoded, err := decode(part)
		if err != nil {
			return nil, malformed("base64url")
		}
		if i == 0 {
			raw = decoded
		}
	}
	var header map[string]string // go-jose's JSON refuses a member that is there twice
	if json.Unmarshal(raw, &header) != nil {
		return nil, malformed("header")
	}
	public, known := s.public[header["kid"]]
	switch {
	case len(header) != 3: // with alg, kid and typ, which follow, no other is there: jku, jwk, x5u, x5c and crit are for nothing good
		return nil, malformed("header members")
	case header["alg"] != string(algorithm):
		return nil, malformed("algorithm")
	case header["typ"] != Type:
		return nil, malformed("type")
	case !known:
		return nil, malformed("unknown key")
	}
	return public, nil
}

// parseClaims reads what a good signature is under.
func (s *Keyset) parseClaims(body []byte) (Claims, error) {
	var p payload
	if json.Unmarshal(body, &p) != nil {
		return Claims{}, malformed("claims")
	}
	claims := Claims{
		Issuer:     p.Issuer,
		Audience:   p.Audience,
		IssuedAt:   time.Unix(p.IssuedAt, 0).UTC(),
		Expires:    time.Unix(p.Expires, 0).UTC(),
		Thumbprint: p.Confirmation.Thumbprint,
	}
	switch {
	case p.Issuer != s.issuer:
		return Claims{}, malformed("issuer")
	case p.Audience != s.issuer:
		return Claims{}, malformed("audience")
	case !parseID(&claims.Subject, p.Subject):
		return Claims{}, malformed("sub")
	case !parseID(&claims.SessionID, p.SessionID):
		return Claims{}, malformed("sid")
	case !parseID(&claims.ID, p.ID):
		return Claims{}, malformed("jti")
	case !timesValid(p.IssuedAt, p.Expires):
		return Claims{}, malformed("times")
	case !thumbprintValid(p.Confirmation.Thumbprint):
		return Claims{}, malformed("cnf")
	}
	return claims, nil
}

// Thumbprint is the JWK SHA-256 thumbprint (RFC 7638) of an X25519 public key (RFC 8037), 43 characters: what the
// cnf claim holds.
func Thumbprint(x25519Public [32]byte) string {
	return thumbprint("X25519", x25519Public[:])
}

// ThumbprintSum is the 32 bytes of [Thumbprint].
func ThumbprintSum(x25519Public [32]byte) [32]byte {
	return thumbprintSum("X25519", x25519Public[:])
}

func thumbprint(curve string, public []byte) string {
	sum := thumbprintSum(curve, public)
	return base64url.EncodeToString(sum[:])
}

// thumbprintSum hashes the required members of an OKP key in their lexical order.
func thumbprintSum(curve string, public []byte) [32]byte {
	var space [128]byte
	b := append(append(append(space[:0], `{"crv":"`...), curve...), `","kty":"OKP","x":"`...)
	b = base64url.AppendEncode(b, public)
	return sha256.Sum256(append(b, `"}`...))
}

func thumbprintValid(text string) bool {
	decoded, err := decode(text)
	return err == nil && len(decoded) == sha256.Size
}

func timesValid(issued, expires int64) bool {
	return 0 < issued && issued < expires && expires <= maxTime
}

// parseID takes 32 lower-case hex digits.
func parseID(id *[16]byte, text string) bool {
	if len(text) != hex.EncodedLen(len(id)) || strings.ToLower(text) != text {
		return false
	}
	_, err := hex.Decode(id[:], []byte(text))
	return err == nil
}

func decode(text string) ([]byte, error) {
	if strings.ContainsAny(text, "\r\n") {
		return nil, base64.CorruptInputError(0)
	}
	return base64url.DecodeString(text)
}

func malformed(what string) error { return fmt.Errorf("%w: %s", ErrMalformed, what) }
