package account

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/authsrv/authsrv/kv"
)

// TestSweep makes more dead records than go into one commit, and some that live.
func TestSweep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(c *Config) { c.SessionLife = time.Hour })
		p := r.peer(one)
		ends := map[string]func(l *Login) error{
			"lives":   func(*Login) error { return nil },
			"revoked": func(l *Login) error { return p.revokeAll(l.Session, right()) },
			"expired": func(*Login) error { return nil },
			"gone": func(l *Login) error { // as a deletion that was interrupted leaves it
				entries := []kv.Entry{}
				for _, key := range [][]byte{accountKey(l.Session.Account), r.store.nameKey("gone")} {
					e, err := r.spy.Get(t.Context(), key)
					if err != nil {
						return err
					}
					entries = append(entries, e)
				}
				return r.remove(t.Context(), entries)
			},
		}
		last := map[string]*Login{}
		for name, end := range ends {
			p.account(name)
			start := p.start(name)
			if name == "expired" {
				start.Lifetime = time.Minute
			}
			for range sweepBatch {
				a, tr := p.beginLogin(start)
				l, err := r.FinishLogin(t.Context(), a, right().Prove(tr.Sum()))
				if err != nil {
					t.Fatal(err)
				}
				last[name] = l
			}
			if err := end(last[name]); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(time.Minute)
		r.peer(two).fail("lives")
		r.peer(six).fail("nobody")
		sweep := func(want int) {
			t.Helper()
			if n, err := r.Sweep(t.Context(), 1); n != want || err != nil {
				t.Errorf("%d were removed, want %d; %v", n, want, err)
			}
		}
		sweep(sweepBatch + sweepBatch + sweepBatch + 1 + 1) // revoked but the one that asked; gone, with its device; expired
		if n := r.keys(); n[spaceSession] != sweepBatch+1+1 || n[spaceThrottle] != 4 || n[spaceDevice] != 3 {
			t.Errorf("left: %v", n)
		}
		sweep(0)
		wantError(t, r.Check(t.Context(), last["lives"].Session), nil)
		time.Sleep(time.Minute) // the addresses have forgotten
		sweep(2)
		time.Sleep(14*time.Minute - 1)
		sweep(0)
		time.Sleep(time.Nanosecond)
		sweep(0) // names keep the count of failures in a row
		wantError(t, r.Check(t.Context(), last["lives"].Session), nil)
		time.Sleep(time.Hour)
		sweep(sweepBatch + 2)
	})
}

// TestSweepPastDamage: one damaged record does not keep the others.
func TestSweepPastDamage(t *testing.T) {
	r := newRig(t)
	p := r.peer(one)
	first := p.account("alice")
	for range sweepBatch + 5 {
		p.mustLogin("alice", right())
	}
	r.put(sessionKey(first.Session.Account, ID{}), []byte("damage"))
	r.put(sessionKey(ID{}, ID{}), []byte("no account has it"))
	r.put([]byte{spaceThrottle, 9, 1}, []byte("damage"))
	r.put([]byte{spaceSession, 1}, []byte("damage"))
	if err := p.revokeAll(first.Session, right()); err != nil {
		t.Fatal(err)
	}
	n, err := r.Sweep(t.Context(), 1)
	if n != sweepBatch+5+1 || !errors.Is(err, ErrDamaged) {
		t.Errorf("%d were removed; %v", n, err)
	}
	if n := r.keys(); n[spaceSession] != 2 || n[spaceThrottle] != 1 {
		t.Errorf("left: %v", n)
	}
}

func TestSweepFails(t *testing.T) {
	r := newRig(t)
	p := r.peer(one)
	dead := func() { // leaves one
		t.Helper()
		p.mustLogin("alice", right())
		if err := p.revokeAll(p.mustLogin("alice", right()).Session, right()); err != nil {
			t.Fatal(err)
		}
	}
	p.account("alice")
	dead()
	r.spy.commit = func([]kv.Write) error { return errBroken }
	if n, err := r.Sweep(t.Context(), 1); n != 0 || !errors.Is(err, errBroken) {
		t.Errorf("%d were removed; %v", n, err)
	}
	// It is used meanwhile: it is left to the next sweep.
	r.spy.commit = func([]kv.Write) error { return kv.ErrConflict }
	if n, err := r.Sweep(t.Context(), 1); n != 0 || err != nil {
		t.Errorf("%d were removed; %v", n, err)
	}
	r.spy.commit = nil
	if n, err := r.Sweep(t.Context(), 1); n != 2 || err != nil {
		t.Errorf("%d were removed; %v", n, err)
	}
}

// TestSweepGivesWay has a sweep rest for nine times as long as it looks at what is alive, but not from what it removes, and read an account once for
// all that it has on a page.
func TestSweepGivesWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		for _, name := range []string{"alice", "bob"} {
			p := r.peer(one)
			p.account(name)
			p.mustLogin(name, right())
			p.mustLogin(name, right())
		}
		const slow = 10 * time.Millisecond
		reads := 0
		r.spy.get = func([]byte) error {
			reads++
			time.Sleep(slow)
			return nil
		}
		began := time.Now()
		if n, err := r.Sweep(t.Context(), 0.1); n != 0 || err != nil {
			t.Fatalf("%d were removed; %v", n, err)
		}
		if took := time.Since(began); reads != 4 || took != 40*slow { // two accounts, for sessions and for devices
			t.Errorf("%d reads of %v in %v", reads, slow, took)
		}
		p := r.peer(one)
		if err := p.revokeAll(p.mustLogin("alice", right()).Session, right()); err != nil {
			t.Fatal(err)
		}
		r.spy.commit = func([]kv.Write) error { time.Sleep(slow); return nil }
		began = time.Now()
		if n, err := r.Sweep(t.Context(), 0.1); n != 3 || err != nil {
			t.Fatalf("%d were removed; %v", n, err)
		}
		// Two reads for the sessions, half of which are alive; the commit; two reads for the devices.
		if took := time.Since(began); took != (2+2*9/2)*slow+slow+2*(1+9)*slow {
			t.Errorf("with a commit of %v: %v", slow, took)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 3*slow)
		defer cancel()
		if _, err := r.Sweep(ctx, 0.1); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("it rests on behind its end: %v", err)
		}
	})
}

// follow collects what Changes yields.
func follow(ctx context.Context, s *Service) (changes func() []Change, end func() error) {
	ctx, cancel := context.WithCancel(ctx)
	var got []Change
	var last error
	done := make(chan struct{})
	go func() {
		defer close(done)
		for c, err := range s.Changes(ctx) {
			if err != nil {
				last = err
				continue
			}
			got = append(got, c)
		}
	}()
	changes = func() []Change {
		synctest.Wait()
		defer func() { got = nil }()
		return got
	}
	end = func() error {
		cancel()
		<-done
		return last
	}
	return changes, end
}

func TestChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		p := r.peer(one)
		alice, bob := p.account("alice").Session, p.account("bob").Session
		second := p.mustLogin("alice", right()).Session
		changes, end := follow(t.Context(), r.Service)
		want := func(what string, want ...Change) {
			t.Helper()
			if got := slices.Compact(changes()); !slices.Equal(got, want) {
				t.Errorf("%s: %x, want %x", what, got, want)
			}
		}
		wantSessions := func(what string, n int, got []Change) {
			t.Helper()
			for _, c := range got {
				if c.Account != second.Account || c.Session == (ID{}) {
					t.Errorf("%s: %x", what, c)
				}
			}
			if len(got) != n {
				t.Errorf("%s: %d sessions, want %d", what, len(got), n)
			}
		}
		want("at first", Change{})
		p.mustLogin("alice", right())
		p.fail("alice")
		want("what ends nothing")
		next, err := p.changePassword(alice, right(), keyOf("next"))
		if err != nil {
			t.Fatal(err)
		}
		want("change", Change{Account: alice.Account}, Change{alice.Account, alice.ID})
		if err := r.Logout(t.Context(), bob, &p.ch); err != nil {
			t.Fatal(err)
		}
		want("logout", Change{bob.Account, bob.ID})
		if _, err := r.Sweep(t.Context(), 1); err != nil { // second's is dead
			t.Fatal(err)
		}
		wantSessions("sweep", 2, changes()) // nothing of the account as a whole
		if err := p.revokeAll(next.Session, keyOf("next")); err != nil {
			t.Fatal(err)
		}
		want("log out all", Change{Account: alice.Account}, Change{alice.Account, next.Session.ID})
		if err := p.delete(p.mustLogin("alice", keyOf("next")).Session, keyOf("next")); err != nil {
			t.Fatal(err)
		}
		deleted := changes()
		if deleted[0] != (Change{Account: alice.Account}) {
			t.Errorf("delete: %x", deleted[0])
		}
		wantSessions("delete", 1, deleted[1:])
		wantError(t, end(), context.Canceled)
	})
}

// TestChangesCompacted: who falls behind the feed is told to look at everything.
func TestChangesCompacted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.feed = 1
		r.reopen()
		p := r.peer(one)
		alice := p.account("alice").Session
		var got []Change
		for c, err := range r.Changes(t.Context()) {
			if err != nil {
				t.Fatal(err)
			}
			if got = append(got, c); len(got) == 3 {
				break
			}
			if len(got) == 1 { // before it follows, more happens than is kept
				for range 3 {
					if err := r.Logout(t.Context(), p.mustLogin("alice", right()).Session, &p.ch); err != nil {
						t.Fatal(err)
					}
				}
			}
			if len(got) == 2 {
				if err := r.Logout(t.Context(), alice, &p.ch); err != nil {
					t.Fatal(err)
				}
			}
		}
		if want := []Change{{}, {}, {alice.Account, alice.ID}}; !slices.Equal(got, want) {
			t.Errorf("%x, want %x", got, want)
		}
		changes, end := follow(t.Context(), r.Service)
		changes()
		r.reopen()
		wantError(t, end(), kv.ErrClosed)
	})
}
