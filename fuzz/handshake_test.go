package fuzz

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/authsrv/authsrv/noiseconn"
	"github.com/authsrv/authsrv/wire"
)

// Sizes of what is on the wire (PROTOCOL 3), frame headers included.
const (
	helloSize = 8 + 2 + 32 // preface and M1
	m2Size    = 2 + 448
	m3Size    = 2 + 1088
)

// fixed is a source of randomness that is the same in every run.
func fixed(first byte) io.Reader { return bytes.NewReader(bytesFrom(first, 32)) }

var (
	serverStatic = noiseconn.StaticFromPrivate(b32(3))
	clientStatic = noiseconn.StaticFromPrivate(b32(4))
	identity     = ed25519.NewKeyFromSeed(bytesFrom(5, ed25519.SeedSize))
	now          = time.Unix(1_800_000_000, 0)
	background   = context.Background()
)

// goodHello and goodStart are the payloads of M2 and M3.
var (
	goodHello = sync.OnceValue(func() []byte {
		h := wire.ServerHello{Version: 1, HighestVersion: 1, HighestSuite: 1, RealmID: b16(6), Time: uint64(now.Unix())}
		h.Identity = [32]byte(identity.Public().(ed25519.PublicKey))
		h.Certificate = noiseconn.Certify(identity, h.RealmID, serverStatic.Public, now.Add(-time.Hour), now.Add(time.Hour), 1)
		return h.AppendTo(nil)
	})
	goodStart = sync.OnceValue(func() []byte {
		return (&wire.AuthStart{Purpose: wire.PurposeLogin, Method: 1, Offered: []byte{1}, Name: []byte("alice"), ClientNonce: b32(7)}).AppendTo(nil)
	})
)

// A tape is a connection whose peer has said everything already. It notes what it is told, and never blocks.
type tape struct {
	net.Conn // nil
	in       *bytes.Reader
	room     int // largest buffer that was read into
	out      bytes.Buffer
}

func play(b []byte) *tape { return &tape{in: bytes.NewReader(b)} }

func (c *tape) Read(p []byte) (int, error) {
	c.room = max(c.room, cap(p))
	return c.in.Read(p)
}

func (c *tape) Write(p []byte) (int, error) { return c.out.Write(p) }
func (c *tape) Close() error                { return nil }

// serve runs a server's side to its end on what a client said.
func serve(conn net.Conn, hello []byte) ([]byte, *noiseconn.Conn, error) {
	h := noiseconn.Server(conn, fixed(2))
	if err := h.Start(background); err != nil {
		return nil, nil, err
	}
	if err := h.Hello(background, serverStatic, hello); err != nil {
		return nil, nil, err
	}
	return h.Finish(background)
}

// dial runs a client's side to its end on what a server said.
func dial(conn net.Conn, payload []byte) (wire.ServerHello, *noiseconn.Conn, error) {
	h := noiseconn.Client(conn, fixed(1))
	hello, static, err := h.Hello(background)
	if err != nil {
		return hello, nil, err
	}
	if err := noiseconn.VerifyCertificate(&hello, static, now); err != nil {
		return hello, nil, err
	}
	c, err := h.Finish(background, clientStatic, payload)
	return hello, c, err
}

// says returns M2 of a server with a payload of its own, to the client that has the fixed randomness.
func says(t testing.TB, hello []byte) []byte {
	t.Helper()
	client := play(nil)
	if _, _, err := dial(client, nil); err != io.EOF {
		t.Fatalf("client alone: %v", err)
	}
	server := play(client.out.Bytes())
	if _, _, err := serve(server, hello); err != io.ErrUnexpectedEOF {
		t.Fatalf("server up to M2: %v", err)
	}
	return server.out.Bytes()
}

// asks returns all that a client sends with a payload of its own.
func asks(t testing.TB, payload []byte) []byte {
	t.Helper()
	client := play(recorded(t).toClient)
	if _, _, err := dial(client, payload); err != nil {
		t.Fatalf("client: %v", err)
	}
	return client.out.Bytes()
}

// A recording is every byte of one handshake with fixed randomness.
type recording struct{ toServer, toClient []byte }

var kept = struct {
	sync.Mutex
	*recording
}{}

func recorded(t testing.TB) *recording {
	t.Helper()
	kept.Lock()
	defer kept.Unlock()
	if kept.recording == nil {
		r := &recording{toClient: says(t, goodHello())}
		client := play(r.toClient)
		if _, _, err := dial(client, goodStart()); err != nil {
			t.Fatalf("client: %v", err)
		}
		if r.toServer = client.out.Bytes(); len(r.toServer) != helloSize+m3Size || len(r.toClient) != m2Size {
			t.Fatalf("%d bytes to the server and %d to the client", len(r.toServer), len(r.toClient))
		}
		kept.recording = r
	}
	return kept.recording
}

// payload is a change of its own: the peer is real and sends the data, sealed.
const payload = changes

// streamSeeds returns changes to a good stream, which has something of its own at each of the places.
func streamSeeds(good []byte, places ...int) (all []seed) {
	add := func(how int, at int, data []byte) { all = append(all, seed{uint8(how), uint16(at), data}) }
	add(asIs, 0, nil)
	add(asIs, 0, good)
	add(insert, len(good), []byte("and more"))
	for _, at := range places {
		add(over, at, []byte{good[at] ^ 1})
		add(over, at, []byte{good[at] ^ 0x80, 0xff})
		add(insert, at, []byte{0})
		add(cut, at, nil)
		add(cut, at, make([]byte, 64))
		add(drop, at, []byte{0})
	}
	return all
}

// handshakeSeeds is those of both sides; the first argument says which one is to be tested.
func handshakeSeeds(t testing.TB) (all []seed) {
	for _, s := range serverSeeds(t) {
		all = append(all, append(seed{false}, s...))
	}
	for _, s := range clientSeeds(t) {
		all = append(all, append(seed{true}, s...))
	}
	return all
}

// FuzzHandshake has a side of the handshake hear any stream, the good one with any change, or a real peer with any payload.
func FuzzHandshake(f *testing.F) {
	plant(f)
	f.Fuzz(func(t *testing.T, isClient bool, how uint8, at uint16, data []byte) {
		if isClient {
			clientHears(t, how, at, data)
		} else {
			serverHears(t, how, at, data)
		}
	})
}

func serverSeeds(t testing.TB) (all []seed) {
	raw := func(parts ...[]byte) { all = append(all, seed{uint8(asIs), uint16(0), concat(parts...)}) }
	all = streamSeeds(recorded(t).toServer, 0, 4, 5, 7, 8, 9, 10, 41, 42, 43, 44, 44+48, len(recorded(t).toServer)-1)
	for _, p := range []wire.Preface{{Version: 2, Suite: 1}, {Version: 1, Suite: 2}, {Version: 1, Suite: 1, Flags: 1}, {}} {
		b := p.Bytes()
		raw(b[:], frame(make([]byte, 32)))
	}
	preface := wire.Preface{Version: 1, Suite: 1}.Bytes()
	raw(preface[:], frame(make([]byte, 32))) // low order
	raw(preface[:], frame(append([]byte{1}, make([]byte, 31)...)), frame(make([]byte, 1088)))
	raw(preface[:], frame(make([]byte, 31)))
	raw(preface[:], frame(make([]byte, 513)))
	raw([]byte("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"))
	raw([]byte("SSH-2.0-OpenSSH_9.9\r\n"))
	raw([]byte{0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3})
	for _, n := range []int{0, 1, wire.AuthStartSize - 1, wire.AuthStartSize, wire.AuthStartSize + 1, 1104} {
		all = append(all, seed{uint8(payload), uint16(0), make([]byte, n)})
	}
	for _, c := range recordedConnections(t) {
		raw(c.toServer)
	}
	return all
}

// serverHears has a server hear any stream, the good one with any change, and a real client with any payload. What it
// accepts was said, to the byte, by a client that took part; it answers nobody else than the one who said a good M1.
func serverHears(t *testing.T, how uint8, at uint16, data []byte) {
	good, said, want := recorded(t).toServer, []byte(nil), goodStart()
	if how%(changes+1) == payload {
		data = data[:min(len(data), wire.MaxStartFrame-48-16)]
		said, want = asks(t, data), data
		good = said
	} else {
		said = change(good, how%(changes+1), at, data)
	}
	conn := play(said)
	got, c, err := serve(conn, goodHello())
	if isGood := bytes.HasPrefix(said, good); isGood != (err == nil) {
		t.Fatalf("the good stream is %v, the error %v", isGood, err)
	}
	if err == nil && (!bytes.Equal(got, want) || c.PeerStatic() != clientStatic.Public || conn.in.Len() > len(said)-len(good)) {
		t.Errorf("payload %x of %x, with %d bytes unread", got, c.PeerStatic(), conn.in.Len())
	}
	if err != nil && (got != nil || c != nil) {
		t.Errorf("%x, %v with %v", got, c, err)
	}
	if conn.room > wire.FrameHeaderSize+wire.MaxCheckingFrame { // a server reads ahead, into a buffer of this size
		t.Errorf("room for %d bytes", conn.room)
	}
	whole := len(said) >= helloSize && bytes.Equal(said[:10], good[:10])
	if answered := conn.out.Len() > 0; answered && (!whole || conn.out.Len() != m2Size) {
		t.Errorf("%d bytes in answer to %x", conn.out.Len(), said[:min(len(said), helloSize)])
	}
	if whole && lowOrder(said[10:helloSize]) && (!errors.Is(err, noiseconn.ErrLowOrder) || conn.out.Len() > 0) {
		t.Errorf("%d bytes in answer to a key of low order, %v", conn.out.Len(), err)
	}
	refuse(t, said, err)
}

// lowOrder knows the two points of low order that are found without looking for them: 0 and 1.
func lowOrder(key []byte) bool { return key[0] <= 1 && bytes.Count(key[1:], []byte{0}) == len(key)-1 }

// refuse has a server that did not understand the preface say so, which is 10 bytes.
func refuse(t *testing.T, said []byte, before error) {
	if !errors.Is(before, noiseconn.ErrVersion) {
		return
	}
	conn := play(said)
	h := noiseconn.Server(conn, fixed(2))
	if err := h.Start(background); !errors.Is(err, noiseconn.ErrVersion) {
		t.Fatalf("at second sight: %v", err)
	}
	if err := h.Refuse(wire.CodeVersion); err != nil || conn.out.Len() != wire.FrameHeaderSize+wire.RefusalSize {
		t.Errorf("%d bytes of refusal, %v", conn.out.Len(), err)
	}
	if err := h.Hello(background, serverStatic, goodHello()); err == nil {
		t.Error("the handshake goes on after its refusal")
	}
}

func clientSeeds(t testing.TB) (all []seed) {
	good := recorded(t).toClient
	all = streamSeeds(good, 0, 1, 2, 33, 34, 81, 82, len(good)-1)
	raw := func(b []byte) { all = append(all, seed{uint8(asIs), uint16(0), b}) }
	for code := range wire.Code(20) {
		raw(frame(wire.Refusal{Version: 1, Suite: 1, Code: code}.AppendTo(nil)))
	}
	raw(frame(wire.Refusal{Version: 255, Suite: 255, Code: wire.CodeVersion}.AppendTo(nil))[:9])
	raw(frame([]byte("htua\x01\x01\x00\x0a")))
	raw(frame(make([]byte, 448)))
	raw(frame(make([]byte, 513)))
	raw(frame(make([]byte, 9)))
	sealed := func(b []byte) { all = append(all, seed{uint8(payload), uint16(0), b}) }
	for _, b := range [][]byte{nil, goodHello(), goodHello()[:351], append(goodHello(), 0)[:353], goodStart()[:400], make([]byte, 352)} {
		sealed(b)
	}
	for _, h := range vectorHellos(t) {
		sealed(h.AppendTo(nil))
	}
	for _, c := range recordedConnections(t) {
		raw(c.toClient)
	}
	return all
}

// clientHears has a client hear any stream, the good one with any change, and a real server that says anything as
// its ServerHello. Its static key goes to nobody but a server that took part and is certified.
func clientHears(t *testing.T, how uint8, at uint16, data []byte) {
	good, said, want := recorded(t).toClient, []byte(nil), goodHello()
	if how%(changes+1) == payload {
		want = data[:min(len(data), wire.MaxHandshakeFrame-32-48-16)]
		said = says(t, want)
		good = said
	} else {
		said = change(good, how%(changes+1), at, data)
	}
	conn := play(said)
	hello, c, err := dial(conn, goodStart())
	expected, malformed := wire.ParseServerHello(want)
	isGood := bytes.HasPrefix(said, good) && malformed == nil
	if isGood && noiseconn.VerifyCertificate(&expected, serverStatic.Public, now) == nil {
		if err != nil || hello != expected || c.PeerStatic() != serverStatic.Public || conn.out.Len() != helloSize+m3Size {
			t.Fatalf("%+v, %d bytes sent, %v", hello, conn.out.Len(), err)
		}
	} else if err == nil || c != nil || conn.out.Len() != helloSize {
		t.Fatalf("accepts %x: %d bytes sent, %v", said, conn.out.Len(), err)
	}
	if conn.room > wire.MaxHandshakeFrame {
		t.Errorf("room for %d bytes", conn.room)
	}
	judgeRefusal(t, said, err)
}

// judgeRefusal holds that a refusal is taken for one exactly where PROTOCOL 2 has one.
func judgeRefusal(t *testing.T, said []byte, err error) {
	var refused *noiseconn.RefusedError
	is := len(said) >= 10 && string(said[:6]) == "\x00\x08auth"
	if is {
		code := wire.Code(binary.BigEndian.Uint16(said[8:]))
		is = code == wire.CodeVersion || code == wire.CodeOverloaded
		if is && (!errors.Is(err, code) || errors.Is(err, noiseconn.ErrHandshake)) {
			t.Errorf("%x: %v", said[:10], err)
		}
	}
	if errors.As(err, &refused) != is {
		t.Errorf("%x: a refusal is %v, the error %v", said[:min(len(said), 10)], is, err)
	}
}
