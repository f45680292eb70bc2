package server

import (
	"context"
	"crypto/ed25519"
	"errors"
	"io"
	"log/slog"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/authsrv/authsrv/internal/account"
	"github.com/authsrv/authsrv/internal/workers"
	"github.com/authsrv/authsrv/wire"
)

// ErrClosed is what Serve returns after Shutdown.
var ErrClosed = errors.New("server: closed")

// Config configures a Server. Accounts and Identity are needed; the zero value of the rest is the default.
type Config struct {
	Accounts     *account.Service
	Identity     ed25519.PrivateKey // this, and the next two, SetIdentity changes later
	NextIdentity [32]byte           // SHA-256 of the successor's public key; zeros: none
	Epoch        uint32             // of certificates; 0: 1

	Logger *slog.Logger // nil: none

	// What follows SetRules changes later.

	// MaxPerAccount bounds the connections that are logged in to one account. Where that is reached, the one that is idle for
	// longest gives way. 0: 64.
	MaxPerAccount int
	// Penalties are for networks that offences come from. nil: DefaultPenalties.
	Penalties *Penalties
	// MaxConnections bounds all connections, but for a few that are on their way out. What
	// MaxHandshakes leaves of it is for those that are logged in. Where that is reached, the one that is idle for longest gives way, of
	// the account with the most of them, and then of the address. 0: 20,000.
	MaxConnections int
	// MaxHandshakes bounds the connections that are not logged in: a third of it those that have said nothing, a third those
	// that shake hands, and a third those that have. Where that is reached, the one that has waited for longest gives way, of the address with
	// the most of them. It is at most one half of MaxConnections. 0: 1,024.
	MaxHandshakes int
	// Grace is how long Shutdown lets logins that have begun come to their end. 0: 5 s.
	Grace time.Duration

	Rand io.Reader // nil: crypto/rand
}

// What a Config has where it has 0.
const (
	DefaultMaxConnections = 20_000
	DefaultMaxPerAccount  = 64
)

// Deadlines and limits of a connection (PROTOCOL 11).
const (
	handshakeTime   = 5 * time.Second
	loginTime       = 30 * time.Second
	writeTime       = 10 * time.Second
	idleTime        = 30 * time.Minute
	connectionLife  = 12 * time.Hour
	maxLoginFrames  = 16
	maxStarts       = 3
	maxDenied       = 3
	maxLoginBytes   = 8192
	maxPartingBytes = 1 << 20     // that are dropped behind what ends a session
	sweepFirst      = time.Minute // behind the start, when those who come back have come
	sweepEvery      = 10 * time.Minute
	sweepShare      = 0.03 // of the time: to look for what is dead is in no hurry, and others log in meanwhile
	defaultLobby    = 1024
	leastConns      = 16                             // that are worth a start
	maxRefusals     = 64                             // at once
	maxLeaving      = 64                             // of those that made room for others, and are being told goodbye
	maxArriving     = 64                             // that were accepted and have not come to read their first bytes
	maxEvicted      = maxArriving + maxRefusals + 64 // that made room in the lobby and are not gone; some arrive, and some are told why
	leeway          = maxRefusals + maxLeaving       // over MaxConnections, for who is on the way out
	defaultGrace    = 5 * time.Second
)

// A Server serves connections until it is shut down.
type Server struct {
	c     Config // but for what is in rules
	rules atomic.Pointer[Rules]
	node  node
	lobby lobby
	live  live
	seen  counters

	penalties penalties

	open     atomic.Int64 // connections, but for those that are refused
	requests atomic.Int64 // of all who are logged in: what session.used is of
	refusals places
	leaving  places
	arriving places
	evicted  places

	computing chan struct{} // a place each for handshakes that compute while many do
	draining  atomic.Bool

	mu        sync.Mutex
	listeners map[net.Listener]struct{}
	sessions  map[*session]struct{}
	closed    bool
	started   bool // what runs beside the connections

	workers *workers.Pool // for connections until they are logged in and idle

	ctx         context.Context // of all goroutines; ends when the last connection has, or Shutdown gives up waiting
	cancel      context.CancelFunc
	connections sync.WaitGroup
	beside      sync.WaitGroup
}

// New checks the configuration. It starts no goroutine.
func New(c *Config) (*Server, error) {
	s := &Server{c: *c, listeners: make(map[net.Listener]struct{}), sessions: make(map[*session]struct{})}
	if s.c.Accounts == nil {
		return nil, errors.New("server: Accounts and Identity are needed")
	}
	if s.c.Logger == nil {
		s.c.Logger = slog.New(slog.DiscardHandler)
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.workers = workers.New(s.beside.Go, s.ctx.Done())
	s.node.realm, s.node.rand = s.c.Accounts.RealmID(), s.c.Rand
	if err := s.SetIdentity(Identity{s.c.Identity, s.c.NextIdentity, s.c.Epoch}); err != nil {
		return nil, err
	}
	s.lobby.init()
	s.live.init()
	s.penalties.init()
	s.refusals, s.leaving = make(places, maxRefusals), make(places, maxLeaving)
	s.arriving, s.evicted = make(places, maxArriving), make(places, maxEvicted)
	s.computing = make(chan struct{}, max(runtime.GOMAXPROCS(0)/2, 1))
	if err := s.SetRules(Rules{c.MaxConnections, c.MaxHandshakes, c.MaxPerAccount, c.Penalties, c.Grace}); err != nil {
		return nil, err
	}
	s.seen.init()
	return s, nil
}

// Serve takes connections from l until Shutdown, and then returns ErrClosed; another error is l's. It closes l.
func (s *Server) Serve(l net.Listener) error {
	defer l.Close()
	if !s.begin(l) {
		return ErrClosed
	}
	var pause time.Duration
	for {
		conn, err := l.Accept()
		if err == nil {
			pause = 0
			s.take(conn)
			continue
		}
		if s.draining.Load() {
			return ErrClosed
		}
		if errors.Is(err, net.ErrClosed) {
			return err
		}
		// Out of file descriptors, most likely: those who are connected are served on.
		pause = min(max(2*pause, 5*time.Millisecond), time.Second)
		s.c.Logger.Warn("accept failed", "error", err, "retry_in", pause)
		select {
		case <-time.After(pause):
		case <-s.ctx.Done():
			return ErrClosed
		}
	}
}

// begin registers a listener, and with the first one starts what runs beside the connections.
func (s *Server) begin(l net.Listener) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.listeners[l] = struct{}{}
	if !s.started {
		s.started = true
		s.beside.Go(s.watch)
		s.beside.Go(s.sweep)
		s.beside.Go(s.keepAudit)
	}
	return true
}

// take serves one connection in a goroutine of its own, or refuses it. Of a network that is cut off, one is told from time to time and the
// others are closed without a word: that costs as little here as can be.
func (s *Server) take(conn net.Conn) {
	cut, tell := s.penalties.cutOff(addressOf(conn))
	switch {
	case !cut:
		s.live.makeRoom().displace()
		s.admit(conn)
		return
	case !tell || !s.refusals.take():
		conn.Close()
	default:
		s.refuse(conn)
	}
	s.seen.cut()
}

// admit serves a connection. There is room for it, since others give way, but where more are on their way out than may be, or the rules
// were tightened.
func (s *Server) admit(conn net.Conn) {
	if s.open.Load() >= int64(s.rules.Load().MaxConnections+leeway) {
		s.seen.handshake(wire.CodeOverloaded.Name())
		if s.refusals.take() {
			s.refuse(conn)
		} else {
			conn.Close()
		}
		return
	}
	s.arriving <- struct{}{} // which serve gives back
	s.open.Add(1)
	began := s.start(conn, func(ss *session) (rest func()) { return ss.serve(s.ctx) }, func() { s.open.Add(-1) })
	if !began {
		s.arriving.give()
		s.open.Add(-1)
	}
}

// refuse tells a connection that there is no room, for which it has one of the places.
func (s *Server) refuse(conn net.Conn) {
	began := s.start(conn, func(ss *session) (rest func()) {
		ss.refuse(s.ctx, wire.CodeOverloaded)
		return nil
	}, s.refusals.give)
	if !began {
		s.refusals.give()
	}
}

// start runs a connection in a worker, and what run returns in a goroutine of its own, unless the server stops, in which case it is
// closed, and over is not called.
func (s *Server) start(conn net.Conn, run func(*session) (rest func()), over func()) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		conn.Close()
		return false
	}
	ss := newSession(s, conn)
	s.sessions[ss] = struct{}{}
	s.connections.Add(1)
	end := func() {
		over()
		s.forget(ss)
		s.connections.Done()
	}
	s.workers.Run(func() {
		rest := run(ss)
		if rest == nil {
			end()
			return
		}
		go func() {
			rest()
			end()
		}()
	})
	return true
}

// places are what only so many can have at once.
type places chan struct{}

// take says whether there was one left.
func (p places) take() bool {
	select {
	case p <- struct{}{}:
		return true
	default:
		return false
	}
}

func (p places) give() { <-p }

func (s *Server) forget(ss *session) {
	s.live.leave(ss)
	ss.leave()
	s.mu.Lock()
	delete(s.sessions, ss)
	s.mu.Unlock()
}

// watch ends connections whose session was ended, by whomever and on whatever node.
func (s *Server) watch() {
	for change, err := range s.c.Accounts.Changes(s.ctx) {
		if err != nil {
			if s.ctx.Err() == nil {
				s.c.Logger.Error("feed of changes ended: ended sessions close at their next request", "error", err)
			}
			return
		}
		for ss, session := range s.live.of(change) {
			ctx, cancel := context.WithTimeout(s.ctx, writeTime) // a store that hangs holds up nobody else
			err := s.c.Accounts.Check(ctx, session)
			cancel()
			if s.ctx.Err() != nil {
				return
			}
			// Who is no longer there with that session has ended it itself, or checks what it has now.
			if err != nil && s.live.has(ss, session) {
				ss.wake(goodbyeCode(err))
			}
		}
	}
}

// sweep makes room in the store from time to time.
func (s *Server) sweep() {
	select {
	case <-time.After(sweepFirst):
	case <-s.ctx.Done():
		return
	}
	ticker := time.NewTicker(sweepEvery)
	defer ticker.Stop()
	for {
		n, err := s.c.Accounts.Sweep(s.ctx, sweepShare)
		switch {
		case s.ctx.Err() != nil:
			return
		case err != nil:
			s.c.Logger.Error("sweep failed", "error", err)
		case n > 0:
			s.c.Logger.Debug("swept", "removed", n)
		}
		select {
		case <-ticker.C:
		case <-s.ctx.Done():
			return
		}
	}
}

// keepAudit chains the audit records as they become old enough, and removes those that are too old.
func (s *Server) keepAudit() {
	s.c.Accounts.KeepAudit(s.ctx, func(err error) { s.c.Logger.Error("audit chain failed", "error", err) })
}

// Shutdown stops gracefully: no new connection is taken, requests in flight are answered, logins that have
// begun may finish within Grace, and then everybody is told goodbye. It waits for all of that, or until ctx
// ends: then what is left is cut off, and the error is ctx's.
func (s *Server) Shutdown(ctx context.Context) error {
	s.draining.Store(true)
	s.mu.Lock()
	s.closed = true
	for l := range s.listeners {
		l.Close()
	}
	open := make([]*session, 0, len(s.sessions))
	for ss := range s.sessions {
		open = append(open, ss)
	}
	s.mu.Unlock()
	for _, ss := range open {
		ss.drain(s.rules.Load().Grace)
	}

	gone := make(chan struct{})
	go func() {
		defer close(gone)
		s.connections.Wait()
		s.cancel()
		s.beside.Wait()
	}()
	select {
	case <-gone:
		return nil
	case <-ctx.Done():
	}
	s.cancel()
	for _, ss := range open {
		ss.raw.Close()
	}
	<-gone
	return ctx.Err()
}
