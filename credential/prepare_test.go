package credential

import (
	"strings"
	"testing"
)

func TestPrepareName(t *testing.T) {
	for _, c := range []struct {
		typed, want string
		rule        Rule
	}{
		{"alice", "alice", 0},
		{"Alice", "alice", 0},
		{"a", "a", 0},
		{"0", "0", 0},
		{"a.b_c+d-e9", "a.b_c+d-e9", 0},
		{"ＡＬＩＣＥ", "alice", 0},         // full-width letters
		{"ｂｏｂ．ｓｍｉｔｈ", "bob.smith", 0}, // and a full-width stop
		{"\u212aelvin", "kelvin", 0},  // the Kelvin sign is a k
		{"ａ＋", "a+", 0},
		{strings.Repeat("Z", 64), strings.Repeat("z", 64), 0},
		{strings.Repeat("Ｚ", 64), strings.Repeat("z", 64), 0},

		{"", "", RuleNameLength},
		{strings.Repeat("z", 65), "", RuleNameLength},
		{strings.Repeat("Ｚ", 65), "", RuleNameLength},
		{strings.Repeat("z", 1<<20), "", RuleNameLength},
		{strings.Repeat("\u0301", 1<<20), "", RuleNameLength},

		{"a b", "", RuleNameCharacters},
		{" alice", "", RuleNameCharacters},
		{"alice\n", "", RuleNameCharacters},
		{"alice\x00", "", RuleNameCharacters},
		{"alice@example.org", "", RuleNameCharacters},
		{"a/b", "", RuleNameCharacters},
		{"a\xffb", "", RuleNameCharacters},
		{"\u00e9ve", "", RuleNameCharacters},     // é
		{"e\u0301ve", "", RuleNameCharacters},    // e and a combining accent, which compose
		{"x\u0301y", "", RuleNameCharacters},     // and one that does not
		{"stra\u00dfe", "", RuleNameCharacters},  // ß is not ss
		{"\u0391lice", "", RuleNameCharacters},   // a Greek capital alpha
		{"\u0430lice", "", RuleNameCharacters},   // a Cyrillic a
		{"\u0130smail", "", RuleNameCharacters},  // İ is not i
		{"\ufb01x", "", RuleNameCharacters},      // the ligature fi
		{"a\u200db", "", RuleNameCharacters},     // a joiner
		{"a\u00adb", "", RuleNameCharacters},     // a soft hyphen
		{"\u0663abc", "", RuleNameCharacters},    // an Arabic digit
		{"\u202ealice", "", RuleNameCharacters},  // a change of direction
		{"\u05d0\u05d1", "", RuleNameCharacters}, // Hebrew

		{".alice", "", RuleNameStart},
		{"-alice", "", RuleNameStart},
		{"_", "", RuleNameStart},
		{"＋alice", "", RuleNameStart},
	} {
		got, err := PrepareName(c.typed)
		if got != c.want {
			t.Errorf("%.70q: got %q, want %q", c.typed, got, c.want)
		}
		wantRule(t, err, c.rule)
		if err != nil {
			continue
		}
		if again, err := PrepareName(got); again != got || err != nil {
			t.Errorf("%q: prepared again it is %q, %v", got, again, err)
		}
	}
}

func TestPreparePassword(t *testing.T) {
	for _, c := range []struct {
		typed, want string
		rule        Rule
	}{
		{"correct horse", "correct horse", 0},
		{"  Two  Spaces  ", "  Two  Spaces  ", 0},                      // none is taken away
		{"a\u00a0b\u2003c\u3000d\u1680e", "a b c d e", 0},              // each other space is U+0020
		{"Pa\u0308sswo\u0308rd", "P\u00e4ssw\u00f6rd", 0},              // NFC
		{"\u212bngstr\u00f6m", "\u00c5ngstr\u00f6m", 0},                // the Ångström sign is the letter
		{"ＡＢＣ", "ＡＢＣ", 0},                                              // widths stay
		{"\ufb01sh", "\ufb01sh", 0},                                    // compatibility characters stay
		{"\u1112\u1161\u11ab", "\ud55c", 0},                            // jamo compose
		{"\U0001f511 key", "\U0001f511 key", 0},                        // symbols are allowed
		{"x", "x", 0},                                                  // the policy judges length
		{strings.Repeat("x", 1024), strings.Repeat("x", 1024), 0},      //
		{strings.Repeat("\u3000", 1024), strings.Repeat(" ", 1024), 0}, // 3,072 bytes as typed

		{"", "", RulePasswordShort},
		{strings.Repeat("x", 1025), "", RulePasswordLong},
		{strings.Repeat("\u00e9", 513), "", RulePasswordLong},
		{strings.Repeat("x", 1<<20), "", RulePasswordLong},
		{"tab\there", "", RulePasswordCharacters},
		{"line\n", "", RulePasswordCharacters},
		{"nul\x00", "", RulePasswordCharacters},
		{"\xc3\x28 not UTF-8", "", RulePasswordCharacters},
		{"joiner\u200d", "", RulePasswordCharacters},
		{"soft\u00adhyphen", "", RulePasswordCharacters},
		{"private\ue000use", "", RulePasswordCharacters},
		{"unassigned\u0378", "", RulePasswordCharacters},
		// More marks than Unicode's stream-safe form allows: normalizing would put a joiner among them,
		// and another library none.
		{"a" + strings.Repeat("\u0301", 40), "", RulePasswordCharacters},
	} {
		got, err := PreparePassword(c.typed)
		if string(got) != c.want {
			t.Errorf("%.70q: got %q, want %q", c.typed, got, c.want)
		}
		wantRule(t, err, c.rule)
		if err != nil {
			continue
		}
		if again, err := PreparePassword(string(got)); string(again) != string(got) || err != nil {
			t.Errorf("%q: prepared again it is %q, %v", got, again, err)
		}
	}
}
