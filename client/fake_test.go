package client_test

import (
	"context"
	"crypto/ed25519"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/authsrv/authsrv/client"
	"github.com/authsrv/authsrv/client/store"
	"github.com/authsrv/authsrv/credential"
	"github.com/authsrv/authsrv/internal/authtest"
	"github.com/authsrv/authsrv/noiseconn"
	"github.com/authsrv/authsrv/wire"
)

// fake is a server that shakes hands as it is told, and then says whatever answer says.
type fake struct {
	t        *testing.T
	identity ed25519.PrivateKey
	realm    [16]byte
	next     [32]byte
	epoch    uint32
	from, to time.Duration // of the certificate, from now on
	adjust   func(*wire.ServerHello)
	refusal  wire.Code // instead of all that
	answer   func(*talk)

	mu    sync.Mutex
	sent  [][]byte // by the client, connection by connection
	peers [][32]byte
	wg    sync.WaitGroup
}

// hello is what a client sends before it has judged a server: preface and M1.
const helloSize = wire.PrefaceSize + wire.FrameHeaderSize + 32

func newFake(t *testing.T, identity byte) *fake {
	f := &fake{t: t, identity: authtest.Identity(identity), realm: [16]byte{1, identity}, epoch: 1, from: -time.Hour, to: 24 * time.Hour}
	t.Cleanup(f.wg.Wait)
	return f
}

// config is that of a client of the fake.
func (f *fake) config(st *store.Store) *client.Config {
	return &client.Config{Store: st, Dialer: f.dial}
}

func (f *fake) fingerprint() string { return noiseconn.Fingerprint(f.public()) }

func (f *fake) public() [32]byte { return [32]byte(f.identity.Public().(ed25519.PublicKey)) }

// pinned is a store in which the fake is pinned.
func (f *fake) pinned() *store.Store {
	f.t.Helper()
	st := store.Memory()
	err := st.PutServer(store.Server{
		Address: authtest.Address, RealmID: f.realm, Identity: f.public(), NextIdentity: f.next, Epoch: f.epoch,
		Version: 1, Suite: 1, ServerTime: time.Now(), Confirmed: true,
	})
	if err != nil {
		f.t.Fatal(err)
	}
	return st
}

// overhears is the client's end of a connection.
type overhears struct {
	net.Conn
	f *fake
	n int
}

func (o *overhears) Write(b []byte) (int, error) {
	o.f.mu.Lock()
	o.f.sent[o.n] = append(o.f.sent[o.n], b...)
	o.f.mu.Unlock()
	return o.Conn.Write(b)
}

func (f *fake) dial(context.Context, string, string) (net.Conn, error) {
	here, there := net.Pipe()
	f.mu.Lock()
	defer f.mu.Unlock()
	f.sent = append(f.sent, nil)
	f.wg.Go(func() {
		defer there.Close()
		f.serve(there)
	})
	return &overhears{here, f, len(f.sent) - 1}, nil
}

// heard returns how many bytes were sent on each connection.
func (f *fake) heard() (n []int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, b := range f.sent {
		n = append(n, len(b))
	}
	return n
}

func (f *fake) serve(conn net.Conn) {
	ctx := context.Background()
	h := noiseconn.Server(conn, nil)
	if h.Start(ctx) != nil {
		return
	}
	if f.refusal != 0 {
		h.Refuse(f.refusal)
		return
	}
	static, err := noiseconn.NewStaticKey(nil)
	if err != nil {
		f.t.Error(err)
		return
	}
	now := time.Now()
	m := &wire.ServerHello{
		Version: 1, HighestVersion: 1, HighestSuite: 1, RealmID: f.realm, Identity: f.public(), NextIdentity: f.next,
		Certificate: noiseconn.Certify(f.identity, f.realm, static.Public, now.Add(f.from), now.Add(f.to), f.epoch),
		Time:        uint64(now.Unix()), Idle: 1800, ConnectionLife: 43200, SessionLife: 2592000, Features: wire.FeatureRegister,
	}
	if f.adjust != nil {
		f.adjust(m)
	}
	if h.Hello(ctx, static, m.AppendTo(nil)) != nil {
		return
	}
	payload, c, err := h.Finish(ctx)
	if err != nil {
		return
	}
	f.mu.Lock()
	f.peers = append(f.peers, c.PeerStatic())
	f.mu.Unlock()
	if f.answer != nil {
		f.answer(&talk{fake: f, conn: c, first: append([]byte(nil), payload...)})
	}
}

// talk is a fake's side of a connection behind M3.
type talk struct {
	*fake
	conn  *noiseconn.Conn
	first []byte // the payload of M3
	start wire.AuthStart
}

// read returns the next message, or nil.
func (k *talk) read() []byte {
	b := k.first
	if k.first = nil; b != nil {
		return b
	}
	b, err := k.conn.ReadMessage(wire.MaxSessionFrame)
	if err != nil {
		return nil
	}
	return b
}

func (k *talk) say(m interface{ AppendTo([]byte) []byte }) {
	k.conn.WriteMessage(m.AppendTo(nil))
}

// sayAndWait says its word and waits until the client has hung up: by then nothing more came.
func (k *talk) sayAndWait(m interface{ AppendTo([]byte) []byte }) {
	k.say(m)
	if b := k.read(); b != nil {
		k.t.Errorf("the client went on with %v", wire.TypeOf(b))
	}
}

// begin takes an AuthStart.
func (k *talk) begin() {
	m, err := wire.ParseAuthStart(k.read())
	if err != nil {
		k.t.Errorf("AuthStart: %v", err)
	}
	k.start = m
}

func (k *talk) challenge() *wire.Challenge {
	return &wire.Challenge{ServerNonce: [32]byte{7}, Salt: [16]byte{8}, KDF: wire.KDF(authtest.CheapKDF), TTL: 20}
}

// transcript is T so far.
func (k *talk) transcript() credential.Transcript {
	return credential.Transcript{
		Preface: wire.Preface{Version: 1, Suite: 1}.Bytes(), Handshake: k.conn.HandshakeHash(), RealmID: k.realm,
		Purpose: uint8(k.start.Purpose), Options: k.start.Lifetime, Method: uint8(k.start.Method), OfferedMethods: k.start.Offered,
		LoginName: string(k.start.Name), ClientStatic: k.conn.PeerStatic(), ClientNonce: k.start.ClientNonce,
	}
}

// login takes a login, and returns a Welcome that a server gives who knows the password.
func (k *talk) login(password string) *wire.Welcome {
	k.begin()
	c := k.challenge()
	k.say(c)
	proof, err := wire.ParseProof(k.read())
	if err != nil {
		k.t.Errorf("Proof: %v", err)
		return &wire.Welcome{Name: []byte("x")}
	}
	key, err := credential.Derive([]byte(password), k.realm, string(k.start.Name), c.Salt, credential.KDF(c.KDF))
	if err != nil {
		k.t.Error(err)
		return &wire.Welcome{Name: []byte("x")}
	}
	t := k.transcript()
	t.ServerNonce, t.Salt, t.KDF = c.ServerNonce[:], c.Salt[:], credential.KDF(c.KDF)
	sum := t.Sum()
	if !credential.VerifyProof(key.Public(), sum, proof.Proof) {
		k.t.Error("the proof is wrong")
	}
	return &wire.Welcome{
		Confirm: key.Confirm(sum, proof.Proof), AccountID: [16]byte{3}, SessionID: [16]byte{4},
		Expires: uint64(time.Now().Add(time.Hour).Unix()), Name: []byte(k.start.Name), Token: []byte("a.b.c"), ResumeKey: make32(5),
	}
}

func make32(b byte) []byte {
	s := make([]byte, 32)
	s[0] = b
	return s
}
