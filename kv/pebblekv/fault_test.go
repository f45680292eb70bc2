package pebblekv

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/authsrv/authsrv/kv"
)

// gate is a file system that can be made to wait in every sync.
type gate struct {
	vfs.FS
	waiting chan struct{} // receives once for each sync that waits

	mu      sync.Mutex
	blocked chan struct{} // closed by open; nil: open
}

func newGate(fs vfs.FS) *gate {
	g := &gate{waiting: make(chan struct{}, 100)}
	g.FS = errorfs.Wrap(fs, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if isSync(op) {
			g.mu.Lock()
			blocked := g.blocked
			g.mu.Unlock()
			if blocked != nil {
				g.waiting <- struct{}{}
				<-blocked
			}
		}
		return nil
	}))
	return g
}

func (g *gate) shut() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.blocked = make(chan struct{})
}

func (g *gate) open() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.blocked != nil {
		close(g.blocked)
	}
	g.blocked = nil
}

func isSync(op errorfs.Op) bool {
	switch op.Kind {
	case errorfs.OpFileSync, errorfs.OpFileSyncData, errorfs.OpFileSyncTo:
		return true
	}
	return false
}

func isLog(op errorfs.Op) bool { return strings.HasSuffix(op.Path, ".log") }

// within ends the test if fn hangs.
func within[T any](t *testing.T, what string, fn func() T) T {
	t.Helper()
	done := make(chan T, 1)
	go func() { done <- fn() }()
	select {
	case v := <-done:
		return v
	case <-time.After(30 * time.Second):
		t.Fatalf("%s hangs", what)
		panic("unreachable")
	}
}

// wantFailed looks whether everything that can be called answers, and says that the store has failed.
func wantFailed(t *testing.T, s *Store, cause error) {
	t.Helper()
	within(t, "Failed", func() struct{} { return <-s.Failed() })
	for name, call := range map[string]func() error{
		"Err":        s.Err,
		"Get":        func() error { _, err := s.Get(t.Context(), []byte("a")); return err },
		"Scan":       func() error { _, _, err := s.Scan(t.Context(), nil, nil, 1); return err },
		"Commit":     func() error { _, err := count(t.Context(), s, 0, 1); return err },
		"no writes":  func() error { _, err := s.Commit(t.Context(), nil, nil); return err },
		"Watch":      func() error { return watchError(t, s, kv.Version(s.assigned.Load())) },
		"Checkpoint": func() error { return s.Checkpoint("copy") },
	} {
		err := within(t, name, call)
		if !errors.Is(err, ErrFailed) || !errors.Is(err, cause) || errors.Is(err, kv.ErrUnknownOutcome) {
			t.Errorf("%s of a failed store: %v", name, err)
		}
	}
	for range 2 {
		if err := within(t, "Close", s.Close); !errors.Is(err, ErrFailed) {
			t.Errorf("Close of a failed store: %v", err)
		}
	}
	if _, err := s.Get(t.Context(), []byte("a")); !errors.Is(err, kv.ErrClosed) {
		t.Errorf("Get after Close: %v", err)
	}
}

// TestFault lets writing to the log fail under several writers: none is told that a commit succeeded
// which is not there afterwards, nobody hangs, and a new process finds what was acknowledged.
func TestFault(t *testing.T) {
	for name, fault := range map[string]struct {
		hits func(errorfs.Op) bool
		err  error
	}{
		"log sync":  {func(op errorfs.Op) bool { return isSync(op) && isLog(op) }, syscall.EIO},
		"log write": {func(op errorfs.Op) bool { return op.Kind == errorfs.OpFileWrite && isLog(op) }, syscall.EIO},
		"disk full": {func(op errorfs.Op) bool {
			return op.Kind == errorfs.OpFileWrite || op.Kind == errorfs.OpCreate || op.Kind == errorfs.OpReuseForWrite
		}, syscall.ENOSPC},
	} {
		t.Run(name, func(t *testing.T) {
			const writers = 4
			var broken atomic.Bool
			mem := vfs.NewCrashableMem()
			fs := errorfs.Wrap(mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
				if broken.Load() && fault.hits(op) {
					return fault.err
				}
				return nil
			}))
			s := mustOpen(t, "store", &Options{FS: fs})
			start := s.last
			feed := make(chan []kv.Event, 1)
			go func() {
				var events []kv.Event
				for e, err := range s.Watch(t.Context(), nil, start) {
					if err == nil {
						events = append(events, e)
					} else if !errors.Is(err, ErrFailed) {
						t.Errorf("feed: %v", err)
					}
				}
				feed <- events
			}()

			var acked, tried [writers]uint64
			var wg sync.WaitGroup
			for w := range writers {
				wg.Go(func() {
					for n := uint64(1); ; n++ {
						if n == 5 {
							broken.Store(true)
						}
						tried[w] = n
						if _, err := count(t.Context(), s, w, n); err != nil {
							if !errors.Is(err, ErrFailed) || !errors.Is(err, fault.err) {
								t.Errorf("writer %d: %v", w, err)
							}
							if !errors.Is(err, kv.ErrUnknownOutcome) {
								tried[w] = n - 1 // known not to have happened
							}
							return
						}
						acked[w] = n
					}
				})
			}
			within(t, "commit", func() struct{} { wg.Wait(); return struct{}{} })
			wantFailed(t, s, fault.err)
			events := within(t, "feed", func() []kv.Event { return <-feed })

			// The worst case, in which nothing but what was synced is left, and the best.
			for _, cfg := range []vfs.CrashCloneCfg{{}, {UnsyncedDataPercent: 100, RNG: rng(1)}} {
				checkAfterFault(t, mem.CrashClone(cfg), acked[:], tried[:], events)
			}
		})
	}
}

func checkAfterFault(t *testing.T, fs vfs.FS, acked, tried []uint64, events []kv.Event) {
	t.Helper()
	s := mustOpen(t, "store", &Options{FS: fs})
	for w := range acked {
		if n := counted(t, s, w); n < acked[w] || n > tried[w] {
			t.Errorf("writer %d: %d, acknowledged %d, tried %d", w, n, acked[w], tried[w])
		}
	}
	for _, e := range events {
		now, err := s.Get(t.Context(), e.Key)
		if err != nil || now.Version < e.Version {
			t.Errorf("%q: version %d, %v, but the feed had %d", e.Key, now.Version, err, e.Version)
		}
	}
	if _, err := count(t.Context(), s, 0, 1); err != nil {
		t.Errorf("commit after the fault is mended: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

// TestFaultInBackground lets a flush fail, which pebble would try again for ever.
func TestFaultInBackground(t *testing.T) {
	for name, suffix := range map[string]string{"table": ".sst", "manifest": "MANIFEST"} {
		t.Run(name, func(t *testing.T) {
			var broken atomic.Bool
			fs := errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
				if broken.Load() && strings.Contains(op.Path, suffix) && op.Kind.ReadOrWrite() == errorfs.OpIsWrite {
					return syscall.EIO
				}
				return nil
			}))
			s := mustOpen(t, "store", &Options{FS: fs})
			if _, err := count(t.Context(), s, 0, 1); err != nil {
				t.Fatal(err)
			}
			broken.Store(true)
			go s.db.AsyncFlush()
			wantFailed(t, s, syscall.EIO)
		})
	}
}

// TestFaultInRotation has a full disk refuse the next log when one is full, for which pebble would panic.
func TestFaultInRotation(t *testing.T) {
	var full atomic.Bool
	mem := vfs.NewCrashableMem()
	s := mustOpen(t, "store", &Options{FS: errorfs.Wrap(mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if full.Load() && isLog(op) && (op.Kind == errorfs.OpCreate || op.Kind == errorfs.OpReuseForWrite) {
			return syscall.ENOSPC
		}
		return nil
	}))})
	full.Store(true)
	value := make([]byte, kv.MaxValue)
	acked := 0
	for ; acked < 200; acked++ {
		if _, err := s.Commit(t.Context(), nil, []kv.Write{{Key: fmt.Appendf(nil, "key/%d", acked), Value: value}}); err != nil {
			break
		}
	}
	if acked == 200 {
		t.Fatal("no log was full: the test has gone blind")
	}
	wantFailed(t, s, syscall.ENOSPC)
	after := mustOpen(t, "store", &Options{FS: mem.CrashClone(vfs.CrashCloneCfg{})})
	for i := range acked {
		if e, err := after.Get(t.Context(), fmt.Appendf(nil, "key/%d", i)); err != nil || len(e.Value) != len(value) {
			t.Errorf("commit %d of %d: %d bytes, %v", i, acked, len(e.Value), err)
		}
	}
}

// TestFaultInOpen fails each step of opening in turn: it must say so, and not hang.
func TestFaultInOpen(t *testing.T) {
	whole := vfs.NewCrashableMem()
	s := mustOpen(t, "store", &Options{FS: whole})
	if _, err := count(t.Context(), s, 0, 1); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for step := int32(0); ; step++ {
		var left atomic.Int32
		left.Store(step)
		inject := errorfs.InjectorFunc(func(op errorfs.Op) error {
			if op.Kind == errorfs.OpGetDiskUsage || op.Kind == errorfs.OpFileClose {
				return nil // not errors that matter
			}
			if left.Add(-1) == -1 {
				return fmt.Errorf("%s: %w", op.Path, syscall.EIO)
			}
			return nil
		})
		mem := whole.CrashClone(vfs.CrashCloneCfg{})
		s, err := Open("store", &Options{FS: errorfs.Wrap(mem, inject)})
		if left.Load() >= 0 { // there were fewer steps
			if err != nil {
				t.Fatal(err)
			}
			s.Close()
			if step < 20 {
				t.Errorf("%d steps: the test has gone blind", step)
			}
			return
		}
		if err == nil { // an error that pebble does not mind, or that hit it later
			s.Close()
			continue
		}
		if errors.Is(err, ErrLocked) || errors.Is(err, ErrNewerFormat) {
			t.Errorf("step %d: %v", step, err)
		}
	}
}

// TestFaultAtTheEndOfOpen refuses what pebble writes last when it opens a store: its options, and a marker. Where it gives up at that, it panics
// if a compaction has begun meanwhile. So it must not come to know of it.
func TestFaultAtTheEndOfOpen(t *testing.T) {
	whole := vfs.NewCrashableMem()
	s := mustOpen(t, "store", &Options{FS: whole})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for name, fault := range map[string]struct {
		fs   vfs.FS
		hits func(errorfs.Op) bool
	}{
		"create": {whole, func(op errorfs.Op) bool { return op.Kind == errorfs.OpCreate && strings.HasSuffix(op.Path, ".dbtmp") }},
		"write": {whole, func(op errorfs.Op) bool {
			return op.Kind == errorfs.OpFileWrite && strings.HasSuffix(op.Path, ".dbtmp")
		}},
		"sync":   {whole, func(op errorfs.Op) bool { return isSync(op) && strings.HasSuffix(op.Path, ".dbtmp") }},
		"rename": {whole, func(op errorfs.Op) bool { return op.Kind == errorfs.OpRename }},
		"a marker": {vfs.NewCrashableMem(), func(op errorfs.Op) bool {
			return op.Kind == errorfs.OpCreate && strings.Contains(op.Path, "marker.format")
		}},
	} {
		t.Run(name, func(t *testing.T) {
			mem := fault.fs.(*vfs.MemFS).CrashClone(vfs.CrashCloneCfg{})
			_, err := Open("store", &Options{FS: errorfs.Wrap(mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
				if fault.hits(op) {
					return syscall.ENOSPC
				}
				return nil
			}))})
			if !errors.Is(err, ErrFailed) || !errors.Is(err, syscall.ENOSPC) {
				t.Errorf("%v", err)
			}
			mustOpen(t, "store", &Options{FS: mem.CrashClone(vfs.CrashCloneCfg{})})
		})
	}
}

// TestUnknownOutcome ends the context of a commit that waits for the disk, and holds all the while
// that nothing which depends on it is acknowledged or published.
func TestUnknownOutcome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate(vfs.NewMem())
		s := mustOpen(t, "store", &Options{FS: g})
		t.Cleanup(g.open) // before the store is closed
		g.shut()
		ctx, cancel := context.WithCancel(t.Context())
		writer, reader, feed := make(chan error, 1), make(chan error, 1), make(chan kv.Event, 2)
		go func() { _, err := count(ctx, s, 0, 1); writer <- err }()
		synctest.Wait()
		key := []byte("a/0")
		seen, err := s.Get(t.Context(), key)
		if err != nil || seen.Version == 0 {
			t.Fatalf("a commit that waits can be read: %+v, %v", seen, err)
		}
		go func() {
			_, err := s.Commit(t.Context(), []kv.Read{{Key: key, Version: seen.Version}}, nil)
			reader <- err
		}()
		go func() {
			for e, err := range s.Watch(t.Context(), key, 0) {
				if err == nil {
					feed <- e
				}
			}
		}()
		synctest.Wait()
		if len(writer)+len(reader)+len(feed) != 0 {
			t.Fatalf("acknowledged %d, confirmed %d, published %d before the sync", len(writer), len(reader), len(feed))
		}

		cancel()
		synctest.Wait()
		if err := <-writer; !errors.Is(err, kv.ErrUnknownOutcome) || !errors.Is(err, context.Canceled) {
			t.Errorf("cancelled while it waits for the disk: %v", err)
		}
		if len(reader)+len(feed) != 0 {
			t.Error("confirmed or published before the sync")
		}
		g.open() // the commit goes on without its caller
		if err := <-reader; err != nil {
			t.Error(err)
		}
		if e := <-feed; e.Version != seen.Version {
			t.Errorf("published %+v, read at %d", e, seen.Version)
		}
		if n := counted(t, s, 0); n != 1 {
			t.Errorf("%d, want 1", n)
		}
	})
}

// TestCancelledInQueue cancels commits that nobody has looked at yet: their outcome is known.
func TestCancelledInQueue(t *testing.T) {
	s, err := newStore("store", &Options{FS: vfs.NewMem()})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { _, err := count(ctx, s, 0, 1); done <- err }() // no commitLoop runs
	r := <-s.requests
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) || errors.Is(err, kv.ErrUnknownOutcome) {
		t.Errorf("cancelled in the queue: %v", err)
	}
	if r.state.Load() != abandoned {
		t.Error("commitLoop would still take it")
	}
}

// TestFatal has every goroutine that pebble might park be parked, and locks held for good.
func TestFatal(t *testing.T) {
	s := mustOpen(t, "store", &Options{FS: vfs.NewMem()})
	parked := make(chan error, 1)
	go func() {
		_, err := call(t.Context(), s, func() (int, error) {
			logger{s}.Fatalf("pebble: %v", fmt.Errorf("wrapped: %w", syscall.EDOM))
			t.Error("Fatalf returned")
			return 0, nil
		})
		parked <- err
	}()
	if err := within(t, "the caller that is parked", func() error { return <-parked }); !errors.Is(err, syscall.EDOM) {
		t.Error(err)
	}
	go logger{s}.Fatalf("a second one, which parks too")
	wantFailed(t, s, syscall.EDOM)
}
