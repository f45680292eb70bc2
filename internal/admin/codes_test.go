package admin

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/authsrv/authsrv/client"
	"github.com/authsrv/authsrv/internal/authtest"
)

// code does an operation that issues one.
func code(t *testing.T, d Doer, op string, params any) (Code, client.CodeText) {
	t.Helper()
	var c Code
	err := d.Do(t.Context(), NewRequest(op, params), func(result json.RawMessage) error { return json.Unmarshal(result, &c) })
	if err != nil {
		t.Fatalf("%s: %v", op, err)
	}
	parsed, err := client.ParseCode(c.Code)
	if err != nil {
		t.Fatalf("%s: %v", op, err)
	}
	return c, parsed
}

func TestCodes(t *testing.T) {
	const next = "another horse staple battery"
	doers(t, func(t *testing.T, d Doer, s *authtest.Server) {
		s.Register("alice", password)
		made, reset := code(t, d, "user.reset", NamedLife{Named: Named{"Alice"}})
		if made.Kind != "reset" || made.Name != "alice" || absolute(time.Until(made.Expires)-24*time.Hour) > time.Minute || reset.Fingerprint() != s.Fingerprint {
			t.Errorf("made: %v", made)
		}
		if err := s.Dial(nil).Reset(t.Context(), "alice", reset, next); err != nil {
			t.Error(err)
		}
		s.Login(nil, "alice", next)
		made, invite := code(t, d, "invite.create", Life{Life: 3600})
		if made.Kind != "invite" || made.Name != "" || absolute(time.Until(made.Expires)-time.Hour) > time.Minute {
			t.Errorf("made: %v", made)
		}
		if err := s.Dial(nil).Register(t.Context(), "bob", password, &client.RegisterOptions{Invite: &invite}); err != nil {
			t.Error(err)
		}
		if shown := fmt.Sprintf("%v %+v %s", made, made, made); strings.Contains(shown, made.Code[20:40]) {
			t.Errorf("printing it shows %s", shown)
		}
		for request, want := range map[string]string{
			`{"op":"user.reset","name":"nobody"}`:               CodeNoAccount,
			`{"op":"user.reset"}`:                               CodeNoAccount,
			`{"op":"user.reset","name":"alice","life":59}`:      CodeBadRequest,
			`{"op":"user.reset","name":"alice","life":-1}`:      CodeBadRequest,
			`{"op":"invite.create","life":2592001}`:             CodeBadRequest,
			`{"op":"invite.create","life":9223372036854775807}`: CodeBadRequest,
			`{"op":"invite.create","name":"alice"}`:             CodeBadRequest,
			`{"op":"invite.create","life":"7d"}`:                CodeBadRequest,
		} {
			err := d.Do(t.Context(), json.RawMessage(request), func(json.RawMessage) error {
				t.Errorf("%s: a result", request)
				return nil
			})
			if !errors.Is(err, &Error{Code: want}) {
				t.Errorf("%s: %v, want %s", request, err, want)
			}
		}
	})
	s := authtest.New(t, authtest.Options{})
	for _, op := range []string{"user.reset", "invite.create"} { // who doesn't know the identity can't make a code of it
		if _, err := do(&Operations{Accounts: s.Accounts}, op, nil); !errors.Is(err, &Error{Code: CodeUnavailable}) {
			t.Errorf("%s: %v", op, err)
		}
	}
}

func absolute(d time.Duration) time.Duration { return max(d, -d) }
