package account

import (
	"bytes"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/authsrv/authsrv/credential"
	"github.com/authsrv/authsrv/kv"
	"github.com/authsrv/authsrv/token"
)

func TestToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		p := r.peer(one)
		l := p.account("alice")
		claims, err := r.config.Tokens.Verify(l.Token, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		now := time.Now().Truncate(time.Second)
		want := token.Claims{
			Issuer: "urn:authsrv:07000000000000000000000000000009", Audience: "urn:authsrv:07000000000000000000000000000009",
			Subject: l.Session.Account, SessionID: l.Session.ID, ID: claims.ID, IssuedAt: claims.IssuedAt, Expires: claims.Expires,
			Thumbprint: token.Thumbprint(p.ch.Static),
		}
		if claims != want || claims.ID == ([16]byte{}) || claims.ID == claims.SessionID {
			t.Errorf("claims are %+v, want %+v", claims, want)
		}
		if !claims.IssuedAt.Equal(now) || !claims.Expires.Equal(now.Add(24*time.Hour)) || !claims.Expires.Equal(l.Session.Expires) {
			t.Errorf("from %v to %v, it is %v", claims.IssuedAt, claims.Expires, now)
		}
	})
}

func TestLifetime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(c *Config) { c.SessionLife, c.MaxSessionLife = time.Hour, 48*time.Hour })
		p := r.peer(one)
		p.account("alice")
		for asked, want := range map[time.Duration]time.Duration{
			0: time.Hour, time.Second: time.Second, 48 * time.Hour: 48 * time.Hour,
			49 * time.Hour: 48 * time.Hour, (1<<32 - 1) * time.Second: 48 * time.Hour,
		} {
			start := p.start("alice")
			start.Lifetime = asked
			a, tr := p.beginLogin(start)
			l, err := r.FinishLogin(t.Context(), a, right().Prove(tr.Sum()))
			if err != nil {
				t.Fatal(err)
			}
			if got := time.Until(l.Session.Expires); got != want {
				t.Errorf("asked for %v, got %v, want %v", asked, got, want)
			}
		}
		if d := newRig(t).MaxSessionLife(); d != 30*24*time.Hour {
			t.Errorf("the longest is %v by default", d)
		}
	})
}

func TestResume(t *testing.T) {
	r := newRig(t)
	p := r.peer(one)
	l := p.account("alice")
	q := p.again()
	got, err := q.resume(l.Token)
	if err != nil {
		t.Fatal(err)
	}
	l.Session.good.Store(nil) // what it is checked by, which only who opened it knows
	if *got.Session != *l.Session || got.Token != "" || got.ResumeKey != ([32]byte{}) {
		t.Errorf("resumed as %+v, %+v", got, got.Session)
	}
	tr := credential.Transcript{
		Preface: q.ch.Preface, Handshake: q.ch.Handshake, RealmID: r.RealmID(), Purpose: credential.PurposeSession,
		LoginName: "alice", ClientStatic: q.ch.Static, ClientNonce: [32]byte{1},
		SessionID: l.Session.ID[:], AccountID: l.Session.Account[:],
	}
	if !credential.VerifyResumeConfirm(l.ResumeKey, tr.Sum(), got.Confirm) {
		t.Error("the confirmation is not that of the session")
	}
	r.reopen()
	if _, err := p.again().resume(l.Token); err != nil {
		t.Errorf("after another start: %v", err)
	}
}

// TestResumeRefused: expired and revoked are told only to who holds the key of a token of this realm.
func TestResumeRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(c *Config) { c.SessionLife = 10 * time.Minute })
		p := r.peer(one)
		sessions := map[string]*Login{}
		for _, name := range []string{"live", "expired", "logout", "generation", "deleted", "disabled", "jti"} {
			p.account(name)
			if name == "expired" {
				time.Sleep(time.Minute)
			}
			sessions[name] = p.mustLogin(name, right())
		}
		live := p.mustLogin("live", right())
		err := errors.Join(
			r.Logout(t.Context(), sessions["logout"].Session, &p.ch),
			p.revokeAll(sessions["generation"].Session, right()),
			p.delete(sessions["deleted"].Session, right()),
			r.swapJTI(sessions["jti"].Session),
		)
		if err != nil {
			t.Fatal(err)
		}
		r.edit(sessions["disabled"].Session.Account, func(a *accountRecord) { a.flags |= flagDisabled })

		foreign, err := token.New("urn:authsrv:else", "1", token.Key{ID: "1", Private: otherTokenKey()})
		if err != nil {
			t.Fatal(err)
		}
		forged, err := foreign.Sign(token.Claims{
			Subject: live.Session.Account, SessionID: live.Session.ID, IssuedAt: time.Now(),
			Expires: live.Session.Expires, Thumbprint: token.Thumbprint(p.ch.Static),
		})
		if err != nil {
			t.Fatal(err)
		}
		check := func(name, text string, want error) {
			t.Helper()
			if l, err := p.again().resume(text); err != want || (l == nil) != (err != nil) {
				t.Errorf("%s: %v, want %v", name, err, want)
			}
			if _, err := r.peer(one).resume(text); err != ErrSessionMalformed {
				t.Errorf("%s, under another key: %v", name, err)
			}
		}
		check("live", live.Token, nil)
		for _, name := range []string{"logout", "generation", "deleted", "disabled", "jti"} {
			check(name, sessions[name].Token, ErrSessionRevoked)
			if err := r.Check(t.Context(), sessions[name].Session); name != "jti" && err != ErrSessionRevoked {
				t.Errorf("Check of %s: %v", name, err)
			}
		}
		check("forged", forged, ErrSessionMalformed)
		check("empty", "", ErrSessionMalformed)
		check("cut", live.Token[:len(live.Token)-1], ErrSessionMalformed)

		time.Sleep(time.Until(sessions["expired"].Session.Expires) - time.Second)
		check("nearly expired", sessions["expired"].Token, nil)
		time.Sleep(time.Second)
		check("expired", sessions["expired"].Token, ErrSessionExpired)
		wantError(t, r.Check(t.Context(), sessions["expired"].Session), ErrSessionExpired)
		if _, _, err := r.Sessions(t.Context(), sessions["expired"].Session, ID{}, 10); err != ErrSessionExpired {
			t.Errorf("Sessions of an expired one: %v", err)
		}
	})
}

// swapJTI gives a session another jti.
func (r *rig) swapJTI(s *Session) error {
	return kv.Update(r.t.Context(), r.spy.Engine, func(tx *kv.Tx) error {
		var rec sessionRecord
		if _, err := r.store.get(tx, labelSession, sessionKey(s.Account, s.ID), &rec); err != nil {
			return err
		}
		rec.jti[0] ^= 1
		return r.store.put(tx, labelSession, sessionKey(s.Account, s.ID), &rec)
	})
}

func TestTouch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		p := r.peer(one)
		l := p.account("alice")
		writes := 0
		r.spy.commit = func([]kv.Write) error { writes++; return nil }
		begin := time.Now()
		q := p.again()
		for i := range 11 { // every 20 s: it was written at 60, 120 and 180
			if i > 0 {
				time.Sleep(20 * time.Second)
			}
			if _, err := q.resume(l.Token); err != nil {
				t.Fatal(err)
			}
		}
		if writes != 3 {
			t.Errorf("%d writes in %v", writes, time.Since(begin))
		}
		time.Sleep(time.Hour)
		q.ch.Address = q.ch.Address.Next()
		if _, err := q.resume(l.Token); err != nil {
			t.Fatal(err)
		}
		list, _, err := r.Sessions(t.Context(), l.Session, ID{}, 10)
		if err != nil || len(list) != 1 {
			t.Fatal(list, err)
		}
		want := SessionInfo{ID: l.Session.ID, Created: begin.Truncate(time.Second), LastUsed: time.Now().Truncate(time.Second),
			Expires: l.Session.Expires, Address: two}
		got := list[0]
		if !got.Created.Equal(want.Created) || !got.LastUsed.Equal(want.LastUsed) || !got.Expires.Equal(want.Expires) ||
			got.ID != want.ID || got.Address != want.Address {
			t.Errorf("listed as %+v, want %+v", got, want)
		}
		// A session that is ended at that moment stays ended.
		time.Sleep(time.Hour)
		r.spy.commit = func([]kv.Write) error {
			r.spy.commit = nil
			return r.Logout(t.Context(), l.Session, &p.ch)
		}
		if _, err := q.resume(l.Token); err != nil {
			t.Errorf("resumed just before: %v", err)
		}
		if _, err := q.resume(l.Token); err != ErrSessionRevoked {
			t.Errorf("resumed afterwards: %v", err)
		}
	})
}

// TestSessions lists 25 sessions of which some are dead, in pages of each size.
func TestSessions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		p := r.peer(one)
		p.account("bob")
		own := p.account("alice").Session
		if err := p.revokeAll(own, right()); err != nil { // one that is left, dead, but not this one
			t.Fatal(err)
		}
		var want []ID
		var last *Session
		for i := range 24 {
			start := p.start("alice")
			if i%3 == 0 {
				start.Lifetime = time.Minute
			}
			a, tr := p.beginLogin(start)
			l, err := r.FinishLogin(t.Context(), a, right().Prove(tr.Sum()))
			if err != nil {
				t.Fatal(err)
			}
			if i%3 != 0 {
				last = l.Session
				want = append(want, last.ID)
			}
		}
		time.Sleep(time.Minute)
		slices.SortFunc(want, func(a, b ID) int { return bytes.Compare(a[:], b[:]) })
		for limit := 1; limit < 20; limit++ {
			var got []ID
			var after ID
			for {
				page, more, err := r.Sessions(t.Context(), last, after, limit)
				if err != nil || len(page) > limit || more && len(page) < limit {
					t.Fatalf("limit %d: %d sessions, more: %v, %v", limit, len(page), more, err)
				}
				for _, s := range page {
					got = append(got, s.ID)
				}
				if !more {
					break
				}
				after = page[len(page)-1].ID
			}
			if !slices.Equal(got, want) {
				t.Errorf("limit %d: %d sessions, want %d", limit, len(got), len(want))
			}
		}
	})
}

func TestLogout(t *testing.T) {
	r := newRig(t)
	p := r.peer(one)
	a, b := p.account("alice"), p.mustLogin("alice", right())
	for range 2 { // the second time there is nothing to do
		if err := r.Logout(t.Context(), a.Session, &p.ch); err != nil {
			t.Fatal(err)
		}
		wantError(t, r.Check(t.Context(), a.Session), ErrSessionRevoked)
		wantError(t, r.Check(t.Context(), b.Session), nil)
	}
	if n := r.keys(); n[spaceSession] != 1 || n[spaceAudit] != 4 {
		t.Errorf("left: %v", n)
	}
}

// TestSessionsCountedAgain: that there was room before the challenge says nothing of a proof that comes late, or of a device that is not known.
func TestSessionsCountedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		p := r.peer(one)
		p.account("alice")
		known, tr := p.beginLogin(p.start("alice"))
		late, lateTr := p.beginLogin(p.start("alice"))
		other := r.peer(two)
		strange, strangeTr := other.beginLogin(other.start("alice"))
		if !known.seen.roomy || !late.seen.roomy || strange.seen.roomy {
			t.Fatalf("room for a known device: %v, %v, for a new one: %v", known.seen.roomy, late.seen.roomy, strange.seen.roomy)
		}
		for range maxSessions - 1 {
			p.mustLogin("alice", right())
		}
		finish := func(a *Attempt, proof [64]byte, want int) {
			t.Helper()
			if _, err := r.FinishLogin(t.Context(), a, proof); err != nil {
				t.Fatal(err)
			}
			if n := r.keys()[spaceSession]; n != want {
				t.Errorf("%d sessions, want %d", n, want)
			}
		}
		finish(strange, right().Prove(strangeTr.Sum()), maxSessions)
		finish(known, right().Prove(tr.Sum()), maxSessions+1) // at the same moment
		time.Sleep(roomyTime + 1)
		finish(late, right().Prove(lateTr.Sum()), maxSessions)
	})
}

// TestSessionsBounded: a login that would be one session too many ends dead ones first, and then the one that was not used for longest.
func TestSessionsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		p := r.peer(one)
		first := p.account("alice")
		second := p.mustLogin("alice", right())
		start := p.start("alice")
		start.Lifetime = time.Minute
		for range 3 {
			a, tr := p.beginLogin(start)
			if _, err := r.FinishLogin(t.Context(), a, right().Prove(tr.Sum())); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(2 * time.Minute)
		if _, err := p.resume(first.Token); err != nil {
			t.Fatal(err)
		}
		for range maxSessions - 5 + 3 { // the dead ones give their places
			p.mustLogin("alice", right())
		}
		for _, l := range []*Login{first, second} {
			wantError(t, r.Check(t.Context(), l.Session), nil)
		}
		last := p.mustLogin("alice", right())
		wantError(t, r.Check(t.Context(), first.Session), nil)
		wantError(t, r.Check(t.Context(), second.Session), ErrSessionRevoked)
		wantError(t, r.Check(t.Context(), last.Session), nil)
		if n := r.keys()[spaceSession]; n != maxSessions {
			t.Errorf("%d sessions", n)
		}
		r.peer(two).fail("alice")
		if err := p.delete(last.Session, right()); err != nil {
			t.Fatal(err)
		}
		if n := r.keys(); n[spaceSession] != 0 || n[spaceDevice] != 0 || n[spaceThrottle] != 1 { // that of the address
			t.Errorf("left: %v", n)
		}
	})
}

// dead seals n sessions of an account that has moved on.
func (r *rig) dead(id ID, n int) {
	r.t.Helper()
	for i := range n {
		var sid ID
		sid[0], sid[1], sid[2] = byte(i), byte(i>>8), 1
		r.seal(labelSession, sessionKey(id, sid), &sessionRecord{})
	}
}

// TestManyDeadSessions: an account with more than it can have, as of before there was a bound, costs neither a login nor a page of a list
// nor a deletion more than a few batches.
func TestManyDeadSessions(t *testing.T) {
	r := newRig(t)
	p := r.peer(one)
	l := p.account("alice")
	const many = 3 * lookAt
	r.dead(l.Session.Account, many)
	if list, _, err := r.Sessions(t.Context(), l.Session, ID{}, 100); err != nil || len(list) != 1 {
		t.Fatal(list, err)
	}
	own := sessionKey(l.Session.Account, ID{1: 2}) // before most of them
	e, err := r.spy.Get(t.Context(), sessionKey(l.Session.Account, l.Session.ID))
	var rec sessionRecord
	if err == nil {
		err = r.store.decode(labelSession, e.Key, e.Value, &rec)
	}
	if err != nil {
		t.Fatal(err)
	}
	r.seal(labelSession, own, &rec)
	var got []ID
	var after ID
	for more, pages := true, 0; more; pages++ {
		var list []SessionInfo
		if list, more, err = r.Sessions(t.Context(), l.Session, after, 100); err != nil || more && len(list) == 0 || pages > 2 {
			t.Fatal(list, more, err)
		}
		for _, s := range list {
			after = s.ID
			got = append(got, after)
		}
	}
	if !slices.Equal(got, []ID{{1: 2}, l.Session.ID}) {
		t.Errorf("listed: %x", got)
	}
	p.mustLogin("alice", right())
	if n := r.keys()[spaceSession]; n != many+3-(scanSessions-maxSessions+1) {
		t.Errorf("%d sessions after a login", n)
	}
	before := r.keys()[spaceSession]
	if err := p.delete(l.Session, right()); err != nil {
		t.Fatal(err)
	}
	if n := r.keys()[spaceSession]; n != before-sweepBatch-restBatches*kv.MaxOps && n != before-1-sweepBatch-restBatches*kv.MaxOps {
		t.Errorf("%d sessions after the deletion of an account with %d", n, before)
	}
	if _, err := r.Sweep(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	if n := r.keys()[spaceSession]; n != 0 {
		t.Errorf("%d after a sweep", n)
	}
}
