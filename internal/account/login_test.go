package account

import (
	"bytes"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/authsrv/authsrv/credential"
	"github.com/authsrv/authsrv/kv"
)

func TestLogin(t *testing.T) {
	r := newRig(t)
	p := r.peer(one)
	if err := p.register("alice", right()); err != nil {
		t.Fatal(err)
	}
	a, tr := p.beginLogin(p.start("alice"))
	proof := right().Prove(tr.Sum())
	l, err := r.FinishLogin(t.Context(), a, proof)
	if err != nil {
		t.Fatal(err)
	}
	if !right().VerifyConfirm(tr.Sum(), proof, l.Confirm) {
		t.Error("the confirmation is not that of the account")
	}
	if l.Token == "" || l.ResumeKey == ([32]byte{}) || l.Session.Name != "alice" || r.Check(t.Context(), l.Session) != nil {
		t.Errorf("login %+v, session %+v", l, l.Session)
	}
	if other := p.mustLogin("alice", right()); other.ResumeKey == l.ResumeKey || other.Token == l.Token ||
		other.Session.ID == l.Session.ID || other.Session.Account != l.Session.Account {
		t.Error("two logins share what they should not, or not what they should")
	}
}

// TestLoginRefused: whatever is wrong, it is one error, and a repetition does not help.
func TestLoginRefused(t *testing.T) {
	r := newRig(t)
	p := r.peer(one)
	l := p.account("alice")
	p.account("dora")
	for name, fault := range map[string]func(*credential.Transcript){
		"handshake":    func(tr *credential.Transcript) { tr.Handshake[31] ^= 1 },
		"static":       func(tr *credential.Transcript) { tr.ClientStatic[0] ^= 1 },
		"preface":      func(tr *credential.Transcript) { tr.Preface[4] ^= 1 },
		"realm":        func(tr *credential.Transcript) { tr.RealmID[0] ^= 1 },
		"server nonce": func(tr *credential.Transcript) { tr.ServerNonce = bytes.Repeat([]byte{1}, 32) },
		"client nonce": func(tr *credential.Transcript) { tr.ClientNonce[0] ^= 1 },
		"name":         func(tr *credential.Transcript) { tr.LoginName = "dora" },
		"salt":         func(tr *credential.Transcript) { tr.Salt = bytes.Repeat([]byte{1}, 16) },
		"kdf":          func(tr *credential.Transcript) { tr.KDF.Time++ },
		"lifetime":     func(tr *credential.Transcript) { tr.Options++ },
		"method":       func(tr *credential.Transcript) { tr.Method = credential.MethodCheckedPassword },
		"offered":      func(tr *credential.Transcript) { tr.OfferedMethods = []byte{1, 2} },
		"purpose":      func(tr *credential.Transcript) { tr.Purpose = credential.PurposeOperation },
		"session id":   func(tr *credential.Transcript) { tr.SessionID = l.Session.ID[:] },
		"account id":   func(tr *credential.Transcript) { tr.AccountID = l.Session.Account[:] },
		"digest":       func(tr *credential.Transcript) { tr.OpDigest = make([]byte, 32) },
	} {
		a, tr := p.beginLogin(p.start("alice"))
		good := right().Prove(tr.Sum())
		fault(&tr)
		_, err := r.FinishLogin(t.Context(), a, right().Prove(tr.Sum()))
		if d := wantDenied(t, err); d.Reason != WrongPassword || d.RetryAfter != 0 {
			t.Errorf("%s: %+v", name, d)
		}
		_, err = r.FinishLogin(t.Context(), a, good)
		if d := wantDenied(t, err); d.Reason != NonceExpired {
			t.Errorf("%s, and then right: %+v", name, d)
		}
		p = r.peer(one) // who has failures of an address left, waits
		p.ch.Address = p.ch.Address.Next()
		p.mustLogin("alice", right())
		r.clearAddresses()
	}
	_, err := r.FinishLogin(t.Context(), nil, [64]byte{})
	wantDenied(t, err)
}

// clearAddresses forgets the failures of all names and addresses.
func (r *rig) clearAddresses() {
	r.t.Helper()
	if entries := r.scan(spaceThrottle); len(entries) > 0 {
		if err := r.remove(r.t.Context(), entries); err != nil {
			r.t.Fatal(err)
		}
	}
}

func TestNonce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		p := r.peer(one)
		p.account("alice")

		// A right proof burns it too.
		a, tr := p.beginLogin(p.start("alice"))
		proof := right().Prove(tr.Sum())
		if _, err := r.FinishLogin(t.Context(), a, proof); err != nil {
			t.Fatal(err)
		}
		_, err := r.FinishLogin(t.Context(), a, proof)
		if d := wantDenied(t, err); d.Reason != NonceExpired {
			t.Errorf("replay on the same connection: %+v", d)
		}

		// On another connection, or with another attempt's nonce, it is a wrong one.
		for _, other := range []*peer{p, p.again(), r.peer(one)} {
			b, _ := other.beginLogin(p.start("alice"))
			_, err := r.FinishLogin(t.Context(), b, proof)
			if d := wantDenied(t, err); d.Reason != WrongPassword {
				t.Errorf("replay: %+v", d)
			}
		}

		// It lives for so long, and no longer; a wrong proof is told as such in the audit all the same.
		for _, c := range []struct {
			age  time.Duration
			key  *credential.Key
			want Outcome
		}{
			{NonceLife, right(), Success},
			{NonceLife + 1, right(), NonceExpired},
			{time.Minute, wrong(), WrongPassword},
		} {
			a, tr := p.beginLogin(p.start("alice"))
			time.Sleep(c.age)
			_, err := r.FinishLogin(t.Context(), a, c.key.Prove(tr.Sum()))
			switch {
			case c.want == Success && err != nil:
				t.Errorf("after %v: %v", c.age, err)
			case c.want != Success && wantDenied(t, err).Reason != c.want:
				t.Errorf("after %v: %v, want %v", c.age, err, c.want)
			}
		}

		// One for another kind of attempt is none.
		a, tr = p.beginRegister("bob")
		_, err = r.FinishLogin(t.Context(), a, right().Prove(tr.Sum()))
		if d := wantDenied(t, err); d.Reason != NonceExpired || !a.burned {
			t.Errorf("a registration's: %+v", d)
		}
	})
}

// TestPasswordChangedMeanwhile: a challenge of before is no good afterwards, with neither password.
func TestPasswordChangedMeanwhile(t *testing.T) {
	r := newRig(t)
	p := r.peer(one)
	l := p.account("alice")
	before, tr1 := p.beginLogin(p.start("alice"))
	again, tr2 := p.beginLogin(p.start("alice"))
	next := cheapKDF
	next.Time++
	r.Service.c.KDF = next
	digest := digestOf("change")
	a, sum := p.beginOperation(l.Session, KindChangePassword, digest)
	v := verifierOf(wrong())
	v.KDF = next
	if _, err := r.ChangePassword(t.Context(), a, v, digest, wrong().ProveNew(sum), right().Prove(sum)); err != nil {
		t.Fatal(err)
	}
	_, err := r.FinishLogin(t.Context(), before, right().Prove(tr1.Sum()))
	wantDenied(t, err)
	tr2.KDF = next // as the record has it now, but not the challenge
	_, err = r.FinishLogin(t.Context(), again, wrong().Prove(tr2.Sum()))
	wantDenied(t, err)
	if _, c, err := r.BeginLogin(t.Context(), &p.ch, p.start("alice")); err != nil || c.KDF != next {
		t.Errorf("the challenge has %+v, %v", c.KDF, err)
	}
	p.mustLogin("alice", wrong())
}

func TestSalt(t *testing.T) {
	r := newRig(t)
	p := r.peer(one)
	salt := func(name string) [16]byte {
		t.Helper()
		_, c, err := r.BeginLogin(t.Context(), &p.ch, p.start(name))
		if err != nil || c.KDF != cheapKDF || c.Life != NonceLife {
			t.Fatalf("challenge %+v, %v", c, err)
		}
		return c.Salt
	}
	unknown := salt("alice")
	p.account("alice")
	if bob := salt("bob"); salt("alice") != unknown || bob == unknown || salt("bob") != bob {
		t.Error("a salt is not stable for a name, or not its own")
	}
	r.reopen()
	if salt("alice") != unknown {
		t.Error("another start gives another salt")
	}
	if _, c, err := r.BeginRegister(t.Context(), &p.ch, p.start("carl")); err != nil || c.Salt != salt("carl") {
		t.Errorf("a registration has another salt: %v", err)
	}
}

var auditWrite = regexp.MustCompile(`write u 17 (\d+)`)

// named makes of a log of an unknown name, which audit records are without, one of records that have it.
func named(log []string, name string) {
	for i, line := range log {
		log[i] = auditWrite.ReplaceAllStringFunc(line, func(write string) string {
			n, _ := strconv.Atoi(auditWrite.FindStringSubmatch(write)[1])
			return fmt.Sprint("write u 17 ", n+len(name))
		})
	}
}

// TestSamePath: what a refused login asks of the store, and how much it writes, does not depend on
// whether the name exists, and why it was refused.
func TestSamePath(t *testing.T) {
	r := newRig(t)
	p := r.peer(one)
	for _, name := range []string{"alice", "carol"} {
		p.account(name)
	}
	r.edit(p.mustLogin("carol", right()).Session.Account, func(a *accountRecord) { a.flags |= flagDisabled })
	type run struct {
		what    string
		name    string
		key     *credential.Key
		reason  Outcome
		address string
	}
	runs := []run{
		{"wrong password", "alice", wrong(), WrongPassword, "192.0.2.1"},
		{"unknown name", "bobby", wrong(), UnknownName, "192.0.2.2"},
		{"disabled, right", "carol", right(), Disabled, "192.0.2.3"},
		{"disabled, wrong", "carol", wrong(), WrongPassword, "192.0.2.4"},
	}
	var first []string
	for round := range 3 { // without and with throttle records
		for i, c := range runs {
			if c.what == "disabled, wrong" && round == 0 {
				continue // the name has a failure already
			}
			p := r.peer(c.address)
			r.spy.take()
			a, tr := p.beginLogin(p.start(c.name))
			r.spy.note("proof")
			_, err := r.FinishLogin(t.Context(), a, c.key.Prove(tr.Sum()))
			if d := wantDenied(t, err); d.Reason != c.reason || d.RetryAfter != 0 {
				t.Errorf("%s: %+v", c.what, d)
			}
			log := r.spy.take()
			if c.reason == UnknownName {
				named(log, c.name)
			}
			if i == 0 {
				first = log
			}
			if !slices.Equal(log, first) {
				t.Errorf("round %d, %s:\n%s\nbut at first\n%s", round, c.what, strings.Join(log, "\n"), strings.Join(first, "\n"))
			}
		}
		if len(first) < 9 {
			t.Errorf("the wrapper saw too little: %q", first)
		}
	}
}

// TestMadeUpPlaces: what is read for an unknown name is at places of its own, and always at the same ones. Those of another
// name, read again and again, would be in a cache.
func TestMadeUpPlaces(t *testing.T) {
	r := newRig(t)
	places := func(name string) (keys []string) {
		r.spy.get = func(key []byte) error {
			if key[0] == spaceAccount || key[0] == spaceDevice {
				keys = append(keys, string(key))
			}
			return nil
		}
		defer func() { r.spy.get = nil }()
		p := r.peer(one)
		p.ch.Static = [32]byte{1}
		p.fail(name)
		return keys
	}
	alice, again, bob := places("alice"), places("alice"), places("bob")
	if !slices.Equal(alice, again) || len(alice) != len(bob) || len(alice) < 3 {
		t.Fatalf("places %x, then %x, of another %x", alice, again, bob)
	}
	for i := range alice {
		if slices.Contains(bob, alice[i]) {
			t.Errorf("both names read %x", alice[i])
		}
	}
}

// TestDecoy: a failure with a name that nobody has prepares no place for the next: a name with an account and one without take a record each.
func TestDecoy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // all in a minute
		r := newRig(t)
		r.peer(six).account("alice")
		r.peer(one).fail("nobody")
		for _, name := range []string{"alice", "bobby"} {
			before := r.keys()[spaceAudit]
			r.peer(one).fail(name)
			if more := r.keys()[spaceAudit] - before; more != 1 {
				t.Errorf("%s: %d records more, want 1", name, more)
			}
		}
	})
}

// TestSameWork: an unknown name costs as many openings and as many bytes as one that has an account.
func TestSameWork(t *testing.T) {
	r := newRig(t)
	p := r.peer(one)
	for _, name := range []string{"a", "alice", strings.Repeat("x", 64)} {
		p.account(name)
		stored := map[byte][]byte{}
		_, _, real, err := r.lookup(func(key []byte) ([]byte, bool, error) {
			e, err := r.spy.Get(t.Context(), key)
			stored[key[0]] = e.Value
			return e.Value, true, err
		}, name)
		if err != nil || !real {
			t.Fatal(real, err)
		}
		if len(stored[spaceName]) != len(r.dummy.Load().name) || len(stored[spaceAccount]) != len(r.dummy.Load().account[len(name)]) {
			t.Errorf("name of %d bytes: records of other sizes than those made up", len(name))
		}
		work := func(known bool) float64 {
			return testing.AllocsPerRun(100, func() {
				_, _, real, err := r.lookup(func(key []byte) ([]byte, bool, error) {
					return stored[key[0]], known, nil
				}, name)
				if err != nil || real != known {
					t.Fatal(real, err)
				}
			})
		}
		if a, b := work(true), work(false); a != b && !underRace {
			t.Errorf("name of %d bytes: %v allocations for one with an account, %v without", len(name), a, b)
		}
	}
	if _, _, real, err := r.lookup(r.now(t.Context()), strings.Repeat("y", 255)); real || err != nil {
		t.Errorf("a name that is too long: %v, %v", real, err)
	}
}

// TestIndexOfAnother: a name that leads to the account of another is damage, whoever has sealed it.
func TestIndexOfAnother(t *testing.T) {
	r := newRig(t)
	p := r.peer(one)
	p.account("alice")
	bob := p.account("bob").Session
	err := kv.Update(t.Context(), r.spy.Engine, func(tx *kv.Tx) error {
		return r.store.put(tx, labelName, r.store.nameKey("alice"), &idRecord{bob.Account})
	})
	if err != nil {
		t.Fatal(err)
	}
	_, _, err = r.BeginLogin(t.Context(), &p.ch, p.start("alice"))
	wantError(t, err, ErrDamaged)
	p.mustLogin("bob", right())
}

// TestLookupTorn: an index without its account, as a reader beside a deletion can see it, is no account.
func TestLookupTorn(t *testing.T) {
	r := newRig(t)
	p := r.peer(one)
	l := p.account("alice")
	e, err := r.spy.Get(t.Context(), accountKey(l.Session.Account))
	if err == nil {
		err = r.remove(t.Context(), []kv.Entry{e})
	}
	if err != nil {
		t.Fatal(err)
	}
	_, err = p.login("alice", right())
	if d := wantDenied(t, err); d.Reason != UnknownName {
		t.Errorf("%+v", d)
	}
}
