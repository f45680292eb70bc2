package account

import (
	"errors"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"
)

// TestAudit runs everything that is recorded, and holds the records against it.
func TestAudit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		mapped := r.peer("::ffff:" + one)
		p := r.peer(one)
		var want []Event
		step := func(kind Kind, outcome Outcome, account, session ID, name, address string) {
			e := Event{Time: time.Now(), Kind: kind, Outcome: outcome, Account: account, Session: session, Name: name}
			if address != "" {
				e.Address = netip.MustParseAddr(address)
			}
			want = append(want, e)
			time.Sleep(time.Second)
		}
		must := func(err error) {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
		}

		must(mapped.register("alice", right()))
		_, alice, _, err := r.lookup(r.now(t.Context()), "alice")
		must(err)
		a := p.mustLogin("alice", right()) // in the same second
		id := a.Session.Account
		step(KindRegister, Success, id, ID{}, "alice", one)
		want = append(want, Event{Time: want[0].Time, Kind: KindLogin, Outcome: Success, Account: id, Session: a.Session.ID, Name: alice.name, Address: netip.MustParseAddr(one)})
		p.fail("alice")
		step(KindLogin, WrongPassword, ID{}, ID{}, "alice", one)
		r.peer(six).fail("nobody")
		step(KindLogin, UnknownName, ID{}, ID{}, "nobody", six)
		r.peer("").fail("nobody")
		step(KindLogin, UnknownName, ID{}, ID{}, "nobody", "")
		att, tr := p.beginLogin(p.start("alice"))
		time.Sleep(NonceLife + 1)
		_, err = r.FinishLogin(t.Context(), att, right().Prove(tr.Sum()))
		wantDenied(t, err)
		step(KindLogin, NonceExpired, ID{}, ID{}, "alice", one)
		r.edit(id, func(a *accountRecord) { a.flags |= flagDisabled })
		_, err = p.login("alice", right())
		wantDenied(t, err)
		step(KindLogin, Disabled, ID{}, ID{}, "alice", one)
		r.edit(id, func(a *accountRecord) { a.flags = 0 })
		_, err = p.changePassword(a.Session, wrong(), right())
		wantDenied(t, err)
		step(KindChangePassword, WrongPassword, ID{}, ID{}, "alice", one)
		b, err := p.changePassword(a.Session, right(), keyOf("next"))
		must(err)
		step(KindChangePassword, Success, id, b.Session.ID, "alice", one)
		must(p.revokeAll(b.Session, keyOf("next")))
		step(KindRevokeAll, Success, id, b.Session.ID, "alice", one)
		c := p.mustLogin("alice", keyOf("next"))
		step(KindLogin, Success, id, c.Session.ID, "alice", one)
		must(r.Logout(t.Context(), c.Session, &p.ch))
		step(KindLogout, Success, id, c.Session.ID, "alice", one)
		d := p.mustLogin("alice", keyOf("next"))
		step(KindLogin, Success, id, d.Session.ID, "alice", one)
		must(p.delete(d.Session, keyOf("next")))
		step(KindDelete, Success, id, d.Session.ID, "alice", one)

		// What is not recorded: resumptions, refused registrations, and what comes too early.
		wantError(t, p.register("bob", wrong()), nil)
		_, bob, _, err := r.lookup(r.now(t.Context()), "bob")
		must(err)
		bobs := p.mustLogin("bob", wrong())
		want = append(want,
			Event{Time: time.Now(), Kind: KindRegister, Outcome: Success, Account: bobs.Session.Account, Name: bob.name, Address: netip.MustParseAddr(one)},
			Event{Time: time.Now(), Kind: KindLogin, Outcome: Success, Account: bobs.Session.Account, Session: bobs.Session.ID, Name: "bob", Address: netip.MustParseAddr(one)})
		_, err = p.again().resume(bobs.Token)
		must(err)
		wantError(t, p.register("bob", right()), ErrNameTaken)
		for i := range 6 {
			r.peer(address(i)).fail("eve")
			want = append(want, Event{Time: time.Now(), Kind: KindLogin, Outcome: UnknownName, Name: "eve", Address: netip.MustParseAddr(address(i))})
		}
		if d := r.peer(two).fail("eve"); d.Reason != Throttled {
			t.Errorf("not throttled: %+v", d)
		}

		got, err := r.Events(t.Context(), time.Time{}, 1000)
		if err != nil || len(got) != len(want) {
			t.Fatalf("%d events, want %d; %v", len(got), len(want), err)
		}
		for i := range want { // those of one moment are in no order
			found := false
			for _, e := range got {
				if e.Time.Equal(want[i].Time) {
					e.Time = want[i].Time
					found = found || e == want[i]
				}
			}
			if !found {
				t.Errorf("event %d: there is no %+v, but %+v", i, want[i], got[i])
			}
		}
		for i := 1; i < len(got); i++ {
			if got[i].Time.Before(got[i-1].Time) {
				t.Errorf("event %d is older than the one before", i)
			}
		}
		page, err := r.Events(t.Context(), got[4].Time, 3)
		if err != nil || len(page) != 3 || page[0] != got[4] || page[2] != got[6] {
			t.Errorf("a page: %+v, %v", page, err)
		}
		if page, err = r.Events(t.Context(), time.Now().Add(1), 3); err != nil || len(page) != 0 {
			t.Errorf("of the future: %+v, %v", page, err)
		}
	})
}

func TestAuditChecked(t *testing.T) {
	r := newRig(t, func(c *Config) { c.Registration = RegistrationChecked })
	if err := r.FinishRegisterChecked(t.Context(), r.peer(one).beginChecked("alice"), []byte(pass)); err != nil {
		t.Fatal(err)
	}
	if e, err := r.Events(t.Context(), time.Time{}, 2); err != nil || len(e) != 1 || e[0].Kind != KindRegisterChecked || e[0].Outcome != Success {
		t.Errorf("%+v, %v", e, err)
	}
}

// TestNumbers: what was written once is read as the same for good.
func TestNumbers(t *testing.T) {
	for i, want := range []string{"kind-0", "register", "register-checked", "login", "logout", "change-password", "logout-all", "delete", "reset", "register-invited", "kind-10"} {
		if got := Kind(i).String(); got != want {
			t.Errorf("kind %d is %q, want %q", i, got, want)
		}
	}
	for i, want := range []string{"outcome-0", "success", "wrong-password", "unknown-name", "nonce-expired", "disabled", "throttled",
		"unknown-code", "wrong-code", "expired-code", "foreign-code", "outcome-11"} {
		if got := Outcome(i).String(); got != want {
			t.Errorf("outcome %d is %q, want %q", i, got, want)
		}
	}
	if d := error(&Denied{Reason: Disabled}); d.Error() != "account: denied: disabled" || errors.Is(d, ErrNameTaken) {
		t.Error(d)
	}
	if d := error(&Denied{Reason: WrongCode, ByCode: true}); d.Error() != "account: code refused: wrong-code" || errors.Is(d, ErrDenied) {
		t.Error(d)
	}
}
