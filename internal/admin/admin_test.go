package admin

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/authsrv/authsrv/internal/account"
	"github.com/authsrv/authsrv/internal/authtest"
	"github.com/authsrv/authsrv/internal/keyfile"
	"github.com/authsrv/authsrv/internal/keyring"
)

const password = "correct horse battery staple"

// do does an operation and returns its results.
func do(d Doer, op string, params any) (results []map[string]any, err error) {
	err = d.Do(context.Background(), NewRequest(op, params), func(result json.RawMessage) error {
		var r map[string]any
		if err := json.Unmarshal(result, &r); err != nil {
			return err
		}
		results = append(results, r)
		return nil
	})
	return results, err
}

func mustDo(t *testing.T, d Doer, op string, params any) []map[string]any {
	t.Helper()
	results, err := do(d, op, params)
	if err != nil {
		t.Fatalf("%s: %v", op, err)
	}
	return results
}

// doers runs a test with the operations as they are, and by way of a socket.
func doers(t *testing.T, test func(t *testing.T, d Doer, s *authtest.Server)) {
	t.Run("direct", func(t *testing.T) {
		s := authtest.New(t, authtest.Options{})
		test(t, &Operations{Accounts: s.Accounts, Status: stubStatus, Keys: ringOf(0)}, s)
	})
	t.Run("socket", func(t *testing.T) {
		s := authtest.New(t, authtest.Options{})
		dir := serve(t, &Operations{Accounts: s.Accounts, Status: stubStatus, Keys: ringOf(0)})
		c, err := Dial(dir)
		if err != nil {
			t.Fatal(err)
		}
		test(t, c, s)
	})
}

func stubStatus(context.Context) (*Status, error) {
	n := 3
	return &Status{Running: true, Version: "v1", PID: 7, Connections: &n, Data: "data", DataBytes: 9}, nil
}

func TestOperations(t *testing.T) {
	doers(t, func(t *testing.T, d Doer, s *authtest.Server) {
		for _, name := range []string{"alice", "bob", "carol"} {
			s.Register(name, password)
		}
		session := s.Login(nil, "alice", password)
		other := s.Login(nil, "alice", password)

		users := mustDo(t, d, "user.list", nil)
		var names []string
		for _, u := range users {
			names = append(names, u["name"].(string))
		}
		if slices.Sort(names); !slices.Equal(names, []string{"alice", "bob", "carol"}) {
			t.Errorf("listed: %v", names)
		}
		first := mustDo(t, d, "user.list", Page{Limit: 1})
		rest := mustDo(t, d, "user.list", Page{After: first[0]["id"].(string)})
		if len(first) != 1 || len(rest) != 2 || first[0]["id"] != users[0]["id"] || rest[0]["id"] != users[1]["id"] {
			t.Errorf("pages: %v, %v", first, rest)
		}
		if u := mustDo(t, d, "user.show", Named{"alice"}); len(u) != 1 || u[0]["sessions"] != 2.0 || u[0]["disabled"] != false {
			t.Errorf("shown: %v", u)
		}

		sessions := mustDo(t, d, "session.list", NamedPage{Named: Named{"alice"}})
		if len(sessions) != 2 {
			t.Fatalf("sessions: %v", sessions)
		}
		mine := ""
		for e, err := range session.Sessions(t.Context()) {
			if err != nil {
				t.Fatal(err)
			}
			if e.Current {
				mine = e.ID.String()
			}
		}
		if u := mustDo(t, d, "session.revoke", NamedSession{Named{"alice"}, mine}); u[0]["sessions"] != 1.0 {
			t.Errorf("after the end of one: %v", u)
		}
		<-session.Done() // the connection ends
		if _, err := other.WhoAmI(t.Context()); err != nil {
			t.Errorf("the other session: %v", err)
		}
		if u := mustDo(t, d, "session.revoke-all", Named{"alice"}); u[0]["ended"] != 1.0 || u[0]["sessions"] != 0.0 {
			t.Errorf("after the end of all: %v", u)
		}
		<-other.Done()

		third := s.Login(nil, "bob", password)
		if u := mustDo(t, d, "user.disable", Named{"bob"}); u[0]["disabled"] != true || u[0]["sessions"] != 0.0 {
			t.Errorf("disabled: %v", u)
		}
		<-third.Done()
		if u := mustDo(t, d, "user.enable", Named{"bob"}); u[0]["disabled"] != false || u[0]["sessions"] != 0.0 {
			t.Errorf("enabled: %v", u)
		}
		mustDo(t, d, "user.unlock", Named{"bob"})
		fourth := s.Login(nil, "carol", password)
		if u := mustDo(t, d, "user.delete", Named{"Carol"}); u[0]["name"] != "carol" || u[0]["sessions"] != 1.0 {
			t.Errorf("deleted: %v", u)
		}
		<-fourth.Done()
		if left := mustDo(t, d, "user.list", nil); len(left) != 2 {
			t.Errorf("left: %v", left)
		}
		if st := mustDo(t, d, "status", nil); st[0]["running"] != true || st[0]["pid"] != 7.0 || st[0]["data_bytes"] != 9.0 {
			t.Errorf("status: %v", st)
		}
	})
}

func TestRefusals(t *testing.T) {
	doers(t, func(t *testing.T, d Doer, s *authtest.Server) {
		s.Register("alice", password)
		for request, want := range map[string]string{
			`{"op":"user.show","name":"bob"}`:    CodeNoAccount,
			`{"op":"user.show"}`:                 CodeNoAccount,
			`{"op":"user.delete","name":"bob"}`:  CodeNoAccount,
			`{"op":"session.list","name":"bob"}`: CodeNoAccount,
			`{"op":"session.revoke","name":"alice","session":"` + strings.Repeat("0", 32) + `"}`: CodeNoSession,
			`{"op":"session.revoke","name":"alice","session":"0"}`:                               CodeBadRequest,
			`{"op":"session.revoke","name":"alice"}`:                                             CodeBadRequest,
			`{"op":"user.list","after":"x"}`:                                                     CodeBadRequest,
			`{"op":"user.list","limit":-1}`:                                                      CodeBadRequest,
			`{"op":"user.list","limit":"1"}`:                                                     CodeBadRequest,
			`{"op":"user.list","name":"alice"}`:                                                  CodeBadRequest,
			`{"op":"status","name":"alice"}`:                                                     CodeBadRequest,
			`{"op":"user.nosuch"}`:                                                               CodeUnknownOperation,
			`{"op":7}`:                                                                           CodeBadRequest,
			`{"name":"alice"}`:                                                                   CodeBadRequest,
			`{}`:                                                                                 CodeBadRequest,
			`[]`:                                                                                 CodeBadRequest,
			`{"op":"status"} {}`:                                                                 CodeBadRequest,
			``:                                                                                   CodeBadRequest,
			strings.Repeat(" ", maxRequest):                                                      CodeBadRequest,
		} {
			err := d.Do(t.Context(), json.RawMessage(request), func(json.RawMessage) error {
				t.Errorf("%.60s: a result", request)
				return nil
			})
			if !errors.Is(err, &Error{Code: want}) {
				t.Errorf("%.60s: %v, want %s", request, err, want)
			}
		}
	})
}

// What a part is missing for is told of, not run into.
func TestUnavailable(t *testing.T) {
	for op := range table {
		if _, err := do(&Operations{}, op, nil); !errors.Is(err, &Error{Code: CodeUnavailable}) {
			t.Errorf("%s: %v", op, err)
		}
	}
}

// A store that fails has its own code.
func TestStorageFails(t *testing.T) {
	engine, err := authtest.OpenEngine()
	if err != nil {
		t.Fatal(err)
	}
	s := authtest.New(t, authtest.Options{Engine: engine})
	if err := engine.Close(); err != nil {
		t.Fatal(err)
	}
	for _, op := range []string{"user.list", "user.show", "user.disable", "user.delete", "session.list", "user.reset", "invite.create"} {
		if _, err := do(&Operations{Accounts: s.Accounts, Keys: ringOf(0)}, op, nil); !errors.Is(err, &Error{Code: CodeStorage}) {
			t.Errorf("%s: %v", op, err)
		}
	}
}

// Results are told from the last line by their first field.
func TestResultsAreNotFinal(t *testing.T) {
	for _, result := range []any{&User{}, &Session{}, &Status{}, &Code{}, &AuditEvent{}, &AuditReport{}, &account.AuditCheckpoint{}} {
		text, err := json.Marshal(result)
		if err != nil {
			t.Fatal(err)
		}
		if last, _ := parseFinal(text); last {
			t.Errorf("%T is taken for the last line: %s", result, text)
		}
	}
	for text, want := range map[string]string{
		`{"ok":true}`: "", `{"error":{"code":"busy","message":"m"}}`: "busy",
		`{"ok":false}`: CodeNoAnswer, `{"ok":`: CodeNoAnswer, `{"error":null}`: CodeNoAnswer,
	} {
		last, err := parseFinal([]byte(text))
		if !last || (want == "") != (err == nil) || want != "" && !errors.Is(err, &Error{Code: want}) {
			t.Errorf("%s: %v, %v", text, last, err)
		}
	}
}

// A list goes on over pages, stops at its limit, and passes on whatever ends it.
func TestListPages(t *testing.T) {
	const n = 2*pageSize + 50
	fetch := func(after account.ID, limit int) (page []account.ID, more bool, err error) {
		from := int(after[0])<<8 + int(after[1])
		for i := from + 1; i <= n && len(page) < limit; i++ {
			page = append(page, account.ID{byte(i >> 8), byte(i)})
		}
		return page, from+len(page) < n, nil
	}
	for limit, want := range map[int]int{0: n, 1: 1, pageSize: pageSize, pageSize + 1: pageSize + 1, n: n, n + 1: n} {
		seen := make(map[account.ID]bool)
		err := list(&Page{Limit: limit}, fetch, func(id *account.ID) (account.ID, error) {
			seen[*id] = true
			return *id, nil
		})
		if err != nil || len(seen) != want {
			t.Errorf("limit %d: %d of %d, %v", limit, len(seen), want, err)
		}
	}
	stop := errors.New("stop")
	if err := list(&Page{}, fetch, func(*account.ID) (account.ID, error) { return account.ID{}, stop }); err != stop {
		t.Errorf("%v", err)
	}
}

// The table's names and codes are part of the protocol: this holds them.
func TestNamesAreStable(t *testing.T) {
	want := []string{
		"audit.checkpoint", "audit.list", "audit.verify", "invite.create", "session.list", "session.revoke", "session.revoke-all", "status",
		"user.delete", "user.disable", "user.enable", "user.list", "user.reset", "user.show", "user.unlock",
	}
	have := slices.Collect(maps.Keys(table))
	for _, name := range want {
		if !slices.Contains(have, name) {
			t.Errorf("%s is gone", name)
		}
	}
}

// ringOf is the keys of a test's server, as far as they are needed here.
func ringOf(n byte) *keyring.Ring {
	return keyring.New(&keyring.Config{Keys: &keyfile.Keys{Identity: keyfile.Secret(authtest.Identity(n).Seed())}})
}
