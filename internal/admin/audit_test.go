package admin

import (
	"encoding/json"
	"errors"
	"testing"
	"time"

	"github.com/authsrv/authsrv/internal/authtest"
)

func TestAudit(t *testing.T) {
	s := authtest.New(t, authtest.Options{})
	o := &Operations{Accounts: s.Accounts, Keys: ringOf(0)}
	dir := serve(t, o)
	client, err := Dial(dir)
	if err != nil {
		t.Fatal(err)
	}
	s.Register("alice", password)
	s.Login(nil, "alice", password)
	mustDo(t, o, "user.disable", Named{"alice"})
	if _, err := do(o, "audit.checkpoint", nil); !errors.Is(err, &Error{Code: CodeUnavailable}) {
		t.Errorf("a checkpoint of nothing: %v", err)
	}
	if err := s.Accounts.ChainAudit(t.Context(), time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	for what, d := range map[string]Doer{"direct": o, "socket": client} {
		events := mustDo(t, d, "audit.list", nil)
		if len(events) != 3 || events[0]["kind"] != "register" || events[1]["count"] != 1.0 || events[2]["address"] != nil || events[2]["name"] != "alice" {
			t.Errorf("%s: %v", what, events)
		}
		page := mustDo(t, d, "audit.list", AuditQuery{Page: Page{After: events[0]["id"].(string), Limit: 1}})
		if len(page) != 1 || page[0]["id"] != events[1]["id"] {
			t.Errorf("%s: a page: %v", what, page)
		}
		for want, q := range map[int]AuditQuery{1: {Kind: "login"}, 0: {Name: "bob"}, 3: {Name: "Alice", From: time.Now().Add(-time.Hour)}} {
			if got := mustDo(t, d, "audit.list", q); len(got) != want {
				t.Errorf("%s: %+v: %v", what, q, got)
			}
		}
		if _, err := do(d, "audit.list", AuditQuery{Kind: "nonsense"}); !errors.Is(err, &Error{Code: CodeBadRequest}) {
			t.Errorf("%s: %v", what, err)
		}
		if r := mustDo(t, d, "audit.verify", nil); r[0]["links"] != 1.0 || r[0]["events"] != 3.0 || r[0]["unchained"] != 0.0 {
			t.Errorf("%s: %v", what, r)
		}
		var check AuditCheck
		text, err := json.Marshal(map[string]any{"checkpoint": mustDo(t, d, "audit.checkpoint", nil)[0]})
		if err == nil {
			err = json.Unmarshal(text, &check)
		}
		if err != nil {
			t.Fatal(err)
		}
		mustDo(t, d, "audit.verify", check)
		check.Checkpoint.Seq++
		if _, err := do(d, "audit.verify", check); !errors.Is(err, &Error{Code: CodeNotCheckpoint}) {
			t.Errorf("%s: another checkpoint: %v", what, err)
		}
	}
}
