package account

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/authsrv/authsrv/internal/soak"
	"github.com/authsrv/authsrv/kv"
)

// This file holds the service against the simplest account server that there can be: one that does one thing at a time. What many
// clients have asked and been told must be explained by some order of what they asked in which nothing comes before what
// was answered before it began.

// An accountOp is what is asked of the account of a name.
type accountOp struct {
	kind     opKind
	name     int
	password int // the right one, or a guess
	next     int // of a change or reset
	session  int // the number of the session it is asked in, or about
}

type opKind string

const (
	opRegister opKind = "register"
	opLogin    opKind = "login"
	opCheck    opKind = "check"
	opResume   opKind = "resume"
	opChange   opKind = "change"
	opDelete   opKind = "delete"
	opRevoke   opKind = "log out all"
	opLogout   opKind = "log out"
	opDisable  opKind = "disable"
	opEnable   opKind = "enable"
)

// An accountAnswer is what was told.
type accountAnswer struct {
	verdict verdict
	session int  // the number of the new session
	bare    bool // it rests on what a crash may have taken back (STORAGE 1.3): that a session has ended
}

type verdict string

const (
	ok        verdict = "ok"
	denied    verdict = "denied"
	taken     verdict = "taken"
	revoked   verdict = "revoked"
	missing   verdict = "no such account"
	throttled verdict = "throttled" // which is about attempts, and nothing that the model has
	unknown   verdict = "unknown"   // it may have happened or not, or happen yet
)

// accountState is one account: whether there is one, its password, and which sessions are live.
type accountState struct {
	there    bool
	disabled bool
	password int
	live     [4]uint64 // a bit for each number
}

// maxNumbers is how many sessions of a name get a number in a history.
const maxNumbers = 4 * 64

func (s accountState) has(n int) bool { return s.there && s.live[n/64]&(1<<(n%64)) != 0 }

func (s accountState) with(n int) accountState {
	s.live[n/64] |= 1 << (n % 64)
	return s
}

func (s accountState) without(n int) accountState {
	s.live[n/64] &^= 1 << (n % 64)
	return s
}

// do is the account server: what it answers, and what becomes of the account. A new session has the number that the client gave to it.
func (s accountState) do(op accountOp, number int) (verdict, accountState) {
	ended := s
	ended.live = [4]uint64{}
	switch op.kind {
	case opRegister:
		if s.there {
			return taken, s
		}
		return ok, accountState{there: true, password: op.password}
	case opLogin:
		if !s.there || s.disabled || s.password != op.password {
			return denied, s
		}
		return ok, s.with(number)
	case opCheck, opResume:
		if !s.has(op.session) {
			return revoked, s
		}
		return ok, s
	case opLogout:
		return ok, s.without(op.session)
	case opDisable:
		if !s.there {
			return missing, s
		}
		if !s.disabled {
			s = ended
			s.disabled = true
		}
		return ok, s
	case opEnable:
		if !s.there {
			return missing, s
		}
		s.disabled = false
		return ok, s
	}
	switch { // operations, by a proof in a session
	case !s.has(op.session):
		return revoked, s
	case s.password != op.password:
		return denied, s
	case op.kind == opDelete:
		return ok, accountState{}
	case op.kind == opChange:
		ended.password = op.next
		return ok, ended.with(number)
	}
	return ok, ended
}

var accountModel = porcupine.NondeterministicModel{
	Partition: func(history []porcupine.Operation) (parts [][]porcupine.Operation) {
		by := map[int]int{}
		for _, op := range history {
			name := op.Input.(accountOp).name
			i, there := by[name]
			if !there {
				i = len(parts)
				by[name], parts = i, append(parts, nil)
			}
			parts[i] = append(parts[i], op)
		}
		return parts
	},
	Init: func() []any { return []any{accountState{}} },
	Step: func(state, input, output any) []any {
		s, op, answer := state.(accountState), input.(accountOp), output.(accountAnswer)
		if answer.verdict == throttled || answer.bare {
			return []any{s}
		}
		v, next := s.do(op, answer.session)
		switch {
		case answer.verdict == unknown && v != ok:
			return []any{s}
		case answer.verdict == unknown && op.kind == opChange: // nobody has been told of its session
			return []any{s, next.without(answer.session)}
		case answer.verdict == unknown:
			return []any{s, next}
		case v != answer.verdict:
			return nil
		}
		return []any{next}
	},
	DescribeOperation: func(input, output any) string {
		return fmt.Sprintf("%+v → %+v", input, output)
	},
	DescribeState: func(state any) string { return fmt.Sprintf("%+v", state) },
}

// A history is of some clients and some names, on one store that may crash once.
type history struct {
	t     testing.TB
	arena atomic.Pointer[arena]
	clock time.Time
	crash bool // there will be one

	mu       sync.Mutex
	names    []historyName
	ops      []porcupine.Operation
	crashed  []int // of those: what was under way in the crash
	restart  int64
	clients  int
	verdicts map[verdict]int
}

// historyName is what the clients know of a name together.
type historyName struct {
	password int // likely
	sessions []*numbered
}

type numbered struct {
	number int
	login  *Login
	peer   *peer
}

const (
	namesOf   = 6
	clientsOf = 6
	opsOf     = 240 // of a history
)

var passwords = []string{"right", "next", "another"}

func (h *history) now() int64 { return int64(time.Since(h.clock)) }

// pick is a random thing to ask, and the session in which it is asked.
func (h *history) pick(r *rand.Rand) (accountOp, *numbered) {
	h.mu.Lock()
	defer h.mu.Unlock()
	op := accountOp{name: r.IntN(namesOf)}
	n := &h.names[op.name]
	op.password = n.password
	if r.IntN(8) == 0 {
		op.password = r.IntN(len(passwords))
	}
	op.next = r.IntN(len(passwords))
	var s *numbered
	if len(n.sessions) > 0 {
		s = n.sessions[len(n.sessions)-1-r.IntN(min(4, len(n.sessions)))] // mostly one that may be alive
		op.session = s.number
	}
	switch i := r.IntN(100); {
	case i < 15:
		op.kind, op.password = opRegister, r.IntN(len(passwords))
	case i < 45 || s == nil:
		op.kind = opLogin
	case i < 60:
		op.kind = opChange
	case i < 75:
		op.kind = opDelete
	case i < 82:
		op.kind = opCheck
	case i < 88:
		op.kind = opResume
	case i < 93:
		op.kind = opRevoke
	case i < 96:
		op.kind = opLogout
	case i < 97:
		op.kind = opDisable
	default:
		op.kind = opEnable
	}
	return op, s
}

// do asks it of the service.
func (h *history) do(ctx context.Context, a *arena, p *peer, op accountOp, s *numbered) (l *Login, err error) {
	name := fmt.Sprintf("n%d", op.name)
	k := keyOf(passwords[op.password])
	p.r = a.rig
	switch op.kind {
	case opRegister:
		return at(p.toRegister(ctx, name, k))
	case opLogin:
		return at(p.toLogin(ctx, name, k))
	case opCheck:
		return nil, a.Check(ctx, s.login.Session)
	case opResume:
		_, err := a.Resume(ctx, &p.ch, [32]byte{1}, s.login.Token)
		return nil, err
	case opChange:
		return at(p.toOperate(ctx, s.login.Session, KindChangePassword, k, keyOf(passwords[op.next])))
	case opDelete:
		return at(p.toOperate(ctx, s.login.Session, KindDelete, k, nil))
	case opRevoke:
		return at(p.toOperate(ctx, s.login.Session, KindRevokeAll, k, nil))
	case opLogout:
		return nil, a.Logout(ctx, s.login.Session, &p.ch)
	case opDisable:
		return nil, a.SetDisabled(ctx, name, true)
	default:
		return nil, a.SetDisabled(ctx, name, false)
	}
}

// client asks n things, one after the other, and writes down what it was told.
func (h *history) client(ctx context.Context, r *rand.Rand, n int) {
	id := h.newClient()
	for range n {
		op, s := h.pick(r)
		began := h.now()
		a := h.arena.Load()
		p := a.stranger()
		if s != nil && op.kind != opLogin && op.kind != opRegister {
			p.ch.Static = s.peer.ch.Static
		}
		l, err := h.do(ctx, a, p, op, s)
		h.note(id, began, op, l, p, err, a)
		if errors.Is(err, ErrDenied) && r.IntN(2) == 0 { // or all would wait before long
			key := a.Service.store.throttleKey(throttleName, fmt.Sprintf("n%d", op.name))
			if _, err := a.store.Commit(ctx, nil, []kv.Write{{Key: key, Delete: true}}); err != nil {
				h.t.Error(err)
			}
		}
		if err != nil && (errors.Is(err, kv.ErrUnknownOutcome) || a.crashed.Load()) {
			id = h.newClient() // who does not know goes on as another
		}
	}
}

func (h *history) newClient() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.clients++
	return h.clients - 1
}

func (h *history) note(id int, began int64, op accountOp, l *Login, p *peer, err error, a *arena) {
	h.mu.Lock()
	defer h.mu.Unlock()
	n := &h.names[op.name]
	answer, ended := accountAnswer{verdict: ok}, h.now()
	var d *Denied
	lost := a.crashed.Load() // whatever it was, nobody was told
	switch {
	case lost:
		answer.verdict = unknown
	case errors.Is(err, kv.ErrUnknownOutcome):
		answer.verdict, ended = unknown, math.MaxInt64
	case errors.As(err, &d) && d.Reason == Throttled:
		answer.verdict = throttled
	case errors.Is(err, ErrDenied):
		answer.verdict = denied
	case errors.Is(err, ErrNameTaken):
		answer.verdict = taken
	case errors.Is(err, ErrSessionRevoked):
		answer.verdict = revoked
		answer.bare = h.crash && h.restart == 0
	case errors.Is(err, ErrNoAccount):
		answer.verdict = missing
	case err != nil:
		h.t.Errorf("%+v: %v", op, err)
		return
	}
	h.verdicts[answer.verdict]++
	switch op.kind {
	case opLogin, opCheck, opResume:
		if answer.verdict == unknown {
			return // nothing came of it that anybody could see
		}
	}
	if answer.verdict == ok {
		switch op.kind {
		case opRegister:
			n.password = op.password
		case opChange:
			n.password = op.next
		}
		if l != nil {
			answer.session = len(n.sessions)
			if answer.session == maxNumbers {
				h.t.Error("too many sessions")
				return
			}
			n.sessions = append(n.sessions, &numbered{answer.session, l, p})
		}
	}
	if lost {
		h.crashed = append(h.crashed, len(h.ops))
	}
	h.ops = append(h.ops, porcupine.Operation{ClientId: id, Input: op, Call: began, Output: answer, Return: ended})
}

// makeHistory makes a history.
func makeHistory(t testing.TB, m *mutant, crash bool, seed uint64) *history {
	h := &history{t: t, clock: time.Now(), crash: crash, names: make([]historyName, namesOf), verdicts: map[verdict]int{}}
	mem := vfs.NewCrashableMem()
	first := openArena(t, mem, m)
	first.jitter.unknown = 60
	h.arena.Store(first)
	var clients sync.WaitGroup
	var left atomic.Int32
	left.Store(clientsOf)
	for c := range clientsOf {
		r := rand.New(rand.NewPCG(seed, uint64(c)))
		clients.Go(func() {
			defer left.Add(-1)
			h.client(t.Context(), r, opsOf/clientsOf)
		})
	}
	if crash {
		at := rand.New(rand.NewPCG(seed, clientsOf)).IntN(opsOf * 3 / 4)
		for h.length() < at && left.Load() > 0 {
			pause()
		}
		first.crashed.Store(true)
		clone := mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: int(seed%3) * 50, RNG: rand.New(rand.NewPCG(seed, clientsOf+1))})
		second := openArena(t, clone, m)
		second.jitter.unknown = 60
		h.arena.Store(second)
		h.mu.Lock()
		h.restart = h.now()
		h.mu.Unlock()
		defer second.close()
	}
	clients.Wait()
	first.close()
	for _, i := range h.crashed { // what had not happened by the restart never will
		h.ops[i].Return = h.restart
	}
	return h
}

func (h *history) length() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.ops)
}

// judgeHistory says whether a history can be explained. If not, a picture of it is where the test's artifacts are (go test -artifacts), or in a
// temporary folder.
func judgeHistory(t *testing.T, h *history, picture bool) bool {
	t.Helper()
	model := accountModel.ToModel()
	result := porcupine.CheckOperationsTimeout(model, h.ops, time.Minute)
	if result == porcupine.Unknown {
		t.Errorf("a history of %d operations takes too long to judge", len(h.ops))
	}
	if result == porcupine.Illegal && picture {
		_, info := porcupine.CheckOperationsVerbose(model, h.ops, time.Minute)
		path := filepath.Join(t.ArtifactDir(), "history.html")
		if err := porcupine.VisualizePath(model, info, path); err != nil {
			t.Error(err)
		}
		t.Logf("the history is in %s (go test -artifacts keeps it)", path)
	}
	return result == porcupine.Ok
}

// TestSoakLinearizable: whatever many clients do at once, beside unknown outcomes and crashes, is as if it had been done one after the other.
func TestSoakLinearizable(t *testing.T) {
	for _, p := range passwords {
		keyOf(p) // stretched before the clock runs
	}
	began := time.Now()
	enough, n, changing, crashes, lost := soak.Times(t, 100_000, 2_000), 0, 0, 0, 0
	verdicts := map[verdict]int{}
	for seed := uint64(1); changing < enough; seed++ {
		h := makeHistory(t, nil, seed%2 == 0, seed)
		if t.Failed() {
			return
		}
		n += len(h.ops)
		for _, op := range h.ops {
			switch op.Input.(accountOp).kind {
			case opRegister, opLogin, opChange, opDelete:
				changing++
			}
		}
		lost += len(h.crashed)
		if h.crash {
			crashes++
		}
		for v, n := range h.verdicts {
			verdicts[v] += n
		}
		if !judgeHistory(t, h, true) {
			t.Fatalf("history %d of %d operations can't be explained", seed, len(h.ops))
		}
	}
	t.Logf("%d operations of %d clients at a time, %d of them register, login, change and delete, %d crashes with %d operations under way: %v, %v",
		n, clientsOf, changing, crashes, lost, verdicts, time.Since(began).Round(time.Millisecond))
	for _, v := range []verdict{ok, denied, taken, revoked, unknown} {
		if verdicts[v] < n/500 {
			t.Errorf("%d of %d were answered with %q: it is hardly tried", verdicts[v], n, v)
		}
	}
	if verdicts[throttled] > n/20 || lost == 0 {
		t.Errorf("%d of %d were throttled, %d were under way in a crash", verdicts[throttled], n, lost)
	}
}

// TestSoakLinearizableFindsMutants: with a protection off, some history can't be explained.
func TestSoakLinearizableFindsMutants(t *testing.T) {
	for _, m := range mutants {
		if m.resumes {
			continue // it takes a minute until a resumption writes: the races have that
		}
		began, n := time.Now(), 0
		found := false
		for seed := uint64(1); seed <= 200 && !found; seed++ {
			h := makeHistory(t, m, false, seed)
			n += len(h.ops)
			found = !judgeHistory(t, h, false)
		}
		if !found {
			t.Errorf("%s: not found in %d operations", m.what, n)
			continue
		}
		t.Logf("%s: found within %d operations, %v", m.what, n, time.Since(began).Round(time.Millisecond))
	}
}
