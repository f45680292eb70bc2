package client

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/authsrv/authsrv/credential"
	"github.com/authsrv/authsrv/noiseconn"
	"github.com/authsrv/authsrv/wire"
)

// Code is why a server refused or ended something. It is an error, whose text is for people.
type Code = wire.Code

// The codes that callers match on, with errors.Is. ErrDenied with a RetryAfter says that there were too many tries: the password
// may not have been judged.
const (
	ErrDenied             = wire.CodeDenied
	ErrSessionExpired     = wire.CodeSessionExpired
	ErrSessionRevoked     = wire.CodeSessionRevoked
	ErrSessionMalformed   = wire.CodeSessionMalformed
	ErrRegistrationClosed = wire.CodeRegistrationClosed
	ErrNameTaken          = wire.CodeNameTaken
	ErrCodeRefused        = wire.CodeCodeRefused
	ErrInviteNeeded       = wire.CodeInviteNeeded
	ErrNameInvalid        = wire.CodeNameInvalid
	ErrPasswordPolicy     = wire.CodePasswordPolicy
	ErrPasswordNeeded     = wire.CodePasswordNeeded
	ErrVersion            = wire.CodeVersion
	ErrOverloaded         = wire.CodeOverloaded
	ErrInternal           = wire.CodeInternal
	ErrLoggedOut          = wire.CodeLoggedOut
	ErrShuttingDown       = wire.CodeShuttingDown
	ErrIdle               = wire.CodeIdle
	ErrLimit              = wire.CodeLimit
)

// Rule is a rule of names or passwords that was broken, as judged here or by the server.
type Rule = credential.Rule

// What the client itself finds.
var (
	ErrConnection       = errors.New("no connection")
	ErrClosed           = errors.New("the client was closed, or has become a session")
	ErrProtocol         = errors.New("the server does not keep to the protocol")
	ErrNotLoggedIn      = errors.New("not logged in")
	ErrNotPinned        = errors.New("the server's identity is not pinned yet")
	ErrNotConfirmed     = errors.New("the server let you in without knowing your account: it is not the server that you registered with")
	ErrCodeNotConfirmed = errors.New("the server accepted without knowing the code: it is not the server that made it")
	ErrDowngrade        = errors.New("the server offers less than it did before")
	ErrPasswordUnsent   = errors.New("this server does not take passwords to judge: register without sending yours")
	ErrOutcomeUnknown   = errors.New("it is not known whether the change was made")
	ErrNotRemembered    = errors.New("the server has done it, but it could not be remembered here")
	ErrCertificate      = noiseconn.ErrCertificate
)

// An Error is a refusal by the server. It matches its Code, and its Rule if it has one.
type Error struct {
	Code       Code
	Rule       Rule          // with ErrNameInvalid and ErrPasswordPolicy; or 0
	RetryAfter time.Duration // until another attempt can succeed; 0: at once or, with ErrOverloaded, the server does not say
	Pinned     bool          // the server's identity was confirmed before
}

func (e *Error) Error() string {
	text, seconds := e.Code.Error(), int(e.RetryAfter.Seconds())
	switch {
	case e.Rule.Known():
		text = e.Rule.Error()
	case e.Code == ErrDenied && !e.Pinned:
		text += ", or not your server"
	}
	switch {
	case e.RetryAfter <= 0:
		return text
	case e.Code == ErrDenied: // the password may well be right
		return fmt.Sprintf("%s, or too many tries: wait %d s, then try again", text, seconds)
	}
	return fmt.Sprintf("%s: try again in %d s", strings.TrimSuffix(text, ": try again later"), seconds)
}

// Unwrap returns the code, and the rule if there is one.
func (e *Error) Unwrap() []error {
	if e.Rule.Known() {
		return []error{e.Code, e.Rule}
	}
	return []error{e.Code}
}

// ruleError is a name or a password that is refused here. It matches what the server's refusal would: the code, and the rule.
type ruleError struct {
	code  Code
	rule  Rule
	least uint16 // the length in bytes that RulePasswordShort asks for; 0: not known here
}

func (e *ruleError) Error() string {
	if e.least > 0 {
		return fmt.Sprintf("%v: at least %d bytes", e.rule, e.least)
	}
	return e.rule.Error()
}

// Unwrap returns the code and the rule.
func (e *ruleError) Unwrap() []error { return []error{e.code, e.rule} }

// broken gives a rule that was found broken here the code that goes with it.
func broken(code Code, err error) error {
	var rule Rule
	if !errors.As(err, &rule) {
		return err
	}
	return &ruleError{code: code, rule: rule}
}

func refused(d wire.Denied, pinned bool) error {
	return &Error{d.Code, Rule(d.Rule), time.Duration(d.RetryAfter) * time.Second, pinned}
}

// An UnknownServerError says that nothing is known of the server: a person has to compare the
// fingerprint, and then Dial again with it as Config.Identity.
type UnknownServerError struct {
	Address, Fingerprint string
}

func (e *UnknownServerError) Error() string {
	return fmt.Sprintf("the server at %s is not known; its fingerprint is %s", e.Address, e.Fingerprint)
}

// An IdentityChangedError says that the server is not who it was, or who it was said to be. Nothing of the user's was sent. Where
// KnownAt is set, and a person is sure that it is right so, [store.Store.RemoveServer] of that address forgets the one that is known.
type IdentityChangedError struct {
	Address, Known, Got string // the latter two are fingerprints
	KnownAt             string // the address at which the store has the known one; "" if it was given to Dial
	Given               bool   // the one that it showed was given to Dial: only the store has another
}

func (e *IdentityChangedError) Error() string {
	if e.KnownAt == "" {
		return fmt.Sprintf("the identity of the server at %s is not the one that was expected, %s: it showed %s", e.Address, e.Known, e.Got)
	}
	return fmt.Sprintf("the identity of the server at %s has changed: known is %s, but it showed %s", e.Address, e.Known, e.Got)
}

// A GoodbyeError says that the server ended the connection. It is an ErrConnection, and matches its Code: whether the session has ended
// with the connection, [Client.Resume] tells.
type GoodbyeError struct {
	Code Code
}

func (e *GoodbyeError) Error() string { return "the server ended the connection: " + e.Code.Error() }

// Unwrap returns ErrConnection, and the code.
func (e *GoodbyeError) Unwrap() []error { return []error{ErrConnection, e.Code} }

// LoginNeeded says of an error of Resume that there is no session to resume, or none any more: what helps is to log in.
func LoginNeeded(err error) bool {
	return errors.Is(err, ErrNotLoggedIn) || errors.Is(err, ErrSessionExpired) || errors.Is(err, ErrSessionRevoked) || errors.Is(err, ErrSessionMalformed)
}

// remembered marks an error of the store behind what the server has done already.
func remembered(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%w: %w", ErrNotRemembered, err)
}

// strangerError is what answered a connection, and did not shake hands as a server does.
type strangerError struct {
	address string
	cause   error
}

func (e *strangerError) Error() string {
	return fmt.Sprintf("what answers at %s is not an authsrv server", e.address)
}

// Unwrap returns what it did instead, which is an ErrProtocol.
func (e *strangerError) Unwrap() error { return e.cause }

// connectionError wraps an error of the network. If ctx has ended, that is the reason, or what ended it: Close.
func connectionError(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		err = ctx.Err()
		if context.Cause(ctx) == ErrClosed {
			err = ErrClosed
		}
	}
	var refused *noiseconn.RefusedError
	switch {
	case errors.As(err, &refused):
		return &Error{Code: refused.Refusal.Code}
	case errors.Is(err, wire.ErrMalformed), errors.Is(err, wire.ErrFrameSize), errors.Is(err, noiseconn.ErrHandshake), errors.Is(err, noiseconn.ErrRecord):
		return fmt.Errorf("%w: %w", ErrProtocol, err)
	}
	return fmt.Errorf("%w: %w", ErrConnection, err)
}
