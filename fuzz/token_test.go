package fuzz

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/authsrv/authsrv/token"
	"github.com/authsrv/authsrv/wire"
)

const issuer = "urn:authsrv:692fc5c9bf37d487d47e5223df9d760a"

// More changes for a token: the data is signed, as its body or as its header.
const (
	signBody = changes + iota
	signHeader
	tokenChanges
)

var (
	tokenKeys  = []token.Key{{ID: "current", Private: ed25519.NewKeyFromSeed(bytesFrom(1, 32))}, {ID: "old", Private: ed25519.NewKeyFromSeed(bytesFrom(2, 32))}}
	goodClaims = token.Claims{
		Issuer: issuer, Audience: issuer, Subject: b16(1), SessionID: b16(20), ID: b16(40),
		IssuedAt: now.Add(-time.Hour).UTC(), Expires: now.Add(time.Hour).UTC(), Thumbprint: token.Thumbprint(b32(60)),
	}
)

// keyset returns one of both keys that signs with one of them.
func keyset(t testing.TB, current string) *token.Keyset {
	t.Helper()
	s, err := token.New(issuer, current, tokenKeys...)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func mustSign(t testing.TB, s *token.Keyset, c token.Claims) string {
	t.Helper()
	text, err := s.Sign(c)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// sealToken signs any header and body with the current key.
func sealToken(header, body []byte) string {
	signed := base64.RawURLEncoding.EncodeToString(header) + "." + base64.RawURLEncoding.EncodeToString(body)
	return signed + "." + base64.RawURLEncoding.EncodeToString(ed25519.Sign(tokenKeys[0].Private, []byte(signed)))
}

// part returns a part of a token, decoded.
func part(t testing.TB, text string, i int) []byte {
	t.Helper()
	b, err := base64.RawURLEncoding.DecodeString(strings.Split(text, ".")[i])
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// next returns the digit of base64url behind another.
func next(digit byte) string {
	const digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_A"
	i := strings.IndexByte(digits, digit) + 1
	return digits[i : i+1]
}

func tokenSeeds(t testing.TB) (all []seed) {
	good := mustSign(t, keyset(t, "current"), goodClaims)
	first, second := strings.Index(good, "."), strings.LastIndex(good, ".")
	add := func(how int, data string) { all = append(all, seed{uint8(how), uint16(0), []byte(data)}) }
	all = streamSeeds([]byte(good), 0, first, first+1, second, second+1, len(good)-1)
	expired, other := goodClaims, goodClaims
	expired.Expires = now.Add(-time.Second)
	other.IssuedAt, other.Expires = time.Unix(1, 0), time.Unix(253_402_300_799, 0)
	for _, c := range []token.Claims{goodClaims, expired, other} {
		add(asIs, mustSign(t, keyset(t, "current"), c))
		add(asIs, mustSign(t, keyset(t, "old"), c))
	}
	for _, text := range []string{
		good[:second-1] + next(good[second-1]) + good[second:], good[:len(good)-1] + next(good[len(good)-1]), // bits that are for nothing
		good + "=", good + "\n", good + ".", good[:second], strings.Repeat("a", token.MaxLength+1), "..", "a.b.c", `{"payload":""}`,
		// RFC 8037, appendix A.4
		"eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg",
		"eyJhbGciOiJub25lIn0.e30.", "eyJhbGciOiJIUzI1NiIsImtpZCI6ImN1cnJlbnQiLCJ0eXAiOiJKV1QifQ.e30.AAAA",
	} {
		add(asIs, text)
	}
	header, body := string(part(t, good, 0)), string(part(t, good, 1))
	for _, r := range [][2]string{
		{"EdDSA", "none"}, {"EdDSA", "HS256"}, {"EdDSA", "ES256"}, {"session+jwt", "JWT"}, {`"current"`, `"old"`}, {`"current"`, `"nobody"`}, {`"current"`, `7`},
		{"{", `{"jku":"https://example.org",`}, {"{", `{"jwk":{},`}, {"{", `{"crit":["b64"],"b64":false,`}, {"{", `{"alg":"none",`}, {"{", "{ "}, {`"alg"`, `"Alg"`},
	} {
		add(signHeader, strings.Replace(header, r[0], r[1], 1))
	}
	for _, r := range [][2]string{
		{issuer, "urn:authsrv:00"}, {"{", `{"admin":true,`}, {"{", `{"sub":"00",`}, {"01", "0"}, {`"cnf"`, `"CNF"`}, {`"exp":`, `"exp":-`}, {`"exp":`, `"exp":1e`},
		{`"iat":`, `"iat":9`}, {"0a0b0c", "0A0B0C"}, {`"aud":"`, `"aud":"x`}, {`"iss":"`, `"iss":"x`},
		{`"jti":"`, `"jti":"zz`}, {`"jkt":"`, `"jkt":"-`}, {"{", "[{"}, {"}}", "}} "}, {`"sid":"14`, `"sid":"\u0031\u0034`},
	} {
		add(signBody, strings.Replace(body, r[0], r[1], 1))
	}
	add(signBody, body)
	add(signHeader, header)
	tokens := 0
	for _, c := range recordedConnections(t) {
		for _, b := range c.plaintexts {
			if welcome, err := wire.ParseWelcome(b); err == nil && len(welcome.Token) > 0 {
				add(asIs, string(welcome.Token))
				add(signBody, string(part(t, string(welcome.Token), 1)))
				tokens++
			}
		}
	}
	if tokens == 0 {
		t.Fatal("recording.json has no token")
	}
	return all
}

// FuzzToken verifies any text, a good token with any change, and tokens that are signed well but say anything. What nobody
// signed is accepted only if it is, to the letter, what the keyset signs; what was signed only if its claims are of the rules.
func FuzzToken(f *testing.F) {
	plant(f)
	good := mustSign(f, keyset(f, "current"), goodClaims)
	sets := map[string]*token.Keyset{"current": keyset(f, "current"), "old": keyset(f, "old")}
	f.Fuzz(func(t *testing.T, how uint8, at uint16, data []byte) {
		how %= tokenChanges
		var text string
		switch how {
		case signBody:
			text = sealToken(part(t, good, 0), data)
		case signHeader:
			text = sealToken(data, part(t, good, 1))
		default:
			text = string(change([]byte(good), how, at, data))
		}
		claims, err := sets["current"].Verify(text, now)
		if other, again := sets["old"].Verify(text, now); other != claims || (again == nil) != (err == nil) {
			t.Fatalf("%v, and by the other keyset %v", err, again)
		}
		if err != nil && !errors.Is(err, token.ErrExpired) {
			if !errors.Is(err, token.ErrMalformed) || claims != (token.Claims{}) {
				t.Fatalf("%+v, %v", claims, err)
			}
			return
		}
		if len(text) > token.MaxLength || (err == nil) != now.Before(claims.Expires) || !claims.IssuedAt.Before(claims.Expires) {
			t.Fatalf("%d bytes, %+v: %v", len(text), claims, err)
		}
		kid := readAlone(t, text, claims)
		again := mustSign(t, sets[kid], claims)
		if how < changes && again != text {
			t.Fatalf("accepts\n%s, and signs\n%s", text, again)
		}
		if same, _ := sets["current"].Verify(again, now); same != claims {
			t.Fatalf("%+v is signed, and read as %+v", claims, same)
		}
		if how == signHeader && claims != goodClaims {
			t.Fatalf("%+v under the header %q", claims, data)
		}
	})
}

// readAlone reads a token that was accepted without package token: its header has the three members of PROTOCOL 13 and no other, and
// its body the claims. It returns the key that signed.
func readAlone(t *testing.T, text string, claims token.Claims) (kid string) {
	var header map[string]string
	if err := json.Unmarshal(part(t, text, 0), &header); err != nil {
		t.Fatal(err)
	}
	kid = header["kid"]
	if len(header) != 3 || header["alg"] != "EdDSA" || header["typ"] != "session+jwt" || kid != "current" && kid != "old" {
		t.Fatalf("accepts the header %q", header)
	}
	body := part(t, text, 1)
	var p, cnf map[string]json.RawMessage // whose keys, unlike those of a struct, are taken as they are
	if err := json.Unmarshal(body, &p); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(p["cnf"], &cnf); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		got  json.RawMessage
		want any
	}{
		"iss": {p["iss"], issuer}, "aud": {p["aud"], issuer}, "jkt": {cnf["jkt"], claims.Thumbprint},
		"sub": {p["sub"], hex.EncodeToString(claims.Subject[:])}, "sid": {p["sid"], hex.EncodeToString(claims.SessionID[:])},
		"jti": {p["jti"], hex.EncodeToString(claims.ID[:])},
		"iat": {p["iat"], float64(claims.IssuedAt.Unix())}, "exp": {p["exp"], float64(claims.Expires.Unix())},
	} {
		var got any
		if err := json.Unmarshal(c.got, &got); err != nil || got != c.want {
			t.Fatalf("%s\nhas the %s %v, want %v", body, name, got, c.want)
		}
	}
	if claims.Issuer != issuer || claims.Audience != issuer || claims.IssuedAt.Unix() <= 0 || claims.Expires.Unix() > 253_402_300_799 {
		t.Fatalf("%s\nis read as %+v", body, claims)
	}
	return kid
}
