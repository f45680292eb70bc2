package credential

import (
	"unicode/utf8"

	"golang.org/x/text/secure/precis"
	"golang.org/x/text/width"
)

const (
	// NameMax is the longest name in bytes, prepared.
	NameMax = 64
	// PasswordMax is the longest password in bytes, prepared.
	PasswordMax = 1024

	// Preparing shrinks a string to a third at most: a full-width letter has 3 bytes and becomes 1,
	// three conjoining jamo have 9 and become 3. What is over four times a limit breaks it whatever
	// its characters are, and the work on hostile input is bounded.
	shrinks = 4
)

// PrepareName is the form in which a name is salted, sent and stored: PRECIS UsernameCaseMapped
// (RFC 8265), then 1 to 64 bytes of a-z 0-9 . _ + -, the first one a letter or a digit (PROTOCOL 5).
// Preparing it again gives the same. The error is a [Rule].
func PrepareName(typed string) (string, error) {
	if len(typed) > shrinks*NameMax {
		return "", RuleNameLength
	}
	if !utf8.ValidString(typed) {
		return "", RuleNameCharacters
	}
	// Mapping widths is the profile's own first step. Done before, what is then ASCII is spared its bidi rule, which
	// x/text also applies to names without a character from right to left, and so refuses "＋a" but not "+a".
	name, err := precis.UsernameCaseMapped.String(width.Fold.String(typed))
	switch {
	case err != nil:
		return "", RuleNameCharacters
	case len(name) == 0 || len(name) > NameMax:
		return "", RuleNameLength
	}
	for _, c := range []byte(name) {
		if !isAlphanumeric(c) && c != '.' && c != '_' && c != '+' && c != '-' {
			return "", RuleNameCharacters
		}
	}
	if !isAlphanumeric(name[0]) {
		return "", RuleNameStart
	}
	return name, nil
}

func isAlphanumeric(c byte) bool {
	return 'a' <= c && c <= 'z' || '0' <= c && c <= '9'
}

// PreparePassword is the form in which a password is judged and stretched: PRECIS OpaqueString
// (RFC 8265) as UTF-8, 1 to 1,024 bytes. It is the caller's to clear; the shortest password that is
// good is up to the [Policy]. The error is a [Rule].
func PreparePassword(typed string) ([]byte, error) {
	switch {
	case len(typed) == 0:
		return nil, RulePasswordShort
	case len(typed) > shrinks*PasswordMax:
		return nil, RulePasswordLong
	case !utf8.ValidString(typed):
		return nil, RulePasswordCharacters
	}
	password, err := precis.OpaqueString.Bytes([]byte(typed))
	switch {
	case err != nil:
		return nil, RulePasswordCharacters
	case len(password) > PasswordMax:
		clear(password)
		return nil, RulePasswordLong
	}
	return password, nil
}
