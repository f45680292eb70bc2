package fuzz

import (
	"errors"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/authsrv/authsrv/credential"
)

func nameSeeds(t testing.TB) (all []seed) {
	add := func(s string) { all = append(all, seed{s, s}) }
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
	return append(all, strengthSeeds(t)...)
}

// aName is PROTOCOL 5.
var aName = regexp.MustCompile(`^[a-z0-9][a-z0-9._+-]{0,63}$`)

// FuzzNames prepares any two texts as a name and as a password, and judges that password for that name.
func FuzzNames(f *testing.F) {
	plant(f)
	f.Fuzz(func(t *testing.T, typedName, typedPassword string) {
		name, ok := prepareName(t, typedName)
		password, good := preparePassword(t, typedPassword)
		if ok && good {
			judged(t, name, password)
		}
	})
}

// prepareName: what comes out is of the rules, and stays as it is when it is prepared again, since a client and a server both do.
func prepareName(t *testing.T, typed string) (name string, ok bool) {
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
	return name, err == nil
}

// preparePassword is the same for a password.
func preparePassword(t *testing.T, typed string) (password []byte, ok bool) {
	password, err := credential.PreparePassword(typed)
	if err != nil {
		aRule(t, err, 16, 255)
		if password != nil {
			t.Fatalf("%q with %v", password, err)
		}
		return nil, false
	}
	again, err := credential.PreparePassword(string(password))
	if string(again) != string(password) || err != nil || len(password) == 0 || len(password) > credential.PasswordMax || !utf8.Valid(password) {
		t.Fatalf("%q is prepared as %q, and that as %q, %v", typed, password, again, err)
	}
	return password, true
}

// aRule holds that an error is a rule that has a message, and is of a range.
func aRule(t *testing.T, err error, lowest, highest credential.Rule) {
	t.Helper()
	var rule credential.Rule
	if !errors.As(err, &rule) || !rule.Known() || rule < lowest || rule > highest {
		t.Fatalf("not a rule: %#v", err)
	}
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

// judged has a password pass by each kind of policy, as a server does with those that it is sent: that is a rule for
// passwords or none, the same one at each time, and a pass keeps what the policy says.
func judged(t *testing.T, name string, password []byte) {
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
}
