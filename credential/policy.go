package credential

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode"
)

// PolicyKind is what a [Policy] asks for besides a length, by its number on the wire (PROTOCOL 7.7).
type PolicyKind uint8

const (
	// PolicyStrength asks for a zxcvbn score, and refuses common passwords.
	PolicyStrength PolicyKind = 1
	// PolicyClasses asks for a digit, a lower-case and an upper-case letter.
	PolicyClasses PolicyKind = 2
	// PolicyLength asks for nothing else.
	PolicyLength PolicyKind = 3
)

// PasswordMin is the least number of bytes that a policy may ask for.
const PasswordMin = 8

// Policy is what a new password must fulfil. A server announces its own, and who registers or changes a
// password holds to it. Lengths are bytes of the prepared password. MinScore is 0 to 4, and 0 for
// another kind than [PolicyStrength].
type Policy struct {
	Kind      PolicyKind
	MinLength uint16
	MaxLength uint16
	MinScore  uint8
}

// ErrPolicy is what a policy that [Policy.Valid] or [ParsePolicy] refuses wraps.
var ErrPolicy = errors.New("credential: not a password policy")

// DefaultPolicy asks for 8 to 1,024 bytes and a score of 3: about 10^8 guesses, "safely unguessable"
// in zxcvbn's words.
func DefaultPolicy() Policy {
	return Policy{Kind: PolicyStrength, MinLength: PasswordMin, MaxLength: PasswordMax, MinScore: 3}
}

// ParsePolicy reads a policy as an operator writes it: "strength", which is the default one, "classes",
// or "length:N" with N of 8 to 1024 bytes.
func ParsePolicy(text string) (Policy, error) {
	policy := DefaultPolicy()
	number, isLength := strings.CutPrefix(text, "length:")
	switch {
	case text == "strength":
		return policy, nil
	case text == "classes":
		policy.Kind, policy.MinScore = PolicyClasses, 0
		return policy, nil
	case isLength:
		length, err := strconv.ParseUint(number, 10, 16)
		if err != nil || strconv.FormatUint(length, 10) != number || length < PasswordMin || length > PasswordMax {
			return Policy{}, fmt.Errorf("%w: the length is to be %d to %d", ErrPolicy, PasswordMin, PasswordMax)
		}
		policy.Kind, policy.MinLength, policy.MinScore = PolicyLength, uint16(length), 0
		return policy, nil
	}
	return Policy{}, fmt.Errorf("%w: it is to be strength, classes or length:N", ErrPolicy)
}

// String is the inverse of [ParsePolicy]. What that has no words for, as another score, is left out.
func (p Policy) String() string {
	switch p.Kind {
	case PolicyStrength:
		return "strength"
	case PolicyClasses:
		return "classes"
	case PolicyLength:
		return "length:" + strconv.Itoa(int(p.MinLength))
	}
	return "policy-" + strconv.Itoa(int(p.Kind))
}

// Valid refuses what PROTOCOL 7.7 does not allow, with an error that wraps [ErrPolicy].
func (p Policy) Valid() error {
	switch {
	case p.Kind < PolicyStrength || p.Kind > PolicyLength:
		return fmt.Errorf("%w: unknown kind %d", ErrPolicy, p.Kind)
	case p.MinLength < PasswordMin:
		return fmt.Errorf("%w: a shortest length of %d is below %d", ErrPolicy, p.MinLength, PasswordMin)
	case p.MaxLength > PasswordMax:
		return fmt.Errorf("%w: a longest length of %d is over %d", ErrPolicy, p.MaxLength, PasswordMax)
	case p.MinLength > p.MaxLength:
		return fmt.Errorf("%w: the shortest length is over the longest", ErrPolicy)
	case p.Kind == PolicyStrength && p.MinScore > 4:
		return fmt.Errorf("%w: a score of %d is over 4", ErrPolicy, p.MinScore)
	case p.Kind != PolicyStrength && p.MinScore != 0:
		return fmt.Errorf("%w: a score with a kind that has none", ErrPolicy)
	}
	return nil
}

// Check judges a password for a name, both prepared. The error is the first [Rule] broken, of: too short, too
// long, is the name; then, by kind, common and weak, or classes. A strength costs some milliseconds, and
// for hostile input tenths of a second: a server bounds how many it computes at once.
func (p Policy) Check(name string, password []byte) error {
	switch {
	case len(password) < int(p.MinLength):
		return RulePasswordShort
	case len(password) > int(p.MaxLength):
		return RulePasswordLong
	case isName(name, string(password)):
		return RulePasswordIsName
	}
	switch p.Kind {
	case PolicyStrength:
		if isCommon(string(password)) {
			return RulePasswordCommon
		}
		if score(name, string(password)) < int(p.MinScore) {
			return RulePasswordWeak
		}
	case PolicyClasses:
		if !hasClasses(string(password)) {
			return RulePasswordClasses
		}
	}
	return nil
}

// isName also sees through what PrepareName maps, such as full-width letters, which a score would take
// for strength.
func isName(name, password string) bool {
	if strings.EqualFold(name, password) {
		return true
	}
	prepared, err := PrepareName(password)
	return err == nil && prepared == name
}

func hasClasses(password string) bool {
	return strings.ContainsFunc(password, unicode.IsDigit) &&
		strings.ContainsFunc(password, unicode.IsLower) &&
		strings.ContainsFunc(password, unicode.IsUpper)
}
