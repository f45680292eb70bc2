package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/authsrv/authsrv/client"
	"github.com/authsrv/authsrv/client/store"
)

// What the scripts cannot bring about is held against the table here.
func TestExplain(t *testing.T) {
	wrap := func(err error) error { return fmt.Errorf("while doing: %w", err) }
	refused := &net.OpError{Op: "dial", Net: "tcp", Err: &os.SyscallError{Syscall: "connect", Err: syscall.ECONNREFUSED}}
	for _, c := range []struct {
		err     error
		exit    int
		code    string
		message string // a part of it
	}{
		{&client.Error{Code: client.ErrDenied, Pinned: true}, 1, "denied", "wrong name or password"},
		{&client.Error{Code: client.ErrSessionExpired}, 1, "session-expired", "expired"},
		{&client.Error{Code: client.ErrOverloaded, RetryAfter: 2 * time.Second}, 1, "overloaded", "try again in 2 s"},
		{explainCurrent(&client.Error{Code: client.ErrDenied, Pinned: true}), 1, "denied", "the current password is wrong"},
		{explainCurrent(&client.Error{Code: client.ErrDenied, Pinned: true, RetryAfter: 3 * time.Second}), 1, "denied",
			"the current password is wrong, or too many tries: wait 3 s, then try again"},
		{explainCurrent(&client.Error{Code: client.ErrOverloaded}), 1, "overloaded", "busy"},
		{&client.GoodbyeError{Code: client.ErrSessionRevoked}, 1, "session-revoked", "was ended"},
		{&client.GoodbyeError{Code: client.ErrShuttingDown}, 3, "shutting-down", "stopping"},
		{wrap(client.ErrConnection), 3, "no-connection", "no connection to here:1: "},
		{fmt.Errorf("%w: %w", client.ErrConnection, refused), 3, "no-connection", "no connection to here:1: connection refused"},
		{fmt.Errorf("%w: %w", client.ErrConnection, io.EOF), 3, "no-connection", "no connection to here:1: it was closed by the other side"},
		{fmt.Errorf("%w: %w", client.ErrConnection, context.DeadlineExceeded), 3, "no-connection", "did not answer in time"},
		{fmt.Errorf("interrupted, and %w: %w", client.ErrOutcomeUnknown, client.ErrConnection), 3, "outcome-unknown", "interrupted, and it is not known whether"},
		{unsure(fmt.Errorf("lost, and %w", client.ErrOutcomeUnknown), "it was, if %s", "it works"), 3,
			"outcome-unknown", "lost, and it is not known whether the change was made; it was, if it works"},
		{unsure(fmt.Errorf("lost, and %w: %w", client.ErrOutcomeUnknown, &client.GoodbyeError{Code: client.ErrShuttingDown}), "look"), 3, "outcome-unknown", "; look"},
		{fmt.Errorf("%w: store: %w", client.ErrNotRemembered, &os.PathError{Op: "write", Path: "f", Err: syscall.ENOSPC}), 6,
			"not-remembered", "the server has done it, but it could not be remembered here: write f: no space left on device"},
		{client.ErrClosed, 3, "no-connection", "the client was closed"},
		{wrap(client.ErrProtocol), 3, "protocol", "does not keep to the protocol"},
		{wrap(client.ErrCertificate), 4, "certificate", ""},
		{wrap(client.ErrNotConfirmed), 4, "not-confirmed", "not the server that you registered with"},
		{wrap(client.ErrDowngrade), 4, "downgrade", ""},
		{&client.IdentityChangedError{Address: "here:1", Known: "SHA256:a", Got: "SHA256:b"}, 4, "identity-changed", "SHA256:a"},
		{wrap(store.ErrIdentityChanged), 4, "identity-changed", ""},
		{wrap(client.ErrNotPinned), 5, "not-pinned", ""},
		{wrap(client.ErrNotLoggedIn), 5, "not-logged-in", "not logged in"},
		{wrap(store.ErrNewer), 5, "home-newer", ""},
		{fmt.Errorf("store: %w", &os.PathError{Op: "write", Path: "f", Err: syscall.ENOSPC}), 6, "storage", "no space left"},
		{errors.New("something else"), 5, "failed", "something else"},
	} {
		f := explain(t.Context(), "here:1", c.err)
		if strings.Contains(f.message, "context ") {
			t.Errorf("%v: %q", c.err, f.message)
		}
		if f.exit != c.exit || f.code != c.code || !strings.Contains(f.message, c.message) {
			t.Errorf("%v: %d %s %q, want %d %s %q", c.err, f.exit, f.code, f.message, c.exit, c.code, c.message)
		}
	}
	if err := unsure(client.ErrConnection, "it was, if it was"); err != client.ErrConnection {
		t.Errorf("an outcome that is known: %v", err)
	}
	interrupted, stop := context.WithCancel(t.Context())
	stop()
	if f := explain(interrupted, "here:1", client.ErrConnection); f != errInterrupted {
		t.Errorf("interrupted: %v", f)
	}
	if f := explain(interrupted, "here:1", fmt.Errorf("store: %w", &os.PathError{Op: "write", Path: "f", Err: syscall.ENOSPC})); f.code != "storage" {
		t.Errorf("interrupted, and then something else: %v", f)
	}
	if f := explain(interrupted, "here:1", client.ErrOutcomeUnknown); f.code != "outcome-unknown" {
		t.Errorf("interrupted in the middle of a change: %v", f)
	}
}

// A terminal gets nothing that steers it, in whatever form a failure is shown.
func TestReport(t *testing.T) {
	nasty := "one\x1b[31m\ntwo\u202e\u009b1m\xff"
	for _, asJSON := range []bool{false, true} {
		var stderr bytes.Buffer
		p := &program{stderr: &stderr, json: asJSON}
		p.report(local("failed", "%s", nasty))
		text := stderr.String()
		if strings.Count(text, "\n") != 1 || !strings.HasSuffix(text, "\n") {
			t.Errorf("not one line: %q", text)
		}
		if !strings.Contains(text, "one?[31m; two??1m?") {
			t.Errorf("not clean: %q", text)
		}
	}
	f := explainChange(&client.IdentityChangedError{Address: "a\x1b:1", Known: "SHA256:a", Got: "SHA256:b", KnownAt: "b\x1b:2"})
	if strings.Contains(f.banner, "\x1b") || !strings.Contains(f.banner, "authcli trust remove b?:2\n") {
		t.Errorf("the banner: %q", f.banner)
	}
}

func TestSessionTable(t *testing.T) {
	at := time.Date(2026, 1, 2, 5, 4, 5, 0, time.FixedZone("", 2*60*60))
	got := sessionTable([]sessionEntry{
		{"0a", at, at, at.Add(time.Hour), "192.0.2.1", false},
		{"0b", at, at, at.Add(time.Hour), "", true},
	})
	want := "  ID  CREATED               LAST USED             EXPIRES               ADDRESS\n" +
		"  0a  2026-01-02 03:04 UTC  2026-01-02 03:04 UTC  2026-01-02 04:04 UTC  192.0.2.1\n" +
		"* 0b  2026-01-02 03:04 UTC  2026-01-02 03:04 UTC  2026-01-02 04:04 UTC\n"
	if got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

// The documents are what programs read: a name that changes here breaks them.
func TestDocuments(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for want, document := range map[string]any{
		`{"name":"n","server":"s","expires":"2026-01-02T03:04:05Z"}`:                     sessionDocument{accountDocument{"n", "s"}, at},
		`{"servers":[{"address":"a","fingerprint":"f","pinned":false,"default":false}]}`: trustDocument{[]trustEntry{{Address: "a", Fingerprint: "f"}}},
		`{"entries":[]}`: listDocument{[]string{}},
	} {
		if got, err := json.Marshal(document); err != nil || string(got) != want {
			t.Errorf("got %s, %v, want %s", got, err, want)
		}
	}
}
