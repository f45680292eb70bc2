package fuzz

import (
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// TestMain bounds what the fuzzer spends on making an input that it finds interesting smaller. By default that is a minute each,
// of which a run of a minute has one.
func TestMain(m *testing.M) {
	flag.Parse()
	const name = "test.fuzzminimizetime"
	given := false
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == name })
	if !given {
		if err := flag.Set(name, "100x"); err != nil {
			panic(err)
		}
	}
	m.Run()
}

// A seed is the arguments of one call of a target.
type seed []any

// targets is every target with what makes its seeds. A target that is not here has none, and fails.
var targets = map[string]func(testing.TB) []seed{
	"FuzzFrame":     frameSeeds,
	"FuzzMessages":  messageSeeds,
	"FuzzHandshake": handshakeSeeds,
	"FuzzRecords":   recordSeeds,
	"FuzzSession":   sessionSeeds,
	"FuzzToken":     tokenSeeds,
	"FuzzAddress":   addressSeeds,
	"FuzzStore":     storeSeeds,
	"FuzzKeyfile":   keyfileSeeds,
	"FuzzNames":     nameSeeds,
}

// leastSeeds is how many there have to be in all, and mostTargets how many targets: each has its time in CI.
const (
	leastSeeds  = 100
	mostTargets = 10
)

// seeds returns the seeds of a target, each once, and fails on none.
func seeds(t testing.TB, target string) []seed {
	t.Helper()
	grow, known := targets[target]
	if !known {
		t.Fatalf("%s is not in the list of targets", target)
	}
	seen := make(map[string]bool)
	var distinct []seed
	for _, s := range grow(t) {
		if key := fmt.Sprintf("%#v", s); !seen[key] {
			seen[key] = true
			distinct = append(distinct, s)
		}
	}
	if len(distinct) == 0 {
		t.Fatalf("%s has no seeds", target)
	}
	return distinct
}

// plant adds the seeds of the target that f is.
func plant(f *testing.F) {
	f.Helper()
	for _, s := range seeds(f, f.Name()) {
		f.Add(s...)
	}
}

func TestSeeds(t *testing.T) {
	all := 0
	for name := range targets {
		n := len(seeds(t, name))
		found, err := filepath.Glob(filepath.Join("testdata", "fuzz", name, "*"))
		if err != nil || len(found) == 0 {
			t.Errorf("%s: nothing that fuzzing found is kept: %v", name, err)
		}
		t.Logf("%s: %d seeds, and %d inputs that fuzzing found", name, n, len(found))
		all += n
	}
	t.Logf("%d seeds in all", all)
	if all < leastSeeds {
		t.Errorf("%d seeds in all, want %d", all, leastSeeds)
	}
}

// TestSeedsAreStable holds that a worker process of the fuzzer, which makes the seeds anew, gets the same ones.
func TestSeedsAreStable(t *testing.T) {
	for name := range targets {
		if !reflect.DeepEqual(seeds(t, name), seeds(t, name)) {
			t.Errorf("%s has other seeds the second time", name)
		}
	}
}

// TestTargets holds the list against the functions: each target is one, and each is planted.
func TestTargets(t *testing.T) {
	files, err := filepath.Glob("*_test.go")
	if err != nil || len(files) == 0 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	found := make(map[string]bool)
	for _, file := range files {
		tree, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range tree.Decls {
			f, ok := d.(*ast.FuncDecl)
			if !ok || !strings.HasPrefix(f.Name.Name, "Fuzz") {
				continue
			}
			found[f.Name.Name] = true
			if !calls(f, "plant") {
				t.Errorf("%s does not plant its seeds", f.Name.Name)
			}
		}
	}
	if len(found) > mostTargets {
		t.Errorf("%d targets, and there is time for %d", len(found), mostTargets)
	}
	for name := range found {
		if targets[name] == nil {
			t.Errorf("%s is not in the list of targets", name)
		}
	}
	for name := range targets {
		if !found[name] {
			t.Errorf("there is no %s", name)
		}
	}
}

func calls(f *ast.FuncDecl, name string) (found bool) {
	ast.Inspect(f, func(n ast.Node) bool {
		if call, ok := n.(*ast.CallExpr); ok {
			if id, ok := call.Fun.(*ast.Ident); ok && id.Name == name {
				found = true
			}
		}
		return !found
	})
	return found
}

// How a good stream is changed: the first argument of the targets that have one.
const (
	asIs   = iota // the data itself, and nothing of the good stream
	over          // the data in the place of what stands there
	insert        // the data before what stands there
	cut           // the data, and nothing behind it
	drop          // as many bytes as the data has are gone
	changes
)

// change makes a stream of a good one.
func change(good []byte, how uint8, at uint16, data []byte) []byte {
	i := min(int(at), len(good))
	switch how {
	case over:
		b := append([]byte(nil), good...)
		copy(b[i:], data)
		return b
	case insert:
		return concat(good[:i], data, good[i:])
	case cut:
		return concat(good[:i], data)
	case drop:
		return concat(good[:i], good[min(i+len(data), len(good)):])
	}
	return data
}

func concat(parts ...[]byte) (b []byte) {
	for _, p := range parts {
		b = append(b, p...)
	}
	return b
}
