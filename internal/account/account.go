package account

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/authsrv/authsrv/credential"
	"github.com/authsrv/authsrv/kv"
	"github.com/authsrv/authsrv/token"
)

// What a caller can be refused for. Rules of names and passwords are credential.Rule.
var (
	ErrDenied             = errors.New("account: denied")
	ErrSessionExpired     = errors.New("account: session has expired")
	ErrSessionRevoked     = errors.New("account: session was ended")
	ErrSessionMalformed   = errors.New("account: session token is not valid here")
	ErrRegistrationClosed = errors.New("account: registration is closed")
	ErrPasswordNeeded     = errors.New("account: registration needs the password itself")
	ErrInviteNeeded       = errors.New("account: registration needs an invite")
	ErrCodeRefused        = errors.New("account: code refused")
	ErrNameTaken          = errors.New("account: name is taken")
	ErrRecordRefused      = errors.New("account: record refused")
	ErrOverloaded         = errors.New("account: too many registrations or operations")
)

// ErrUnknownOutcome is no refusal: the store can't tell whether it was done.
var ErrUnknownOutcome = kv.ErrUnknownOutcome

// Denied is the one refusal of a proof, and of a registration that comes too early, whatever was wrong with it. Only RetryAfter may be told to the peer.
type Denied struct {
	RetryAfter time.Duration // until another attempt can succeed; 0: at once
	Reason     Outcome       // for the log and the audit record
	ByCode     bool          // the proof was that of a code
	Busy       bool          // it was not for the proof: too many registrations of one address, or operations of one account
}

func (d *Denied) Error() string { return fmt.Sprintf("%v: %v", d.sentinel(), d.Reason) }

// Is makes every Denied an ErrDenied, an ErrCodeRefused or an ErrOverloaded.
func (d *Denied) Is(target error) bool { return target == d.sentinel() }

func (d *Denied) sentinel() error {
	switch {
	case d.ByCode:
		return ErrCodeRefused
	case d.Busy:
		return ErrOverloaded
	}
	return ErrDenied
}

// Registration says who may register.
type Registration uint8

// The modes of registration.
const (
	RegistrationOpen    Registration = iota // the client enforces the policy; the password is never sent
	RegistrationClosed                      // nobody
	RegistrationChecked                     // only with a password that the server judges
	RegistrationInvited                     // only with an invite; otherwise as open
)

// Secrets are the keys that the store is useless without.
type Secrets struct {
	RealmID  [16]byte
	SaltKey  [32]byte            // K_salt
	NameKey  [32]byte            // K_name
	AuditKey [32]byte            // K_audit
	Wrapping map[uint32][32]byte // wrapping keys by id
	Current  uint32              // the wrapping key that seals
}

// Config configures a Service. Engine, Secrets and Tokens are needed; the zero value of the rest is the default.
type Config struct {
	Engine  kv.Engine
	Secrets Secrets
	Tokens  *token.Keyset // this, and the wrapping keys, SetTokens and SetWrapping change later

	MustExist bool // an empty engine is an ErrNoStore, and not a new store

	KDF          credential.KDF    // of new records; zero: credential.DefaultKDF
	Policy       credential.Policy // zero: credential.DefaultPolicy
	Registration Registration      // this, and what stands beside it, SetRules changes later

	SessionLife    time.Duration // where the client asks for none; 0: one day
	MaxSessionLife time.Duration // 0: 30 days

	// MaxStretching bounds the passwords that are stretched at once in checked mode, each with
	// the KDF's memory; 0: 2. Four times as many may wait; of one address no more than two do either.
	MaxStretching int

	// RegistrationsPerMinute bounds the registrations from one IPv4 address or IPv6 /64, but for those with an
	// invite; 0: 60, negative: unlimited. A /56 has four times as many, and a /48 or an IPv4 /24 sixteen times.
	RegistrationsPerMinute int

	// OperationsPerMinute bounds what one account does with its password while it is logged in: changes of it, and ends of all
	// sessions. 0: DefaultOperationsPerMinute, negative: unlimited.
	OperationsPerMinute int

	AuditRetention time.Duration // how long audit records are kept; 0: one year

	Rand io.Reader // safe for concurrent use; nil: crypto/rand
}

// DefaultOperationsPerMinute is Config.OperationsPerMinute where that is 0 (PROTOCOL 11).
const DefaultOperationsPerMinute = 10

// NonceLife is how long a server nonce is good for (PROTOCOL 11).
const NonceLife = 20 * time.Second

// A Service is the accounts of one realm. Its methods may be called from several goroutines.
type Service struct {
	c        Config // but for what is in rules
	rules    atomic.Pointer[Rules]
	tokens   atomic.Pointer[token.Keyset]
	store    store
	throttle throttle
	dummy    atomic.Pointer[dummy]
	chained  atomic.Int64  // Unix nanoseconds; events of before are chained
	stretch  chan struct{} // a place each for who stretches
	waiting  chan struct{} // a place each for who stretches or waits to
	crowd    crowd         // of those, by address

	registrations pace[netip.Prefix]
	operations    pace[ID] // by account
}

// New checks the configuration and the store, which it initializes if it is empty. It starts no goroutine.
func New(ctx context.Context, c *Config) (*Service, error) {
	s := &Service{c: *c}
	s.c.Secrets.Wrapping = maps.Clone(c.Secrets.Wrapping)
	if s.c.KDF == (credential.KDF{}) {
		s.c.KDF = credential.DefaultKDF()
	}
	if s.c.MaxStretching == 0 {
		s.c.MaxStretching = 2
	}
	if s.c.Rand == nil {
		s.c.Rand = rand.Reader
	}
	if s.c.Engine == nil || s.c.Tokens == nil {
		return nil, errors.New("account: Engine and Tokens are needed")
	}
	if err := s.SetRules(Rules{c.Policy, c.Registration, c.SessionLife, c.MaxSessionLife}); err != nil {
		return nil, err
	}
	if s.c.AuditRetention == 0 {
		s.c.AuditRetention = 365 * 24 * time.Hour
	}
	if s.c.AuditRetention < 0 {
		return nil, errors.New("account: AuditRetention is negative")
	}
	if s.c.MaxStretching < 0 {
		return nil, errors.New("account: MaxStretching is negative")
	}
	if err := s.SetTokens(s.c.Tokens); err != nil {
		return nil, err
	}
	if err := s.c.KDF.Check(); err != nil {
		return nil, err
	}
	if s.c.RegistrationsPerMinute == 0 {
		s.c.RegistrationsPerMinute = 60
	}
	s.registrations.init(s.c.RegistrationsPerMinute)
	if s.c.OperationsPerMinute == 0 {
		s.c.OperationsPerMinute = DefaultOperationsPerMinute
	}
	s.operations.init(s.c.OperationsPerMinute)
	s.stretch = make(chan struct{}, s.c.MaxStretching)
	s.waiting = make(chan struct{}, 5*s.c.MaxStretching)
	var err error
	if s.store, err = newStore(s.c.Engine, s.c.Rand, &s.c.Secrets); err != nil {
		return nil, err
	}
	if err := s.store.init(ctx, s.c.MustExist); err != nil {
		return nil, err
	}
	if err := s.store.checkKeys(ctx); err != nil {
		return nil, err
	}
	if h, _, err := s.head(ctx); err == nil {
		s.passed(h.tip.end)
	} else if !errors.Is(err, ErrDamaged) { // which verification tells
		return nil, err
	}
	s.throttle.init()
	return s, s.makeDummy()
}

// signsFor finds out whose tokens a keyset signs: with another realm's, every login would fail in its last step.
func signsFor(tokens *token.Keyset, issuer string) error {
	now := time.Now()
	_, err := tokens.Sign(token.Claims{
		Issuer: issuer, Audience: issuer,
		IssuedAt: now, Expires: now.Add(time.Hour), Thumbprint: token.Thumbprint([32]byte{}),
	})
	return err
}

// RealmID returns the realm's id.
func (s *Service) RealmID() [16]byte { return s.c.Secrets.RealmID }

// Issuer returns the name of a realm as an issuer of tokens (PROTOCOL 13).
func Issuer(realmID [16]byte) string { return "urn:authsrv:" + hex.EncodeToString(realmID[:]) }

// random fills b. The system's source does not fail; a test's may.
func (s *Service) random(b []byte) error {
	_, err := io.ReadFull(s.c.Rand, b)
	return err
}
