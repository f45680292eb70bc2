// Testreport reads what `go test -json` prints, and says what counts: go test's own line for each package as it ends, and after
// the last one every test that failed, with its output, and every test that was skipped, with its reason. A skip is a failure: a
// test that did not run has shown nothing.
//
//	go test -json ./... | testreport [-report FILE] [-logs PREFIX]
//
// It exits with 1 if anything failed or was skipped, or if no test ran. -report writes the failures and skips to a file, too. -logs shows
// what the tests whose names begin with PREFIX have logged when they pass, such as how often they tried what.
package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
)

func main() {
	os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

func run(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("testreport", flag.ContinueOnError)
	flags.SetOutput(stderr)
	file := flags.String("report", "", "also write the failures and skips to `FILE`")
	logs := flags.String("logs", "", "also show what tests log whose names begin with `PREFIX`")
	if err := flags.Parse(args); err != nil || flags.NArg() > 0 {
		return 2
	}
	r := newReport(stdout)
	r.logs = *logs
	if err := r.read(stdin); err != nil {
		fmt.Fprintln(stderr, "testreport:", err)
		return 1
	}
	r.close()
	text := r.text()
	_, _ = stdout.Write(text)
	if *file != "" {
		if err := os.WriteFile(*file, text, 0o644); err != nil {
			fmt.Fprintln(stderr, "testreport:", err)
			return 1
		}
	}
	fmt.Fprintf(stdout, "%d packages; tests: %d passed, %d failed, %d skipped\n", r.packages, r.passed, len(r.failed), len(r.skipped))
	if r.packages == 0 || r.passed == 0 {
		fmt.Fprintln(stdout, "testreport: no test ran")
		return 1
	}
	if len(r.failed)+len(r.skipped) > 0 {
		return 1
	}
	return 0
}

// event is one line of test2json (go doc test2json), and of go build -json.
type event struct {
	Action      string
	Package     string
	Test        string
	Output      string
	ImportPath  string // of build-output and build-fail
	FailedBuild string // of a package's fail: the ImportPath that did not build
}

// id is a test, or, without a name, what a package says outside of its tests.
type id struct{ pkg, test string }

func (i id) String() string { return strings.TrimSpace(i.pkg + " " + i.test) }

type report struct {
	lines    io.Writer
	logs     string // prefix of tests whose logs are shown; empty: none
	output   map[id][]string
	running  map[id]bool
	builds   map[string][]string // output of the compiler by ImportPath
	failed   []id
	skipped  []id
	passed   int
	packages int
}

func newReport(lines io.Writer) *report {
	return &report{lines: lines, output: make(map[id][]string), running: make(map[id]bool), builds: make(map[string][]string)}
}

func (r *report) read(in io.Reader) error {
	lines := bufio.NewReader(in)
	for {
		line, err := lines.ReadBytes('\n')
		if len(line) > 0 {
			r.line(line)
		}
		if err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
	}
}

func (r *report) line(line []byte) {
	var e event
	if !bytes.HasPrefix(line, []byte("{")) || json.Unmarshal(line, &e) != nil || e.Action == "" {
		_, _ = r.lines.Write(line) // go itself, about something else than a test
		return
	}
	switch t := (id{e.Package, e.Test}); e.Action {
	case "build-output":
		r.builds[e.ImportPath] = append(r.builds[e.ImportPath], e.Output)
	case "start", "run":
		r.running[t] = true
	case "output":
		r.output[t] = append(r.output[t], e.Output)
		if e.Test == "" && isSummary(e.Output) {
			_, _ = io.WriteString(r.lines, e.Output)
		}
	case "pass", "fail", "skip":
		r.end(t, e)
	}
}

// isSummary tells go test's own line for a package.
func isSummary(line string) bool {
	return strings.HasPrefix(line, "ok  \t") || strings.HasPrefix(line, "FAIL\t") || strings.HasPrefix(line, "?   \t")
}

func (r *report) end(t id, e event) {
	delete(r.running, t)
	if t.test == "" {
		r.endPackage(t, e)
		return
	}
	switch e.Action {
	case "pass":
		r.passed++
		if r.logs != "" && strings.HasPrefix(t.test, r.logs) {
			r.showLogs(t)
		}
		delete(r.output, t)
	case "fail":
		r.failed = append(r.failed, t)
	case "skip":
		r.skipped = append(r.skipped, t)
	}
}

// showLogs writes what a test has logged, without the lines of go test's own.
func (r *report) showLogs(t id) {
	var logged []string
	for _, line := range r.output[t] {
		if mark := strings.TrimSpace(line); mark != "" && !strings.HasPrefix(mark, "=== ") && !strings.HasPrefix(mark, "--- ") {
			logged = append(logged, line)
		}
	}
	if len(logged) > 0 {
		_, _ = fmt.Fprintf(r.lines, "%s\n%s", t.test, strings.Join(logged, ""))
	}
}

func (r *report) endPackage(t id, e event) {
	if e.Action == "skip" {
		return // a package without tests
	}
	r.packages++
	if e.Action == "pass" {
		return
	}
	r.output[t] = append(r.builds[e.FailedBuild], r.output[t]...)
	blamed := slices.ContainsFunc(r.failed, func(other id) bool { return other.pkg == t.pkg })
	// A test that had not ended is what the package died of: an exit, a signal. How it did is in the package's own output.
	r.endRunning(func(other id) bool { return other.pkg == t.pkg })
	if !blamed {
		r.failed = append(r.failed, t)
	}
}

// close counts what had no end when the input had: go test was killed.
func (r *report) close() { r.endRunning(func(id) bool { return true }) }

func (r *report) endRunning(which func(id) bool) {
	var ended []id
	for t := range r.running {
		if which(t) {
			ended = append(ended, t)
		}
	}
	slices.SortFunc(ended, func(a, b id) int { return strings.Compare(a.String(), b.String()) })
	for _, t := range ended {
		delete(r.running, t)
		r.output[t] = append(r.output[t], "    it did not end\n")
		r.failed = append(r.failed, t)
	}
}

// text is the failures with their output, and the skips with their reasons.
func (r *report) text() []byte {
	var out bytes.Buffer
	for _, t := range r.failed {
		fmt.Fprintf(&out, "FAILED %s\n", t)
		r.appendOutput(&out, t)
	}
	for _, t := range r.skipped {
		fmt.Fprintf(&out, "SKIPPED %s\n", t)
		r.appendOutput(&out, t)
	}
	return out.Bytes()
}

const maxLines = 200 // of one test: the end says most

func (r *report) appendOutput(out *bytes.Buffer, t id) {
	text := strings.Join(r.output[t], "")
	var lines []string
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\r\n")
		if !strings.HasPrefix(line, "=== ") && line != "" {
			lines = append(lines, line)
		}
	}
	if n := len(lines) - maxLines; n > 0 {
		lines = append([]string{fmt.Sprintf("(%d lines before)", n)}, lines[n:]...)
	}
	for _, line := range lines {
		fmt.Fprintf(out, "    %s\n", line)
	}
}
