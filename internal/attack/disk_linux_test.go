package attack_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	mathrand "math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/authsrv/authsrv/internal/soak"
	"github.com/authsrv/authsrv/wire"
)

// A full disk is played by the limit of a file's size: a write behind it is refused, or done in part, as on a disk that has no more room. It needs
// no privileges, is exact to a byte, can come and go while the process runs, and leaves everybody else their disk.
//
// limitFiles sets that of a process that runs, in bytes.
func limitFiles(pid int, bytes uint64) error {
	var old unix.Rlimit
	if err := unix.Prlimit(pid, unix.RLIMIT_FSIZE, nil, &old); err != nil {
		return err
	}
	return unix.Prlimit(pid, unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: min(bytes, old.Max), Max: old.Max}, nil)
}

// exitStorage is the exit code for a disk that is full, or refuses a write (OPERATIONS 8).
const exitStorage = 6

// oneLine says what is wrong with how a program has ended whose disk is full.
func (h *house) oneLine(state *os.ProcessState, said string) (faults []string) {
	fault := func(format string, args ...any) {
		faults = append(faults, fmt.Sprintf(format, args...)+": "+state.String()+": "+said[max(0, len(said)-2000):])
	}
	if state.ExitCode() != exitStorage {
		fault("exit code %d", state.ExitCode())
	}
	reasons := 0 // who is in the midst of a request may log that it failed behind the one line
	for line := range strings.Lines(said) {
		if strings.HasPrefix(line, "authsrv: storage failed: ") {
			reasons++
		} else if !strings.HasPrefix(line, "time=") {
			fault("it says %q", line)
		}
	}
	if reasons != 1 {
		fault("%d lines say why", reasons)
	}
	keys, err := os.ReadFile(filepath.Join(h.data(), "keys"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		fault("%v", err)
	}
	for _, word := range bytes.Fields(keys) {
		if len(word) >= 16 && strings.Contains(said, string(word)) {
			fault("it has said what is in the key file")
		}
	}
	return faults
}

// written is how far a server has written the log of its database, in bytes. The file may be longer: pebble has it made in advance.
func (h *house) written(v *tenant) (bytes int64) {
	h.t.Helper()
	descriptors := fmt.Sprintf("/proc/%d/fd", v.cmd.Process.Pid)
	files, _ := os.ReadDir(descriptors)
	for _, f := range files {
		name, _ := os.Readlink(filepath.Join(descriptors, f.Name()))
		if !strings.HasSuffix(name, ".log") || !strings.HasPrefix(name, h.database()) {
			continue
		}
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/fdinfo/%s", v.cmd.Process.Pid, f.Name()))
		if err != nil {
			h.t.Fatal(err)
		}
		var n int64
		if _, err := fmt.Sscanf(string(text), "pos: %d", &n); err != nil {
			h.t.Fatalf("%s: %v", text, err)
		}
		bytes = max(bytes, n)
	}
	return bytes
}

// workOn has people work on a server until it ends by itself, or until so many things were acknowledged, where it is killed.
func (h *house) workOn(c *crowd, v *tenant, acks int64, then func()) (faults []string) {
	h.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	c.address = v.address
	began := c.acks.Load()
	w := c.start(ctx, func(err error) bool {
		var a *answered
		return !errors.As(err, &a) || a.code == wire.CodeInternal || a.code == wire.CodeShuttingDown
	})
	late := time.After(patience)
	for over := false; !over; {
		select {
		case <-v.ended:
			over = true
		case <-late:
			h.t.Fatalf("the server stands still: %s", first(append(w.bad, v.err.String())))
		case <-time.After(time.Millisecond):
			if done := c.acks.Load() - began; then != nil && done >= acks {
				then()
				then = nil
			} else if then == nil && done >= acks+mostAcks {
				v.kill()
			}
		}
	}
	cancel()
	return w.wait()
}

// TestSoakFullDisk lets the real server's writes be refused at random places: of the log under a mixed load, and of all that a start writes. It ends
// with one line, nothing acknowledged is lost, and it starts when there is room again.
func TestSoakFullDisk(t *testing.T) {
	seed, points := soak.Seed(t), soak.Times(t, 40, 3)
	random := mathrand.New(mathrand.NewPCG(seed, 4))
	program := build(t)
	h, c := newHouse(t, program), newCrowd(seed)
	began, counts := time.Now(), map[string]int{}
	v := h.open()
	for point := range points {
		var faults []string
		what := ""
		limit := func(n int64) {
			if err := limitFiles(v.cmd.Process.Pid, uint64(n)); err != nil {
				t.Fatal(err)
			}
		}
		switch point % 4 {
		case 0:
			what = "behind the end of the log"
			faults = h.workOn(c, v, int64(random.IntN(mostAcks)), func() { limit(h.written(v) + int64(random.IntN(16<<10))) })
		case 1, 3:
			what = "in a start"
			v.kill()
			blocks := 1 << random.IntN(9) // of 512 bytes
			blocks = blocks/2 + random.IntN(blocks)
			if v = h.enter(blocks); h.serves(v) {
				what = "after a start"
				faults = h.workOn(c, v, 0, nil)
			}
		case 2:
			what = "before the end of the log"
			faults = h.workOn(c, v, int64(random.IntN(mostAcks)), func() { limit(random.Int64N(h.written(v) + 1)) })
		}
		<-v.ended
		if v.killed() {
			what = "room enough"
		} else {
			faults = append(faults, h.oneLine(v.cmd.ProcessState, v.err.String())...)
			for _, p := range c.people {
				for _, token := range p.tokens {
					if strings.Contains(v.err.String(), string(token)) {
						faults = append(faults, "it has said a token")
					}
				}
			}
		}
		counts[what]++
		if point%audited == 1 {
			_, more := h.audit(c)
			faults = append(faults, more...)
		}
		v = h.open()
		c.address = v.address
		if faults = append(faults, c.check()...); len(faults) > 0 {
			t.Fatalf("point %d, %s: %s", point, what, first(faults))
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
	t.Logf("%d points in %v, %v; %d effects acknowledged; %d conditions held, %d operations under way, of which %d had happened; %d live sessions resumed, "+
		"%d dead ones refused; %d audit records held", points, time.Since(began).Round(time.Second), counts, c.acks.Load(), c.effects, c.open, c.happened,
		c.resumed, c.refused, events)

	t.Run("first start", func(t *testing.T) { fullAtFirst(t, program, random) })
	t.Run("commands", func(t *testing.T) { fullForCommands(t, h, random) })
}

// fullAtFirst: there is no room for what a first start makes, the folder, the keys and the database.
func fullAtFirst(t *testing.T, program string, random *mathrand.Rand) {
	n, ended := soak.Times(t, 20, 3), 0
	for i := range n {
		h := newHouse(t, program)
		v := h.enter(i % 10)
		if !h.serves(v) {
			ended++
			for _, f := range h.oneLine(v.cmd.ProcessState, v.err.String()) {
				t.Error(f)
			}
		}
		v.kill()
		h.open().kill()
	}
	t.Logf("%d folders; with 0 to 9 blocks of 512 bytes for each file %d starts ended", n, ended)
}

// fullForCommands: there is no room for what a command writes, beside a server and without one; or the server has none for what a command asks for.
func fullForCommands(t *testing.T, h *house, random *mathrand.Rand) {
	h.t = t
	v := h.open()
	if err := newOwner("clerk").register("127.250.0.1", v.address); err != nil {
		t.Fatal(err)
	}
	target := filepath.Join(t.TempDir(), "backup")
	commands := [][]string{
		{"user", "disable", "--data", h.data(), "clerk"}, {"user", "enable", "--data", h.data(), "clerk"},
		{"backup", "--data", h.data(), target}, {"key", "rotate", "--data", h.data(), "--yes", "token"}, {"audit", "verify", "--data", h.data()},
	}
	ran, refused := 0, 0
	run := func(where string, blocks int, args []string) {
		var out, errs bytes.Buffer
		cmd := h.command(blocks, args...)
		cmd.Stdout, cmd.Stderr = &out, &errs
		err := cmd.Run()
		ran++
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			refused++
			for _, f := range h.oneLine(cmd.ProcessState, errs.String()) {
				t.Errorf("%s, %d blocks, %v: %s", where, blocks, args[:2], f)
			}
		} else if err != nil {
			t.Fatal(err)
		}
		left, _ := os.ReadDir(filepath.Dir(target))
		if err != nil && len(left) > 0 || err == nil && args[0] == "backup" && len(left) != 1 {
			t.Errorf("%s, %d blocks, %v: left %v", where, blocks, args[:2], left)
		}
		_ = os.Remove(target)
	}
	n := soak.Times(t, 8, 1)
	for i := range n {
		for _, args := range commands {
			run("beside a server", random.IntN(4<<i), args)
		}
	}
	for _, args := range commands[:4] {
		if err := limitFiles(v.cmd.Process.Pid, uint64(random.IntN(100))); err != nil {
			t.Fatal(err)
		}
		run("the server's disk is full", -1, args)
		select {
		case <-v.ended:
			for _, f := range h.oneLine(v.cmd.ProcessState, v.err.String()) {
				t.Error(f)
			}
		default:
			v.kill()
		}
		v = h.open()
	}
	v.kill()
	for i := range n {
		for _, args := range commands {
			run("no server", random.IntN(4<<i), args)
		}
	}
	v = h.open() // and the owners can still do everything
	if said := h.run(slices.Concat(commands[1])...); !strings.Contains(said, "clerk") {
		t.Error(said)
	}
	k, err := newOwner("clerk").login("127.250.0.1", v.address)
	if err != nil {
		t.Fatal(err)
	}
	k.raw.Close()
	h.run(commands[2]...)
	v.kill()
	t.Logf("%d commands, %d of which had no room", ran, refused)
	if refused == 0 {
		t.Error("none had no room")
	}
}
