package attack_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/authsrv/authsrv/internal/soak"
)

// house is a data folder on the disk, in which the real server lives again and again.
type house struct {
	t        *testing.T
	program  string
	dir      string // holds the data folder, and what tells the address
	starts   int
	slowest  time.Duration // of all starts
	together time.Duration
}

func newHouse(t *testing.T, program string) *house {
	return &house{t: t, program: program, dir: t.TempDir()}
}

func (h *house) data() string     { return filepath.Join(h.dir, "data") }
func (h *house) database() string { return filepath.Join(h.data(), "db") }

// said is what a process has written so far.
type said struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *said) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(b)
}

func (s *said) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// tenant is a server in a house, until it ends.
type tenant struct {
	cmd     *exec.Cmd
	out     said // what it says on standard output
	err     said
	ended   chan struct{}
	address string
}

// command prepares the program. A file limit that is not negative is that of the files that it writes, in units of 512 bytes.
func (h *house) command(fileLimit int, args ...string) *exec.Cmd {
	cmd := exec.Command(h.program, args...)
	if fileLimit >= 0 {
		cmd = exec.Command("/bin/sh", append([]string{"-c", `ulimit -S -f "$0"; exec "$@"`, fmt.Sprint(fileLimit), h.program}, args...)...)
	}
	cmd.Env = []string{"HOME=" + h.dir, "PATH=" + os.Getenv("PATH")}
	return cmd
}

// enter starts a server, and does not wait until it serves.
func (h *house) enter(fileLimit int) *tenant {
	h.t.Helper()
	addrFile := filepath.Join(h.dir, "addr")
	_ = os.Remove(addrFile)
	v := &tenant{ended: make(chan struct{})}
	v.cmd = h.command(fileLimit, "run", "--data", h.data(), "--listen", "127.0.0.1:0", "--addr-file", addrFile, "--registration-limit", "0", "--operation-limit", "0")
	v.cmd.Stdout, v.cmd.Stderr = &v.out, &v.err
	if err := v.cmd.Start(); err != nil {
		h.t.Fatal(err)
	}
	go func() {
		_ = v.cmd.Wait()
		close(v.ended)
	}()
	h.t.Cleanup(v.kill)
	return v
}

// serves waits until a server serves, and returns false if it has ended before.
func (h *house) serves(v *tenant) bool {
	h.t.Helper()
	late := time.After(patience)
	for {
		if text, err := os.ReadFile(filepath.Join(h.dir, "addr")); err == nil && len(text) > 0 {
			v.address = strings.TrimSpace(string(text))
			return true
		}
		select {
		case <-v.ended:
			return false
		case <-late:
			h.t.Fatalf("it does not serve: %s", &v.err)
		case <-time.After(2 * time.Millisecond):
		}
	}
}

// open starts a server, which is to serve without any further step.
func (h *house) open() *tenant {
	h.t.Helper()
	began := time.Now()
	v := h.enter(-1)
	if !h.serves(v) {
		h.t.Fatalf("it does not start: %v: %s", v.cmd.ProcessState, &v.err)
	}
	took := time.Since(began)
	h.starts, h.slowest, h.together = h.starts+1, max(h.slowest, took), h.together+took
	return v
}

// kill is kill -9.
func (v *tenant) kill() {
	_ = v.cmd.Process.Kill()
	<-v.ended
}

// killed says whether it has ended by that, and not by itself.
func (v *tenant) killed() bool {
	status := v.cmd.ProcessState.Sys().(syscall.WaitStatus)
	return status.Signaled() && status.Signal() == syscall.SIGKILL
}

// run runs a command, which is to succeed, and returns its output.
func (h *house) run(args ...string) string {
	h.t.Helper()
	out, err := h.command(-1, args...).CombinedOutput()
	if err != nil {
		h.t.Errorf("authsrv %s: %v: %s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// audit verifies the audit records of a folder whose server has ended, and holds them against what people were told.
func (h *house) audit(c *crowd) (events int, faults []string) {
	h.t.Helper()
	if said := h.run("audit", "verify", "--data", h.data()); !strings.HasPrefix(said, "the audit chain holds") {
		faults = append(faults, said)
	}
	found := map[string]map[string]int{}
	for line := range strings.Lines(h.run("audit", "--json", "--data", h.data())) {
		var e struct{ Kind, Outcome, Name string }
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			return 0, append(faults, err.Error()+": "+line)
		}
		if e.Outcome == "success" {
			if found[e.Name] == nil {
				found[e.Name] = map[string]int{}
			}
			found[e.Name][e.Kind]++
		}
	}
	events, more := c.holdAudit(found)
	return events, append(faults, more...)
}

// workUntil has people work on a server until so many things were acknowledged, and a bit longer, and then kills it.
func (h *house) workUntil(c *crowd, v *tenant, acks int64, longer time.Duration) (faults []string) {
	h.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var killing atomic.Bool
	c.address = v.address
	until := c.acks.Load() + acks
	w := c.start(ctx, func(err error) bool {
		var a *answered
		return killing.Load() && !errors.As(err, &a)
	})
	late := time.After(patience)
	for c.acks.Load() < until {
		select {
		case <-v.ended:
			cancel()
			return append(w.wait(), "the server has ended by itself: "+v.err.String())
		case <-late:
			h.t.Fatalf("the load stands still: %s", first(append(w.bad, v.err.String())))
		case <-time.After(time.Millisecond):
		}
	}
	<-time.After(longer)
	killing.Store(true)
	v.kill()
	cancel()
	if faults = w.wait(); !v.killed() {
		faults = append(faults, fmt.Sprintf("the server had ended by itself: %v: %s", v.cmd.ProcessState, &v.err))
	}
	return faults
}

const (
	mostAcks = 150 // from one kill to the next
	audited  = 10  // cycles from one look at the audit records to the next
)

// TestSoakKill kills the real server with SIGKILL at random moments under a mixed load over the network, and now and then in the midst of
// its start, and holds what the next one shows against what people were told.
func TestSoakKill(t *testing.T) {
	seed, cycles := soak.Seed(t), soak.Times(t, 100, 3)
	random := mathrand.New(mathrand.NewPCG(seed, 3))
	program := build(t)
	h, c := newHouse(t, program), newCrowd(seed)
	began, starting, audits := time.Now(), 0, 0
	v := h.open()
	for cycle := range cycles {
		faults := h.workUntil(c, v, int64(1+random.IntN(mostAcks)), time.Duration(random.IntN(3000))*time.Microsecond)
		if cycle%audited == 1 || cycle == cycles-1 {
			_, more := h.audit(c)
			faults = append(faults, more...)
			audits++
		}
		for random.IntN(3) == 0 { // it is killed before it serves, or soon after
			starting++
			u := h.enter(-1)
			select {
			case <-u.ended:
				faults = append(faults, "it does not start: "+u.err.String())
			case <-time.After(time.Duration(random.IntN(150)) * time.Millisecond):
			}
			u.kill()
		}
		v = h.open()
		c.address = v.address
		if faults = append(faults, c.check()...); len(faults) > 0 {
			t.Fatalf("cycle %d: %s", cycle, first(faults))
		}
	}
	if faults := c.checkRetired(); len(faults) > 0 {
		t.Error(first(faults))
	}
	v.kill()
	events, faults := h.audit(c)
	for _, f := range faults {
		t.Error(f)
	}
	t.Logf("%d kills under load and %d in a start, in %v: %d effects acknowledged; %d conditions held, %d operations under way, of which %d had happened; "+
		"%d live sessions resumed, %d dead ones refused; %d audit records held, verified %d times; a start took %v, at most %v",
		cycles, starting, time.Since(began).Round(time.Second), c.acks.Load(), c.effects, c.open, c.happened, c.resumed, c.refused, events, audits+1,
		(h.together / time.Duration(h.starts)).Round(time.Millisecond), h.slowest.Round(time.Millisecond))
	if c.resumed == 0 || c.refused == 0 || events == 0 {
		t.Error("it has seen nothing")
	}

	t.Run("first start", func(t *testing.T) { killFirstStart(t, program, random) })
	t.Run("mutants", func(t *testing.T) { killMutants(t, program, seed) })
}

// killFirstStart kills the server while it makes its folder and its keys. The next one goes on from there, whatever there is.
func killFirstStart(t *testing.T, program string, random *mathrand.Rand) {
	n := soak.Times(t, 20, 3)
	keyless := 0
	for range n {
		h := newHouse(t, program)
		v := h.enter(-1)
		select {
		case <-v.ended:
		case <-time.After(time.Duration(random.IntN(300)) * time.Millisecond):
		}
		v.kill()
		if _, err := os.Stat(filepath.Join(h.data(), "keys")); err != nil {
			keyless++
		}
		h.open().kill()
	}
	t.Logf("%d folders, %d of which had no keys yet", n, keyless)
}

// killMutants: the check finds a disk that has lost the end of what was written, and one that is as it was before.
func killMutants(t *testing.T, program string, seed uint64) {
	mutants := map[string]func(h *house, before string){
		"the end of the log is lost": func(h *house, _ string) { h.truncateLog(8 << 10) },
	}
	if soak.Full(t) {
		mutants["all is as it was before"] = (*house).goBack
	}
	for name, harm := range mutants {
		h, c := newHouse(t, program), newCrowd(seed)
		if faults := h.workUntil(c, h.open(), mostAcks, 0); len(faults) > 0 {
			t.Fatalf("%s: %s", name, first(faults))
		}
		v := h.open()
		c.address = v.address
		if faults := c.check(); len(faults) > 0 {
			t.Fatalf("%s: before any harm: %s", name, first(faults))
		}
		v.kill()
		before := filepath.Join(t.TempDir(), "before")
		if err := os.CopyFS(before, os.DirFS(h.database())); err != nil {
			t.Fatal(err)
		}
		if faults := h.workUntil(c, h.open(), mostAcks, 0); len(faults) > 0 {
			t.Fatalf("%s: %s", name, first(faults))
		}
		harm(h, before)
		_, faults := h.audit(c)
		v = h.open()
		c.address = v.address
		lost := c.check()
		v.kill()
		if len(lost) == 0 || len(faults) == 0 {
			t.Errorf("%s: not found: %d faults in what there is, %d in the audit records", name, len(lost), len(faults))
			continue
		}
		t.Logf("%s: %d and %d faults, such as %s, and %s", name, len(lost), len(faults), lost[0], faults[0])
	}
}

// truncateLog cuts bytes off the log that the store writes to.
func (h *house) truncateLog(n int64) {
	h.t.Helper()
	logs, err := filepath.Glob(filepath.Join(h.database(), "*.log"))
	if err != nil || len(logs) == 0 {
		h.t.Fatalf("no log in %s: %v", h.database(), err)
	}
	slices.Sort(logs)
	last := logs[len(logs)-1]
	info, err := os.Stat(last)
	if err != nil {
		h.t.Fatal(err)
	}
	if err := os.Truncate(last, max(0, info.Size()-n)); err != nil {
		h.t.Fatal(err)
	}
}

// goBack puts an older database into the place of the one that there is.
func (h *house) goBack(before string) {
	h.t.Helper()
	if err := errors.Join(os.RemoveAll(h.database()), os.Rename(before, h.database())); err != nil {
		h.t.Fatal(err)
	}
}
