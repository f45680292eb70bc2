package client_test

import (
	"context"
	"errors"
	"net"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/authsrv/authsrv/client"
	"github.com/authsrv/authsrv/client/store"
	"github.com/authsrv/authsrv/credential"
	"github.com/authsrv/authsrv/internal/authtest"
)

// closer is a client's connection that counts itself as open until it is closed, and does something at its n-th Read or Write.
type closer struct {
	net.Conn
	open *atomic.Int64
	shut atomic.Bool
	n    atomic.Int64
	at   map[int64]func()
}

func (c *closer) count() {
	if do := c.at[c.n.Add(1)]; do != nil {
		do()
	}
}

func (c *closer) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.count()
	return n, err
}

func (c *closer) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	c.count()
	return n, err
}

func (c *closer) Close() error {
	if c.shut.Swap(true) {
		return net.ErrClosed
	}
	c.open.Add(-1)
	return c.Conn.Close()
}

// isClosed checks the error of a call that Close has interrupted.
func isClosed(t *testing.T, err error) {
	t.Helper()
	if !errors.Is(err, client.ErrClosed) || !errors.Is(err, client.ErrConnection) || errors.Is(err, context.Canceled) {
		t.Errorf("the call: %v", err)
	}
}

// TestCloseInterrupts a call, whatever that waits for, and waits for nothing itself.
func TestCloseInterrupts(t *testing.T) {
	for _, waits := range []string{"dialing", "shaking hands", "stretching", "reading", "queueing"} {
		t.Run(waits, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				srv := authtest.New(t, authtest.Options{})
				enroll(t, srv, "alice", password)
				var open atomic.Int64
				dials := 0
				hold := make(chan struct{})
				defer close(hold)
				config := srv.Config(nil)
				config.Dialer = func(ctx context.Context, network, address string) (net.Conn, error) {
					dials++
					var conn net.Conn
					var err error
					switch {
					case dials == 2 && waits == "dialing":
						<-ctx.Done()
						return nil, ctx.Err()
					case dials == 2 && waits == "shaking hands":
						conn, _ = net.Pipe() // with nobody
					default:
						conn, err = srv.Connect(ctx, network, address)
					}
					open.Add(1)
					return &closer{Conn: conn, open: &open, at: map[int64]func(){}}, err
				}
				config.Stretch(func(password []byte, realm [16]byte, name string, salt [16]byte, kdf credential.KDF) (*credential.Key, error) {
					if waits == "stretching" || waits == "queueing" {
						<-hold
					}
					return cheapKey(password, realm, name, salt, kdf)
				})
				if waits == "reading" {
					f := newFake(t, 1)
					f.answer = func(k *talk) { k.begin(); k.read() }
					config.Dialer = func(ctx context.Context, network, address string) (net.Conn, error) {
						conn, err := f.dial(ctx, network, address)
						open.Add(1)
						return &closer{Conn: conn, open: &open}, err
					}
				}
				c, err := client.Dial(t.Context(), authtest.Address, config)
				if err != nil {
					t.Fatal(err)
				}
				if waits == "dialing" || waits == "shaking hands" {
					time.Sleep(4 * time.Second) // so that the connection is made anew
				}
				calls, failed := 1, make(chan error)
				if waits == "queueing" {
					calls = 3
				}
				for range calls {
					go func() {
						_, err := c.Login(t.Context(), "alice", password, nil)
						failed <- err
					}()
				}
				synctest.Wait()
				began := time.Now()
				if err := c.Close(); err != nil {
					t.Errorf("Close: %v", err)
				}
				for range calls {
					if err := <-failed; calls == 1 {
						isClosed(t, err)
					} else if !errors.Is(err, client.ErrClosed) {
						t.Errorf("the call: %v", err)
					}
				}
				if took := time.Since(began); took != 0 {
					t.Errorf("it took %v", took)
				}
				synctest.Wait()
				if n := open.Load(); n != 0 {
					t.Errorf("%d connections are left", n)
				}
				if _, err := c.Resume(t.Context()); !errors.Is(err, client.ErrClosed) {
					t.Errorf("Resume: %v", err)
				}
				if err := c.Close(); err != nil {
					t.Errorf("Close again: %v", err)
				}
			})
		})
	}
}

// TestCloseAfterFailure: the connection is closed by then.
func TestCloseAfterFailure(t *testing.T) {
	f := newFake(t, 1)
	f.answer = func(k *talk) { k.begin() } // and hangs up
	config := f.config(f.pinned())
	config.Dialer = func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := f.dial(ctx, network, address)
		return &closer{Conn: conn, open: new(atomic.Int64)}, err
	}
	c, err := client.Dial(t.Context(), authtest.Address, config)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Login(t.Context(), "alice", password, nil); !errors.Is(err, client.ErrConnection) {
		t.Errorf("Login: %v", err)
	}
	if err := c.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
}

// TestCloseBesideLogin: whenever Close comes, there is a Session, which works, or an error and nothing left.
func TestCloseBesideLogin(t *testing.T) {
	got := map[bool]int{}
	for n := int64(1); n <= 12; n++ {
		synctest.Test(t, func(t *testing.T) {
			srv := authtest.New(t, authtest.Options{})
			enroll(t, srv, "alice", password)
			var open atomic.Int64
			var c *client.Client
			config := srv.Config(nil)
			config.Stretch(cheapKey)
			config.Dialer = func(ctx context.Context, network, address string) (net.Conn, error) {
				conn, err := srv.Connect(ctx, network, address)
				open.Add(1)
				return &closer{Conn: conn, open: &open, at: map[int64]func(){n + 3: func() { // behind the handshake's
					if n%2 == 0 {
						go c.Close()
						return
					}
					c.Close()
				}}}, err
			}
			var err error
			if c, err = client.Dial(t.Context(), authtest.Address, config); err != nil {
				t.Fatal(err)
			}
			s, err := c.Login(t.Context(), "alice", password, nil)
			got[err == nil]++
			if err != nil {
				isClosed(t, err)
			} else {
				if _, err := s.WhoAmI(t.Context()); err != nil {
					t.Errorf("a session that is none: %v", err)
				}
				s.Close()
			}
			c.Close()
			synctest.Wait()
			if open.Load() != 0 {
				t.Errorf("closed at %d: a connection is left, Login: %v", n, err)
			}
		})
	}
	if got[true] == 0 || got[false] == 0 {
		t.Errorf("sessions and errors: %v", got)
	}
}

// TestCallsQueueWithinTheirContext: a call that waits for another one on the same Client ends with its context.
func TestCallsQueueWithinTheirContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t, 1)
		f.answer = func(k *talk) { k.begin(); k.read() } // and says nothing
		c, err := client.Dial(t.Context(), authtest.Address, f.config(f.pinned()))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		first := make(chan error)
		go func() {
			_, err := c.Login(t.Context(), "alice", password, nil)
			first <- err
		}()
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		began := time.Now()
		if _, err := c.Resume(ctx); !errors.Is(err, client.ErrConnection) || !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != time.Second {
			t.Errorf("the second: %v after %v", err, time.Since(began))
		}
		if err := <-first; !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != 30*time.Second {
			t.Errorf("the first: %v after %v", err, time.Since(began))
		}
	})
}

// TestKnownDuringLogin: what is known of the server can be asked while a call makes the connection anew, which may be to a successor.
func TestKnownDuringLogin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := authtest.New(t, authtest.Options{})
		enroll(t, srv, "alice", password)
		config := srv.Config(store.Memory())
		config.Stretch(cheapKey)
		dials, dialing, goOn := 0, make(chan struct{}), make(chan struct{})
		config.Dialer = func(ctx context.Context, network, address string) (net.Conn, error) {
			if dials++; dials == 2 {
				close(dialing)
				<-goOn
			}
			return srv.Connect(ctx, network, address)
		}
		c, err := client.Dial(t.Context(), authtest.Address, config)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		time.Sleep(4 * time.Second) // so that the connection is made anew
		ask := func(pinned bool) {
			if c.Fingerprint() != srv.Fingerprint || c.WantsPassword() || c.Pinned() != pinned {
				t.Errorf("known: %s, %v, %v", c.Fingerprint(), c.WantsPassword(), c.Pinned())
			}
		}
		asked := make(chan struct{})
		go func() { // with nothing between this and Login, for the race detector
			ask(false)
			<-dialing
			ask(false)
			close(goOn)
			for range 100 {
				c.Fingerprint()
				c.WantsPassword()
				c.Pinned()
			}
			close(asked)
		}()
		s, err := c.Login(t.Context(), "alice", password, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		<-asked
		ask(true)
	})
}
