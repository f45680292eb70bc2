package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
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
	lines := &auditLines{out: &out, left: -1, seen: make(map[string]auditID)}
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

// journal answers to audit.list with events by their ids.
type journal struct {
	events []admin.AuditEvent
	taken  func() // is called behind each
}

func (j *journal) Do(_ context.Context, request json.RawMessage, emit func(json.RawMessage) error) error {
	var q admin.AuditQuery
	if err := json.Unmarshal(request, &q); err != nil {
		return err
	}
	n := 0
	for _, e := range j.events {
		if e.ID <= q.After || n == q.Limit {
			continue
		}
		n++
		text, err := json.Marshal(&e)
		if err == nil {
			err = emit(text)
		}
		if err != nil {
			return err
		}
		j.taken()
	}
	return nil
}

// With a limit the oldest are printed, in the order of time, however many failures come first in their minute, and no more is held than that.
func TestAuditOldest(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	minute := time.Now().Add(-time.Hour).Truncate(time.Minute)
	var j journal
	for i := range 3000 {
		when := minute.Add(time.Duration(random.Int64N(int64(3 * time.Minute))))
		of := when
		if random.IntN(2) == 0 { // a failure
			of = when.Truncate(time.Minute)
		}
		j.events = append(j.events, admin.AuditEvent{ID: fmt.Sprintf("%016x%016x", of.UnixNano(), i), Time: when, Last: when, Count: 1, Kind: "login", Name: fmt.Sprintf("n%d", i)})
	}
	slices.SortFunc(j.events, func(a, b admin.AuditEvent) int { return strings.Compare(a.ID, b.ID) })
	byTime := slices.Clone(j.events)
	slices.SortStableFunc(byTime, func(a, b admin.AuditEvent) int { return a.Time.Compare(b.Time) })
	for _, limit := range []int{1, 2, 19, 499, 500, 501, 1700, 2999, 3000, 4000, -1} {
		var out bytes.Buffer
		lines := &auditLines{out: &out, json: true, left: limit, seen: make(map[string]auditID)}
		most := 0
		j.taken = func() { most = max(most, len(lines.held)) }
		if err := auditPages(t.Context(), &j, admin.AuditQuery{}, lines); err != nil {
			t.Fatal(err)
		}
		if limit > 0 && most > limit {
			t.Errorf("limit %d: %d were held", limit, most)
		}
		want := byTime
		if limit > 0 {
			want = byTime[:min(limit, len(byTime))]
		}
		var got []admin.AuditEvent
		for d := json.NewDecoder(&out); d.More(); {
			var e admin.AuditEvent
			if err := d.Decode(&e); err != nil {
				t.Fatal(err)
			}
			got = append(got, e)
		}
		same := func(a, b admin.AuditEvent) bool { return a.ID == b.ID }
		if !slices.EqualFunc(got, want, same) {
			t.Errorf("limit %d: %d events, and not the oldest %d by their time", limit, len(got), len(want))
		}
	}
}

func TestParseMoment(t *testing.T) {
	here := time.Local
	time.Local = time.FixedZone("elsewhere", 5*3600)
	defer func() { time.Local = here }()
	now := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	for text, want := range map[string]time.Time{
		"24h": now.Add(-24 * time.Hour), "2026-11-20": now.Add(-36 * time.Hour), "2026-11-21 11:30": now.Add(-30 * time.Minute),
		"2026-11-21 11:30 UTC": now.Add(-30 * time.Minute), "2026-11-21 11:30:15 UTC": now.Add(15*time.Second - 30*time.Minute),
		"2026-11-21T14:00:00+02:00": now, "2026-11-21T12:00:00Z": time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC),
	} {
		if got, ok := parseMoment(text, now); !ok || !got.Equal(want) {
			t.Errorf("%s: %v, %v", text, got, ok)
		}
	}
	if got, want := moment(now.In(time.Local)), "2026-11-21 12:00 UTC"; got != want {
		t.Errorf("shown as %s, not %s", got, want)
	}
	for _, text := range []string{"", "UTC", "yesterday", "-1h", "2026-13-01"} {
		if got, ok := parseMoment(text, now); ok {
			t.Errorf("%q: %v", text, got)
		}
	}
}
