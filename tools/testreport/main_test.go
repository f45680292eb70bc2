package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// runOn runs the program on what go test -json says of a package with these files.
func runOn(t *testing.T, files map[string]string) (code int, stdout, written string) {
	t.Helper()
	dir := t.TempDir()
	files["go.mod"] = "module example\n\ngo 1.26\n"
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command("go", "test", "-json", "./...")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOFLAGS=-mod=mod", "GOWORK=off")
	events, err := cmd.Output()
	if len(events) == 0 {
		t.Fatalf("go test: %v", err)
	}
	var out, problems bytes.Buffer
	file := filepath.Join(dir, "report")
	code = run([]string{"-report", file, "-logs", "TestLogs"}, bytes.NewReader(events), &out, &problems)
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatalf("%v\n%s", err, &problems)
	}
	return code, out.String(), string(text)
}

const head = "package p\nimport (\"testing\"; \"os\"; \"fmt\")\nvar _ = os.Exit\nvar _ = fmt.Sprint\n"

func TestReport(t *testing.T) {
	for _, c := range []struct {
		name, body string
		code       int
		stdout     []string
		written    []string // nil: empty
	}{
		{"pass", `func TestA(t *testing.T) { t.Log("noise") }`, 0,
			[]string{"ok  \texample/p", "?   \texample/none", "1 passed, 0 failed, 0 skipped"}, nil},
		{"logs", `func TestLogsA(t *testing.T) { t.Log("1,000 tries") }; func TestB(t *testing.T) { t.Log("noise") }`, 0,
			[]string{"TestLogsA\n    p_test.go:5: 1,000 tries\n", "2 passed, 0 failed, 0 skipped"}, nil},
		{"fail", `func TestA(t *testing.T) { t.Error("the reason") }; func TestB(t *testing.T) {}`, 1,
			[]string{"FAIL\texample/p", "1 passed, 1 failed"}, []string{"FAILED example/p TestA\n", "the reason"}},
		{"fail of a subtest", `func TestA(t *testing.T) { t.Run("x", func(t *testing.T) { t.Error("the reason") }) }; func TestB(t *testing.T) {}`, 1,
			nil, []string{"FAILED example/p TestA/x\n", "the reason", "FAILED example/p TestA\n"}},
		{"skip", `func TestA(t *testing.T) { t.Skip("no tool") }; func TestB(t *testing.T) {}`, 1,
			[]string{"ok  \texample/p", "1 passed, 0 failed, 1 skipped"}, []string{"SKIPPED example/p TestA\n", "no tool"}},
		{"does not compile", `func TestA(t *testing.T) { nonsense() }`, 1,
			[]string{"FAIL\texample/p [build failed]"}, []string{"FAILED example/p", "undefined: nonsense"}},
		{"panic", `func TestA(t *testing.T) { panic("the reason") }; func TestB(t *testing.T) {}`, 1,
			[]string{"FAIL\texample/p"}, []string{"FAILED example/p TestA\n", "panic: the reason"}},
		{"exit", `func TestA(t *testing.T) { os.Exit(3) }`, 1,
			[]string{"FAIL\texample/p"}, []string{"FAILED example/p TestA\n", "it did not end", "FAILED example/p\n"}},
		{"failure outside of a test", `func TestMain(m *testing.M) { m.Run(); fmt.Println("the reason"); os.Exit(1) }; func TestA(t *testing.T) {}`, 1,
			[]string{"FAIL\texample/p"}, []string{"FAILED example/p\n", "the reason"}},
		{"no tests", `func helper(t *testing.T) { helper(t) }`, 1, []string{"no test ran"}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			code, stdout, written := runOn(t, map[string]string{"p/p_test.go": head + c.body, "none/none.go": "package none\n"})
			if code != c.code {
				t.Errorf("exit %d, want %d", code, c.code)
			}
			for _, want := range c.stdout {
				if !strings.Contains(stdout, want) {
					t.Errorf("no %q in:\n%s", want, stdout)
				}
			}
			for _, want := range c.written {
				if !strings.Contains(written, want) {
					t.Errorf("no %q in the report:\n%s", want, written)
				}
			}
			if c.written == nil && written != "" || !strings.Contains(stdout, written) {
				t.Errorf("the report is:\n%s", written)
			}
		})
	}
}

func TestInputEndsEarly(t *testing.T) {
	var out bytes.Buffer
	in := `{"Action":"start","Package":"p"}
{"Action":"run","Package":"p","Test":"TestA"}
{"Action":"pass","Package":"p","Test":"TestA"}
{"Action":"run","Package":"p","Test":"TestB"}
`
	if code := run(nil, strings.NewReader(in), &out, &out); code != 1 || !strings.Contains(out.String(), "FAILED p TestB\n") {
		t.Errorf("exit %d:\n%s", code, &out)
	}
	out.Reset()
	if code := run(nil, strings.NewReader("go: cannot find main module\n"), &out, &out); code != 1 || !strings.Contains(out.String(), "main module") {
		t.Errorf("exit %d:\n%s", code, &out)
	}
}

func TestUsage(t *testing.T) {
	var out bytes.Buffer
	if code := run([]string{"file"}, strings.NewReader(""), &out, &out); code != 2 {
		t.Errorf("exit %d", code)
	}
}
