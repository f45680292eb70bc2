package server_test

import (
	"crypto/sha256"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/authsrv/authsrv/credential"
	"github.com/authsrv/authsrv/internal/account"
	"github.com/authsrv/authsrv/internal/authtest"
	"github.com/authsrv/authsrv/noiseconn"
	"github.com/authsrv/authsrv/wire"
)

// stage is where rows of the state table are played.
type stage struct {
	t             *testing.T
	open, checked *authtest.Server
	engine        *engine // of open
	shared        *user   // whose connections all are; nil: each has a user of its own
	n             int     // of users so far
}

func newStage(t *testing.T) *stage {
	s := &stage{t: t, engine: newEngine(t)}
	s.open = authtest.New(t, authtest.Options{Engine: s.engine})
	s.checked = authtest.New(t, authtest.Options{Account: account.Config{Registration: account.RegistrationChecked}, Identity: 1})
	return s
}

func (s *stage) newName() string {
	s.n++
	return fmt.Sprintf("user%d", s.n)
}

func (s *stage) user() *user {
	if s.shared != nil {
		return s.shared
	}
	return enroll(s.t, s.open, s.newName())
}

// reach returns a connection in a state, and whose it is.
func (s *stage) reach(state string) (*peer, *user) {
	s.t.Helper()
	if state == "Checking" {
		p := connect(s.t, s.checked)
		p.sendStart(checkedStart(s.newName()))
		p.expect(wire.TypeRegisterParams)
		return p, nil
	}
	p := connect(s.t, s.open)
	switch state {
	case "Resetting":
		u := s.user()
		p.takeReset(u, s.open.Reset(u.name))
		return p, u
	case "Start":
		u := s.user()
		p.static = u.static
		p.sendStart(sessionStart([]byte("x.y.z")))
		p.expectDenied(wire.CodeSessionMalformed)
		return p, u
	case "Challenged":
		u := s.user()
		p.ask(u)
		return p, u
	case "Registering":
		u := newUser(s.newName())
		p.takeParams(u)
		return p, u
	case "Ready":
		u := s.user()
		p.login(u)
		return p, u
	}
	s.t.Fatalf("no way to state %q", state)
	return nil, nil
}

// takeParams begins a registration.
func (p *peer) takeParams(u *user) {
	p.t.Helper()
	p.sendStart(registerStart(u.name))
	m, err := wire.ParseRegisterParams(p.expect(wire.TypeRegisterParams))
	if err != nil {
		p.t.Fatal(err)
	}
	p.challenge = m.Challenge
}

// finish is the record of a registration that was begun.
func (p *peer) finish(u *user) *wire.RegisterFinish {
	m := &wire.RegisterFinish{Record: u.record()}
	digest := sha256.Sum256(m.AppendSigned(nil))
	t := p.transcript(&p.challenge)
	t.OpDigest = digest[:]
	m.Signature = u.prove("new-key-proof", t.Sum())
	return m
}

// good returns a message for a row that is answered, and bad one that is refused, or nil where none is. Either may first lead
// the connection to where its message is due.
type play struct {
	good func(*stage, *peer, *user) message
	bad  func(*stage, *peer, *user) message
}

func plainPlay(t wire.Type, operation string, n int) play {
	p := play{good: func(_ *stage, p *peer, _ *user) message { return wire.Plain{Type: t, ID: p.newID()} }}
	if operation != "" {
		p.bad = func(s *stage, p *peer, u *user) message {
			s.engine.breakAfter(operation, n)
			return p.request(t)
		}
	}
	return p
}

// request is a request without content.
func (p *peer) request(t wire.Type) message {
	switch t {
	case wire.TypeListSessions:
		return &wire.ListSessions{ID: p.newID()}
	case wire.TypeOpStart:
		return &wire.OpStart{ID: p.newID(), Operation: wire.TypeDeleteAccount}
	}
	return wire.Plain{Type: t, ID: p.newID()}
}

func requestPlay(t wire.Type, operation string, n int) play {
	p := plainPlay(t, operation, n)
	p.good = func(_ *stage, p *peer, _ *user) message { return p.request(t) }
	return p
}

func provedPlay(t wire.Type) play {
	return play{
		good: func(_ *stage, p *peer, u *user) message {
			id, c := p.operation(t)
			return p.proved(u, t, id, &c)
		},
		bad: func(_ *stage, p *peer, _ *user) message {
			id, _ := p.operation(t)
			return &wire.ProvedOp{Type: t, ID: id}
		},
	}
}

var plays = map[string]play{
	"Start AuthStart login": {
		good: func(_ *stage, _ *peer, u *user) message { return loginStart(u.name) },
		bad: func(s *stage, _ *peer, u *user) message {
			s.engine.breakAfter("get", 0)
			return loginStart(u.name)
		},
	},
	"Start AuthStart session": {
		good: func(s *stage, p *peer, u *user) message {
			other := connect(s.t, s.open)
			other.login(u)
			return sessionStart(other.welcome.Token)
		},
		bad: func(*stage, *peer, *user) message { return sessionStart([]byte("a.b.c")) },
	},
	"Start AuthStart register": {
		good: func(s *stage, _ *peer, _ *user) message { return registerStart(s.newName()) },
		bad:  func(*stage, *peer, *user) message { return registerStart("Not Prepared") },
	},
	"Start AuthStart register checked": {
		bad: func(s *stage, _ *peer, _ *user) message { return checkedStart(s.newName()) }, // the server is not that kind
	},
	"Start AuthStart reset": {
		good: func(_ *stage, _ *peer, u *user) message { return resetStart("nobody", credential.Code{}) },
		bad:  func(*stage, *peer, *user) message { return resetStart("Not Prepared", credential.Code{}) },
	},
	"Resetting ResetFinish": {
		good: func(_ *stage, p *peer, u *user) message { return p.resetFinish(u) },
		bad: func(_ *stage, p *peer, u *user) message {
			m := p.resetFinish(u)
			m.CodeProof[0] ^= 1
			return m
		},
	},
	"Challenged Proof": {
		good: func(_ *stage, p *peer, u *user) message { return p.proof(u) },
		bad:  func(*stage, *peer, *user) message { return &wire.Proof{} },
	},
	"Registering RegisterFinish": {
		good: func(_ *stage, p *peer, u *user) message { return p.finish(u) },
		bad:  func(_ *stage, _ *peer, u *user) message { return &wire.RegisterFinish{Record: u.record()} },
	},
	"Checking RegisterPassword": {
		good: func(*stage, *peer, *user) message {
			return &wire.RegisterPassword{Password: []byte("correct horse battery staple")}
		},
		bad: func(*stage, *peer, *user) message { return &wire.RegisterPassword{Password: []byte("password")} },
	},
	"Ready WhoAmI":       plainPlay(wire.TypeWhoAmI, "", 0), // of what it knows, nothing can fail
	"Ready List":         plainPlay(wire.TypeList, "", 0),
	"Ready ListSessions": requestPlay(wire.TypeListSessions, "scan", 0),
	"Ready Logout":       plainPlay(wire.TypeLogout, "commit", 0),
	"Ready OpStart":      requestPlay(wire.TypeOpStart, "get", 2), // behind the check of the session
	"Ready ChangePassword": {
		good: func(s *stage, p *peer, u *user) message {
			id, c := p.operation(wire.TypeChangePassword)
			return p.change(u, newUser(s.newName()), id, &c)
		},
		bad: func(s *stage, p *peer, u *user) message {
			id, c := p.operation(wire.TypeChangePassword)
			m := p.change(u, newUser(s.newName()), id, &c)
			m.Proof[0] ^= 1
			return m
		},
	},
	"Ready DeleteAccount": provedPlay(wire.TypeDeleteAccount),
	"Ready RevokeAll":     provedPlay(wire.TypeRevokeAll),
	"Ready Bye":           {good: func(*stage, *peer, *user) message { return wire.Plain{Type: wire.TypeBye} }},
}

// TestAnswers plays each row of PROTOCOL 9, answered and refused, and holds the type of what comes back against the table.
func TestAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t)
		rows := specRows(t)
		for _, row := range rows {
			at := row.State + " " + row.Event
			play, ok := plays[at]
			if !ok {
				t.Errorf("%s: not played", at)
				continue
			}
			for want, build := range map[string]func(*stage, *peer, *user) message{row.answer: play.good, row.refusal: play.bad} {
				if build == nil {
					continue
				}
				p, u := s.reach(row.State)
				m := build(s, p, u)
				if start, ok := m.(*wire.AuthStart); ok {
					p.start = start
				}
				p.send(m)
				b, err := p.conn.ReadMessage(wire.MaxSessionFrame)
				s.engine.set(nil)
				if err != nil || wire.TypeOf(b).String() != want {
					t.Errorf("%s: got %v, %v, want %s", at, wire.TypeOf(b), err, want)
				}
				if row.State == "Ready" && (row.Then == "Closed" && want == row.answer) && want != "Goodbye" {
					p.expect(wire.TypeGoodbye)
				}
				p.raw.Close()
			}
		}
		s.reach("Checking") // Start, AuthStart register checked, RegisterParams
		if len(rows) != len(plays) {
			t.Errorf("%d rows, and %d of them played", len(rows), len(plays))
		}
	})
}

// samples is a well-formed message of every type, by the name of the event that it is.
func samples() map[string]message {
	u := newUser("sample")
	all := map[string]message{
		"AuthStart login": loginStart("alice"), "AuthStart session": sessionStart([]byte("a.b.c")),
		"AuthStart register": registerStart("alice"), "AuthStart register checked": checkedStart("alice"),
		"AuthStart reset": resetStart("alice", credential.Code{}), "ResetFinish": &wire.ResetFinish{Record: u.record()}, "ResetDone": &wire.ResetDone{},
		"ServerHello": &wire.ServerHello{}, "Challenge": &wire.Challenge{}, "Proof": &wire.Proof{},
		"Welcome": &wire.Welcome{Name: []byte("alice")}, "Denied": &wire.Denied{Code: 1},
		"RegisterParams": &wire.RegisterParams{Policy: wire.Policy{Kind: 3, MinLength: 8, MaxLength: 8}},
		"RegisterFinish": &wire.RegisterFinish{Record: u.record()}, "RegisterPassword": &wire.RegisterPassword{Password: []byte("password")},
		"Registered": wire.Registered{}, "Goodbye": wire.Goodbye{Code: 1}, "Refused": &wire.Refused{ID: 1, Denied: wire.Denied{Code: 1}},
		"Account": &wire.Account{ID: 1, Name: []byte("alice")}, "Listing": &wire.Listing{ID: 1}, "SessionList": &wire.SessionList{ID: 1},
		"ListSessions": &wire.ListSessions{ID: 1}, "OpStart": &wire.OpStart{ID: 1, Operation: wire.TypeDeleteAccount},
		"OpChallenge":    &wire.OpChallenge{ID: 1, Policy: wire.Policy{Kind: 3, MinLength: 8, MaxLength: 8}},
		"ChangePassword": &wire.ChangePassword{ID: 1, Record: u.record()}, "PasswordChanged": &wire.PasswordChanged{ID: 1, Token: []byte("t")},
	}
	for _, t := range []wire.Type{wire.TypeDone, wire.TypeWhoAmI, wire.TypeList, wire.TypeLogout} {
		all[t.String()] = wire.Plain{Type: t, ID: 1}
	}
	all["Bye"] = wire.Plain{Type: wire.TypeBye}
	for _, t := range []wire.Type{wire.TypeDeleteAccount, wire.TypeRevokeAll} {
		all[t.String()] = &wire.ProvedOp{Type: t, ID: 1}
	}
	return all
}

// bytesMessage is bytes that are sent as they are.
type bytesMessage []byte

func (b bytesMessage) AppendTo(dst []byte) []byte { return append(dst, b...) }

// TestEverythingElseCloses sends, in every state, every message that has no row there, every type that is none, and
// what has a row but is malformed.
func TestEverythingElseCloses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t)
		s.shared = enroll(t, s.open, "alice")
		rows := make(map[string]bool)
		for _, row := range specRows(t) {
			rows[row.State+" "+row.Event] = true
		}
		all := samples()
		types := make(map[wire.Type]bool)
		for name, m := range all {
			b := m.AppendTo(nil)
			types[wire.TypeOf(b)] = true
			if got := wire.TypeOf(b).String(); len(name) < len(got) || name[:len(got)] != got {
				t.Fatalf("sample %q is a %v", name, got)
			}
		}
		for typ := range 256 {
			if !types[wire.Type(typ)] {
				b := make(bytesMessage, 512)
				b[0] = byte(typ)
				all[fmt.Sprintf("type 0x%02x", typ)] = b
				all[fmt.Sprintf("short type 0x%02x", typ)] = b[:5]
			}
		}
		if want := 256 - 29; len(all) != 33+2*want {
			t.Fatalf("%d samples", len(all))
		}
		for _, state := range []string{"Start", "Challenged", "Registering", "Checking", "Resetting", "Ready"} {
			for name, m := range all {
				b := m.AppendTo(nil)
				if rows[state+" "+name] {
					s.closes(state, name+" cut short", b[:len(b)-1])
					s.closes(state, name+" with more behind it", append(b[:len(b):len(b)], 0))
					continue
				}
				s.closes(state, name, b)
			}
			s.closes(state, "an empty record", nil)
		}
	})
}

// closes checks that the server ends a connection in a state for what is sent, and says nothing.
func (s *stage) closes(state, what string, b []byte) {
	s.t.Helper()
	p, _ := s.reach(state)
	began := time.Now()
	p.conn.WriteMessage(b) // which the server may cut
	if got, err := p.conn.ReadMessage(wire.MaxSessionFrame); err == nil {
		s.t.Errorf("%s, %s: the server said %v", state, what, wire.TypeOf(got))
	}
	if waited := time.Since(began); waited != 0 {
		s.t.Errorf("%s, %s: closed only after %v", state, what, waited)
	}
	p.raw.Close()
}

// TestM3ClosesForWhatIsNoStart sends each as the payload of M3.
func TestM3ClosesForWhatIsNoStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t)
		for name, m := range samples() {
			if _, ok := m.(*wire.AuthStart); ok {
				continue
			}
			p := connect(t, s.open)
			static, err := noiseconn.NewStaticKey(nil)
			if err != nil {
				t.Fatal(err)
			}
			b := m.AppendTo(nil)
			p.begin(b[:min(len(b), wire.AuthStartSize)], static)
			if got, err := p.conn.ReadMessage(wire.MaxSessionFrame); err == nil {
				t.Errorf("%s: the server said %v", name, wire.TypeOf(got))
			}
		}
	})
}
