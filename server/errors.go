package server

import (
	"errors"
	"math"
	"time"

	"github.com/authsrv/authsrv/credential"
	"github.com/authsrv/authsrv/internal/account"
	"github.com/authsrv/authsrv/wire"
)

// refusals is what a peer is told of an error. What is not in it is internal, and says nothing.
var refusals = []struct {
	err  error
	code wire.Code
}{
	{account.ErrDenied, wire.CodeDenied},
	{account.ErrSessionExpired, wire.CodeSessionExpired},
	{account.ErrSessionRevoked, wire.CodeSessionRevoked},
	{account.ErrSessionMalformed, wire.CodeSessionMalformed},
	{account.ErrRegistrationClosed, wire.CodeRegistrationClosed},
	{account.ErrPasswordNeeded, wire.CodePasswordNeeded},
	{account.ErrInviteNeeded, wire.CodeInviteNeeded},
	{account.ErrCodeRefused, wire.CodeCodeRefused},
	{account.ErrNameTaken, wire.CodeNameTaken},
	{account.ErrRecordRefused, wire.CodeRecordRefused},
	{account.ErrOverloaded, wire.CodeOverloaded},
}

// refuse translates an error.
func refuse(err error) wire.Denied {
	var rule credential.Rule
	if errors.As(err, &rule) {
		d := wire.Denied{Code: wire.CodePasswordPolicy, Rule: uint8(rule)}
		if rule <= credential.RuleNameStart {
			d.Code = wire.CodeNameInvalid
		}
		return d
	}
	for _, r := range refusals {
		if !errors.Is(err, r.err) {
			continue
		}
		d := wire.Denied{Code: r.code}
		var denied *account.Denied
		if errors.As(err, &denied) {
			d.RetryAfter = uint32(math.Ceil(denied.RetryAfter.Seconds()))
		}
		return d
	}
	return wire.Denied{Code: wire.CodeInternal}
}

// goodbyeCode says why a session that does not pass its check ends.
func goodbyeCode(err error) wire.Code { return refuse(err).Code }

// outcome is an error as the log has it: a word, never a peer's input.
func outcome(err error) string {
	if err == nil {
		return account.Success.String()
	}
	var denied *account.Denied
	if errors.As(err, &denied) {
		return denied.Reason.String()
	}
	return refuse(err).Code.Name()
}

// seconds turns seconds of the wire into a duration.
func seconds(n uint32) time.Duration { return time.Duration(n) * time.Second }
