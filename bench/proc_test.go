package main

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// role makes a process of this test of the test's own program.
const role = "AUTHSRV_BENCH_TEST_ROLE"

func TestMain(m *testing.M) {
	switch os.Getenv(role) {
	case "parent":
		burn(200 * time.Millisecond)
		child("child").Wait() // is in its parent's time when it has ended
		lives := child("lives")
		bufio.NewReader(os.Stdin).ReadString('\n')
		lives.Process.Kill()
		lives.Wait()
		os.Exit(0)
	case "child":
		burn(200 * time.Millisecond)
		os.Exit(0)
	case "lives":
		burn(200 * time.Millisecond)
		fmt.Println(os.Getppid(), os.Getpid())
		bufio.NewReader(os.Stdin).ReadString('\n')
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func child(as string) *exec.Cmd {
	c := exec.Command(os.Args[0])
	c.Env = append(os.Environ(), role+"="+as)
	c.Stdout, c.Stderr = os.Stdout, os.Stderr
	if as == "lives" {
		c.StdinPipe()
	}
	if err := c.Start(); err != nil {
		panic(err)
	}
	return c
}

// burn uses CPU time.
func burn(d time.Duration) {
	for used := time.Duration(0); used < d; {
		var u syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
			panic(err)
		}
		used = time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
}

// A process that used 200 ms itself, as long in a child that has ended, and in one that lives: all of it is found, and nothing more.
func TestTreeIsCharged(t *testing.T) {
	c := exec.Command(os.Args[0])
	c.Env = append(os.Environ(), role+"=parent")
	c.Stderr = os.Stderr
	in, err := c.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	defer c.Wait()
	defer in.Close()
	line, err := firstLine(out) // from the grandchild, when all is used
	if err != nil {
		t.Fatal(err)
	}
	parent, grandchild, _ := strings.Cut(line, " ")
	cpu, processes, err := cpuOf(c.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	// The kernel cuts each of the four times of a process down to 10 ms; the starts of three programs come on top of what they burn.
	if processes != 2 || cpu < 520*time.Millisecond || cpu > 1200*time.Millisecond {
		t.Errorf("%d processes that used %v, not 2 and 600 ms", processes, cpu)
	}
	if parent != strconv.Itoa(c.Process.Pid) {
		t.Errorf("the grandchild's parent is %s, not %d", parent, c.Process.Pid)
	}
	pid, err := strconv.Atoi(grandchild)
	if err != nil {
		t.Fatal(err)
	}
	alone, processes, err := cpuOf(pid)
	if err != nil || processes != 1 || alone < 180*time.Millisecond || alone > cpu-320*time.Millisecond {
		t.Errorf("the grandchild alone: %d processes that used %v, %v", processes, alone, err)
	}
	both, err := memoryOf(c.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	one, err := memoryOf(pid)
	if err != nil || one <= 0 || both <= one {
		t.Errorf("%d bytes together, %d for one, %v", both, one, err)
	}
}

func TestNoProcess(t *testing.T) {
	c := exec.Command(os.Args[0])
	c.Env = append(os.Environ(), role+"=child")
	if err := c.Run(); err != nil {
		t.Fatal(err)
	}
	if _, _, err := cpuOf(c.Process.Pid); err == nil {
		t.Error("a process that has ended was found")
	}
	if _, err := memoryOf(c.Process.Pid); err == nil {
		t.Error("a process that has ended has memory")
	}
}

func TestParseStat(t *testing.T) {
	const tail = " S 7 1 1 0 -1 4194560 100 200 0 0 11 22 33 44 20 0 1 0 100 1 1"
	for text, want := range map[string]stat{
		"42 (postgres)" + tail:               {42, 7, 1100 * time.Millisecond},
		"42 (a) b (c) S 9 9 9 9 9 9)" + tail: {42, 7, 1100 * time.Millisecond},
	} {
		if got, err := parseStat(text); err != nil || got != want {
			t.Errorf("%q: %+v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "42", "42 (x) S 7", "x (y)" + tail, "42 (x)" + strings.Replace(tail, "22", "-", 1)} {
		if got, err := parseStat(text); err == nil {
			t.Errorf("%q is %+v", text, got)
		}
	}
}

func TestParsePSS(t *testing.T) {
	if n, err := parsePSS("00400000-7ffd rw-p 00000000 00:00 0 [rollup]\nRss:   900 kB\nPss:    123 kB\nPss_Dirty: 5 kB\n"); err != nil || n != 123*1024 {
		t.Errorf("%d, %v", n, err)
	}
	for _, text := range []string{"", "Rss: 5 kB\n", "Pss: x kB\n"} {
		if _, err := parsePSS(text); err == nil {
			t.Errorf("%q was taken", text)
		}
	}
}

// TestTimerSlack starts a process with the slack of the unit, and one behind it, which has its own again.
func TestTimerSlack(t *testing.T) {
	unit, err := os.ReadFile("../deploy/authsrv.service")
	if err != nil {
		t.Fatal(err)
	}
	if want := fmt.Sprintf("\nTimerSlackNSec=%v\n", unitSlack); !strings.Contains(string(unit), want) {
		t.Errorf("the unit has no line %q", want)
	}
	runtime.LockOSThread() // a process has it from the thread that starts it
	defer runtime.UnlockOSThread()
	slack := func(d time.Duration) (text string) {
		err := withTimerSlack(d, func() error {
			out, err := exec.Command("cat", "/proc/self/timerslack_ns").Output()
			text = strings.TrimSpace(string(out))
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	before := slack(0)
	if got := slack(unitSlack); got != "1000000" {
		t.Errorf("the process has a slack of %s ns, want 1000000", got)
	}
	if after := slack(0); after != before {
		t.Errorf("the next one has %s ns, want %s", after, before)
	}
}
