package credential

import (
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/trustelem/zxcvbn"
	"github.com/trustelem/zxcvbn/frequency"
	"golang.org/x/text/unicode/norm"
)

// scoredMax bounds zxcvbn's work in characters: its dynamic programming and its search for substitutions
// grow faster than the input. A password that is good in its first 64 characters is good. What costs most within
// them, every substitution that it knows and then words, was measured at 150 ms; a passphrase takes 1 ms.
const scoredMax = 64

// score is zxcvbn's estimate of a password, 0 to 4, with the name as something that a guesser knows.
func score(name, password string) int {
	plain := plainText(password)
	return zxcvbn.PasswordStrength(plain[:min(len(plain), scoredMax)], []string{name}).Score
}

const (
	combiningFirst = '\u0300'
	combiningLast  = '\u036f'

	// 18 control characters that no line ends at, in steps that zxcvbn sees no sequence in. Who has more characters
	// than that gets some twice.
	standInFirst = 0x0e
	standIns     = 18
	standInStep  = 7
)

// plainText is a password as zxcvbn can judge it, which takes whatever is not ASCII for strength, byte by byte: 64 times
// é got the full score. Here accents and widths are off, and every other character is one byte: a control
// character, of which a prepared password has none, and the same one for the same character.
func plainText(password string) string {
	if isASCII(password) {
		return password
	}
	plain := make([]byte, 0, len(password))
	seen := make(map[rune]byte)
	for _, r := range norm.NFKD.String(password) {
		switch {
		case r < utf8.RuneSelf:
			plain = append(plain, byte(r))
		case combiningFirst <= r && r <= combiningLast:
		default:
			standIn, ok := seen[r]
			if !ok {
				standIn = byte(standInFirst + len(seen)*standInStep%standIns)
				seen[r] = standIn
			}
			plain = append(plain, standIn)
		}
	}
	return string(plain)
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// common is every word of the ranked lists that zxcvbn 4.4.2 was built from, in lower case. They come to us in the
// module github.com/trustelem/zxcvbn, package frequency: 30,000 passwords from the xato.net corpus of ten
// million (M. Burnett, 2015), names of the US census of 1990, and words of Wikipedia and of film subtitles. All
// are needed: a password that is also a word ("jennifer") is only in the list where it ranks higher, and without
// the others 3,040 of the corpus's first 10,000 would be missing.
var common = sync.OnceValue(func() map[string]struct{} {
	words := 0
	for _, list := range frequency.FrequencyLists {
		words += len(list)
	}
	set := make(map[string]struct{}, words)
	for _, list := range frequency.FrequencyLists {
		for _, word := range list {
			set[strings.ToLower(word)] = struct{}{}
		}
	}
	return set
})

// isCommon reports whether a password is in a list of common passwords, in whatever case, width or accents.
func isCommon(password string) bool {
	lower := strings.ToLower(password)
	if _, ok := common()[lower]; ok {
		return true
	}
	_, ok := common()[plainText(lower)]
	return ok
}
