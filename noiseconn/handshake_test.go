package noiseconn

import (
	"bytes"
	"errors"
	"io"
	"os"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/authsrv/authsrv/wire"
)

func TestHandshake(t *testing.T) {
	for name, connect := range map[string]func(testing.TB) (*Conn, *Conn){"pipe": pipe, "tcp": loopback} {
		t.Run(name, func(t *testing.T) {
			client, server := connect(t)
			if client.HandshakeHash() != server.HandshakeHash() || client.HandshakeHash() == [32]byte{} {
				t.Errorf("handshake hashes are %x and %x", client.HandshakeHash(), server.HandshakeHash())
			}
			if client.PeerStatic() != serverStatic.Public || server.PeerStatic() != clientStatic.Public {
				t.Errorf("peers are %x and %x", client.PeerStatic(), server.PeerStatic())
			}
			if client.LocalAddr().String() != server.RemoteAddr().String() {
				t.Errorf("addresses are %v and %v", client.LocalAddr(), server.RemoteAddr())
			}
			again, _ := connect(t)
			if again.HandshakeHash() == client.HandshakeHash() {
				t.Error("two connections have one handshake hash")
			}
		})
	}
}

// TestSizes holds what is on the wire against the table of PROTOCOL 3, to the byte.
func TestSizes(t *testing.T) {
	r := record(t, suite)
	if got, want := len(r.toServer), 8+2+32+2+1088; got != want {
		t.Errorf("client sends %d bytes, want %d", got, want)
	}
	if got, want := len(r.toClient), 2+448; got != want {
		t.Errorf("server sends %d bytes, want %d", got, want)
	}
	if head := r.toServer[:10]; !bytes.Equal(head, []byte{0x61, 0x75, 0x74, 0x68, 1, 1, 0, 0, 0, 32}) {
		t.Errorf("client begins with %x", head)
	}
}

// TestTamperedClient flips one bit of each byte that a client sends.
func TestTamperedClient(t *testing.T) {
	r := record(t, suite)
	const m1, m3 = 8 + 2, 8 + 2 + 32 + 2
	for i := range r.toServer {
		b := bytes.Clone(r.toServer)
		b[i] ^= 1 << (i % 8)
		conn := play(b)
		_, _, err := serve(conn, fixed(2), suite)
		switch {
		case i < 4:
			expect(t, i, err, ErrPreface)
		case i < 8:
			expect(t, i, err, ErrVersion)
		case i >= m1 && i < m1+32 || i >= m3:
			expect(t, i, err, ErrHandshake)
		case err == nil:
			t.Errorf("byte %d, of a length, can be changed", i)
		}
		if i < m1 || i >= m1+32 {
			continue
		}
		// The client whose M1 arrived otherwise does not take the answer to it.
		_, err = dial(play(conn.out.Bytes()), fixed(1), suite)
		expect(t, i, err, ErrHandshake)
	}
}

func expect(t *testing.T, i int, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("with byte %d changed: %v, want %v", i, err, want)
	}
}

// TestTamperedServer flips one bit of each byte that a server sends.
func TestTamperedServer(t *testing.T) {
	r := record(t, suite)
	for i := range r.toClient {
		b := bytes.Clone(r.toClient)
		b[i] ^= 1 << (i % 8)
		conn := play(b)
		_, err := dial(conn, fixed(1), suite)
		if i >= 2 {
			expect(t, i, err, ErrHandshake)
		} else if err == nil {
			t.Errorf("byte %d, of the length, can be changed", i)
		}
		if conn.out.Len() != 8+2+32 {
			t.Errorf("with byte %d changed: the client sent %d bytes", i, conn.out.Len())
		}
	}
}

func TestTruncated(t *testing.T) {
	r := record(t, suite)
	for n := range r.toServer {
		want := io.ErrUnexpectedEOF
		if n == 0 {
			want = io.EOF
		}
		if _, _, err := serve(play(r.toServer[:n]), fixed(2), suite); err != want {
			t.Errorf("server, after %d bytes: %v, want %v", n, err, want)
		}
	}
	for n := range r.toClient {
		want := io.ErrUnexpectedEOF
		if n == 0 {
			want = io.EOF
		}
		if _, err := dial(play(r.toClient[:n]), fixed(1), suite); err != want {
			t.Errorf("client, after %d bytes: %v, want %v", n, err, want)
		}
	}
}

func TestSlowPeer(t *testing.T) {
	r := record(t, suite)
	conn := &tape{in: iotest.OneByteReader(bytes.NewReader(r.toServer))}
	if _, _, err := serve(conn, fixed(2), suite); err != nil {
		t.Error(err)
	}
}

func TestReplay(t *testing.T) {
	r := record(t, suite)
	if _, _, err := serve(play(r.toServer), nil, suite); !errors.Is(err, ErrHandshake) {
		t.Errorf("a recorded client and a new server: %v", err)
	}
	if _, err := dial(play(r.toClient), nil, suite); !errors.Is(err, ErrHandshake) {
		t.Errorf("a recorded server and a new client: %v", err)
	}
	if _, err := dial(play(r.toServer[8:]), fixed(1), suite); !errors.Is(err, ErrHandshake) {
		t.Errorf("a client that hears itself: %v", err)
	}
}

// TestHandshakeFrames gives each side frames that are not as the protocol has them.
func TestHandshakeFrames(t *testing.T) {
	r := record(t, suite)
	m1, m3 := r.toServer[:42], r.toServer[42:]
	preface := m1[:8:8]
	frame := func(n int) []byte { return append([]byte{byte(n >> 8), byte(n)}, make([]byte, n)...) }
	long := bytes.Clone(m1)
	long[9] = 33
	tests := []struct {
		name     string
		toServer []byte // or
		toClient []byte
		want     error
	}{
		{"M1 empty", append(preface, frame(0)...), nil, wire.ErrFrameSize},
		{"M1 of 31 bytes", append(preface, frame(31)...), nil, ErrHandshake},
		{"M1 of 33 bytes", append(long, 0), nil, ErrHandshake},
		{"M1 at its cap", append(preface, frame(512)...), nil, ErrHandshake},
		{"M1 over its cap", append(preface, frame(513)...), nil, wire.ErrFrameSize},
		{"M3 empty", append(m1[:42:42], frame(0)...), nil, wire.ErrFrameSize},
		{"M3 too short for a key", append(m1[:42:42], frame(47)...), nil, ErrHandshake},
		{"M3 at its cap", append(m1[:42:42], frame(1104)...), nil, ErrHandshake},
		{"M3 over its cap", append(m1[:42:42], frame(1105)...), nil, wire.ErrFrameSize},
		{"M3 in the place of M1", append(preface, m3...), nil, wire.ErrFrameSize},
		{"M1 twice", append(m1[:42:42], m1[8:]...), nil, ErrHandshake},
		{"M2 empty", nil, frame(0), wire.ErrFrameSize},
		{"M2 too short for a key", nil, frame(79), ErrHandshake},
		{"M2 over its cap", nil, frame(513), wire.ErrFrameSize},
		{"8 bytes that are no refusal", nil, frame(8), ErrHandshake},
		{"refusal with a code that is not for it", nil, []byte("\x00\x08auth\x01\x01\x00\x01"), ErrHandshake},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var err error
			if test.toServer != nil {
				_, _, err = serve(play(test.toServer), fixed(2), suite)
			} else {
				_, err = dial(play(test.toClient), fixed(1), suite)
			}
			if !errors.Is(err, test.want) {
				t.Errorf("%v, want %v", err, test.want)
			}
		})
	}
}

// TestBadHello has a server whose M2 is sound but for what is in it.
func TestBadHello(t *testing.T) {
	hello := testHello(serverStatic, time.Unix(1_800_000_000, 0))
	good := hello.AppendTo(nil)
	for _, payload := range [][]byte{nil, good[:len(good)-1], append(good, 0), bytes.Repeat([]byte{1}, len(good))} {
		first := play(nil)
		dial(first, fixed(1), suite)
		conn := play(first.out.Bytes())
		h := Server(conn, fixed(2))
		if err := errors.Join(h.Start(t.Context()), h.Hello(t.Context(), serverStatic, payload)); err != nil {
			t.Fatal(err)
		}
		_, err := dial(play(conn.out.Bytes()), fixed(1), suite)
		if !errors.Is(err, ErrHandshake) || !errors.Is(err, wire.ErrMalformed) {
			t.Errorf("ServerHello of %d bytes: %v", len(payload), err)
		}
	}
}

// TestTooLong has payloads that do not fit, which are never sent.
func TestTooLong(t *testing.T) {
	r := record(t, suite)
	conn := play(r.toServer)
	server := Server(conn, fixed(2))
	if err := server.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := server.Hello(t.Context(), serverStatic, make([]byte, wire.MaxHandshakeFrame-96+1)); err != wire.ErrFrameSize {
		t.Errorf("M2 that is too long: %v", err)
	}
	if conn.out.Len() != 0 {
		t.Errorf("the server sent %d bytes", conn.out.Len())
	}
	conn = play(r.toClient)
	client := Client(conn, fixed(1))
	if _, _, err := client.Hello(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := client.Finish(t.Context(), clientStatic, make([]byte, wire.MaxStartFrame-64+1)); err != wire.ErrFrameSize {
		t.Errorf("M3 that is too long: %v", err)
	}
	if conn.out.Len() != 42 {
		t.Errorf("the client sent %d bytes", conn.out.Len())
	}
}

// lowOrderPoints are all encodings of points whose multiples by a clamped scalar are zero (RFC 7748, section 6.1;
// the list is that of https://cr.yp.to/ecdh.html), without those that differ only in the bit that is ignored.
func lowOrderPoints(t testing.TB) [][32]byte {
	var points [][32]byte
	for _, s := range []string{
		"0000000000000000000000000000000000000000000000000000000000000000", // 0
		"0100000000000000000000000000000000000000000000000000000000000000", // 1
		"e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800", // of order 8
		"5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157", // of order 8
		"ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f", // p - 1
		"edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f", // p
		"eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f", // p + 1
	} {
		var h hexBytes
		if err := h.UnmarshalText([]byte(s)); err != nil {
			t.Fatal(err)
		}
		point := [32]byte(h)
		high := point
		high[31] |= 0x80
		points = append(points, point, high)
	}
	return points
}

// TestLowOrder has each side send each point of low order, as its ephemeral and as its static key.
func TestLowOrder(t *testing.T) {
	r := record(t, suite)
	for _, point := range lowOrderPoints(t) {
		m1 := bytes.Clone(r.toServer[:42])
		copy(m1[10:], point[:])
		conn := play(m1)
		if _, _, err := serve(conn, fixed(2), suite); !errors.Is(err, ErrLowOrder) || conn.out.Len() != 0 {
			t.Errorf("%x as e of M1: %v, and %d bytes sent", point, err, conn.out.Len())
		}
		m2 := bytes.Clone(r.toClient)
		copy(m2[2:], point[:])
		if _, err := dial(play(m2), fixed(1), suite); !errors.Is(err, ErrLowOrder) {
			t.Errorf("%x as e of M2: %v", point, err)
		}

		conn = play(r.toServer)
		server := Server(conn, fixed(2))
		bad := StaticKey{Private: serverStatic.Private, Public: point}
		hello := testHello(bad, time.Unix(1_800_000_000, 0))
		if err := errors.Join(server.Start(t.Context()), server.Hello(t.Context(), bad, hello.AppendTo(nil))); err != nil {
			t.Fatal(err)
		}
		if _, err := dial(play(conn.out.Bytes()), fixed(1), suite); !errors.Is(err, ErrLowOrder) {
			t.Errorf("%x as s of M2: %v", point, err)
		}

		conn = play(r.toClient)
		client := Client(conn, fixed(1))
		if _, _, err := client.Hello(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, err := client.Finish(t.Context(), StaticKey{Private: clientStatic.Private, Public: point}, startPayload); err != nil {
			t.Fatal(err)
		}
		if _, _, err := serve(play(conn.out.Bytes()), fixed(2), suite); !errors.Is(err, ErrLowOrder) {
			t.Errorf("%x as s of M3: %v", point, err)
		}
	}
}

func TestRefuse(t *testing.T) {
	r := record(t, suite)
	for _, test := range []struct {
		name string
		at   int  // of the client's bytes
		to   byte // instead
		want error
		code wire.Code
	}{
		{"version", 4, 2, ErrVersion, wire.CodeVersion},
		{"suite", 5, 2, ErrVersion, wire.CodeVersion},
		{"flags", 6, 1, ErrVersion, wire.CodeVersion},
		{"load", 4, 1, nil, wire.CodeOverloaded},
	} {
		t.Run(test.name, func(t *testing.T) {
			b := bytes.Clone(r.toServer)
			b[test.at] = test.to
			conn := play(b)
			server := Server(conn, nil)
			if err := server.Start(t.Context()); err != test.want {
				t.Fatalf("Start: %v, want %v", err, test.want)
			}
			if err := server.Refuse(test.code); err != nil {
				t.Fatal(err)
			}
			want := []byte{0, 8, 'a', 'u', 't', 'h', 1, 1, 0, byte(test.code)}
			if !bytes.Equal(conn.out.Bytes(), want) {
				t.Errorf("refusal is %x, want %x", conn.out.Bytes(), want)
			}
			if err := server.Hello(t.Context(), serverStatic, nil); err == nil {
				t.Error("Hello goes on after a refusal")
			}
			if err := server.Refuse(test.code); err != ErrStep {
				t.Errorf("a second refusal: %v", err)
			}
			_, err := dial(play(want), nil, suite)
			var refused *RefusedError
			if !errors.As(err, &refused) || !errors.Is(err, test.code) {
				t.Fatalf("client: %v", err)
			}
			if refused.Refusal != (wire.Refusal{Version: 1, Suite: 1, Code: test.code}) {
				t.Errorf("client: %+v", refused.Refusal)
			}
			if !strings.Contains(err.Error(), "unauthenticated") {
				t.Errorf("client: %q", err)
			}
		})
	}
	server := Server(play(r.toServer), nil)
	hello := testHello(serverStatic, time.Now())
	if err := errors.Join(server.Start(t.Context()), server.Hello(t.Context(), serverStatic, hello.AppendTo(nil))); err != nil {
		t.Fatal(err)
	}
	if err := server.Refuse(wire.CodeOverloaded); err != ErrStep {
		t.Errorf("a refusal behind M2: %v", err)
	}
}

func TestSteps(t *testing.T) {
	r := record(t, suite)
	client := Client(play(nil), nil)
	if _, err := client.Finish(t.Context(), clientStatic, nil); err != ErrStep {
		t.Errorf("Finish before Hello: %v", err)
	}
	_, _, err := client.Hello(t.Context())
	if err != io.EOF {
		t.Fatalf("Hello without an answer: %v", err)
	}
	if _, err := client.Finish(t.Context(), clientStatic, nil); err != io.EOF {
		t.Errorf("Finish after Hello failed: %v", err)
	}
	server := Server(play(r.toServer), fixed(2))
	if err := server.Hello(t.Context(), serverStatic, nil); err != ErrStep {
		t.Errorf("Hello before Start: %v", err)
	}
	if _, _, err := server.Finish(t.Context()); err != ErrStep {
		t.Errorf("Finish before Start: %v", err)
	}
	if err := server.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := server.Start(t.Context()); err != ErrStep {
		t.Errorf("Start twice: %v", err)
	}
	if _, err := dial(play(nil), iotest.ErrReader(os.ErrInvalid), suite); !errors.Is(err, os.ErrInvalid) {
		t.Errorf("without randomness: %v", err)
	}
	if _, err := NewStaticKey(iotest.ErrReader(os.ErrInvalid)); !errors.Is(err, os.ErrInvalid) {
		t.Errorf("NewStaticKey without randomness: %v", err)
	}
}
