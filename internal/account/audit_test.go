package account

import (
	"errors"
	"maps"
	"net/netip"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
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
		step(KindLogin, UnknownName, ID{}, ID{}, "", six)
		r.peer("").fail("nobody")
		step(KindLogin, UnknownName, ID{}, ID{}, "", "")
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
			want = append(want, Event{Time: time.Now(), Kind: KindLogin, Outcome: UnknownName, Address: netip.MustParseAddr(address(i))})
		}
		if d := r.peer(two).fail("eve"); d.Reason != Throttled {
			t.Errorf("not throttled: %+v", d)
		}

		got, _, err := r.Events(t.Context(), EventQuery{}, ID{}, 1000)
		if err != nil || len(got) != len(want) {
			t.Fatalf("%d events, want %d; %v", len(got), len(want), err)
		}
		for i := range want { // those of one moment are in no order
			found := false
			for _, e := range got {
				if e.Time.Equal(want[i].Time) {
					w := want[i]
					w.ID, w.Count = e.ID, 1
					found = found || e.Last.Equal(e.Time) && same(e, w)
				}
			}
			if !found {
				t.Errorf("event %d: there is no %+v, but %+v", i, want[i], got[i])
			}
		}
		for i := 1; i < len(got); i++ {
			if !got[i-1].ID.before(got[i].ID) || got[i].Time.Before(got[i].ID.time()) {
				t.Errorf("event %d is before its place", i)
			}
		}
		page, more, err := r.Events(t.Context(), EventQuery{}, got[3].ID, 3)
		if err != nil || len(page) != 3 || !more || page[0] != got[4] || page[2] != got[6] {
			t.Errorf("a page: %+v, %v", page, err)
		}
		if page, _, err = r.Events(t.Context(), EventQuery{From: time.Now().Add(1)}, ID{}, 3); err != nil || len(page) != 0 {
			t.Errorf("of the future: %+v, %v", page, err)
		}
	})
}

// same compares but for the times.
func same(a, b Event) bool {
	a.Time, a.Last, b.Time, b.Last = time.Time{}, time.Time{}, time.Time{}, time.Time{}
	return a == b
}

// TestAuditCounts: what fails again within a minute is counted in one record, by name, address and outcome.
func TestAuditCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.peer(six).account("alice")
		began := time.Now()
		for range 3 {
			r.peer(one).fail("alice")
			time.Sleep(time.Second)
		}
		r.peer(two).fail("alice")
		r.peer(one).fail("nobody")
		r.peer(one).fail("hunter2") // whatever was typed; it is not written down, but has a record of its own
		time.Sleep(time.Minute)
		r.peer(one).fail("alice")
		got, more, err := r.Events(t.Context(), EventQuery{Kind: KindLogin}, ID{}, 100)
		if err != nil || more {
			t.Fatal(more, err)
		}
		counts := make(map[string]uint32)
		for _, e := range got {
			if e.Outcome != Success {
				counts[e.Name+" "+e.Address.String()+" "+e.ID.time().Sub(began).String()] += e.Count
			}
			if e.Count == 3 && (!e.Time.Equal(began) || !e.Last.Equal(began.Add(2*time.Second))) {
				t.Errorf("counted from %v to %v", e.Time, e.Last)
			}
		}
		want := map[string]uint32{"alice " + one + " 0s": 3, "alice " + two + " 0s": 1, " " + one + " 0s": 2, "alice " + one + " 1m0s": 1}
		if len(got) != 1+5 || !maps.Equal(counts, want) {
			t.Errorf("%d events, %v", len(got), counts)
		}
		for what, c := range map[string]struct {
			q    EventQuery
			want int
		}{
			"name":      {EventQuery{Name: "Alice"}, 5},
			"kind":      {EventQuery{Kind: KindRegister}, 1},
			"from":      {EventQuery{From: began.Add(2 * time.Second)}, 5},
			"until":     {EventQuery{Until: began.Add(time.Second)}, 3},
			"from late": {EventQuery{From: began.Add(time.Minute)}, 1},
		} {
			if list, _, err := r.Events(t.Context(), c.q, ID{}, 100); len(list) != c.want || err != nil {
				t.Errorf("%s: %d events, want %d, %v", what, len(list), c.want, err)
			}
		}
	})
}

func TestAuditChecked(t *testing.T) {
	r := newRig(t, func(c *Config) { c.Registration = RegistrationChecked })
	if err := r.FinishRegisterChecked(t.Context(), r.peer(one).beginChecked("alice"), []byte(pass)); err != nil {
		t.Fatal(err)
	}
	if e, _, err := r.Events(t.Context(), EventQuery{}, ID{}, 2); err != nil || len(e) != 1 || e[0].Kind != KindRegisterChecked || e[0].Outcome != Success {
		t.Errorf("%+v, %v", e, err)
	}
}

// TestKindsAreDocumented holds the table of STORAGE 3.2 against the code.
func TestKindsAreDocumented(t *testing.T) {
	text, err := os.ReadFile("../../docs/STORAGE.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, found := strings.Cut(string(text), "\n| kind | name | kind | name |\n")
	table, _, _ := strings.Cut(rest, "\n\n")
	if !found {
		t.Fatal("there is no table of kinds")
	}
	documented := make(map[Kind]string)
	for _, cell := range regexp.MustCompile(`\| ([0-9]+) \| ([a-z-]+)`).FindAllStringSubmatch(table, -1) {
		number, err := strconv.ParseUint(cell[1], 10, 8)
		if err != nil {
			t.Fatal(err)
		}
		documented[Kind(number)] = cell[2]
	}
	for k, name := range kinds {
		if documented[Kind(k)] != name {
			t.Errorf("kind %d is %q, and documented as %q", k, name, documented[Kind(k)])
		}
	}
	if most := slices.Max(slices.Collect(maps.Keys(documented))); int(most) != len(kinds)-1 {
		t.Errorf("documented up to %d, of %d", most, len(kinds)-1)
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
