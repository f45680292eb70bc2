package client

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/authsrv/authsrv/client/store"
	"github.com/authsrv/authsrv/credential"
	"github.com/authsrv/authsrv/noiseconn"
	"github.com/authsrv/authsrv/wire"
)

// Times that bound an operation even where its context does not.
const (
	dialTime    = 10 * time.Second
	loginTime   = 30 * time.Second
	requestTime = 15 * time.Second
)

// What a server bears of a connection before login: how long one may have rested since its handshake began and still
// be used (the server waits 5 s for M3), and how many attempts it takes. Beyond that it is made anew.
const (
	maxRest   = 3 * time.Second
	maxStarts = 2 // of 3: with passwords for the server to judge, a third would be more than 8 KiB
)

// Config configures Dial. The zero value is of use only with an address that carries a fingerprint.
type Config struct {
	// Store is what the client remembers between runs: pins, device keys, sessions. Nil: a new store.Memory. Where another process keeps
	// its lock, a call ends with its context, as a store.ErrBusy that wraps the context's error. What a server has answered is remembered all
	// the same: that waits for the lock for up to 10 s, whatever the context says.
	Store *store.Store
	// Identity is a fingerprint that a person has accepted. An address that carries one needs none here, and another one is refused.
	Identity string
	// AcceptNew trusts a server that nothing is known of, at first use. Meant for scripts.
	AcceptNew bool

	Dialer func(ctx context.Context, network, address string) (net.Conn, error) // nil: a net.Dialer
	Rand   io.Reader                                                            // nil: crypto/rand

	derive func(password []byte, realm [16]byte, name string, salt [16]byte, kdf credential.KDF) (*credential.Key, error) // credential.Derive
}

// A Client is a connection to a server, to register, log in or resume on. After an error it can be used again: where
// its connection can't be, it makes another, and judges the server's identity anew. It is safe for concurrent
// use: calls with a context are made one at a time, and wait for each other; the others wait for none. Once a Session came of it, the
// connection is the Session's.
type Client struct {
	c       Config
	address string

	vouched atomic.Bool                      // the fingerprint came with the address or a code, and not from a first contact
	hello   atomic.Pointer[wire.ServerHello] // of the latest connection
	life    context.Context                  // until Close
	shut    context.CancelFunc

	turn    turn   // held by each call, for what follows
	pin     string // the fingerprint that was asked for, or ""
	raw     net.Conn
	shaking *noiseconn.ClientHandshake // until M3
	conn    *noiseconn.Conn            // from M3 on
	static  noiseconn.StaticKey        // what M3 carried
	account string                     // whose key that is
	starts  int                        // attempts on this connection
	pending bool                       // an attempt was begun and its end has not been seen: the connection is of no more use
	shaken  time.Time                  // when hello came
	used    bool                       // became a Session, or is closed
}

// Dial connects to HOST:PORT or HOST:PORT#FINGERPRINT, and judges the server's identity. Nothing
// of the user's is sent: with an error that speaks of the identity, the connection is closed already.
//
// A server waits a few seconds for what is wanted of it, and holds it against the network of who dials and wants nothing, however honest: after
// some of these it answers ErrOverloaded or nothing for a while. So have the name and the password before you dial.
//
// A fingerprint in the address, or an Identity, is that of one identity: when the server has moved on to the successor that it
// announced, only a client that is given neither follows, by what its store remembers.
func Dial(ctx context.Context, address string, config *Config) (*Client, error) {
	c := &Client{turn: newTurn()}
	c.life, c.shut = context.WithCancel(context.Background())
	if config != nil {
		c.c = *config
	}
	if c.c.Store == nil {
		c.c.Store = store.Memory()
	}
	if c.c.Rand == nil {
		c.c.Rand = rand.Reader
	}
	if c.c.derive == nil {
		c.c.derive = credential.Derive
	}
	if c.c.Dialer == nil {
		c.c.Dialer = (&net.Dialer{KeepAliveConfig: noiseconn.KeepAlive()}).DialContext
	}
	var err error
	if c.address, c.pin, err = ParseAddress(address); err != nil {
		return nil, err
	}
	c.vouched.Store(c.pin != "")
	if given := c.c.Identity; given != "" {
		if err := noiseconn.CheckFingerprint(given); err != nil {
			return nil, err
		}
		if c.pin != "" && c.pin != given {
			return nil, fmt.Errorf("the address is for %s, and the identity to accept is %s", c.pin, given)
		}
		c.pin = given
	}
	if err := c.shake(ctx); err != nil {
		return nil, err
	}
	return c, nil
}

// shake connects, and leads the handshake up to where the identity is known and judged.
func (c *Client) shake(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, dialTime)
	defer cancel()
	if err := ended(ctx); err != nil {
		return err
	}
	raw, err := c.c.Dialer(ctx, "tcp", c.address)
	if err != nil {
		return connectionError(ctx, err)
	}
	h := noiseconn.Client(raw, c.c.Rand)
	hello, static, err := h.Hello(ctx)
	if err != nil {
		raw.Close()
		if err = connectionError(ctx, err); errors.Is(err, ErrProtocol) {
			err = &strangerError{c.address, err}
		}
		return err
	}
	if err := c.judge(ctx, &hello, static); err != nil {
		raw.Close()
		return err
	}
	c.raw, c.shaking, c.conn, c.shaken = raw, h, nil, time.Now()
	c.starts = 0
	c.hello.Store(&hello)
	return nil
}

// Close closes the connection, unless it has become a Session's, and returns nil. It interrupts a call that is under way, as the end of its
// context would: that returns an ErrClosed, which is an ErrConnection too. A login that was answered by then is returned; its Session is to be
// closed by itself.
func (c *Client) Close() error {
	c.shut()
	c.hangUp()
	return nil
}

// hangUp closes the connection of a client that is closed, unless a call is under way: that does it at its end.
func (c *Client) hangUp() {
	select {
	case c.turn <- struct{}{}:
		defer c.turn.pass()
	default:
		return
	}
	if !c.used {
		c.used = true
		c.raw.Close()
	}
}

// Format writes the address, whatever the verb: the device key is not printed.
func (c *Client) Format(s fmt.State, _ rune) { fmt.Fprintf(s, "client of %s", c.address) }

// Address returns the address as it is dialed and remembered: HOST:PORT.
func (c *Client) Address() string { return c.address }

// Fingerprint returns the fingerprint of the server's identity.
func (c *Client) Fingerprint() string { return noiseconn.Fingerprint(c.hello.Load().Identity) }

// WantsPassword says whether registration is by sending the password for the server to judge.
func (c *Client) WantsPassword() bool {
	return c.hello.Load().Features&(wire.FeatureRegister|wire.FeatureRegisterChecked) == wire.FeatureRegisterChecked
}

// begin takes the client's turn for a call, and bounds that by its context, by its own time and by Close.
func (c *Client) begin(ctx context.Context) (context.Context, func(), error) {
	if c.life.Err() != nil {
		return nil, nil, ErrClosed
	}
	ctx, interrupt := context.WithCancelCause(ctx)
	stop := context.AfterFunc(c.life, func() { interrupt(ErrClosed) })
	leave := func() {
		stop()
		interrupt(nil)
		if c.life.Err() != nil {
			c.hangUp()
		}
	}
	err := c.turn.take(ctx)
	if err == nil && (c.used || c.life.Err() != nil) { // before ctx hears of Close, too
		c.turn.pass()
		err = ErrClosed
	}
	if err != nil {
		leave()
		return nil, nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, loginTime)
	return ctx, func() { cancel(); c.turn.pass(); leave() }, nil
}

// send sends the AuthStart of an attempt for an account, on a connection whose static key is that account's: as the payload
// of M3, or behind it. Where the connection at hand is not fit for that, it is made anew.
func (c *Client) send(ctx context.Context, start *wire.AuthStart, account string, device *[32]byte) error {
	payload := start.AppendTo(nil)
	defer clear(payload)
	if !c.fit(account, device) {
		c.raw.Close()
		c.pending = true // nothing has begun, but there is no connection either
		if err := c.shake(ctx); err != nil {
			return err
		}
	}
	c.pending = true
	c.starts++
	if c.conn != nil {
		return c.write(ctx, payload)
	}
	static, err := c.staticKey(device)
	if err != nil {
		return err
	}
	conn, err := c.shaking.Finish(ctx, static, payload)
	if err != nil {
		return connectionError(ctx, err)
	}
	c.conn, c.static, c.account = conn, static, account
	return nil
}

// fit says whether the connection is good for one more attempt: no two accounts share a key.
func (c *Client) fit(account string, device *[32]byte) bool {
	if c.pending || time.Since(c.shaken) > maxRest {
		return false
	}
	return c.conn == nil || c.starts < maxStarts && c.account == account && (device == nil || *device == c.static.Private)
}

// staticKey is the key for M3: this device's for the account, or a fresh one.
func (c *Client) staticKey(device *[32]byte) (noiseconn.StaticKey, error) {
	if device != nil {
		return noiseconn.StaticFromPrivate(*device), nil
	}
	return noiseconn.NewStaticKey(c.c.Rand)
}

// write sends a message, unless ctx has ended.
func (c *Client) write(ctx context.Context, plaintext []byte) error {
	if err := ended(ctx); err != nil {
		return err
	}
	return c.transmit(ctx, plaintext)
}

func (c *Client) transmit(ctx context.Context, plaintext []byte) error {
	return within(ctx, c.raw.SetDeadline, func() error { return c.conn.WriteMessage(plaintext) })
}

// last sends the last message of a change, unless ctx has ended, and returns its answer. From the write on, which may have brought
// the message to the server whatever it says, an error that is no answer is an ErrOutcomeUnknown.
func (c *Client) last(ctx context.Context, plaintext []byte, want wire.Type) ([]byte, error) {
	if err := ended(ctx); err != nil {
		return nil, err
	}
	if err := c.transmit(ctx, plaintext); err != nil {
		return nil, lost(err)
	}
	b, err := c.read(ctx, want)
	return b, lost(err)
}

// read returns the answer to the last message, which is of the type that is wanted, or an error.
// It is good until the next read.
func (c *Client) read(ctx context.Context, want wire.Type) (b []byte, err error) {
	err = within(ctx, c.raw.SetDeadline, func() error {
		b, err = c.conn.ReadMessage(wire.MaxLoginFrame)
		return err
	})
	if err != nil {
		return nil, err
	}
	switch wire.TypeOf(b) {
	case want:
		return b, nil
	case wire.TypeDenied:
		d, err := wire.ParseDenied(b)
		if err != nil {
			return nil, protocolError(err)
		}
		c.pending = false
		return nil, refused(d, c.Pinned())
	}
	return nil, fmt.Errorf("%w: unexpected %v", ErrProtocol, wire.TypeOf(b))
}

func protocolError(err error) error { return fmt.Errorf("%w: %w", ErrProtocol, err) }

// turn is a mutex that nobody waits for longer than a context lasts. It holds an element while it is taken.
type turn chan struct{}

func newTurn() turn { return make(turn, 1) }

// take takes the turn, unless ctx has ended.
func (t turn) take(ctx context.Context) error {
	select {
	case t <- struct{}{}:
	case <-ctx.Done():
		return ended(ctx)
	}
	if err := ended(ctx); err != nil {
		t.pass()
		return err
	}
	return nil
}

func (t turn) pass() { <-t }

// ended is the error of a context that has ended, for before anything is sent, or nil.
func ended(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return connectionError(ctx, err)
	}
	return nil
}

// within runs what uses a connection, and cuts it by its deadline when ctx ends before that does. What succeeded all the same has
// succeeded, and the connection is as good as before.
func within(ctx context.Context, deadline func(time.Time) error, run func() error) error {
	cut := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(cut)
		deadline(time.Unix(1, 0))
	})
	err := run()
	if !stop() {
		<-cut
		deadline(time.Time{})
	}
	if err != nil {
		return connectionError(ctx, err)
	}
	return nil
}

// fail closes a connection on which an attempt was begun and not ended: the next one gets another.
func (c *Client) fail(err error) error {
	if c.pending {
		c.raw.Close()
	}
	return err
}

// transcript returns the fields that every transcript of this connection has.
func (c *Client) transcript(start *wire.AuthStart, name string) credential.Transcript {
	return credential.Transcript{
		Preface:   wire.Preface{Version: wire.Version, Suite: wire.Suite}.Bytes(),
		Handshake: c.conn.HandshakeHash(), RealmID: c.hello.Load().RealmID, ClientStatic: c.static.Public,
		Purpose: uint8(start.Purpose), Options: start.Lifetime, Method: uint8(start.Method), OfferedMethods: start.Offered,
		LoginName: name, ClientNonce: start.ClientNonce,
	}
}

// built is the time of the commit that this program was built from, or the zero time.
var built = sync.OnceValue(func() (t time.Time) {
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key == "vcs.time" {
				t, _ = time.Parse(time.RFC3339, s.Value)
			}
		}
	}
	return t
})
