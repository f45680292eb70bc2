package token

import (
	"crypto/rand"
	"encoding/hex"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/json"
)

// TestSignAsJose: the tokens, which are written down piece by piece, are those that go-jose makes of the same claims, byte by byte.
func TestSignAsJose(t *testing.T) {
	for _, issuer := range []string{testIssuer, `a "quoted\" one`, "<&>", "zwölf \u2028 \x01 \U0001f511"} {
		for _, id := range []string{"k", `"<&>\`, "schlüssel"} {
			s, err := New(issuer, id, Key{id, testPrivate(0)})
			if err != nil {
				t.Fatal(err)
			}
			model, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.EdDSA, Key: jose.JSONWebKey{Key: testPrivate(0), KeyID: id}},
				new(jose.SignerOptions).WithType(Type))
			if err != nil {
				t.Fatal(err)
			}
			for i := range int64(20) {
				c := Claims{IssuedAt: time.Unix(1<<i, 0), Expires: time.Unix(1<<i+i*i+1, 0)}
				var static [32]byte
				for _, b := range [][]byte{c.Subject[:], c.SessionID[:], c.ID[:], static[:]} {
					rand.Read(b)
				}
				c.Thumbprint = Thumbprint(static)
				body, err := json.Marshal(payload{
					Issuer: issuer, Audience: issuer, Subject: hex.EncodeToString(c.Subject[:]), SessionID: hex.EncodeToString(c.SessionID[:]),
					ID: hex.EncodeToString(c.ID[:]), IssuedAt: c.IssuedAt.Unix(), Expires: c.Expires.Unix(), Confirmation: confirmation{c.Thumbprint},
				})
				if err != nil {
					t.Fatal(err)
				}
				object, err := model.Sign(body)
				if err != nil {
					t.Fatal(err)
				}
				want, err := object.CompactSerialize()
				if err != nil {
					t.Fatal(err)
				}
				if got, err := s.Sign(c); got != want || err != nil {
					t.Errorf("%q, %q: %v\n%s\nand go-jose\n%s", issuer, id, err, got, want)
				}
				if back, err := s.Verify(want, c.IssuedAt); err != nil || back.ID != c.ID || back.Issuer != issuer {
					t.Errorf("%q, %q: read as %+v, %v", issuer, id, back, err)
				}
			}
		}
	}
}
