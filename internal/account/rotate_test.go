package account

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/authsrv/authsrv/credential"
	"github.com/authsrv/authsrv/kv"
	"github.com/authsrv/authsrv/token"
)

var (
	bothKeys = map[uint32][32]byte{1: {3}, 2: {4}}
	newKeys  = map[uint32][32]byte{2: {4}}
)

func (r *rig) setWrapping(keys map[uint32][32]byte, current uint32) {
	r.t.Helper()
	if err := r.SetWrapping(keys, current); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) under() map[uint32]int {
	r.t.Helper()
	under, err := r.SealedUnder(r.t.Context())
	if err != nil {
		r.t.Fatal(err)
	}
	return under
}

func (r *rig) rewrap() Rewrapped {
	r.t.Helper()
	done, err := r.Rewrap(r.t.Context(), nil)
	if err != nil {
		r.t.Fatal(err)
	}
	return done
}

// wantOnly fails unless every record opens with some keys alone, and the audit chain holds.
func (r *rig) wantOnly(keys map[uint32][32]byte, current uint32) Inspection {
	r.t.Helper()
	secrets := testSecrets()
	secrets.Wrapping, secrets.Current = keys, current
	found, err := Inspect(r.t.Context(), r.spy.Engine, &secrets)
	if err != nil {
		r.t.Fatal(err)
	}
	if found.Damaged != 0 {
		r.t.Errorf("%d records do not open with the keys that are left: %v", found.Damaged, found.First)
	}
	if _, err := r.VerifyAudit(r.t.Context()); err != nil {
		r.t.Error(err)
	}
	return found
}

// crowded writes records of all kinds, n of them sessions of nobody, which are the cheapest.
func crowded(t *testing.T, n int) *rig {
	t.Helper()
	r, _, _ := inhabited(t)
	for i := range n {
		r.seal(labelSession, sessionKey(ID{0xff}, ID{byte(i >> 8), byte(i)}), &sessionRecord{expires: 1})
	}
	return r
}

func TestRewrap(t *testing.T) {
	r := crowded(t, 300)
	before, total := r.keys(), len(r.scan(0))-1
	if under := r.under(); len(under) != 1 || under[1] != total {
		t.Fatalf("records by key: %v, of %d", under, total)
	}
	r.setWrapping(bothKeys, 2)
	var told []int
	done, err := r.Rewrap(t.Context(), func(done, of int) {
		if of != total || len(told) > 0 && done <= told[len(told)-1] {
			t.Errorf("told %d of %d, after %v", done, of, told)
		}
		told = append(told, done)
	})
	if err != nil || done.Records != total || len(done.Left) != 0 || done.Damaged != nil || len(told) < 5 || told[len(told)-1] != total {
		t.Errorf("%+v, %v; told %v", done, err, told)
	}
	if under := r.under(); len(under) != 1 || under[2] != total {
		t.Errorf("records by key: %v, of %d", under, total)
	}
	for space, n := range r.keys() {
		if before[space] != n {
			t.Errorf("space %c has %d records, had %d", space, n, before[space])
		}
	}
	r.wantOnly(newKeys, 2)
	if again := r.rewrap(); again.Records != 0 {
		t.Errorf("again: %+v", again)
	}
	r.setWrapping(newKeys, 2)
	r.peer(one).mustLogin("user0", right())
	if d := r.peer(one).fail("nobody"); d.Reason != UnknownName {
		t.Errorf("a name without an account: %v", d)
	}
	if err := r.SetWrapping(newKeys, 3); err == nil {
		t.Error("a current key that is not there was taken")
	}
}

// TestRewrapLongRecords: links of the audit chain are long, and a commit takes only so many.
func TestRewrapLongRecords(t *testing.T) {
	r := newRig(t)
	for seq := range uint64(40) {
		r.seal(labelLink, linkKey(seq+1), &linkRecord{events: make([]linkEvent, maxLinkEvents)})
	}
	r.setWrapping(bothKeys, 2)
	if done := r.rewrap(); done.Records != 40 {
		t.Errorf("%+v", done)
	}
}

// TestRewrapUnderLoad: people register, log in, fail and leave while the keys change again and again.
func TestRewrapUnderLoad(t *testing.T) {
	const workers = 4
	r := crowded(t, 400)
	right() // both are stretched once
	wrong()
	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	var served atomic.Int64
	names := make([][]string, workers)
	for w := range workers {
		wg.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				p, name := r.peer(fmt.Sprintf("2001:db8:%x:%x::1", w, i)), fmt.Sprintf("worker%d-%d", w, i)
				if err := p.register(name, right()); err != nil {
					t.Errorf("register: %v", err)
					return
				}
				l, err := p.login(name, right())
				if err != nil {
					t.Errorf("login: %v", err)
					return
				}
				if _, err := p.again().resume(l.Token); err != nil {
					t.Errorf("resume: %v", err)
				}
				var denied *Denied
				if _, err := p.again().login(name+"-nobody", wrong()); !errors.As(err, &denied) {
					t.Errorf("a name without an account: %v", err)
				}
				if i%3 == 2 {
					if err := p.delete(l.Session, right()); err != nil {
						t.Errorf("delete: %v", err)
					}
				} else {
					names[w] = append(names[w], name)
				}
				served.Add(1)
			}
		})
	}
	keys := map[uint32][32]byte{1: {3}}
	last := uint32(1)
	for range 6 {
		for seen := served.Load(); served.Load() < seen+3 && !t.Failed(); { // some of them on each side of each step
			time.Sleep(time.Millisecond)
		}
		last++
		keys[last] = [32]byte{byte(last), 9}
		r.setWrapping(keys, last)
		done := r.rewrap()
		if len(done.Left) != 0 {
			t.Errorf("left: %v", done.Left)
		}
		if under := r.under(); len(under) != 1 || under[last] == 0 {
			t.Errorf("records by key: %v, all should be under %d", under, last)
		}
		delete(keys, last-1)
		r.setWrapping(keys, last)
	}
	stop()
	wg.Wait()
	t.Logf("%d rounds of register, login, resume and failure during 6 rotations", served.Load())
	found := r.wantOnly(keys, last)
	if found.Accounts != found.Names {
		t.Errorf("%d accounts, %d names", found.Accounts, found.Names)
	}
	for _, of := range names {
		for _, name := range of {
			if _, _, real, err := r.lookup(r.now(t.Context()), name); !real || err != nil {
				t.Errorf("%s: there is %v, %v", name, real, err)
			}
		}
	}
}

// staleCommit seals a record, has the wrapping key change, and only then commits it.
func staleCommit(t *testing.T, r *rig, engine kv.Engine) (runs int) {
	t.Helper()
	key := codeKey(ID{9})
	err := kv.Update(t.Context(), engine, func(tx *kv.Tx) error {
		runs++
		if err := r.store.put(tx, labelCode, key, &codeRecord{kind: credential.CodeInvite, publicKey: right().Public()}); err != nil {
			return err
		}
		if runs == 1 {
			r.setWrapping(bothKeys, 2)
			r.rewrap()
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return runs
}

// TestStaleSeal: what was sealed before the key changed is not committed after it: nothing would open it once that key is removed.
func TestStaleSeal(t *testing.T) {
	r := newRig(t)
	if runs := staleCommit(t, r, r.store.engine); runs != 2 || r.under()[1] != 0 {
		t.Errorf("%d runs, records by key: %v", runs, r.under())
	}
	r.wantOnly(newKeys, 2)

	// Without the guard, the same check finds the record.
	r = newRig(t)
	if runs := staleCommit(t, r, r.spy); runs != 1 || r.under()[1] != 1 {
		t.Errorf("without the guard: %d runs, records by key: %v: this test finds nothing", runs, r.under())
	}
}

// TestSwapWaits: while a commit is under way the keys do not change, so that nothing under an old one comes after the change.
func TestSwapWaits(t *testing.T) {
	r := newRig(t)
	mu, commits := &r.store.seals.mu, 0
	r.spy.commit = func([]kv.Write) error {
		commits++
		if mu.TryLock() {
			mu.Unlock()
			t.Error("the keys could have changed while a commit was under way")
		}
		return nil
	}
	r.invite()
	if commits == 0 || !mu.TryLock() {
		t.Fatalf("%d commits, and the keys can't change after them", commits)
	}
	mu.Unlock()
}

// TestRewrapCutShort: whichever commit is the last that happens, a new process finds records that all open, and goes on.
func TestRewrapCutShort(t *testing.T) {
	for n := range 9 {
		mem := vfs.NewCrashableMem()
		r := openRig(t, "store", mem)
		for i := range 300 {
			r.seal(labelSession, sessionKey(ID{0xff}, ID{byte(i >> 8), byte(i)}), &sessionRecord{expires: 1})
		}
		r.peer(one).account("alice")
		total := len(r.scan(0)) - 1
		r.setWrapping(bothKeys, 2)
		broken, left := errors.New("the machine is gone"), n
		r.spy.commit = func([]kv.Write) error {
			if left--; left < 0 {
				return broken
			}
			return nil
		}
		done, err := r.Rewrap(t.Context(), nil)
		if n < 6 != errors.Is(err, broken) || err != nil && done.Records != min(n*rewrapBatch, total) {
			t.Fatalf("%d commits: %+v, %v", n, done, err)
		}
		crashed := openRig(t, "store", mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 50, RNG: rand.New(rand.NewPCG(7, uint64(n)))}), func(c *Config) {
			c.Secrets.Wrapping, c.Secrets.Current = bothKeys, 2
		})
		crashed.wantOnly(bothKeys, 2)
		got := crashed.under()
		if got[2] < done.Records || got[1]+got[2] != total {
			t.Errorf("%d commits: records by key: %v, of %d", n, got, total)
		}
		if more := crashed.rewrap(); more.Records != got[1] {
			t.Errorf("%d commits: then %+v, of %v", n, more, got)
		}
		crashed.wantOnly(newKeys, 2)
		crashed.peer(one).mustLogin("alice", right())
	}
}

// TestRewrapConflict: what others write meanwhile is what stays.
func TestRewrapConflict(t *testing.T) {
	r := crowded(t, 100)
	_, _, real, err := r.lookup(r.now(t.Context()), "user1")
	if !real || err != nil {
		t.Fatal(real, err)
	}
	id := r.user("user1").ID
	r.setWrapping(bothKeys, 2)
	times := 0
	r.spy.commit = func(writes []kv.Write) error {
		if times < 3 && writesTo(writes, spaceAccount) { // the batch, and the record by itself
			times++
			own := r.spy.commit
			r.spy.commit = nil
			r.edit(id, func(a *accountRecord) { a.generation += 10 })
			r.spy.commit = own
		}
		return nil
	}
	if done := r.rewrap(); len(done.Left) != 0 {
		t.Errorf("%+v", done)
	}
	if got := r.user("user1").Generation; times == 0 || got != uint64(1+10*times) {
		t.Errorf("generation %d after %d changes", got, times)
	}
	r.wantOnly(newKeys, 2)
}

// TestRewrapDamaged: a record that does not open stays as it is, is told, and keeps nothing else from being rewrapped.
func TestRewrapDamaged(t *testing.T) {
	r := crowded(t, 100)
	total := len(r.scan(0)) - 1
	e := r.scan(spaceSession)[0]
	e.Value[len(e.Value)-1] ^= 1
	r.put(e.Key, e.Value)
	r.put([]byte("?"), e.Value) // of no kind that there is
	r.setWrapping(bothKeys, 2)
	for _, n := range []int{total - 1, 0} {
		done := r.rewrap()
		if done.Records != n || len(done.Left) != 1 || done.Left[1] != 2 || !errors.Is(done.Damaged, ErrDamaged) {
			t.Errorf("%+v, want %d records", done, n)
		}
	}
	if under := r.under(); under[1] != 2 || under[2] != total-1 {
		t.Errorf("records by key: %v, of %d", under, total)
	}
}

// TestFormerKey: a key that was taken away opens what was read before that, for a minute and no longer.
func TestFormerKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.peer(one).account("alice")
		old := r.scan(spaceSession)[0]
		r.setWrapping(bothKeys, 2)
		r.rewrap()
		r.setWrapping(newKeys, 2)
		var rec sessionRecord
		time.Sleep(formerTime - time.Nanosecond)
		if err := r.store.decode(labelSession, old.Key, old.Value, &rec); err != nil {
			t.Error(err)
		}
		time.Sleep(time.Nanosecond)
		wantError(t, r.store.decode(labelSession, old.Key, old.Value, &rec), ErrDamaged)
	})
}

func TestNoteRotation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		at := time.Now().Truncate(time.Second)
		note := func(kind Kind, key string, at time.Time, want bool) {
			t.Helper()
			if noted, err := r.NoteRotation(t.Context(), kind, key, at); noted != want || err != nil {
				t.Errorf("%v of %s: noted %v, %v", kind, key, noted, err)
			}
		}
		for range 2 {
			note(KindRotateWrapping, "2", at, true)
			note(KindRotateWrapping, "3", at, true)
			note(KindRotateEpoch, "2", at, true)
		}
		r.reopen()
		note(KindRotateWrapping, "2", at, true)
		r.verifyAudit(0, 0, 3)
		if events := r.events(); len(events) != 3 || !events[0].Time.Equal(at) || events[0].Outcome != Success || events[0].Count != 1 {
			t.Errorf("%+v", events)
		}
		time.Sleep(3 * time.Minute)
		r.chain()
		r.verifyAudit(1, 3, 0)
		note(KindRotateWrapping, "2", at, false)
		note(KindRotateIdentity, "late", at, false) // it would look like one that was put in
		note(KindRotateToken, "now", time.Now(), true)
		r.verifyAudit(1, 3, 1)
	})
}

func TestSetTokens(t *testing.T) {
	r := newRig(t)
	p := r.peer(one)
	alice := p.account("alice")
	wantErr := r.SetTokens(testTokens(t, [16]byte{1}))
	if wantErr == nil {
		t.Error("the tokens of another realm were taken")
	}
	seed, next := sha256.Sum256([]byte("tokens")), sha256.Sum256([]byte("next"))
	oldKey := token.Key{ID: "1", Private: ed25519.NewKeyFromSeed(seed[:])}
	newKey := token.Key{ID: "2", Private: ed25519.NewKeyFromSeed(next[:])}
	set := func(keys ...token.Key) {
		t.Helper()
		tokens, err := token.New(Issuer(r.RealmID()), "2", keys...)
		if err == nil {
			err = r.SetTokens(tokens)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	set(oldKey, newKey)
	bob := p.account("bob")
	for _, l := range []*Login{alice, bob} {
		if _, err := p.again().resume(l.Token); err != nil {
			t.Errorf("%s: %v", l.Session.Name, err)
		}
	}
	set(newKey)
	_, err := p.again().resume(alice.Token)
	wantError(t, err, ErrSessionMalformed)
	if _, err := p.again().resume(bob.Token); err != nil {
		t.Error(err)
	}
}

func TestSessionsMade(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		p := r.peer(one)
		if err := p.register("alice", right()); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		var logins []*Login
		for range 4 {
			logins = append(logins, p.mustLogin("alice", right()))
			time.Sleep(time.Hour)
		}
		want := func(from, until time.Duration, n int, last time.Time) {
			t.Helper()
			uses, err := r.SessionsMade(t.Context(), []Period{{}, {began.Add(from), began.Add(until)}})
			if err != nil || uses[0] != (Use{}) || uses[1].Sessions != n || !uses[1].Last.Equal(last) {
				t.Errorf("from %v until %v: %+v, %v; want %d until %v", from, until, uses, err, n, last)
			}
		}
		want(0, time.Hour, 1, logins[0].Session.Expires)
		want(0, 2*time.Hour+1, 3, logins[2].Session.Expires)
		want(time.Hour+1, 5*time.Hour, 2, logins[3].Session.Expires)
		if err := r.Logout(t.Context(), logins[2].Session, &p.ch); err != nil {
			t.Fatal(err)
		}
		want(0, 2*time.Hour+1, 2, logins[1].Session.Expires)
		time.Sleep(21 * time.Hour)
		want(0, 2*time.Hour+1, 0, time.Time{})
		want(0, 5*time.Hour, 1, logins[3].Session.Expires)
		if err := p.revokeAll(logins[3].Session, right()); err != nil {
			t.Fatal(err)
		}
		want(0, 5*time.Hour, 0, time.Time{})
	})
}

func TestEndCodes(t *testing.T) {
	r := newRig(t)
	p := r.peer(one)
	alice := p.account("alice")
	r.invite()
	r.reset("alice")
	if n, err := r.EndCodes(t.Context()); n != 2 || err != nil || r.keys()[spaceCode] != 0 {
		t.Errorf("%d ended, %v; %v", n, err, r.keys())
	}
	if err := r.Check(t.Context(), alice.Session); err != nil {
		t.Error(err)
	}
	if n, err := r.EndSessions(t.Context()); n != 1 || err != nil {
		t.Errorf("%d ended, %v", n, err)
	}
	wantError(t, r.Check(t.Context(), alice.Session), ErrSessionRevoked)
}

// BenchmarkRewrap is of records of 150 bytes on a store in memory.
func BenchmarkRewrap(b *testing.B) {
	r := newRig(b)
	const n = 10_000
	for i := range n {
		r.seal(labelSession, sessionKey(ID{0xff}, ID{byte(i >> 8), byte(i)}), &sessionRecord{expires: 1})
	}
	keys := map[uint32][32]byte{1: {3}}
	id := uint32(1)
	for b.Loop() {
		id++
		keys[id] = [32]byte{byte(id), byte(id >> 8), 1}
		r.setWrapping(keys, id)
		if done := r.rewrap(); done.Records < n {
			b.Fatalf("%+v", done)
		}
		delete(keys, id-1)
	}
	b.ReportMetric(float64(n)*float64(b.N)/b.Elapsed().Seconds(), "records/s")
}
