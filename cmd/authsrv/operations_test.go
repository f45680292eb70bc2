package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// This file holds docs/OPERATIONS.md and deploy/authsrv.service against the code.

// section returns the part of docs/OPERATIONS.md below a heading.
func section(t *testing.T, heading string) string {
	t.Helper()
	text, err := os.ReadFile("../../docs/OPERATIONS.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, found := strings.Cut(string(text), "\n"+heading+"\n")
	if !found {
		t.Fatalf("there is no section %q", heading)
	}
	level := heading[:strings.Index(heading, " ")]
	end := regexp.MustCompile(`(?m)^#{1,` + strconv.Itoa(len(level)) + `} `).FindStringIndex(rest)
	if end == nil {
		return rest
	}
	return rest[:end[0]]
}

// rows returns the cells of the table in a section, without its head.
func rows(t *testing.T, heading string) (rows [][]string) {
	t.Helper()
	for line := range strings.Lines(section(t, heading)) {
		line = strings.TrimSpace(line)
		if !strings.HasPrefix(line, "| ") {
			continue
		}
		cells := strings.Split(strings.Trim(line, "|"), "|")
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		rows = append(rows, cells)
	}
	if len(rows) < 2 {
		t.Fatalf("section %q has no table", heading)
	}
	return rows[1:]
}

func TestSettingsAreDocumented(t *testing.T) {
	var want [][]string
	code := func(s string) string {
		if s == "" {
			return ""
		}
		return "`" + s + "`"
	}
	for i := range table {
		s := &table[i]
		reload := "no"
		if s.reload {
			reload = "yes"
		}
		row := []string{code(s.key), code("--" + s.flag()), code(s.environment()), code(s.fallback), reload}
		if s.key == "data" {
			row[3] = "`$XDG_DATA_HOME/authsrv`, else `~/.local/share/authsrv`"
		}
		want = append(want, row)
	}
	have := rows(t, "## 3. Configuration")
	if len(have) != len(want) {
		t.Errorf("%d rows, want %d", len(have), len(want))
	}
	for i := range min(len(have), len(want)) {
		if !slices.Equal(have[i][:5], want[i]) {
			t.Errorf("row %d: %q, want %q", i+1, have[i][:5], want[i])
		}
	}
}

// Every setting has what it needs, and its default is one that it takes.
func TestSettings(t *testing.T) {
	var s settings
	for i := range table {
		row := &table[i]
		if row.value == "" || !strings.Contains(row.help, "`"+row.value+"`") {
			t.Errorf("%s: the help does not name its value", row.key)
		}
		if err := row.parse(&s, row.fallback); err != nil && row.fallback != "" {
			t.Errorf("%s: its default is refused: %v", row.key, err)
		}
		if settingOf(row.key) != row {
			t.Errorf("%s is there twice", row.key)
		}
	}
	if s.sessionLife > s.maxLife {
		t.Errorf("session_life is %v by default, and max_session_life %v", s.sessionLife, s.maxLife)
	}
}

func TestExitCodesAreDocumented(t *testing.T) {
	want := []string{strconv.Itoa(exitDone), strconv.Itoa(exitUsage), strconv.Itoa(exitConnection), strconv.Itoa(exitLocal), strconv.Itoa(exitStorage), strconv.Itoa(exitBusy), strconv.Itoa(exitInterrupted)}
	var have []string
	for _, row := range rows(t, "### Exit codes of authsrv") {
		have = append(have, row[0])
	}
	if !slices.Equal(have, want) {
		t.Errorf("documented are %v, want %v", have, want)
	}
}

// warned returns the message of a call that logs a warning or an error: of Warn or Error, or of a log with one of these levels.
func warned(call *ast.CallExpr) (quoted string, ok bool) {
	method, ok := call.Fun.(*ast.SelectorExpr)
	if !ok || len(call.Args) == 0 {
		return "", false
	}
	message := call.Args[0]
	switch method.Sel.Name {
	case "Warn", "Error":
	case "log":
		level, ok := call.Args[0].(*ast.SelectorExpr)
		if !ok || len(call.Args) < 2 || level.Sel.Name != "LevelWarn" && level.Sel.Name != "LevelError" {
			return "", false
		}
		message = call.Args[1]
	default:
		return "", false
	}
	literal, ok := message.(*ast.BasicLit)
	if !ok {
		return "", false
	}
	return literal.Value, true
}

// logged returns the messages of every warning and error that what the server is made of logs.
func logged(t *testing.T) map[string]bool {
	messages := make(map[string]bool)
	for _, dir := range []string{".", "../../server", "../../internal/*", "../../kv/pebblekv"} {
		files, err := filepath.Glob(filepath.Join(dir, "*.go"))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			if strings.HasSuffix(file, "_test.go") || strings.Contains(file, "authtest") {
				continue
			}
			tree, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
			if err != nil {
				t.Fatal(err)
			}
			ast.Inspect(tree, func(n ast.Node) bool {
				call, ok := n.(*ast.CallExpr)
				if !ok {
					return true
				}
				if quoted, ok := warned(call); ok {
					text, err := strconv.Unquote(quoted)
					if err != nil {
						t.Fatal(err)
					}
					messages[text] = true
				}
				return true
			})
		}
	}
	return messages
}

func TestLogLinesAreDocumented(t *testing.T) {
	documented := make(map[string]bool)
	for _, row := range rows(t, "### Log lines that ask for action") {
		documented[strings.Trim(row[0], "`")] = true
	}
	have := logged(t)
	if len(have) < 10 {
		t.Fatalf("only %d messages: the test looks in the wrong place", len(have))
	}
	for _, m := range slices.Sorted(maps.Keys(have)) {
		if !documented[m] {
			t.Errorf("not documented: %q", m)
		}
	}
	for _, m := range slices.Sorted(maps.Keys(documented)) {
		if !have[m] {
			t.Errorf("documented, but nobody logs it: %q", m)
		}
	}
}

// unit returns what the lines of the systemd unit say, by their key.
func unit(t *testing.T) map[string][]string {
	text, err := os.ReadFile("../../deploy/authsrv.service")
	if err != nil {
		t.Fatal(err)
	}
	lines := make(map[string][]string)
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		if key, value, ok := strings.Cut(line, "="); ok && !strings.HasPrefix(line, "# ") {
			lines[key] = append(lines[key], value)
		}
	}
	return lines
}

func TestUnit(t *testing.T) {
	lines := unit(t)
	for key, want := range map[string]string{
		"Type": "notify", "NotifyAccess": "main", "ExecStart": "/usr/local/bin/authsrv run", "ExecReload": "/bin/kill -HUP $MAINPID",
		"RestartPreventExitStatus": strconv.Itoa(exitUsage) + " " + strconv.Itoa(exitLocal), "StateDirectoryMode": "0700",
		"#LoadCredential": credentialName + ":/etc/authsrv/passphrase", "CapabilityBoundingSet": "", "ProtectSystem": "strict",
		"NoNewPrivileges": "yes", "MemoryDenyWriteExecute": "yes", "PrivateUsers": "yes", "RestrictNamespaces": "yes",
	} {
		if have := lines[key]; !slices.Equal(have, []string{want}) {
			t.Errorf("%s is %q, want %q", key, have, want)
		}
	}
	for _, e := range lines["Environment"] {
		name, value, _ := strings.Cut(e, "=")
		i := slices.IndexFunc(table, func(s setting) bool { return s.environment() == name })
		if i < 0 {
			t.Fatalf("Environment has %s, which is no setting", name)
		}
		if table[i].key == "data" && value != "/var/lib/"+lines["StateDirectory"][0]+"/data" {
			t.Errorf("the data folder is %s", value) // beside it is room for the backup before a migration
		}
	}
	seconds := func(key string) time.Duration {
		d, err := time.ParseDuration(strings.Replace(lines[key][0], "min", "m", 1))
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	var s settings
	if err := settingOf("grace").parse(&s, settingOf("grace").fallback); err != nil {
		t.Fatal(err)
	}
	if stop := s.grace + stopTime + adminStopTime; seconds("TimeoutStopSec") <= stop {
		t.Errorf("a stop may take %v, and has %v", stop, seconds("TimeoutStopSec"))
	}
	if seconds("WatchdogSec") < 10*checkTime {
		t.Error("the watchdog has no patience")
	}
}
