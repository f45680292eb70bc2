package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"strings"
	"time"

	"github.com/authsrv/authsrv/client"
	"github.com/authsrv/authsrv/client/store"
)

// The exit codes. They are documented in doc.go.
const (
	exitDone        = 0
	exitRefused     = 1
	exitUsage       = 2
	exitConnection  = 3
	exitIdentity    = 4
	exitLocal       = 5
	exitStorage     = 6
	exitInterrupted = 130
)

// failure is an error as it is shown: one line for a person, a name for a program, and the exit code.
type failure struct {
	exit    int
	code    string
	message string
	more    details
	banner  string // several lines, in the place of the one, for what must not be overlooked
	command string // with exitUsage: the command whose help tells more, or "" for all of them
}

// details are what some failures tell a program besides.
type details struct {
	RetryAfter  int    `json:"retry_after"` // seconds
	Address     string `json:"address,omitempty"`
	Known       string `json:"known,omitempty"`
	Fingerprint string `json:"fingerprint,omitempty"`
}

func (f *failure) Error() string { return f.message }

// report shows a failure: on standard error, in the form that was asked for.
func (p *program) report(f *failure) {
	message := oneLine(f.message)
	if f.exit == exitUsage {
		message += ` (see "` + strings.TrimSpace("authcli help "+f.command) + `")`
	}
	switch {
	case p.json:
		p.encode(p.stderr, map[string]any{"error": struct {
			Code    string `json:"code"`
			Message string `json:"message"`
			details
			Exit int `json:"exit"`
		}{f.code, message, f.more, f.exit}})
	case f.banner != "":
		fmt.Fprint(p.stderr, f.banner)
	default:
		fmt.Fprintf(p.stderr, "authcli: %s\n", message)
	}
}

// oneLine is a text as one line, whatever it was joined with, that does nothing to a terminal.
func oneLine(text string) string {
	return clean(strings.Join(strings.FieldsFunc(text, func(r rune) bool { return r == '\n' || r == '\r' }), "; "))
}

func fail(exit int, code, format string, args ...any) *failure {
	return &failure{exit: exit, code: code, message: fmt.Sprintf(format, args...)}
}

func usage(format string, args ...any) *failure {
	return fail(exitUsage, "usage", format, args...)
}

func local(code, format string, args ...any) *failure { return fail(exitLocal, code, format, args...) }

// faults are the errors of package client that have no code of the protocol, the special before the general.
var faults = []struct {
	err  error
	exit int
	code string
}{
	{client.ErrOutcomeUnknown, exitConnection, "outcome-unknown"},
	{client.ErrNotRemembered, exitStorage, "not-remembered"},
	{client.ErrConnection, exitConnection, "no-connection"},
	{client.ErrClosed, exitConnection, "no-connection"},
	{client.ErrProtocol, exitConnection, "protocol"},
	{client.ErrCertificate, exitIdentity, "certificate"},
	{client.ErrNotConfirmed, exitIdentity, "not-confirmed"},
	{client.ErrDowngrade, exitIdentity, "downgrade"},
	{store.ErrIdentityChanged, exitIdentity, "identity-changed"},
	{client.ErrCodeNotConfirmed, exitIdentity, "not-confirmed"},
	{client.ErrCodePrefix, exitLocal, "code-mistyped"},
	{client.ErrCodeMistyped, exitLocal, "code-mistyped"},
	{client.ErrCodeServer, exitLocal, "code-of-another-server"},
	{client.ErrNotPinned, exitLocal, "not-pinned"},
	{client.ErrPasswordUnsent, exitLocal, "password-not-wanted"},
	{client.ErrNotLoggedIn, exitLocal, "not-logged-in"},
	{store.ErrCorrupt, exitLocal, "home-damaged"},
	{store.ErrNewer, exitLocal, "home-newer"},
	{store.ErrPermissions, exitLocal, "home-permissions"},
	{store.ErrBusy, exitLocal, "home-busy"},
}

// explain turns what a command ended with into a failure, at the one place where all of them pass.
func explain(ctx context.Context, address string, err error) *failure {
	var (
		f       *failure
		refused *client.Error
		changed *client.IdentityChangedError
		goodbye *client.GoodbyeError
		rule    client.Rule
		file    *fs.PathError
	)
	switch {
	case errors.As(err, &f):
		return f
	case ctx.Err() != nil && errors.Is(err, client.ErrConnection) && !errors.Is(err, client.ErrOutcomeUnknown):
		return errInterrupted
	case errors.As(err, &refused):
		return explainRefusal(refused)
	case errors.As(err, &changed):
		return explainChange(changed)
	case errors.As(err, &goodbye) && !errors.Is(err, client.ErrOutcomeUnknown):
		return fail(goodbyeExit(goodbye.Code), goodbye.Code.Name(), "%s", goodbye.Code)
	case errors.As(err, &rule):
		return local(rule.String(), "%v", err)
	}
	message := strings.Replace(err.Error(), "store: ", "", 1)
	for _, known := range faults {
		if !errors.Is(err, known.err) {
			continue
		}
		if known.err == client.ErrConnection {
			message = fmt.Sprintf("no connection to %s: %s", address, connectionText(err))
		}
		return fail(known.exit, known.code, "%s", message)
	}
	if errors.As(err, &file) {
		return fail(exitStorage, "storage", "storage failed: %s", message)
	}
	return local("failed", "%s", message)
}

func explainRefusal(e *client.Error) *failure {
	f := fail(exitRefused, e.Code.Name(), "%s", e)
	f.more.RetryAfter = int(e.RetryAfter / time.Second)
	if e.Rule.Known() {
		f.code = e.Rule.String()
	}
	if e.Code == client.ErrPasswordNeeded {
		f.message += " (--send-password)"
	}
	if e.Code == client.ErrInviteNeeded {
		f.message += " (--invite)"
	}
	return f
}

// explainCurrent is for what asks for the current password, and for no name.
func explainCurrent(err error) error {
	var refused *client.Error
	if !errors.As(err, &refused) || refused.Code != client.ErrDenied {
		return err
	}
	f := explainRefusal(refused)
	f.message = strings.Replace(f.message, client.ErrDenied.Error(), "the current password is wrong", 1)
	return f
}

// unsure adds to an error how to find out what came of a change, in case that is not known.
func unsure(err error, format string, args ...any) error {
	if !errors.Is(err, client.ErrOutcomeUnknown) {
		return err
	}
	return fmt.Errorf("%w; %s", err, fmt.Sprintf(format, args...))
}

// goodbyeExit tells a connection that was ended from a session that was.
func goodbyeExit(code client.Code) int {
	switch code {
	case client.ErrShuttingDown, client.ErrIdle, client.ErrLimit:
		return exitConnection
	}
	return exitRefused
}

// connectionText is the reason alone, without what the network package puts before it.
func connectionText(err error) string {
	var (
		system *os.SyscallError
		name   *net.DNSError
		op     *net.OpError
	)
	switch {
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded):
		return "it did not answer in time"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "it was closed by the other side"
	case errors.As(err, &system):
		return system.Err.Error()
	case errors.As(err, &name):
		return name.Err
	case errors.As(err, &op):
		return op.Err.Error()
	}
	return strings.TrimPrefix(err.Error(), client.ErrConnection.Error()+": ")
}
