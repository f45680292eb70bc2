package account

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/authsrv/authsrv/internal/soak"
	"github.com/authsrv/authsrv/kv"
)

// endings end sessions of an account: once they are acknowledged, all of those that it had before.
var endings = []struct {
	what    string
	prepare func(ctx context.Context, p *peer, l *Login) (step, error) // p has logged in as l, with the right password
	reuse   bool                                                       // the old password is still right
	gone    bool                                                       // the account is not there any more
	one     bool                                                       // only this session ends
}{
	{"change of password", func(ctx context.Context, p *peer, l *Login) (step, error) {
		return p.toOperate(ctx, l.Session, KindChangePassword, right(), keyOf("next"))
	}, false, false, false},
	{"log out all", func(ctx context.Context, p *peer, l *Login) (step, error) {
		return p.toOperate(ctx, l.Session, KindRevokeAll, right(), nil)
	}, true, false, false},
	{"deletion", func(ctx context.Context, p *peer, l *Login) (step, error) {
		return p.toOperate(ctx, l.Session, KindDelete, right(), nil)
	}, false, true, false},
	{"reset by a code", func(ctx context.Context, p *peer, l *Login) (step, error) {
		return p.toReset(ctx, l.Session.Name, keyOf("next"))
	}, false, false, false},
	{disabling, func(ctx context.Context, p *peer, l *Login) (step, error) {
		return step{func() (*Login, error) { return nil, p.r.SetDisabled(ctx, l.Session.Name, true) }}, nil
	}, true, false, false},
	{"revocation by an administrator", func(ctx context.Context, p *peer, l *Login) (step, error) {
		return step{func() (*Login, error) { _, err := p.r.RevokeAllOf(ctx, l.Session.Name); return nil, err }}, nil
	}, true, false, false},
	{"removal by an administrator", func(ctx context.Context, p *peer, l *Login) (step, error) {
		return step{func() (*Login, error) { return nil, p.r.Remove(ctx, l.Session.Name) }}, nil
	}, false, true, false},
	{"log out", func(ctx context.Context, p *peer, l *Login) (step, error) {
		return step{func() (*Login, error) { return nil, p.r.Logout(ctx, l.Session, &p.ch) }}, nil
	}, true, false, true},
	{"revocation of one session", func(ctx context.Context, p *peer, l *Login) (step, error) {
		return step{func() (*Login, error) { return nil, p.r.RevokeSession(ctx, l.Session.Name, l.Session.ID) }}, nil
	}, true, false, true},
}

const disabling = "disabling, and enabling again"

// unused makes a session one that was last used long ago, so that a resumption writes it.
func (a *arena) unused(ctx context.Context, s *Session) error {
	return kv.Update(ctx, a.store, func(tx *kv.Tx) error {
		var rec sessionRecord
		key := sessionKey(s.Account, s.ID)
		if there, err := a.Service.store.get(tx, labelSession, key, &rec); err != nil || !there {
			return fmt.Errorf("session there: %v, %w", there, err)
		}
		rec.lastUsed -= uint64(2 * touchAfter / time.Second)
		return a.Service.store.put(tx, labelSession, key, &rec)
	})
}

// referee collects what was seen of races.
type referee struct {
	mu                       sync.Mutex
	raced, in, out           int // logins that ran while the ending did; how many of them were let in, and refused
	resumed                  int // resumptions that were let in beside it
	rounds, dead, alive, won int // sessions judged afterwards; registrations of a name that was just freed
	faults                   []string
}

func (r *referee) fault(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.faults) < 20 {
		r.faults = append(r.faults, fmt.Sprintf(format, args...))
	}
}

func (r *referee) faulty() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.faults) > 0
}

func (r *referee) count(n *int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	*n++
}

// wantDead says that neither its record nor its token is good for anything. It is called after the acknowledgement.
func (r *referee) wantDead(ctx context.Context, p *peer, what, whose string, l *Login) {
	if err := p.r.Check(ctx, l.Session); err != ErrSessionRevoked {
		r.fault("%s: %s is accepted after the acknowledgement: %v", what, whose, err)
	}
	if _, err := p.r.Resume(ctx, &p.ch, [32]byte{1}, l.Token); err != ErrSessionRevoked {
		r.fault("%s: the token of %s resumes after the acknowledgement: %v", what, whose, err)
	}
	if _, _, err := p.r.BeginOperation(ctx, &p.ch, l.Session, KindDelete, [32]byte{}); err != ErrSessionRevoked {
		r.fault("%s: %s gets a challenge for an operation after the acknowledgement: %v", what, whose, err)
	}
	r.count(&r.dead)
}

// racersOf is how many logins one ending is raced by.
const racersOf = 4

// round is an account whose sessions are ended while others log in to it. Where it is deleted, its name is registered anew meanwhile.
func (r *referee) round(ctx context.Context, a *arena, name string, kind int) {
	e := endings[kind]
	owner, visitor := a.stranger(), a.stranger()
	if _, err := at(owner.toRegister(ctx, name, right())); err != nil {
		r.fault("register: %v", err)
		return
	}
	first, err := at(owner.toLogin(ctx, name, right()))
	if err != nil {
		r.fault("login: %v", err)
		return
	}
	second, err := at(visitor.toLogin(ctx, name, right()))
	if err != nil {
		r.fault("login: %v", err)
		return
	}
	ending, err := e.prepare(ctx, owner, first)
	if err != nil {
		r.fault("%s: challenge: %v", e.what, err)
		return
	}
	old := first.Session
	if err := a.unused(ctx, old); err != nil {
		r.fault("%v", err)
		return
	}

	var start, acknowledged sync.WaitGroup
	start.Add(1)
	acknowledged.Add(1)
	var began, ended time.Time
	var others sync.WaitGroup
	for i := range racersOf {
		p := a.stranger()
		prepared := i%2 == 0
		s, err := step{}, error(nil)
		if prepared { // its nonce is from before
			s, err = p.toLogin(ctx, name, right())
		}
		others.Go(func() {
			start.Wait()
			for range rand.IntN(8) {
				pause()
			}
			from := time.Now()
			if !prepared {
				s, err = p.toLogin(ctx, name, right())
			}
			l, err := at(s, err)
			to := time.Now()
			acknowledged.Wait()
			raced := from.Before(ended) && to.After(began)
			r.mu.Lock()
			if raced {
				r.raced++
				if err == nil {
					r.in++
				} else {
					r.out++
				}
			}
			r.mu.Unlock()
			switch {
			case err != nil && !errors.Is(err, ErrDenied):
				r.fault("%s: login: %v", e.what, err)
			case err != nil:
			case l.Session.Account != old.Account && !e.gone:
				r.fault("%s: it is another account", e.what)
			case l.Session.Account != old.Account: // which has the name now
				r.wantAlive(ctx, p, e.what, l)
			case !e.one && (!e.reuse || l.Session.generation <= old.generation):
				r.wantDead(ctx, p, e.what, "a session that was made meanwhile", l)
			default:
				r.wantAlive(ctx, p, e.what, l)
			}
		})
	}
	others.Go(func() { // and resumes, which writes the session
		start.Wait()
		_, err := owner.again().resume(first.Token)
		r.mu.Lock()
		defer r.mu.Unlock()
		if err == nil {
			r.resumed++
		}
	})
	registered := make([]error, 0)
	if e.gone {
		registered = make([]error, 2)
		for i := range registered {
			p := a.stranger()
			others.Go(func() {
				start.Wait()
				if i > 0 {
					acknowledged.Wait()
				}
				_, registered[i] = at(p.toRegister(ctx, name, right()))
			})
		}
	}
	start.Done()
	for range rand.IntN(8) {
		pause()
	}
	began = time.Now()
	next, err := ending.run()
	ended = time.Now()
	acknowledged.Done()
	if err != nil {
		r.fault("%s: %v", e.what, err)
	}
	r.wantDead(ctx, owner, e.what, "the session of who did it", first)
	if !e.one {
		r.wantDead(ctx, visitor, e.what, "a session from before", second)
	} else {
		r.wantAlive(ctx, visitor, e.what, second)
	}
	if next != nil {
		r.wantAlive(ctx, owner, e.what, next)
	}
	others.Wait()
	r.wantDead(ctx, owner, e.what, "the session of who did it, which was resumed meanwhile,", first)
	if e.gone {
		n := 0
		for _, err := range registered {
			switch {
			case err == nil:
				n++
			case !errors.Is(err, ErrNameTaken):
				r.fault("%s: register: %v", e.what, err)
			}
		}
		if n != 1 {
			r.fault("%s: %d of 2 have registered the name that was freed", e.what, n)
		}
		r.count(&r.won)
	}
	if e.what == disabling {
		if err := a.SetDisabled(ctx, name, false); err != nil {
			r.fault("enable: %v", err)
		}
		r.wantDead(ctx, visitor, e.what, "a session from before", second)
	}
	k := right()
	if !e.reuse && !e.gone {
		if _, err := at(owner.toLogin(ctx, name, k)); !errors.Is(err, ErrDenied) {
			r.fault("%s: the old password: %v", e.what, err)
		}
		k = keyOf("next")
	}
	l, err := at(owner.toLogin(ctx, name, k))
	if err != nil {
		r.fault("%s: the password of now: %v", e.what, err)
	} else {
		r.wantAlive(ctx, owner, e.what, l)
	}
	r.count(&r.rounds)
}

func (r *referee) wantAlive(ctx context.Context, p *peer, what string, l *Login) {
	if err := p.r.Check(ctx, l.Session); err != nil {
		r.fault("%s: a session of the new generation: %v", what, err)
	}
	r.count(&r.alive)
}

// roundsOf is how many rounds a store serves: it would only grow.
const roundsOf = 200

// race makes rounds until enough logins have met an ending, or until a fault was found where one is looked for.
func race(t *testing.T, m *mutant, enough int) *referee {
	r := &referee{}
	for n := 0; r.raced < enough && len(r.faults) == 0; n++ {
		a := openArena(t, vfs.NewMem(), m)
		var at sync.WaitGroup
		for w := range 3 {
			at.Go(func() {
				for i := w; i < roundsOf && !r.faulty(); i += 3 {
					r.round(t.Context(), a, fmt.Sprintf("r%d.%d", n, i), i%len(endings))
				}
			})
		}
		at.Wait()
		a.close()
		if r.rounds < roundsOf*(n+1)/2 && len(r.faults) == 0 {
			t.Fatal("rounds do not come to their end")
		}
	}
	return r
}

// TestSoakRaces: no login that ran beside what ends all sessions of its account has left one that lives on.
func TestSoakRaces(t *testing.T) {
	_, _ = right(), keyOf("next") // stretched before the clock runs
	began := time.Now()
	r := race(t, nil, soak.Times(t, 90_000, 1_500))
	for _, f := range r.faults {
		t.Error(f)
	}
	t.Logf("%d logins raced %d endings of %d kinds, %d were let in, %d refused, %d resumed; %d dead and %d living sessions were tried, %d names had one new owner: %v",
		r.raced, r.rounds, len(endings), r.in, r.out, r.resumed, r.dead, r.alive, r.won, time.Since(began).Round(time.Millisecond))
	if r.in < r.raced/20 || r.out < r.raced/20 || r.resumed < r.rounds/20 {
		t.Errorf("of %d races %d went one way and %d the other, and of %d resumptions %d were let in: they hardly meet", r.raced, r.in, r.out, r.rounds, r.resumed)
	}
}

// TestSoakRacesFindMutants: with a protection off, some race goes wrong.
func TestSoakRacesFindMutants(t *testing.T) {
	for _, m := range mutants {
		began := time.Now()
		r := race(t, m, 100_000)
		if len(r.faults) == 0 {
			t.Errorf("%s: not found in %d races", m.what, r.raced)
			continue
		}
		t.Logf("%s: found within %d races, %v: %s", m.what, r.raced, time.Since(began).Round(time.Millisecond), r.faults[0])
	}
}
