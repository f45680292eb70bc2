package server_test

import (
	"context"
	"errors"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/authsrv/authsrv/internal/authtest"
	"github.com/authsrv/authsrv/noiseconn"
	"github.com/authsrv/authsrv/server"
	"github.com/authsrv/authsrv/wire"
)

// shutdown shuts a server down meanwhile, and returns a channel with the outcome.
func shutdown(ctx context.Context, srv *authtest.Server) <-chan error {
	done := make(chan error, 1)
	go func() { done <- srv.Shutdown(ctx) }()
	synctest.Wait()
	return done
}

func pending(t *testing.T, done <-chan error) {
	t.Helper()
	select {
	case err := <-done:
		t.Fatalf("Shutdown did not wait: %v", err)
	default:
	}
}

func TestShutdownSaysGoodbye(t *testing.T) {
	bubble(t, func(t *testing.T, srv *authtest.Server, alice *user) {
		var idle []*peer
		for range 5 {
			p := connect(t, srv)
			p.login(alice)
			idle = append(idle, p)
		}
		done := shutdown(t.Context(), srv)
		for _, p := range idle {
			p.expectGoodbye(wire.CodeShuttingDown)
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
		if _, err := srv.Connect(t.Context(), "", ""); !errors.Is(err, net.ErrClosed) {
			t.Errorf("a connection after Shutdown: %v", err)
		}
		if err := srv.Shutdown(t.Context()); err != nil {
			t.Errorf("a second Shutdown: %v", err)
		}
	})
}

// TestShutdownFinishesRequests: what was asked before is answered, and only then is goodbye said.
func TestShutdownFinishesRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEngine(t)
		srv := authtest.New(t, authtest.Options{Engine: e})
		alice, bob := enroll(t, srv, "alice"), enroll(t, srv, "bob")
		p, q := connect(t, srv), connect(t, srv)
		p.login(alice)
		q.ask(bob)
		id, c := p.operation(wire.TypeRevokeAll)
		gate := make(chan struct{})
		e.set(func(operation string) error {
			if operation == "commit" {
				<-gate
			}
			return nil
		})
		p.send(p.proved(alice, wire.TypeRevokeAll, id, &c))
		q.send(q.proof(bob))
		synctest.Wait()
		done := shutdown(t.Context(), srv)
		pending(t, done)
		time.Sleep(3 * time.Second)
		close(gate)
		p.expect(wire.TypeDone)
		p.expectGoodbye(wire.CodeLoggedOut)
		q.takeWelcome()
		q.expectGoodbye(wire.CodeShuttingDown)
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func TestShutdownLetsLoginsFinish(t *testing.T) {
	bubble(t, func(t *testing.T, srv *authtest.Server, alice *user) {
		p, late, began := connect(t, srv), connect(t, srv), time.Now()
		p.ask(alice)
		late.ask(alice)
		silent, greeted := dial(t, srv), connect(t, srv)
		done := shutdown(t.Context(), srv)
		if n, err := silent.Read(make([]byte, 1)); n != 0 || err == nil || time.Since(began) != 0 {
			t.Errorf("a silent connection: %d, %v, after %v", n, err, time.Since(began))
		}
		greeted.expectClosed()
		time.Sleep(4 * time.Second)
		pending(t, done)
		p.send(p.proof(alice))
		p.takeWelcome()
		p.expectGoodbye(wire.CodeShuttingDown)
		late.expectAge(began, 5*time.Second) // the grace
		if err := <-done; err != nil || time.Since(began) != 5*time.Second {
			t.Errorf("Shutdown: %v, after %v", err, time.Since(began))
		}
	})
}

// TestShutdownGivesUp: when its context ends, what is left is cut off.
func TestShutdownGivesUp(t *testing.T) {
	bubble(t, func(t *testing.T, srv *authtest.Server, alice *user) {
		p, q, began := connect(t, srv), connect(t, srv), time.Now()
		p.login(alice)
		q.ask(alice)
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		// Neither reads: p is to hear goodbye, and q is in its grace.
		if err := srv.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != 2*time.Second {
			t.Errorf("Shutdown: %v, after %v", err, time.Since(began))
		}
		q.expectClosed()
	})
}

// TestShutdownIsNotHeldUp: who does not take its goodbye holds Shutdown up for as long as a write may take.
func TestShutdownIsNotHeldUp(t *testing.T) {
	bubble(t, func(t *testing.T, srv *authtest.Server, alice *user) {
		p, began := connect(t, srv), time.Now()
		p.login(alice)
		if err := srv.Shutdown(t.Context()); err != nil || time.Since(began) != 10*time.Second {
			t.Errorf("Shutdown: %v, after %v", err, time.Since(began))
		}
		p.raw.Close()
	})
}

func TestServeAfterShutdown(t *testing.T) {
	bubble(t, func(t *testing.T, srv *authtest.Server, _ *user) {
		if err := srv.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		if err := srv.Serve(l); err != server.ErrClosed {
			t.Errorf("Serve: %v", err)
		}
		if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("the listener is still open: %v", err)
		}
	})
}

func TestConfigIsChecked(t *testing.T) {
	if _, err := server.New(&server.Config{}); err == nil {
		t.Error("a server without accounts")
	}
}

// flakyListener fails before it accepts.
type flakyListener struct {
	net.Listener
	failures int
}

func (l *flakyListener) Accept() (net.Conn, error) {
	if l.failures--; l.failures >= 0 {
		return nil, errors.New("out of file descriptors")
	}
	return l.Listener.Accept()
}

func TestAcceptThatFailsIsRetried(t *testing.T) {
	srv := authtest.New(t, authtest.Options{})
	alice := enroll(t, srv, "alice")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(&flakyListener{l, 3}) }()
	conn, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	p := greet(t, conn)
	p.login(alice)
	conn.Close()
	if err := srv.Stop(); err != nil {
		t.Error(err)
	}
	if err := <-served; err != server.ErrClosed {
		t.Errorf("Serve: %v", err)
	}
}

// TestCertificateIsRenewed when half of its life is over, with a new key.
func TestCertificateIsRenewed(t *testing.T) {
	now := time.Now()
	current := server.NewNode(authtest.Identity(0))
	static, first := current(t, now)
	for _, c := range []struct {
		after time.Duration
		same  bool
	}{{0, true}, {84*time.Hour - 1, true}, {84 * time.Hour, false}} {
		key, certificate := current(t, now.Add(c.after))
		if same := key == static && certificate == first; same != c.same {
			t.Errorf("after %v: the same certificate is %v", c.after, same)
		}
		hello := wire.ServerHello{Identity: [32]byte(authtest.Identity(0)[32:]), Certificate: certificate}
		if err := noiseconn.VerifyCertificate(&hello, key, now.Add(c.after)); err != nil {
			t.Errorf("after %v: %v", c.after, err)
		}
	}
}
