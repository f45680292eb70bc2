package client_test

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"testing"

	"github.com/authsrv/authsrv/client"
	"github.com/authsrv/authsrv/client/store"
	"github.com/authsrv/authsrv/internal/authtest"
)

// cut is a connection that is lost at the client's n-th Write: what was written is lost too, or reaches the server, whose
// answer is lost then.
type cut struct {
	net.Conn
	n       int
	arrives bool

	mu     sync.Mutex
	writes int
	lost   bool
}

func (c *cut) Write(b []byte) (int, error) {
	c.mu.Lock()
	c.writes++
	last := c.writes == c.n
	if last {
		c.lost = true
	}
	c.mu.Unlock()
	if last && !c.arrives {
		c.Conn.Close()
		return len(b), nil
	}
	return c.Conn.Write(b)
}

func (c *cut) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.lost { // the server has made its change, or it would not have answered
		c.Conn.Close()
		return 0, io.EOF
	}
	return n, err
}

// cutting is a configuration whose first connection is lost; and all that come later, if there is no way back.
func cutting(srv *authtest.Server, st *store.Store, n int, arrives, back bool) *client.Config {
	c, dials := srv.Config(st), 0
	c.Dialer = func(ctx context.Context, network, address string) (net.Conn, error) {
		if dials++; dials > 1 {
			if !back {
				return nil, errors.New("no route to host")
			}
			return srv.Connect(ctx, network, address)
		}
		conn, err := srv.Connect(ctx, network, address)
		return &cut{Conn: conn, n: n, arrives: arrives}, err
	}
	return c
}

// The client's writes: M1, M3 and then a record each.
const (
	atRegisterFinish = 3
	atOperation      = 5 // behind the Proof and OpStart
)

// TestLostAnswers: a connection is lost with the last message of a change, or with its answer. Where the server can be reached
// again, the client finds out; where not, it says that it does not know.
func TestLostAnswers(t *testing.T) {
	for _, c := range []struct {
		arrives, back bool
		want          error
	}{{true, true, nil}, {false, true, client.ErrConnection}, {true, false, client.ErrOutcomeUnknown}, {false, false, client.ErrOutcomeUnknown}} {
		check := func(t *testing.T, err error) {
			t.Helper()
			if !errors.Is(err, c.want) || (err == nil) != (c.want == nil) {
				t.Errorf("%v, want %v", err, c.want)
			}
			if errors.Is(err, client.ErrOutcomeUnknown) != (c.want == client.ErrOutcomeUnknown) {
				t.Errorf("%v: is the outcome known?", err)
			}
			if text := "the connection was lost, and it is not known whether the change was made"; c.want == client.ErrOutcomeUnknown && err.Error() != text {
				t.Errorf("%q, want %q", err, text)
			}
		}
		works := func(t *testing.T, srv *authtest.Server, word string, want bool) {
			t.Helper()
			s, err := srv.Dial(nil).Login(t.Context(), "alice", word, nil)
			if (err == nil) != want {
				t.Errorf("the password works: %v", err)
			}
			if err == nil {
				s.Close()
			}
		}
		name := map[bool]string{true: "arrives", false: "does not arrive"}[c.arrives] + map[bool]string{true: "", false: ", no way back"}[c.back]
		dial := func(t *testing.T, srv *authtest.Server, st *store.Store, n int) *client.Client {
			t.Helper()
			conn, err := client.Dial(t.Context(), authtest.Address, cutting(srv, st, n, c.arrives, c.back))
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { conn.Close() })
			return conn
		}
		login := func(t *testing.T, srv *authtest.Server, st *store.Store) *client.Session {
			t.Helper()
			srv.Register("alice", password)
			s, err := dial(t, srv, st, atOperation).Login(t.Context(), "alice", password, nil)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { s.Close() })
			return s
		}
		t.Run("register "+name, func(t *testing.T) {
			srv, st := authtest.New(t, authtest.Options{}), store.Memory()
			check(t, dial(t, srv, st, atRegisterFinish).Register(t.Context(), "alice", password, nil))
			works(t, srv, password, c.arrives)
			if s, _, _ := st.Server(authtest.Address); s.Confirmed != (c.want == nil) {
				t.Errorf("pinned: %v", s.Confirmed)
			}
		})
		t.Run("change password "+name, func(t *testing.T) {
			srv, st := authtest.New(t, authtest.Options{}), store.Memory()
			s := login(t, srv, st)
			check(t, s.ChangePassword(t.Context(), password, another))
			works(t, srv, another, c.arrives)
			if _, there, _ := st.Session(authtest.Address); there != (c.want != nil) {
				t.Errorf("the session is remembered: %v", there)
			}
			if _, err := s.WhoAmI(t.Context()); !errors.Is(err, client.ErrConnection) || errors.Is(err, client.ErrOutcomeUnknown) {
				t.Errorf("WhoAmI: %v", err)
			}
		})
		t.Run("delete "+name, func(t *testing.T) {
			srv, st := authtest.New(t, authtest.Options{}), store.Memory()
			if c.want == nil { // nothing that the server can say now proves it
				c.want = client.ErrOutcomeUnknown
			}
			check(t, login(t, srv, st).Delete(t.Context(), password))
			works(t, srv, password, !c.arrives)
			remembered(t, srv, st)
		})
	}
}

// remembered checks that nothing of the account was forgotten.
func remembered(t *testing.T, srv *authtest.Server, st *store.Store) {
	t.Helper()
	if _, there, err := st.Account(srv.Accounts.RealmID(), "alice"); !there || err != nil {
		t.Errorf("the account is forgotten: %v", err)
	}
	if _, there, err := st.Session(authtest.Address); !there || err != nil {
		t.Errorf("the session is forgotten: %v", err)
	}
}

// TestLostMistyped: a deletion with another password is never taken for one that was made, though a login with that is denied.
func TestLostMistyped(t *testing.T) {
	for _, c := range []struct {
		name             string
		arrives, revoked bool // the proof; and, meanwhile, the session
		unknown          bool
	}{{"lost", false, false, false}, {"refusal lost", true, false, false}, {"session ended", false, true, true}} {
		t.Run(c.name, func(t *testing.T) {
			srv, st := authtest.New(t, authtest.Options{}), store.Memory()
			srv.Register("alice", password)
			config := cutting(srv, st, atOperation, c.arrives, true)
			dial, dials := config.Dialer, 0
			config.Dialer = func(ctx context.Context, network, address string) (net.Conn, error) {
				if dials++; dials == 2 && c.revoked {
					if err := srv.Login(nil, "alice", password).LogoutAll(ctx, password); err != nil {
						t.Error(err)
					}
				}
				return dial(ctx, network, address)
			}
			conn, err := client.Dial(t.Context(), authtest.Address, config)
			if err != nil {
				t.Fatal(err)
			}
			s, err := conn.Login(t.Context(), "alice", password, nil)
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			err = s.Delete(t.Context(), another)
			if !errors.Is(err, client.ErrConnection) || errors.Is(err, client.ErrOutcomeUnknown) != c.unknown {
				t.Errorf("Delete: %v", err)
			}
			remembered(t, srv, st)
			if again, err := srv.Dial(st).Resume(t.Context()); (err == nil) == c.revoked {
				t.Errorf("Resume: %v", err)
			} else if err == nil {
				again.Close()
			}
		})
	}
}

// TestLostChangeToTheSame: that the new password is good proves nothing where it was good before.
func TestLostChangeToTheSame(t *testing.T) {
	srv, st := authtest.New(t, authtest.Options{}), store.Memory()
	srv.Register("alice", password)
	conn, err := client.Dial(t.Context(), authtest.Address, cutting(srv, st, atOperation, false, true))
	if err != nil {
		t.Fatal(err)
	}
	s, err := conn.Login(t.Context(), "alice", password, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.ChangePassword(t.Context(), another, password); !errors.Is(err, client.ErrConnection) || errors.Is(err, client.ErrOutcomeUnknown) {
		t.Errorf("ChangePassword: %v", err)
	}
	remembered(t, srv, st)
}

// TestLostBefore: what is lost before the last message of a change has changed nothing, and is no unknown outcome.
func TestLostBefore(t *testing.T) {
	for n := 2; n < atOperation; n++ {
		srv := authtest.New(t, authtest.Options{})
		if n < atRegisterFinish {
			conn, err := client.Dial(t.Context(), authtest.Address, cutting(srv, nil, n, true, true))
			if err != nil {
				t.Fatal(err)
			}
			if err := conn.Register(t.Context(), "alice", password, nil); !errors.Is(err, client.ErrConnection) || errors.Is(err, client.ErrOutcomeUnknown) {
				t.Errorf("Register, lost at %d: %v", n, err)
			}
			continue
		}
		srv.Register("alice", password)
		conn, err := client.Dial(t.Context(), authtest.Address, cutting(srv, nil, n, true, true))
		if err != nil {
			t.Fatal(err)
		}
		s, err := conn.Login(t.Context(), "alice", password, nil)
		if err == nil {
			err = s.ChangePassword(t.Context(), password, another)
			s.Close()
		}
		if !errors.Is(err, client.ErrConnection) || errors.Is(err, client.ErrOutcomeUnknown) {
			t.Errorf("ChangePassword, lost at %d: %v", n, err)
		}
	}
}
