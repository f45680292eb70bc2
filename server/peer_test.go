package server_test

import (
	"context"
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"net"
	"testing"
	"time"

	"github.com/authsrv/authsrv/credential"
	"github.com/authsrv/authsrv/internal/account"
	"github.com/authsrv/authsrv/internal/authtest"
	"github.com/authsrv/authsrv/noiseconn"
	"github.com/authsrv/authsrv/wire"
)

// user is an account whose key was not stretched from a password, which a server can't tell.
type user struct {
	name      string
	key       ed25519.PrivateKey
	serverKey [32]byte
	static    noiseconn.StaticKey
}

func newUser(name string) *user {
	seed := sha256.Sum256([]byte("seed of " + name))
	return &user{
		name: name, key: ed25519.NewKeyFromSeed(seed[:]), serverKey: sha256.Sum256([]byte("server key of " + name)),
		static: noiseconn.StaticFromPrivate(sha256.Sum256([]byte("static key of " + name))),
	}
}

func (u *user) verifier() account.Verifier {
	return account.Verifier{KDF: authtest.CheapKDF, PublicKey: [32]byte(u.key.Public().(ed25519.PublicKey)), ServerKey: u.serverKey}
}

func (u *user) record() wire.Record {
	v := u.verifier()
	return wire.Record{KDF: wire.KDF(v.KDF), PublicKey: v.PublicKey, ServerKey: v.ServerKey}
}

// prove signs T under a label of PROTOCOL 6.
func (u *user) prove(label string, transcript [32]byte) [64]byte {
	return [64]byte(ed25519.Sign(u.key, append([]byte("authsrv v1 "+label+"\x00"), transcript[:]...)))
}

// enroll makes an account without a connection.
func enroll(t testing.TB, srv *authtest.Server, name string) *user {
	t.Helper()
	u := newUser(name)
	ch := &account.Channel{}
	a, c, err := srv.Accounts.BeginRegister(t.Context(), ch, &account.Start{Name: name, Method: 1, Offered: []byte{1}})
	if err != nil {
		t.Fatal(err)
	}
	digest := sha256.Sum256([]byte(name))
	sum := (&credential.Transcript{
		RealmID: srv.Accounts.RealmID(), Purpose: 3, Method: 1, OfferedMethods: []byte{1}, LoginName: name,
		ServerNonce: c.ServerNonce[:], Salt: c.Salt[:], KDF: c.KDF, OpDigest: digest[:],
	}).Sum()
	if err := srv.Accounts.FinishRegister(t.Context(), a, u.verifier(), digest, u.prove("new-key-proof", sum)); err != nil {
		t.Fatal(err)
	}
	return u
}

type message interface{ AppendTo([]byte) []byte }

// peer is a client that does as it is told.
type peer struct {
	t      testing.TB
	raw    net.Conn
	shake  *noiseconn.ClientHandshake
	hello  wire.ServerHello
	conn   *noiseconn.Conn // after M3
	static noiseconn.StaticKey
	lastID uint32

	sent      [][]byte        // all messages, as plaintext
	start     *wire.AuthStart // the last one
	challenge wire.Challenge
	welcome   wire.Welcome // with fields of its own
	code      *credential.Key
}

// connect leads a connection up to M2.
func connect(t testing.TB, srv *authtest.Server) *peer {
	t.Helper()
	conn, err := srv.Connect(t.Context(), "", "")
	if err != nil {
		t.Fatal(err)
	}
	return greet(t, conn)
}

func greet(t testing.TB, conn net.Conn) *peer {
	t.Helper()
	t.Cleanup(func() { conn.Close() })
	p := &peer{t: t, raw: conn}
	var err error
	if p.static, err = noiseconn.NewStaticKey(nil); err != nil {
		t.Fatal(err)
	}
	if err := p.tryGreet(t.Context()); err != nil {
		t.Fatalf("hello: %v", err)
	}
	return p
}

func (p *peer) tryGreet(ctx context.Context) error {
	p.shake = noiseconn.Client(p.raw, nil)
	hello, static, err := p.shake.Hello(ctx)
	if err != nil {
		return err
	}
	p.hello = hello
	return noiseconn.VerifyCertificate(&hello, static, time.Now())
}

// begin sends M3, with any payload.
func (p *peer) begin(payload []byte, static noiseconn.StaticKey) {
	p.t.Helper()
	conn, err := p.shake.Finish(p.t.Context(), static, payload)
	if err != nil {
		p.t.Fatalf("M3: %v", err)
	}
	p.conn, p.static = conn, static
}

// trySend sends a message, which is M3 where there was none.
func (p *peer) trySend(m message) error {
	b := m.AppendTo(nil)
	p.sent = append(p.sent, b)
	if p.conn == nil {
		conn, err := p.shake.Finish(p.t.Context(), p.static, b)
		p.conn = conn
		return err
	}
	return p.conn.WriteMessage(b)
}

func (p *peer) send(m message) {
	p.t.Helper()
	if err := p.trySend(m); err != nil {
		p.t.Fatalf("send: %v", err)
	}
}

// expect returns the next message, which is of a type.
func (p *peer) expect(want wire.Type) []byte {
	p.t.Helper()
	b, err := p.conn.ReadMessage(wire.MaxSessionFrame)
	if err != nil {
		p.t.Fatalf("waiting for %v: %v", want, err)
	}
	if got := wire.TypeOf(b); got != want {
		p.t.Fatalf("got %v %x, want %v", got, b[:min(len(b), 16)], want)
	}
	return b
}

func (p *peer) expectDenied(code wire.Code) wire.Denied {
	p.t.Helper()
	d, err := wire.ParseDenied(p.expect(wire.TypeDenied))
	if err != nil || d.Code != code {
		p.t.Fatalf("denied with %v, %v, want %v", d.Code.Name(), err, code.Name())
	}
	return d
}

func (p *peer) expectRefused(id uint32, code wire.Code) wire.Refused {
	p.t.Helper()
	r, err := wire.ParseRefused(p.expect(wire.TypeRefused))
	if err != nil || r.Code != code || r.ID != id {
		p.t.Fatalf("request %d refused with %v, %v, want %d with %v", r.ID, r.Code.Name(), err, id, code.Name())
	}
	return r
}

func (p *peer) expectGoodbye(code wire.Code) {
	p.t.Helper()
	g, err := wire.ParseGoodbye(p.expect(wire.TypeGoodbye))
	if err != nil || g.Code != code {
		p.t.Fatalf("goodbye %v, %v, want %v", g.Code.Name(), err, code.Name())
	}
	p.expectClosed()
}

// expectClosed says that the server closes the connection at once, without a further word.
func (p *peer) expectClosed() {
	p.t.Helper()
	if waited := p.closedAfter(); waited >= time.Second {
		p.t.Fatalf("the server closed only after %v", waited)
	}
}

// closedAfter waits until the server closes the connection, without a further word, and says how long that took.
func (p *peer) closedAfter() time.Duration {
	p.t.Helper()
	began := time.Now()
	if p.conn == nil {
		b := make([]byte, 1)
		if n, err := p.raw.Read(b); n != 0 || err == nil {
			p.t.Fatalf("the server said %x, %v", b[:n], err)
		}
	} else if b, err := p.conn.ReadMessage(wire.MaxSessionFrame); err == nil {
		p.t.Fatalf("the server said %v, and was to close", wire.TypeOf(b))
	}
	return time.Since(began)
}

func nonce(what string) [32]byte { return sha256.Sum256([]byte("nonce " + what)) }

// sendStart begins an attempt.
func (p *peer) sendStart(m *wire.AuthStart) {
	p.t.Helper()
	if m.ClientNonce == [32]byte{} {
		m.ClientNonce = nonce("client")
	}
	p.start = m
	p.send(m)
}

func loginStart(name string) *wire.AuthStart {
	return &wire.AuthStart{Purpose: wire.PurposeLogin, Method: wire.MethodPassword, Offered: []byte{1}, Name: []byte(name)}
}

func registerStart(name string) *wire.AuthStart {
	return &wire.AuthStart{Purpose: wire.PurposeRegister, Method: wire.MethodPassword, Offered: []byte{1}, Name: []byte(name)}
}

func checkedStart(name string) *wire.AuthStart {
	return &wire.AuthStart{Purpose: wire.PurposeRegister, Method: wire.MethodChecked, Offered: []byte{3}, Name: []byte(name)}
}

// ask begins a login with a user's static key, and takes the challenge.
func (p *peer) ask(u *user) {
	p.t.Helper()
	if p.conn == nil {
		p.static = u.static
	}
	p.sendStart(loginStart(u.name))
	c, err := wire.ParseChallenge(p.expect(wire.TypeChallenge))
	if err != nil {
		p.t.Fatal(err)
	}
	p.challenge = c
}

// transcript is what the last AuthStart and a challenge have to say.
func (p *peer) transcript(c *wire.Challenge) *credential.Transcript {
	m := p.start
	return &credential.Transcript{
		Preface: wire.Preface{Version: 1, Suite: 1}.Bytes(), Handshake: p.conn.HandshakeHash(), RealmID: p.hello.RealmID,
		Purpose: uint8(m.Purpose), Options: m.Lifetime, Method: uint8(m.Method), OfferedMethods: m.Offered, LoginName: string(m.Name),
		ClientStatic: p.static.Public, ClientNonce: m.ClientNonce,
		ServerNonce: c.ServerNonce[:], Salt: c.Salt[:], KDF: credential.KDF(c.KDF),
	}
}

// proof answers the challenge.
func (p *peer) proof(u *user) *wire.Proof {
	return &wire.Proof{Proof: u.prove("client-proof", p.transcript(&p.challenge).Sum())}
}

// login logs in, and checks that the server confirms.
func (p *peer) login(u *user) {
	p.t.Helper()
	p.ask(u)
	proof := p.proof(u)
	p.send(proof)
	p.takeWelcome()
	mac := hmac.New(sha256.New, u.serverKey[:])
	sum := p.transcript(&p.challenge).Sum()
	mac.Write(append(append([]byte("authsrv v1 server-confirm\x00"), sum[:]...), proof.Proof[:]...))
	if !hmac.Equal(mac.Sum(nil), p.welcome.Confirm[:]) {
		p.t.Fatal("the server does not confirm")
	}
}

func (p *peer) takeWelcome() {
	p.t.Helper()
	w, err := wire.ParseWelcome(p.expect(wire.TypeWelcome))
	if err != nil {
		p.t.Fatal(err)
	}
	w.Name, w.Token, w.ResumeKey = append([]byte(nil), w.Name...), append([]byte(nil), w.Token...), append([]byte(nil), w.ResumeKey...)
	p.welcome = w
}

func sessionStart(token []byte) *wire.AuthStart {
	return &wire.AuthStart{Purpose: wire.PurposeSession, Token: token}
}

// newID returns the id of the next request.
func (p *peer) newID() uint32 {
	p.lastID++
	return p.lastID
}

// plain makes a request without fields and takes its answer.
func (p *peer) plain(t, want wire.Type) []byte {
	p.t.Helper()
	id := p.newID()
	p.send(wire.Plain{Type: t, ID: id})
	b := p.expect(want)
	if got := binary.BigEndian.Uint32(b[1:]); got != id {
		p.t.Fatalf("answer to request %d, want %d", got, id)
	}
	return b
}

// operation asks for a challenge for an operation.
func (p *peer) operation(of wire.Type) (uint32, wire.OpChallenge) {
	p.t.Helper()
	id := p.newID()
	p.send(&wire.OpStart{ID: id, Operation: of, ClientNonce: nonce("operation")})
	c, err := wire.ParseOpChallenge(p.expect(wire.TypeOpChallenge))
	if err != nil || c.ID != id {
		p.t.Fatalf("OpChallenge %d: %v", c.ID, err)
	}
	return id, c
}

// opSum is T of an operation whose request has a signed part.
func (p *peer) opSum(u *user, c *wire.OpChallenge, signed []byte) [32]byte {
	digest := sha256.Sum256(signed)
	t := &credential.Transcript{
		Preface: wire.Preface{Version: 1, Suite: 1}.Bytes(), Handshake: p.conn.HandshakeHash(), RealmID: p.hello.RealmID,
		Purpose: 4, Method: 1, OfferedMethods: []byte{1}, LoginName: u.name, ClientStatic: p.static.Public, ClientNonce: nonce("operation"),
		ServerNonce: c.ServerNonce[:], Salt: c.Salt[:], KDF: credential.KDF(c.KDF), OpDigest: digest[:],
		SessionID: p.welcome.SessionID[:], AccountID: p.welcome.AccountID[:],
	}
	return t.Sum()
}

// proved is an operation with nothing but a proof.
func (p *peer) proved(u *user, of wire.Type, id uint32, c *wire.OpChallenge) *wire.ProvedOp {
	m := &wire.ProvedOp{Type: of, ID: id}
	m.Proof = u.prove("client-proof", p.opSum(u, c, m.AppendSigned(nil)))
	return m
}

// change is a change of password, from one key to another.
func (p *peer) change(u, next *user, id uint32, c *wire.OpChallenge) *wire.ChangePassword {
	m := &wire.ChangePassword{ID: id, Record: next.record()}
	sum := p.opSum(u, c, m.AppendSigned(nil))
	m.NewProof, m.Proof = next.prove("new-key-proof", sum), u.prove("client-proof", sum)
	return m
}
