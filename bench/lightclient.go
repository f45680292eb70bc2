package main

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/authsrv/authsrv/credential"
	"github.com/authsrv/authsrv/noiseconn"
	"github.com/authsrv/authsrv/wire"
)

// A user is an account as its client has it once the password was stretched. Here the key is made up, which a server can't tell from a
// stretched one.
type user struct {
	name      string
	key       ed25519.PrivateKey
	serverKey [32]byte
	device    noiseconn.StaticKey
}

func newUser(n int) *user {
	name := accountName(n)
	seed := sha256.Sum256([]byte("bench key of " + name))
	return &user{name: name, key: ed25519.NewKeyFromSeed(seed[:]), serverKey: sha256.Sum256([]byte("bench server key of " + name))}
}

// withDevice gives the user the device from which it logs in.
func (u *user) withDevice() *user {
	u.device = noiseconn.StaticFromPrivate(sha256.Sum256([]byte("bench device of " + u.name)))
	return u
}

func (u *user) public() [32]byte { return [32]byte(u.key.Public().(ed25519.PublicKey)) }

// prove signs T under a label of PROTOCOL 6.
func (u *user) prove(label string, transcript [32]byte) [64]byte {
	m := append(make([]byte, 0, 64), "authsrv v1 "...)
	m = append(append(append(m, label...), 0), transcript[:]...)
	return [64]byte(ed25519.Sign(u.key, m))
}

// A crowd is the users that a load logs in, in turn.
type crowd struct {
	address, fingerprint string
	users                []*user
	next                 atomic.Int64
	known                sync.Map // certificates that were verified, by what they say
}

// newCrowd has so many users of a folder with so many accounts, evenly spread.
func newCrowd(address, fingerprint string, users, accounts int) *crowd {
	c := &crowd{address: address, fingerprint: fingerprint}
	users = min(users, accounts)
	for i := range users {
		c.users = append(c.users, newUser(i*(accounts/users)).withDevice())
	}
	return c
}

// A connection is one that is logged in.
type connection struct {
	net.Conn // below the Noise
	noise    *noiseconn.Conn
	welcome  wire.Welcome // its variable fields are not good any more
}

// hold logs the next user in.
func (c *crowd) hold(worker int) (io.Closer, error) {
	k, err := c.login(worker, c.users[(c.next.Add(1)-1)%int64(len(c.users))], nil)
	if err != nil { // not a nil *connection in an io.Closer
		return nil, err
	}
	return k, nil
}

// greet connects and leads the handshake up to the ServerHello, which it judges as a client does that pinned the identity.
func (c *crowd) greet(conn net.Conn) (*noiseconn.ClientHandshake, *wire.ServerHello, error) {
	h := noiseconn.Client(conn, nil)
	hello, static, err := h.Hello(context.Background())
	if err != nil {
		return nil, nil, err
	}
	if err := c.judge(&hello, static); err != nil {
		return nil, nil, err
	}
	return h, &hello, nil
}

type proved struct {
	identity, static [32]byte
	realm            [16]byte
	certificate      wire.Certificate
}

// judge verifies each certificate once: the load stands for many clients, but is to cost little.
func (c *crowd) judge(hello *wire.ServerHello, static [32]byte) error {
	p := proved{hello.Identity, static, hello.RealmID, hello.Certificate}
	if _, known := c.known.Load(p); known {
		return nil
	}
	if noiseconn.Fingerprint(hello.Identity) != c.fingerprint {
		return errors.New("another server answers")
	}
	if err := noiseconn.VerifyCertificate(hello, static, time.Now()); err != nil {
		return err
	}
	c.known.Store(p, true)
	return nil
}

// login is a whole login, with all that a client has to check of it. Wrap, if not nil, is put around the TCP connection.
func (c *crowd) login(worker int, u *user, wrap func(net.Conn) net.Conn) (*connection, error) {
	raw, err := dial(worker, c.address)
	if err != nil {
		return nil, err
	}
	if wrap != nil {
		raw = wrap(raw)
	}
	k, err := c.loginOn(raw, u)
	if err != nil {
		raw.Close()
		return nil, fmt.Errorf("a login of %s: %w", u.name, err)
	}
	return k, nil
}

func (c *crowd) loginOn(raw net.Conn, u *user) (*connection, error) {
	h, hello, err := c.greet(raw)
	if err != nil {
		return nil, err
	}
	start := wire.AuthStart{Purpose: wire.PurposeLogin, Method: wire.MethodPassword, Offered: []byte{byte(wire.MethodPassword)}, Name: []byte(u.name)}
	conn, err := begin(h, u, &start)
	if err != nil {
		return nil, err
	}
	b, err := answer(conn, wire.TypeChallenge)
	if err != nil {
		return nil, err
	}
	challenge, err := wire.ParseChallenge(b)
	if err != nil {
		return nil, err
	}
	t := transcript(conn, hello, u, &start)
	t.ServerNonce, t.Salt, t.KDF = challenge.ServerNonce[:], challenge.Salt[:], credential.KDF(challenge.KDF)
	sum := t.Sum()
	proof := wire.Proof{Proof: u.prove("client-proof", sum)}
	if err := conn.WriteMessage(proof.AppendTo(nil)); err != nil {
		return nil, err
	}
	if b, err = answer(conn, wire.TypeWelcome); err != nil {
		return nil, err
	}
	welcome, err := wire.ParseWelcome(b)
	if err != nil {
		return nil, err
	}
	want := credential.Confirm(u.serverKey, sum, proof.Proof)
	if subtle.ConstantTimeCompare(want[:], welcome.Confirm[:]) != 1 || string(welcome.Name) != u.name || len(welcome.Token) == 0 {
		return nil, errors.New("the server did not confirm it")
	}
	return &connection{raw, conn, welcome}, nil
}

// begin sends M3 with an AuthStart.
func begin(h *noiseconn.ClientHandshake, u *user, start *wire.AuthStart) (*noiseconn.Conn, error) {
	if _, err := rand.Read(start.ClientNonce[:]); err != nil {
		return nil, err
	}
	return h.Finish(context.Background(), u.device, start.AppendTo(make([]byte, 0, wire.AuthStartSize)))
}

func transcript(conn *noiseconn.Conn, hello *wire.ServerHello, u *user, start *wire.AuthStart) *credential.Transcript {
	return &credential.Transcript{
		Preface:   wire.Preface{Version: wire.Version, Suite: wire.Suite}.Bytes(),
		Handshake: conn.HandshakeHash(), RealmID: hello.RealmID, ClientStatic: u.device.Public,
		Purpose: uint8(start.Purpose), Options: start.Lifetime, Method: uint8(start.Method), OfferedMethods: start.Offered,
		LoginName: u.name, ClientNonce: start.ClientNonce,
	}
}

// answer returns the next message before login, which is to be of a type.
func answer(conn *noiseconn.Conn, want wire.Type) ([]byte, error) {
	b, err := conn.ReadMessage(wire.MaxLoginFrame)
	if err != nil {
		return nil, err
	}
	if got := wire.TypeOf(b); got == wire.TypeDenied {
		d, err := wire.ParseDenied(b)
		if err != nil {
			return nil, err
		}
		return nil, fmt.Errorf("%w (again in %d s)", d.Code, d.RetryAfter)
	} else if got != want {
		return nil, fmt.Errorf("%v, not %v", got, want)
	}
	return b, nil
}

// register makes an account over a connection of its own.
func (c *crowd) register(worker, n int) error {
	raw, err := dial(worker, c.address)
	if err != nil {
		return err
	}
	defer raw.Close()
	h, hello, err := c.greet(raw)
	if err != nil {
		return err
	}
	u := newUser(n).withDevice()
	start := wire.AuthStart{Purpose: wire.PurposeRegister, Method: wire.MethodPassword, Offered: []byte{byte(wire.MethodPassword)}, Name: []byte(u.name)}
	conn, err := begin(h, u, &start)
	if err != nil {
		return err
	}
	b, err := answer(conn, wire.TypeRegisterParams)
	if err != nil {
		return err
	}
	params, err := wire.ParseRegisterParams(b)
	if err != nil {
		return err
	}
	finish := wire.RegisterFinish{Record: wire.Record{KDF: params.KDF, PublicKey: u.public(), ServerKey: u.serverKey}}
	digest := sha256.Sum256(finish.AppendSigned(nil))
	t := transcript(conn, hello, u, &start)
	t.ServerNonce, t.Salt, t.KDF, t.OpDigest = params.ServerNonce[:], params.Salt[:], credential.KDF(params.KDF), digest[:]
	finish.Signature = u.prove("new-key-proof", t.Sum())
	if err := conn.WriteMessage(finish.AppendTo(nil)); err != nil {
		return err
	}
	_, err = answer(conn, wire.TypeRegistered)
	return err
}
