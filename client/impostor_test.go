package client_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"reflect"
	"testing"
	"testing/synctest"
	"time"

	"github.com/authsrv/authsrv/client"
	"github.com/authsrv/authsrv/client/store"
	"github.com/authsrv/authsrv/credential"
	"github.com/authsrv/authsrv/internal/authtest"
	"github.com/authsrv/authsrv/noiseconn"
	"github.com/authsrv/authsrv/wire"
)

// deed is what a client does with a password, or a session, towards a server that may be an impostor.
type deed struct {
	name   string
	inside bool // in a session, which the server has resumed
	do     func(*fake, *client.Client, *client.Session) error
	asks   wire.Type // what the server is to answer first
	last   appender  // what it says when all is done
}

var deeds = []deed{
	{"login", false, func(f *fake, c *client.Client, _ *client.Session) error {
		_, err := c.Login(f.t.Context(), "alice", password, nil)
		return err
	}, wire.TypeChallenge, &wire.Welcome{Name: []byte("alice"), Token: []byte("a.b.c"), ResumeKey: make32(5)}},
	{"register", false, func(f *fake, c *client.Client, _ *client.Session) error {
		return c.Register(f.t.Context(), "alice", password, nil)
	}, wire.TypeRegisterParams, wire.Registered{}},
	{"register with an invite", false, func(f *fake, c *client.Client, _ *client.Session) error {
		invite := f.code(credential.CodeInvite)
		return c.Register(f.t.Context(), "alice", password, &client.RegisterOptions{Invite: &invite})
	}, wire.TypeRegisterParams, wire.Registered{Confirm: make32(1)}},
	{"reset", false, func(f *fake, c *client.Client, _ *client.Session) error {
		return c.Reset(f.t.Context(), "alice", f.code(credential.CodeReset), password)
	}, wire.TypeRegisterParams, &wire.ResetDone{}},
	{"resume", false, func(f *fake, c *client.Client, _ *client.Session) error {
		_, err := c.Resume(f.t.Context())
		return err
	}, wire.TypeWelcome, nil},
	{"change the password", true, func(f *fake, _ *client.Client, s *client.Session) error {
		return s.ChangePassword(f.t.Context(), password, another)
	}, wire.TypeOpChallenge, &wire.PasswordChanged{ID: 1, Token: []byte("a.b.c"), ResumeKey: [32]byte{1}}},
	{"delete", true, func(f *fake, _ *client.Client, s *client.Session) error {
		return s.Delete(f.t.Context(), password)
	}, wire.TypeOpChallenge, wire.Plain{Type: wire.TypeDone, ID: 1}},
	{"log out everywhere", true, func(f *fake, _ *client.Client, s *client.Session) error {
		return s.LogoutAll(f.t.Context(), password)
	}, wire.TypeOpChallenge, wire.Plain{Type: wire.TypeDone, ID: 1}},
}

// code is a code of the fake's, as whom it was at first.
func (f *fake) code(kind credential.CodeKind) credential.Code {
	c, err := credential.NewCode(bytes.NewReader(make([]byte, 32)), kind, sha256.Sum256(authtest.Identity(1)[32:]))
	if err != nil {
		f.t.Fatal(err)
	}
	return c
}

const leastMemory = 19456

// goodKDF is what alice's account has, as her client remembers it, and goodSalt its salt.
var (
	goodKDF  = wire.KDF{Algorithm: 1, Time: 2, MemoryKiB: 2 * leastMemory, Lanes: 2}
	goodSalt = [16]byte{8}
)

// remembering is a store in which the fake is pinned, with a session there and what was last seen of alice's account.
func (f *fake) remembering() *store.Store {
	st := f.saved()
	a := store.Account{RealmID: f.realm, Name: "alice", DeviceKey: store.Secret{1}, KDF: store.KDF(goodKDF), Salt: goodSalt, Method: 1}
	if err := st.PutAccount(a); err != nil {
		f.t.Fatal(err)
	}
	return st
}

// kept is all that a client has kept of the fake.
func (f *fake) kept(st *store.Store) []any {
	servers, err := st.Servers()
	account, known, err2 := st.Account(f.realm, "alice")
	session, there, err3 := st.Session(authtest.Address)
	if err := errors.Join(err, err2, err3); err != nil {
		f.t.Error(err)
	}
	return []any{servers, account, known, session, there}
}

// offer is what an impostor asks a client to stretch a password with.
type offer struct {
	name  string
	spoil func(*wire.KDF, *[16]byte)
	want  error
	last  bool // it is good, but for what the account had last time
}

var offers = []offer{
	{"memory too low", func(k *wire.KDF, _ *[16]byte) { k.MemoryKiB = leastMemory - 1 }, credential.ErrKDF, false},
	{"no memory", func(k *wire.KDF, _ *[16]byte) { k.MemoryKiB = 0 }, credential.ErrKDF, false},
	{"one pass, memory too low", func(k *wire.KDF, _ *[16]byte) { k.Time, k.MemoryKiB = 1, 47103 }, credential.ErrKDF, false},
	{"no pass", func(k *wire.KDF, _ *[16]byte) { k.Time = 0 }, credential.ErrKDF, false},
	{"memory too high", func(k *wire.KDF, _ *[16]byte) { k.MemoryKiB = 1<<20 + 1 }, credential.ErrKDF, false},
	{"all memory", func(k *wire.KDF, _ *[16]byte) { k.MemoryKiB = 1<<32 - 1 }, credential.ErrKDF, false},
	{"too many passes", func(k *wire.KDF, _ *[16]byte) { k.Time = 9 }, credential.ErrKDF, false},
	{"all passes", func(k *wire.KDF, _ *[16]byte) { k.Time = 1<<32 - 1 }, credential.ErrKDF, false},
	{"too many lanes", func(k *wire.KDF, _ *[16]byte) { k.Lanes = 9 }, credential.ErrKDF, false},
	{"no lanes", func(k *wire.KDF, _ *[16]byte) { k.Lanes = 0 }, credential.ErrKDF, false},
	{"no algorithm", func(k *wire.KDF, _ *[16]byte) { k.Algorithm = 0 }, credential.ErrKDF, false},
	{"another algorithm", func(k *wire.KDF, _ *[16]byte) { k.Algorithm = 2 }, credential.ErrKDF, false},
	{"nothing", func(k *wire.KDF, _ *[16]byte) { *k = wire.KDF{} }, credential.ErrKDF, false},
	{"memory lower", func(k *wire.KDF, _ *[16]byte) { k.MemoryKiB-- }, client.ErrDowngrade, true},
	{"passes lower, memory higher", func(k *wire.KDF, _ *[16]byte) { k.Time, k.MemoryKiB = 1, 1<<17 }, client.ErrDowngrade, true},
	{"lanes lower", func(k *wire.KDF, _ *[16]byte) { k.Lanes = 1 }, client.ErrDowngrade, true},
	{"another salt", func(_ *wire.KDF, s *[16]byte) { s[15] ^= 1 }, client.ErrDowngrade, true},
	{"no salt", func(_ *wire.KDF, s *[16]byte) { *s = [16]byte{} }, client.ErrDowngrade, true},
}

var anyPolicy = wire.Policy{Kind: 3, MinLength: 8, MaxLength: 1024}

// asked takes what a deed begins with, and returns the answer of a server, spoiled. Of an operation there are two parameters: the
// one for the new password is spoiled if next.
func (k *talk) asked(d *deed, next bool, spoil func(*wire.KDF, *[16]byte)) appender {
	c := wire.Challenge{ServerNonce: [32]byte{7}, Salt: goodSalt, KDF: goodKDF, TTL: 20}
	if d.inside {
		k.say(k.resumed())
		start, err := wire.ParseOpStart(k.read())
		if err != nil {
			k.t.Errorf("OpStart: %v", err)
		}
		op := &wire.OpChallenge{ID: start.ID, ServerNonce: c.ServerNonce, Salt: c.Salt, KDF: c.KDF, NewKDF: c.KDF, TTL: 20, Policy: anyPolicy}
		kdf := &op.KDF
		if next {
			kdf = &op.NewKDF
		}
		spoil(kdf, &op.Salt)
		return op
	}
	k.begin()
	spoil(&c.KDF, &c.Salt)
	if d.asks == wire.TypeRegisterParams {
		return &wire.RegisterParams{Challenge: c, Policy: anyPolicy}
	}
	return &c
}

// attempt has a client do a deed towards the fake, and returns what it had kept just before, and how often it has stretched a password.
func (f *fake) attempt(d *deed, st *store.Store) (before []any, stretched int64, err error) {
	f.t.Helper()
	config := f.config(st)
	config.AcceptNew = true
	calls := config.Stretch(cheapKey)
	c, err := client.Dial(f.t.Context(), authtest.Address, config)
	if err != nil {
		f.t.Fatal(err)
	}
	defer c.Close()
	var s *client.Session
	if d.inside {
		if s, err = c.Resume(f.t.Context()); err != nil {
			f.t.Fatal(err)
		}
		defer s.Close()
	}
	before = f.kept(st)
	err = d.do(f, c, s)
	return before, calls.Load(), err
}

// quiet waits for the client's end. It says no more than goodbye.
func (k *talk) quiet() {
	if b := k.read(); b != nil && wire.TypeOf(b) != wire.TypeBye {
		k.t.Errorf("the client went on with %v", wire.TypeOf(b))
	}
}

// TestParametersThatAreRefused: every offer, for every deed, is refused before anything is stretched, and with nothing said or kept. A client
// that remembers nothing of the account is the mutant: what it must be held to then is what it stretches with.
func TestParametersThatAreRefused(t *testing.T) {
	refused, mutants := 0, 0
	for i := range deeds {
		d := &deeds[i]
		if d.asks == wire.TypeWelcome {
			continue // nothing is stretched
		}
		for _, o := range offers {
			for _, next := range []bool{false, true} {
				if next && !d.inside {
					continue
				}
				for _, forgets := range []bool{false, true} {
					if forgets && (!o.last || d.inside) { // in a session there is always an account
						continue
					}
					f := newFake(t, 1)
					var said [][]byte
					f.answer = func(k *talk) {
						k.say(k.asked(d, next, o.spoil))
						if !forgets {
							k.quiet()
						} else if b := k.read(); b != nil {
							said = append(said, b)
						}
					}
					st := f.remembering()
					if forgets {
						if _, err := st.RemoveAccount(f.realm, "alice"); err != nil {
							t.Fatal(err)
						}
					}
					what := fmt.Sprintf("%s: %s, for the new password %v", d.name, o.name, next)
					before, n, err := f.attempt(d, st)
					f.wg.Wait()
					if forgets {
						mutants++
						if n == 0 || len(said) == 0 {
							t.Errorf("%s: nothing is remembered, and still it was refused: %v", what, err)
						}
						continue
					}
					refused++
					if n != 0 || !errors.Is(err, o.want) {
						t.Errorf("%s: %v, want %v; stretched %d times", what, err, o.want, n)
					}
					if after := f.kept(st); !reflect.DeepEqual(before, after) {
						t.Errorf("%s: it keeps %v, and kept %v", what, after, before)
					}
				}
			}
		}
		// What is as it was is stretched: the count counts.
		f := newFake(t, 1)
		f.answer = func(k *talk) {
			if len(f.heard()) == 1 { // and not when the client comes back to find out what became of it
				k.say(k.asked(d, false, func(*wire.KDF, *[16]byte) {}))
				k.read()
			}
		}
		if _, n, err := f.attempt(d, f.remembering()); n == 0 || err == nil {
			t.Errorf("%s: stretched %d times, %v", d.name, n, err)
		}
	}
	t.Logf("%d offers refused, %d mutants found", refused, mutants)
}

// TestAnswersOutOfTurn: every message that a server can say, in the place of the one that a deed waits for, is refused, with nothing
// stretched, said or kept; also that all is done already, and that another method is due.
func TestAnswersOutOfTurn(t *testing.T) {
	c := wire.Challenge{KDF: goodKDF, Salt: goodSalt, TTL: 20}
	messages := map[string]appender{
		"Challenge": &c, "RegisterParams": &wire.RegisterParams{Challenge: c, Policy: anyPolicy},
		"OpChallenge": &wire.OpChallenge{ID: 1, KDF: goodKDF, NewKDF: goodKDF, Salt: goodSalt, TTL: 20, Policy: anyPolicy},
		"Continue":    raw{0x06}, "Continue, of a size": append(raw{0x06}, make([]byte, 511)...), "Proof": &wire.Proof{},
		"ServerHello": append(raw{0x01}, make([]byte, 351)...), "an empty record": raw{}, "unknown": raw{0xff},
	}
	for _, d := range deeds {
		if d.last != nil {
			messages["the last word of "+d.name] = d.last
		}
	}
	messages["Welcome without a token"] = &wire.Welcome{Name: []byte("alice"), AccountID: [16]byte{3}, SessionID: [16]byte{4}}
	tried := 0
	for i := range deeds {
		d := &deeds[i]
		for name, m := range messages {
			if wire.TypeOf(m.AppendTo(nil)) == d.asks && d.asks != wire.TypeWelcome {
				continue
			}
			for _, fresh := range []bool{false, true} {
				f := newFake(t, 1)
				st := f.remembering()
				if fresh {
					if d.inside || d.asks == wire.TypeWelcome {
						continue // a session is one of a pinned server
					}
					st = store.Memory()
				}
				f.answer = func(k *talk) {
					k.asked(d, false, func(*wire.KDF, *[16]byte) {})
					k.say(m)
					k.quiet()
				}
				before, n, err := f.attempt(d, st)
				f.wg.Wait()
				tried++
				if n != 0 || !errors.Is(err, client.ErrProtocol) && !errors.Is(err, client.ErrNotConfirmed) {
					t.Errorf("%s: %s: %v; stretched %d times", d.name, name, err, n)
				}
				if after := f.kept(st); !reflect.DeepEqual(before, after) {
					t.Errorf("%s: %s: it keeps %v, and kept %v", d.name, name, after, before)
				}
				if s, _, _ := st.Server(authtest.Address); s.Confirmed == fresh { // it was accepted at first contact, and no more
					t.Errorf("%s: %s: pinned: %v", d.name, name, s.Confirmed)
				}
			}
		}
	}
	t.Logf("%d answers refused", tried)
	if tried < 100 {
		t.Errorf("%d answers", tried)
	}
}

// turns are what a server can become between two connections.
var turns = []struct {
	name string
	set  func(*fake, *store.Store)
	want error // nil: an identity that changed
	pins bool  // it is refused for what is remembered of the server
}{
	{"its certificate expired", func(f *fake, _ *store.Store) { f.from, f.to = -48*time.Hour, -time.Minute }, noiseconn.ErrCertificateExpired, false},
	{"its certificate is of the future", func(f *fake, _ *store.Store) { f.from, f.to = 25*time.Hour, 48*time.Hour }, noiseconn.ErrCertificateNotYetValid, false},
	{"its certificate lives for long", func(f *fake, _ *store.Store) { f.to = 8 * 24 * time.Hour }, client.ErrCertificate, false},
	{"its certificate is of another key", func(f *fake, _ *store.Store) {
		f.adjust = func(m *wire.ServerHello) { m.Certificate.Signature[63] ^= 1 }
	}, client.ErrCertificate, false},
	{"its clock is wrong", func(f *fake, _ *store.Store) {
		f.says(func(c *wire.Certificate) uint64 { return c.NotAfter + 1 })
	}, client.ErrCertificate, false},
	{"another version", func(f *fake, _ *store.Store) { f.adjust = func(m *wire.ServerHello) { m.Version = 2 } }, client.ErrProtocol, false},
	{"no version", func(f *fake, _ *store.Store) { f.adjust = func(m *wire.ServerHello) { m.HighestVersion = 0 } }, client.ErrProtocol, false},
	{"no suite", func(f *fake, _ *store.Store) { f.adjust = func(m *wire.ServerHello) { m.HighestSuite = 0 } }, client.ErrProtocol, false},
	{"a lower epoch", func(f *fake, st *store.Store) { change(st, func(s *store.Server) { s.Epoch = 2 }) }, client.ErrCertificate, true},
	{"a lower version", func(_ *fake, st *store.Store) { knows(st, 2, 1) }, client.ErrDowngrade, true},
	{"a lower suite", func(_ *fake, st *store.Store) { knows(st, 1, 2) }, client.ErrDowngrade, true},
	{"another identity", func(f *fake, _ *store.Store) { f.identity = authtest.Identity(9) }, nil, true},
	{"another realm", func(f *fake, _ *store.Store) { f.realm = [16]byte{9} }, nil, true},
	{"refuses for its version", func(f *fake, _ *store.Store) { f.refusal = wire.CodeVersion }, client.ErrVersion, false},
}

// TestServersThatTurn: a client whose connection has rested makes another one, for whatever deed, and judges who answers then anew: nothing is
// stretched or sent, and nothing kept. The mutant is a client that remembers nothing of the server: it goes on.
func TestServersThatTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		refused, mutants := 0, 0
		for i := range deeds {
			d := &deeds[i]
			if d.inside {
				continue // a session has the one connection
			}
			for _, turn := range turns {
				for _, forgets := range []bool{false, true} {
					if forgets && (!turn.pins || d.asks == wire.TypeWelcome || turn.name == "another identity" && d.name != "login" && d.name != "register") {
						continue // to resume takes a pin, and a code is one
					}
					f := newFake(t, 1)
					st := f.remembering()
					f.answer = func(k *talk) { k.begin() }
					config := f.config(st)
					config.AcceptNew = forgets
					calls := config.Stretch(cheapKey)
					c, err := client.Dial(t.Context(), authtest.Address, config)
					if err != nil {
						t.Fatal(err)
					}
					time.Sleep(4 * time.Second) // longer than a connection may rest
					before := f.kept(st)
					turn.set(f, st)
					if forgets {
						if _, err := st.RemoveServer(authtest.Address); err != nil {
							t.Fatal(err)
						}
					}
					before[0] = f.kept(st)[0]
					err = d.do(f, c, nil)
					c.Close()
					f.wg.Wait()
					if forgets {
						mutants++
						if heard := f.heard(); len(heard) != 2 || heard[1] <= helloSize {
							t.Errorf("%s: %s, and nothing is remembered: %v, sent %d", d.name, turn.name, err, heard)
						}
						continue
					}
					refused++
					f.nothing(2)
					var changed *client.IdentityChangedError
					if ok := turn.want != nil && errors.Is(err, turn.want) || turn.want == nil && errors.As(err, &changed); !ok || calls.Load() != 0 {
						t.Errorf("%s: %s: %v, want %v; stretched %d times", d.name, turn.name, err, turn.want, calls.Load())
					}
					if f.realm = before[1].(store.Account).RealmID; !reflect.DeepEqual(before, f.kept(st)) {
						t.Errorf("%s: %s: what is kept has changed", d.name, turn.name)
					}
				}
			}
		}
		t.Logf("%d servers that turned were refused, %d mutants found", refused, mutants)
	})
}

// TestFirstContactThatDenies: whoever answers at first contact and denies is not pinned; and hears no more, whatever it says next, until
// its user tries again.
func TestFirstContactThatDenies(t *testing.T) {
	for i := range deeds[:4] {
		d := &deeds[i]
		for _, late := range []bool{false, true} {
			f := newFake(t, 1)
			f.answer = func(k *talk) {
				m := k.asked(d, false, func(*wire.KDF, *[16]byte) {})
				if late { // behind the proof
					k.say(m)
					k.read()
				}
				k.say(&wire.Denied{Code: wire.CodeDenied})
				if b := k.read(); b != nil {
					t.Errorf("%s: the client went on with %v", d.name, wire.TypeOf(b))
				}
			}
			st := store.Memory()
			_, n, err := f.attempt(d, st)
			f.wg.Wait()
			var refused *client.Error
			if !errors.As(err, &refused) || !errors.Is(err, client.ErrDenied) {
				t.Errorf("%s, late %v: %v", d.name, late, err)
			}
			if late != (n == 1) {
				t.Errorf("%s, late %v: stretched %d times", d.name, late, n)
			}
			if s, _, _ := st.Server(authtest.Address); s.Confirmed {
				t.Errorf("%s, late %v: it is pinned", d.name, late)
			}
			if heard := f.heard(); len(heard) != 1 {
				t.Errorf("%s, late %v: the client came %d times", d.name, late, len(heard))
			}
		}
	}
}
