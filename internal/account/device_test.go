package account

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/authsrv/authsrv/credential"
)

// stranger fails n times, from elsewhere each time, as soon as it may.
func (r *rig) stranger(name string, n int) (last *Denied) {
	r.t.Helper()
	for i := range n {
		last = r.peer(address(i)).fail(name)
		if last.Reason == Throttled {
			r.t.Fatalf("failure %d was not checked: %+v", i+1, last)
		}
		time.Sleep(last.RetryAfter)
	}
	return last
}

// inARow makes n failures in a row of a name, which made nobody wait for long.
func (r *rig) inARow(name string, n uint32) {
	r.t.Helper()
	r.seal(labelThrottle, r.store.throttleKey(throttleName, name), &throttleRecord{row: n})
}

// seal puts a record behind the service's back.
func (r *rig) seal(label string, key []byte, rec record) {
	r.t.Helper()
	sealed, err := r.store.encode(label, key, rec)
	if err != nil {
		r.t.Fatal(err)
	}
	r.put(key, sealed)
}

// TestKnownDevice: whatever strangers do, who owns a device that has logged in before never waits, and it has its own waits.
func TestKnownDevice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		p := r.peer(one)
		p.account("alice")
		r.stranger("alice", 9)
		for range 20 { // and from the owner's own address
			r.peer(one).login("nobody", wrong())
		}
		if d := r.peer(one).fail("alice"); d.Reason != Throttled {
			t.Fatalf("a stranger at the owner's address: %+v", d)
		}
		p.again().mustLogin("alice", right())

		want := seconds(0, 0, 0, 0, 0, 1, 2, 4, 8)
		got := waits(r, len(want), func(int) (*peer, string) { return p.again(), "alice" })
		if !slices.Equal(got, want) {
			t.Errorf("waits of the device: %v", got)
		}
		r.peer(two).mustLogin("alice", right()) // it makes nobody else wait
		if d := p.again().fail("alice"); d.RetryAfter != 16*time.Second {
			t.Errorf("the device after somebody else's success: %+v", d)
		}
		r.reopen()
		if d := p.again().fail("alice"); d.Reason != Throttled {
			t.Errorf("after another start: %+v", d)
		}
		time.Sleep(16 * time.Second)
		p.again().mustLogin("alice", right())
		if d := p.again().fail("alice"); d.RetryAfter != 0 {
			t.Errorf("after a success: %+v", d)
		}
	})
}

// TestKnownTo: a device is known to the accounts that it has logged in to, and not by a proof that failed or an operation.
func TestKnownTo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		p := r.peer(one)
		alice := p.account("alice").Session
		q := r.peer(two)
		q.account("bob")
		r.peer(six).fail("alice")
		if n := len(r.scan(spaceDevice)); n != 2 {
			t.Fatalf("%d devices", n)
		}
		r.stranger("alice", 7)
		d := q.again().fail("alice") // bob's device is a stranger to alice
		time.Sleep(d.RetryAfter - 1)
		if d := q.again().fail("alice"); d.Reason != Throttled {
			t.Errorf("a device of another account: %+v", d)
		}
		// Operations count for the device too.
		if _, err := p.changePassword(alice, wrong(), right()); wantDenied(t, err).Reason != WrongPassword {
			t.Error(err)
		}
		u, err := r.User(t.Context(), "alice")
		if err != nil || u.Failures != 9+1 || u.Locked {
			t.Errorf("%+v, %v", u, err)
		}
		for _, e := range r.scan(spaceDevice) { // as if it were forgotten
			r.delete(e.Key)
		}
		r.peer(six).fail("alice")
		if _, err := p.changePassword(alice, right(), right()); err == nil {
			t.Error("without its device, an operation did not wait for the name")
		}
		time.Sleep(time.Hour)
		if _, err := p.changePassword(alice, right(), right()); err != nil {
			t.Error(err)
		}
		if n := len(r.scan(spaceDevice)); n != 0 {
			t.Errorf("an operation has made %d devices known", n)
		}
	})
}

func (r *rig) delete(key []byte) {
	r.t.Helper()
	e, err := r.spy.Engine.Get(r.t.Context(), key)
	if err == nil {
		err = r.remove(r.t.Context(), append(r.scan('-'), e))
	}
	if err != nil {
		r.t.Fatal(err)
	}
}

// TestDevices: the ones that logged in last are kept, the account's end is theirs, and a login that finds all as it was writes none.
func TestDevices(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		first := r.peer(one)
		l := first.account("alice")
		other := r.peer(two)
		other.account("bob")
		var last *peer
		for i := range maxDevices + 3 {
			if i == 6 {
				time.Sleep(seenAfter)
				first.again().mustLogin("alice", right()) // which is seen again
			}
			time.Sleep(time.Minute)
			last = r.peer(address(i))
			last.mustLogin("alice", right())
		}
		keys := func() (list []string) {
			for _, e := range r.scan(spaceDevice) {
				list = append(list, string(e.Key))
			}
			return list
		}
		have := keys()
		if len(have) != maxDevices+1 {
			t.Errorf("%d devices", len(have))
		}
		for _, p := range []*peer{first, last} {
			if !slices.Contains(have, string(deviceKey(l.Session.Account, p.ch.Static))) {
				t.Errorf("one of those seen last is gone")
			}
		}
		commits := func(p *peer) (log []string) {
			r.spy.take()
			p.again().mustLogin("alice", right())
			for _, line := range r.spy.take() {
				if strings.HasPrefix(line, "commit") {
					log = append(log, line)
				}
			}
			return log
		}
		if log := commits(last); len(log) != 1 || strings.Contains(log[0], "write d") {
			t.Errorf("a login writes %q", log)
		}
		if log := commits(r.peer(six)); len(log) != 1 || !strings.Contains(log[0], "write d") {
			t.Errorf("a login of a new device writes %q", log)
		}
		if err := first.delete(first.again().mustLogin("alice", right()).Session, right()); err != nil {
			t.Fatal(err)
		}
		if have := keys(); len(have) != 1 {
			t.Errorf("after the account was deleted: %d", len(have))
		}
	})
}

// TestLock: a hundred failures in a row, and nothing succeeds but what a known device proves, whatever time passes. A name without
// an account is no exception.
func TestLock(t *testing.T) {
	for _, name := range []string{"alice", "nobody"} {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t)
			p := r.peer(one)
			p.account("alice")
			if d := r.stranger(name, maxRow); d.RetryAfter != 15*time.Minute {
				t.Errorf("%s: the last failure: %+v", name, d)
			}
			for _, pause := range []time.Duration{0, 24 * time.Hour} {
				time.Sleep(pause)
				if _, err := r.Sweep(t.Context(), 1); err != nil {
					t.Fatal(err)
				}
				r.reopen()
				_, err := r.peer(six).login(name, right())
				if d := wantDenied(t, err); d.Reason != Throttled || d.RetryAfter != 15*time.Minute {
					t.Errorf("%s, after %v: %+v", name, pause, d)
				}
			}
			if name != "alice" {
				return
			}
			if u, err := r.User(t.Context(), name); err != nil || !u.Locked || u.Wait != 15*time.Minute {
				t.Errorf("%+v, %v", u, err)
			}
			p.again().mustLogin("alice", right())
			r.peer(six).mustLogin("alice", right())
		})
	}
}

// TestLockInARow: a success in between begins a new row; ninety-nine are not a hundred.
func TestLockInARow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.peer(one).account("alice")
		for range 2 {
			r.inARow("alice", maxRow-2)
			r.stranger("alice", 1)
			r.peer(two).mustLogin("alice", right())
		}
	})
}

// TestLockParallel: those that come at once can't go beyond it.
func TestLockParallel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.peer(two).account("alice")
		r.inARow("alice", maxRow-3)
		got := together(r, 50, "alice", func(i int) *peer { return r.peer(address(i)) }, func(int) *credential.Key { return wrong() })
		if got[WrongPassword] != 3 || got[Throttled] != 47 {
			t.Errorf("%v", got)
		}
	})
}

// TestLockDevice: a known device has a hundred of its own, and an administrator opens both.
func TestLockDevice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		p := r.peer(one)
		p.account("alice")
		for range maxRow {
			time.Sleep(p.again().fail("alice").RetryAfter)
		}
		time.Sleep(time.Hour)
		_, err := p.again().login("alice", right())
		if d := wantDenied(t, err); d.Reason != Throttled {
			t.Errorf("%+v", d)
		}
		r.peer(two).mustLogin("alice", right()) // the name is open
		r.inARow("alice", maxRow-1)
		r.stranger("alice", 1)
		if u, err := r.User(t.Context(), "alice"); err != nil || !u.Locked {
			t.Errorf("%+v, %v", u, err)
		}
		for range 2 { // a repetition changes nothing, and is not recorded
			if err := r.Unlock(t.Context(), "alice"); err != nil {
				t.Fatal(err)
			}
		}
		if u, err := r.User(t.Context(), "alice"); err != nil || u.Locked || u.Failures != 0 {
			t.Errorf("unlocked: %+v, %v", u, err)
		}
		unlocks := 0
		events, _, err := r.Events(t.Context(), EventQuery{}, ID{}, 10_000)
		for _, e := range events {
			if e.Kind == KindAdminUnlock {
				unlocks++
			}
		}
		if unlocks != 1 || err != nil {
			t.Errorf("%d records of it, %v", unlocks, err)
		}
		p.again().mustLogin("alice", right())
		r.peer(six).mustLogin("alice", right())
	})
}

// TestLockDeviceAlone: an administrator unlocks a device where the name has no failures.
func TestLockDeviceAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		p := r.peer(one)
		p.account("alice")
		devices, err := r.devices(t.Context(), p.again().mustLogin("alice", right()).Session.Account)
		if err != nil || len(devices) != 1 {
			t.Fatal(devices, err)
		}
		devices[0].row = maxRow
		r.seal(labelDevice, devices[0].key, &devices[0].deviceRecord)
		_, err = p.again().login("alice", right())
		wantDenied(t, err)
		if err := r.Unlock(t.Context(), "alice"); err != nil {
			t.Fatal(err)
		}
		p.again().mustLogin("alice", right())
	})
}

// TestSamePathStranger: an attempt of a stranger asks the store for the same, whatever the name; that it has a locked name is no exception.
func TestSamePathStranger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.peer(one).account("alice")
		var first []string
		for i, name := range []string{"alice", "bobby"} {
			r.inARow(name, maxRow)
			p := r.peer(fmt.Sprintf("203.0.113.%d", i+1))
			r.spy.take()
			p.fail(name)
			log := r.spy.take()
			if name != "alice" {
				named(log, name)
			}
			if i == 0 {
				first = log
			} else if !slices.Equal(log, first) || len(log) < 5 {
				t.Errorf("%s: %q, but %q", name, log, first)
			}
		}
	})
}

// TestOwnerKeepsGuesserWaiting: a guesser can't see that the owner logs in from a known device, nor gets a new budget by it. Only the
// failures in a row are over.
func TestOwnerKeepsGuesserWaiting(t *testing.T) {
	for _, name := range []string{"alice", "nobody"} {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t)
			p := r.peer(one)
			l := p.account("alice")
			want := seconds(0, 0, 0, 0, 0, 1, 2, 4, 8, 16)
			got := waits(r, len(want), func(i int) (*peer, string) {
				again := p.again()
				if l = again.mustLogin("alice", right()); i%2 == 0 {
					if err := again.revokeAll(l.Session, right()); err != nil {
						t.Fatal(err)
					}
				}
				return r.peer(address(i)), name
			})
			if !slices.Equal(got, want) {
				t.Errorf("%s: %v, want %v", name, got, want)
			}
			if name != "alice" {
				return
			}
			p.again().mustLogin("alice", right())
			if f, err := r.failures(t.Context(), bucket{throttleName, r.store.throttleKey(throttleName, name)}); err != nil || f.row != 0 || f.failures != 10 {
				t.Errorf("%+v, %v", f, err)
			}
			time.Sleep(time.Minute)
			r.peer(two).mustLogin("alice", right()) // with the right password from elsewhere it is over
			if d := r.peer(six).fail("alice"); d.RetryAfter != 0 {
				t.Errorf("afterwards: %+v", d)
			}
		})
	}
}
