package client_test

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/authsrv/authsrv/client"
	"github.com/authsrv/authsrv/client/store"
	"github.com/authsrv/authsrv/internal/authtest"
)

// gone is a store whose folder is gone from the nth write of a connection on, if it is armed, until it is put back.
type gone struct {
	*store.Store
	dir    string
	config *client.Config
	armed  bool
}

func newGone(t *testing.T, srv *authtest.Server, n int) *gone {
	t.Helper()
	g := &gone{dir: filepath.Join(t.TempDir(), "home"), armed: true}
	var err error
	if g.Store, err = store.Open(g.dir); err != nil {
		t.Fatal(err)
	}
	g.config = srv.Config(g.Store)
	g.config.Dialer = func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := srv.Connect(ctx, network, address)
		return &counted{Conn: conn, n: n, then: func() {
			if !g.armed {
				return
			}
			g.armed = false
			if err := os.Rename(g.dir, g.dir+".away"); err != nil {
				t.Error(err)
			}
		}}, err
	}
	return g
}

func (g *gone) back(t *testing.T) {
	t.Helper()
	if err := os.Rename(g.dir+".away", g.dir); err != nil {
		t.Fatal(err)
	}
}

type counted struct {
	net.Conn
	n    int
	then func()
}

func (c *counted) Write(b []byte) (int, error) {
	if c.n--; c.n == 0 {
		c.then()
	}
	return c.Conn.Write(b)
}

// TestNotRemembered: what the server has done is told from what it has not, also where the store takes nothing of it.
func TestNotRemembered(t *testing.T) {
	for name, c := range map[string]struct {
		at    int
		run   func(*client.Session) error
		works string // the password that does afterwards; "": none
	}{
		"ChangePassword": {atOperation, func(s *client.Session) error { return s.ChangePassword(t.Context(), password, another) }, another},
		"Delete":         {atOperation, func(s *client.Session) error { return s.Delete(t.Context(), password) }, ""},
		"LogoutAll":      {atOperation, func(s *client.Session) error { return s.LogoutAll(t.Context(), password) }, password},
		"Logout":         {atOperation - 1, func(s *client.Session) error { return s.Logout(t.Context()) }, password},
	} {
		t.Run(name, func(t *testing.T) {
			srv := authtest.New(t, authtest.Options{})
			srv.Register("alice", password)
			g := newGone(t, srv, c.at)
			conn, err := client.Dial(t.Context(), authtest.Address, g.config)
			if err != nil {
				t.Fatal(err)
			}
			s, err := conn.Login(t.Context(), "alice", password, nil)
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			notRemembered(t, c.run(s))
			for _, word := range []string{password, another} {
				s, err := srv.Dial(nil).Login(t.Context(), "alice", word, nil)
				if (err == nil) != (word == c.works) {
					t.Errorf("%q afterwards: %v", word, err)
				}
				if err == nil {
					s.Close()
				}
			}
		})
	}
	t.Run("Register", func(t *testing.T) {
		srv := authtest.New(t, authtest.Options{})
		g := newGone(t, srv, atRegisterFinish)
		conn, err := client.Dial(t.Context(), authtest.Address, g.config)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		notRemembered(t, conn.Register(t.Context(), "alice", password, nil))
		srv.Login(nil, "alice", password).Close()
	})
}

func notRemembered(t *testing.T, err error) {
	t.Helper()
	if !errors.Is(err, client.ErrNotRemembered) || !errors.Is(err, fs.ErrNotExist) || errors.Is(err, client.ErrOutcomeUnknown) || errors.Is(err, client.ErrConnection) {
		t.Errorf("%v, want an ErrNotRemembered", err)
	}
}

// TestLoginNotRemembered: a session that the store does not take is ended, and the client can be used again.
func TestLoginNotRemembered(t *testing.T) {
	srv := authtest.New(t, authtest.Options{})
	srv.Register("alice", password)
	g := newGone(t, srv, 3) // the Proof
	conn, err := client.Dial(t.Context(), authtest.Address, g.config)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Login(t.Context(), "alice", password, nil); !errors.Is(err, fs.ErrNotExist) || errors.Is(err, client.ErrNotRemembered) {
		t.Fatalf("Login: %v", err)
	}
	g.back(t)
	s, err := conn.Login(t.Context(), "alice", password, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	n := 0
	for _, err := range s.Sessions(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		n++
	}
	if n != 1 {
		t.Errorf("there are %d sessions", n)
	}
}

// TestResumeNotRemembered: what goes on is not ended by a store that takes nothing, and says what the server says of what does not.
func TestResumeNotRemembered(t *testing.T) {
	srv := authtest.New(t, authtest.Options{})
	srv.Register("alice", password)
	g := newGone(t, srv, 2) // M3, which has the token
	srv.Login(g.Store, "alice", password).Close()
	for _, ended := range []bool{false, true} {
		if ended {
			s := srv.Login(nil, "alice", password)
			if err := s.LogoutAll(t.Context(), password); err != nil {
				t.Fatal(err)
			}
		}
		g.armed = true
		conn, err := client.Dial(t.Context(), authtest.Address, g.config)
		if err != nil {
			t.Fatal(err)
		}
		s, err := conn.Resume(t.Context())
		switch {
		case ended && (!errors.Is(err, client.ErrSessionRevoked) || !client.LoginNeeded(err)):
			t.Errorf("Resume of one that has ended: %v", err)
		case !ended && err != nil:
			t.Fatalf("Resume: %v", err)
		case !ended:
			if _, err := s.WhoAmI(t.Context()); err != nil {
				t.Error(err)
			}
			s.Close()
		}
		conn.Close()
		g.back(t)
	}
}

// TestResumeWritesNothing: a session that goes on as it was is no reason to write a file.
func TestResumeWritesNothing(t *testing.T) {
	srv := authtest.New(t, authtest.Options{})
	srv.Register("alice", password)
	dir := filepath.Join(t.TempDir(), "home")
	st, err := store.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	srv.Login(st, "alice", password).Close()
	files := func() (all []os.FileInfo) {
		for _, name := range []string{"servers.json", "accounts.json", "sessions.json"} {
			info, err := os.Stat(filepath.Join(dir, name))
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, info)
		}
		return all
	}
	before := files()
	conn := srv.Dial(st)
	s, err := conn.Resume(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
	for i, info := range files() {
		if !os.SameFile(before[i], info) {
			t.Errorf("%s was written", info.Name())
		}
	}
}

// TestChangeKeepsAnother: a changed password leaves alone a session that another login has put into the store meanwhile.
func TestChangeKeepsAnother(t *testing.T) {
	srv := authtest.New(t, authtest.Options{})
	srv.Register("alice", password)
	srv.Register("bob", password)
	st := store.Memory()
	alice := srv.Login(st, "alice", password)
	defer alice.Close()
	srv.Login(st, "bob", password).Close()
	if err := alice.ChangePassword(t.Context(), password, another); err != nil {
		t.Fatal(err)
	}
	if held, ok, err := st.Session(authtest.Address); held.Name != "bob" || !ok || err != nil {
		t.Errorf("the session of %q is held, %v", held.Name, err)
	}
}

func TestLifetimes(t *testing.T) {
	srv := authtest.New(t, authtest.Options{})
	srv.Register("alice", password)
	s, err := srv.Dial(nil).Login(t.Context(), "alice", password, &client.LoginOptions{Lifetime: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if left := time.Until(s.Expires()); left > 2*time.Second {
		t.Errorf("a session of a millisecond lives for %v", left)
	}
	conn := srv.Dial(nil)
	defer conn.Close()
	if s, err := conn.Login(t.Context(), "alice", password, &client.LoginOptions{Lifetime: -time.Second}); err == nil {
		s.Close()
		t.Error("a session of less than nothing was begun")
	}
}

func TestLoginNeeded(t *testing.T) {
	for err, want := range map[error]bool{
		client.ErrNotLoggedIn: true, &client.Error{Code: client.ErrSessionExpired}: true, &client.Error{Code: client.ErrSessionRevoked}: true,
		&client.Error{Code: client.ErrSessionMalformed}: true, &client.GoodbyeError{Code: client.ErrSessionRevoked}: true,
		client.ErrConnection: false, client.ErrNotPinned: false, &client.Error{Code: client.ErrDenied}: false, &client.GoodbyeError{Code: client.ErrIdle}: false,
	} {
		if client.LoginNeeded(err) != want {
			t.Errorf("%v: %v", err, !want)
		}
	}
	if client.LoginNeeded(nil) {
		t.Error("nil")
	}
}
