package token

import (
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"strings"
	"testing"
	"time"
)

// TestSignIsFixed pins the bytes of a token: recorded connections depend on them.
func TestSignIsFixed(t *testing.T) {
	s := testKeyset(t)
	signed, err := s.Sign(testClaims())
	if err != nil {
		t.Fatal(err)
	}
	parts := strings.Split(signed, ".")
	for i, want := range []string{
		`{"alg":"EdDSA","kid":"2026-11","typ":"session+jwt"}`,
		`{"iss":"` + testIssuer + `","aud":"` + testIssuer + `",` +
			`"sub":"ab010000000000000000000000000000","sid":"cd020000000000000000000000000000","jti":"ef030000000000000000000000000000",` +
			`"iat":1800000000,"exp":1800086400,"cnf":{"jkt":"` + Thumbprint([32]byte{9}) + `"}}`,
	} {
		if got, err := base64url.DecodeString(parts[i]); string(got) != want || err != nil {
			t.Errorf("part %d: got %s, want %s", i, got, want)
		}
	}
	signature := base64url.EncodeToString(ed25519.Sign(testPrivate(0), []byte(parts[0]+"."+parts[1])))
	if parts[2] != signature {
		t.Errorf("the signature is not Ed25519 of the two other parts")
	}
	if again, err := testKeyset(t).Sign(testClaims()); again != signed || err != nil {
		t.Errorf("signed again: %s, %v", again, err)
	}
}

func TestSignAndVerify(t *testing.T) {
	s := testKeyset(t)
	claims := testClaims()
	claims.Issuer, claims.Audience = "", ""
	claims.IssuedAt = claims.IssuedAt.Add(999 * time.Millisecond).In(time.FixedZone("", 3600))
	signed, err := s.Sign(claims)
	if err != nil {
		t.Fatal(err)
	}
	got, err := s.Verify(signed, testClaims().IssuedAt)
	if err != nil || got != testClaims() {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestExpiry(t *testing.T) {
	s := testKeyset(t)
	signed, err := s.Sign(testClaims())
	if err != nil {
		t.Fatal(err)
	}
	expires := testClaims().Expires
	for after, want := range map[time.Duration]error{
		-48 * time.Hour:     nil, // issued in this clock's future
		-time.Second:        nil,
		-1:                  nil,
		0:                   ErrExpired,
		time.Second:         ErrExpired,
		100_000 * time.Hour: ErrExpired,
	} {
		claims, err := s.Verify(signed, expires.Add(after))
		if !errors.Is(err, want) || want == nil && err != nil {
			t.Errorf("%v after it expires: %v", after, err)
		}
		if claims != testClaims() {
			t.Errorf("%v after it expires: the claims are %+v", after, claims)
		}
	}
	changed := signed[:len(signed)-10] + "AAAAAAAAAA"
	if claims, err := s.Verify(changed, expires.Add(time.Hour)); !errors.Is(err, ErrMalformed) || claims != (Claims{}) {
		t.Errorf("expired and forged: %+v, %v", claims, err)
	}
}

func TestSignRefuses(t *testing.T) {
	s := testKeyset(t)
	for what, change := range map[string]func(*Claims){
		"issuer":            func(c *Claims) { c.Issuer = "urn:other" },
		"audience":          func(c *Claims) { c.Audience = "urn:other" },
		"no thumbprint":     func(c *Claims) { c.Thumbprint = "" },
		"thumbprint short":  func(c *Claims) { c.Thumbprint = c.Thumbprint[:42] },
		"thumbprint padded": func(c *Claims) { c.Thumbprint += "=" },
		"thumbprint bits":   func(c *Claims) { c.Thumbprint = strings.Repeat("A", 42) + "B" },
		"expires at once":   func(c *Claims) { c.Expires = c.IssuedAt },
		"expires within it": func(c *Claims) { c.Expires = c.IssuedAt.Add(time.Second / 2) },
		"expires before":    func(c *Claims) { c.Expires = c.IssuedAt.Add(-time.Second) },
		"zero times":        func(c *Claims) { c.IssuedAt, c.Expires = time.Time{}, time.Time{} },
		"before 1970":       func(c *Claims) { c.IssuedAt = time.Unix(-1, 0) },
		"after 9999":        func(c *Claims) { c.Expires = time.Unix(maxTime+1, 0) },
	} {
		claims := testClaims()
		change(&claims)
		if signed, err := s.Sign(claims); err == nil {
			t.Errorf("%s: signed: %s", what, signed)
		}
	}
}

// TestLength shows that no claims make a token too long for the wire, at the limits of a keyset.
func TestLength(t *testing.T) {
	longest := testClaims()
	for i := range 16 {
		longest.Subject[i], longest.SessionID[i], longest.ID[i] = 0xff, 0xff, 0xff
	}
	longest.IssuedAt, longest.Expires = time.Unix(maxTime-1, 0), time.Unix(maxTime, 0)
	reached := 0
	for size := 64; ; size++ {
		s, err := New(testIssuer, strings.Repeat("k", size), Key{strings.Repeat("k", size), testPrivate(0)})
		if err != nil {
			break
		}
		signed, err := s.Sign(longest)
		if err != nil || len(signed) > MaxLength {
			t.Fatalf("a key ID of %d bytes: a token of %d bytes, %v", size, len(signed), err)
		}
		if _, err := s.Verify(signed, testClaims().IssuedAt); err != nil {
			t.Errorf("a key ID of %d bytes: %v", size, err)
		}
		reached = len(signed)
		if size == 64 {
			t.Logf("a token with a key ID of 64 bytes has %d bytes at most", reached)
		}
	}
	if reached < MaxLength-2 {
		t.Errorf("the longest token has %d bytes: the limit is somewhere else", reached)
	}
}

// forge signs a header and claims that are written out, so that each test has one fault and a good signature.
func forge(header, claims string, key ed25519.PrivateKey) string {
	signed := base64url.EncodeToString([]byte(header)) + "." + base64url.EncodeToString([]byte(claims))
	return signed + "." + base64url.EncodeToString(ed25519.Sign(key, []byte(signed)))
}

const goodHeader = `{"alg":"EdDSA","kid":"2026-11","typ":"session+jwt"}`

func goodClaims() string {
	return `{"iss":"` + testIssuer + `","aud":"` + testIssuer + `",` +
		`"sub":"ab010000000000000000000000000000","sid":"cd020000000000000000000000000000","jti":"ef030000000000000000000000000000",` +
		`"iat":1800000000,"exp":1800086400,"cnf":{"jkt":"` + Thumbprint([32]byte{9}) + `"}}`
}

// wantMalformed fails unless the token is refused, and for the reason given.
func wantMalformed(t *testing.T, what, token, reason string) {
	t.Helper()
	claims, err := testKeyset(t).Verify(token, testClaims().IssuedAt)
	if !errors.Is(err, ErrMalformed) || claims != (Claims{}) {
		t.Errorf("%s: got %+v, %v", what, claims, err)
		return
	}
	if !strings.HasSuffix(err.Error(), ": "+reason) {
		t.Errorf("%s: refused for %q, want %q", what, err, reason)
	}
}

func TestForgeIsGood(t *testing.T) {
	for what, token := range map[string]string{
		"as signed":      forge(goodHeader, goodClaims(), testPrivate(0)),
		"another order":  forge(`{"typ":"session+jwt","kid":"2026-11","alg":"EdDSA"}`, goodClaims(), testPrivate(0)),
		"spaces":         forge(" { "+goodHeader[1:], goodClaims()+"\n", testPrivate(0)),
		"unknown claims": forge(goodHeader, `{"nbf":1,"scope":["a"],`+goodClaims()[1:], testPrivate(0)),
	} {
		if claims, err := testKeyset(t).Verify(token, testClaims().IssuedAt); err != nil || claims != testClaims() {
			t.Errorf("%s: got %+v, %v", what, claims, err)
		}
	}
}

func TestRefusedHeaders(t *testing.T) {
	with := func(member string) string { return `{` + member + `,` + goodHeader[1:] }
	for _, c := range []struct{ what, header, reason string }{
		{"alg none", `{"alg":"none","kid":"2026-11","typ":"session+jwt"}`, "algorithm"},
		{"alg HS256", `{"alg":"HS256","kid":"2026-11","typ":"session+jwt"}`, "algorithm"},
		{"alg of RFC 9864", `{"alg":"Ed25519","kid":"2026-11","typ":"session+jwt"}`, "algorithm"},
		{"alg case", `{"alg":"eddsa","kid":"2026-11","typ":"session+jwt"}`, "algorithm"},
		{"alg null", `{"alg":null,"kid":"2026-11","typ":"session+jwt"}`, "algorithm"},
		{"alg a number", `{"alg":1,"kid":"2026-11","typ":"session+jwt"}`, "header"},
		{"alg missing", `{"kid":"2026-11","typ":"session+jwt"}`, "header members"},
		{"alg name's case", `{"ALG":"EdDSA","kid":"2026-11","typ":"session+jwt"}`, "algorithm"},
		{"typ of all JWT", `{"alg":"EdDSA","kid":"2026-11","typ":"JWT"}`, "type"},
		{"typ access token", `{"alg":"EdDSA","kid":"2026-11","typ":"at+jwt"}`, "type"},
		{"typ case", `{"alg":"EdDSA","kid":"2026-11","typ":"Session+JWT"}`, "type"},
		{"typ long", `{"alg":"EdDSA","kid":"2026-11","typ":"application/session+jwt"}`, "type"},
		{"typ missing", `{"alg":"EdDSA","kid":"2026-11"}`, "header members"},
		{"kid unknown", `{"alg":"EdDSA","kid":"2026-12","typ":"session+jwt"}`, "unknown key"},
		{"kid empty", `{"alg":"EdDSA","kid":"","typ":"session+jwt"}`, "unknown key"},
		{"kid missing", `{"alg":"EdDSA","typ":"session+jwt"}`, "header members"},
		{"another kid", `{"alg":"EdDSA","kid":"2026-10","typ":"session+jwt"}`, "signature"},
		{"jku", with(`"jku":"https://example.org/keys"`), "header members"},
		{"jwk", with(`"jwk":{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}`), "header"},
		{"x5u", with(`"x5u":"https://example.org/cert"`), "header members"},
		{"x5c", with(`"x5c":["AAAA"]`), "header"},
		{"crit", with(`"crit":["exp"]`), "header"},
		{"crit b64", with(`"b64":true,"crit":["b64"]`), "header"},
		{"cty", with(`"cty":"JWT"`), "header members"},
		{"kid for jku", `{"alg":"EdDSA","jku":"https://example.org","typ":"session+jwt"}`, "unknown key"},
		{"alg twice", with(`"alg":"EdDSA"`), "header"},
		{"alg twice, first none", with(`"alg":"none"`), "header"},
		{"not an object", `["EdDSA"]`, "header"},
		{"null", `null`, "header members"},
		{"empty", ``, "header"},
		{"not JSON", `{"alg":"EdDSA"`, "header"},
		{"something behind", goodHeader + `{}`, "header"},
	} {
		wantMalformed(t, c.what, forge(c.header, goodClaims(), testPrivate(0)), c.reason)
	}
}

func TestRefusedClaims(t *testing.T) {
	for _, c := range []struct{ what, old, new, reason string }{
		{"iss", `"iss":"` + testIssuer, `"iss":"urn:other`, "issuer"},
		{"iss longer", `"iss":"` + testIssuer, `"iss":"` + testIssuer + "0", "issuer"},
		{"iss case", `"iss":"` + testIssuer, `"iss":"` + strings.ToUpper(testIssuer), "issuer"},
		{"iss missing", `"iss":`, `"isx":`, "issuer"},
		{"iss name's case", `"iss":`, `"ISS":`, "issuer"},
		{"aud", `"aud":"` + testIssuer, `"aud":"urn:other`, "audience"},
		{"aud a list", `"aud":"` + testIssuer + `"`, `"aud":["` + testIssuer + `"]`, "claims"},
		{"aud missing", `"aud":`, `"auX":`, "audience"},
		{"sub upper case", `"ab01`, `"AB01`, "sub"},
		{"sub short", `"ab01`, `"ab`, "sub"},
		{"sub long", `"ab01`, `"00ab01`, "sub"},
		{"sub not hex", `"ab01`, `"xy01`, "sub"},
		{"sub missing", `"sub":`, `"suX":`, "sub"},
		{"sid", `"cd02`, `"cd0`, "sid"},
		{"jti", `"ef03`, `"EF03`, "jti"},
		{"exp at iat", `"exp":1800086400`, `"exp":1800000000`, "times"},
		{"exp before iat", `"exp":1800086400`, `"exp":1799999999`, "times"},
		{"exp missing", `"exp":`, `"exX":`, "times"},
		{"iat missing", `"iat":`, `"iaX":`, "times"},
		{"iat negative", `"iat":1`, `"iat":-1`, "times"},
		{"exp after 9999", `"exp":1800086400`, `"exp":253402300800`, "times"},
		{"exp a fraction", `"exp":1800086400`, `"exp":1800086400.5`, "claims"},
		{"exp with an exponent", `"exp":1800086400`, `"exp":18000864e2`, "claims"},
		{"exp over 64 bits", `"exp":1800086400`, `"exp":18446744073709551617`, "claims"},
		{"exp text", `"exp":1800086400`, `"exp":"1800086400"`, "claims"},
		{"cnf missing", `"cnf":`, `"cnX":`, "cnf"},
		{"jkt missing", `"jkt":`, `"jkX":`, "cnf"},
		{"jkt short", `{"jkt":"`, `{"jkt":"","x":"`, "cnf"},
		{"cnf text", `{"jkt"`, `"x","cnf2":{"jkt"`, "claims"},
		{"claim twice", `{"iss"`, `{"sub":"00000000000000000000000000000000","iss"`, "claims"},
		{"not an object", `{"iss"`, `[{"iss"`, "claims"},
		{"something behind", `"}}`, `"}}}`, "claims"},
	} {
		claims := strings.Replace(goodClaims(), c.old, c.new, 1)
		if claims == goodClaims() {
			t.Errorf("%s: changed nothing", c.what)
		}
		wantMalformed(t, c.what, forge(goodHeader, claims, testPrivate(0)), c.reason)
	}
	wantMalformed(t, "no claims", forge(goodHeader, "", testPrivate(0)), "claims")
}

func TestRefusedEncodings(t *testing.T) {
	good := forge(goodHeader, goodClaims(), testPrivate(0))
	parts := strings.Split(good, ".")
	head, body, signature := parts[0], parts[1], parts[2]
	lastBit := signature[:85] + string(signature[85]+1) // 64 bytes leave 4 bits of the last character
	secret := hmac.New(sha256.New, testPrivate(0)[32:])
	hs256 := base64url.EncodeToString([]byte(`{"alg":"HS256","kid":"2026-11","typ":"session+jwt"}`)) + "." + body
	secret.Write([]byte(hs256))
	for _, c := range []struct{ what, token, reason string }{
		{"empty", "", "not three parts"},
		{"dots", "..", "header"},
		{"two parts", head + "." + body, "not three parts"},
		{"four parts", good + ".", "not three parts"},
		{"five parts", good + ".a.b", "not three parts"},
		{"too long", good + strings.Repeat("A", MaxLength+1-len(good)), "too long"},
		{"far too long", strings.Repeat(".", 1<<20), "too long"},
		{"padding", head + "==." + body + "." + signature, "base64url"},
		{"standard alphabet", head + "." + body + ".+/" + signature[2:], "base64url"},
		{"line end", head + "." + body + "." + signature[:40] + "\n" + signature[40:], "base64url"},
		{"line end behind", good + "\r\n", "base64url"},
		{"space before", " " + good, "base64url"},
		{"bits behind the signature", head + "." + body + "." + lastBit, "base64url"},
		{"JSON serialization", `{"payload":"` + body + `","protected":"` + head + `","signature":"` + signature + `"}`, "not three parts"},
		{"no signature", head + "." + body + ".", "signature"},
		{"signature short", head + "." + body + "." + signature[:84], "signature"},
		{"signature long", good + "AAAA", "signature"},
		{"signature of zeros", head + "." + body + "." + strings.Repeat("A", 86), "signature"},
		{"another key's", forge(goodHeader, goodClaims(), testPrivate(1)), "signature"},
		{"HMAC with the public key", hs256 + "." + base64url.EncodeToString(secret.Sum(nil)), "algorithm"},
		{"detached", head + ".." + signature, "signature"},
		{"not ASCII", "é." + body + "." + signature, "base64url"},
	} {
		wantMalformed(t, c.what, c.token, c.reason)
	}
	keyset := testKeyset(t)
	for i := range good {
		flipped := []byte(good)
		if flipped[i] == 'A' {
			flipped[i] = 'Q'
		} else {
			flipped[i] = 'A'
		}
		if _, err := keyset.Verify(string(flipped), testClaims().IssuedAt); !errors.Is(err, ErrMalformed) {
			t.Fatalf("byte %d changed: %v", i, err)
		}
	}
}

func BenchmarkVerify(b *testing.B) {
	s := testKeyset(b)
	signed, err := s.Sign(testClaims())
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.Verify(signed, testClaims().IssuedAt); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkSign(b *testing.B) {
	s := testKeyset(b)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.Sign(testClaims()); err != nil {
			b.Fatal(err)
		}
	}
}
