package credential

import (
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base32"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode"
)

// CodeKind is what a code is good for.
type CodeKind uint8

const (
	// CodeInvite is good for the registration of one account.
	CodeInvite CodeKind = 1
	// CodeReset sets a new password for one account.
	CodeReset CodeKind = 2
)

var codeKinds = map[CodeKind]string{CodeInvite: "invite", CodeReset: "reset"}

// String is the kind as it stands in a code.
func (k CodeKind) String() string { return codeKinds[k] }

// Code is what an operator gives to a person for one use (PROTOCOL 5.1). Who has it has its secret: it is never sent, logged or
// stored, and printing a Code does not show it.
type Code struct {
	Kind   CodeKind
	ID     [16]byte // public
	Server [32]byte // SHA-256 of the server's identity
	secret [16]byte
}

// What [ParseCode] refuses.
var (
	ErrCodePrefix   = errors.New("this is not a code: one begins with authsrv-invite- or authsrv-reset-")
	ErrCodeMistyped = errors.New("the code is not complete, or has a slip in it: copy it again")
)

const (
	codePrefix = "authsrv-"
	codeCheck  = 6                        // bytes of the checksum
	codeSize   = 16 + 16 + 32 + codeCheck // 112 characters, without a bit to spare
	codeMax    = 1024                     // characters that are looked at
)

var codeEncoding = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// NewCode makes a code of a server, whose identity has a SHA-256.
func NewCode(random io.Reader, kind CodeKind, server [32]byte) (Code, error) {
	c := Code{Kind: kind, Server: server}
	for _, b := range [][]byte{c.ID[:], c.secret[:]} {
		if _, err := io.ReadFull(random, b); err != nil {
			return Code{}, err
		}
	}
	return c, nil
}

// ParseCode reads a code as a person copied it: with white space anywhere, and in whatever case. The error never has a part of it.
func ParseCode(text string) (Code, error) {
	if len(text) > codeMax {
		return Code{}, ErrCodeMistyped
	}
	text = strings.Map(func(r rune) rune {
		switch {
		case unicode.IsSpace(r):
			return -1
		case 'A' <= r && r <= 'Z':
			return r - 'A' + 'a'
		}
		return r
	}, text)
	for kind, name := range codeKinds {
		body, found := strings.CutPrefix(text, codePrefix+name+"-")
		if !found {
			continue
		}
		raw, err := codeEncoding.DecodeString(body)
		if err != nil || len(raw) != codeSize || len(body) != codeEncoding.EncodedLen(codeSize) {
			return Code{}, ErrCodeMistyped
		}
		defer clear(raw)
		c := Code{Kind: kind, ID: [16]byte(raw), secret: [16]byte(raw[16:]), Server: [32]byte(raw[32:])}
		check := c.check()
		if subtle.ConstantTimeCompare(check[:], raw[64:]) != 1 {
			return Code{}, ErrCodeMistyped
		}
		return c, nil
	}
	return Code{}, ErrCodePrefix
}

// Text is the code as it is given to a person. It is a secret.
func (c Code) Text() string {
	raw := append(append(append(make([]byte, 0, codeSize), c.ID[:]...), c.secret[:]...), c.Server[:]...)
	check := c.check()
	return codePrefix + c.Kind.String() + "-" + codeEncoding.EncodeToString(append(raw, check[:]...))
}

// String says what kind of code it is, and no more.
func (c Code) String() string { return codePrefix + c.Kind.String() + "-…" }

// Format writes String, whatever the verb.
func (c Code) Format(s fmt.State, _ rune) { _, _ = io.WriteString(s, c.String()) }

// Fingerprint is that of the server's identity, as in an address (PROTOCOL 4).
func (c Code) Fingerprint() string {
	return "SHA256:" + base64.RawStdEncoding.EncodeToString(c.Server[:])
}

// codeHash is TH of what is in a code, with or without its secret.
func (c Code) codeHash(label string, secret bool) [32]byte {
	var space [256]byte
	b := appendPrefixed(space[:0], label)
	b = appendPrefixed(b, c.Kind.String())
	b = appendPrefixed(b, c.ID[:])
	if secret {
		b = appendPrefixed(b, c.secret[:])
	}
	return sha256.Sum256(appendPrefixed(b, c.Server[:]))
}

func (c Code) check() [codeCheck]byte {
	sum := c.codeHash("authsrv v1 code-checksum", true)
	return [codeCheck]byte(sum[:])
}

// prk is PRK of PROTOCOL 5.1.
func (c Code) prk() ([]byte, error) {
	salt := c.codeHash("authsrv v1 code", false)
	return hkdf.Extract(sha256.New, c.secret[:], salt[:])
}

// Key is the key that the code's secret becomes: Public is C and ServerKey C_srv, which the server stores, and ProveCode proves it.
func (c Code) Key() (*Key, error) {
	prk, err := c.prk()
	if err != nil {
		return nil, err
	}
	defer clear(prk)
	return expandKey(prk, "authsrv v1 code ed25519 seed", "authsrv v1 code server-confirm key")
}

// Destroy clears the secret.
func (c *Code) Destroy() { clear(c.secret[:]) }
