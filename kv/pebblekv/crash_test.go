package pebblekv

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/authsrv/authsrv/kv"
)

// Writers for crash tests. Writer w counts in two keys, a and b, always both in one commit, and keeps
// the number that was acknowledged last. After a crash the keys must agree, and not be below it.

func rng(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 0)) }

func pair(w int) (a, b []byte) { return fmt.Appendf(nil, "a/%d", w), fmt.Appendf(nil, "b/%d", w) }

func count(ctx context.Context, e kv.Engine, w int, n uint64) (kv.Version, error) {
	a, b := pair(w)
	value := binary.BigEndian.AppendUint64(nil, n)
	return e.Commit(ctx, nil, []kv.Write{{Key: a, Value: value}, {Key: b, Value: value}})
}

func counted(t *testing.T, e kv.Engine, w int) uint64 {
	t.Helper()
	var n [2]uint64
	a, b := pair(w)
	for i, key := range [][]byte{a, b} {
		e, err := e.Get(t.Context(), key)
		if err != nil {
			t.Fatal(err)
		}
		if e.Version != 0 {
			n[i] = binary.BigEndian.Uint64(e.Value)
		}
	}
	if n[0] != n[1] {
		t.Fatalf("writer %d: half a commit: %d and %d", w, n[0], n[1])
	}
	return n[0]
}

// TestCrash takes copies of what a crash leaves of a memory file system, while writers are busy.
func TestCrash(t *testing.T) {
	const writers, clones = 4, 5
	mem := vfs.NewCrashableMem()
	random := rng(1)
	var highest kv.Version // ever seen by anybody
	for round := range 2 {
		s := mustOpen(t, "deep/store", &Options{FS: mem})
		base := make([]uint64, writers)
		var acked [writers]atomic.Uint64
		for w := range writers {
			base[w] = counted(t, s, w)
			acked[w].Store(base[w])
		}
		ctx, cancel := context.WithCancel(t.Context())
		progress := make(chan struct{}, 64) // so that they go on while a copy is taken
		var wg sync.WaitGroup
		for w := range writers {
			wg.Go(func() {
				for n := base[w] + 1; ctx.Err() == nil; n++ {
					if _, err := count(ctx, s, w, n); err != nil {
						if !errors.Is(err, context.Canceled) {
							t.Errorf("writer %d: %v", w, err)
							cancel()
						}
						return
					}
					acked[w].Store(n)
					select {
					case progress <- struct{}{}:
					case <-ctx.Done():
					}
				}
			})
		}
		var next *vfs.MemFS
		for clone := range clones {
			for range 5 * writers { // let them get on
				select {
				case <-progress:
				case <-ctx.Done():
					t.FailNow()
				}
			}
			e, err := s.Get(ctx, []byte("a/0"))
			if err != nil {
				t.Fatal(err)
			}
			highest = max(highest, e.Version)
			var least [writers]uint64
			for w := range writers {
				least[w] = acked[w].Load()
			}
			cfg := vfs.CrashCloneCfg{UnsyncedDataPercent: 50 * (clone % 3), RNG: random}
			next = mem.CrashClone(cfg)
			seen := kv.Version(s.assigned.Load()) // at least what any commit in the clone has
			checkCrashed(t, next.CrashClone(vfs.CrashCloneCfg{}), least[:], max(highest, seen))
			highest = max(highest, seen)
		}
		cancel()
		wg.Wait()
		if err := s.Close(); err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		highest = max(highest, kv.Version(s.assigned.Load()))
		mem = next // the next round goes on from a crashed one
	}
}

func checkCrashed(t *testing.T, fs vfs.FS, least []uint64, highest kv.Version) {
	t.Helper()
	s, err := Open("deep/store", &Options{FS: fs})
	if err != nil {
		t.Fatalf("after a crash: %v", err)
	}
	for w, n := range least {
		if got := counted(t, s, w); got < n {
			t.Errorf("writer %d: %d, though %d was acknowledged", w, got, n)
		}
	}
	v, err := count(t.Context(), s, 0, 1<<40)
	if err != nil || v <= highest {
		t.Errorf("version %d, %v, though %d was given before", v, err, highest)
	}
	if err := s.Close(); err != nil {
		t.Errorf("close after a crash: %v", err)
	}
}

// TestCrashBeforeSync crashes, again and again, while a commit is visible, but not durable: it is
// lost, and its version is not used again, nor accepted by a feed.
func TestCrashBeforeSync(t *testing.T) {
	mem := vfs.NewCrashableMem()
	var durable, lost kv.Version
	for round := range 3 {
		gate := newGate(mem)
		s := mustOpen(t, "store", &Options{FS: gate})
		t.Cleanup(gate.open) // before the store is closed
		if round == 0 {
			var err error
			if durable, err = count(t.Context(), s, 0, 1); err != nil {
				t.Fatal(err)
			}
		} else if err := watchError(t, s, lost); !errors.Is(err, kv.ErrCompacted) {
			t.Fatalf("feed after a version that was lost: %v", err)
		}
		if n := counted(t, s, 0); n != 1 {
			t.Fatalf("%d, want what was durable", n)
		}
		gate.shut()
		done := make(chan error, 1)
		go func() { _, err := count(t.Context(), s, 0, 2); done <- err }()
		<-gate.waiting
		v := waitFor(t, s, []byte("a/0"), durable)
		if v <= lost {
			t.Fatalf("version %d, though %d was seen", v, lost)
		}
		lost = v
		mem = mem.CrashClone(vfs.CrashCloneCfg{})
		gate.open()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// waitFor reads until a key has a version above the one given.
func waitFor(t *testing.T, s *Store, key []byte, above kv.Version) kv.Version {
	t.Helper()
	for {
		e, err := s.Get(t.Context(), key)
		if err != nil {
			t.Fatal(err)
		}
		if e.Version > above {
			return e.Version
		}
	}
}

// watchError returns the error of a feed that ends at once, or the lack of one.
func watchError(t *testing.T, s *Store, after kv.Version) error {
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	for _, err := range s.Watch(ctx, nil, after) {
		return err
	}
	return nil
}

// TestCrashInCreation crashes before every single step that the creation of a store takes on disk.
func TestCrashInCreation(t *testing.T) {
	mem := vfs.NewCrashableMem()
	var clones []*vfs.MemFS
	var mu sync.Mutex
	watch := errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind.ReadOrWrite() == errorfs.OpIsWrite {
			mu.Lock()
			defer mu.Unlock()
			percent := 100 * (len(clones) % 2)
			clones = append(clones, mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: rng(3)}))
		}
		return nil
	})
	s := mustOpen(t, "deep/store", &Options{FS: errorfs.Wrap(mem, watch)})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if len(clones) < 10 {
		t.Fatalf("%d steps: the test has gone blind", len(clones))
	}
	for i, fs := range clones {
		s, err := Open("deep/store", &Options{FS: fs})
		if err != nil {
			t.Errorf("crash before step %d: %v", i, err)
			continue
		}
		if _, err := count(t.Context(), s, 0, 1); err != nil {
			t.Errorf("crash before step %d: %v", i, err)
		}
		s.Close()
	}
}

const childDir = "PEBBLEKV_TEST_CHILD_DIR"

// TestMain is the child of TestKill when it finds its variable.
func TestMain(m *testing.M) {
	if dir := os.Getenv(childDir); dir != "" {
		fmt.Fprintln(os.Stderr, child(dir))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// child commits for ever, from two writers, and prints each acknowledgement.
func child(dir string) error {
	s, err := Open(dir, nil)
	if err != nil {
		return err
	}
	errs := make(chan error, 2)
	for w := range 2 {
		go func() {
			for n := uint64(1); ; n++ {
				v, err := count(context.Background(), s, w, n)
				if err != nil {
					errs <- err
					return
				}
				fmt.Printf("ack %d %d %d\n", w, n, v)
			}
		}()
	}
	return <-errs
}

// startChild runs child until it has committed, and returns what kills it.
func startChild(t *testing.T, dir string) (kill func()) {
	t.Helper()
	cmd, lines := childCommand(t, dir)
	if _, err := lines.ReadString('\n'); err != nil {
		t.Fatalf("child: %v", err)
	}
	return func() {
		cmd.Process.Kill()
		io.Copy(io.Discard, lines)
		cmd.Wait()
	}
}

func childCommand(t *testing.T, dir string) (*exec.Cmd, *bufio.Reader) {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), childDir+"="+dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill() })
	return cmd, bufio.NewReader(out)
}

// TestKill kills a process that commits, and looks whether it kept what it acknowledged.
func TestKill(t *testing.T) {
	for range 3 {
		dir := t.TempDir()
		cmd, lines := childCommand(t, dir)
		least := make([]uint64, 2)
		var highest kv.Version
		killAt := 20 + rand.IntN(60)
		acks := 0
		for { // past the kill, to the end of what it had written
			text, err := lines.ReadString('\n')
			if err == io.EOF {
				break // what it was just printing is not an acknowledgement
			}
			var w int
			var n uint64
			var v kv.Version
			if _, err := fmt.Sscanf(strings.TrimSpace(text), "ack %d %d %d", &w, &n, &v); err != nil {
				t.Fatalf("child: %q: %v", text, err)
			}
			least[w], highest = n, max(highest, v)
			if acks++; acks == killAt {
				cmd.Process.Kill()
			}
		}
		cmd.Wait()
		if acks < killAt {
			t.Fatal("the child ended by itself")
		}
		s := mustOpen(t, dir, nil)
		for w, n := range least {
			if got := counted(t, s, w); got < n || got > n+1 {
				t.Errorf("writer %d: %d, acknowledged %d", w, got, n)
			}
		}
		if v, err := count(t.Context(), s, 0, 0); err != nil || v <= highest {
			t.Errorf("version %d, %v, though %d was given before", v, err, highest)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
}
