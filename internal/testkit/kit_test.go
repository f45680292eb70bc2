package testkit

import (
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/authsrv/authsrv/internal/soak"
)

var update = flag.Bool("update", false, "write testdata/testkit anew")

// fault is a case: what departs from a base, in one place.
type fault struct {
	name, kind, about string
	base              string
	do                func(f *transcript) // leaves nothing behind the fault but what the kit still says
	expect            string
}

func bases() map[string]func() *transcript {
	all := make(map[string]func() *transcript)
	for name, b := range serverBases {
		all[name] = b
	}
	for name, b := range clientBases {
		all[name] = b
	}
	return all
}

// run plays a file against the side that it tests.
func run(t *testing.T, f *transcript, m mode) outcome {
	t.Helper()
	if f.get("side") == "server" {
		return runServer(t, f, m)
	}
	return runClient(t, f, m)
}

// make makes the file of a case, with a run of it.
func (c *fault) make(t *testing.T) *transcript {
	t.Helper()
	f := bases()[c.base]()
	f.set("name", c.name)
	f.set("fault", c.kind)
	f.set("about", c.about)
	f.set("control", c.base)
	if c.do == nil {
		f.set("control", "-")
	} else {
		c.do(f)
	}
	if why := departs[c.name]; why != "" {
		f.set("departs", why)
	}
	got := run(t, f, record)
	if got.expect != c.expect {
		t.Errorf("%s: the outcome is %q, want %q", c.name, got.expect, c.expect)
	}
	f.set("expect", got.expect)
	f.set("end", got.end)
	f.set("changed", got.changed)
	return f
}

func all() (cases []fault) {
	for name := range bases() {
		expect := "accepted"
		if name == "client-wait" {
			expect = "goodbye shutting-down"
		}
		cases = append(cases, fault{name: name, kind: "none", about: "The connection that others of this side depart from.", base: name, expect: expect})
	}
	cases = append(cases, serverFaults()...)
	cases = append(cases, clientFaults()...)
	slices.SortFunc(cases, func(a, b fault) int { return strings.Compare(a.name, b.name) })
	return cases
}

// check makes the file of a case, and holds it against the one that is there.
func (c *fault) check(t *testing.T) {
	f := c.make(t)
	path := filepath.Join(folder, c.name+".txt")
	if *update && !t.Failed() {
		if err := os.WriteFile(path, f.text(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	got, want := strings.Split(string(text), "\n"), strings.Split(string(f.text()), "\n")
	for i := range max(len(got), len(want)) {
		if i >= len(got) || i >= len(want) || got[i] != want[i] {
			t.Fatalf("%s: line %d is\n%.200s\nand should be\n%.200s\n(-update writes it anew, if that is meant)", path, i+1, at(got, i), at(want, i))
		}
	}
}

func at(lines []string, i int) string {
	if i < len(lines) {
		return lines[i]
	}
	return "nothing"
}

// TestSoakFiles: the files are those that the generator makes, with runs of each against the real client or server.
func TestSoakFiles(t *testing.T) {
	made, cases := make(map[string]bool), all()
	n := len(cases)
	if !*update {
		n = min(soak.Times(t, n, n/12), n)
	}
	for _, c := range cases {
		if made[c.name] {
			t.Errorf("%s: two cases have this name", c.name)
		}
		made[c.name] = true
	}
	for i := range n {
		c := &cases[i*len(cases)/n]
		t.Run(c.name, c.check)
	}
	paths, err := filepath.Glob(filepath.Join(folder, "*.txt"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range paths {
		if name := strings.TrimSuffix(filepath.Base(path), ".txt"); !made[name] {
			if *update {
				os.Remove(path)
				continue
			}
			t.Errorf("%s: nobody makes this file", path)
		}
	}
}
