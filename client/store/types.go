package store

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"
	"unicode"
	"unicode/utf8"
)

var (
	ErrCorrupt         = errors.New("store: damaged file")
	ErrNewer           = errors.New("store: file made by a newer version")
	ErrIdentityChanged = errors.New("store: another identity is pinned")
	ErrPermissions     = errors.New("store: others may write to the folder")
	ErrTooLarge        = errors.New("store: too much to remember")
	ErrBusy            = errors.New("store: another process holds the lock")
	ErrInvalid         = errors.New("store: invalid value")
)

// Secret is 32 bytes of key material. It is assignable to and from [32]byte; neither fmt nor slog nor json prints it.
type Secret [32]byte

// Token is a session token, which neither fmt nor slog nor json prints.
type Token string

const (
	masked     = "[secret]"
	maxAddress = 300 // bytes; a DNS name is at most 253
)

// Format writes "[secret]", whatever the verb.
func (Secret) Format(s fmt.State, _ rune) { _, _ = io.WriteString(s, masked) }

// LogValue returns "[secret]".
func (Secret) LogValue() slog.Value { return slog.StringValue(masked) }

// MarshalText returns "[secret]".
func (Secret) MarshalText() ([]byte, error) { return []byte(masked), nil }

// Format writes "[secret]", whatever the verb.
func (Token) Format(s fmt.State, _ rune) { _, _ = io.WriteString(s, masked) }

// LogValue returns "[secret]".
func (Token) LogValue() slog.Value { return slog.StringValue(masked) }

// MarshalText returns "[secret]".
func (Token) MarshalText() ([]byte, error) { return []byte(masked), nil }

// Server is what is known of the server at one address. Times are kept in whole seconds.
type Server struct {
	Address      string // HOST:PORT, as it is dialed
	RealmID      [16]byte
	Identity     [32]byte // Ed25519 public key
	NextIdentity [32]byte // SHA-256 of the successor's public key, or zeros
	Epoch        uint32
	Version      uint8     // highest of the protocol that was confirmed
	Suite        uint8     // highest that was confirmed
	ServerTime   time.Time // latest that was confirmed, or zero
	Confirmed    bool      // pinned; otherwise only accepted by a person
	FirstSeen    time.Time // the store keeps the first one
}

// KDF are the parameters that an account's password was stretched with last time.
type KDF struct {
	Algorithm uint8
	Time      uint32 // passes
	MemoryKiB uint32
	Lanes     uint8
}

// Account is what this device keeps of an account of a realm.
type Account struct {
	RealmID   [16]byte
	Name      string // prepared
	DeviceKey Secret // X25519 private key: the client's static key towards this realm
	KDF       KDF
	Salt      [16]byte
	Method    uint8
}

// Session is the session that is held at an address.
type Session struct {
	Address   string
	Name      string // of the account
	RealmID   [16]byte
	Identity  [32]byte // towards which it may be resumed
	Token     Token
	ResumeKey Secret
	SessionID [16]byte
	AccountID [16]byte
	Expires   time.Time
}

// invalid says, as an ErrInvalid, what is wrong with a value.
type invalid string

func (e invalid) Error() string        { return "store: " + string(e) }
func (e invalid) Is(target error) bool { return target == ErrInvalid }

func (s *Server) check() error {
	switch {
	case !plain(s.Address, maxAddress):
		return invalid("a server's address is empty, too long, or has characters that don't belong there")
	case s.RealmID == [16]byte{}:
		return invalid("a server's realm id is missing")
	case s.Identity == [32]byte{}:
		return invalid("a server's identity is missing")
	}
	return checkTimes(s.ServerTime, s.FirstSeen)
}

func (a *Account) check() error {
	switch {
	case a.RealmID == [16]byte{}:
		return invalid("an account's realm id is missing")
	case !plain(a.Name, 64):
		return invalid("an account's name is empty, too long, or has characters that don't belong there")
	case a.DeviceKey == Secret{}:
		return invalid("an account's device key is missing")
	}
	return nil
}

func (s *Session) check() error {
	switch {
	case !plain(s.Address, maxAddress):
		return invalid("a session's address is empty, too long, or has characters that don't belong there")
	case !plain(s.Name, 64):
		return invalid("a session's name is empty, too long, or has characters that don't belong there")
	case s.RealmID == [16]byte{}:
		return invalid("a session's realm id is missing")
	case s.Identity == [32]byte{}:
		return invalid("a session's identity is missing")
	case !plain(string(s.Token), 800):
		return invalid("a session's token is empty, too long, or has characters that don't belong there")
	case s.ResumeKey == Secret{}:
		return invalid("a session's resume key is missing")
	case s.SessionID == [16]byte{}:
		return invalid("a session's id is missing")
	case s.AccountID == [16]byte{}:
		return invalid("a session's account id is missing")
	}
	return checkTimes(s.Expires)
}

// plain reports whether s is 1 to limit bytes of UTF-8 that can be shown in one line.
func plain(s string, limit int) bool {
	if len(s) == 0 || len(s) > limit || !utf8.ValidString(s) {
		return false
	}
	for _, r := range s {
		if !unicode.IsPrint(r) || r == ' ' {
			return false
		}
	}
	return true
}

// checkTimes refuses what RFC 3339 cannot write: a server's word decides the time when a session ends.
func checkTimes(times ...time.Time) error {
	for _, t := range times {
		if y := t.UTC().Year(); y < 1 || y > 9999 {
			return invalid("a time is out of range")
		}
	}
	return nil
}
