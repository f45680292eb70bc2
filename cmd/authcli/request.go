package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/authsrv/authsrv/client"
	"github.com/authsrv/authsrv/client/store"
	"github.com/authsrv/authsrv/cmd/internal/prompt"
)

const fallbackServer = "127.0.0.1:7022"

// settings are what every command can be told.
type settings struct {
	server, home string // empty: the default
	acceptNew    bool
}

// request is one command under way, or the menu: where it goes to, and where its input comes from. A command reads all that
// it needs before it connects: the server does not wait for a person.
type request struct {
	*program
	store     *store.Store
	server    string // as it was given, perhaps with a fingerprint
	address   string // the same as it is dialed and remembered
	acceptNew bool
	piped     bool // passwords come from standard input
}

func (p *program) request(s settings, piped bool) (*request, error) {
	r := &request{program: p, server: s.server, acceptNew: s.acceptNew, piped: piped}
	if piped && p.typedAt {
		return nil, usage("--password-stdin is for a pipe or a file: without it you are asked")
	}
	if r.server != "" { // judged before anything is made on disk
		if err := r.resolve(); err != nil {
			return nil, err
		}
	}
	home, err := homeFolder(s.home)
	if err != nil {
		return nil, err
	}
	if r.store, err = store.Open(home); err != nil && !errors.Is(err, store.ErrPermissions) {
		err = local("home", "cannot use the home folder: %s", strings.TrimPrefix(err.Error(), "store: "))
	}
	if err != nil || r.server != "" {
		return r, err
	}
	if r.server, err = r.store.Default(); err != nil {
		return nil, err
	}
	if r.server == "" {
		r.server = fallbackServer
	}
	return r, r.resolve()
}

func (r *request) resolve() (err error) {
	if r.address, _, err = client.ParseAddress(r.server); err != nil {
		return usage("%v", err)
	}
	return nil
}

func homeFolder(given string) (string, error) {
	if given != "" {
		return given, nil
	}
	dir, err := os.UserConfigDir()
	if err != nil {
		return "", local("no-home", "no place for the home folder, give --home: %v", err)
	}
	return filepath.Join(dir, "authcli"), nil
}

// dial connects. A server that is not known is shown to the person, whose word is taken for it. So is one that was accepted before and has
// not shown since that it knows an account: who denied a login or refused a registration does not get what is made of another password just so.
func (r *request) dial(ctx context.Context) (*client.Client, error) {
	config := &client.Config{Store: r.store, AcceptNew: r.acceptNew}
	c, err := client.Dial(ctx, r.server, config)
	var unknown *client.UnknownServerError
	again := err == nil && !r.acceptNew && !c.Pinned()
	if again {
		unknown = &client.UnknownServerError{Address: c.Address(), Fingerprint: c.Fingerprint()}
		c.Close()
	} else if !errors.As(err, &unknown) {
		return c, err
	}
	if config.Identity, err = r.askTrust(ctx, unknown, again); err != nil {
		return nil, err
	}
	return client.Dial(ctx, r.server, config)
}

// resume connects, and logs in with the session that is held for the server.
func (r *request) resume(ctx context.Context) (*client.Session, error) {
	if _, err := r.held(); err != nil {
		return nil, err
	}
	c, err := r.dial(ctx)
	if err != nil {
		return nil, err
	}
	s, err := c.Resume(ctx)
	if err != nil {
		c.Close()
	}
	if errors.Is(err, client.ErrNotLoggedIn) { // what is held is for another server, or of another device
		err = r.notLoggedIn()
	}
	return s, err
}

// held is the session that is held for the server.
func (r *request) held() (store.Session, error) {
	s, ok, err := r.store.Session(r.address)
	if err == nil && !ok {
		err = r.notLoggedIn()
	}
	return s, err
}

func (r *request) notLoggedIn() error {
	return local("not-logged-in", "not logged in at %s: %s login NAME", r.address, r.again())
}

// again is how the next command begins that goes to the same server.
func (r *request) again() string {
	known, _ := r.store.Default() // what cannot be read is told by that command
	return r.authcli(cmp.Or(known, fallbackServer))
}

// authcli is how a command begins that goes to the same server, where known is the one that is gone to if none is named.
func (r *request) authcli(known string) string {
	if address, _, _ := client.ParseAddress(cmp.Or(os.Getenv("AUTHCLI_SERVER"), known)); address == r.address {
		return "authcli"
	}
	return "authcli --server " + r.server
}

// rememberDefault remembers the first server that was trusted as the one to go to from then on.
func (r *request) rememberDefault(fingerprint string) error {
	known, err := r.store.Default()
	if err != nil || known != "" {
		return err
	}
	if err := r.store.SetDefault(r.address); err != nil {
		return err
	}
	if !r.json {
		fmt.Fprintf(r.stdout, "%s is now the default server; its fingerprint is %s\n", r.address, fingerprint)
	}
	return nil
}

// password reads one: the next line of standard input, or from the terminal.
func (r *request) password(ctx context.Context, question string) (string, error) {
	if !r.piped {
		text, err := r.terminal.secret(ctx, question)
		if errors.Is(err, errNoTerminal) {
			err = local(errNoTerminal.code, "there is no terminal to ask for a password on: use --password-stdin")
		}
		return text, err
	}
	text, err := prompt.Await(ctx, func() (string, error) { return r.stdin.ReadString('\n') })
	switch {
	case errors.Is(err, io.EOF) && text == "":
		return "", local("no-input", "standard input ended before a password")
	case errors.Is(err, prompt.ErrInterrupted):
		return "", errInterrupted
	case err != nil && !errors.Is(err, io.EOF):
		return "", local("no-input", "cannot read standard input: %v", err)
	}
	return strings.TrimSuffix(strings.TrimSuffix(text, "\n"), "\r"), nil
}

// newPassword asks twice where nobody sees what is typed.
func (r *request) newPassword(ctx context.Context, question, again string) (string, error) {
	first, err := r.password(ctx, question)
	if err != nil || r.piped {
		return first, err
	}
	second, err := r.password(ctx, again)
	if err != nil {
		return "", err
	}
	if first != second {
		return "", local("passwords-differ", "passwords differ")
	}
	return first, nil
}
