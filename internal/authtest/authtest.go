// Package authtest runs a real server for tests: real Noise, real accounts, a real store, on in-memory
// edges, so that it also runs in a bubble of testing/synctest.
package authtest

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"io"
	"log/slog"
	"net"
	"sync"
	"testing"

	"github.com/authsrv/authsrv/client"
	"github.com/authsrv/authsrv/client/store"
	"github.com/authsrv/authsrv/credential"
	"github.com/authsrv/authsrv/internal/account"
	"github.com/authsrv/authsrv/kv"
	"github.com/authsrv/authsrv/kv/pebblekv"
	"github.com/authsrv/authsrv/noiseconn"
	"github.com/authsrv/authsrv/server"
	"github.com/authsrv/authsrv/token"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// Address is where a test's server is, as far as its clients know.
const Address = "auth.test:7022"

// CheapKDF is the least that clients accept: tests log in often.
var CheapKDF = credential.KDF{Algorithm: 1, Time: 2, MemoryKiB: 19456, Lanes: 1}

// Options change what New starts. The zero value is the default, with CheapKDF.
type Options struct {
	Account  account.Config // without Engine, Secrets and Tokens, which New makes
	Server   server.Config  // without Accounts and Identity
	Engine   kv.Engine      // nil: Pebble in memory
	Identity byte           // another number is another server, with other keys
}

// A Server is a running server.
type Server struct {
	*server.Server
	Accounts    *account.Service
	Fingerprint string
	Log         *Log

	t        *testing.T
	listener *listener
	stopped  chan struct{}
}

// New starts a server, which ends with the test.
func New(t *testing.T, o Options) *Server {
	t.Helper()
	s := &Server{t: t, Log: &Log{}, listener: newListener(), stopped: make(chan struct{})}
	engine := o.Engine
	if engine == nil {
		engine = Engine(t)
	}
	a := o.Account
	a.Engine = engine
	a.Secrets, a.Tokens = secrets(t, o.Identity)
	if a.KDF == (credential.KDF{}) {
		a.KDF = CheapKDF
	}
	var err error
	if s.Accounts, err = account.New(t.Context(), &a); err != nil {
		t.Fatal(err)
	}
	c := o.Server
	c.Accounts = s.Accounts
	c.Identity = Identity(o.Identity)
	c.Logger = slog.New(slog.NewTextHandler(s.Log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	if s.Server, err = server.New(&c); err != nil {
		t.Fatal(err)
	}
	s.Fingerprint = noiseconn.Fingerprint([32]byte(c.Identity.Public().(ed25519.PublicKey)))
	go func() {
		defer close(s.stopped)
		if err := s.Serve(s.listener); err != server.ErrClosed {
			t.Errorf("Serve: %v", err)
		}
	}()
	t.Cleanup(s.Stop)
	return s
}

// Stop shuts the server down, gracefully. It may be called again.
func (s *Server) Stop() {
	if err := s.Shutdown(context.Background()); err != nil {
		s.t.Errorf("Shutdown: %v", err)
	}
	<-s.stopped
}

// Engine opens a store in memory, which is closed with the test.
func Engine(t *testing.T) kv.Engine {
	t.Helper()
	e, err := pebblekv.Open("db", &pebblekv.Options{FS: vfs.NewMem()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Errorf("closing the store: %v", err)
		}
	})
	return e
}

// Identity returns the identity of a test's server.
func Identity(n byte) ed25519.PrivateKey {
	seed := key("identity", n)
	return ed25519.NewKeyFromSeed(seed[:])
}

// key returns a key that is the same in every run.
func key(what string, n byte) [32]byte { return sha256.Sum256(append([]byte("authtest "+what), n)) }

func secrets(t *testing.T, n byte) (account.Secrets, *token.Keyset) {
	t.Helper()
	realm := key("realm", n)
	s := account.Secrets{
		RealmID: [16]byte(realm[:]), SaltKey: key("salt", n), NameKey: key("name", n),
		Wrapping: map[uint32][32]byte{1: key("wrapping", n)}, Current: 1,
	}
	seed := key("token", n)
	tokens, err := token.New(account.Issuer(s.RealmID), "k1", token.Key{ID: "k1", Private: ed25519.NewKeyFromSeed(seed[:])})
	if err != nil {
		t.Fatal(err)
	}
	return s, tokens
}

// Connect returns the client's end of a new connection to the server.
func (s *Server) Connect(ctx context.Context, _, _ string) (net.Conn, error) {
	return s.listener.dial(ctx)
}

// Config returns a client's configuration that reaches the server, with a store, or a new one if it is nil.
func (s *Server) Config(st *store.Store) *client.Config {
	if st == nil {
		st = store.Memory()
	}
	return &client.Config{Store: st, AcceptNew: true, Dialer: s.Connect}
}

// Dial returns a client of the server.
func (s *Server) Dial(st *store.Store) *client.Client {
	s.t.Helper()
	c, err := client.Dial(s.t.Context(), Address, s.Config(st))
	if err != nil {
		s.t.Fatalf("Dial: %v", err)
	}
	s.t.Cleanup(func() { c.Close() })
	return c
}

// Register makes an account.
func (s *Server) Register(name, password string) {
	s.t.Helper()
	if err := s.Dial(nil).Register(s.t.Context(), name, password, nil); err != nil {
		s.t.Fatalf("Register %s: %v", name, err)
	}
}

// Login logs in, remembering the session in st, and ends the connection with the test.
func (s *Server) Login(st *store.Store, name, password string) *client.Session {
	s.t.Helper()
	session, err := s.Dial(st).Login(s.t.Context(), name, password, nil)
	if err != nil {
		s.t.Fatalf("Login %s: %v", name, err)
	}
	s.t.Cleanup(func() { session.Close() })
	return session
}

// Log is what a server logged.
type Log struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *Log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *Log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

var _ io.Writer = (*Log)(nil)
