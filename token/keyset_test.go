package token

import (
	"bytes"
	"crypto/ed25519"
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
)

const testIssuer = "urn:authsrv:00112233445566778899aabbccddeeff"

func testPrivate(n byte) ed25519.PrivateKey {
	seed := make([]byte, ed25519.SeedSize)
	for i := range seed {
		seed[i] = n + byte(i)
	}
	return ed25519.NewKeyFromSeed(seed)
}

func testKeyset(t testing.TB) *Keyset {
	t.Helper()
	s, err := New(testIssuer, "2026-11", Key{"2026-10", testPrivate(1)}, Key{"2026-11", testPrivate(0)})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func testClaims() Claims {
	return Claims{
		Issuer: testIssuer, Audience: testIssuer,
		Subject: [16]byte{0xab, 1}, SessionID: [16]byte{0xcd, 2}, ID: [16]byte{0xef, 3},
		IssuedAt: time.Unix(1_800_000_000, 0).UTC(), Expires: time.Unix(1_800_086_400, 0).UTC(),
		Thumbprint: Thumbprint([32]byte{9}),
	}
}

func TestNew(t *testing.T) {
	good := Key{"a", testPrivate(0)}
	torn := slices.Concat(testPrivate(0)[:32], testPrivate(1)[32:])
	for what, c := range map[string]struct {
		issuer, current string
		keys            []Key
	}{
		"no issuer":       {"", "a", []Key{good}},
		"issuer not text": {"\xff", "a", []Key{good}},
		"issuer too long": {strings.Repeat("i", 200), "a", []Key{good}},
		"no keys":         {testIssuer, "a", nil},
		"no current key":  {testIssuer, "b", []Key{good}},
		"empty current":   {testIssuer, "", []Key{good}},
		"same ID twice":   {testIssuer, "a", []Key{good, {"a", testPrivate(1)}}},
		"no ID":           {testIssuer, "a", []Key{good, {"", testPrivate(1)}}},
		"ID not text":     {testIssuer, "a", []Key{good, {"\xff", testPrivate(1)}}},
		"ID too long":     {testIssuer, "a", []Key{good, {strings.Repeat("k", 300), testPrivate(1)}}},
		"no private key":  {testIssuer, "a", []Key{{"a", nil}}},
		"a seed only":     {testIssuer, "a", []Key{{"a", make(ed25519.PrivateKey, 32)}}},
		"halves torn":     {testIssuer, "a", []Key{{"a", torn}}},
	} {
		if _, err := New(c.issuer, c.current, c.keys...); err == nil {
			t.Errorf("%s: accepted", what)
		}
	}
}

func TestKeysAreCopied(t *testing.T) {
	private := testPrivate(0)
	s, err := New(testIssuer, "a", Key{"a", private})
	if err != nil {
		t.Fatal(err)
	}
	clear(private)
	signed, err := s.Sign(testClaims())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Verify(signed, testClaims().IssuedAt); err != nil {
		t.Error(err)
	}
	clear(s.JWKS())
	if !json.Valid(s.JWKS()) {
		t.Error("the public keys are the caller's to change")
	}
}

// TestRolling shows a token of each key accepted by whoever has it, and by nobody else.
func TestRolling(t *testing.T) {
	before, err := New(testIssuer, "2026-10", Key{"2026-10", testPrivate(1)})
	if err != nil {
		t.Fatal(err)
	}
	after := testKeyset(t)
	old, err := before.Sign(testClaims())
	if err != nil {
		t.Fatal(err)
	}
	young, err := after.Sign(testClaims())
	if err != nil {
		t.Fatal(err)
	}
	now := testClaims().IssuedAt
	if _, err := after.Verify(old, now); err != nil {
		t.Errorf("the old key's token: %v", err)
	}
	if _, err := after.Verify(young, now); err != nil {
		t.Errorf("the new key's token: %v", err)
	}
	if _, err := before.Verify(young, now); err == nil {
		t.Error("a token of an unknown key is accepted")
	}
}

// TestJWKS has another verifier check a token with nothing but the published keys.
func TestJWKS(t *testing.T) {
	s := testKeyset(t)
	signed, err := s.Sign(testClaims())
	if err != nil {
		t.Fatal(err)
	}
	var set jose.JSONWebKeySet
	if err := json.Unmarshal(s.JWKS(), &set); err != nil {
		t.Fatal(err)
	}
	if len(set.Keys) != 2 || set.Keys[0].KeyID != "2026-10" || set.Keys[1].KeyID != "2026-11" {
		t.Fatalf("%d keys, or in another order", len(set.Keys))
	}
	object, err := jose.ParseSignedCompact(signed, []jose.SignatureAlgorithm{jose.EdDSA})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := object.Verify(set); err != nil {
		t.Errorf("another verifier: %v", err)
	}
	var members struct{ Keys []map[string]any }
	if err := json.Unmarshal(s.JWKS(), &members); err != nil {
		t.Fatal(err)
	}
	for i, key := range members.Keys {
		for name := range key {
			if !slices.Contains([]string{"kty", "crv", "x", "kid", "alg", "use"}, name) {
				t.Errorf("key %d has a member %q", i, name)
			}
		}
		if key["alg"] != "EdDSA" || key["kty"] != "OKP" || key["crv"] != "Ed25519" || key["use"] != "sig" {
			t.Errorf("key %d is %v", i, key)
		}
	}
	for n := range byte(2) {
		if seed := base64url.EncodeToString(testPrivate(n).Seed()); bytes.Contains(s.JWKS(), []byte(seed)) {
			t.Error("a private key is published")
		}
	}
}
