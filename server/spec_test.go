package server_test

import (
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/authsrv/authsrv/server"
)

// table returns the rows of the one table of docs/PROTOCOL.md that has these column heads.
func table(t *testing.T, heads ...string) [][]string {
	t.Helper()
	text, err := os.ReadFile("../docs/PROTOCOL.md")
	if err != nil {
		t.Fatal(err)
	}
	head := "| " + strings.Join(heads, " | ") + " |\n"
	_, after, found := strings.Cut(string(text), head)
	if !found || strings.Contains(after, head) {
		t.Fatalf("there is not one table of %q", heads)
	}
	var rows [][]string
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

type specRow struct {
	server.Row
	answer, refusal string
}

func specRows(t *testing.T) (rows []specRow) {
	t.Helper()
	for _, r := range table(t, "state", "event", "answer", "then", "refused", "then") {
		rows = append(rows, specRow{server.Row{State: r[0], Event: r[1], Then: r[3], Refused: r[5]}, r[2], r[4]})
	}
	return rows
}

// TestStatesAreThoseOfTheSpec holds the state table against that of PROTOCOL 9, both ways. What is answered is held against
// it in TestAnswers.
func TestStatesAreThoseOfTheSpec(t *testing.T) {
	code := server.Rows()
	for _, row := range specRows(t) {
		i := slices.Index(code, row.Row)
		if i < 0 {
			t.Errorf("the code does not have the row %+v", row.Row)
			continue
		}
		code = slices.Delete(code, i, i+1)
	}
	for _, row := range code {
		t.Errorf("the spec does not have the row %+v", row)
	}
}

// TestLimitsAreThoseOfTheSpec holds this package's limits against the table of PROTOCOL 11, both ways: those that it
// does not have are of the packages below.
func TestLimitsAreThoseOfTheSpec(t *testing.T) {
	ours := server.Limits()
	elsewhere := []string{
		"M1, M2", "M3", "nonce life", "records each way", "session life, longest", "session life, default", "token", "name", "password",
	}
	for _, row := range table(t, "limit", "value", "unit") {
		value, err := strconv.Atoi(row[1])
		limit, known := ours[row[0]]
		switch {
		case err != nil:
			t.Error(err)
		case known && limit != value:
			t.Errorf("%s: the spec has %d, the code %d", row[0], value, limit)
		case !known && !slices.Contains(elsewhere, row[0]):
			t.Errorf("the code does not have the limit of %q", row[0])
		}
		delete(ours, row[0])
	}
	for name := range ours {
		t.Errorf("the spec does not have the limit of %q", name)
	}
}
