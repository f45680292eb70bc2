package server_test

import (
	"slices"
	"strconv"
	"testing"

	"github.com/authsrv/authsrv/internal/spec"
	"github.com/authsrv/authsrv/server"
)

type specRow struct {
	server.Row
	answer, refusal string
}

func specRows(t *testing.T) (rows []specRow) {
	t.Helper()
	for _, r := range spec.Table(t, "PROTOCOL.md", "state", "event", "answer", "then", "refused", "then") {
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
		"operations of an account with the password, at once and a minute", // authsrv: account.DefaultOperationsPerMinute
	}
	for _, row := range spec.Table(t, "PROTOCOL.md", "limit", "value", "unit") {
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
