package credential

import (
	"bytes"
	"crypto/ed25519"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"testing"
)

// codeCase is what a codeVector is made from, and the key that came out.
type codeCase struct {
	id  string
	c   Code
	key *Key
}

// codeVector is PROTOCOL 5.1 for one code.
type codeVector struct {
	ID       string `json:"id"`
	Kind     string `json:"kind"`
	PublicID string `json:"public_id"`
	Secret   string `json:"secret"`
	Identity string `json:"identity_hash"`
	Text     string `json:"text"`
	PRK      string `json:"PRK"`
	Seed     string `json:"C_seed"`
	Public   string `json:"C"`
	Server   string `json:"C_srv"`
}

func codeCases() (cases []*codeCase) {
	for _, kind := range []CodeKind{CodeInvite, CodeReset} {
		name := kind.String()
		cases = append(cases, &codeCase{id: name, c: Code{
			Kind: kind, ID: fixed16(name + " id"), secret: fixed16(name + " secret"), Server: fixed("identity hash"),
		}})
	}
	return cases
}

// derive fills the case, by the steps as the spec has them.
func (c *codeCase) derive(t *testing.T) codeVector {
	t.Helper()
	kind := []byte(c.c.Kind.String())
	salt := taggedHash("authsrv v1 code", kind, c.c.ID[:], c.c.Server[:])
	prk, err := hkdf.Extract(sha256.New, c.c.secret[:], salt[:])
	if err != nil {
		t.Fatal(err)
	}
	seed, err := hkdf.Expand(sha256.New, prk, "authsrv v1 code ed25519 seed", 32)
	if err != nil {
		t.Fatal(err)
	}
	server, err := hkdf.Expand(sha256.New, prk, "authsrv v1 code server-confirm key", 32)
	if err != nil {
		t.Fatal(err)
	}
	if c.key, err = c.c.Key(); err != nil {
		t.Fatal(err)
	}
	public, serverKey := c.key.Public(), c.key.ServerKey()
	if !bytes.Equal(public[:], ed25519.NewKeyFromSeed(seed)[32:]) || !bytes.Equal(serverKey[:], server) {
		t.Errorf("%s: Key takes other steps than the spec", c.id)
	}
	check := taggedHash("authsrv v1 code-checksum", kind, c.c.ID[:], c.c.secret[:], c.c.Server[:])
	raw := bytes.Join([][]byte{c.c.ID[:], c.c.secret[:], c.c.Server[:], check[:6]}, nil)
	text := "authsrv-" + c.c.Kind.String() + "-" + codeEncoding.EncodeToString(raw)
	if c.c.Text() != text {
		t.Errorf("%s: the text is %s, want %s", c.id, c.c.Text(), text)
	}
	return codeVector{
		ID: c.id, Kind: c.c.Kind.String(), PublicID: encode(c.c.ID[:]), Secret: encode(c.c.secret[:]), Identity: encode(c.c.Server[:]),
		Text: text, PRK: encode(prk), Seed: encode(seed), Public: encode(public[:]), Server: encode(server),
	}
}

// prove adds what a code adds to a transcript.
func (c *codeCase) prove(t *testing.T, v *transcriptVector, sum [32]byte) {
	t.Helper()
	proof := c.key.ProveCode(sum)
	if !VerifyCode(c.key.Public(), sum, proof) || VerifyProof(c.key.Public(), sum, proof) || VerifyNewKey(c.key.Public(), sum, proof) {
		t.Errorf("%s: the code proof is refused, or good for something else", v.ID)
	}
	confirm := c.key.Confirm(sum, proof)
	v.Code, v.CodeProof, v.CodeConfirm = c.id, encode(proof[:]), encode(confirm[:])
}

func someCode(t *testing.T, kind CodeKind) Code {
	t.Helper()
	c, err := NewCode(bytes.NewReader(bytes.Repeat([]byte{0x5a, 0xc3, 0x17, 0x88}, 8)), kind, [32]byte{1, 2, 3})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestCodeRoundTrip(t *testing.T) {
	for _, kind := range []CodeKind{CodeInvite, CodeReset} {
		c := someCode(t, kind)
		text := c.Text()
		if want := len("authsrv-") + len(kind.String()) + 1 + 112; len(text) != want {
			t.Errorf("%d characters, want %d", len(text), want)
		}
		for _, typed := range []string{text, strings.ToUpper(text), "  " + text + "\r\n", text[:40] + "\n  " + text[40:], strings.Join(strings.Split(text, ""), " ")} {
			if got, err := ParseCode(typed); err != nil || got != c {
				t.Errorf("%q: %v, %v", typed, got, err)
			}
		}
		if want := "SHA256:" + base64.RawStdEncoding.EncodeToString(c.Server[:]); c.Fingerprint() != want || len(want) != 50 {
			t.Errorf("fingerprint %s, want %s", c.Fingerprint(), want)
		}
	}
	if _, err := NewCode(strings.NewReader("too short"), CodeInvite, [32]byte{}); err == nil {
		t.Error("a code without randomness")
	}
}

// TestCodeSlips: no slip of one character, and no two that are exchanged, go unnoticed.
func TestCodeSlips(t *testing.T) {
	c := someCode(t, CodeReset)
	text := c.Text()
	refused := func(what, typed string) {
		t.Helper()
		if _, err := ParseCode(typed); !errors.Is(err, ErrCodeMistyped) && !errors.Is(err, ErrCodePrefix) {
			t.Errorf("%s is read: %v", what, err)
		} else if len(typed) > 40 && strings.Contains(err.Error(), typed[30:40]) {
			t.Errorf("%s: the error shows the code", what)
		}
	}
	for i := range text {
		for _, other := range "a7z0-=" {
			if typed := text[:i] + string(other) + text[i+1:]; typed != text {
				refused(fmt.Sprintf("%q at %d", other, i), typed)
			}
		}
		refused(fmt.Sprintf("without character %d", i), text[:i]+text[i+1:])
		refused(fmt.Sprintf("character %d twice", i), text[:i+1]+text[i:])
		if i > 0 && text[i] != text[i-1] {
			refused(fmt.Sprintf("characters %d and %d exchanged", i-1, i), text[:i-1]+text[i:i+1]+text[i-1:i]+text[i+1:])
		}
	}
	refused("another kind", strings.Replace(text, "reset", "invite", 1))
	refused("nothing", "")
	refused("a password", "correct horse battery staple")
	refused("very much", text+strings.Repeat(" ", codeMax))
}

// TestCodeKeys: whatever differs between two codes makes another key.
func TestCodeKeys(t *testing.T) {
	seen := map[[32]byte]string{}
	for name, change := range map[string]func(*Code){
		"nothing": func(*Code) {}, "kind": func(c *Code) { c.Kind = CodeInvite }, "id": func(c *Code) { c.ID[15] ^= 1 },
		"secret": func(c *Code) { c.secret[0] ^= 1 }, "server": func(c *Code) { c.Server[31] ^= 1 },
	} {
		c := someCode(t, CodeReset)
		change(&c)
		k, err := c.Key()
		if err != nil {
			t.Fatal(err)
		}
		for _, b := range [][32]byte{k.Public(), k.ServerKey()} {
			if other, twice := seen[b]; twice {
				t.Errorf("%s and %s have a key in common", name, other)
			}
			seen[b] = name
		}
	}
}

// TestCodeIsNotPrinted by whatever prints what it is in.
func TestCodeIsNotPrinted(t *testing.T) {
	c := someCode(t, CodeInvite)
	for _, format := range []string{"%v", "%+v", "%#v", "%s", "%x", "%q", "%d"} {
		for _, v := range []any{c, &c, struct{ C Code }{c}, []Code{c}} {
			if got := fmt.Sprintf(format, v); strings.Contains(got, "5ac317") || strings.Contains(got, c.Text()[20:40]) || strings.Contains(got, "0x5a") || strings.Contains(got, "90 195 23") {
				t.Errorf("%s shows %s", format, got)
			}
		}
	}
	c.Destroy()
	if c.secret != ([16]byte{}) {
		t.Error("the secret is still there")
	}
}
