package walk

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/authsrv/authsrv/credential"
	"github.com/authsrv/authsrv/internal/authtest"
	"github.com/authsrv/authsrv/wire"
)

// need is what has to be there before a walk begins.
type need uint8

const (
	aSession need = 1 << iota
	aCode
)

// move is what an event sends, and what the model says of it, provided that the table has a row for it.
type move struct {
	message   message
	malformed bool
	refused   wire.Code          // why it is refused; 0: it is not
	goodbye   wire.Code          // behind the answer, where that is the end
	then      func([]byte) error // what an answer that is no refusal changes
}

// An Event is a message, or something that happens elsewhere meanwhile.
type Event struct {
	Name      string
	Core      bool   // one of those that make the difference, where there is no time for all
	event     string // as the table has it
	needs     need
	make      func(*Walk) move
	elsewhere func(*Walk) error
}

// Events returns the events. Those for which time passes are in it only if it can.
func Events(clock bool) []*Event {
	all := slices.Concat(outside(), inside(), misplaced(), elsewhere())
	if clock {
		all = append(all, &Event{Name: "21-seconds", Core: true, elsewhere: func(*Walk) error { time.Sleep(nonceLife + time.Second); return nil }})
	}
	return all
}

// outside are those of who is not logged in.
func outside() []*Event {
	return []*Event{
		{Name: "login", Core: true, event: "AuthStart login", make: begin(func(w *Walk) *wire.AuthStart { return loginStart(w.name) })},
		{Name: "login-of-nobody", event: "AuthStart login", make: begin(func(w *Walk) *wire.AuthStart { return loginStart(w.name + "-nobody") })},
		{Name: "resume", Core: true, event: "AuthStart session", needs: aSession, make: resume},
		{Name: "resume-malformed", event: "AuthStart session", make: func(*Walk) move {
			return move{message: sessionStart("a.b.c"), refused: wire.CodeSessionMalformed}
		}},
		{Name: "register", Core: true, event: "AuthStart register", make: begin(func(w *Walk) *wire.AuthStart {
			w.fresh++
			return registerStart(fmt.Sprintf("%s-%d", w.name, w.fresh))
		})},
		{Name: "register-taken", event: "AuthStart register", make: begin(func(w *Walk) *wire.AuthStart { return registerStart(w.name) })},
		{Name: "register-checked", event: "AuthStart register checked", make: func(w *Walk) move {
			m := registerStart(w.name + "-checked")
			m.Method, m.Offered = wire.MethodChecked, []byte{3}
			return move{message: m, refused: wire.CodeRegistrationClosed}
		}},
		{Name: "reset", Core: true, event: "AuthStart reset", needs: aCode, make: begin(func(w *Walk) *wire.AuthStart {
			return &wire.AuthStart{Purpose: wire.PurposeReset, Method: wire.MethodCode, Offered: []byte{4}, Name: []byte(w.name), Token: w.code.ID[:]}
		})},
		{Name: "proof", Core: true, event: "Proof", make: func(w *Walk) move { return w.proof(w.rightProof()) }},
		{Name: "proof-wrong", Core: true, event: "Proof", make: func(w *Walk) move { return w.proof(&wire.Proof{}) }},
		{Name: "proof-again", event: "Proof", make: func(w *Walk) move {
			if w.last == nil {
				return w.proof(&wire.Proof{})
			}
			return w.proof(w.last)
		}},
		{Name: "register-finish", Core: true, event: "RegisterFinish", make: func(w *Walk) move { return w.registerFinish(true) }},
		{Name: "register-finish-wrong", event: "RegisterFinish", make: func(w *Walk) move { return w.registerFinish(false) }},
		{Name: "reset-finish", Core: true, event: "ResetFinish", needs: aCode, make: func(w *Walk) move { return w.resetFinish(true) }},
		{Name: "reset-finish-wrong", event: "ResetFinish", needs: aCode, make: func(w *Walk) move { return w.resetFinish(false) }},
	}
}

// inside are those of who is.
func inside() []*Event {
	return []*Event{
		{Name: "who-am-i", Core: true, event: "WhoAmI", make: func(w *Walk) move {
			m := wire.Plain{Type: wire.TypeWhoAmI, ID: w.newID()}
			return move{message: m, then: func(b []byte) error {
				a, err := wire.ParseAccount(b)
				if err == nil && (a.ID != m.ID || string(a.Name) != w.name || a.SessionID != w.id.SessionID || a.AccountID != w.id.AccountID) {
					err = errors.New("the account is another one")
				}
				return err
			}}
		}},
		{Name: "list-sessions", event: "ListSessions", make: func(w *Walk) move { return move{message: &wire.ListSessions{ID: w.newID()}} }},
		{Name: "start-change", Core: true, event: "OpStart", make: opStart(wire.TypeChangePassword)},
		{Name: "start-delete", Core: true, event: "OpStart", make: opStart(wire.TypeDeleteAccount)},
		{Name: "start-revoke", event: "OpStart", make: opStart(wire.TypeRevokeAll)},
		{Name: "change", Core: true, event: "ChangePassword", make: func(w *Walk) move { return w.change(true) }},
		{Name: "change-wrong", event: "ChangePassword", make: func(w *Walk) move { return w.change(false) }},
		{Name: "delete", Core: true, event: "DeleteAccount", make: func(w *Walk) move {
			return w.end(wire.TypeDeleteAccount, wire.CodeAccountDeleted, func() { w.exists = false })
		}},
		{Name: "revoke", event: "RevokeAll", make: func(w *Walk) move {
			return w.end(wire.TypeRevokeAll, wire.CodeLoggedOut, func() { w.generation++ })
		}},
		{Name: "logout", Core: true, event: "Logout", make: func(w *Walk) move {
			return move{
				message: wire.Plain{Type: wire.TypeLogout, ID: w.newID()}, goodbye: wire.CodeLoggedOut,
				then: func([]byte) error { w.current.ended = true; return nil },
			}
		}},
		{Name: "bye", event: "Bye", make: func(*Walk) move { return move{message: wire.Plain{Type: wire.TypeBye}} }},
	}
}

// misplaced have no row in any state, or are no messages.
func misplaced() []*Event {
	return []*Event{
		{Name: "cut", event: "Proof", make: func(w *Walk) move {
			b := w.rightProof().AppendTo(nil)
			return move{message: raw(b[:len(b)-1]), malformed: true}
		}},
		{Name: "of-the-server", event: "Welcome", make: func(w *Walk) move { return move{message: &wire.Welcome{Name: []byte(w.name)}} }},
	}
}

// elsewhere is what happens past the connection.
func elsewhere() []*Event {
	return []*Event{
		{Name: "revoked-elsewhere", Core: true, elsewhere: func(w *Walk) error {
			if !w.exists {
				return nil
			}
			w.generation++
			_, err := w.server.Accounts.RevokeAllOf(w.ctx, w.name)
			return err
		}},
		{Name: "made-anew-elsewhere", Core: true, elsewhere: func(w *Walk) error { // with the same password
			if w.exists {
				if err := w.server.Accounts.Remove(w.ctx, w.name); err != nil {
					return err
				}
			}
			return w.enroll()
		}},
	}
}

// Names is the events as a line.
func Names(events []*Event) string {
	names := make([]string, len(events))
	for i, e := range events {
		names[i] = e.Name
	}
	return strings.Join(names, " ")
}

func loginStart(name string) *wire.AuthStart {
	return &wire.AuthStart{Purpose: wire.PurposeLogin, Method: wire.MethodPassword, Offered: []byte{1}, Name: []byte(name)}
}

func registerStart(name string) *wire.AuthStart {
	return &wire.AuthStart{Purpose: wire.PurposeRegister, Method: wire.MethodPassword, Offered: []byte{1}, Name: []byte(name)}
}

func sessionStart(token string) *wire.AuthStart {
	return &wire.AuthStart{Purpose: wire.PurposeSession, Token: []byte(token)}
}

// begin is an AuthStart that is answered with a challenge.
func begin(make func(*Walk) *wire.AuthStart) func(*Walk) move {
	return func(w *Walk) move {
		m := make(w)
		m.ClientNonce = sha256.Sum256([]byte("client nonce"))
		return move{message: m, then: func(b []byte) error {
			n := &nonce{start: m, life: w.life, given: time.Now()}
			var err error
			if wire.TypeOf(b) == wire.TypeChallenge {
				n.challenge, err = wire.ParseChallenge(b)
			} else {
				var p wire.RegisterParams
				p, err = wire.ParseRegisterParams(b)
				n.challenge = p.Challenge
			}
			w.nonce = n
			return err
		}}
	}
}

func resume(w *Walk) move {
	m := move{message: sessionStart(w.token)}
	if !w.live(w.tokenOf) {
		m.refused = wire.CodeSessionRevoked
	}
	m.then = func(b []byte) error {
		w.current = w.tokenOf
		return w.welcome(b)
	}
	return m
}

// welcome takes what a Welcome says.
func (w *Walk) welcome(b []byte) error {
	m, err := wire.ParseWelcome(b)
	if err == nil && string(m.Name) != w.name {
		err = errors.New("the Welcome is for another name")
	}
	w.id = m
	return err
}

func (w *Walk) newID() uint32 {
	w.lastID++
	return w.lastID
}

// burn returns the nonce that there is, which is then used up.
func (w *Walk) burn() *nonce {
	n := w.nonce
	w.nonce = nil
	return n
}

// sum is the transcript of the nonce that there is.
func (w *Walk) sum(signed []byte) [32]byte {
	n := w.nonce
	t := &credential.Transcript{
		Preface: wire.Preface{Version: 1, Suite: 1}.Bytes(), Handshake: w.line.Handshake(), RealmID: w.server.Accounts.RealmID(),
		ClientStatic: w.line.Static(), ClientNonce: sha256.Sum256([]byte("client nonce")),
		ServerNonce: n.challenge.ServerNonce[:], Salt: n.challenge.Salt[:], KDF: credential.KDF(n.challenge.KDF),
	}
	if m := n.start; m != nil {
		t.Purpose, t.Method, t.OfferedMethods, t.LoginName = uint8(m.Purpose), uint8(m.Method), m.Offered, string(m.Name)
	} else {
		t.Purpose, t.Method, t.OfferedMethods, t.LoginName = 4, 1, []byte{1}, w.name
		t.SessionID, t.AccountID = w.id.SessionID[:], w.id.AccountID[:]
	}
	if signed != nil {
		digest := sha256.Sum256(signed)
		t.OpDigest = digest[:]
	}
	return t.Sum()
}

func (w *Walk) rightProof() *wire.Proof {
	if w.nonce == nil || w.nonce.start == nil {
		return &wire.Proof{}
	}
	return &wire.Proof{Proof: w.key.sign("client-proof", w.sum(nil))}
}

// proof sends m, which is right if it is what the nonce asks for.
func (w *Walk) proof(m message) move {
	mv := move{message: m, refused: wire.CodeDenied, then: func(b []byte) error {
		w.current = w.grant()
		return w.welcome(b)
	}}
	right := w.rightProof()
	n := w.nonce
	if w.state == "Challenged" {
		if sent := string(m.AppendTo(nil)); sent == string(right.AppendTo(nil)) && string(n.start.Name) == w.name &&
			n.alive() && w.exists && n.life == w.life {
			mv.refused = 0
		}
		w.last = m
		w.burn()
	}
	return mv
}

func (w *Walk) registerFinish(right bool) move {
	m := &wire.RegisterFinish{}
	mv := move{message: m, refused: wire.CodeRecordRefused}
	if w.state != "Registering" {
		m.Record = w.key.record(wire.KDF{})
		return mv
	}
	name := string(w.nonce.start.Name)
	k := newKey(name)
	m.Record = k.record(w.nonce.challenge.KDF)
	m.Signature = k.sign("new-key-proof", w.sum(m.AppendSigned(nil)))
	if !right {
		m.Signature[0] ^= 1
	}
	switch n := w.burn(); {
	case !right || !n.alive():
	case name == w.name && w.exists:
		mv.refused = wire.CodeNameTaken
	default:
		mv.refused = 0
		if name == w.name {
			mv.then = func([]byte) error { w.exists, w.key = true, k; w.life++; return nil }
		}
	}
	return mv
}

func (w *Walk) resetFinish(right bool) move {
	m := &wire.ResetFinish{}
	mv := move{message: m, refused: wire.CodeCodeRefused}
	if w.state != "Resetting" {
		m.Record = w.key.record(wire.KDF{})
		return mv
	}
	k := w.nextKey()
	m.Record = k.record(w.nonce.challenge.KDF)
	sum := w.sum(m.AppendSigned(nil))
	m.NewProof, m.CodeProof = k.sign("new-key-proof", sum), w.codeKey.ProveCode(sum)
	if !right {
		m.CodeProof[0] ^= 1
	}
	if n := w.burn(); right && n.alive() && !w.codeUsed && w.exists && w.codeLife == w.life && w.codeOf == w.generation {
		mv.refused = 0
		mv.then = func([]byte) error { w.codeUsed, w.key = true, k; w.generation++; return nil }
	}
	return mv
}

// nextKey is one that the account has not had.
func (w *Walk) nextKey() *key {
	w.keys++
	return newKey(fmt.Sprintf("%s %d", w.name, w.keys))
}

func opStart(of wire.Type) func(*Walk) move {
	return func(w *Walk) move {
		m := &wire.OpStart{ID: w.newID(), Operation: of, ClientNonce: sha256.Sum256([]byte("client nonce"))}
		return move{message: m, then: func(b []byte) error {
			c, err := wire.ParseOpChallenge(b)
			w.nonce = &nonce{
				challenge: wire.Challenge{ServerNonce: c.ServerNonce, Salt: c.Salt, KDF: c.KDF},
				operation: of, id: m.ID, life: w.life, given: time.Now(),
			}
			return err
		}}
	}
}

// operation is the id and the transcript of a request of a type, and whether it is the one that the nonce is for.
func (w *Walk) operation(of wire.Type, signed func(id uint32) []byte) (id uint32, sum [32]byte, due bool) {
	if w.state != "Ready" || w.nonce == nil || w.nonce.start != nil {
		return w.newID(), sum, false
	}
	id = w.nonce.id
	sum = w.sum(signed(id))
	n := w.nonce
	if w.live(w.current) { // otherwise the request is not looked at
		w.burn()
	}
	return id, sum, n.operation == of && n.alive()
}

func (w *Walk) change(right bool) move {
	k := w.nextKey()
	m := &wire.ChangePassword{Record: k.record(wire.KDF(authtest.CheapKDF))}
	id, sum, due := w.operation(wire.TypeChangePassword, func(id uint32) []byte { m.ID = id; return m.AppendSigned(nil) })
	m.ID = id
	m.NewProof, m.Proof = k.sign("new-key-proof", sum), w.key.sign("client-proof", sum)
	mv := move{message: m, refused: wire.CodeDenied}
	if !right {
		m.Proof[0] ^= 1
	} else if due {
		mv.refused = 0
		mv.then = func(b []byte) error {
			c, err := wire.ParsePasswordChanged(b)
			w.key = k
			w.generation++
			w.current = w.grant()
			w.id.SessionID = c.SessionID
			return err
		}
	}
	return mv
}

// end is an operation that ends the session.
func (w *Walk) end(of wire.Type, code wire.Code, change func()) move {
	m := &wire.ProvedOp{Type: of}
	id, sum, due := w.operation(of, func(id uint32) []byte { m.ID = id; return m.AppendSigned(nil) })
	m.ID = id
	m.Proof = w.key.sign("client-proof", sum)
	mv := move{message: m, refused: wire.CodeDenied, goodbye: code}
	if due {
		mv.refused = 0
		mv.then = func([]byte) error { change(); return nil }
	}
	return mv
}
