package account

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/authsrv/authsrv/credential"
	"github.com/authsrv/authsrv/kv"
)

// makeEvents writes n events, a second apart.
func (r *rig) makeEvents(n int) {
	r.t.Helper()
	for range n {
		err := kv.Update(r.t.Context(), r.spy.Engine, func(tx *kv.Tx) error {
			return r.audit(tx, Event{Kind: KindLogin, Outcome: Success, Name: "alice"})
		})
		if err != nil {
			r.t.Fatal(err)
		}
		time.Sleep(time.Second)
	}
}

func (r *rig) chain() {
	r.t.Helper()
	if err := r.ChainAudit(r.t.Context(), time.Now().Add(-chainAge)); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) verifyAudit(links, events, unchained int) {
	r.t.Helper()
	got, err := r.VerifyAudit(r.t.Context())
	if err != nil || got.Links != links || got.Events != events || got.Unchained != unchained {
		r.t.Errorf("%+v, %v; want %d links of %d events, and %d more", got, err, links, events, unchained)
	}
}

// TestChain: events are chained when they are a minute old and their minute is over, once.
func TestChain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.verifyAudit(0, 0, 0)
		r.makeEvents(10)
		r.chain()
		r.verifyAudit(0, 0, 10)
		time.Sleep(2*time.Minute - 10*time.Second - time.Nanosecond)
		r.chain()
		r.verifyAudit(0, 0, 10)
		time.Sleep(time.Nanosecond)
		for range 2 {
			r.chain()
			r.verifyAudit(1, 10, 0)
		}
		r.makeEvents(60 + 30)
		time.Sleep(time.Minute)
		r.chain()
		r.verifyAudit(2, 70, 30)
		r.reopen()
		time.Sleep(time.Hour)
		r.chain()
		r.chain()
		r.verifyAudit(3, 100, 0)
	})
}

// TestChainLong: more events than a link has make several.
func TestChainLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		for range maxLinkEvents + 7 {
			r.put(eventKey(idAt(time.Now())), nil)
			time.Sleep(time.Millisecond)
		}
		for _, e := range r.scan(spaceAudit) {
			r.seal(labelAudit, e.Key, &Event{Time: time.Now(), Last: time.Now(), Count: 1})
		}
		time.Sleep(time.Hour)
		r.chain()
		r.verifyAudit(2, maxLinkEvents+7, 0)
	})
}

// TestChainNodes: of several nodes one wins, and nothing is chained twice. A login in between does not wait for it.
func TestChainNodes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		other, err := New(t.Context(), &r.config)
		if err != nil {
			t.Fatal(err)
		}
		p := r.peer(one)
		p.account("alice")
		time.Sleep(time.Hour)
		commits := 0
		r.spy.commit = func(writes []kv.Write) error {
			if commits++; commits == 1 { // between what it has read and its commit
				if err := other.ChainAudit(t.Context(), time.Now()); err != nil {
					t.Error(err)
				}
				p.again().mustLogin("alice", right())
			}
			return nil
		}
		r.chain()
		if r.spy.commit = nil; commits < 3 {
			t.Errorf("%d commits", commits)
		}
		r.verifyAudit(1, 2, 1)

		// A login reads the head, and writes nothing of the chain.
		r.spy.take()
		p.again().mustLogin("alice", right())
		for _, line := range r.spy.take() {
			if strings.Contains(line, "write h ") || strings.Contains(line, " l ") {
				t.Errorf("a login: %s", line)
			}
		}
	})
}

// TestChainStalls: an event that waits for its commit for as long as it takes the chain to pass its time comes behind the chain, or is in it. It is
// there between whatever the appender reads and writes.
func TestChainStalls(t *testing.T) {
	for name, key := range map[string]func() *credential.Key{"login": right, "failure": wrong} {
		for before := range 4 { // commits of the appender; behind the last one there is none
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t)
				r.peer(one).account("alice")
				p := r.peer(one).again()
				held, release, done := make(chan struct{}), make(chan struct{}), make(chan struct{})
				commits := 0
				r.spy.commit = func(writes []kv.Write) error {
					switch {
					case writesTo(writes, spaceHead):
						if commits++; commits == before+1 {
							close(release)
							<-done
						}
					case writesTo(writes, spaceAudit):
						select {
						case <-held:
						default:
							close(held)
							<-release
						}
					}
					return nil
				}
				go func() {
					defer close(done)
					if _, err := p.login("alice", key()); err != nil && !errors.Is(err, ErrDenied) {
						t.Error(err)
					}
				}()
				<-held
				time.Sleep(3 * time.Minute)
				r.chain()
				if commits <= before {
					close(release)
				}
				<-done
				r.spy.commit = nil
				if commits < 2 {
					t.Errorf("%d commits", commits)
				}
				if _, err := r.VerifyAudit(t.Context()); err != nil {
					t.Errorf("%s, before commit %d: %v", name, before+1, err)
				}
			})
		}
	}
}

// TestChainClock: a clock that is put back makes no event that seems to be inserted.
func TestChainClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.makeEvents(3)
		if err := r.ChainAudit(t.Context(), time.Now().Add(time.Hour)); err != nil {
			t.Fatal(err)
		}
		r.reopen()
		r.makeEvents(3)
		r.peer(one).fail("alice")
		r.verifyAudit(1, 3, 4)
	})
}

// tampered is a store with three links of ten events, and five events behind them.
func tampered(t *testing.T) *rig {
	r := newRig(t)
	for range 3 {
		r.makeEvents(10)
		time.Sleep(time.Hour)
		r.chain()
	}
	r.makeEvents(5)
	r.verifyAudit(3, 30, 5)
	return r
}

// TestTampering does what who can write to the store can, with its keys and without, and wants to be told where.
func TestTampering(t *testing.T) {
	plain := func(r *rig, e kv.Entry) *Event {
		var event Event
		if err := r.store.decode(labelAudit, e.Key, e.Value, &event); err != nil {
			t.Fatal(err)
		}
		return &event
	}
	for what, c := range map[string]struct {
		do   func(r *rig, events, links []kv.Entry)
		want string
		seq  uint64
	}{
		"an event is deleted":        {func(r *rig, e, _ []kv.Entry) { r.delete(e[14].Key) }, "removed", 2},
		"the first event is deleted": {func(r *rig, e, _ []kv.Entry) { r.delete(e[0].Key) }, "removed", 1},
		"the last event is deleted":  {func(r *rig, e, _ []kv.Entry) { r.delete(e[29].Key) }, "removed", 3},
		"an event's bytes are changed": {func(r *rig, e, _ []kv.Entry) {
			r.put(e[20].Key, append(bytes.Clone(e[20].Value[:40]), e[20].Value[41:]...))
		}, "changed", 3},
		"an event is sealed anew": {func(r *rig, e, _ []kv.Entry) {
			event := plain(r, e[3])
			event.Name = "bob"
			r.seal(labelAudit, e[3].Key, event)
		}, "changed", 1},
		"an event is inserted": {func(r *rig, e, _ []kv.Entry) {
			id := ID(e[12].Key[1:])
			id[15]++
			r.seal(labelAudit, eventKey(id), plain(r, e[12]))
		}, "inserted", 2},
		"an event is inserted at the end of a link": {func(r *rig, e, _ []kv.Entry) {
			id := ID(e[29].Key[1:])
			id[15]++
			r.seal(labelAudit, eventKey(id), plain(r, e[12]))
		}, "inserted", 3},
		"two events are swapped": {func(r *rig, e, _ []kv.Entry) {
			r.put(e[4].Key, e[5].Value)
			r.put(e[5].Key, e[4].Value)
		}, "changed", 1},
		"two events are swapped and sealed anew": {func(r *rig, e, _ []kv.Entry) {
			r.seal(labelAudit, e[4].Key, plain(r, e[5]))
			r.seal(labelAudit, e[5].Key, plain(r, e[4]))
		}, "changed", 1},
		"a link is deleted": {func(r *rig, _, l []kv.Entry) { r.delete(l[1].Key) }, "removed", 2},
		"a link is damaged": {func(r *rig, _, l []kv.Entry) { r.put(l[1].Key, l[1].Value[:60]) }, "changed", 2},
		"links are swapped": {func(r *rig, _, l []kv.Entry) {
			r.put(l[0].Key, l[1].Value)
			r.put(l[1].Key, l[0].Value)
		}, "changed", 1},
		"a link is made without the key": {func(r *rig, _, l []kv.Entry) {
			var link linkRecord
			if err := r.store.decode(labelLink, l[1].Key, l[1].Value, &link); err != nil {
				t.Fatal(err)
			}
			link.events = link.events[1:]
			r.seal(labelLink, l[1].Key, &link)
		}, "changed", 2},
		"a link leads elsewhere": {func(r *rig, _, l []kv.Entry) {
			var link linkRecord
			if err := r.store.decode(labelLink, l[1].Key, l[1].Value, &link); err != nil {
				t.Fatal(err)
			}
			link.prev[0] ^= 1
			link.mac = r.auditMAC("link", l[1].Key, link.body())
			r.seal(labelLink, l[1].Key, &link)
		}, "reordered", 2},
		"the last link is deleted":  {func(r *rig, _, l []kv.Entry) { r.delete(l[2].Key) }, "removed", 3},
		"the head is deleted":       {func(r *rig, _, _ []kv.Entry) { r.delete([]byte{spaceHead}) }, "removed", 0},
		"the head is damaged":       {func(r *rig, _, _ []kv.Entry) { r.put([]byte{spaceHead}, []byte("head")) }, "changed", 0},
		"the head is made anew":     {func(r *rig, _, _ []kv.Entry) { r.seal(labelHead, []byte{spaceHead}, &headRecord{}) }, "changed", 0},
		"a new event is damaged":    {func(r *rig, e, _ []kv.Entry) { r.put(e[33].Key, e[32].Value) }, "changed", 0},
		"the floor's link is there": {func(r *rig, _, l []kv.Entry) { r.put(linkKey(0), l[0].Value) }, "inserted", 0},
	} {
		synctest.Test(t, func(t *testing.T) {
			r := tampered(t)
			c.do(r, r.scan(spaceAudit), r.scan(spaceLink))
			_, err := r.VerifyAudit(t.Context())
			var fault *AuditFault
			if !errors.As(err, &fault) || !errors.Is(err, ErrAuditBroken) || fault.What != c.want || fault.Seq != c.seq {
				t.Errorf("%s: %v (%+v), want %s in %d", what, err, fault, c.want, c.seq)
			}
		})
	}
}

// TestTamperedGoesOn: a damaged record stops neither the appender nor the logins, and no chain is begun beside another.
func TestTamperedGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := tampered(t)
		r.put(r.scan(spaceAudit)[33].Key, []byte("damage"))
		time.Sleep(time.Hour)
		wantError(t, r.ChainAudit(t.Context(), time.Now()), errSkipped)
		r.chain()
		_, err := r.VerifyAudit(t.Context())
		wantError(t, err, ErrAuditBroken)

		r.delete([]byte{spaceHead})
		r.reopen()
		r.peer(one).account("bob")
		time.Sleep(time.Hour)
		wantError(t, r.ChainAudit(t.Context(), time.Now()), ErrDamaged)
		if n := len(r.scan(spaceHead)); n != 0 {
			t.Error("a new chain was begun")
		}
		r.put([]byte{spaceHead}, []byte("damage"))
		r.reopen()
		wantError(t, r.ChainAudit(t.Context(), time.Now()), ErrDamaged)
	})
}

// TestCutBack: the store as it was before is a good chain, but not that of a checkpoint.
func TestCutBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		identity := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{1}, 32))
		public := identity.Public().(ed25519.PublicKey)
		r := newRig(t)
		_, err := r.AuditCheckpoint(t.Context(), identity)
		wantError(t, err, ErrNothingYet)
		r.makeEvents(3)
		time.Sleep(time.Hour)
		r.chain()
		early, err := r.AuditCheckpoint(t.Context(), identity)
		if err != nil {
			t.Fatal(err)
		}
		before := r.scan(0)
		r.makeEvents(3)
		time.Sleep(time.Hour)
		r.chain()
		late, err := r.AuditCheckpoint(t.Context(), identity)
		if err != nil || late.Seq != 2 {
			t.Fatal(late, err)
		}
		for _, c := range []*AuditCheckpoint{early, late} {
			wantError(t, r.HoldCheckpoint(t.Context(), c, public), nil)
		}
		for _, e := range r.scan(0) {
			if !slices.ContainsFunc(before, func(b kv.Entry) bool { return bytes.Equal(b.Key, e.Key) }) {
				r.delete(e.Key)
			}
		}
		for _, e := range before {
			r.put(e.Key, e.Value)
		}
		r.verifyAudit(1, 3, 0)
		wantError(t, r.HoldCheckpoint(t.Context(), early, public), nil)
		wantError(t, r.HoldCheckpoint(t.Context(), late, public), ErrAuditBroken)
		r.makeEvents(1) // and grown again
		time.Sleep(time.Hour)
		r.chain()
		r.verifyAudit(2, 4, 0)
		wantError(t, r.HoldCheckpoint(t.Context(), late, public), ErrAuditBroken)

		for what, change := range map[string]func(*AuditCheckpoint){
			"seq": func(c *AuditCheckpoint) { c.Seq-- }, "head": func(c *AuditCheckpoint) { c.Head = early.Signature[:64] },
			"time": func(c *AuditCheckpoint) { c.Time = c.Time.Add(time.Second) }, "realm": func(c *AuditCheckpoint) { c.Realm = "00" },
			"format": func(c *AuditCheckpoint) { c.Format = "" }, "signature": func(c *AuditCheckpoint) { c.Signature = "" },
			"version": func(c *AuditCheckpoint) { c.Version = 2 }, "identity": func(c *AuditCheckpoint) { c.Identity = c.Head },
		} {
			c := *late
			change(&c)
			if err := r.HoldCheckpoint(t.Context(), &c, public); err != ErrNotCheckpoint {
				t.Errorf("%s changed: %v", what, err)
			}
		}
	})
}

// TestRetention: what is too old goes, links and all, and what is left still holds.
func TestRetention(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(c *Config) { c.AuditRetention = 5 * time.Hour })
		identity := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{1}, 32))
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			r.KeepAudit(ctx, func(err error) { t.Error(err) })
		}()
		var first *AuditCheckpoint
		for i := range 10 {
			r.makeEvents(sweepBatch + 3)
			time.Sleep(time.Hour)
			if i == 0 {
				var err error
				if first, err = r.AuditCheckpoint(t.Context(), identity); err != nil {
					t.Fatal(err)
				}
			}
		}
		cancel()
		<-ended
		report, err := r.VerifyAudit(t.Context())
		if age := time.Since(report.Floor); err != nil || report.Events < 4*(sweepBatch+3) || age < 5*time.Hour || age > 7*time.Hour {
			t.Errorf("%+v, %v", report, err)
		}
		if n := r.keys(); n[spaceAudit] != report.Events+report.Unchained || n[spaceLink] != report.Links {
			t.Errorf("left: %v, %+v", n, report)
		}
		wantError(t, r.HoldCheckpoint(t.Context(), first, identity.Public().(ed25519.PublicKey)), nil)

		// One that was cut short between the two steps leaves events below the floor, which the next one removes.
		r.seal(labelAudit, eventKey(idAt(report.Floor.Add(-time.Hour))), &Event{Time: time.Now(), Last: time.Now(), Count: 1})
		if _, err := r.VerifyAudit(t.Context()); err != nil {
			t.Error(err)
		}
		if err := r.expireAudit(t.Context(), report.Floor); err != nil {
			t.Error(err)
		}
		if n := r.keys(); n[spaceAudit] != report.Events+report.Unchained {
			t.Errorf("left: %v", n)
		}
		r.delete(r.scan(spaceAudit)[0].Key)
		_, err = r.VerifyAudit(t.Context())
		wantError(t, err, ErrAuditBroken)
	})
}

// TestKeepAuditFails: what fails is told, and tried again.
func TestKeepAuditFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.makeEvents(3)
		r.spy.commit = func([]kv.Write) error { return errBroken }
		ctx, cancel := context.WithCancel(t.Context())
		ended, failures := make(chan struct{}), 0
		go func() {
			defer close(ended)
			r.KeepAudit(ctx, func(err error) {
				if failures++; !errors.Is(err, errBroken) {
					t.Error(err)
				}
				if failures == 3 {
					r.spy.commit = nil
				}
			})
		}()
		time.Sleep(time.Hour)
		cancel()
		<-ended
		if failures != 3 {
			t.Errorf("%d failures", failures)
		}
		r.verifyAudit(1, 3, 0)
	})
}

func ExampleParseKind() {
	fmt.Println(ParseKind("login"), uint8(ParseKind("nonsense")))
	// Output: login 0
}
