package account

import (
	"errors"
	"testing"

	"github.com/authsrv/authsrv/kv"
)

func TestRevokeEverything(t *testing.T) {
	r, peers, logins := inhabited(t)
	before := r.keys()
	ended, err := r.RevokeEverything(t.Context())
	if ended != len(logins) || err != nil {
		t.Fatalf("ended %d sessions, of %d: %v", ended, len(logins), err)
	}
	for i, l := range logins {
		_, err := peers[i].again().resume(l.Token)
		wantError(t, err, ErrSessionRevoked)
		wantError(t, r.Check(t.Context(), l.Session), ErrSessionRevoked)
		peers[i].again().mustLogin(l.Session.Name, right())
	}
	after := r.keys()
	if after[spaceAccount] != before[spaceAccount] || after[spaceName] != before[spaceName] {
		t.Errorf("there were %v, now there are %v", before, after)
	}
	n := 0
	for _, e := range r.scan(spaceAudit) {
		var event Event
		if err := r.store.decode(labelAudit, e.Key, e.Value, &event); err != nil {
			t.Fatal(err)
		}
		if event.Kind == KindRestore && event.Account == (ID{}) && event.Name == "" && event.Outcome == Success {
			n++
		}
	}
	if n != 1 {
		t.Errorf("%d audit records say so", n)
	}
}

// It is cut short after its first batch, and then run again.
func TestRevokeEverythingAgain(t *testing.T) {
	const sessions = 2*kv.MaxOps + 5
	r := newRig(t)
	l := r.peer("").account("alice")
	session := r.scan(spaceSession)[0]
	for i := range byte(3) {
		var writes []kv.Write
		for j := range byte(kv.MaxOps) {
			id := ID{0: 1 + i, 1: j}
			writes = append(writes, kv.Write{Key: sessionKey(l.Session.Account, id), Value: session.Value})
		}
		if i == 2 {
			writes = writes[:sessions-1-2*kv.MaxOps]
		}
		if _, err := r.spy.Engine.Commit(t.Context(), nil, writes); err != nil {
			t.Fatal(err)
		}
	}
	cut := errors.New("cut")
	batches := 0
	r.spy.commit = func([]kv.Write) error {
		if batches++; batches > 1 {
			return cut
		}
		return nil
	}
	if ended, err := r.RevokeEverything(t.Context()); ended != kv.MaxOps || !errors.Is(err, cut) {
		t.Fatalf("ended %d: %v", ended, err)
	}
	r.spy.commit = nil
	if have := r.keys()[spaceSession]; have != sessions-kv.MaxOps {
		t.Errorf("%d sessions are left", have)
	}
	if ended, err := r.RevokeEverything(t.Context()); ended != sessions-kv.MaxOps || err != nil {
		t.Errorf("ended %d more: %v", ended, err)
	}
	if have := r.keys()[spaceSession]; have != 0 {
		t.Errorf("%d sessions are left", have)
	}
	if ended, err := r.RevokeEverything(t.Context()); ended != 0 || err != nil {
		t.Errorf("ended %d of none: %v", ended, err)
	}
}
