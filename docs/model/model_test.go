// Package model_test has Spin go through the model in account.pml, and through each of its mutants.
package model_test

import (
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/authsrv/authsrv/internal/soak"
)

const file = "account.pml"

// verify makes a verifier of the model as the options say, runs it to its end or to the first error, and returns what it says.
func verify(t *testing.T, options ...string) string {
	t.Helper()
	source, err := filepath.Abs(file)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	run := func(name string, args ...string) string {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), name, args...)
		cmd.Dir = dir
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
		}
		return string(out)
	}
	optimize := "-O0" // most of the time is gcc's
	if soak.Full(t) && !strings.Contains(strings.Join(options, " "), "MUTANT") {
		optimize = "-O2"
	}
	run("spin", append(options, "-a", source)...)
	run("gcc", optimize, "-w", "-DSAFETY", "-DCOLLAPSE", "-DMEMLIM=1024", "-o", "pan", "pan.c")
	return run(filepath.Join(dir, "pan"), "-m10000", "-w21")
}

// needs skips a test where a program is missing.
func needs(t *testing.T) {
	t.Helper()
	for _, program := range []string{"spin", "gcc"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("there is no %s here (it is in Debian's package of that name)", program)
		}
	}
}

var (
	errorsFound = regexp.MustCompile(`errors: (\d+)`)
	states      = regexp.MustCompile(`(\d+) states, stored`)
	depth       = regexp.MustCompile(`depth reached (\d+)`)
	atDepth     = regexp.MustCompile(`at depth (\d+)`)
	violated    = regexp.MustCompile(`assertion violated +!\((\w+)\)`)
	unreached   = regexp.MustCompile(`(?m)^\t.*:(\d+, state \d+, ".*")$`)
)

func first(re *regexp.Regexp, out string) string {
	if m := re.FindStringSubmatch(out); m != nil {
		return m[1]
	}
	return ""
}

// TestSoakModel: in no order of its steps does the model break an assertion or come to a stop, and every step of it happens in some order.
func TestSoakModel(t *testing.T) {
	needs(t)
	worlds := [][]string{{"-DREGISTRARS"}, nil}
	if !soak.Full(t) {
		worlds = worlds[:1] // the smaller one
	}
	var missed map[string]bool // steps that no world has reached so far
	for _, options := range worlds {
		out := verify(t, options...)
		n, _ := strconv.Atoi(first(states, out))
		if first(errorsFound, out) != "0" || strings.Contains(out, "not completed") || strings.Contains(out, "too small") || n < 100_000 {
			t.Fatalf("%v: %s", options, out)
		}
		t.Logf("%v: %d states, at most %s steps deep, no error", options, n, first(depth, out))
		here := make(map[string]bool)
		for _, m := range unreached.FindAllStringSubmatch(out, -1) {
			if !strings.Contains(m[1], `"-end-"`) && (missed == nil || missed[m[1]]) {
				here[m[1]] = true
			}
		}
		missed = here
		if n := strings.Count(out, "unreached in proctype"); n != 4 {
			t.Errorf("%d kinds of processes, want 4", n)
		}
	}
	if !soak.Full(t) && len(missed) == 0 {
		t.Error("one world reaches everything: what would the other be for?")
	} else if soak.Full(t) && len(missed) > 0 {
		t.Errorf("these lines are reached in no order: %v", missed)
	}
}

// TestSoakModelMutants: without each of the protections that the model names, the assertion that is named beside it is broken.
func TestSoakModelMutants(t *testing.T) {
	needs(t)
	source, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	mutants := make(map[string]string)
	for _, m := range regexp.MustCompile(`(?m)^#ifn?def MUTANT_(\w+) +/\* .*: (\w+) \*/$`).FindAllSubmatch(source, -1) {
		mutants[string(m[1])] = string(m[2])
	}
	for _, m := range regexp.MustCompile(`MUTANT_([A-Z]+)`).FindAllSubmatch(source, -1) {
		if name := string(m[1]); mutants[name] == "" {
			t.Errorf("mutant %s names no assertion", name)
		}
	}
	if n := len(mutants); n != 9 {
		t.Errorf("%d mutants", n)
	}
	names := slices.Sorted(maps.Keys(mutants))
	if !soak.Full(t) {
		names = names[:2]
	}
	for _, name := range names {
		want := mutants[name]
		t.Run(name, func(t *testing.T) {
			out := verify(t, "-DREGISTRARS", "-DMUTANT_"+name)
			if got := first(violated, out); got != want || first(errorsFound, out) != "1" {
				t.Errorf("it breaks %q, want %q: %s", got, want, out)
			}
			t.Logf("%s is broken at depth %s", want, first(atDepth, out))
		})
	}
}
