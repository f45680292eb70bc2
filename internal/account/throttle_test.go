package account

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/authsrv/authsrv/credential"
	"github.com/authsrv/authsrv/kv"
)

// waits fails n times, each as soon as it may, and returns the waits that it is told. It holds each against
// what happens: nothing can succeed before, and something can afterwards.
func waits(r *rig, n int, next func(i int) (p *peer, name string)) (told []time.Duration) {
	r.t.Helper()
	for i := range n {
		p, name := next(i)
		d := p.fail(name)
		if d.Reason == Throttled {
			r.t.Fatalf("failure %d was not checked: %+v", i+1, d)
		}
		told = append(told, d.RetryAfter)
		if d.RetryAfter == 0 {
			continue
		}
		for _, early := range []time.Duration{d.RetryAfter, time.Millisecond} {
			time.Sleep(d.RetryAfter - early)
			d.RetryAfter = early
			p, name := next(i)
			if again := p.fail(name); again.Reason != Throttled || again.RetryAfter != early {
				r.t.Errorf("failure %d, %v too early: %+v", i+1, early, again)
			}
		}
		time.Sleep(time.Millisecond)
	}
	return told
}

func seconds(s ...int) (d []time.Duration) {
	for _, n := range s {
		d = append(d, time.Duration(n)*time.Second)
	}
	return d
}

func address(i int) string { return fmt.Sprintf("198.51.%d.%d", i/250, i%250+1) }

func TestThrottleName(t *testing.T) {
	want := seconds(0, 0, 0, 0, 0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900, 900)
	for _, name := range []string{"alice", "nobody"} {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t)
			if err := r.peer(one).register("alice", right()); err != nil {
				t.Fatal(err)
			}
			got := waits(r, len(want), func(i int) (*peer, string) { return r.peer(address(i)), name })
			if !slices.Equal(got, want) {
				t.Errorf("%s: %v, want %v", name, got, want)
			}
		})
	}
}

func TestThrottleAddress(t *testing.T) {
	want := seconds(0, 0, 0, 0, 0, 1, 2, 4, 8, 16, 32, 60, 60, 60)
	for what, address := range map[string]func(i int) string{
		"one address": func(int) string { return one },
		"one /64":     func(i int) string { return fmt.Sprintf("2001:db8:0:1:%x::%x", i, i+1) },
		"mapped":      func(i int) string { return []string{one, "::ffff:" + one}[i%2] },
		"none":        func(int) string { return "" },
	} {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t)
			got := waits(r, len(want), func(i int) (*peer, string) { return r.peer(address(i)), fmt.Sprint("name", i) })
			if !slices.Equal(got, want) {
				t.Errorf("%s: %v, want %v", what, got, want)
			}
			p := r.peer("2001:db8:0:2::1") // another one is not concerned
			p.account("alice")
			if d := p.fail("name0"); d.RetryAfter != 0 {
				t.Errorf("%s, from elsewhere: %+v", what, d)
			}
		})
	}
	if addressPrefix(netip.MustParseAddr("::1.2.3.4")) == addressPrefix(netip.MustParseAddr("1.2.3.4")) {
		t.Error("an IPv6 address has the prefix of an IPv4 one")
	}
}

// TestThrottleBoth: the wait that is told is the longer of the two.
func TestThrottleBoth(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.peer(two).account("alice")
		p := r.peer(one)
		waits(r, 9, func(i int) (*peer, string) { return p, fmt.Sprint("name", i) }) // the last one: 8 s, over
		p.fail("name")                                                               // 16 s for the address
		for i := range 6 {
			r.peer(address(i)).fail("alice") // 1 s for the name
		}
		_, err := p.login("alice", right())
		if d := wantDenied(t, err); d.RetryAfter != 16*time.Second || d.Reason != Throttled {
			t.Errorf("%+v", d)
		}
		_, err = r.peer(two).login("alice", right())
		if d := wantDenied(t, err); d.RetryAfter != time.Second {
			t.Errorf("from elsewhere: %+v", d)
		}
		time.Sleep(time.Second)
		r.peer(two).mustLogin("alice", right())
		time.Sleep(15 * time.Second)
		p.mustLogin("alice", right())
	})
}

func TestThrottleDecays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		fail := func(name string) time.Duration {
			connection := int(connections.Load())
			return r.peer(address(connection)).fail(name).RetryAfter
		}
		for range 6 {
			fail("alice")
		}
		time.Sleep(15*time.Minute - time.Millisecond) // six still count
		if w := fail("alice"); w != 2*time.Second {
			t.Errorf("the seventh: %v", w)
		}
		time.Sleep(30 * time.Minute) // five
		if w := fail("alice"); w != time.Second {
			t.Errorf("the sixth again: %v", w)
		}
		time.Sleep(90 * time.Minute) // none
		for range 5 {
			if w := fail("alice"); w != 0 {
				t.Errorf("after they were forgotten: %v", w)
			}
		}
	})
}

// TestThrottleSuccess clears the name, and not the address.
func TestThrottleSuccess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.peer(one).account("alice")
		for range 5 {
			r.peer(one).fail("alice")
		}
		r.peer(one).mustLogin("alice", right())
		if d := r.peer(one).fail("alice"); d.RetryAfter != time.Second {
			t.Errorf("the sixth of the address: %+v", d)
		}
		if d := r.peer(two).fail("alice"); d.RetryAfter != 0 {
			t.Errorf("the name, from elsewhere: %+v", d)
		}
		if n := r.scan(spaceThrottle); len(n) != 3 {
			t.Errorf("%d records", len(n))
		}
	})
}

// TestThrottledIsFree: an attempt that comes too early changes nothing, and nobody looks at its proof.
func TestThrottledIsFree(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.peer(one).account("alice")
		p := r.peer(one)
		for range 6 {
			p.fail("alice")
		}
		before := r.scan(0)
		for _, k := range []string{"right", "wrong"} {
			a, tr := p.beginLogin(p.start("alice"))
			r.spy.take()
			_, err := r.FinishLogin(t.Context(), a, keyOf(k).Prove(tr.Sum()))
			if d := wantDenied(t, err); d.Reason != Throttled || d.RetryAfter != time.Second || !a.burned {
				t.Errorf("%s: %+v", k, d)
			}
			for _, line := range r.spy.take() {
				if !strings.HasPrefix(line, "get t ") && line != "get d 33" {
					t.Errorf("%s: %s", k, line)
				}
			}
		}
		after := r.scan(0)
		if !slices.EqualFunc(before, after, func(a, b kv.Entry) bool { return a.Version == b.Version && string(a.Key) == string(b.Key) }) {
			t.Error("the store has changed")
		}
		r.reopen() // and the wait is still there
		_, err := r.peer(two).login("alice", right())
		if d := wantDenied(t, err); d.Reason != Throttled || d.RetryAfter != time.Second {
			t.Errorf("after another start: %+v", d)
		}
		time.Sleep(time.Second)
		r.peer(two).mustLogin("alice", right())
	})
}

// TestLeavingIsCounted: who hangs up while the guess is looked at has made it all the same.
func TestLeavingIsCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		p := r.peer(one)
		p.account("alice")
		for range 6 {
			a, tr := p.beginLogin(p.start("alice"))
			ctx, cancel := context.WithCancel(t.Context())
			r.spy.commit = func([]kv.Write) error {
				if ctx.Err() != nil {
					return nil
				}
				cancel() // the proof was looked at, what led to the refusal is being verified
				return ctx.Err()
			}
			if _, err := r.FinishLogin(ctx, a, wrong().Prove(tr.Sum())); err == nil || ctx.Err() == nil {
				t.Fatalf("%v, cancelled: %v", err, ctx.Err())
			}
			synctest.Wait() // nobody waits for it to be written
		}
		r.spy.commit = nil
		_, err := p.login("alice", right())
		if d := wantDenied(t, err); d.Reason != Throttled {
			t.Errorf("after six guesses: %+v", d)
		}
	})
}

// TestCutOffIsCounted: a guess that was looked at on what was read before the challenge is one, even where its time is over before it is looked at again.
func TestCutOffIsCounted(t *testing.T) {
	for _, known := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t)
			r.spy.witness = true
			p := r.peer(one)
			p.account("alice")
			for range 6 {
				if p = p.again(); !known {
					p = r.peer(one)
				}
				a, tr := p.beginLogin(p.start("alice"))
				ctx, cancel := context.WithCancel(t.Context())
				r.spy.get = func(key []byte) error {
					if key[0] == spaceThrottle && ctx.Err() == nil {
						return nil // the debit's
					}
					cancel()
					if string(key) == string(r.store.nameKey("alice")) {
						return ctx.Err()
					}
					return nil
				}
				if _, err := r.FinishLogin(ctx, a, wrong().Prove(tr.Sum())); err == nil || ctx.Err() == nil {
					t.Fatalf("%v, cancelled: %v", err, ctx.Err())
				}
				synctest.Wait() // nobody waits for it to be written, but may be told where it was fast
				r.spy.get = nil
			}
			_, err := p.login("alice", right())
			if d := wantDenied(t, err); d.Reason != Throttled {
				t.Errorf("known %v: after six guesses: %+v", known, d)
			}
			r.wantNoFlights()
		})
	}
}

// TestThrottleClockPutBack: failures of a time that is yet to come make nobody wait for that time. They count, and from the next one on
// as of now. A clock that is a little behind that of another node is no way around a wait.
func TestThrottleClockPutBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.peer(one).account("alice")
		key := r.store.throttleKey(throttleName, "alice")
		ahead := func(d time.Duration) {
			r.seal(labelThrottle, key, &throttleRecord{failures: 8, last: uint64(time.Now().Add(d).UnixMilli()), row: 8})
		}
		ahead(10 * 24 * time.Hour)
		if d := r.peer(two).fail("alice"); d.Reason != WrongPassword || d.RetryAfter != 8*time.Second {
			t.Errorf("put back by days: %+v", d)
		}
		if d := r.peer(six).fail("alice"); d.Reason != Throttled || d.RetryAfter != 8*time.Second {
			t.Errorf("and then at once: %+v", d)
		}
		time.Sleep(8 * time.Second)
		r.peer(six).mustLogin("alice", right())
		ahead(maxSkew)
		if d := r.peer(address(1)).fail("alice"); d.Reason != Throttled || d.RetryAfter != 4*time.Second {
			t.Errorf("another node's clock: %+v", d)
		}
		ahead(10 * 24 * time.Hour)
		got := together(r, 20, "alice", func(i int) *peer { return r.peer(address(i)) }, func(int) *credential.Key { return wrong() })
		if got[WrongPassword] != 1 {
			t.Errorf("at once: %v", got)
		}
	})
}
