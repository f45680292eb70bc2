package admin

import (
	"context"
	"errors"
	"fmt"

	"github.com/authsrv/authsrv/internal/account"
)

// The codes of errors. They are part of the protocol, and never change.
const (
	CodeBadRequest       = "bad-request"
	CodeUnknownOperation = "unknown-operation"
	CodeNotPermitted     = "not-permitted"
	CodeBusy             = "busy"
	CodeNoAccount        = "no-account"
	CodeNoSession        = "no-session"
	CodeAuditBroken      = "audit-broken"
	CodeNotCheckpoint    = "not-a-checkpoint" // of this server
	CodeUnavailable      = "unavailable"      // not in this state of the server
	CodeInterrupted      = "interrupted"      // before its end; what was asked for may have been done
	CodeNoAnswer         = "no-answer"        // likewise; only a Client makes it
	CodeKeyFile          = "key-file"         // it can't be opened, or is not what it should be
	CodeStorage          = "storage"
	CodeInternal         = "internal"
)

// Error is what an operation is refused for, or fails with.
type Error struct {
	Code    string `json:"code"`
	Message string `json:"message"` // for people
	err     error
}

func (e *Error) Error() string { return e.Message }

// Unwrap returns the cause, where that is of this process.
func (e *Error) Unwrap() error { return e.err }

// Is makes errors of one code equal.
func (e *Error) Is(target error) bool {
	other, ok := target.(*Error)
	return ok && other.Code == e.Code
}

func badRequest(format string, args ...any) error {
	return &Error{Code: CodeBadRequest, Message: "bad request: " + fmt.Sprintf(format, args...)}
}

func internal(err error) error {
	return &Error{Code: CodeInternal, Message: err.Error(), err: err}
}

// codes is what errors of the accounts become. What is not in it is the store's.
var codes = []struct {
	err           error
	code, message string
}{
	{account.ErrNoAccount, CodeNoAccount, "there is no such account"},
	{account.ErrNoSession, CodeNoSession, "the account has no such session"},
	{account.ErrNotCheckpoint, CodeNotCheckpoint, "this is not a checkpoint that this server has signed"},
	{account.ErrNothingYet, CodeUnavailable, "nothing is chained yet: events are, a minute or two after they have happened"},
	{context.Canceled, CodeInterrupted, "interrupted: look whether it was done"},
	{context.DeadlineExceeded, CodeInterrupted, "interrupted: look whether it was done"},
}

// explain makes any error one with a code.
func explain(err error) error {
	var e *Error
	if err == nil || errors.As(err, &e) {
		return err
	}
	if errors.Is(err, account.ErrAuditBroken) {
		return &Error{Code: CodeAuditBroken, Message: err.Error(), err: err}
	}
	for _, c := range codes {
		if errors.Is(err, c.err) {
			return &Error{Code: c.code, Message: c.message, err: err}
		}
	}
	return &Error{Code: CodeStorage, Message: "storage failed: " + err.Error(), err: err}
}
