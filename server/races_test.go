package server_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/authsrv/authsrv/internal/account"
	"github.com/authsrv/authsrv/internal/authtest"
	"github.com/authsrv/authsrv/internal/soak"
	"github.com/authsrv/authsrv/kv"
	"github.com/authsrv/authsrv/noiseconn"
	"github.com/authsrv/authsrv/server"
	"github.com/authsrv/authsrv/wire"
)

// patience is how long an answer may take before it counts as none. Nothing here depends on how long it takes.
const patience = time.Minute

// arena is a server for races of whole connections.
type arena struct {
	t       *testing.T
	mutated bool
	srv     *authtest.Server
	from    atomic.Uint32
	mu      sync.Mutex
	faults  []string
	raced   int // logins that ran while the ending did
	in, out int // how many of them were let in, and refused
	served  int // requests that were answered before the acknowledgement
	ended   int // connections that were told goodbye or cut off
	rounds  int
}

func (a *arena) fault(format string, args ...any) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.faults = append(a.faults, fmt.Sprintf(format, args...))
}

func (a *arena) count(n *int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	*n++
}

// dial returns a connection from an address of its own, up to M2.
func (a *arena) dial(static noiseconn.StaticKey) (*peer, error) {
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], 10<<24|a.from.Add(1)&0xFFFFFF)
	conn, err := a.srv.ConnectFrom(a.t.Context(), netip.AddrPortFrom(netip.AddrFrom4(b), 7))
	if err != nil {
		return nil, err
	}
	conn.SetDeadline(time.Now().Add(patience))
	p := &peer{t: a.t, raw: conn, static: static}
	return p, p.tryGreet(a.t.Context())
}

var errRefused = errors.New("refused")

// take returns the next message, which is of a type. Denied, Refused and Goodbye are errRefused.
func (p *peer) take(want wire.Type) ([]byte, error) {
	b, err := p.conn.ReadMessage(wire.MaxSessionFrame)
	if err != nil {
		return nil, err
	}
	switch got := wire.TypeOf(b); got {
	case want:
		return b, nil
	case wire.TypeDenied:
		d, err := wire.ParseDenied(b)
		return nil, errors.Join(errRefused, d.Code, err)
	case wire.TypeGoodbye:
		g, err := wire.ParseGoodbye(b)
		return nil, errors.Join(errRefused, g.Code, err)
	default:
		return nil, fmt.Errorf("%v in the place of %v", got, want)
	}
}

// tryAsk is ask, and tryFinish the rest of login, with errors.
func (p *peer) tryAsk(u *user) error {
	p.start = loginStart(u.name)
	p.start.ClientNonce = nonce("client")
	if err := p.trySend(p.start); err != nil {
		return err
	}
	b, err := p.take(wire.TypeChallenge)
	if err == nil {
		p.challenge, err = wire.ParseChallenge(b)
	}
	return err
}

func (p *peer) tryFinish(u *user) error {
	if err := p.trySend(p.proof(u)); err != nil {
		return err
	}
	return p.tryWelcome()
}

func (p *peer) tryWelcome() error {
	b, err := p.take(wire.TypeWelcome)
	if err != nil {
		return err
	}
	w, err := wire.ParseWelcome(b)
	w.Token = append([]byte(nil), w.Token...)
	p.welcome = w
	return err
}

// whoAmI makes a request. It listens meanwhile, as a connection in memory has no buffer in which a goodbye could wait.
func (p *peer) whoAmI() error {
	sent := make(chan error, 1)
	go func() { sent <- p.trySend(wire.Plain{Type: wire.TypeWhoAmI, ID: p.newID()}) }()
	_, err := p.take(wire.TypeAccount)
	if err != nil {
		p.raw.Close()
	}
	<-sent
	return err
}

// tryOperation sends an operation and takes its answer.
func (p *peer) tryOperation(u, next *user, of wire.Type) error {
	id := p.newID()
	if err := p.trySend(&wire.OpStart{ID: id, Operation: of, ClientNonce: nonce("operation")}); err != nil {
		return err
	}
	b, err := p.take(wire.TypeOpChallenge)
	if err != nil {
		return err
	}
	c, err := wire.ParseOpChallenge(b)
	if err != nil {
		return err
	}
	var m message
	want := wire.TypeDone
	if of == wire.TypeChangePassword {
		m, want = p.change(u, next, id, &c), wire.TypePasswordChanged
	} else {
		m = p.proved(u, of, id, &c)
	}
	if err := p.trySend(m); err != nil {
		return err
	}
	_, err = p.take(want)
	return err
}

// endings end all sessions of an account; on return that is acknowledged.
var endings = []struct {
	what string
	do   func(a *arena, p *peer, u, next *user) error
	same bool // the key of before is still right
}{
	{"change of password", func(_ *arena, p *peer, u, next *user) error {
		return p.tryOperation(u, next, wire.TypeChangePassword)
	}, false},
	{"log out all", func(_ *arena, p *peer, u, next *user) error { return p.tryOperation(u, next, wire.TypeRevokeAll) }, true},
	{"deletion", func(_ *arena, p *peer, u, next *user) error { return p.tryOperation(u, next, wire.TypeDeleteAccount) }, false},
	{"disabling", func(a *arena, _ *peer, u, _ *user) error {
		return a.srv.Accounts.SetDisabled(a.t.Context(), u.name, true)
	}, false},
	{"revocation", func(a *arena, _ *peer, u, _ *user) error {
		_, err := a.srv.Accounts.RevokeAllOf(a.t.Context(), u.name)
		return err
	}, true},
	{"removal", func(a *arena, _ *peer, u, _ *user) error { return a.srv.Accounts.Remove(a.t.Context(), u.name) }, false},
}

// visitor is a connection that is logged in before the ending.
func (a *arena) visitor(u *user) (*peer, error) {
	p, err := a.dial(u.static)
	if err == nil {
		err = p.tryAsk(u)
	}
	if err == nil {
		err = p.tryFinish(u)
	}
	return p, err
}

const racersOf = 4

func (a *arena) round(n int) {
	e := endings[n%len(endings)]
	u := enroll(a.t, a.srv, fmt.Sprintf("u%d", n))
	next := u.renewed()
	var peers [3]*peer
	for i := range peers {
		p, err := a.visitor(u)
		if err != nil {
			a.fault("login: %v", err)
			return
		}
		defer p.raw.Close()
		peers[i] = p
	}
	actor, idle, busy := peers[0], peers[1], peers[2]

	var start, done sync.WaitGroup
	start.Add(1)
	acked := make(chan struct{})
	isAcked := func() bool {
		select {
		case <-acked:
			return true
		default:
			return false
		}
	}
	done.Go(func() { // it asks, and once more behind the acknowledgement
		for i := rand.IntN(8); ; i-- {
			if i <= 0 {
				<-acked
			}
			after := isAcked()
			err := busy.whoAmI()
			switch {
			case err == nil && after:
				a.fault("%s: a request was served that was made after the acknowledgement", e.what)
				return
			case err == nil:
				a.count(&a.served)
				continue
			case errors.Is(err, wire.CodeSessionRevoked), errors.Is(err, io.EOF):
				a.count(&a.ended)
			default:
				a.fault("%s: a request: %v", e.what, err)
			}
			return
		}
	})
	done.Go(func() { // it asks for nothing, and is told
		if a.mutated {
			return // it might not be
		}
		if _, err := idle.take(wire.TypeDone); !errors.Is(err, wire.CodeSessionRevoked) {
			a.fault("%s: an idle connection: %v", e.what, err)
		}
		a.count(&a.ended)
	})
	var began, ended time.Time
	for i := range racersOf {
		p, err := a.dial(u.static)
		if err == nil && i%2 == 0 { // its nonce is from before
			err = p.tryAsk(u)
		}
		if err != nil {
			a.fault("a racer: %v", err)
			continue
		}
		done.Go(func() {
			defer p.raw.Close()
			start.Wait()
			for range rand.IntN(40) {
				runtime.Gosched()
			}
			from := time.Now()
			var err error
			if i%2 != 0 {
				err = p.tryAsk(u)
			}
			if err == nil {
				err = p.tryFinish(u)
			}
			to := time.Now()
			<-acked
			a.mu.Lock()
			if from.Before(ended) && to.After(began) {
				a.raced++
				if err == nil {
					a.in++
				} else {
					a.out++
				}
			}
			a.mu.Unlock()
			if err != nil {
				if !errors.Is(err, wire.CodeDenied) {
					a.fault("%s: login: %v", e.what, err)
				}
				return
			}
			a.judge(e.what, e.same, u, p)
		})
	}
	start.Done()
	began = time.Now()
	err := e.do(a, actor, u, next)
	ended = time.Now()
	close(acked)
	if err != nil {
		a.fault("%s: %v", e.what, err)
	}
	a.wantNoResumption(e.what, u, idle)
	done.Wait()
	a.count(&a.rounds)
}

// judge looks whether a session that was made meanwhile is still served, and whether it may be.
func (a *arena) judge(what string, same bool, u *user, p *peer) {
	err := p.whoAmI()
	if err == nil && !same {
		a.fault("%s: a request was served in a session that was made meanwhile", what)
	}
	if err != nil {
		a.count(&a.ended)
		if rand.IntN(4) == 0 {
			a.wantNoResumption(what, u, p)
		}
	}
	if !same {
		return
	}
	list, _, listErr := a.srv.Accounts.SessionsOf(a.t.Context(), u.name, account.ID{}, 100)
	listed := false
	for _, s := range list {
		listed = listed || s.ID == account.ID(p.welcome.SessionID)
	}
	if listErr != nil || listed != (err == nil) {
		a.fault("%s: a session that was made meanwhile is listed: %v, %v; a request: %v", what, listed, listErr, err)
	}
}

// wantNoResumption: the token of a connection's session is good for nothing.
func (a *arena) wantNoResumption(what string, u *user, of *peer) {
	p, err := a.dial(u.static)
	if err != nil {
		a.fault("%s: to resume: %v", what, err)
		return
	}
	defer p.raw.Close()
	m := sessionStart(of.welcome.Token)
	m.ClientNonce = nonce("client")
	p.start = m
	if err = p.trySend(m); err == nil {
		err = p.tryWelcome()
	}
	if !errors.Is(err, wire.CodeSessionRevoked) {
		a.fault("%s: the token resumes after the acknowledgement: %v", what, err)
	}
}

// races makes rounds on servers of their own until so many logins have raced, or a fault is found.
func races(t *testing.T, wrap func(kv.Engine) kv.Engine, enough int) *arena {
	t.Helper()
	total := &arena{}
	const perServer, workers = 96, 3
	for n := 0; total.raced < enough && len(total.faults) == 0; n++ {
		t.Run("", func(t *testing.T) {
			o := authtest.Options{Engine: slowEngine{authtest.Engine(t)}, Server: server.Config{Logger: slog.New(slog.DiscardHandler)}}
			if wrap != nil {
				o.Engine = wrap(o.Engine)
			}
			a := &arena{t: t, mutated: wrap != nil, srv: authtest.New(t, o)}
			var all sync.WaitGroup
			for w := range workers {
				all.Go(func() {
					for i := w; i < perServer; i += workers {
						a.mu.Lock()
						over := len(a.faults) > 0
						a.mu.Unlock()
						if over {
							return
						}
						a.round(i)
					}
				})
			}
			all.Wait()
			total.faults = append(total.faults, a.faults...)
			total.raced, total.in, total.out = total.raced+a.raced, total.in+a.in, total.out+a.out
			total.served, total.ended, total.rounds = total.served+a.served, total.ended+a.ended, total.rounds+a.rounds
		})
		if total.rounds == 0 && len(total.faults) == 0 {
			t.Fatal("rounds do not come to their end")
		}
	}
	return total
}

// TestSoakRaces: behind the acknowledgement of what ends the sessions of an account, no connection of before is served any more, nor one that logged in
// meanwhile, and no token resumes.
func TestSoakRaces(t *testing.T) {
	began := time.Now()
	a := races(t, nil, soak.Times(t, 10_000, 200))
	for _, f := range a.faults {
		t.Error(f)
	}
	t.Logf("%d logins raced %d endings of %d kinds: %d were let in, %d refused; %d requests were served beside them, and %d connections ended: %v",
		a.raced, a.rounds, len(endings), a.in, a.out, a.served, a.ended, time.Since(began).Round(time.Millisecond))
	if a.in < a.raced/50 || a.out < a.raced/50 {
		t.Errorf("of %d races %d went one way and %d the other: they hardly meet", a.raced, a.in, a.out)
	}
}

// TestSoakRacesFindMutant: a server that goes by what an account was a moment ago serves somebody too many.
func TestSoakRacesFindMutant(t *testing.T) {
	a := races(t, func(e kv.Engine) kv.Engine { return &staleEngine{Engine: e, was: map[string]kv.Entry{}} }, 20_000)
	if len(a.faults) == 0 {
		t.Fatalf("not found in %d races", a.raced)
	}
	t.Logf("found within %d races: %s", a.raced, a.faults[0])
}

// slowEngine is a store whose calls let others go first, so that operations that run at once meet in more orders.
type slowEngine struct{ kv.Engine }

func (e slowEngine) Get(ctx context.Context, key []byte) (kv.Entry, error) {
	yield()
	defer yield()
	return e.Engine.Get(ctx, key)
}

func (e slowEngine) Commit(ctx context.Context, reads []kv.Read, writes []kv.Write) (kv.Version, error) {
	yield()
	defer yield()
	return e.Engine.Commit(ctx, reads, writes)
}

func yield() {
	for range rand.IntN(40) {
		runtime.Gosched()
	}
}

// staleEngine is a store whose reads of accounts may be of before the last commit. A transaction finds that out by its conflict; a bare read does not.
type staleEngine struct {
	kv.Engine
	mu  sync.Mutex
	was map[string]kv.Entry
}

func (e *staleEngine) Get(ctx context.Context, key []byte) (kv.Entry, error) {
	e.mu.Lock()
	entry, there := e.was[string(key)]
	e.mu.Unlock()
	if there && rand.IntN(2) == 0 {
		return entry, nil
	}
	return e.Engine.Get(ctx, key)
}

func (e *staleEngine) Commit(ctx context.Context, reads []kv.Read, writes []kv.Write) (kv.Version, error) {
	for _, w := range writes {
		if w.Key[0] != 'a' { // an account (STORAGE 3)
			continue
		}
		if entry, err := e.Engine.Get(ctx, w.Key); err == nil && entry.Version != 0 {
			e.mu.Lock()
			e.was[string(w.Key)] = entry
			e.mu.Unlock()
		}
	}
	return e.Engine.Commit(ctx, reads, writes)
}
