package account

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/authsrv/authsrv/kv"
)

// lastEvents returns the newest n audit records as text, oldest first.
func (r *rig) lastEvents(n int) (list []string) {
	r.t.Helper()
	events, _, err := r.Events(r.t.Context(), EventQuery{}, ID{}, 10_000)
	if err != nil {
		r.t.Fatal(err)
	}
	slices.SortStableFunc(events, func(a, b Event) int { return a.Time.Compare(b.Time) })
	for _, e := range events[max(0, len(events)-n):] {
		list = append(list, fmt.Sprintf("%s %s %s", e.Kind, e.Outcome, e.Name))
	}
	return list
}

func (r *rig) user(name string) UserInfo {
	r.t.Helper()
	u, err := r.User(r.t.Context(), name)
	if err != nil {
		r.t.Fatal(err)
	}
	return u
}

func TestAdminUsers(t *testing.T) {
	r := newRig(t)
	names := []string{"alice", "bob", "carol", "dora", "erin", "fred", "gus"}
	for _, name := range names {
		if err := r.peer(one).register(name, right()); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.SetDisabled(t.Context(), "bob", true); err != nil {
		t.Fatal(err)
	}
	r.peer(two).fail("carol")
	for _, limit := range []int{1, 3, 7, 100} {
		var seen []string
		var after ID
		for {
			page, more, err := r.Users(t.Context(), after, limit)
			if err != nil || len(page) > limit || more && len(page) != limit {
				t.Fatalf("limit %d: %d accounts, more %v, %v", limit, len(page), more, err)
			}
			for _, u := range page {
				if slices.Compare(u.ID[:], after[:]) <= 0 {
					t.Errorf("limit %d: id %x behind %x", limit, u.ID, after)
				}
				after = u.ID
				seen = append(seen, u.Name)
				if want := u.Name == "bob"; u.Disabled != want {
					t.Errorf("%s: disabled %v", u.Name, u.Disabled)
				}
				if want := strings.Count(u.Name, "carol"); u.Failures != want || u.Wait != 0 {
					t.Errorf("%s: %d failures, wait %v", u.Name, u.Failures, u.Wait)
				}
				if time.Since(u.Created) > time.Hour || u.Changed != u.Created || u.Generation == 0 {
					t.Errorf("%+v", u)
				}
			}
			if !more {
				break
			}
		}
		if slices.Sort(seen); !slices.Equal(seen, names) {
			t.Errorf("limit %d: %v", limit, seen)
		}
	}
}

// A damaged record is told of, by its id, and those behind it can be listed all the same.
func TestAdminUsersDamaged(t *testing.T) {
	r := newRig(t)
	for _, name := range []string{"alice", "bob", "carol"} {
		if err := r.peer(one).register(name, right()); err != nil {
			t.Fatal(err)
		}
	}
	middle := r.scan(spaceAccount)[1]
	middle.Value[len(middle.Value)-1] ^= 1
	if _, err := r.spy.Engine.Commit(t.Context(), nil, []kv.Write{{Key: middle.Key, Value: middle.Value}}); err != nil {
		t.Fatal(err)
	}
	_, _, err := r.Users(t.Context(), ID{}, 10)
	wantError(t, err, ErrDamaged)
	if want := fmt.Sprintf("%x", middle.Key[1:]); !strings.Contains(err.Error(), want) {
		t.Errorf("%v does not name %s", err, want)
	}
	if page, more, err := r.Users(t.Context(), ID(middle.Key[1:]), 10); err != nil || more || len(page) != 1 {
		t.Errorf("behind it: %d, %v, %v", len(page), more, err)
	}
}

// A damaged record of a session keeps no administrator from ending the others, nor from removing the account: nobody has that session.
func TestAdminSessionDamaged(t *testing.T) {
	r := newRig(t)
	p := r.peer(one)
	l := p.account("alice")
	if _, err := p.login("alice", right()); err != nil {
		t.Fatal(err)
	}
	for _, e := range r.scan(spaceSession) {
		if bytes.Equal(e.Key, sessionKey(l.Session.Account, l.Session.ID)) {
			continue
		}
		e.Value[len(e.Value)-1] ^= 1
		if _, err := r.spy.Engine.Commit(t.Context(), nil, []kv.Write{{Key: e.Key, Value: e.Value}}); err != nil {
			t.Fatal(err)
		}
	}
	if u := r.user("alice"); u.Sessions != 1 || u.MoreSessions {
		t.Errorf("%d sessions, more: %v; want 1", u.Sessions, u.MoreSessions)
	}
	if ended, err := r.RevokeAllOf(t.Context(), "alice"); err != nil || ended != 1 {
		t.Errorf("%d sessions have ended, %v; want 1", ended, err)
	}
	wantError(t, r.Check(t.Context(), l.Session), ErrSessionRevoked)
	if err := r.Remove(t.Context(), "alice"); err != nil {
		t.Error(err)
	}
}

func TestAdminDisable(t *testing.T) {
	r := newRig(t)
	p := r.peer(one)
	l := p.account("alice")
	if u := r.user("Alice"); u.Name != "alice" || u.ID != l.Session.Account || u.Sessions != 1 || u.MoreSessions || u.Disabled {
		t.Errorf("before: %+v", u)
	}
	before := r.user("alice").Generation
	if err := r.SetDisabled(t.Context(), "alice", true); err != nil {
		t.Fatal(err)
	}
	wantError(t, r.Check(t.Context(), l.Session), ErrSessionRevoked)
	if u := r.user("alice"); !u.Disabled || u.Sessions != 0 || u.Generation != before+1 {
		t.Errorf("disabled: %+v", u)
	}
	_, err := p.login("alice", right())
	if d := wantDenied(t, err); d.Reason != Disabled {
		t.Errorf("the right password is refused for %v", d.Reason)
	}

	r.spy.take()
	if err := r.SetDisabled(t.Context(), "alice", true); err != nil {
		t.Fatal(err)
	}
	for _, line := range r.spy.take() {
		if strings.Contains(line, "write") {
			t.Errorf("disabling again: %s", line)
		}
	}

	if err := r.SetDisabled(t.Context(), "alice", false); err != nil {
		t.Fatal(err)
	}
	wantError(t, r.Check(t.Context(), l.Session), ErrSessionRevoked)
	_, err = p.again().resume(l.Token)
	wantError(t, err, ErrSessionRevoked)
	if u := r.user("alice"); u.Disabled || u.Sessions != 0 {
		t.Errorf("enabled: %+v", u)
	}
	p.mustLogin("alice", right())
	if got, want := r.lastEvents(4), []string{
		"admin-disable success alice", "login disabled alice", "admin-enable success alice", "login success alice",
	}; !slices.Equal(got, want) {
		t.Errorf("audit: %q", got)
	}
}

// Whatever logins are in flight: once Disable has returned, none of their sessions is live.
func TestAdminDisableBesideLogins(t *testing.T) {
	r := newRig(t)
	if err := r.peer(one).register("alice", right()); err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	var mu sync.Mutex
	var sessions []*Session
	first := make(chan struct{}, 8)
	for range 8 {
		p := r.peer(one)
		all.Go(func() {
			for {
				l, err := p.login("alice", right())
				if err != nil {
					return
				}
				mu.Lock()
				sessions = append(sessions, l.Session)
				mu.Unlock()
				select {
				case first <- struct{}{}:
				default:
				}
			}
		})
	}
	<-first
	if err := r.SetDisabled(t.Context(), "alice", true); err != nil {
		t.Error(err)
	}
	if u := r.user("alice"); u.Sessions != 0 {
		t.Errorf("%d sessions are live", u.Sessions)
	}
	all.Wait()
	if err := r.SetDisabled(t.Context(), "alice", false); err != nil {
		t.Error(err)
	}
	for _, s := range sessions {
		wantError(t, r.Check(t.Context(), s), ErrSessionRevoked)
	}
}

func TestAdminUnlock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		if err := r.peer(one).register("alice", right()); err != nil {
			t.Fatal(err)
		}
		for range freeFailures + 1 {
			r.peer(two).fail("alice")
		}
		if u := r.user("alice"); u.Failures != freeFailures+1 || u.Wait != time.Second {
			t.Errorf("locked: %+v", u)
		}
		if _, err := r.peer(one).login("alice", right()); wantDenied(t, err).Reason != Throttled {
			t.Error("the name is not locked")
		}
		for range 2 { // the second finds nothing to do
			if err := r.Unlock(t.Context(), "alice"); err != nil {
				t.Fatal(err)
			}
		}
		if u := r.user("alice"); u.Failures != 0 || u.Wait != 0 {
			t.Errorf("unlocked: %+v", u)
		}
		r.peer(one).mustLogin("alice", right())
		if got := strings.Count(strings.Join(r.lastEvents(100), "\n"), "admin-unlock"); got != 1 {
			t.Errorf("%d audit records of it", got)
		}
	})
}

// An administrator's removal leaves what the owner's leaves: the audit records.
func TestAdminRemove(t *testing.T) {
	r := newRig(t)
	p := r.peer(one)
	l := p.account("alice")
	for range 2 * sweepBatch {
		p.mustLogin("alice", right())
	}
	r.peer(two).fail("alice")
	if err := r.Remove(t.Context(), "alice"); err != nil {
		t.Fatal(err)
	}
	wantError(t, r.Check(t.Context(), l.Session), ErrSessionRevoked)
	left := r.keys()
	delete(left, spaceAudit)
	if left[spaceMeta] != 1 || left[spaceThrottle] != 1 || len(left) != 2 { // the one throttle record is that of the address
		t.Errorf("left: %v", left)
	}
	if got := r.lastEvents(1)[0]; got != "admin-delete success alice" {
		t.Errorf("audit: %s", got)
	}
	if err := r.peer(one).register("alice", right()); err != nil {
		t.Errorf("the name is not free: %v", err)
	}
	wantError(t, r.Check(t.Context(), l.Session), ErrSessionRevoked)
}

func TestAdminSessions(t *testing.T) {
	r := newRig(t)
	p := r.peer(one)
	first := p.account("alice").Session
	second := p.mustLogin("alice", right()).Session
	other := p.account("bob").Session
	list, more, err := r.SessionsOf(t.Context(), "alice", ID{}, 10)
	if err != nil || more || len(list) != 2 || list[0].Address != one {
		t.Fatalf("%+v, %v, %v", list, more, err)
	}
	mine, _, err := r.Sessions(t.Context(), first, ID{}, 10)
	if err != nil || !slices.Equal(mine, list) {
		t.Errorf("the owner sees %+v, the administrator %+v, %v", mine, list, err)
	}
	if page, more, err := r.SessionsOf(t.Context(), "alice", list[0].ID, 10); err != nil || more || len(page) != 1 || page[0] != list[1] {
		t.Errorf("second page: %+v, %v, %v", page, more, err)
	}

	wantError(t, r.RevokeSession(t.Context(), "alice", other.ID), ErrNoSession)
	wantError(t, r.RevokeSession(t.Context(), "alice", ID{1}), ErrNoSession)
	if err := r.RevokeSession(t.Context(), "alice", first.ID); err != nil {
		t.Fatal(err)
	}
	wantError(t, r.RevokeSession(t.Context(), "alice", first.ID), ErrNoSession)
	wantError(t, r.Check(t.Context(), first), ErrSessionRevoked)
	for _, s := range []*Session{second, other} {
		if err := r.Check(t.Context(), s); err != nil {
			t.Errorf("%s: %v", s.Name, err)
		}
	}
	for _, want := range []int{1, 0} {
		if ended, err := r.RevokeAllOf(t.Context(), "alice"); err != nil || ended != want {
			t.Fatalf("%d sessions have ended, %v; want %d", ended, err, want)
		}
	}
	wantError(t, r.Check(t.Context(), second), ErrSessionRevoked)
	wantError(t, r.RevokeSession(t.Context(), "alice", second.ID), ErrNoSession)
	if err := r.Check(t.Context(), other); err != nil {
		t.Errorf("bob's session: %v", err)
	}
	if got, want := r.lastEvents(3), []string{"admin-revoke success alice", "admin-revoke-all success alice", "admin-revoke-all success alice"}; !slices.Equal(got, want) {
		t.Errorf("audit: %q", got)
	}
}

// administration is every operation on one account.
var administration = map[string]func(*Service, context.Context, string) error{
	"User":    func(s *Service, ctx context.Context, name string) error { _, err := s.User(ctx, name); return err },
	"Disable": func(s *Service, ctx context.Context, name string) error { return s.SetDisabled(ctx, name, true) },
	"Enable":  func(s *Service, ctx context.Context, name string) error { return s.SetDisabled(ctx, name, false) },
	"Unlock":  func(s *Service, ctx context.Context, name string) error { return s.Unlock(ctx, name) },
	"Remove":  func(s *Service, ctx context.Context, name string) error { return s.Remove(ctx, name) },
	"SessionsOf": func(s *Service, ctx context.Context, name string) error {
		_, _, err := s.SessionsOf(ctx, name, ID{}, 1)
		return err
	},
	"RevokeSession": func(s *Service, ctx context.Context, name string) error { return s.RevokeSession(ctx, name, ID{1}) },
	"RevokeAllOf": func(s *Service, ctx context.Context, name string) error {
		_, err := s.RevokeAllOf(ctx, name)
		return err
	},
}

func TestAdminNoAccount(t *testing.T) {
	r := newRig(t)
	r.peer(one).account("alice")
	before := len(r.scan(0))
	for what, do := range administration {
		for _, name := range []string{"bob", "", "no name", strings.Repeat("a", 1000)} {
			if err := do(r.Service, t.Context(), name); !errors.Is(err, ErrNoAccount) {
				t.Errorf("%s %q: %v", what, name, err)
			}
		}
	}
	if after := len(r.scan(0)); after != before {
		t.Errorf("%d keys became %d", before, after)
	}
}

// A store that fails is told of by each, and nothing is half done.
func TestAdminStoreFails(t *testing.T) {
	r := newRig(t)
	session := r.peer(one).account("alice").Session
	broken := errors.New("broken")
	r.spy.commit = func([]kv.Write) error { return broken }
	for what, do := range administration {
		if what == "User" || what == "SessionsOf" || what == "Unlock" || what == "Enable" || what == "RevokeSession" {
			continue // they write nothing here
		}
		if err := do(r.Service, t.Context(), "alice"); !errors.Is(err, broken) {
			t.Errorf("%s: %v", what, err)
		}
	}
	wantError(t, r.RevokeSession(t.Context(), "alice", session.ID), broken)
	r.spy.get = func([]byte) error { return broken }
	for what, do := range administration {
		if err := do(r.Service, t.Context(), "alice"); !errors.Is(err, broken) {
			t.Errorf("%s with no reads: %v", what, err)
		}
	}
	r.spy.get, r.spy.commit = nil, nil
	if err := r.Check(t.Context(), session); err != nil {
		t.Error(err)
	}
}

// fill writes n accounts without their names, which a listing does not read.
func (r *rig) fill(n int) {
	r.t.Helper()
	const batch = kv.MaxOps
	for done := 0; done < n; done += batch {
		writes := make([]kv.Write, 0, batch)
		for i := done; i < min(done+batch, n); i++ {
			var id ID
			binary.BigEndian.PutUint64(id[:], uint64(i)*0x9e3779b97f4a7c15+1) // spread over all ids
			a := accountRecord{name: fmt.Sprintf("user%07d", i), method: 1, generation: 1, verifier: verifierOf(right())}
			sealed, err := r.store.encode(labelAccount, accountKey(id), &a)
			if err != nil {
				r.t.Fatal(err)
			}
			writes = append(writes, kv.Write{Key: accountKey(id), Value: sealed})
		}
		if _, err := r.spy.Engine.Commit(r.t.Context(), nil, writes); err != nil {
			r.t.Fatal(err)
		}
	}
}

// BenchmarkAdminUsers is a page of 100 of stores that differ in size a hundredfold: the first page, and one from the middle.
func BenchmarkAdminUsers(b *testing.B) {
	for _, n := range []int{1_000, 100_000} {
		r := openRig(b, b.TempDir(), nil)
		r.fill(n)
		r.reopen() // so that pages come from the disk's tables, not from the log
		for name, after := range map[string]ID{"first": {}, "middle": {0x80}} {
			b.Run(fmt.Sprintf("accounts=%d/page=%s", n, name), func(b *testing.B) {
				for b.Loop() {
					page, _, err := r.Users(b.Context(), after, 100)
					if err != nil || len(page) != 100 {
						b.Fatalf("%d accounts, %v", len(page), err)
					}
				}
			})
		}
	}
}

// The numbers are in audit records of servers that run.
func TestAdminKinds(t *testing.T) {
	for number, want := range map[Kind]string{
		1: "register", 2: "register-checked", 3: "login", 4: "logout", 5: "change-password", 6: "logout-all", 7: "delete",
		16: "admin-disable", 17: "admin-enable", 18: "admin-unlock", 19: "admin-delete", 20: "admin-revoke", 21: "admin-revoke-all",
	} {
		if got := number.String(); got != want {
			t.Errorf("%d is %s, not %s", number, got, want)
		}
	}
}
