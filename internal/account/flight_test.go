package account

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/authsrv/authsrv/credential"
)

// together finishes logins at once that have all begun, and counts the outcomes by reason.
func together(r *rig, n int, name string, from func(i int) *peer, with func(i int) *credential.Key) map[Outcome]int {
	r.t.Helper()
	type ready struct {
		a     *Attempt
		proof [64]byte
	}
	var all []ready
	for i := range n {
		p := from(i)
		a, tr := p.beginLogin(p.start(name))
		all = append(all, ready{a, with(i).Prove(tr.Sum())})
	}
	var mu sync.Mutex
	outcomes := make(map[Outcome]int)
	var wg sync.WaitGroup
	for _, one := range all {
		wg.Go(func() {
			_, err := r.FinishLogin(r.t.Context(), one.a, one.proof)
			var d *Denied
			outcome := Success
			switch {
			case errors.As(err, &d):
				outcome = d.Reason
			case err != nil:
				r.t.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			outcomes[outcome]++
		})
	}
	wg.Wait()
	r.wantNoFlights()
	return outcomes
}

// TestParallelGuesses: fifty at once are worth no more than one after the other, whether or not the engine can tell what has not moved since they began.
func TestParallelGuesses(t *testing.T) {
	same := func(r *rig) func(int) *peer { return func(int) *peer { return r.peer(one) } }
	apart := func(r *rig) func(int) *peer { return func(i int) *peer { return r.peer(address(i)) } }
	known := func(r *rig) func(int) *peer {
		p := r.peer(one)
		p.mustLogin("alice", right())
		return func(int) *peer { return p }
	}
	for _, c := range []struct {
		what string
		name string
		from func(*rig) func(int) *peer
	}{
		{"one address", "alice", same}, {"unknown name", "nobody", same},
		{"many addresses", "alice", apart}, {"unknown name, many addresses", "nobody", apart},
		{"a known device", "alice", known},
	} {
		for _, witness := range []bool{false, true} {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t)
				r.spy.witness = witness
				r.peer(two).account("alice")
				from := c.from(r)
				for round := range 3 {
					got := together(r, 50, c.name, from, func(int) *credential.Key { return wrong() })
					checked := 50 - got[Throttled]
					if want := map[bool]int{true: freeFailures + 1, false: 1}[round == 0]; checked != want || got[Success] != 0 {
						t.Errorf("%s, witness %v, round %d: %d were checked, want %d: %v", c.what, witness, round, checked, want, got)
					}
					time.Sleep(time.Second << round)
				}
			})
		}
	}
}

// TestParallelMixed: right ones do not make room for guesses from their address.
func TestParallelMixed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.peer(two).account("alice")
		got := together(r, 60, "alice", func(int) *peer { return r.peer(one) }, func(i int) *credential.Key {
			return keyOf([]string{"right", "wrong"}[i%2])
		})
		if got[WrongPassword] > freeFailures+1 || got[Success] > 30 {
			t.Errorf("%v", got)
		}
	})
}

// TestParallelRight: fifty connections of one user are all let in. They wait for their turn where they must.
func TestParallelRight(t *testing.T) {
	for failures := range 9 {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t)
			r.peer(two).account("alice")
			for range failures {
				time.Sleep(r.peer(one).fail("alice").RetryAfter)
			}
			got := together(r, 50, "alice", func(int) *peer { return r.peer(one) }, func(int) *credential.Key { return right() })
			if got[Success] != 50 {
				t.Errorf("after %d failures: %v", failures, got)
			}
			if n := r.keys(); n[spaceSession] != 51 {
				t.Errorf("%d sessions", n[spaceSession])
			}
		})
	}
}

// TestFlightAbandoned: attempts that end while they would wait wake who waits behind them.
func TestFlightAbandoned(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var f throttle
		f.init()
		gone, cancel := context.WithCancel(t.Context())
		cancel()
		f.enter("k")
		f.enter("k")
		woken := false
		go func() {
			f.enter("k")
			if err := f.await(t.Context(), "k"); err != nil {
				t.Error(err)
			}
			woken = true
			f.enter("k")
			f.leave("k")
		}()
		synctest.Wait()
		for range 2 {
			wantError(t, f.await(gone, "k"), context.Canceled)
		}
		synctest.Wait()
		if !woken || len(f.flights) != 0 {
			t.Errorf("woken: %v, left: %v", woken, f.flights)
		}
	})
}

// TestFlightForgotten: who was woken in a flight that is over, and gives up, leaves the key's next flight alone.
func TestFlightForgotten(t *testing.T) {
	var f throttle
	f.init()
	f.enter("k")
	old := f.flights["k"]
	turn := make(chan struct{})
	old.waiters = append(old.waiters, turn)
	f.leave("k")
	<-turn
	f.enter("k") // somebody is quicker than the one who was woken
	f.leave("k")
	f.enter("k")
	if f.flights["k"] == old {
		t.Fatal("it is the same flight")
	}
	f.mu.Lock()
	f.wakeLocked("k", old) // the one who was woken gives up
	f.mu.Unlock()
	f.leave("k")
	if len(f.flights) != 0 {
		t.Errorf("left: %v", f.flights)
	}
}

// TestFlightStress lets attempts wait, go on and give up at random. Whoever does not give up gets its turn.
func TestFlightStress(t *testing.T) {
	var f throttle
	f.init()
	var inside [2]atomic.Int32
	var wg sync.WaitGroup
	for i := range 32 {
		random := rand.New(rand.NewPCG(1, uint64(i)))
		wg.Go(func() {
			for range 500 {
				k := random.IntN(len(inside))
				key := []string{"a", "b"}[k]
				ctx, cancel := context.WithCancel(t.Context())
				if random.IntN(2) == 0 {
					go cancel()
				}
				var err error
				for err == nil && f.enter(key) > k { // b has room for two
					err = f.await(ctx, key)
				}
				if err == nil {
					if n := inside[k].Add(1); int(n) > k+1 {
						t.Errorf("%d inside of %s", n, key)
					}
					inside[k].Add(-1)
					f.leave(key)
				}
				cancel()
			}
		})
	}
	wg.Wait()
	if len(f.flights) != 0 {
		t.Errorf("left: %v", f.flights)
	}
}

// TestFlightStressService is the same by way of logins: with the right password, one who does not give up is let in.
func TestFlightStressService(t *testing.T) {
	r := newRig(t)
	r.peer(two).account("alice")
	for range freeFailures {
		r.peer(two).fail("alice") // from now on one at a time
	}
	var wg sync.WaitGroup
	var in atomic.Int32
	for i := range 64 {
		p := r.peer(one)
		a, tr := p.beginLogin(p.start("alice"))
		proof := right().Prove(tr.Sum())
		ctx, cancel := context.WithCancel(t.Context())
		wg.Go(func() {
			defer cancel()
			if i%2 == 0 {
				go cancel()
			}
			_, err := r.FinishLogin(ctx, a, proof)
			switch {
			case err == nil:
				in.Add(1)
			case i%2 != 0 || !errors.Is(err, context.Canceled):
				t.Errorf("attempt %d: %v", i, err)
			}
		})
	}
	wg.Wait()
	r.wantNoFlights()
	if n := in.Load(); n < 32 {
		t.Errorf("%d were let in", n)
	}
}
