package attack_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// patience is how long to wait for what has to come.
const patience = 30 * time.Second

// process is the real server, as a process of its own.
type process struct {
	t       testing.TB
	cmd     *exec.Cmd
	folder  string
	address string // of the protocol
	http    string
}

func TestMain(m *testing.M) { os.Exit(mainTest(m)) }

// programs is the folder of what build makes, once for all tests.
var programs string

func mainTest(m *testing.M) int {
	var err error
	if programs, err = os.MkdirTemp("", "authsrv-attack-test-"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(programs)
	return m.Run()
}

var buildOnce = sync.OnceValues(func() (program string, err error) {
	program = filepath.Join(programs, "authsrv")
	if output, err := exec.Command("go", "build", "-o", program, "../../cmd/authsrv").CombinedOutput(); err != nil {
		return "", fmt.Errorf("authsrv does not build: %w\n%s", err, bytes.TrimSpace(output))
	}
	return program, nil
})

// build returns the server's program.
func build(t testing.TB) string {
	t.Helper()
	dependOnSources(t)
	program, err := buildOnce()
	if err != nil {
		t.Fatal(err)
	}
	return program
}

// dependOnSources looks at every file that the program is made of, so that the go command does not give a remembered result after a
// change that only the go build above has seen.
func dependOnSources(t testing.TB) {
	err := filepath.WalkDir("../..", func(file string, d fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, fs.ErrNotExist): // somebody's temporary file
			return nil
		case err != nil:
			return err
		case d.IsDir() && strings.HasPrefix(d.Name(), ".") && file != "../..":
			return fs.SkipDir
		case filepath.Ext(file) == ".go" || d.Name() == "go.mod" || d.Name() == "go.sum":
			_, _ = os.Stat(file)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// run starts the server on a folder of its own, and ends it with the test.
func run(t testing.TB, program string, flags ...string) *process {
	t.Helper()
	p := &process{t: t, folder: t.TempDir()}
	log := filepath.Join(p.folder, "log")
	f, err := os.Create(log)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	addrFile := filepath.Join(p.folder, "addr")
	p.cmd = exec.Command(program, append([]string{
		"run", "--data", filepath.Join(p.folder, "data"), "--listen", "127.0.0.1:0", "--addr-file", addrFile, "--http", "127.0.0.1:0",
	}, flags...)...)
	p.cmd.Env = []string{"HOME=" + p.folder, "PATH=" + os.Getenv("PATH")}
	p.cmd.Stderr = f
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.stop)
	p.address = waitFor(t, addrFile, regexp.MustCompile(`(\S+)`))
	p.http = waitFor(t, log, regexp.MustCompile(`msg=watching address=(\S+)`))
	return p
}

// waitFor waits until a file matches, and returns what is in the parentheses.
func waitFor(t testing.TB, file string, what *regexp.Regexp) string {
	t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		text, _ := os.ReadFile(file)
		if m := what.FindSubmatch(text); m != nil {
			return string(m[1])
		}
		if time.Now().After(end) {
			t.Fatalf("%s has no %v: %s", filepath.Base(file), what, text)
		}
	}
}

// stop ends the server as an operator does. It has to go by itself, and without an error.
func (p *process) stop() {
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	late := time.AfterFunc(patience, func() { _ = p.cmd.Process.Kill() })
	defer late.Stop()
	if err := p.cmd.Wait(); err != nil {
		p.t.Errorf("the server ended with %v", err)
	}
}

// metrics are the sums of what the server counts, by the name alone and by the name with its labels.
func (p *process) metrics() (map[string]float64, error) {
	c := http.Client{Timeout: patience}
	answer, err := c.Get("http://" + p.http + "/metrics")
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil || answer.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("status %d, %w", answer.StatusCode, err)
	}
	all := make(map[string]float64)
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		series, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		n, err := strconv.ParseFloat(value, 64)
		if err != nil {
			return nil, fmt.Errorf("%q: %w", line, err)
		}
		all[series] = n
		if name, _, labels := strings.Cut(series, "{"); labels {
			all[name] += n
		}
	}
	return all, nil
}

// memory returns what is resident now, and the most that was, in bytes.
func (p *process) memory() (now, most int64) {
	p.t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		p.t.Fatal(err)
	}
	field := func(name string) int64 {
		m := regexp.MustCompile(name + `:\s+(\d+) kB`).FindSubmatch(text)
		if m == nil {
			p.t.Fatalf("no %s in %s", name, text)
		}
		n, err := strconv.ParseInt(string(m[1]), 10, 64)
		if err != nil {
			p.t.Fatal(err)
		}
		return n << 10
	}
	return field("VmRSS"), field("VmHWM")
}

// files returns how many file descriptors the server has open.
func (p *process) files() int {
	p.t.Helper()
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", p.cmd.Process.Pid))
	if err != nil {
		p.t.Fatal(err)
	}
	return len(entries)
}
