// Package walk leads a connection through the state table of PROTOCOL 9, one event after the other, with a model beside it that
// knows only the table, as it is published, and the rules below it. Whatever the server does otherwise is a divergence.
package walk

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/authsrv/authsrv/credential"
	"github.com/authsrv/authsrv/internal/account"
	"github.com/authsrv/authsrv/internal/authtest"
	"github.com/authsrv/authsrv/internal/spec"
	"github.com/authsrv/authsrv/wire"
)

// A Line is a connection of which the handshake has come up to M3, whose payload is the first message.
type Line interface {
	Say(message []byte) error
	Hear() ([]byte, error) // the error says that the server has closed the connection
	Handshake() [32]byte
	Static() [32]byte // the client's
}

// Prober is a Line that can be asked where the server takes the connection to be, after each event. Nothing may be unheard then.
type Prober interface {
	Probe() (state string, err error)
}

// row is a row of the table: what the server answers, and the state behind it.
type row struct{ answer, then, refusal, other string }

// A Waker is a Line whose server tells it by itself that its session has ended. On another one it does so at the next request.
type Waker interface{ Wakes() }

// Table is what is published: the state table of PROTOCOL 9 by state and event, and the codes that PROTOCOL 12 has for the refusals of an event.
type Table struct {
	rows  map[[2]string]row
	codes map[string][]string
}

// ReadTable reads it from docs/PROTOCOL.md.
func ReadTable(t testing.TB) *Table {
	t.Helper()
	table := &Table{make(map[[2]string]row), make(map[string][]string)}
	for _, r := range spec.Table(t, "PROTOCOL.md", "refused event", "codes") {
		events := strings.Split(r[0], ", ")
		for _, e := range events {
			table.codes[e] = append(strings.Split(r[1], ", "), wire.CodeInternal.Name())
		}
	}
	for _, r := range spec.Table(t, "PROTOCOL.md", "state", "event", "answer", "then", "refused", "then") {
		table.rows[[2]string{r[0], r[1]}] = row{r[2], r[3], r[4], r[5]}
		if _, there := table.codes[r[1]]; !there && r[4] != "Goodbye" {
			t.Fatalf("%s has no row of codes", r[1])
		}
	}
	return table
}

// Limits of a connection, in PROTOCOL 11 and below the table of PROTOCOL 9.
const (
	maxStarts = 3
	maxDenied = 3
	nonceLife = 20 * time.Second
	loginTime = 30 * time.Second
)

// A Divergence is what the server did other than the model.
type Divergence struct{ What string }

func (d *Divergence) Error() string { return d.What }

func diverge(format string, a ...any) error { return &Divergence{fmt.Sprintf(format, a...)} }

// message is what a client sends.
type message interface{ AppendTo([]byte) []byte }

// raw is bytes that are sent as they are.
type raw []byte

func (b raw) AppendTo(dst []byte) []byte { return append(dst, b...) }

// key is what an account is proved by. It was not stretched from a password, which no server can tell.
type key struct {
	private ed25519.PrivateKey
	server  [32]byte
}

func newKey(of string) *key {
	seed := sha256.Sum256([]byte("seed of " + of))
	return &key{ed25519.NewKeyFromSeed(seed[:]), sha256.Sum256([]byte("server key of " + of))}
}

func (k *key) sign(label string, sum [32]byte) [64]byte {
	return [64]byte(ed25519.Sign(k.private, append([]byte("authsrv v1 "+label+"\x00"), sum[:]...)))
}

func (k *key) verifier(kdf credential.KDF) account.Verifier {
	return account.Verifier{KDF: kdf, PublicKey: [32]byte(k.private.Public().(ed25519.PublicKey)), ServerKey: k.server}
}

func (k *key) record(kdf wire.KDF) wire.Record {
	v := k.verifier(credential.KDF(kdf))
	return wire.Record{KDF: kdf, PublicKey: v.PublicKey, ServerKey: v.ServerKey}
}

// session is what the model knows of one.
type session struct {
	generation int // of the account
	life       int // of the account: one for each time that it was made
	ended      bool
}

// nonce is a challenge that was not answered yet.
type nonce struct {
	start     *wire.AuthStart // nil: of an operation
	challenge wire.Challenge
	operation wire.Type
	id        uint32
	life      int // of the account when it was given
	given     time.Time
}

func (n *nonce) alive() bool { return time.Since(n.given) <= nonceLife }

// A Walk is one connection, and one account that is only its.
type Walk struct {
	server *authtest.Server
	table  *Table
	line   Line
	ctx    context.Context

	name     string
	fresh    int // names taken so far
	key      *key
	keys     int // the account has had
	exists   bool
	life     int
	sessions []*session

	code     *credential.Code // a reset
	codeKey  *credential.Key
	codeLife int // of the account that it is for
	codeOf   int // the generation of that account
	codeUsed bool

	token      string // of an earlier session, if the events ask for one
	tokenOf    *session
	generation int

	began   time.Time
	state   string
	starts  int
	denied  int // before login, and then after it
	nonce   *nonce
	last    message // the last proof of a login that was sent
	lastID  uint32
	current *session
	id      wire.Welcome // of the current session: the ids
}

// New begins a walk. Name is that of an account that does not exist yet. The events are those that are to come: what they need is made
// ready.
func New(ctx context.Context, server *authtest.Server, table *Table, line Line, name string, events []*Event) (*Walk, error) {
	w := &Walk{server: server, table: table, line: line, ctx: ctx, name: name, began: time.Now(), state: "Start", key: newKey(name)}
	if err := w.enroll(); err != nil {
		return nil, err
	}
	var needs need
	for _, e := range events {
		needs |= e.needs
	}
	if needs&aSession != 0 {
		if err := w.openSession(); err != nil {
			return nil, err
		}
	}
	if needs&aCode != 0 {
		issued, err := server.Accounts.IssueReset(ctx, name, server.IdentityHash, 0)
		if err != nil {
			return nil, err
		}
		w.code, w.codeLife, w.codeOf = &issued.Code, w.life, w.generation
		if w.codeKey, err = issued.Code.Key(); err != nil {
			return nil, err
		}
	}
	return w, nil
}

// enroll makes the account, past the connection.
func (w *Walk) enroll() error {
	ch := &account.Channel{}
	a, c, err := w.server.Accounts.BeginRegister(w.ctx, ch, &account.Start{Name: w.name, Method: 1, Offered: []byte{1}})
	if err != nil {
		return err
	}
	digest := sha256.Sum256([]byte(w.name))
	sum := (&credential.Transcript{
		RealmID: w.server.Accounts.RealmID(), Purpose: 3, Method: 1, OfferedMethods: []byte{1}, LoginName: w.name,
		ServerNonce: c.ServerNonce[:], Salt: c.Salt[:], KDF: c.KDF, OpDigest: digest[:],
	}).Sum()
	w.exists = true
	w.life++
	return w.server.Accounts.FinishRegister(w.ctx, a, w.key.verifier(c.KDF), digest, w.key.sign("new-key-proof", sum))
}

// openSession logs in past the connection, with its static key, so that its token is good on it.
func (w *Walk) openSession() error {
	ch := &account.Channel{Static: w.line.Static()}
	a, c, err := w.server.Accounts.BeginLogin(w.ctx, ch, &account.Start{Name: w.name, Method: 1, Offered: []byte{1}})
	if err != nil {
		return err
	}
	sum := (&credential.Transcript{
		RealmID: w.server.Accounts.RealmID(), Purpose: 1, Method: 1, OfferedMethods: []byte{1}, LoginName: w.name,
		ClientStatic: ch.Static, ServerNonce: c.ServerNonce[:], Salt: c.Salt[:], KDF: c.KDF,
	}).Sum()
	l, err := w.server.Accounts.FinishLogin(w.ctx, a, w.key.sign("client-proof", sum))
	if err != nil {
		return err
	}
	w.token, w.tokenOf = l.Token, w.grant()
	return nil
}

// grant is a session that the model gives.
func (w *Walk) grant() *session {
	s := &session{generation: w.generation, life: w.life}
	w.sessions = append(w.sessions, s)
	return s
}

func (w *Walk) live(s *session) bool {
	return s != nil && w.exists && !s.ended && s.generation == w.generation && s.life == w.life
}

// State is where the model is.
func (w *Walk) State() string { return w.state }

// Step lets one event happen, and says how the server diverged.
func (w *Walk) Step(e *Event) error {
	if e.elsewhere != nil {
		return w.meanwhile(e)
	}
	m := e.make(w)
	row, there := w.table.rows[[2]string{w.state, e.event}]
	if strings.HasPrefix(e.event, "AuthStart") {
		w.starts++
		there = there && w.starts <= maxStarts
	}
	there = there && (w.state == "Ready" || time.Since(w.began) < loginTime)
	bytes := m.message.AppendTo(nil)
	if w.state == "Start" && w.starts <= 1 && w.denied == 0 {
		bytes = bytes[:min(len(bytes), wire.AuthStartSize)] // M3 has no room for more
	}
	if err := w.line.Say(bytes); err != nil && there {
		return diverge("%s in %s: the server has closed: %v", e.Name, w.state, err)
	}
	switch {
	case !there:
		return w.closed(e)
	case w.state == "Ready" && !w.live(w.current):
		return w.goodbye(e, wire.CodeSessionRevoked)
	case m.malformed:
		return w.closed(e)
	}
	answer, err := w.line.Hear()
	if err != nil {
		return diverge("%s in %s: no answer: %v", e.Name, w.state, err)
	}
	if m.refused != 0 {
		return w.refused(e, &row, m.refused, answer)
	}
	return w.answered(e, &row, &m, answer)
}

// meanwhile is Step for what happens elsewhere.
func (w *Walk) meanwhile(e *Event) error {
	if err := e.elsewhere(w); err != nil {
		return err
	}
	if w.state != "Ready" && time.Since(w.began) >= loginTime {
		return w.closed(e)
	}
	if _, wakes := w.line.(Waker); wakes && w.state == "Ready" && !w.live(w.current) {
		return w.goodbye(e, wire.CodeSessionRevoked)
	}
	return w.probe()
}

// answered is Step where the event is not to be refused.
func (w *Walk) answered(e *Event, row *row, m *move, answer []byte) error {
	before := w.state
	got := wire.TypeOf(answer).String()
	if got != row.answer {
		return diverge("%s in %s: got %s %x, want %s", e.Name, before, got, answer[:min(len(answer), 8)], row.answer)
	}
	if w.state = row.then; m.then != nil {
		if err := m.then(answer); err != nil {
			return diverge("%s in %s: %v", e.Name, before, err)
		}
	}
	switch {
	case w.state == "Closed" && got == "Goodbye":
		return w.closed(e)
	case w.state == "Closed":
		return w.goodbye(e, m.goodbye)
	case w.state == "Ready" && before != "Ready":
		w.denied = 0
	}
	return w.probe()
}

// refused is Step where the event is to be refused with a code.
func (w *Walk) refused(e *Event, row *row, want wire.Code, answer []byte) error {
	before := w.state
	if got := wire.TypeOf(answer).String(); got != row.refusal {
		return diverge("%s in %s: got %s, want %s", e.Name, before, got, row.refusal)
	}
	code, err := codeOf(answer)
	if err != nil || code != want {
		return diverge("%s in %s: refused with %s, %v, want %s", e.Name, before, code.Name(), err, want.Name())
	}
	if !slices.Contains(w.table.codes[e.event], code.Name()) {
		return diverge("%s in %s: the specification has no refusal with %s", e.Name, before, code.Name())
	}
	w.state = row.other
	if before != "Ready" || code == wire.CodeDenied {
		w.denied++
	}
	switch {
	case w.denied < maxDenied:
		return w.probe()
	case before == "Ready":
		return w.goodbye(e, wire.CodeLimit)
	}
	return w.closed(e)
}

func codeOf(answer []byte) (wire.Code, error) {
	if wire.TypeOf(answer) == wire.TypeDenied {
		d, err := wire.ParseDenied(answer)
		return d.Code, err
	}
	r, err := wire.ParseRefused(answer)
	return r.Code, err
}

// closed wants the connection to be closed without a further word.
func (w *Walk) closed(e *Event) error {
	before := w.state
	w.state = "Closed"
	if b, err := w.line.Hear(); err == nil {
		return diverge("%s in %s: the server says %v, want nothing", e.Name, before, wire.TypeOf(b))
	}
	return nil
}

// goodbye wants it closed with a Goodbye.
func (w *Walk) goodbye(e *Event, code wire.Code) error {
	b, err := w.line.Hear()
	if err != nil {
		return diverge("%s in %s: %v, want Goodbye %s", e.Name, w.state, err, code.Name())
	}
	if g, err := wire.ParseGoodbye(b); err != nil || g.Code != code {
		return diverge("%s in %s: got %v %s, %v, want Goodbye %s", e.Name, w.state, wire.TypeOf(b), g.Code.Name(), err, code.Name())
	}
	return w.closed(e)
}

// probe holds the server's own idea of the state against the model's, where there is a way to.
func (w *Walk) probe() error {
	p, ok := w.line.(Prober)
	if !ok {
		return nil
	}
	state, err := p.Probe()
	if err != nil {
		return diverge("%v", err)
	}
	if state != w.state {
		return diverge("the server is in %s, want %s", state, w.state)
	}
	return nil
}

// Finish holds the sessions that the store has against those that the table granted.
func (w *Walk) Finish() error {
	want := 0
	for _, s := range w.sessions {
		if w.live(s) {
			want++
		}
	}
	list, _, err := w.server.Accounts.SessionsOf(w.ctx, w.name, account.ID{}, 100)
	if !w.exists && errors.Is(err, account.ErrNoAccount) {
		return nil
	}
	if err != nil {
		return err
	}
	if len(list) != want {
		return diverge("the account has %d sessions, want %d", len(list), want)
	}
	return nil
}

// Run makes a walk of events, until one has closed the connection.
func Run(ctx context.Context, server *authtest.Server, table *Table, line Line, name string, events []*Event) (steps int, err error) {
	w, err := New(ctx, server, table, line, name, events)
	if err != nil {
		return 0, err
	}
	for _, e := range events {
		steps++
		if err := w.Step(e); err != nil {
			return steps, err
		}
		if w.state == "Closed" {
			break
		}
	}
	return steps, w.Finish()
}
