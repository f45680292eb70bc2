package account

import (
	"context"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/authsrv/authsrv/internal/soak"
	"github.com/authsrv/authsrv/kv"
	"github.com/authsrv/authsrv/kv/pebblekv"
)

var errBroken = errors.New("broken")

// TestStorageFails lets each call to the engine fail, one at a time, in everything that is finished by a proof.
// It is an error, no refusal; it lets nobody in; and it leaves no debit behind.
func TestStorageFails(t *testing.T) {
	steps := map[string]func(p *peer, l *Login) (*Login, error){
		"right": func(p *peer, _ *Login) (*Login, error) { return p.login("alice", right()) },
		"wrong": func(p *peer, _ *Login) (*Login, error) { return p.r.peer(one).login("alice", wrong()) },
		"known": func(p *peer, _ *Login) (*Login, error) { return p.login("alice", wrong()) },
		"unknown": func(p *peer, _ *Login) (*Login, error) {
			return p.login("nobody", wrong())
		},
		"change": func(p *peer, l *Login) (*Login, error) { return p.changePassword(l.Session, right(), right()) },
		"revoke": func(p *peer, l *Login) (*Login, error) { return nil, p.revokeAll(l.Session, right()) },
		"delete": func(p *peer, l *Login) (*Login, error) { return nil, p.delete(l.Session, right()) },
	}
	for name, step := range steps {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t)
			p := r.peer(one)
			if err := p.register("alice", right()); err != nil {
				t.Fatal(err)
			}
			for _, fault := range []error{errBroken, kv.ErrUnknownOutcome} {
				for at := 1; ; at++ {
					r.clearAddresses()
					if n := r.keys(); n[spaceAccount] == 0 { // deleted, with an unknown outcome
						if err := p.register("alice", right()); err != nil {
							t.Fatal(err)
						}
					}
					l := p.mustLogin("alice", right())
					calls, hit := 0, false
					fail := func() error {
						if calls++; calls == at {
							hit = true
							return fault
						}
						return nil
					}
					if fault == errBroken {
						r.spy.get = func([]byte) error { return fail() }
					}
					r.spy.commit = func([]kv.Write) error { return fail() }
					got, err := stepRecovering(p, l, step)
					r.spy.get, r.spy.commit = nil, nil
					r.wantNoFlights()
					if !hit {
						break
					}
					denied := errors.Is(err, ErrDenied)
					if fault == errBroken && !errors.Is(err, errBroken) && !denied || err == nil && name != "delete" || got != nil {
						t.Errorf("%s, %v at call %d: %+v, %v", name, fault, at, got, err)
					}
					// A refusal is only given where the failure was written: the check of the reads behind it may fail.
					written := len(r.scan(spaceThrottle)) == 2
					if name == "known" {
						devices, _ := r.devices(t.Context(), l.Session.Account)
						written = devices[0].row == 1
					}
					if denied && !written {
						t.Errorf("%s, %v at call %d: refused, with %d records of failures", name, fault, at, len(r.scan(spaceThrottle)))
					}
				}
			}
		})
	}
}

// stepRecovering turns the rig's fatal errors at the beginning of a step into its outcome.
func stepRecovering(p *peer, l *Login, step func(*peer, *Login) (*Login, error)) (got *Login, err error) {
	defer func() {
		if e := recover(); e != nil {
			err = fmt.Errorf("begin: %w", e.(error))
		}
	}()
	old := p.r.t
	p.r.t = quietTB{old}
	defer func() { p.r.t = old }()
	return step(p, l)
}

type quietTB struct{ testing.TB }

func (q quietTB) Fatal(args ...any) { panic(args[0]) }

// TestDiskFails: with a log that can't be synced, nobody is let in, and what was acknowledged before is there.
func TestDiskFails(t *testing.T) {
	var broken atomic.Bool
	mem := vfs.NewCrashableMem()
	disk := errorfs.Wrap(mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
		switch op.Kind {
		case errorfs.OpFileSync, errorfs.OpFileSyncData, errorfs.OpFileSyncTo:
			if broken.Load() {
				return syscall.EIO
			}
		}
		return nil
	}))
	r := openRig(t, "store", disk)
	p := r.peer(one)
	before := p.account("alice")
	a, tr := p.beginLogin(p.start("alice"))
	broken.Store(true)
	l, err := r.FinishLogin(t.Context(), a, right().Prove(tr.Sum()))
	if l != nil || !errors.Is(err, pebblekv.ErrFailed) || errors.Is(err, ErrDenied) {
		t.Errorf("%+v, %v", l, err)
	}
	if err := r.FinishRegister(t.Context(), nil, Verifier{}, [32]byte{}, [64]byte{}); err != ErrRecordRefused {
		t.Error(err)
	}
	if _, err := r.Resume(t.Context(), &p.ch, [32]byte{}, before.Token); !errors.Is(err, pebblekv.ErrFailed) {
		t.Errorf("resume: %v", err)
	}
	r.broken = pebblekv.ErrFailed
	after := openRig(t, "store", mem.CrashClone(vfs.CrashCloneCfg{}))
	q := after.peer(one)
	q.ch = p.ch
	if _, err := q.resume(before.Token); err != nil {
		t.Errorf("the session of before: %v", err)
	}
	if n := after.keys(); n[spaceSession] != 1 {
		t.Errorf("left: %v", n)
	}
}

// An ill disk refuses an operation that writes, the one of a number, or that and all behind it.
type ill struct {
	at      int64
	forever bool
	cause   error
	done    atomic.Int64
}

func (d *ill) MaybeError(op errorfs.Op) error {
	if op.Kind.ReadOrWrite() != errorfs.OpIsWrite {
		return nil
	}
	if n := d.done.Add(1); n == d.at || d.forever && n > d.at {
		return &fs.PathError{Op: "write", Path: op.Path, Err: d.cause}
	}
	return nil
}

func (d *ill) String() string {
	return fmt.Sprintf("operation %d, for ever: %v, %v", d.at, d.forever, d.cause)
}

const (
	mixedFor = 40 // operations of a disk before its fault that are of the mixed load: until then there are only small commits
	goOnFor  = 80 // operations behind a fault that nobody has minded
)

// suffer runs the mixed load on a disk that becomes ill, and returns whether the store has failed, and what was not as promised: an answer that is no failure of the
// store, something acknowledged that is lost, or a store that does not work when the disk is well again.
func suffer(t *testing.T, d *ill, seed uint64, wrap func(kv.Engine) kv.Engine) (failed bool, faults []string) {
	mem := vfs.NewCrashableMem()
	rec := &recorder{TB: t}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	fine := func(err error) bool {
		return errors.Is(err, pebblekv.ErrFailed) || errors.Is(err, d.cause) || errors.Is(err, kv.ErrClosed)
	}
	m := &promise{}
	r := rigOf(rec, "store", errorfs.Wrap(mem, d))
	r.wrap = wrap
	err := recovered(func() error {
		r.open()
		r.spy.deaf = true
		for n := uint64(0); d.done.Load() < d.at-mixedFor; n++ {
			key := binary.BigEndian.AppendUint64([]byte("Z/c/"), n)
			if _, err := r.spy.Commit(ctx, nil, []kv.Write{{Key: key, Value: key}}); err != nil {
				return err
			}
			m.bare = append(m.bare, key)
		}
		l := startLoad(ctx, r, "f", seed, func(err error) {
			if !fine(err) {
				rec.Errorf("told of a failure by %v", err)
			}
		})
		ended := make(chan struct{})
		go func() { l.wg.Wait(); close(ended) }()
		engine := r.engine
		for over := false; !over; {
			select {
			case <-ended:
				over = true
			case <-engine.Failed():
				over = true
			case <-time.After(time.Millisecond):
				over = d.done.Load() > d.at+goOnFor
			}
		}
		acked := l.acknowledged()
		cancel()
		<-ended
		bare := m.bare
		m = acked
		l.asked(m)
		m.bare = bare
		return r.spy.Close()
	})
	if err != nil && !fine(err) {
		rec.Errorf("it ended with %v", err)
	}
	failed = err != nil
	if d.forever && !failed {
		rec.Errorf("nothing has failed")
	}
	for _, percent := range []int{0, 100} { // of what was not synced, as after a loss of power, and as behind the end of a process
		clone := mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: rand.New(rand.NewPCG(seed, 1))})
		for _, text := range m.broken(t, clone) {
			rec.Errorf("with %d %% kept: %s", percent, text)
		}
	}
	return failed, rec.faults
}

// A store that has failed keeps its memory, some 4 MB: pebble may still wait for its disk. So each process has only so many faults.
const (
	faultBatch         = 100
	faultBatchVariable = "AUTHSRV_FAULT_BATCH" // the first fault of the process's own, counted from 0
)

// TestSoakFault lets a disk refuse each of its first operations in turn, once and from then on, with an I/O error and as a full one does.
func TestSoakFault(t *testing.T) {
	const first = 1000
	seed, points := soak.Seed(t), min(first, soak.Times(t, first, 32))
	from, to := 0, points
	if text := os.Getenv(faultBatchVariable); text != "" {
		var err error
		if from, err = strconv.Atoi(text); err != nil {
			t.Fatal(err)
		}
		to = min(from+faultBatch, points)
	} else if points > faultBatch {
		for from := 0; from < points; from += faultBatch {
			batch := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestSoakFault$", "-test.v", "-test.timeout="+flag.Lookup("test.timeout").Value.String())
			batch.Env = append(os.Environ(), fmt.Sprint(faultBatchVariable, "=", from), fmt.Sprint(soak.SeedVariable, "=", seed))
			out, err := batch.CombinedOutput()
			if t.Logf("faults from %d on: %s", from, out); err != nil {
				t.Error(err)
			}
		}
		return
	}
	causes := []error{syscall.EIO, syscall.ENOSPC}
	var failures, runs atomic.Int64
	var mu sync.Mutex
	var wg sync.WaitGroup
	free := make(chan struct{}, 4)
	for i := from; i < to; i++ {
		at := 1 + i*first/points
		for k := range 2 {
			if k != i%2 && !soak.Judged(t) {
				continue
			}
			d := &ill{at: int64(at), forever: k == 0, cause: causes[(i/2+k)%2]}
			free <- struct{}{}
			wg.Go(func() {
				defer func() { <-free }()
				failed, faults := suffer(t, d, seed+uint64(at), plain)
				mu.Lock()
				defer mu.Unlock()
				runs.Add(1)
				if failed {
					failures.Add(1)
				}
				for _, text := range faults {
					t.Errorf("%v: %s", d, text)
				}
			})
		}
	}
	wg.Wait()
	t.Logf("%d faults, of which %d ended the store, and the others nobody minded", runs.Load(), failures.Load())
}

// TestFaultMutant: TestSoakFault finds an engine that answers a commit with nil when its log has failed, as pebble does where Fatalf returns.
func TestFaultMutant(t *testing.T) {
	seed, found := soak.Seed(t), 0
	for at := int64(100); at < 116; at++ {
		d := &ill{at: at, forever: true, cause: syscall.EIO}
		if _, faults := suffer(t, d, seed, func(e kv.Engine) kv.Engine { return forgiving{e} }); len(faults) > 0 {
			found++
			t.Logf("%v: %s", d, faults[0])
		}
	}
	if found == 0 { // that it is found needs a step between the fault and when the load is told of it
		t.Error("not found")
	}
}

type forgiving struct{ kv.Engine }

func (f forgiving) Commit(ctx context.Context, reads []kv.Read, writes []kv.Write) (kv.Version, error) {
	v, err := f.Engine.Commit(ctx, reads, writes)
	if errors.Is(err, pebblekv.ErrFailed) {
		return v, nil
	}
	return v, err
}
