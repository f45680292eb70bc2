package account

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/authsrv/authsrv/kv"
)

// This file is a mixed load that knows at each moment what it was promised, for the tests that let a disk fail or forget.

// condition is all that there is of one name.
type condition struct {
	there, disabled bool
	generation      uint64
	password        string
	sessions        []ID // live ones; zero: one whose id nobody was told yet
	row             uint32
	audits          int // events of that name
}

// isOf says whether c, which a store has, is the condition that was meant.
func (c *condition) isOf(meant *condition) bool {
	for _, id := range meant.sessions {
		if id != (ID{}) && !slices.Contains(c.sessions, id) {
			return false
		}
	}
	return c.there == meant.there && c.disabled == meant.disabled && c.generation == meant.generation && c.password == meant.password &&
		len(c.sessions) == len(meant.sessions) && c.row == meant.row && c.audits == meant.audits
}

// A person is a name, and one goroutine that does things to it, one after the other.
type person struct {
	name     string
	peer     *peer
	sessions map[ID]*Session
	guesses  int

	// Of each step what it leads to, from "nothing" on; up to acked it was said to have happened. Guarded by the load's mutex.
	steps []condition
	acked int
}

// load is persons, and counters that are kept in the engine beside them.
type load struct {
	r        *rig
	ctx      context.Context
	mu       sync.Mutex
	people   []*person
	counters []counter
	wg       sync.WaitGroup
	failed   func(error) // called when a step fails; whose it was then ends
	strange  int         // peers that were strangers
}

type counter struct{ begun, acked uint64 }

const (
	loadWorkers  = 4
	loadPeople   = 3 // of each worker
	loadCounters = 2
	loadGuesses  = 4 // at a name: fewer than cost a wait
)

// startLoad begins the load, which goes on until ctx ends or until its steps fail. tag is what its names begin with.
func startLoad(ctx context.Context, r *rig, tag string, seed uint64, failed func(error)) *load {
	l := &load{r: r, ctx: ctx, failed: failed, counters: make([]counter, loadCounters)}
	for i := range l.counters {
		keys := counterKeys(i)
		e, err := r.spy.Get(ctx, keys[0])
		if err != nil {
			r.t.Fatal(err)
		}
		if e.Version != 0 { // it goes on where it was
			n := binary.BigEndian.Uint64(e.Value)
			l.counters[i] = counter{n, n}
		}
	}
	for w := range loadWorkers {
		var own []*person
		for i := range loadPeople {
			p := &person{name: fmt.Sprintf("%s.%d.%d", tag, w, i), peer: r.peer(address(w)), sessions: map[ID]*Session{}, steps: []condition{{}}}
			own = append(own, p)
		}
		l.people = append(l.people, own...)
		random := rand.New(rand.NewPCG(seed, uint64(w)))
		l.run(func(int) error { return l.advance(own[random.IntN(len(own))], random) })
	}
	for i := range l.counters {
		l.run(func(int) error { return l.count(i) })
	}
	l.run(l.chain(time.Now().Add(-10 * time.Hour)))
	return l
}

// chain makes audit records of a time long ago, a minute behind each other, and chains them.
func (l *load) chain(from time.Time) func(int) error {
	if end := time.Unix(0, l.r.chained.Load()); from.Before(end) {
		from = end
	}
	from = from.Truncate(window).Add(window)
	return func(n int) error {
		select {
		case <-time.After(5 * time.Millisecond):
		case <-l.ctx.Done():
			return nil
		}
		at := from.Add(time.Duration(n) * window)
		err := kv.Update(l.ctx, l.r.spy, func(tx *kv.Tx) error {
			id := idAt(at)
			return l.r.store.put(tx, labelAudit, eventKey(id), &Event{Kind: KindAdminInvite, Outcome: Success, Time: at, Last: at, Count: 1})
		})
		if err != nil {
			return err
		}
		return l.r.ChainAudit(l.ctx, at.Add(window))
	}
}

func (l *load) run(step func(n int) error) {
	l.wg.Go(func() {
		for n := 0; l.ctx.Err() == nil; n++ {
			if err := recovered(func() error { return step(n) }); err != nil {
				if l.ctx.Err() == nil {
					l.failed(err)
				}
				return
			}
		}
	})
}

// recovered turns a Fatal of a recorder into the error of a step.
func recovered(step func() error) (err error) {
	defer func() {
		switch e := recover().(type) {
		case nil:
		case fatal:
			err = e.err
		default:
			panic(e)
		}
	}()
	return step()
}

// advance does something at random to a person that is possible and must succeed.
func (l *load) advance(p *person, random *rand.Rand) error {
	now := p.steps[len(p.steps)-1] // only this goroutine changes it
	now.sessions = slices.Clone(now.sessions)
	now.audits++
	key, other := "right", "next"
	if now.password == other {
		key, other = other, key
	}
	proved := func() { now.row = 0 }
	end := func() { now.generation++; now.sessions = nil }
	some := func() *Session { return p.sessions[now.sessions[random.IntN(len(now.sessions))]] }
	dice := random.IntN(100)
	switch {
	case now.disabled:
		now.disabled = false
		return l.step(p, now, func() (*Login, error) { return nil, l.r.SetDisabled(l.ctx, p.name, false) })
	case dice < 10 && p.guesses < loadGuesses:
		p.guesses++
		now.row++
		if !now.there {
			now.audits-- // no name is in that record
		}
		return l.step(p, now, func() (*Login, error) {
			_, err := l.stranger().login(p.name, wrong())
			var d *Denied
			if errors.As(err, &d) && (d.Reason == WrongPassword || d.Reason == UnknownName) {
				return nil, nil
			}
			return nil, cmp.Or(err, errors.New("let in with a wrong password"))
		})
	case !now.there:
		now.there, now.generation, now.password = true, 1, "right"
		return l.step(p, now, func() (*Login, error) { return nil, p.peer.again().register(p.name, right()) })
	case len(now.sessions) == 0 || dice < 35:
		proved()
		now.sessions = append(now.sessions, ID{})
		return l.step(p, now, func() (*Login, error) { return p.peer.again().login(p.name, keyOf(key)) })
	case dice < 55:
		from := some()
		proved()
		end()
		now.password, now.sessions = other, []ID{{}}
		return l.step(p, now, func() (*Login, error) { return p.peer.again().changePassword(from, keyOf(key), keyOf(other)) })
	case dice < 65:
		from := some()
		proved()
		end()
		return l.step(p, now, func() (*Login, error) { return nil, p.peer.again().revokeAll(from, keyOf(key)) })
	case dice < 80:
		from := some()
		now.sessions = slices.DeleteFunc(now.sessions, func(id ID) bool { return id == from.ID })
		return l.step(p, now, func() (*Login, error) { return nil, l.r.Logout(l.ctx, from, &p.peer.ch) })
	case dice < 90:
		end()
		now.disabled = true
		return l.step(p, now, func() (*Login, error) { return nil, l.r.SetDisabled(l.ctx, p.name, true) })
	default:
		from := some()
		return l.step(p, condition{audits: now.audits}, func() (*Login, error) { return nil, p.peer.again().delete(from, keyOf(key)) })
	}
}

// step does what leads to a condition, with which it may begin a session, and writes down that it was said to have happened.
func (l *load) step(p *person, to condition, do func() (*Login, error)) error {
	l.mu.Lock()
	p.steps = append(p.steps, to)
	l.mu.Unlock()
	login, err := do()
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	p.acked = len(p.steps) - 1
	if login != nil {
		last := &p.steps[p.acked]
		last.sessions = slices.Clone(last.sessions)
		last.sessions[len(last.sessions)-1] = login.Session.ID
		p.sessions[login.Session.ID] = login.Session
	}
	return nil
}

// stranger is a peer of an address and a device that nobody has seen.
func (l *load) stranger() *peer {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.strange++
	return l.r.peer(fmt.Sprintf("203.%d.%d.1", l.strange>>8, l.strange&255))
}

// counterKeys are in a space that accounts have none of.
func counterKeys(i int) [2][]byte {
	return [2][]byte{fmt.Appendf(nil, "Z/a/%d", i), fmt.Appendf(nil, "Z/b/%d", i)}
}

// counterValue is long now and then, so that the engine's tables become full.
func counterValue(n uint64) []byte {
	size := 512
	if n%8 == 0 {
		size = kv.MaxValue
	}
	return bytes.Repeat(binary.BigEndian.AppendUint64(nil, n), size/8)
}

// count writes the next number, in two keys at once.
func (l *load) count(i int) error {
	l.mu.Lock()
	l.counters[i].begun++
	n := l.counters[i].begun
	l.mu.Unlock()
	keys, value := counterKeys(i), counterValue(n)
	if _, err := l.r.spy.Commit(l.ctx, nil, []kv.Write{{Key: keys[0], Value: value}, {Key: keys[1], Value: value}}); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.counters[i].acked = n
	return nil
}

// A promise is what a load was promised, and what it has asked for.
type promise struct {
	names    []string
	acked    []int
	steps    [][]condition
	counters []counter
	bare     [][]byte // keys that were set to themselves
}

// acknowledged is what was promised up to now; asked completes it with what was begun up to then.
func (l *load) acknowledged() *promise {
	l.mu.Lock()
	defer l.mu.Unlock()
	m := &promise{counters: slices.Clone(l.counters)}
	for _, p := range l.people {
		m.names, m.acked = append(m.names, p.name), append(m.acked, p.acked)
	}
	return m
}

func (l *load) asked(m *promise) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, p := range l.people {
		m.steps = append(m.steps, slices.Clone(p.steps))
	}
	for i := range m.counters {
		m.counters[i].begun = l.counters[i].begun
	}
}

// broken opens what a disk has, and returns all that is not as it was promised: what is lost, or half applied, or does not work.
func (m *promise) broken(t testing.TB, fs vfs.FS) []string {
	rec := &recorder{TB: t}
	err := recovered(func() error {
		r := openRig(rec, "store", fs)
		defer rec.cleanup()
		r.spy.deaf = true
		m.holdCounters(r)
		events := r.auditsOf()
		for i, name := range m.names {
			got := r.conditionOf(name)
			got.audits = events[name]
			meant := m.steps[i][m.acked[i]:]
			if !slices.ContainsFunc(meant, func(c condition) bool { return got.isOf(&c) }) {
				rec.Errorf("%s: acknowledged %+v, asked for %+v, found %+v", name, meant[0], meant[1:], got)
			}
		}
		r.wantSound()
		r.wantWorking()
		return nil
	})
	if err != nil {
		rec.Errorf("%v", err)
	}
	return rec.faults
}

func (m *promise) holdCounters(r *rig) {
	var writes []kv.Write
	for i, c := range m.counters {
		var found [2]uint64
		for j, key := range counterKeys(i) {
			e, err := r.spy.Get(r.t.Context(), key)
			if err != nil {
				r.t.Fatal(err)
			}
			if e.Version == 0 {
				continue
			}
			found[j] = binary.BigEndian.Uint64(e.Value)
			if !bytes.Equal(e.Value, counterValue(found[j])) {
				r.t.Errorf("counter %d: a value that nobody wrote", i)
			}
			writes = append(writes, kv.Write{Key: key, Delete: true})
		}
		if found[0] != found[1] || found[0] < c.acked || found[0] > c.begun {
			r.t.Errorf("counter %d: at %d and %d, acknowledged %d, asked for %d", i, found[0], found[1], c.acked, c.begun)
		}
	}
	for _, key := range m.bare {
		if e, err := r.spy.Get(r.t.Context(), key); err != nil || !bytes.Equal(e.Value, key) {
			r.t.Errorf("%x: %x, %v", key, e.Value, err)
		}
	}
	if _, err := r.spy.Commit(r.t.Context(), nil, writes); err != nil {
		r.t.Fatal(err)
	}
	if _, err := r.removeSpace(r.t.Context(), 'Z'); err != nil {
		r.t.Fatal(err)
	}
}

// conditionOf reads all that there is of a name, but its audit records.
func (r *rig) conditionOf(name string) (c condition) {
	r.t.Helper()
	id, a, real, err := r.lookup(r.now(r.t.Context()), name)
	if err != nil {
		r.t.Fatal(err)
	}
	f, err := r.failures(r.t.Context(), bucket{throttleName, r.store.throttleKey(throttleName, name)})
	if err != nil {
		r.t.Fatal(err)
	}
	if c.row = f.row; !real {
		return c
	}
	c.there, c.disabled, c.generation = true, a.flags&flagDisabled != 0, a.generation
	for _, password := range []string{"right", "next"} {
		if a.verifier == verifierOf(keyOf(password)) {
			c.password = password
		}
	}
	list, _, err := r.sessionsOf(r.t.Context(), id, &a, ID{}, 1000)
	if err != nil {
		r.t.Fatal(err)
	}
	for _, s := range list {
		c.sessions = append(c.sessions, s.ID)
	}
	return c
}

// auditsOf counts what is recorded of each name.
func (r *rig) auditsOf() map[string]int {
	r.t.Helper()
	events, _, err := r.Events(r.t.Context(), EventQuery{}, ID{}, 1_000_000)
	if err != nil {
		r.t.Fatal(err)
	}
	n := make(map[string]int)
	for _, e := range events {
		n[e.Name] += int(e.Count)
	}
	return n
}

// wantSound looks for halves: names without accounts, what is of no account, and audit records that don't fit the chain.
func (r *rig) wantSound() {
	r.t.Helper()
	ctx := r.t.Context()
	if in, err := Inspect(ctx, r.spy.Engine, &r.config.Secrets); err != nil || in.Damaged != 0 || in.Names != in.Accounts {
		r.t.Errorf("inspected: %+v, %v", in, err)
	}
	if _, err := r.VerifyAudit(ctx); err != nil {
		r.t.Errorf("audit records: %v", err)
	}
	if _, err := r.Sweep(ctx, 1); err != nil {
		r.t.Errorf("sweep: %v", err)
	}
	ids := map[ID]bool{}
	for _, e := range r.scan(spaceAccount) {
		ids[ID(e.Key[1:])] = true
	}
	for _, space := range []byte{spaceSession, spaceDevice} {
		for _, e := range r.scan(space) {
			if !ids[ID(e.Key[1:17])] {
				r.t.Errorf("%c %x is of no account", space, e.Key[1:])
			}
		}
	}
}

// wantWorking leads an account through its life.
func (r *rig) wantWorking() {
	r.t.Helper()
	p := r.peer(six)
	l := p.account("afterwards")
	next, err := p.changePassword(l.Session, right(), keyOf("next"))
	if err == nil {
		err = p.delete(next.Session, keyOf("next"))
	}
	if err != nil {
		r.t.Errorf("afterwards: %v", err)
	}
}

// A recorder takes the place of a test where it is looked whether something fails. Its Fatal is for recovered.
type recorder struct {
	testing.TB
	mu       sync.Mutex
	faults   []string
	cleanups []func()
}

type fatal struct{ err error }

func (r *recorder) Helper()                  {}
func (r *recorder) Context() context.Context { return context.Background() }
func (r *recorder) Cleanup(f func())         { r.cleanups = append(r.cleanups, f) }
func (r *recorder) Error(args ...any)        { r.Errorf("%s", strings.TrimSpace(fmt.Sprintln(args...))) }

func (r *recorder) Errorf(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.faults = append(r.faults, fmt.Sprintf(format, args...))
}

func (r *recorder) Fatal(args ...any) {
	if err, ok := args[0].(error); ok && len(args) == 1 {
		panic(fatal{err})
	}
	panic(fatal{errors.New(strings.TrimSpace(fmt.Sprintln(args...)))})
}

func (r *recorder) Fatalf(format string, args ...any) { panic(fatal{fmt.Errorf(format, args...)}) }

func (r *recorder) cleanup() {
	for _, f := range slices.Backward(r.cleanups) {
		f()
	}
	r.cleanups = nil
}
