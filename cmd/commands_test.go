package cmd_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"filippo.io/age"
	"github.com/rogpeppe/go-internal/testscript"
)

// commands are what script_test.go documents.
var commands = map[string]func(ts *testscript.TestScript, neg bool, args []string){
	"exits":       exits,
	"start":       start,
	"stopped":     signalled(syscall.SIGTERM),
	"interrupted": signalled(syscall.SIGINT),
	"kill9":       kill9,
	"ended":       ended,
	"waitfile":    waitfile,
	"waitmatch":   waitmatch,
	"readenv":     readenv,
	"dialog":      dialog,
	"mode":        mode,
	"snapshot":    snapshot,
	"unchanged":   unchanged,
	"nosecrets":   nosecrets,
	"fastseal":    fastseal,
	"truncate":    truncate,
	"flip":        flip,
	"occupy":      occupy,
	"hold":        hold,
	"released":    released,
	"auditchain":  auditChain,
	"audittamper": auditTamper,
	"hangup":      hangup,
	"readmatch":   readmatch,
	"get":         get,
	"manager":     manager,
	"records":     records,
	"waitwrapped": waitWrapped,
}

// state is what one script has started and remembers.
type state struct {
	processes map[string]*process
	snapshots map[string]string
	ports     []io.Closer // that are held until it ends
	held      map[string]*held
	relays    map[string]*relay // by their addresses
}

type stateKey struct{}

func stateOf(ts *testscript.TestScript) *state { return ts.Value(stateKey{}).(*state) }

func (s *state) end() {
	for _, h := range s.held {
		h.close()
	}
	for _, p := range s.processes {
		_ = p.cmd.Process.Kill()
		<-p.done
	}
	for _, p := range s.ports {
		p.Close()
	}
}

// listening finds where a server has listened.
var listening = regexp.MustCompile(`(?m) msg=listening address=(\S+) `)

// keep reserves the port that a server had, where it can: the server may come back to it, and another script's could get it meanwhile.
func (s *state) keep(p *process) {
	if match := listening.FindStringSubmatch(p.output()); match != nil {
		if port, err := reserve(match[1]); err == nil {
			s.ports = append(s.ports, port)
		}
	}
}

type process struct {
	cmd  *exec.Cmd
	done chan struct{} // closed when it has ended
	err  error         // of Wait; set before done is closed
	log  string        // what it writes to standard error
}

// need ends the script unless the command is called as documented.
func need(ts *testscript.TestScript, ok bool, neg bool, usage string) {
	if neg {
		ts.Fatalf("not with !: %s", usage)
	}
	if !ok {
		ts.Fatalf("usage: %s", usage)
	}
}

func exits(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, len(args) >= 2, neg, "exits CODE PROGRAM [ARG...]")
	holdCode(ts, args[0], ts.Exec(args[1], args[2:]...))
}

// holdCode ends the script unless err is the end of a process with this code, or with one of several with a | between them.
func holdCode(ts *testscript.TestScript, code string, err error) {
	have := 0
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		have = exit.ExitCode()
	} else if err != nil {
		ts.Fatalf("%v", err)
	}
	if !slices.Contains(strings.Split(code, "|"), strconv.Itoa(have)) {
		ts.Fatalf("exit code %d (%v), not %s", have, err, code)
	}
}

// command prepares a program as exec would run it.
func command(ts *testscript.TestScript, args []string) *exec.Cmd {
	program := args[0]
	if filepath.Base(program) == program {
		if built, err := exec.LookPath(filepath.Join(binaries, program)); err == nil {
			program = built
		}
	}
	cmd := exec.Command(program, args[1:]...)
	cmd.Dir = ts.MkAbs(".")
	cmd.Env = []string{}
	for _, name := range passed {
		if value := ts.Getenv(name); value != "" {
			cmd.Env = append(cmd.Env, name+"="+value)
		}
	}
	return cmd
}

func start(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, len(args) >= 2, neg, "start NAME PROGRAM [ARG...]")
	s, name := stateOf(ts), args[0]
	if s.processes[name] != nil {
		ts.Fatalf("%s is running already", name)
	}
	p := &process{cmd: command(ts, args[1:]), done: make(chan struct{}), log: ts.MkAbs(name + ".err")}
	stdout, err := os.Create(ts.MkAbs(name + ".out"))
	ts.Check(err)
	defer stdout.Close()
	stderr, err := os.Create(p.log)
	ts.Check(err)
	defer stderr.Close()
	p.cmd.Stdout, p.cmd.Stderr = stdout, stderr
	ts.Check(p.cmd.Start())
	s.processes[name] = p
	go func() {
		p.err = p.cmd.Wait()
		close(p.done)
	}()
}

// take waits for the end of a process, and forgets it.
func take(ts *testscript.TestScript, name string) *process {
	p := find(ts, name)
	select {
	case <-p.done:
	case <-time.After(patience):
		ts.Fatalf("%s does not end\n%s", name, p.output())
	}
	stateOf(ts).keep(p)
	delete(stateOf(ts).processes, name)
	ts.Logf("[%s]\n%s", filepath.Base(p.log), p.output())
	return p
}

func find(ts *testscript.TestScript, name string) *process {
	p := stateOf(ts).processes[name]
	if p == nil {
		ts.Fatalf("%s was not started", name)
	}
	return p
}

func (p *process) output() string {
	text, _ := os.ReadFile(p.log)
	return string(text)
}

func signalled(sig os.Signal) func(ts *testscript.TestScript, neg bool, args []string) {
	return func(ts *testscript.TestScript, neg bool, args []string) {
		need(ts, len(args) == 1, neg, "stopped|interrupted NAME")
		p := find(ts, args[0])
		if err := p.cmd.Process.Signal(sig); err != nil {
			ts.Fatalf("%v\n%s", err, p.output())
		}
		if p := take(ts, args[0]); p.err != nil {
			ts.Fatalf("%s ended with %v", args[0], p.err)
		}
	}
}

func kill9(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, len(args) == 1, neg, "kill9 NAME")
	ts.Check(find(ts, args[0]).cmd.Process.Kill())
	take(ts, args[0])
}

func ended(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, len(args) == 2, neg, "ended NAME CODE")
	holdCode(ts, args[1], take(ts, args[0]).err)
}

// wait polls until ok. A process of the script that ends meanwhile is told of, since it is what the wait is for.
func wait(ts *testscript.TestScript, what string, ok func() bool) {
	for end := time.Now().Add(patience); !ok(); time.Sleep(poll) {
		for name, p := range stateOf(ts).processes {
			select {
			case <-p.done:
				if !ok() {
					ts.Fatalf("waiting for %s: %s has ended (%v)\n%s", what, name, p.err, p.output())
				}
			default:
			}
		}
		if time.Now().After(end) {
			ts.Fatalf("waited for %s in vain", what)
		}
	}
}

func waitfile(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, len(args) == 1, neg, "waitfile FILE")
	wait(ts, args[0], func() bool {
		info, err := os.Stat(ts.MkAbs(args[0]))
		return err == nil && info.Size() > 0
	})
}

func waitmatch(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, len(args) == 2, neg, "waitmatch PATTERN FILE")
	pattern, err := regexp.Compile("(?m)" + args[0])
	ts.Check(err)
	wait(ts, args[0], func() bool {
		text, err := os.ReadFile(ts.MkAbs(args[1]))
		return err == nil && pattern.Match(text)
	})
}

func readenv(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, len(args) == 2, neg, "readenv VAR FILE")
	ts.Setenv(args[0], strings.TrimRight(ts.ReadFile(args[1]), "\r\n"))
}

func mode(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, len(args) >= 2, neg, "mode PERM FILE...")
	want, err := strconv.ParseUint(args[0], 8, 32)
	ts.Check(err)
	for _, file := range args[1:] {
		info, err := os.Lstat(ts.MkAbs(file))
		ts.Check(err)
		if have := info.Mode().Perm(); have != fs.FileMode(want) {
			ts.Fatalf("%s is %#o, not %#o", file, have, want)
		}
	}
}

// describe is one line for each file of a folder.
func describe(ts *testscript.TestScript, dir string) string {
	var lines strings.Builder
	err := filepath.WalkDir(ts.MkAbs(dir), func(file string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			fmt.Fprintf(&lines, "%s: absent\n", file)
			return nil
		}
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		sum := ""
		if info.Mode().IsRegular() {
			text, err := os.ReadFile(file)
			if err != nil {
				return err
			}
			sum = fmt.Sprintf("%x", sha256.Sum256(text))
		}
		fmt.Fprintln(&lines, file, info.Mode(), sum)
		return nil
	})
	ts.Check(err)
	return lines.String()
}

func snapshot(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, len(args) == 1, neg, "snapshot DIR")
	stateOf(ts).snapshots[args[0]] = describe(ts, args[0])
}

func unchanged(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, len(args) == 1, neg, "unchanged DIR")
	before, taken := stateOf(ts).snapshots[args[0]]
	if !taken {
		ts.Fatalf("no snapshot of %s", args[0])
	}
	if after := describe(ts, args[0]); after != before {
		ts.Fatalf("%s has changed: it was\n%sand is\n%s", args[0], before, after)
	}
}

func nosecrets(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, len(args) >= 2, neg, "nosecrets KEYS FILE...")
	var keys any
	ts.Check(json.Unmarshal([]byte(ts.ReadFile(args[0])), &keys))
	secrets := secretsOf("", keys)
	if len(secrets) < 6 {
		ts.Fatalf("%s has only %d secrets", args[0], len(secrets))
	}
	for _, file := range args[1:] {
		text := ts.ReadFile(file)
		if text == "" {
			ts.Fatalf("%s is empty", file)
		}
		for _, secret := range secrets {
			for _, form := range []string{
				string(secret), hex.EncodeToString(secret), strings.ToUpper(hex.EncodeToString(secret)),
				base64.RawStdEncoding.EncodeToString(secret), base64.RawURLEncoding.EncodeToString(secret),
				strings.Trim(fmt.Sprint(secret), "[]"),
			} {
				if strings.Contains(text, form) {
					ts.Fatalf("%s holds a key of %s", file, args[0])
				}
			}
		}
	}
}

// secretsOf collects every value of 32 bytes of hex in a key file that is not public.
func secretsOf(field string, value any) (secrets [][]byte) {
	switch value := value.(type) {
	case map[string]any:
		if _, rotation := value["kind"]; rotation { // whose key is an id, or a public key
			return nil
		}
		for field, v := range value {
			secrets = append(secrets, secretsOf(field, v)...)
		}
	case []any:
		for _, v := range value {
			secrets = append(secrets, secretsOf(field, v)...)
		}
	case string:
		if b, err := hex.DecodeString(value); err == nil && len(b) == 32 && !strings.HasSuffix(field, "_hash") && field != "public_key" {
			secrets = append(secrets, b)
		}
	}
	return secrets
}

func fastseal(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, len(args) == 2, neg, "fastseal KEYS FILE")
	recipient, err := age.NewScryptRecipient(strings.TrimRight(ts.ReadFile(args[1]), "\r\n"))
	ts.Check(err)
	recipient.SetWorkFactor(1)
	var sealed bytes.Buffer
	w, err := age.Encrypt(&sealed, recipient)
	ts.Check(err)
	_, err = io.WriteString(w, ts.ReadFile(args[0]))
	ts.Check(err)
	ts.Check(w.Close())
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), sealed.Bytes(), 0o600))
}

func truncate(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, len(args) == 2, neg, "truncate FILE SIZE")
	size, err := strconv.ParseInt(args[1], 10, 64)
	ts.Check(err)
	ts.Check(os.Truncate(ts.MkAbs(args[0]), size))
}

func flip(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, len(args) == 2, neg, "flip FILE OFFSET")
	at, err := strconv.Atoi(args[1])
	ts.Check(err)
	name := ts.MkAbs(args[0])
	text, err := os.ReadFile(name)
	ts.Check(err)
	if at < 0 {
		at += len(text)
	}
	if at < 0 || at >= len(text) {
		ts.Fatalf("%s has %d bytes", args[0], len(text))
	}
	text[at] ^= 1
	ts.Check(os.WriteFile(name, text, 0o600))
}

func occupy(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, len(args) == 1, neg, "occupy VAR")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	s := stateOf(ts)
	s.ports = append(s.ports, l)
	ts.Setenv(args[0], l.Addr().String())
}
