package account

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/authsrv/authsrv/kv"
)

func TestChangePassword(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		p := r.peer(one)
		start := p.start("alice")
		start.Lifetime = 90 * time.Minute
		p.account("alice")
		att, tr := p.beginLogin(start)
		mine, err := r.FinishLogin(t.Context(), att, right().Prove(tr.Sum()))
		if err != nil {
			t.Fatal(err)
		}
		other := r.peer(two).mustLogin("alice", right())
		time.Sleep(1234567891 * time.Nanosecond)
		next, err := p.changePassword(mine.Session, right(), keyOf("next"))
		if err != nil {
			t.Fatal(err)
		}
		for what, s := range map[string]*Session{"this session": mine.Session, "another": other.Session} {
			if err := r.Check(t.Context(), s); err != ErrSessionRevoked {
				t.Errorf("%s: %v", what, err)
			}
		}
		if _, err := p.again().resume(mine.Token); err != ErrSessionRevoked {
			t.Errorf("the old token: %v", err)
		}
		if _, err := p.again().resume(next.Token); err != nil || r.Check(t.Context(), next.Session) != nil {
			t.Errorf("the new token: %v", err)
		}
		if !next.Session.Expires.Equal(mine.Session.Expires) || next.Session.ID == mine.Session.ID ||
			next.ResumeKey == mine.ResumeKey || next.Session.Account != mine.Session.Account {
			t.Errorf("succeeded by %+v, after %+v", next.Session, mine.Session)
		}
		_, err = p.login("alice", right())
		wantDenied(t, err)
		p.mustLogin("alice", keyOf("next"))

		// The new key must be proved, for this very change, with the parameters that were asked for.
		for name, fault := range map[string]func(*Verifier, *[32]byte, *[64]byte){
			"other key":     func(v *Verifier, _ *[32]byte, _ *[64]byte) { v.PublicKey = wrong().Public() },
			"no proof":      func(_ *Verifier, _ *[32]byte, s *[64]byte) { *s = [64]byte{} },
			"small order":   func(v *Verifier, _ *[32]byte, s *[64]byte) { v.PublicKey, *s = [32]byte{1}, [64]byte{1} },
			"other kdf":     func(v *Verifier, _ *[32]byte, _ *[64]byte) { v.KDF.Time++ },
			"other digest":  func(_ *Verifier, d *[32]byte, _ *[64]byte) { d[0] ^= 1 },
			"current proof": func(_ *Verifier, _ *[32]byte, s *[64]byte) { s[0] ^= 1 },
		} {
			digest := digestOf("change")
			a, sum := p.beginOperation(next.Session, KindChangePassword, digest)
			v, newProof := verifierOf(right()), right().ProveNew(sum)
			fault(&v, &digest, &newProof)
			if _, err := r.ChangePassword(t.Context(), a, v, digest, newProof, keyOf("next").Prove(sum)); err != ErrRecordRefused {
				t.Errorf("%s: %v", name, err)
			}
		}
		if _, err := p.changePassword(next.Session, wrong(), right()); wantDenied(t, err).Reason != WrongPassword {
			t.Errorf("with a wrong current password: %v", err)
		}
		p.mustLogin("alice", keyOf("next"))
	})
}

func TestRevokeAll(t *testing.T) {
	r := newRig(t)
	p := r.peer(one)
	mine, other, bob := p.account("alice"), r.peer(two).mustLogin("alice", right()), p.account("bob")
	if err := p.revokeAll(mine.Session, wrong()); wantDenied(t, err).Reason != WrongPassword {
		t.Error(err)
	}
	wantError(t, r.Check(t.Context(), mine.Session), nil)
	if err := p.revokeAll(mine.Session, right()); err != nil {
		t.Fatal(err)
	}
	wantError(t, r.Check(t.Context(), mine.Session), ErrSessionRevoked)
	wantError(t, r.Check(t.Context(), other.Session), ErrSessionRevoked)
	wantError(t, r.Check(t.Context(), bob.Session), nil)
	p.mustLogin("alice", right())
}

// TestDelete scans the whole store for what is left of an account with as many sessions as it can have: more than fit in one commit.
func TestDelete(t *testing.T) {
	r := newRig(t)
	p := r.peer(one)
	l := p.account("alice")
	for range maxSessions - 1 {
		p.mustLogin("alice", right())
	}
	p.fail("alice") // and records of failures, which success removes
	r.peer(one).fail("alice")
	if err := p.delete(l.Session, wrong()); wantDenied(t, err).Reason != WrongPassword {
		t.Error(err)
	}
	r.clearAddresses()
	if err := p.delete(l.Session, right()); err != nil {
		t.Fatal(err)
	}
	if n := r.keys(); len(n) != 2 || n[spaceMeta] != 1 || n[spaceAudit] == 0 {
		t.Errorf("left: %v", n)
	}
	wantError(t, r.Check(t.Context(), l.Session), ErrSessionRevoked)
	_, err := p.login("alice", right())
	if d := wantDenied(t, err); d.Reason != UnknownName {
		t.Errorf("login: %+v", d)
	}
	if next := p.account("alice"); next.Session.Account == l.Session.Account {
		t.Error("the name's next account has the old id")
	}
	wantError(t, r.Check(t.Context(), l.Session), ErrSessionRevoked)
}

// TestDeleteRaces: a login that comes in between the deletion's steps leaves nothing behind, and the end of the
// connection does not make an error of a deletion that has happened: what is left then is dead.
func TestDeleteRaces(t *testing.T) {
	for _, hangsUp := range []bool{false, true} {
		testDeleteRaces(t, hangsUp)
	}
}

func testDeleteRaces(t *testing.T, hangsUp bool) {
	r := newRig(t)
	p := r.peer(one)
	l := p.account("alice")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	digest := digestOf("delete")
	a, sum := p.beginOperation(l.Session, KindDelete, digest)
	login, tr := p.beginLogin(p.start("alice"))
	deletions, deleted := 0, false
	r.spy.commit = func(writes []kv.Write) error {
		if !writesTo(writes, spaceName) {
			return nil
		}
		if deletions++; deletions == 1 {
			if _, err := r.FinishLogin(t.Context(), login, right().Prove(tr.Sum())); err != nil {
				t.Error(err)
			}
			deleted = true
		}
		return nil
	}
	removed := false
	scanner := &scanHook{spy: r.spy, before: func() {
		if removed = deleted; deleted && hangsUp {
			cancel()
		}
	}}
	r.store.engine = scanner
	if err := r.Delete(ctx, a, digest, right().Prove(sum)); err != nil {
		t.Fatal(err)
	}
	if hangsUp {
		if n, err := r.Sweep(t.Context(), 1); n == 0 || err != nil {
			t.Errorf("%d were swept, %v", n, err)
		}
	}
	if n := r.keys(); deletions != 1 || !removed || n[spaceSession] != 0 || n[spaceName] != 0 || n[spaceAccount] != 0 {
		t.Errorf("%d commits of the deletion, left: %v", deletions, n)
	}
}

type scanHook struct {
	*spy
	before func()
}

func (s *scanHook) Scan(ctx context.Context, prefix, start []byte, limit int) ([]kv.Entry, kv.Version, error) {
	s.before()
	return s.spy.Scan(ctx, prefix, start, limit)
}

// TestOperationBound: an attempt is good for one operation of one session, and its proof for nothing else.
func TestOperationBound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		p := r.peer(one)
		alice, bob := p.account("alice"), p.account("bob")
		second := p.mustLogin("alice", right())
		digest := digestOf("op")
		finish := map[Kind]func(a *Attempt, sum [32]byte) error{
			KindDelete:    func(a *Attempt, sum [32]byte) error { return r.Delete(t.Context(), a, digest, right().Prove(sum)) },
			KindRevokeAll: func(a *Attempt, sum [32]byte) error { return r.RevokeAll(t.Context(), a, digest, right().Prove(sum)) },
			KindChangePassword: func(a *Attempt, sum [32]byte) error {
				_, err := r.ChangePassword(t.Context(), a, verifierOf(wrong()), digest, wrong().ProveNew(sum), right().Prove(sum))
				return err
			},
			KindLogin: func(a *Attempt, sum [32]byte) error {
				_, err := r.FinishLogin(t.Context(), a, right().Prove(sum))
				return err
			},
		}
		for begun := range finish {
			if begun == KindLogin {
				continue
			}
			for kind, do := range finish {
				if kind == begun {
					continue
				}
				a, sum := p.beginOperation(alice.Session, begun, digest)
				if d := wantDenied(t, do(a, sum)); d.Reason != NonceExpired {
					t.Errorf("%v as %v: %+v", begun, kind, d)
				}
				if err := finish[begun](a, sum); wantDenied(t, err).Reason != NonceExpired {
					t.Errorf("%v as %v burned nothing: %v", begun, kind, err)
				}
			}
			if err := finish[begun](nil, [32]byte{}); !errors.Is(err, ErrDenied) {
				t.Errorf("%v without an attempt: %v", begun, err)
			}
			// Signed for another session, account, connection; or too late.
			a, _ := p.beginOperation(alice.Session, begun, digest)
			_, sum := p.beginOperation(second.Session, begun, digest)
			wantRefused(t, finish[begun](a, sum))
			a, _ = p.beginOperation(alice.Session, begun, digest)
			_, sum = p.beginOperation(bob.Session, begun, digest)
			wantRefused(t, finish[begun](a, sum))
			a, _ = p.beginOperation(alice.Session, begun, digest)
			_, sum = p.again().beginOperation(alice.Session, begun, digest)
			wantRefused(t, finish[begun](a, sum))
			a, sum = p.beginOperation(alice.Session, begun, digest)
			time.Sleep(NonceLife + time.Second)
			wantRefused(t, finish[begun](a, sum))
			r.clearAddresses()
		}
		for _, s := range []*Session{alice.Session, bob.Session, second.Session} {
			wantError(t, r.Check(t.Context(), s), nil)
		}
	})
}

func wantRefused(t *testing.T, err error) {
	t.Helper()
	if !errors.Is(err, ErrDenied) && !errors.Is(err, ErrRecordRefused) {
		t.Errorf("error is %v", err)
	}
}

// TestOperationOfEndedSession: the session must still be there when the operation is carried out.
func TestOperationOfEndedSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		for how, end := range map[string]func(p *peer, l *Login) error{
			"logout":  func(p *peer, l *Login) error { return r.Logout(t.Context(), l.Session, &p.ch) },
			"revoked": func(p *peer, l *Login) error { return p.revokeAll(l.Session, right()) },
			"changed": func(p *peer, l *Login) error {
				_, err := p.changePassword(l.Session, right(), right())
				return err
			},
			"expired": func(_ *peer, l *Login) error { time.Sleep(time.Until(l.Session.Expires)); return nil },
			"deleted and made again": func(p *peer, l *Login) error {
				return errors.Join(p.delete(l.Session, right()), p.register(l.Session.Name, right()))
			},
		} {
			for _, kind := range []Kind{KindDelete, KindRevokeAll, KindChangePassword} {
				name := "n-" + kind.String() + how[:3]
				p := r.peer(one)
				p.account(name)
				start := p.start(name)
				start.Lifetime = 10 * time.Second
				att, tr := p.beginLogin(start)
				l, err := r.FinishLogin(t.Context(), att, right().Prove(tr.Sum()))
				if err != nil {
					t.Fatal(err)
				}
				digest := digestOf("op")
				a, sum := p.beginOperation(l.Session, kind, digest)
				if err := end(p, l); err != nil {
					t.Fatal(err)
				}
				if _, _, err := r.BeginOperation(t.Context(), &p.ch, l.Session, kind, [32]byte{}); !errors.Is(err, ErrSessionRevoked) && !errors.Is(err, ErrSessionExpired) {
					t.Errorf("%s: another challenge: %v", how, err)
				}
				before := r.keys()
				switch kind {
				case KindDelete:
					err = r.Delete(t.Context(), a, digest, right().Prove(sum))
				case KindRevokeAll:
					err = r.RevokeAll(t.Context(), a, digest, right().Prove(sum))
				default:
					_, err = r.ChangePassword(t.Context(), a, verifierOf(wrong()), digest, wrong().ProveNew(sum), right().Prove(sum))
				}
				want := ErrSessionRevoked
				if how == "expired" {
					want = ErrSessionExpired
				}
				if err != want {
					t.Errorf("%s, then %v: %v, want %v", how, kind, err, want)
				}
				if after := r.keys(); len(after) != len(before) || after[spaceSession] != before[spaceSession] || after[spaceAudit] != before[spaceAudit] {
					t.Errorf("%s, then %v: it changed %v into %v", how, kind, before, after)
				}
				p.mustLogin(name, right())
			}
		}
	})
}

// TestOperationsAtOnce: of two that have begun, the one that comes second finds its session ended. It is no failure of a password.
func TestOperationsAtOnce(t *testing.T) {
	for what, first := range map[string]func(r *rig, p *peer, s *Session) error{
		"change":  func(_ *rig, p *peer, s *Session) error { _, err := p.changePassword(s, right(), wrong()); return err },
		"revoke":  func(_ *rig, p *peer, s *Session) error { return p.revokeAll(s, right()) },
		"delete":  func(_ *rig, p *peer, s *Session) error { return p.delete(s, right()) },
		"disable": func(r *rig, _ *peer, _ *Session) error { return r.SetDisabled(t.Context(), "alice", true) },
	} {
		r := newRig(t)
		p := r.peer(one)
		l := p.account("alice")
		digest := digestOf("change")
		a, sum := p.beginOperation(l.Session, KindChangePassword, digest)
		if err := first(r, p, l.Session); err != nil {
			t.Fatal(what, err)
		}
		before := r.keys()
		next := keyOf("another")
		if _, err := r.ChangePassword(t.Context(), a, verifierOf(next), digest, next.ProveNew(sum), right().Prove(sum)); err != ErrSessionRevoked {
			t.Errorf("%s: %v", what, err)
		}
		if after := r.keys(); after[spaceThrottle] != 0 || after[spaceAudit] != before[spaceAudit] {
			t.Errorf("%s: %v, but before %v", what, after, before)
		}
	}
}

// TestOperationsPerMinute: an account has a number of operations, which come back with time. Only right proofs take them, and one too many
// changes nothing.
func TestOperationsPerMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(c *Config) { c.OperationsPerMinute = 0 })
		p := r.peer(one)
		l, bob := p.account("alice"), p.account("bob")
		from, to := right(), keyOf("next")
		change := func() error {
			t.Helper()
			next, err := p.changePassword(l.Session, from, to)
			if err == nil {
				l, from, to = next, to, from
			}
			return err
		}
		for range 5 {
			if _, err := p.changePassword(l.Session, wrong(), to); wantDenied(t, err).Reason != WrongPassword {
				t.Fatal(err)
			}
		}
		for i := range DefaultOperationsPerMinute {
			if err := change(); err != nil {
				t.Fatalf("change %d: %v", i+1, err)
			}
		}
		before := r.scan(0)
		var d *Denied
		if err := change(); !errors.Is(err, ErrOverloaded) || !errors.As(err, &d) || d.RetryAfter != 6*time.Second {
			t.Errorf("one more: %v, %+v", err, d)
		}
		wantError(t, p.revokeAll(l.Session, from), ErrOverloaded)
		wantError(t, r.Check(t.Context(), l.Session), nil)
		if after := r.scan(0); len(after) != len(before) {
			t.Errorf("%d records, and %d before", len(after), len(before))
		}
		if _, err := p.changePassword(bob.Session, right(), keyOf("next")); err != nil {
			t.Errorf("another account: %v", err)
		}
		time.Sleep(6 * time.Second)
		wantError(t, change(), nil)
		wantError(t, change(), ErrOverloaded)
		time.Sleep(6 * time.Second)
		r.spy.commit = func([]kv.Write) error { return errors.New("the disk") } // what did not happen does not count
		if err := change(); err == nil || errors.Is(err, ErrOverloaded) {
			t.Errorf("a commit that fails: %v", err)
		}
		r.spy.commit = nil
		wantError(t, change(), nil)
	})
}
