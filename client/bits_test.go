package client_test

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/authsrv/authsrv/client"
	"github.com/authsrv/authsrv/client/store"
	"github.com/authsrv/authsrv/internal/authtest"
	"github.com/authsrv/authsrv/internal/soak"
	"github.com/authsrv/authsrv/wire"
)

// The steps of a visit, in their order.
const (
	stepDial = iota
	stepLogin
	stepWhoAmI
	stepList
	stepChange
	stepSessions
	stepLogoutAll
	steps
)

// passage is one frame of a visit: the step that fails if it does not arrive as it was sent, and what the server has of the
// account by the time that it was sent: live sessions, and how often all before were ended.
type passage struct {
	name       string
	step       int
	sessions   int
	generation uint64
}

// passages are the frames of a visit, by their way: M1 to M3, eight records each way, and the answer to the last.
var passages = [2][]passage{
	toServer: {
		{"preface", stepDial, 0, 1},
		{"M1", stepDial, 0, 1},
		{"M3", stepLogin, 0, 1},
		{"Proof", stepLogin, 0, 1},
		{"WhoAmI", stepWhoAmI, 1, 1},
		{"List", stepList, 1, 1},
		{"OpStart", stepChange, 1, 1},
		{"ChangePassword", stepChange, 1, 1},
		{"ListSessions", stepSessions, 1, 2},
		{"second OpStart", stepLogoutAll, 1, 2},
		{"RevokeAll", stepLogoutAll, 1, 2},
	},
	toClient: {
		{"M2", stepDial, 0, 1},
		{"Challenge", stepLogin, 0, 1},
		{"Welcome", stepLogin, 1, 1},
		{"Account", stepWhoAmI, 1, 1},
		{"Listing", stepList, 1, 1},
		{"OpChallenge", stepChange, 1, 1},
		{"PasswordChanged", stepChange, 1, 2},
		{"SessionList", stepSessions, 1, 2},
		{"second OpChallenge", stepLogoutAll, 1, 2},
		{"Done", stepLogoutAll, 0, 3},
	},
}

func frameName(way, n int) string {
	return [2]string{"to the server: ", "to the client: "}[way] + passages[way][n].name
}

// visits is a server, and how many have visited it.
type visits struct {
	srv *authtest.Server
	n   int
}

// visit is what came of one.
type visit struct {
	errs       [steps]error
	wrong      []string // answers that are not true
	pinned     bool
	known      bool // the server, as one that was accepted
	account    bool // a device key
	session    bool
	sessions   int
	generation uint64
}

// addressOf is an address that no other visit comes from, so that none waits for another's failures.
func addressOf(n int) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 18, byte(n >> 8), byte(n)}), 40000)
}

// make has a client of an account of its own do all steps, through the man in the middle.
func (v *visits) make(t testing.TB, m *middle) (got visit) {
	ctx, n := t.Context(), v.n
	v.n++
	name := fmt.Sprintf("user%08d", n)
	enroll(t, v.srv, name, password)
	config := m.through(v.srv, addressOf(n))
	config.Stretch(cheapKey)
	if m.forges != nil {
		ephemeral, static := sha256.Sum256([]byte("ephemeral "+name)), sha256.Sum256([]byte("static "+name))
		config.Rand = &keyed{keys: [][32]byte{ephemeral, {}, static}, rest: rand.NewChaCha8(static)}
		m.forges = func(m2 []byte) [2]chacha { return keysOf(ephemeral, static, m2) }
	}
	st := store.Memory()
	config.Store = st
	lie := func(format string, args ...any) { got.wrong = append(got.wrong, fmt.Sprintf(format, args...)) }

	for i := range got.errs {
		got.errs[i] = errNotReached
	}
	var c *client.Client
	var s *client.Session
	if c, got.errs[stepDial] = client.Dial(ctx, authtest.Address, config); c != nil {
		s, got.errs[stepLogin] = c.Login(ctx, name, password, nil)
	}
	if s != nil {
		var who *client.Account
		if who, got.errs[stepWhoAmI] = s.WhoAmI(ctx); who != nil {
			first, _, err := st.Session(authtest.Address)
			if err != nil || who.Name != name || who.SessionID != first.SessionID || who.ID != first.AccountID || !who.Expires.Equal(s.Expires()) {
				lie("WhoAmI: %+v, %v", who, err)
			}
			u, err := v.srv.Accounts.User(ctx, name)
			if err != nil || [16]byte(u.ID) != who.ID || !who.Created.Equal(u.Created) {
				lie("WhoAmI: %+v is not %+v, %v", who, u, err)
			}
		}
		var names []string
		if names, got.errs[stepList] = s.List(ctx); got.errs[stepList] == nil && !slices.Equal(names, []string{"root", "home", "etc", "lib", "media", "mnt"}) {
			lie("List: %q", names)
		}
		got.errs[stepChange] = s.ChangePassword(ctx, password, another)
		got.errs[stepSessions] = nil
		for info, err := range s.Sessions(ctx) {
			if got.errs[stepSessions] = err; err == nil {
				real, _, err := v.srv.Accounts.SessionsOf(ctx, name, [16]byte{}, 2)
				if err != nil || len(real) != 1 || [16]byte(real[0].ID) != info.ID || !real[0].Created.Equal(info.Created) ||
					!real[0].LastUsed.Equal(info.LastUsed) || !real[0].Expires.Equal(info.Expires) || real[0].Address != info.Address || !info.Current {
					lie("Sessions: %+v, %v", info, err)
				}
			}
		}
		got.errs[stepLogoutAll] = s.LogoutAll(ctx, another)
		s.Close()
	}
	if c != nil {
		c.Close()
	} else if m.Conn != nil {
		m.Conn.Close()
	}
	synctest.Wait()

	known, there, err := st.Server(authtest.Address)
	got.known, got.pinned = there, known.Confirmed
	_, account, err2 := st.Account(v.srv.Accounts.RealmID(), name)
	_, session, err3 := st.Session(authtest.Address)
	u, err4 := v.srv.Accounts.User(ctx, name)
	if err := errors.Join(err, err2, err3, err4); err != nil {
		t.Errorf("%v", err)
	}
	got.account, got.session, got.sessions, got.generation = account, session, u.Sessions, u.Generation
	return got
}

var errNotReached = fmt.Errorf("%w: there was no connection", client.ErrConnection)

// typed says whether an error is one that callers can match.
func typed(err error) bool {
	var refused *client.Error
	var goodbye *client.GoodbyeError
	return errors.Is(err, client.ErrConnection) || errors.Is(err, client.ErrProtocol) || errors.Is(err, client.ErrOutcomeUnknown) ||
		errors.As(err, &refused) || errors.As(err, &goodbye)
}

// judge says how a visit differs from what a fault in one of its frames must come to: what came before it is done, and nothing
// behind it is. Where the answer to a change is lost, the client says that it does not know, or finds out what is true.
func (f *fault) judge(got *visit) (wrong []string) {
	complain := func(format string, args ...any) { wrong = append(wrong, fmt.Sprintf(format, args...)) }
	wrong = got.wrong
	p := passages[f.way][f.frame]
	for step, err := range got.errs {
		switch {
		case err != nil && !typed(err):
			complain("step %d: %v is no error of the client's own", step, err)
		case step < p.step && err != nil:
			complain("step %d, before the fault: %v", step, err)
		case step == p.step && p.name == "PasswordChanged":
			if err != nil && !errors.Is(err, client.ErrOutcomeUnknown) {
				complain("the password was changed, and the client said: %v", err)
			}
		case step == p.step && p.name == "Done" && !errors.Is(err, client.ErrOutcomeUnknown):
			complain("LogoutAll: %v, want that the outcome is unknown", err)
		case step == p.step && p.step == stepLogoutAll && p.name != "RevokeAll" && p.name != "Done" && errors.Is(err, client.ErrOutcomeUnknown):
			complain("LogoutAll: %v, and nothing was asked for", err)
		case step == p.step && step != stepLogoutAll && errors.Is(err, client.ErrOutcomeUnknown):
			complain("step %d: %v, and the client could have found out", step, err)
		case step >= p.step && err == nil:
			complain("step %d was done", step)
		}
	}
	in := p.step > stepLogin
	if got.known != (p.step > stepDial) || got.pinned != in || got.account != in {
		complain("remembered: the server %v, pinned %v, the account %v", got.known, got.pinned, got.account)
	}
	if kept := in && got.errs[stepChange] != nil || p.step > stepChange; got.session != kept {
		complain("the session is remembered: %v", got.session)
	}
	if got.sessions != p.sessions || got.generation != p.generation {
		complain("the server has %d sessions in generation %d, want %d in %d", got.sessions, got.generation, p.sessions, p.generation)
	}
	return wrong
}

// keyed is randomness that begins with some keys.
type keyed struct {
	mu   sync.Mutex
	keys [][32]byte
	rest *rand.ChaCha8
}

func (k *keyed) Read(p []byte) (int, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.keys) > 0 {
		copy(p, k.keys[0][:])
		k.keys = k.keys[1:]
		return 32, nil
	}
	return k.rest.Read(p)
}

// inBubble runs visits to a server in a bubble, where waiting costs nothing.
func inBubble(t *testing.T, run func(t *testing.T, v *visits)) {
	synctest.Test(t, func(t *testing.T) {
		run(t, &visits{srv: authtest.New(t, authtest.Options{})})
	})
}

// faults are all that a visit can have, frame by frame: every bit of every byte, and every cut.
func faults(t *testing.T) (all [][]fault) {
	inBubble(t, func(t *testing.T, v *visits) {
		m := &middle{}
		got := v.make(t, m)
		if err := errors.Join(got.errs[:]...); err != nil || len(got.wrong) > 0 || !got.pinned || !got.account || got.session || got.sessions != 0 || got.generation != 3 {
			t.Errorf("without a fault: %v, %+v", err, got)
		}
		for way, list := range passages {
			if n := len(m.frames[way]); n < len(list) { // behind them are Bye and Goodbye
				t.Fatalf("%d frames %d", n, way)
			}
			for frame := range list {
				var of []fault
				for at := range m.frames[way][frame] {
					for bit := range cutHere + 1 {
						of = append(of, fault{way, frame, at, bit})
					}
				}
				all = append(all, of)
			}
		}
	})
	return all
}

// spread picks n of what kinds there are of for each byte of a frame: from its first byte to its last, each kind as often as the others.
func spread(list []fault, n, kinds int) (some []fault) {
	if n >= len(list) {
		return list
	}
	for i := range n {
		at := i * (len(list) - 1) / max(n-1, 1)
		some = append(some, list[at-at%kinds+i%kinds])
	}
	return some
}

// TestSoakEveryBit flips every bit of M1 to M3 and of the first records of both ways, and cuts the connection at every byte of them.
func TestSoakEveryBit(t *testing.T) {
	var all []fault
	total := 0
	for _, of := range faults(t) {
		total += len(of)
		n := soak.Times(t, len(of), cutHere+1)
		if raceEnabled {
			n = min(n, cutHere+1)
		}
		some := spread(of, n, cutHere+1)
		all = append(all, some...)
		cuts := 0
		for _, f := range some {
			cuts += f.bit / cutHere
		}
		t.Logf("%s: %d bits flipped, %d cuts", frameName(of[0].way, of[0].frame), len(some)-cuts, cuts)
	}
	const batch = 500 // visits of one server
	t.Run("faults", func(t *testing.T) {
		for first := 0; first < len(all); first += batch {
			t.Run(fmt.Sprint(first), func(t *testing.T) {
				t.Parallel()
				inBubble(t, func(t *testing.T, v *visits) {
					for _, f := range all[first:min(first+batch, len(all))] {
						v.suffer(t, &middle{fault: &f})
					}
				})
			})
		}
	})
	t.Logf("%d of %d faults", len(all), total)
}

// suffer makes a visit with a fault, and reports what is wrong with what came of it.
func (v *visits) suffer(t *testing.T, m *middle) {
	got := v.make(t, m)
	if wrong := m.fault.judge(&got); len(wrong) > 0 {
		t.Errorf("%v: %q; %v", m.fault, wrong, errors.Join(got.errs[:]...))
	}
	if !m.made.Load() {
		t.Errorf("%v: it was not made", m.fault)
	}
}

// TestEveryBitFindsForgeries is the mutant: with a cipher that does not check tags, the same faults are found to do harm, in every record.
func TestEveryBitFindsForgeries(t *testing.T) {
	var tags, bodies []fault // a bit of each tag; all bits of what is encrypted
	for _, of := range faults(t) {
		if of[0].frame < firstRecord[of[0].way] {
			continue
		}
		for _, f := range of[wire.FrameHeaderSize*(cutHere+1):] {
			if f.bit != cutHere {
				bodies = append(bodies, f)
			}
		}
		tags = append(tags, bodies[len(bodies)-1])
	}
	if want := len(passages[toServer]) - firstRecord[toServer] + len(passages[toClient]) - firstRecord[toClient]; len(tags) != want {
		t.Fatalf("%d records, want %d", len(tags), want)
	}
	inBubble(t, func(t *testing.T, v *visits) {
		harmful := func(f fault) bool {
			m := &middle{fault: &f, forges: func([]byte) (none [2]chacha) { return none }}
			got := v.make(t, m)
			if !m.made.Load() {
				t.Errorf("%v: it was not made", f)
			}
			return len(f.judge(&got)) > 0
		}
		for _, f := range tags {
			if !harmful(f) {
				t.Errorf("%v: the tag was not checked, and nothing was found", f)
			}
		}
		tries, found := 128, 0
		if raceEnabled {
			tries = 16
		}
		for _, f := range spread(bodies, tries, cutHere) {
			if harmful(f) {
				found++
			}
		}
		t.Logf("%d forged tags were found; of %d other bits, %d did harm, and what is above the cipher refused the rest", len(tags), tries, found)
		if found < tries/4 {
			t.Errorf("of %d forged records %d did harm", tries, found)
		}
	})
}
