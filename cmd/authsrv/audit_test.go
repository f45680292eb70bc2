package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/authsrv/authsrv/internal/admin"
)

// Events come by their ids, and are printed by their time; what was counted once more is printed once more.
func TestAuditLines(t *testing.T) {
	minute := time.Now().Truncate(time.Minute)
	at := func(id, s int, count uint32, name string) json.RawMessage {
		when := minute.Add(time.Duration(s) * time.Second)
		text, err := json.Marshal(&admin.AuditEvent{
			ID:   fmt.Sprintf("%016x%016x", minute.Add(time.Duration(id)*time.Second).UnixNano(), s),
			Time: when, Last: when, Count: count, Kind: "login", Name: name,
		})
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	var out bytes.Buffer
	lines := &auditLines{out: &out, seen: make(map[string]auditID)}
	took := func(want string, events ...json.RawMessage) {
		t.Helper()
		out.Reset()
		for _, e := range events {
			if _, err := lines.add(e); err != nil {
				t.Fatal(err)
			}
		}
		if err := lines.flush(); err != nil {
			t.Fatal(err)
		}
		var names []string
		for line := range strings.Lines(out.String()) {
			fields := strings.Fields(line)
			names = append(names, fields[len(fields)-1])
		}
		if got := strings.Join(names, " "); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	first := []json.RawMessage{at(0, 30, 1, "c"), at(0, 50, 2, "e"), at(10, 10, 1, "a"), at(20, 20, 1, "b"), at(40, 40, 1, "d")}
	took("a b c d e", first...)
	took("")
	took("c", append([]json.RawMessage{at(0, 30, 2, "c")}, first[1:]...)...)
	took(`"f\x1b[2J"`, at(51, 51, 1, "f\x1b[2J"))
}

func TestParseMoment(t *testing.T) {
	now := time.Date(2026, 11, 21, 12, 0, 0, 0, time.Local)
	for text, want := range map[string]time.Time{
		"24h": now.Add(-24 * time.Hour), "2026-11-20": now.Add(-36 * time.Hour), "2026-11-21 11:30": now.Add(-30 * time.Minute),
		"2026-11-21T12:00:00Z": time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC),
	} {
		if got, ok := parseMoment(text, now); !ok || !got.Equal(want) {
			t.Errorf("%s: %v, %v", text, got, ok)
		}
	}
	for _, text := range []string{"", "yesterday", "-1h", "2026-13-01"} {
		if got, ok := parseMoment(text, now); ok {
			t.Errorf("%q: %v", text, got)
		}
	}
}
