package account

import (
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/authsrv/authsrv/credential"
)

var testServer = [32]byte{0x5e, 31: 0x7e}

func (r *rig) reset(name string) credential.Code {
	r.t.Helper()
	issued, err := r.IssueReset(r.t.Context(), name, testServer, 0)
	if err != nil {
		r.t.Fatal(err)
	}
	return issued.Code
}

func (r *rig) invite() credential.Code {
	r.t.Helper()
	issued, err := r.IssueInvite(r.t.Context(), testServer, 0)
	if err != nil {
		r.t.Fatal(err)
	}
	return issued.Code
}

// other is a code with the id of c and another secret.
func other(t testing.TB, c credential.Code) credential.Code {
	t.Helper()
	o, err := credential.NewCode(strings.NewReader(strings.Repeat("another secret's ", 4)), c.Kind, c.Server)
	if err != nil {
		t.Fatal(err)
	}
	o.ID = c.ID
	return o
}

func codeKeyOf(t testing.TB, c credential.Code) *credential.Key {
	t.Helper()
	k, err := c.Key()
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// use is what a client does with a code: a reset, or a registration.
type use struct {
	a      *Attempt
	code   *credential.Key
	next   *credential.Key // of the new password
	sum    [32]byte
	digest [32]byte
}

func (p *peer) use(name string, c credential.Code, next *credential.Key) *use {
	p.r.t.Helper()
	start, id := p.start(name), ID(c.ID)
	start.Code = &id
	begin, purpose := p.r.BeginRegister, uint8(credential.PurposeRegister)
	if c.Kind == credential.CodeReset {
		start.Method, start.Offered = credential.MethodCode, []byte{credential.MethodCode}
		begin, purpose = p.r.BeginReset, credential.PurposeReset
	}
	a, ch, err := begin(p.r.t.Context(), &p.ch, start)
	if err != nil {
		p.r.t.Fatal(err)
	}
	u := &use{a: a, code: codeKeyOf(p.r.t, c), next: next, digest: digestOf("record")}
	tr := p.transcript(purpose, start, &ch)
	tr.OpDigest = u.digest[:]
	u.sum = tr.Sum()
	return u
}

// finish sends the proofs, and checks that the server confirms where it says that it is done.
func (p *peer) finish(u *use, proof [64]byte) error {
	p.r.t.Helper()
	finish := p.r.FinishInvited
	if u.a.kind == KindReset {
		finish = p.r.FinishReset
	}
	confirm, err := finish(p.r.t.Context(), u.a, verifierOf(u.next), u.digest, u.next.ProveNew(u.sum), proof)
	if (err == nil) != u.code.VerifyConfirm(u.sum, proof, confirm) || err != nil && confirm != ([32]byte{}) {
		p.r.t.Errorf("with %v the confirmation is %x", err, confirm)
	}
	return err
}

func (p *peer) useCode(name string, c credential.Code, next *credential.Key) error {
	p.r.t.Helper()
	u := p.use(name, c, next)
	return p.finish(u, u.code.ProveCode(u.sum))
}

func wantCodeRefused(t testing.TB, what string, err error, reason Outcome) {
	t.Helper()
	d := new(Denied)
	if !errors.Is(err, ErrCodeRefused) || errors.Is(err, ErrDenied) || !errors.As(err, &d) || d.Reason != reason {
		t.Errorf("%s: %v, want a refusal for %v", what, err, reason)
	}
}

func TestReset(t *testing.T) {
	r := newRig(t)
	p := r.peer(one)
	l := p.account("alice")
	before, _, err := r.find(r.now(t.Context()), "alice")
	if err != nil {
		t.Fatal(err)
	}
	r.peer(two).fail("alice")
	c, unused := r.reset("alice"), r.reset("ALICE")
	if err := r.peer(one).useCode("alice", c, wrong()); err != nil {
		t.Fatal(err)
	}
	id, rec, err := r.find(r.now(t.Context()), "alice")
	if err != nil || id != before || rec.generation != 2 || rec.flags != 0 || rec.verifier != verifierOf(wrong()) {
		t.Errorf("the account is %+v, %v", rec, err)
	}
	wantError(t, r.Check(t.Context(), l.Session), ErrSessionRevoked)
	if u, err := r.User(t.Context(), "alice"); err != nil || u.Failures != 0 {
		t.Errorf("failures: %d, %v", u.Failures, err)
	}
	_, err = r.peer(one).login("alice", right())
	wantDenied(t, err)
	r.peer(one).mustLogin("alice", wrong())
	wantCodeRefused(t, "again", r.peer(two).useCode("alice", c, right()), UnknownCode)
	wantCodeRefused(t, "another one from before", r.peer(two).useCode("alice", unused, right()), ForeignCode)
	var kinds []string
	for _, e := range r.events() {
		if e.Kind == KindReset || e.Kind == KindAdminReset {
			kinds = append(kinds, e.Kind.String()+" "+e.Outcome.String()+" "+e.Name)
			if e.Outcome == Success && e.Account != id || (e.Kind == KindReset) != e.Address.IsValid() {
				t.Errorf("audit record %+v", e)
			}
		}
	}
	slices.Sort(kinds)
	want := []string{"admin-reset success alice", "admin-reset success alice", "reset foreign-code alice", "reset success alice", "reset unknown-code alice"}
	if !slices.Equal(kinds, want) {
		t.Errorf("audited: %q", kinds)
	}
	r.peer(one).mustLogin("alice", wrong())
}

func (r *rig) events() []Event {
	r.t.Helper()
	events, _, err := r.Events(r.t.Context(), EventQuery{}, ID{}, 10_000)
	if err != nil {
		r.t.Fatal(err)
	}
	return events
}

// TestResetRefused: whatever is wrong is one error, and uses nothing up but the nonce.
func TestResetRefused(t *testing.T) {
	r := newRig(t)
	r.peer(one).account("alice")
	r.peer(one).account("dora")
	c := r.reset("alice")
	gone := other(t, c)
	gone.ID[3] ^= 1
	ended := r.reset("dora")
	if _, err := r.RevokeAllOf(t.Context(), "dora"); err != nil {
		t.Fatal(err)
	}
	doras := r.reset("dora")
	for _, f := range []struct {
		what, name string
		code       credential.Code
		want       Outcome
	}{
		{"another secret", "alice", other(t, c), WrongCode},
		{"an unknown code", "alice", gone, UnknownCode},
		{"an unknown name", "nobody", c, UnknownName},
		{"another account's", "alice", doras, ForeignCode},
		{"for another account", "dora", c, ForeignCode},
		{"ended with all sessions", "dora", ended, ForeignCode},
	} {
		err := r.peer(one).useCode(f.name, f.code, wrong())
		wantCodeRefused(t, f.what, err, f.want)
		r.clearAddresses()
	}
	p := r.peer(one)
	// A proof by the right key, of something else: another connection's, a registration's, a login's.
	elsewhere := r.peer(one).use("alice", c, wrong())
	for what, proof := range map[string]func(u *use) [64]byte{
		"another connection's": func(*use) [64]byte { return elsewhere.code.ProveCode(elsewhere.sum) },
		"a login's":            func(u *use) [64]byte { return u.code.Prove(u.sum) },
		"a new key's":          func(u *use) [64]byte { return u.code.ProveNew(u.sum) },
		"none":                 func(*use) [64]byte { return [64]byte{} },
		"another record's": func(u *use) [64]byte {
			sum := u.sum
			u.digest[0] ^= 1 // the new key's proof is then another's, too: without a nonce that is alive it is not told
			return u.code.ProveCode(sum)
		},
	} {
		u := p.use("alice", c, wrong())
		err := p.finish(u, proof(u))
		if what == "another record's" {
			wantError(t, err, ErrRecordRefused)
		} else {
			wantCodeRefused(t, what, err, WrongCode)
		}
		u.digest = digestOf("record")
		wantCodeRefused(t, what+", and then right", p.finish(u, u.code.ProveCode(u.sum)), NonceExpired)
		r.clearAddresses()
	}
	if err := p.useCode("alice", c, wrong()); err != nil {
		t.Errorf("after all that: %v", err)
	}
}

// TestCodeExpires to the second, and so does its nonce.
func TestCodeExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.peer(one).account("alice")
		issued, err := r.IssueReset(t.Context(), "alice", testServer, time.Hour)
		if err != nil || time.Until(issued.Expires) > time.Hour || time.Until(issued.Expires) < time.Hour-time.Second {
			t.Fatalf("expires %v, %v", issued.Expires, err)
		}
		time.Sleep(time.Until(issued.Expires) - NonceLife - time.Second)
		u := r.peer(one).use("alice", issued.Code, wrong())
		time.Sleep(NonceLife + 1)
		wantCodeRefused(t, "an old nonce", r.peer(one).finish(u, u.code.ProveCode(u.sum)), NonceExpired)
		u = r.peer(one).use("alice", issued.Code, wrong())
		if n, err := r.Sweep(t.Context(), 1); n != 0 || err != nil {
			t.Errorf("swept %d, %v", n, err)
		}
		time.Sleep(time.Until(issued.Expires))
		wantCodeRefused(t, "an old code", r.peer(one).finish(u, u.code.ProveCode(u.sum)), ExpiredCode)
		r.clearAddresses()
		if n, err := r.Sweep(t.Context(), 1); n != 1 || err != nil || r.keys()[spaceCode] != 0 {
			t.Errorf("swept %d, %v; left %v", n, err, r.keys())
		}
		wantCodeRefused(t, "a swept code", r.peer(one).useCode("alice", issued.Code, wrong()), UnknownCode)
		for _, life := range []time.Duration{-1, MinCodeLife - 1, MaxCodeLife + 1} {
			_, err := r.IssueInvite(t.Context(), testServer, life)
			wantError(t, err, ErrCodeLife)
			_, err = r.IssueReset(t.Context(), "alice", testServer, life)
			wantError(t, err, ErrCodeLife)
		}
	})
}

// TestCodeOnce: of sixteen at once, one gets through.
func TestCodeOnce(t *testing.T) {
	for _, kind := range []credential.CodeKind{credential.CodeReset, credential.CodeInvite} {
		r := newRig(t)
		r.peer(one).account("alice")
		issue := r.invite
		if kind == credential.CodeReset {
			issue = func() credential.Code { return r.reset("alice") }
		}
		c := issue()
		var all sync.WaitGroup
		var done sync.Map
		uses := make([]*use, 16)
		for i := range uses {
			name := "alice"
			if kind == credential.CodeInvite {
				name = "user" + string(rune('a'+i))
			}
			uses[i] = r.peer(address(i)).use(name, c, wrong())
		}
		for i, u := range uses {
			all.Go(func() {
				confirm, err := [32]byte{}, error(nil)
				if proof := u.code.ProveCode(u.sum); kind == credential.CodeReset {
					confirm, err = r.FinishReset(t.Context(), u.a, verifierOf(u.next), u.digest, u.next.ProveNew(u.sum), proof)
				} else {
					confirm, err = r.FinishInvited(t.Context(), u.a, verifierOf(u.next), u.digest, u.next.ProveNew(u.sum), proof)
				}
				switch {
				case err == nil && confirm != [32]byte{}:
					done.Store(i, true)
				case !errors.Is(err, ErrCodeRefused):
					t.Errorf("%v %d: %v", kind, i, err)
				}
			})
		}
		all.Wait()
		n := 0
		done.Range(func(any, any) bool { n++; return true })
		have := r.keys()
		accounts := map[credential.CodeKind]int{credential.CodeReset: 1, credential.CodeInvite: 2}[kind]
		if n != 1 || have[spaceCode] != 0 || have[spaceAccount] != accounts || have[spaceName] != accounts {
			t.Errorf("%v: %d got through, and left %v", kind, n, have)
		}
	}
}

// TestCodeThrottled: guesses at a code make their address wait, and nobody else.
func TestCodeThrottled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.peer(one).account("alice")
		c := r.reset("alice")
		for i := range 6 {
			wantCodeRefused(t, "a guess", r.peer(address(i)).useCode("alice", other(t, c), wrong()), WrongCode)
		}
		if d := r.peer(two).fail("alice"); d.Reason != WrongPassword || d.RetryAfter != 0 {
			t.Errorf("a login meanwhile: %+v", d)
		}
		const guesser = "203.0.113.9"
		for range 6 {
			wantCodeRefused(t, "a guess", r.peer(guesser).useCode("alice", other(t, c), wrong()), WrongCode)
		}
		err := r.peer(guesser).useCode("late", r.invite(), wrong())
		wantCodeRefused(t, "too early", err, Throttled)
		d := new(Denied)
		if errors.As(err, &d); d.RetryAfter != time.Second {
			t.Errorf("to wait: %v", d.RetryAfter)
		}
		if d := r.peer(guesser).fail("bob"); d.Reason != Throttled || d.ByCode {
			t.Errorf("a login meanwhile: %+v", d)
		}
		time.Sleep(time.Second)
		if err := r.peer(guesser).useCode("late", r.invite(), wrong()); err != nil {
			t.Error(err)
		}
	})
}

// TestCodeOpensName: whoever fails at a name, until it waits and until it is locked, does not keep its owner from a reset, which ends both.
func TestCodeOpensName(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.peer(one).account("alice")
		for _, failures := range []int{6, 100} {
			for i := range failures {
				r.peer(address(i)).fail("alice")
				if failures == 100 {
					time.Sleep(15 * time.Minute)
				}
			}
			if _, err := r.peer(two).login("alice", right()); wantDenied(t, err).Reason != Throttled {
				t.Errorf("after %d failures: %v", failures, err)
			}
			if err := r.peer(two).useCode("alice", r.reset("alice"), right()); err != nil {
				t.Errorf("a reset after %d failures: %v", failures, err)
			}
			r.peer(two).mustLogin("alice", right())
		}
	})
}

// TestCodeSamePath: unknown names and codes are asked of the store as those are that it has.
func TestCodeSamePath(t *testing.T) {
	r := newRig(t)
	r.peer(one).account("alice")
	reset, invite := r.reset("alice"), r.invite()
	unknown := func(c credential.Code) credential.Code {
		c.ID[0] ^= 1
		return c
	}
	var first []string
	for i, c := range []struct {
		name string
		code credential.Code
	}{{"alice", other(t, reset)}, {"bobby", other(t, reset)}, {"bobby", unknown(reset)}, {"alice", unknown(reset)}, {"carol", reset}} {
		log := r.logOf(func() { _ = r.peer(address(i)).useCode(c.name, c.code, wrong()) })
		if c.name != "alice" {
			named(log, c.name)
		}
		if i == 0 {
			first = log
		}
		if !slices.Equal(log, first) {
			t.Errorf("%d:\n%s\nbut at first\n%s", i, strings.Join(log, "\n"), strings.Join(first, "\n"))
		}
		r.clearAddresses()
	}
	first = r.logOf(func() { _ = r.peer(one).useCode("alice", other(t, invite), wrong()) })
	r.clearAddresses()
	second := r.logOf(func() { _ = r.peer(two).useCode("bobby", unknown(invite), wrong()) })
	if !slices.Equal(first, second) || len(first) < 5 {
		t.Errorf("%q\nbut at first\n%q", second, first)
	}
}

func (r *rig) logOf(do func()) []string {
	r.spy.take()
	do()
	return r.spy.take()
}

func TestResetKeepsDisabled(t *testing.T) {
	r := newRig(t)
	r.peer(one).account("alice")
	if err := r.SetDisabled(t.Context(), "alice", true); err != nil {
		t.Fatal(err)
	}
	if err := r.peer(one).useCode("alice", r.reset("alice"), wrong()); err != nil {
		t.Fatal(err)
	}
	_, err := r.peer(one).login("alice", wrong())
	if d := wantDenied(t, err); d.Reason != Disabled {
		t.Errorf("%+v", d)
	}
	if err := r.SetDisabled(t.Context(), "alice", false); err != nil {
		t.Fatal(err)
	}
	r.peer(one).mustLogin("alice", wrong())
	_, err = r.IssueReset(t.Context(), "nobody", testServer, 0)
	wantError(t, err, ErrNoAccount)
}

func TestInvite(t *testing.T) {
	r := newRig(t, func(c *Config) { c.Registration = RegistrationInvited })
	p := r.peer(one)
	_, _, err := r.BeginRegister(t.Context(), &p.ch, p.start("alice"))
	wantError(t, err, ErrInviteNeeded)
	c := r.invite()
	if err := p.useCode("alice", c, right()); err != nil {
		t.Fatal(err)
	}
	p.mustLogin("alice", right())
	wantCodeRefused(t, "again", p.useCode("bob", c, right()), UnknownCode)
	c = r.invite()
	wantCodeRefused(t, "a name that is taken, without a code", p.useCode("alice", other(t, c), right()), WrongCode)
	wantError(t, p.useCode("alice", c, right()), ErrNameTaken)
	reset := r.reset("alice")
	reset.Kind = credential.CodeInvite // such a code is proved with another key
	wantCodeRefused(t, "a reset", p.useCode("carol", reset, right()), WrongCode)
	if err := p.useCode("bob", c, right()); err != nil {
		t.Errorf("the code of who chose a name that is taken: %v", err)
	}
	// Neither message will do for the attempt of the other.
	u := p.use("dora", r.invite(), right())
	wantError(t, r.FinishRegister(t.Context(), u.a, verifierOf(u.next), u.digest, u.next.ProveNew(u.sum)), ErrRecordRefused)
	wantCodeRefused(t, "a nonce that was burned", p.finish(u, u.code.ProveCode(u.sum)), NonceExpired)
	wantCodeRefused(t, "no nonce", func() error {
		_, err := r.FinishReset(t.Context(), nil, Verifier{}, [32]byte{}, [64]byte{}, [64]byte{})
		return err
	}(), NonceExpired)
}

// TestInviteModes: who takes invites.
func TestInviteModes(t *testing.T) {
	for mode, want := range map[Registration]error{
		RegistrationOpen: nil, RegistrationInvited: nil, RegistrationClosed: ErrRegistrationClosed, RegistrationChecked: ErrPasswordNeeded,
	} {
		r := newRig(t, func(c *Config) { c.Registration = mode })
		p, c := r.peer(one), r.invite()
		start, id := p.start("alice"), ID(c.ID)
		start.Code = &id
		_, _, err := r.BeginRegister(t.Context(), &p.ch, start)
		wantError(t, err, want)
		if want == nil {
			wantError(t, p.useCode("alice", c, right()), nil)
		}
	}
	r := newRig(t, func(c *Config) { c.Registration = RegistrationInvited })
	p := r.peer(one)
	start := p.start("alice")
	start.Method, start.Offered = credential.MethodCheckedPassword, []byte{credential.MethodCheckedPassword}
	_, _, err := r.BeginRegister(t.Context(), &p.ch, start)
	wantError(t, err, ErrRegistrationClosed)
}

// TestRestoreDropsCodes: one that was used after the backup would be good again.
func TestRestoreDropsCodes(t *testing.T) {
	r := newRig(t)
	r.peer(one).account("alice")
	c := r.reset("alice")
	r.invite()
	if ended, err := r.RevokeEverything(t.Context()); ended != 1 || err != nil {
		t.Fatalf("ended %d: %v", ended, err)
	}
	if n := r.keys()[spaceCode]; n != 0 {
		t.Errorf("%d codes are left", n)
	}
	wantCodeRefused(t, "a code from before", r.peer(one).useCode("alice", c, wrong()), UnknownCode)
}

// TestCodeSecretIsNotStored, not even sealed.
func TestCodeSecretIsNotStored(t *testing.T) {
	r := newRig(t)
	r.peer(one).account("alice")
	for _, c := range []credential.Code{r.reset("alice"), r.invite()} {
		text := c.Text()
		for _, e := range r.scan(spaceCode) {
			plain, err := r.store.open(labelCode, e.Key, e.Value)
			if err != nil || len(plain) != 1+32+32+8+8+16+8 {
				t.Fatalf("%d bytes: %v", len(plain), err)
			}
			forged := c // who has the record has no secret: another one gives another key
			forged.Destroy()
			if forged.Text() == text || codeKeyOf(t, forged).Public() == codeKeyOf(t, c).Public() {
				t.Error("the key does not depend on the secret")
			}
		}
	}
}
