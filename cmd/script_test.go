// Package cmd_test drives the binaries of both commands as processes, by the scripts in testdata/script. See
// https://pkg.go.dev/github.com/rogpeppe/go-internal/testscript for the language; authsrv and authcli are on the
// scripts' PATH, HOME is $WORK/home, and nothing of the caller's environment but PATH is passed on. What is added:
//
//	exits CODE PROGRAM [ARG...]        runs a program, which must end with this very code, or one of several (3|0); then
//	                                   stdout, stderr, cmp, and before it stdin or ttyin, as with exec
//	start NAME PROGRAM [ARG...]        starts a program; its output goes to the files NAME.out and NAME.err as it comes
//	stopped NAME                       sends SIGTERM, and waits for exit status 0 ("stop" is testscript's own)
//	interrupted NAME                   the same with SIGINT
//	kill9 NAME                         kills it, and waits until it is gone
//	ended NAME CODE                    waits until it ends by itself, with that code, as for exits
//	waitfile FILE                      waits until the file is there and not empty
//	waitmatch PATTERN FILE             waits until the file matches, such as NAME.err
//	readenv VAR FILE                   sets a variable to the file's text (or to that of "stdout"), without its line end
//	dialog CODE FILE PROGRAM [ARG...]  runs a program on a terminal, which must end with the code, by the lines of the file:
//	                                   "< TEXT" waits for output, "> TEXT" types a line, "^C", "^D" and "^Z" are keys, and
//	                                   "& PROGRAM [ARG...]" runs another one meanwhile, which must end with 0. What the
//	                                   terminal showed is then stdout
//	mode PERM FILE...                  holds the permissions of files or folders against an octal number
//	snapshot DIR                       remembers all that is in a folder; may be absent
//	unchanged DIR                      compares it with that: names, permissions and contents
//	nosecrets KEYS FILE...             no key of a plain key file stands in the files, in no encoding
//	fastseal KEYS FILE                 seals a plain key file with the passphrase in a file as authsrv does, but so that it
//	                                   opens in no time
//	truncate FILE SIZE                 cuts a file
//	flip FILE OFFSET                   changes one byte; a negative offset counts from the end
//	occupy VAR                         binds a port until the script ends, and sets a variable to its address
//	hold NAME ADDRESS USER FILE        logs in with the password in a file, and keeps the connection
//	released NAME                      waits until the server has ended that connection; with !: it serves on
//	auditchain DIR DURATION            chains the audit records of a folder whose server is stopped, as if that time had passed
//	audittamper DIR SPACE WHAT         "delete", "change", "insert" or "swap" of the first records of a space of the database
//	hangup NAME                        sends SIGHUP
//	readmatch VAR PATTERN FILE         waits until the file matches, and sets a variable to what is in the pattern's parentheses
//	get STATUS URL FILE                asks over HTTP until the answer has that status, and writes its body to the file
//	manager FILE                       is a service manager: sets NOTIFY_SOCKET, and writes what it is told to the file
//
// Whatever waits gives up after patience, and what was started ends with the script.
package cmd_test

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// patience is how long a script waits for anything, and poll how often it looks.
const (
	patience = 30 * time.Second
	poll     = 5 * time.Millisecond
)

var (
	binaries string // the folder of what was built
	broken   = make(map[string]string)
)

func TestMain(m *testing.M) { os.Exit(buildAndRun(m)) }

// buildAndRun builds each command by itself, so that the scripts of one run while the other does not compile.
func buildAndRun(m *testing.M) int {
	flag.Parse()
	dir, err := os.MkdirTemp("", "authsrv-cmd-test-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	binaries = dir
	for _, name := range []string{"authsrv", "authcli"} {
		target := filepath.Join(dir, name)
		if runtime.GOOS == "windows" {
			target += ".exe"
		}
		output, err := exec.Command("go", "build", "-ldflags=-s -w", "-o", target, "./"+name).CombinedOutput()
		if err != nil {
			broken[name] = fmt.Sprintf("%s does not build: %v\n%s", name, err, bytes.TrimSpace(output))
		}
	}
	return m.Run()
}

// dependOnSources looks at every file that the binaries are made of. The go command takes note of that, or it would give a
// remembered result after a change that only the go build above has seen.
func dependOnSources(t *testing.T) {
	err := filepath.WalkDir("..", func(file string, d fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, fs.ErrNotExist): // somebody's temporary file
			return nil
		case err != nil:
			return err
		case d.IsDir() && strings.HasPrefix(d.Name(), ".") && file != "..":
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

func TestScript(t *testing.T) {
	dependOnSources(t)
	files, err := filepath.Glob(filepath.Join("testdata", "script", "*.txtar"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	var good []string
	for _, file := range files {
		if reason := needsBroken(t, file); reason != "" {
			t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) { t.Fatal(reason) })
			continue
		}
		good = append(good, file)
	}
	if len(good) == 0 {
		return
	}
	deadline, _ := t.Deadline()
	testscript.Run(t, testscript.Params{
		Files:              good,
		Deadline:           deadline,
		Setup:              setup,
		Cmds:               commands,
		RequireUniqueNames: true,
	})
}

// runs finds the commands of ours that a script runs.
var runs = regexp.MustCompile(`(?m)^(?:\[[^\]]*\] )*(?:! )?(?:exec|exits \d+|start \S+|dialog \d+ \S+) (authsrv|authcli)\b`)

// needsBroken says why a script can't run.
func needsBroken(t *testing.T, file string) string {
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, match := range runs.FindAllSubmatch(text, -1) {
		if reason := broken[string(match[1])]; reason != "" {
			return reason
		}
	}
	return ""
}

// passed are the variables that reach what start and dialog run, which can't ask testscript for all of them. Those that are
// empty are not passed.
var passed = []string{
	"PATH", "HOME", "USERPROFILE", "LOCALAPPDATA", "SYSTEMROOT", "TMPDIR", "TMP", "WORK", "TERM", "GOCOVERDIR",
	"XDG_DATA_HOME", "XDG_CONFIG_HOME", "CREDENTIALS_DIRECTORY", "AUTHCLI_SERVER", "AUTHCLI_HOME",
	"AUTHSRV_DATA", "AUTHSRV_LISTEN", "AUTHSRV_CONFIG", "AUTHSRV_REGISTRATION", "NOTIFY_SOCKET", "WATCHDOG_USEC",
}

func setup(env *testscript.Env) error {
	home := filepath.Join(env.WorkDir, "home")
	if err := os.Mkdir(home, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	env.Setenv("HOME", home)
	env.Setenv("USERPROFILE", home)
	env.Setenv("LOCALAPPDATA", filepath.Join(home, "AppData", "Local"))
	env.Setenv("TERM", "xterm")
	env.Setenv("PATH", binaries+string(os.PathListSeparator)+os.Getenv("PATH"))
	s := &state{processes: make(map[string]*process), snapshots: make(map[string]string), held: make(map[string]*held), relays: make(map[string]*relay)}
	env.Values[stateKey{}] = s
	env.Defer(s.end)
	return nil
}
