package noiseconn

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"github.com/authsrv/authsrv/wire"
	"github.com/flynn/noise"
)

// fixed is a source of randomness that is the same in every run.
func fixed(seed byte) io.Reader { return bytes.NewReader(bytes.Repeat([]byte{seed}, 32)) }

func fixedStatic(seed byte) StaticKey {
	return StaticFromPrivate([32]byte(bytes.Repeat([]byte{seed}, 32)))
}

var (
	serverStatic = fixedStatic(3)
	clientStatic = fixedStatic(4)
	identity     = ed25519.NewKeyFromSeed(bytes.Repeat([]byte{5}, ed25519.SeedSize))
	realm        = [16]byte{6}
	startPayload = bytes.Repeat([]byte{7}, wire.AuthStartSize)
)

func testHello(static StaticKey, at time.Time) wire.ServerHello {
	return wire.ServerHello{
		Version:     wire.Version,
		RealmID:     realm,
		Identity:    [32]byte(identity.Public().(ed25519.PublicKey)),
		Certificate: Certify(identity, realm, static.Public, at.Add(-time.Hour), at.Add(time.Hour), 1),
		Time:        uint64(at.Unix()),
	}
}

// tape is a connection whose peer has said everything already, and hears nothing.
type tape struct {
	net.Conn // nil
	in       io.Reader
	out      bytes.Buffer
	closed   bool
}

func (c *tape) Read(p []byte) (int, error)  { return c.in.Read(p) }
func (c *tape) Write(p []byte) (int, error) { return c.out.Write(p) }
func (c *tape) Close() error                { c.closed = true; return nil }

func play(b []byte) *tape { return &tape{in: bytes.NewReader(b)} }

// serve runs a server's side to its end on what a client said.
func serve(conn net.Conn, random io.Reader, s noise.CipherSuite) ([]byte, *Conn, error) {
	ctx := context.Background()
	h := newServer(conn, random, s)
	if err := h.Start(ctx); err != nil {
		return nil, nil, err
	}
	hello := testHello(serverStatic, time.Unix(1_800_000_000, 0))
	if err := h.Hello(ctx, serverStatic, hello.AppendTo(nil)); err != nil {
		return nil, nil, err
	}
	return h.Finish(ctx)
}

// dial runs a client's side to its end.
func dial(conn net.Conn, random io.Reader, s noise.CipherSuite) (*Conn, error) {
	ctx := context.Background()
	h := newClient(conn, random, s)
	hello, static, err := h.Hello(ctx)
	if err != nil {
		return nil, err
	}
	if err := VerifyCertificate(&hello, static, time.Unix(1_800_000_000, 0)); err != nil {
		return nil, err
	}
	return h.Finish(ctx, clientStatic, startPayload)
}

// recording is every byte of one handshake with fixed randomness, and both ends of it.
type recording struct {
	toServer, toClient []byte
	client, server     *Conn
}

// record runs both sides in turn, each up to where it wants to hear more.
func record(t testing.TB, s noise.CipherSuite) recording {
	t.Helper()
	first := play(nil)
	if _, err := dial(first, fixed(1), s); err != io.EOF {
		t.Fatalf("client alone: %v", err)
	}
	second := play(first.out.Bytes())
	if _, _, err := serve(second, fixed(2), s); err != io.ErrUnexpectedEOF {
		t.Fatalf("server up to M2: %v", err)
	}
	third := play(second.out.Bytes())
	client, err := dial(third, fixed(1), s)
	if err != nil {
		t.Fatalf("client: %v", err)
	}
	last := play(third.out.Bytes())
	payload, server, err := serve(last, fixed(2), s)
	if err != nil || !bytes.Equal(payload, startPayload) {
		t.Fatalf("server: payload %x, %v", payload, err)
	}
	return recording{bytes.Clone(third.out.Bytes()), bytes.Clone(second.out.Bytes()), client, server}
}

// connect runs a handshake between two ends of a live connection.
func connect(t testing.TB, c, s net.Conn) (client, server *Conn) {
	t.Helper()
	failed := make(chan error, 1)
	go func() {
		var err error
		client, err = dial(c, nil, suite)
		failed <- err
	}()
	payload, server, err := serve(s, nil, suite)
	if err := errors.Join(err, <-failed); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(payload, startPayload) {
		t.Fatalf("payload of M3 is %x", payload)
	}
	return client, server
}

func pipe(t testing.TB) (client, server *Conn) {
	c, s := net.Pipe()
	t.Cleanup(func() { c.Close(); s.Close() })
	return connect(t, c, s)
}

func loopback(t testing.TB) (client, server *Conn) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	s, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close(); s.Close() })
	return connect(t, c, s)
}
