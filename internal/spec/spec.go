// Package spec reads the documents under docs/, for tests that hold the code against them.
package spec

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Text returns a document of docs/.
func Text(t testing.TB, document string) string {
	t.Helper()
	dir, err := os.Getwd() // of a test that is its package's folder
	for ; err == nil; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil || dir == filepath.Dir(dir) {
			break
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(filepath.Join(dir, "docs", document))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// Table returns the cells of the one table of a document that has these column heads, and fails on none.
func Table(t testing.TB, document string, heads ...string) (rows [][]string) {
	t.Helper()
	head := "| " + strings.Join(heads, " | ") + " |\n"
	_, after, found := strings.Cut(Text(t, document), head)
	if !found || strings.Contains(after, head) {
		t.Fatalf("there is not one table of %q in %s", heads, document)
	}
	for line := range strings.Lines(after) {
		if !strings.HasPrefix(line, "|") {
			break
		}
		if strings.HasPrefix(line, "|---") {
			continue
		}
		row := strings.Split(strings.Trim(line, "|\n"), "|")
		if len(row) != len(heads) {
			t.Fatalf("row %q has %d columns, want %d", line, len(row), len(heads))
		}
		for i := range row {
			row[i] = strings.TrimSpace(row[i])
		}
		rows = append(rows, row)
	}
	if len(rows) == 0 {
		t.Fatalf("the table of %q has no rows", heads)
	}
	return rows
}
