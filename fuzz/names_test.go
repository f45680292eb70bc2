package fuzz

import (
	"errors"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/authsrv/authsrv/credential"
	"github.com/authsrv/authsrv/wire"
)

func nameSeeds(t testing.TB) (all []seed) {
	add := func(s string) { all = append(all, seed{s}) }
	v := theVectors(t)
	for _, field := range []string{"typed_name", "typed_password", "login_name", "password"} {
		for _, s := range v.of(t, field) {
			add(s)
		}
	}
	for _, s := range []string{
		"", "a", "A", "0", "-a", ".a", "a.b_c+d-e", "a b", "Ａｌｉｃｅ", "＋a", "ß", "ſ", "İ", "K", "ﬁ", "a\u0301", "é",
		"\u00ad", "\u200b", "\ufeffa", "אa", "a\u0660", "\x00", "a\x7f",
		"\xff", "a\xc3", strings.Repeat("a", 64), strings.Repeat("a", 65), strings.Repeat("Ａ", 64),
		strings.Repeat("a", 256), strings.Repeat("a", 257), "\u1112\u1161\u11ab",
		"correct horse battery staple", " leading", "trailing ", "no\u00a0break", "ideographic\u3000space", "tab\there",
		"line\nend", "\u212bngström", "🔑🔑🔑🔑",
		strings.Repeat("p", 1024), strings.Repeat("p", 1025), strings.Repeat("ᄒ", 1365), strings.Repeat("\u3000", 1024),
		"\u0344", "\U0001d15e", "\u0f73\u0f71",
	} {
		add(s)
	}
	return all
}

// aName is PROTOCOL 5.
var aName = regexp.MustCompile(`^[a-z0-9][a-z0-9._+-]{0,63}$`)

// FuzzNames prepares any text as a name and as a password: what comes out is of the rules, and stays as it is when it is prepared
// again, since a client and a server both do.
func FuzzNames(f *testing.F) {
	plant(f)
	f.Fuzz(func(t *testing.T, typed string) {
		name, err := credential.PrepareName(typed)
		if err != nil {
			aRule(t, err, 1, 15)
		} else if again, err := credential.PrepareName(name); again != name || err != nil || !aName.MatchString(name) {
			t.Fatalf("%q is prepared as %q, and that as %q, %v", typed, name, again, err)
		}
		if name != "" && err != nil {
			t.Fatalf("%q with %v", name, err)
		}
		if aName.MatchString(typed) && name != typed {
			t.Fatalf("%q is prepared as %q, %v", typed, name, err)
		}
		password, err := credential.PreparePassword(typed)
		if err != nil {
			aRule(t, err, 16, 255)
			if password != nil {
				t.Fatalf("%q with %v", password, err)
			}
			return
		}
		again, err := credential.PreparePassword(string(password))
		if string(again) != string(password) || err != nil || len(password) == 0 || len(password) > credential.PasswordMax || !utf8.Valid(password) {
			t.Fatalf("%q is prepared as %q, and that as %q, %v", typed, password, again, err)
		}
	})
}

// aRule holds that an error is a rule that has a message, and is of a range.
func aRule(t *testing.T, err error, lowest, highest credential.Rule) {
	t.Helper()
	var rule credential.Rule
	if !errors.As(err, &rule) || !rule.Known() || rule < lowest || rule > highest {
		t.Fatalf("not a rule: %#v", err)
	}
}

func policySeeds(testing.TB) (all []seed) {
	add := func(text string, p credential.Policy) {
		all = append(all, seed{text, uint8(p.Kind), p.MinLength, p.MaxLength, p.MinScore})
	}
	good := credential.DefaultPolicy()
	for _, text := range []string{"strength", "classes", "length:8", "length:1024", "length:7", "length:1025", "length:08", "length:+8", "length:", "length", "", "Strength", "length:8 ", "policy-4"} {
		add(text, good)
	}
	for _, p := range []credential.Policy{
		{Kind: 0, MinLength: 8, MaxLength: 8}, {Kind: 1, MinLength: 8, MaxLength: 1024, MinScore: 4}, {Kind: 1, MinLength: 8, MaxLength: 1024, MinScore: 5},
		{Kind: 2, MinLength: 8, MaxLength: 1024}, {Kind: 2, MinLength: 8, MaxLength: 1024, MinScore: 1}, {Kind: 3, MinLength: 7, MaxLength: 1024},
		{Kind: 3, MinLength: 8, MaxLength: 1025}, {Kind: 3, MinLength: 9, MaxLength: 8}, {Kind: 4, MinLength: 8, MaxLength: 8}, {},
	} {
		add(p.String(), p)
	}
	return all
}

// FuzzPolicy reads any text as a policy, which is written as the same text; and holds that package credential and package wire, which know
// nothing of each other, take the same policies for good.
func FuzzPolicy(f *testing.F) {
	plant(f)
	f.Fuzz(func(t *testing.T, text string, kind uint8, minLength, maxLength uint16, minScore uint8) {
		if p, err := credential.ParsePolicy(text); err != nil {
			if !errors.Is(err, credential.ErrPolicy) || p != (credential.Policy{}) {
				t.Fatalf("%q: %+v, %v", text, p, err)
			}
		} else if p.String() != text || p.Valid() != nil {
			t.Fatalf("%q is written as %q: %v", text, p, p.Valid())
		}
		p := credential.Policy{Kind: credential.PolicyKind(kind), MinLength: minLength, MaxLength: maxLength, MinScore: minScore}
		params := wire.RegisterParams{Policy: wire.Policy{Kind: kind, MinLength: minLength, MaxLength: maxLength, MinScore: minScore}}
		_, onWire := wire.ParseRegisterParams(params.AppendTo(nil))
		if err := p.Valid(); (err == nil) != (onWire == nil) || err != nil && !errors.Is(err, credential.ErrPolicy) {
			t.Fatalf("%+v: %v, and on the wire %v", p, err, onWire)
		}
		if again, err := credential.ParsePolicy(p.String()); err == nil && again.Kind != p.Kind {
			t.Fatalf("%+v is written as %q, and read as %+v", p, p, again)
		}
	})
}

func strengthSeeds(t testing.TB) (all []seed) {
	add := func(name, password string) { all = append(all, seed{name, password}) }
	v := theVectors(t)
	for _, s := range v.of(t, "password") {
		add(v.of(t, "login_name")[0], s)
	}
	for _, s := range []string{
		"password", "Password1", "p@ssw0rd", "qwertyuiop", "aaaaaaaa", "abcdefgh", "12345678", "1991-11-09", "alicealice",
		"ALICE", "Ａｌｉｃｅ", "Aa0Aa0Aa0", "correct horse battery staple",
		"𝔭𝔞𝔰𝔰𝔴𝔬𝔯𝔡", "!@#$%^&*()", strings.Repeat("4bcd", 16), strings.Repeat("@", 64), strings.Repeat("é", 512),
		strings.Repeat("l1|!", 256), "eHMFFqRXPPxTqqLW",
	} {
		add("alice", s)
	}
	return all
}

// FuzzStrength judges any password by each kind of policy, which a server does with those that it is sent: that is a rule for
// passwords or none, the same one at each time, and a pass keeps what the policy says.
func FuzzStrength(f *testing.F) {
	plant(f)
	f.Fuzz(func(t *testing.T, typedName, typed string) {
		name, err := credential.PrepareName(typedName)
		if err != nil {
			return
		}
		password, err := credential.PreparePassword(typed)
		if err != nil {
			return
		}
		for _, text := range []string{"strength", "classes", "length:8"} {
			policy, err := credential.ParsePolicy(text)
			if err != nil {
				t.Fatal(err)
			}
			err = policy.Check(name, password)
			if again := policy.Check(name, password); again != err {
				t.Fatalf("%s, %q, %q: %v, then %v", text, name, password, err, again)
			}
			if err != nil {
				aRule(t, err, 16, 255)
			} else if len(password) < credential.PasswordMin || strings.EqualFold(name, string(password)) {
				t.Fatalf("%s lets %q pass for %q", text, password, name)
			}
		}
	})
}
