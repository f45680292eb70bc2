package attack

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/authsrv/authsrv/client"
	"github.com/authsrv/authsrv/client/store"
	"github.com/authsrv/authsrv/internal/account"
	"github.com/authsrv/authsrv/internal/authtest"
	"github.com/authsrv/authsrv/noiseconn"
	"github.com/authsrv/authsrv/wire"
)

const password = "correct horse battery staple"

// relay is a man in the middle with two connections, each with a handshake of its own: he is a server to the client, and a client to
// the server, and hands every message on.
type relay struct {
	t        *testing.T
	srv      *authtest.Server
	identity ed25519.PrivateKey   // whose certificate he shows
	claims   bool                 // to be the server, by its identity
	device   *noiseconn.StaticKey // towards the server; nil: one of his own

	wg      sync.WaitGroup
	mu      sync.Mutex
	asked   int         // clients that said anything behind M1
	answers []wire.Type // of the server
}

func (r *relay) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	here, there := net.Pipe()
	up, err := r.srv.Connect(ctx, "", "")
	if err != nil {
		return nil, err
	}
	r.wg.Go(func() {
		defer there.Close()
		defer up.Close()
		r.run(there, up)
	})
	return here, nil
}

// run does both handshakes, and then hands on question and answer in turn.
func (r *relay) run(down, up net.Conn) {
	ctx := context.Background()
	toServer := noiseconn.Client(up, nil)
	hello, _, err := toServer.Hello(ctx)
	if err != nil {
		r.t.Error(err)
		return
	}
	own, err := noiseconn.NewStaticKey(nil)
	if err != nil {
		r.t.Error(err)
		return
	}
	now := time.Now()
	shown := hello // realm, features, times: all as the server has them
	shown.Certificate = noiseconn.Certify(r.identity, hello.RealmID, own.Public, now.Add(-time.Hour), now.Add(time.Hour), 1)
	if !r.claims {
		shown.Identity = [32]byte(r.identity[32:])
	}
	toClient := noiseconn.Server(down, nil)
	if toClient.Start(ctx) != nil || toClient.Hello(ctx, own, shown.AppendTo(nil)) != nil {
		return
	}
	start, client, err := toClient.Finish(ctx)
	if err != nil {
		return
	}
	r.mu.Lock()
	r.asked++
	r.mu.Unlock()
	device := own
	if r.device != nil {
		device = *r.device
	}
	server, err := toServer.Finish(ctx, device, bytes.Clone(start))
	for err == nil {
		var b []byte
		if b, err = server.ReadMessage(wire.MaxSessionFrame); err != nil {
			return
		}
		r.mu.Lock()
		r.answers = append(r.answers, wire.TypeOf(b))
		r.mu.Unlock()
		if err = client.WriteMessage(b); err != nil {
			return
		}
		if b, err = client.ReadMessage(wire.MaxSessionFrame); err != nil {
			return
		}
		err = server.WriteMessage(b)
	}
}

// heard is how often he was told anything, and the last that the server said.
func (r *relay) heard() (asked int, last wire.Type) {
	r.wg.Wait()
	if len(r.answers) > 0 {
		last = r.answers[len(r.answers)-1]
	}
	return r.asked, last
}

// TestRelay: who relays two handshakes gets no session, neither of the client nor at the server, whatever the client does, and even with its
// device key; and a client that knows the server does not say a word.
func TestRelay(t *testing.T) {
	srv := authtest.New(t, authtest.Options{})
	ctx := t.Context()
	known := store.Memory() // a client that has logged in
	srv.Register("alice", password)
	srv.Login(known, "alice", password).Close()
	alice, _, err := known.Account(srv.Accounts.RealmID(), "alice")
	if err != nil {
		t.Fatal(err)
	}
	stolen := noiseconn.StaticFromPrivate(alice.DeviceKey)
	invite, reset := srv.Invite(), srv.Reset("alice")

	deeds := []struct {
		name    string
		do      func(*client.Client) error
		inClear error     // what it comes to at first contact
		last    wire.Type // that the server says then; 0: it is not asked
	}{
		{"login", func(c *client.Client) error { _, err := c.Login(ctx, "alice", password, nil); return err }, client.ErrDenied, wire.TypeDenied},
		{"register", func(c *client.Client) error { return c.Register(ctx, "bob", password, nil) }, wire.CodeRecordRefused, wire.TypeDenied},
		{"register with an invite", func(c *client.Client) error {
			return c.Register(ctx, "bob", password, &client.RegisterOptions{Invite: &invite})
		}, client.ErrCodeServer, 0},
		{"reset", func(c *client.Client) error { return c.Reset(ctx, "alice", reset, password) }, client.ErrCodeServer, 0},
		{"resume", func(c *client.Client) error { _, err := c.Resume(ctx); return err }, client.ErrNotPinned, 0},
	}
	for _, d := range deeds {
		for _, who := range []struct {
			name   string
			claims bool
			device *noiseconn.StaticKey
		}{{"himself", false, nil}, {"himself, with the device key", false, &stolen}, {"the server", true, nil}, {"the server, with the device key", true, &stolen}} {
			for _, first := range []bool{true, false} {
				r := &relay{t: t, srv: srv, identity: authtest.Identity(9), claims: who.claims, device: who.device}
				st := copyOf(t, known, !first)
				before := sessions(t, srv, "alice")
				c, err := client.Dial(ctx, authtest.Address, &client.Config{Store: st, AcceptNew: true, Dialer: r.dial})
				what := d.name + " by way of who says that he is " + who.name
				var changed *client.IdentityChangedError
				switch {
				case who.claims:
					if !errors.Is(err, client.ErrCertificate) {
						t.Errorf("%s: Dial: %v", what, err)
					}
				case !first:
					if !errors.As(err, &changed) {
						t.Errorf("%s, of a known server: Dial: %v", what, err)
					}
				case err != nil:
					t.Errorf("%s: Dial: %v", what, err)
				}
				if err == nil {
					if err := d.do(c); !errors.Is(err, d.inClear) {
						t.Errorf("%s: %v, want %v", what, err, d.inClear)
					}
					c.Close()
				}
				wantLast := d.last
				if who.claims || !first {
					wantLast = 0
				}
				if asked, last := r.heard(); last != wantLast || (asked > 0) != (wantLast != 0) {
					t.Errorf("%s: he was told %d times, and the server said %v", what, asked, last)
				}
				if s, _, _ := st.Server(authtest.Address); s.Confirmed == first {
					t.Errorf("%s: pinned: %v", what, s.Confirmed)
				}
				if n := sessions(t, srv, "alice"); n != before {
					t.Errorf("%s: %d sessions, and there were %d", what, n, before)
				}
				if _, err := srv.Accounts.User(ctx, "bob"); !errors.Is(err, account.ErrNoAccount) {
					t.Errorf("%s: bob: %v", what, err)
				}
				if err := srv.Accounts.Unlock(ctx, "alice"); err != nil { // nothing is refused for the tries before it
					t.Error(err)
				}
			}
		}
	}
}

// TestRelayOfPasswords is the relay's own check, and what is bound to nothing: a password that a user has his client send, to the server
// whose fingerprint he gave, is good for whoever hands it on.
func TestRelayOfPasswords(t *testing.T) {
	srv := authtest.New(t, authtest.Options{Account: account.Config{Registration: account.RegistrationChecked}})
	r := &relay{t: t, srv: srv, identity: authtest.Identity(9)}
	address := authtest.Address + "#" + noiseconn.Fingerprint([32]byte(r.identity[32:]))
	c, err := client.Dial(t.Context(), address, &client.Config{Dialer: r.dial})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Register(t.Context(), "bob", password, &client.RegisterOptions{SendPassword: true}); err != nil {
		t.Errorf("Register: %v", err)
	}
	c.Close()
	if _, last := r.heard(); last != wire.TypeRegistered {
		t.Errorf("the server said %v", last)
	}
	if _, err := srv.Accounts.User(t.Context(), "bob"); err != nil {
		t.Errorf("bob: %v", err)
	}
}

// copyOf is another client's memory of alice's account, and of the server if it is to be known.
func copyOf(t *testing.T, from *store.Store, server bool) *store.Store {
	t.Helper()
	st := store.Memory()
	s, _, err := from.Server(authtest.Address)
	a, _, err2 := from.Account(s.RealmID, "alice")
	session, _, err3 := from.Session(authtest.Address)
	err = errors.Join(err, err2, err3, st.PutAccount(a), st.PutSession(session))
	if server {
		err = errors.Join(err, st.PutServer(s))
	}
	if err != nil {
		t.Fatal(err)
	}
	return st
}

func sessions(t *testing.T, srv *authtest.Server, name string) int {
	t.Helper()
	u, err := srv.Accounts.User(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	return u.Sessions
}
