package credential

import "strconv"

// Rule is a rule for names or passwords that was broken, by its number on the wire (PROTOCOL 12).
// It is the error that [PrepareName], [PreparePassword] and [Policy.Check] return.
type Rule uint8

// The rules for names are below 16, those for passwords from 16.
const (
	RuleNameLength         Rule = 1
	RuleNameCharacters     Rule = 2
	RuleNameStart          Rule = 3
	RulePasswordShort      Rule = 16
	RulePasswordLong       Rule = 17
	RulePasswordCharacters Rule = 18
	RulePasswordIsName     Rule = 19
	RulePasswordCommon     Rule = 20
	RulePasswordWeak       Rule = 21
	RulePasswordClasses    Rule = 22
)

// rules has the name and the message of each rule. A test holds it against PROTOCOL 12.
var rules = map[Rule]struct{ name, message string }{
	RuleNameLength:         {"name-length", "a name has 1 to 64 characters"},
	RuleNameCharacters:     {"name-characters", "a name has only the characters a-z 0-9 . _ + -"},
	RuleNameStart:          {"name-start", "a name begins with a letter or a digit"},
	RulePasswordShort:      {"password-short", "the password is too short"},
	RulePasswordLong:       {"password-long", "the password is too long: at most 1024 bytes"},
	RulePasswordCharacters: {"password-characters", "the password has characters that are not allowed"},
	RulePasswordIsName:     {"password-is-name", "the password must not be the name"},
	RulePasswordCommon:     {"password-common", "the password is in a list of common passwords"},
	RulePasswordWeak:       {"password-weak", "the password is too easy to guess: make it longer or less regular"},
	RulePasswordClasses:    {"password-classes", "the password needs a digit, a lower-case and an upper-case letter"},
}

// Known reports whether r is a rule of this version of the protocol.
func (r Rule) Known() bool {
	_, ok := rules[r]
	return ok
}

// String is the name of the rule, such as "password-short".
func (r Rule) String() string {
	if known, ok := rules[r]; ok {
		return known.name
	}
	return "rule-" + strconv.Itoa(int(r))
}

// Error is the message that a person is shown.
func (r Rule) Error() string {
	if known, ok := rules[r]; ok {
		return known.message
	}
	return "an unknown rule was broken: " + strconv.Itoa(int(r))
}
