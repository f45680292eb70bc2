package credential

import (
	"errors"
	"strings"
	"testing"

	"github.com/trustelem/zxcvbn/frequency"
)

func TestParsePolicy(t *testing.T) {
	for text, want := range map[string]Policy{
		"strength":    {PolicyStrength, 8, 1024, 3},
		"classes":     {PolicyClasses, 8, 1024, 0},
		"length:8":    {PolicyLength, 8, 1024, 0},
		"length:15":   {PolicyLength, 15, 1024, 0},
		"length:1024": {PolicyLength, 1024, 1024, 0},
	} {
		got, err := ParsePolicy(text)
		if err != nil || got != want {
			t.Errorf("%q: got %+v, %v", text, got, err)
		}
		if got.String() != text {
			t.Errorf("%q: written back as %q", text, got)
		}
		if err := got.Valid(); err != nil {
			t.Errorf("%q: %v", text, err)
		}
	}
	for _, text := range []string{
		"", "Strength", "strength ", "strength:4", "classes:3", "length", "length:", "length:7", "length:1025", "length:+8",
		"length:08", "length: 8", "length:8 ", "length:0x8", "length:65544", "length:-8", "none",
	} {
		if got, err := ParsePolicy(text); !errors.Is(err, ErrPolicy) || got != (Policy{}) {
			t.Errorf("%q: got %+v, %v", text, got, err)
		}
	}
	if DefaultPolicy() != (Policy{PolicyStrength, 8, 1024, 3}) {
		t.Errorf("the default is %+v", DefaultPolicy())
	}
}

func TestPolicyValid(t *testing.T) {
	for policy, good := range map[Policy]bool{
		{PolicyStrength, 8, 1024, 0}:  true,
		{PolicyStrength, 8, 1024, 4}:  true,
		{PolicyStrength, 64, 64, 3}:   true,
		{PolicyLength, 1024, 1024, 0}: true,

		{}:                              false,
		{4, 8, 1024, 0}:                 false,
		{255, 8, 1024, 0}:               false,
		{PolicyStrength, 7, 1024, 3}:    false,
		{PolicyStrength, 8, 1025, 3}:    false,
		{PolicyStrength, 65, 64, 3}:     false,
		{PolicyStrength, 8, 1024, 5}:    false,
		{PolicyClasses, 8, 1024, 1}:     false,
		{PolicyLength, 8, 1024, 3}:      false,
		{PolicyStrength, 2000, 3000, 3}: false,
	} {
		if err := policy.Valid(); (err == nil) != good || err != nil && !errors.Is(err, ErrPolicy) {
			t.Errorf("%+v: %v", policy, err)
		}
	}
}

// policyCase is a password, as typed, and the rule that it breaks for the name alice123.
type policyCase struct {
	policy   Policy
	password string
	want     Rule
}

func policyCases() []policyCase {
	strength := DefaultPolicy()
	anyScore := Policy{PolicyStrength, 8, 1024, 0}
	classes := Policy{PolicyClasses, 8, 1024, 0}
	length := Policy{PolicyLength, 12, 64, 0}
	return []policyCase{
		{strength, "correct horse battery staple", 0},
		{strength, "D0g.....................", RulePasswordWeak},
		{strength, "eigenvalue-trombone-7", 0},
		{strength, "x!7Kq2#bVz", 0},
		{strength, "0f8e1d3c5b7a9", 0},
		{strength, "wir fahren morgen zum meer", 0},
		{strength, "съешь ещё этих мягких булок", 0},
		{strength, "いろはにほへとちりぬるを", 0},
		{strength, "correct horse battery staple" + strings.Repeat(" a", 498), 0}, // 1,024 bytes

		{strength, "x!7Kq2#", RulePasswordShort},
		{strength, "123456", RulePasswordShort}, // common too, but the order is fixed
		{strength, "alice123", RulePasswordIsName},
		{strength, "ALICE123", RulePasswordIsName},
		{strength, "ａｌｉｃｅ１２３", RulePasswordIsName},

		{strength, "password", RulePasswordCommon},
		{strength, "password1", RulePasswordCommon},
		{strength, "PassWord1", RulePasswordCommon},
		{strength, "qwertyuiop", RulePasswordCommon},
		{strength, "iloveyou", RulePasswordCommon},
		{strength, "1q2w3e4r", RulePasswordCommon},
		{strength, "trustno1", RulePasswordCommon},
		{strength, "jennifer", RulePasswordCommon}, // filed under names
		{strength, "ｐａｓｓｗｏｒｄ", RulePasswordCommon},
		{strength, "pässwörd", RulePasswordCommon},
		{anyScore, "Trustno1", RulePasswordCommon},
		{anyScore, "zzzyyyzzzyyy", 0}, // not in the list, and no score is asked for

		{strength, "P@ssw0rd!", RulePasswordWeak},
		{strength, "aaaaaaaaaaaaaaaaaaaaaaaa", RulePasswordWeak},
		{strength, "abcdefghijklmnop", RulePasswordWeak},
		{strength, "1qaz2wsx3edc4rfv", RulePasswordCommon},
		{strength, "qwertzuiop0987654321", RulePasswordWeak},
		{strength, "24.12.1984", RulePasswordWeak},
		{strength, "alice123alice123", RulePasswordWeak}, // the name is known to who guesses
		{strength, "Summer2026", RulePasswordWeak},
		{strength, strings.Repeat("é", 64), RulePasswordWeak},
		{strength, strings.Repeat("\U0001f511", 20), RulePasswordWeak},
		{strength, "日本日本日本日本日本", RulePasswordWeak},
		{strength, "Ｐ＠ｓｓｗ０ｒｄ！", RulePasswordWeak},

		{classes, "Passw0rds", 0},
		{classes, "Пароль77", 0},
		{classes, "passw0rds", RulePasswordClasses},
		{classes, "PASSW0RDS", RulePasswordClasses},
		{classes, "Passwords", RulePasswordClasses},
		{classes, "Passw0r", RulePasswordShort},
		{classes, "Alice123", RulePasswordIsName},

		{length, "password1234", 0},
		{length, "password123", RulePasswordShort},
		{length, strings.Repeat("x", 64), 0},
		{length, strings.Repeat("x", 65), RulePasswordLong},
	}
}

func TestPolicyCheck(t *testing.T) {
	for _, c := range policyCases() {
		password, err := PreparePassword(c.password)
		if err != nil {
			t.Fatalf("%q: %v", c.password, err)
		}
		t.Run(c.policy.String()+"/"+firstCharacters(c.password, 30), func(t *testing.T) {
			wantRule(t, c.policy.Check("alice123", password), c.want)
		})
	}
	length := Policy{PolicyLength, 12, 64, 0}
	if err := length.Check("password1234", []byte("password1234")); err != RulePasswordIsName {
		t.Errorf("a password that is the name: %v", err)
	}
}

func firstCharacters(s string, n int) string {
	characters := []rune(s)
	return string(characters[:min(len(characters), n)])
}

// TestNameIsKnown shows that a name within a password adds nothing to its strength.
func TestNameIsKnown(t *testing.T) {
	const name, password = "xqzvkwjpbt", "xqzvkwjpbt-7"
	if err := DefaultPolicy().Check("alice", []byte(password)); err != nil {
		t.Errorf("of somebody else: %v", err)
	}
	if err := DefaultPolicy().Check(name, []byte(password)); err != RulePasswordWeak {
		t.Errorf("of who has the name: %v", err)
	}
}

// TestCommonPasswords shows that the list is as long as is promised, and is looked at whatever the score.
func TestCommonPasswords(t *testing.T) {
	const promised = 10_000
	passwords := frequency.FrequencyLists["passwords"]
	if len(passwords) < promised || len(common()) < promised {
		t.Fatalf("%d passwords, %d words in the set: fewer than %d", len(passwords), len(common()), promised)
	}
	for _, word := range passwords {
		if !isCommon(word) || !isCommon(strings.ToUpper(word)) {
			t.Fatalf("%q is not common", word)
		}
	}
	for _, good := range []string{"", "x!7Kq2#bVz", "correct horse battery staple"} {
		if isCommon(good) {
			t.Errorf("%q is common", good)
		}
	}
}

// TestScoredLength shows that what is behind the 64th character is not looked at, so that it costs nothing.
func TestScoredLength(t *testing.T) {
	regular := strings.Repeat("a", scoredMax)
	if got := score("alice", regular+"correct horse battery staple x!7Kq2#bVz"); got != score("alice", regular) {
		t.Errorf("the score is %d with a tail", got)
	}
	if got := score("alice", strings.Repeat("a", scoredMax-28)+"correct horse battery staple"); got != 4 {
		t.Errorf("the score is %d with the strength before the limit", got)
	}
}

func TestPlainText(t *testing.T) {
	for password, want := range map[string]string{
		"":                       "",
		"plain ASCII ~":          "plain ASCII ~",
		"Pässwörd":               "Password",
		"ＡＢＣ１２３":                 "ABC123",
		"жук":                    "\x0e\x15\x1c",
		"日本日本":                   "\x0e\x15\x0e\x15",
		"a\U0001f511b\U0001f511": "a\x0eb\x0e",
	} {
		if got := plainText(password); got != want {
			t.Errorf("%q: got %q, want %q", password, got, want)
		}
	}
}
