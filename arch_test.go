package authsrv_test

import (
	"bytes"
	"fmt"
	"go/format"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/authsrv/authsrv"

// anything stands for all packages of ours, in rooms that only tests may import.
const anything = "*"

// rooms is the house: each package, the packages of ours that it may import, and the modules of others, both outside of its
// tests. The standard library is open to all. A new package or arrow fails the tests until it is drawn here; so does one to a
// room with "*", which is for tests.
var rooms = map[string]struct{ ours, others string }{
	"":            {},
	"wire":        {},
	"noiseconn":   {"wire", "github.com/flynn/noise github.com/cloudflare/circl golang.org/x/crypto"},
	"credential":  {"", "golang.org/x/crypto golang.org/x/text github.com/trustelem/zxcvbn filippo.io/edwards25519"},
	"token":       {"", "github.com/go-jose/go-jose/v4"},
	"kv":          {},
	"kv/pebblekv": {"kv internal/workers", "github.com/cockroachdb/pebble/v2"},

	"internal/network": {},
	"internal/workers": {},
	"internal/account": {"kv credential token internal/network", "golang.org/x/crypto"},
	"internal/backup":  {"internal/account kv/pebblekv", ""},
	"internal/keyfile": {"", "filippo.io/age"},
	"internal/keyring": {"internal/account internal/keyfile token", ""},
	"internal/admin":   {"internal/account internal/keyfile internal/keyring", "golang.org/x/sys"},
	"client/store":     {"", "github.com/gofrs/flock"},

	"server":           {"wire noiseconn credential internal/account internal/network internal/workers", ""},
	"internal/metrics": {"kv server", "github.com/prometheus/client_golang"},
	"client":           {"wire noiseconn credential client/store", ""},

	"cmd": {}, // the tests that drive both commands
	"cmd/authsrv": {
		"cmd/internal/prompt server internal/account internal/admin internal/backup internal/keyfile internal/keyring internal/metrics kv kv/pebblekv token credential noiseconn",
		"github.com/urfave/cli/v2 golang.org/x/term golang.org/x/sys github.com/gofrs/flock " +
			"github.com/BurntSushi/toml",
	},
	"cmd/authcli":         {"cmd/internal/prompt client client/store", "github.com/urfave/cli/v2 golang.org/x/term"},
	"cmd/internal/prompt": {"", "golang.org/x/term golang.org/x/sys"},

	"kv/kvtest":            {anything, ""},
	"internal/authtest":    {anything, "github.com/cockroachdb/pebble/v2/vfs"}, // the file system in memory
	"internal/attack":      {anything, ""},
	"internal/attack/walk": {anything, ""},
	"internal/soak":        {anything, ""},
	"internal/spec":        {anything, ""},
	"internal/testkit":     {anything, ""},
	"fuzz":                 {anything, ""},
}

// owners are the modules that only one room may name, but for rooms for tests: so that what it does with them can be replaced there.
var owners = map[string]string{
	"github.com/flynn/noise":              "noiseconn",
	"github.com/cloudflare/circl":         "noiseconn",
	"github.com/cockroachdb/pebble/v2":    "kv/pebblekv",
	"github.com/go-jose/go-jose/v4":       "token",
	"github.com/trustelem/zxcvbn":         "credential",
	"filippo.io/age":                      "internal/keyfile",
	"github.com/prometheus/client_golang": "internal/metrics",
}

// judge says what is wrong with an import of a package of ours, or returns "".
func judge(from, imported string) string {
	room, known := rooms[from]
	if !known {
		return "the package is not in the list of rooms"
	}
	if to, ours := inHouse(imported); ours {
		target, known := rooms[to]
		switch {
		case !known:
			return "it imports " + imported + ", which is not in the list of rooms"
		case room.ours == anything || slices.Contains(strings.Fields(room.ours), to):
			return ""
		case target.ours == anything:
			return "it imports " + to + ", which is for tests"
		}
		return "it imports " + to + ": there is no such arrow"
	}
	if first, _, _ := strings.Cut(imported, "/"); !strings.Contains(first, ".") {
		return "" // the standard library
	}
	for _, m := range strings.Fields(room.others) {
		if imported == m || strings.HasPrefix(imported, m+"/") {
			return ""
		}
	}
	return "it imports " + imported + ", which is not for this room"
}

// inHouse returns a package's path within the module.
func inHouse(imported string) (room string, ours bool) {
	if imported == module {
		return "", true
	}
	return strings.CutPrefix(imported, module+"/")
}

func TestArrows(t *testing.T) {
	packages, imports := make(map[string]bool), 0
	for _, file := range goFiles(t, true) {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		tree, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
		if err != nil {
			t.Errorf("%v", err)
			continue
		}
		from := strings.TrimPrefix(path.Dir(file), ".")
		if !packages[from] {
			packages[from] = true
			if _, known := rooms[from]; !known {
				t.Errorf("%s: the package is not in the list of rooms", from)
			}
		}
		for _, spec := range tree.Imports {
			imported, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				t.Fatal(err)
			}
			imports++
			if fault := judge(from, imported); fault != "" {
				t.Errorf("%s: %s", file, fault)
			}
		}
	}
	if len(packages) < 2 || imports == 0 {
		t.Errorf("saw %d packages and %d imports: the test looks in the wrong place", len(packages), imports)
	}
}

// The rule itself: what it lets pass, and what it does not.
func TestArrowsRule(t *testing.T) {
	for _, c := range []struct {
		from, imported string
		ok             bool
	}{
		{"wire", "encoding/binary", true},
		{"wire", "golang.org/x/crypto/hkdf", false},
		{"wire", module + "/kv", false},
		{"server", module + "/wire", true},
		{"server", module + "/kv", false},
		{"server", module + "/server/new", false},
		{"client", module + "/internal/account", false},
		{"kv/pebblekv", "github.com/cockroachdb/pebble/v2/vfs", true},
		{"kv/pebblekv", "github.com/cockroachdb/pebble/v2more", false},
		{"kv/pebblekv", module + "/kv/kvtest", false},
		{"cmd/authsrv", module + "/internal/authtest", false},
		{"internal/authtest", module + "/server", true},
		{"internal/authtest", "github.com/flynn/noise", false},
		{"server", module, false},
		{"nowhere", "fmt", false},
	} {
		if fault := judge(c.from, c.imported); (fault == "") != c.ok {
			t.Errorf("%s imports %s: %q", c.from, c.imported, fault)
		}
	}
}

// The list has no arrow to a room that is not in it, none in a circle, and no module that belongs to another room.
func TestArrowsGoDown(t *testing.T) {
	var visit func(room string, above []string)
	visit = func(room string, above []string) {
		if slices.Contains(above, room) {
			t.Fatalf("a circle: %s → %s", strings.Join(above, " → "), room)
		}
		for _, to := range strings.Fields(rooms[room].ours) {
			if to == anything {
				continue
			}
			if _, known := rooms[to]; !known {
				t.Errorf("%s → %s: there is no such room", room, to)
			}
			visit(to, append(slices.Clone(above), room))
		}
	}
	for name, room := range rooms {
		visit(name, nil)
		for _, m := range strings.Fields(room.others) {
			for owned, owner := range owners {
				if (m == owned || strings.HasPrefix(m, owned+"/")) && owner != name && room.ours != anything {
					t.Errorf("%s may import %s, which belongs to %s", name, m, owner)
				}
			}
		}
	}
}

func TestGofmt(t *testing.T) {
	files := goFiles(t, false)
	if len(files) == 0 {
		t.Error("there are no files")
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		formatted, err := format.Source(text)
		if err != nil {
			t.Errorf("%s: %v", file, err)
		} else if !bytes.Equal(text, formatted) {
			t.Errorf("%s is not formatted: run gofmt -w on it", file)
		}
	}
}

func TestNothingLeftOpen(t *testing.T) {
	mark := regexp.MustCompile(`\b(TO` + `DO|FIX` + `ME)\b`)
	if !mark.MatchString("// " + "TO" + "DO: more") {
		t.Fatal("the expression finds nothing")
	}
	seen := 0
	walk(t, false, func(file string) {
		if path.Base(file) == "go.sum" {
			return
		}
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.IndexByte(text, 0) >= 0 {
			return // not text
		}
		seen++
		for i, line := range bytes.Split(text, []byte("\n")) {
			if mark.Match(line) {
				t.Errorf("%s:%d: left open: %.100s", file, i+1, bytes.TrimSpace(line))
			}
		}
	})
	if seen == 0 {
		t.Error("there are no files")
	}
}

// goFiles returns the files that the go command would build, tests included, with slashes.
func goFiles(t *testing.T, thisModule bool) (files []string) {
	walk(t, thisModule, func(file string) {
		if strings.HasSuffix(file, ".go") && !strings.Contains("/"+file, "/testdata/") {
			files = append(files, file)
		}
	})
	return files
}

// walk calls f for each file below this folder, but for hidden ones (.ci is not) and, if thisModule, those of modules below.
func walk(t *testing.T, thisModule bool, f func(file string)) {
	t.Helper()
	err := filepath.WalkDir(".", func(file string, d fs.DirEntry, err error) error {
		switch hidden := strings.HasPrefix(d.Name(), ".") && file != "."; {
		case err != nil:
			return err
		case d.IsDir() && hidden && d.Name() != ".ci" && d.Name() != ".github":
			return fs.SkipDir
		case d.IsDir() && thisModule && file != ".":
			if _, err := os.Stat(filepath.Join(file, "go.mod")); err == nil {
				return fs.SkipDir
			}
		case d.Type().IsRegular():
			f(filepath.ToSlash(file))
		}
		return nil
	})
	if err != nil {
		t.Fatal(fmt.Errorf("walk: %w", err))
	}
}
