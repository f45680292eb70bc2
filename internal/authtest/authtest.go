// Package authtest runs a real server for tests: real Noise, real accounts, a real store, on in-memory
// edges, so that it also runs in a bubble of testing/synctest.
package authtest

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
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

// Options change what New starts. The zero value is the default, with CheapKDF, any number of registrations and operations, and no penalties.
type Options struct {
	Account  account.Config // without Engine, Secrets and Tokens, which New makes
	Server   server.Config  // without Accounts and Identity; a nil Logger is the Server's Log
	Engine   kv.Engine      // nil: Pebble in memory
	Identity byte           // another number is another server, with other keys
}

// A Server is a running server.
type Server struct {
	*server.Server
	Accounts     *account.Service
	Fingerprint  string
	IdentityHash [32]byte // SHA-256, as in codes
	Log          *Log

	t        testing.TB // nil after Start
	engine   kv.Engine  // to be closed by Stop, or nil
	listener *listener
	served   chan error
}

// New starts a server, which ends with the test.
func New(t testing.TB, o Options) *Server {
	t.Helper()
	s, err := Start(o)
	if err != nil {
		t.Fatal(err)
	}
	s.t = t
	t.Cleanup(func() {
		if err := s.Stop(); err != nil {
			t.Errorf("Stop: %v", err)
		}
	})
	return s
}

// Start starts a server without a test, as for an example: it has only what needs none.
func Start(o Options) (*Server, error) {
	s := &Server{Log: &Log{}, listener: newListener(), served: make(chan error, 1)}
	var err error
	a := o.Account
	if a.Engine = o.Engine; a.Engine == nil {
		if s.engine, err = OpenEngine(); err != nil {
			return nil, err
		}
		a.Engine = s.engine
	}
	if a.Secrets, a.Tokens, err = secrets(o.Identity); err != nil {
		return nil, err
	}
	if a.KDF == (credential.KDF{}) {
		a.KDF = CheapKDF
	}
	if a.RegistrationsPerMinute == 0 {
		a.RegistrationsPerMinute = -1 // tests register often, from one address
	}
	if a.OperationsPerMinute == 0 {
		a.OperationsPerMinute = -1
	}
	if s.Accounts, err = account.New(context.Background(), &a); err != nil {
		return nil, err
	}
	c := o.Server
	if c.Penalties == nil {
		c.Penalties = &server.Penalties{} // none: tests do wrong often, from one address
	}
	c.Accounts = s.Accounts
	c.Identity = Identity(o.Identity)
	if c.Logger == nil {
		c.Logger = slog.New(slog.NewTextHandler(s.Log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	if s.Server, err = server.New(&c); err != nil {
		return nil, err
	}
	s.Fingerprint = noiseconn.Fingerprint([32]byte(c.Identity.Public().(ed25519.PublicKey)))
	s.IdentityHash = sha256.Sum256(c.Identity[32:])
	go func() { s.served <- s.Serve(s.listener) }()
	return s, nil
}

// Stop shuts the server down, gracefully, and closes the store that Start opened. It may be called again.
func (s *Server) Stop() error {
	if s.served == nil {
		return nil
	}
	err := s.Shutdown(context.Background())
	if served := <-s.served; served != server.ErrClosed {
		err = errors.Join(err, served)
	}
	s.served = nil
	if s.engine != nil {
		err = errors.Join(err, s.engine.Close())
	}
	return err
}

// OpenEngine opens a store in memory.
func OpenEngine() (kv.Engine, error) {
	return pebblekv.Open("db", &pebblekv.Options{FS: vfs.NewMem()})
}

// Engine opens a store in memory, which is closed with the test: for servers that come one after the other.
func Engine(t testing.TB) kv.Engine {
	t.Helper()
	e, err := OpenEngine()
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

// TokenID is the id of the key that signs the tokens of a test's server.
const TokenID = "k1"

func secrets(n byte) (account.Secrets, *token.Keyset, error) {
	realm := key("realm", n)
	s := account.Secrets{
		RealmID: [16]byte(realm[:]), SaltKey: key("salt", n), NameKey: key("name", n), AuditKey: key("audit", n),
		Wrapping: map[uint32][32]byte{1: key("wrapping", n)}, Current: 1,
	}
	seed := key("token", n)
	tokens, err := token.New(account.Issuer(s.RealmID), TokenID, token.Key{ID: TokenID, Private: ed25519.NewKeyFromSeed(seed[:])})
	return s, tokens, err
}

// Connect returns the client's end of a new connection to the server.
func (s *Server) Connect(ctx context.Context, _, _ string) (net.Conn, error) {
	return s.ConnectFrom(ctx, clientAddr.AddrPort())
}

// ConnectFrom is Connect from an address.
func (s *Server) ConnectFrom(ctx context.Context, from netip.AddrPort) (net.Conn, error) {
	return s.listener.dial(ctx, net.TCPAddrFromAddrPort(from))
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

// Reset returns a code that sets a new password for a name.
func (s *Server) Reset(name string) credential.Code {
	s.t.Helper()
	issued, err := s.Accounts.IssueReset(s.t.Context(), name, s.IdentityHash, 0)
	if err != nil {
		s.t.Fatalf("a reset of %s: %v", name, err)
	}
	return issued.Code
}

// Invite returns a code to register with.
func (s *Server) Invite() credential.Code {
	s.t.Helper()
	issued, err := s.Accounts.IssueInvite(s.t.Context(), s.IdentityHash, 0)
	if err != nil {
		s.t.Fatalf("an invite: %v", err)
	}
	return issued.Code
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
