package account

import (
	"errors"
	"fmt"
	"maps"
	"testing"
	"testing/synctest"
	"time"

	"github.com/authsrv/authsrv/credential"
)

// exchange is a kind of attempt, as who replays sees it.
type exchange struct {
	kind  Kind
	begin func(*victim, *peer) (*Attempt, [32]byte)
	// finish sends what proves an attempt, with signatures over a transcript.
	finish func(*victim, *Attempt, [32]byte) error
	owned  bool // it is about an account that there is
}

// victim is an account, or a name without one, and what its owner has.
type victim struct {
	r      *rig
	name   string
	owner  *peer
	login  *Login
	code   credential.Code
	secret *credential.Key // of the code
}

var replayDigest = digestOf("replayed")

// operation begins an operation of the owner's session.
func operation(kind Kind) func(*victim, *peer) (*Attempt, [32]byte) {
	return func(v *victim, p *peer) (*Attempt, [32]byte) {
		return p.beginOperation(v.login.Session, kind, replayDigest)
	}
}

func (v *victim) useCode(p *peer) (*Attempt, [32]byte) {
	u := p.use(v.name, v.code, right())
	return u.a, u.sum
}

var recordDigest = digestOf("record")

// exchanges are all kinds of attempts that prove something.
var exchanges = []exchange{
	{KindLogin, func(v *victim, p *peer) (*Attempt, [32]byte) {
		a, tr := p.beginLogin(p.start(v.name))
		return a, tr.Sum()
	}, func(v *victim, a *Attempt, sum [32]byte) error {
		_, err := v.r.FinishLogin(v.r.t.Context(), a, right().Prove(sum))
		return err
	}, true},
	{KindChangePassword, operation(KindChangePassword), func(v *victim, a *Attempt, sum [32]byte) error {
		_, err := v.r.ChangePassword(v.r.t.Context(), a, verifierOf(right()), replayDigest, right().ProveNew(sum), right().Prove(sum))
		return err
	}, true},
	{KindDelete, operation(KindDelete), func(v *victim, a *Attempt, sum [32]byte) error {
		return v.r.Delete(v.r.t.Context(), a, replayDigest, right().Prove(sum))
	}, true},
	{KindRevokeAll, operation(KindRevokeAll), func(v *victim, a *Attempt, sum [32]byte) error {
		return v.r.RevokeAll(v.r.t.Context(), a, replayDigest, right().Prove(sum))
	}, true},
	{KindRegister, func(v *victim, p *peer) (*Attempt, [32]byte) {
		a, tr := p.beginRegister(v.name)
		tr.OpDigest = recordDigest[:]
		return a, tr.Sum()
	}, func(v *victim, a *Attempt, sum [32]byte) error {
		return v.r.FinishRegister(v.r.t.Context(), a, verifierOf(right()), recordDigest, right().ProveNew(sum))
	}, false},
	{KindRegisterInvited, (*victim).useCode, func(v *victim, a *Attempt, sum [32]byte) error {
		_, err := v.r.FinishInvited(v.r.t.Context(), a, verifierOf(right()), recordDigest, right().ProveNew(sum), v.secret.ProveCode(sum))
		return err
	}, false},
	{KindReset, (*victim).useCode, func(v *victim, a *Attempt, sum [32]byte) error {
		_, err := v.r.FinishReset(v.r.t.Context(), a, verifierOf(right()), recordDigest, right().ProveNew(sum), v.secret.ProveCode(sum))
		return err
	}, true},
}

// victim makes what an exchange is about.
func (r *rig) victim(e *exchange, name string) *victim {
	v := &victim{r: r, name: name, owner: r.peer("")}
	switch e.kind {
	case KindRegister:
		return v
	case KindRegisterInvited:
		v.code = r.invite()
	default:
		v.login = v.owner.account(name)
	}
	if e.kind == KindReset {
		v.code = r.reset(name)
	}
	if e.kind == KindReset || e.kind == KindRegisterInvited {
		v.secret = codeKeyOf(r.t, v.code)
	}
	return v
}

// replay is a way to use what was recorded. It ends with the attempt that must be refused; a mutant switches off what refuses it.
type replay struct {
	name   string
	run    func(v *victim, e *exchange) (*Attempt, [32]byte)
	mutant func(v *victim, e *exchange, a *Attempt)
	spares func(Kind) bool // the mutant is refused by something else, too
	only   func(*exchange) bool
}

func never(Kind) bool { return false }

// replays are all that is tried with a recorded proof.
var replays = []replay{
	{name: "a second time", run: func(v *victim, e *exchange) (*Attempt, [32]byte) {
		a, sum := e.begin(v, v.owner)
		if err := e.finish(v, a, sum); err != nil {
			v.r.t.Errorf("%v: at first: %v", e.kind, err)
		}
		return a, sum
	}, mutant: unburned, spares: func(k Kind) bool { return k != KindLogin }}, // what was changed is changed
	{name: "after a wrong one", run: func(v *victim, e *exchange) (*Attempt, [32]byte) {
		a, sum := e.begin(v, v.owner)
		if err := e.finish(v, a, [32]byte{}); err == nil {
			v.r.t.Errorf("%v: a wrong proof served", e.kind)
		}
		return a, sum
	}, mutant: unburned, spares: never},
	{name: "after its time", run: func(v *victim, e *exchange) (*Attempt, [32]byte) {
		a, sum := e.begin(v, v.owner)
		time.Sleep(NonceLife + 1)
		return a, sum
	}, mutant: func(_ *victim, _ *exchange, a *Attempt) { a.issued = time.Now() }, spares: never},
	{name: "for the next nonce", run: func(v *victim, e *exchange) (*Attempt, [32]byte) {
		_, sum := e.begin(v, v.owner)
		a, _ := e.begin(v, v.owner)
		return a, sum
	}},
	{name: "on another connection", run: func(v *victim, e *exchange) (*Attempt, [32]byte) {
		_, sum := e.begin(v, v.owner)
		a, _ := e.begin(v, v.owner.again())
		return a, sum
	}},
	{name: "from another device", run: func(v *victim, e *exchange) (*Attempt, [32]byte) {
		_, sum := e.begin(v, v.owner)
		a, _ := e.begin(v, v.r.peer(""))
		return a, sum
	}},
	{name: "after a restart", run: func(v *victim, e *exchange) (*Attempt, [32]byte) {
		_, sum := e.begin(v, v.owner)
		v.r.reopen()
		a, _ := e.begin(v, v.owner)
		return a, sum
	}},
	// Who relays has given the owner the server's own nonce, and has the device key: the connections alone differ.
	{name: "relayed", run: func(v *victim, e *exchange) (*Attempt, [32]byte) {
		a, _ := e.begin(v, v.owner)
		tr := a.transcript
		tr.Handshake, tr.OpDigest = [32]byte{0xfe}, digestFor(e.kind)
		return a, tr.Sum()
	}, mutant: func(_ *victim, _ *exchange, a *Attempt) { a.transcript.Handshake = [32]byte{0xfe} }, spares: never},
	{name: "for an account that was made anew", run: func(v *victim, e *exchange) (*Attempt, [32]byte) {
		a, sum := e.begin(v, v.owner)
		if err := v.r.Remove(v.r.t.Context(), v.name); err != nil {
			v.r.t.Error(err)
		}
		if err := v.owner.register(v.name, right()); err != nil { // so that the key is the same
			v.r.t.Error(err)
		}
		return a, sum
	}, mutant: func(v *victim, _ *exchange, a *Attempt) {
		u, err := v.r.User(v.r.t.Context(), v.name)
		if err != nil {
			v.r.t.Error(err)
		}
		a.account = u.ID
	}, spares: func(k Kind) bool { return k != KindLogin }, // the session has ended, and the code
		only: func(e *exchange) bool { return e.owned }},
	{name: "for an account that was made meanwhile", run: func(v *victim, e *exchange) (*Attempt, [32]byte) {
		if err := v.r.Remove(v.r.t.Context(), v.name); err != nil {
			v.r.t.Error(err)
		}
		a, sum := e.begin(v, v.owner)
		if err := v.owner.register(v.name, right()); err != nil {
			v.r.t.Error(err)
		}
		return a, sum
	}, only: func(e *exchange) bool { return e.kind == KindLogin }},
}

func unburned(_ *victim, _ *exchange, a *Attempt) { a.burned = false }

// digestFor is the digest of what an exchange of this kind asks for.
func digestFor(k Kind) []byte {
	switch k {
	case KindLogin:
		return nil
	case KindRegister, KindRegisterInvited, KindReset:
		return recordDigest[:]
	}
	return replayDigest[:]
}

// lasting is what is stored, but for what is written about refusals.
func (r *rig) lasting() map[byte]int {
	n := r.keys()
	delete(n, spaceAudit)
	delete(n, spaceThrottle)
	delete(n, spaceDevice) // has failures of its own
	return n
}

// TestReplayedProofs tries every kind of proof in every way a second time, and requires that it is refused and changes nothing; and then with
// the protection switched off that it is not.
func TestReplayedProofs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tried, mutants := 0, 0
		for _, way := range replays {
			r := newRig(t)
			for i := range exchanges {
				e := &exchanges[i]
				if way.only != nil && !way.only(e) {
					continue
				}
				for _, mutant := range []bool{false, true} {
					if mutant && (way.mutant == nil || way.spares(e.kind)) {
						continue
					}
					what := fmt.Sprintf("%v %s", e.kind, way.name)
					v := r.victim(e, fmt.Sprintf("v%d-%v", i, mutant))
					a, sum := way.run(v, e)
					if mutant {
						way.mutant(v, e, a)
						mutants++
						if err := e.finish(v, a, sum); err != nil {
							t.Errorf("%s, the protection off: %v: the check finds nothing", what, err)
						}
						continue
					}
					tried++
					before, of := r.lasting(), generationOf(v)
					err := e.finish(v, a, sum)
					if !errors.Is(err, ErrDenied) && !errors.Is(err, ErrCodeRefused) && !errors.Is(err, ErrRecordRefused) && !errors.Is(err, ErrSessionRevoked) {
						t.Errorf("%s: %v", what, err)
					}
					if after, now := r.lasting(), generationOf(v); !maps.Equal(before, after) || now != of {
						t.Errorf("%s: it changed %v into %v, generation %d into %d", what, before, after, of, now)
					}
				}
			}
		}
		t.Logf("%d replays refused, %d mutants found", tried, mutants)
		if tried < 60 || mutants < 20 {
			t.Errorf("%d replays, %d mutants", tried, mutants)
		}
	})
}

func generationOf(v *victim) uint64 {
	u, err := v.r.User(v.r.t.Context(), v.name)
	if err != nil && !errors.Is(err, ErrNoAccount) {
		v.r.t.Error(err)
	}
	return u.Generation
}
