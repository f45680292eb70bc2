package authtest

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"testing"

	"github.com/authsrv/authsrv/noiseconn"
	"github.com/authsrv/authsrv/wire"
)

// stream is randomness that is the same in every run, and remembers what was taken.
type stream struct {
	mu    sync.Mutex
	from  *rand.ChaCha8
	taken [][]byte
}

func newStream(what string) *stream {
	return &stream{from: rand.NewChaCha8(sha256.Sum256([]byte("authsrv recording: " + what)))}
}

func (s *stream) Read(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.from.Read(p)
	s.taken = append(s.taken, append([]byte(nil), p...))
	return len(p), nil
}

// key returns the n-th of what was taken.
func (s *stream) key(t *testing.T, n int) [32]byte {
	t.Helper()
	if n >= len(s.taken) || len(s.taken[n]) != 32 {
		t.Fatalf("there is no key %d in %d", n, len(s.taken))
	}
	return [32]byte(s.taken[n])
}

// tap is a connection that writes down what passes, in the order in which it was said.
type tap struct {
	mu    sync.Mutex
	said  []said
	ended chan struct{} // the server has closed
}

type said struct {
	toServer bool
	bytes    []byte
}

func (p *tap) write(conn net.Conn, toServer bool, b []byte) (int, error) {
	p.mu.Lock()
	i := len(p.said)
	p.said = append(p.said, said{toServer, append([]byte(nil), b...)})
	p.mu.Unlock()
	n, err := conn.Write(b)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.said[i].bytes = p.said[i].bytes[:n]
	return n, err
}

// clientTap waits with its end until a server that was told goodbye has closed, so that its answer is heard.
type clientTap struct {
	net.Conn
	tap *tap
}

func (c *clientTap) Write(b []byte) (int, error) { return c.tap.write(c.Conn, true, b) }

func (c *clientTap) Close() error {
	c.tap.mu.Lock()
	last := len(c.tap.said) - 1
	polite := last >= 0 && len(c.tap.said[last].bytes) < 32 // Bye, or Goodbye, is the shortest of frames
	c.tap.mu.Unlock()
	if polite {
		<-c.tap.ended
	}
	return c.Conn.Close()
}

type serverTap struct {
	net.Conn
	tap  *tap
	once sync.Once
}

func (c *serverTap) Write(b []byte) (int, error) { return c.tap.write(c.Conn, false, b) }

func (c *serverTap) Close() error {
	err := c.Conn.Close()
	c.once.Do(func() { close(c.tap.ended) })
	return err
}

// connect is Connect through the tap.
func (p *tap) connect(s *Server) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, _, _ string) (net.Conn, error) {
		p.ended = make(chan struct{})
		here, there := net.Pipe()
		select {
		case s.listener.conns <- &serverTap{Conn: pipeEnd{there, clientAddr}, tap: p}:
			return &clientTap{pipeEnd{here, serverAddr}, p}, nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// script is a connection on which one side has already said everything.
type script struct {
	net.Conn
	io.Reader
}

func (s *script) Read(p []byte) (int, error)  { return s.Reader.Read(p) }
func (s *script) Write(p []byte) (int, error) { return len(p), nil }
func (s *script) Close() error                { return nil }

// secretKeys are the private X25519 keys of a connection.
type secretKeys struct{ clientEphemeral, clientStatic, serverEphemeral, serverStatic [32]byte }

// frame is one frame, or the preface, with what is in it.
type frame struct {
	said
	plaintext []byte // of the payload or record
}

// open plays both sides of a recorded connection again, each against what the other one said, and so finds the
// plaintext of everything; and the handshake hash.
func (p *tap) open(t *testing.T, keys secretKeys) (frames []frame, h [32]byte) {
	t.Helper()
	for _, s := range p.said {
		if len(frames) == 0 {
			frames = append(frames, frame{said: said{true, s.bytes[:wire.PrefaceSize]}})
			s.bytes = s.bytes[wire.PrefaceSize:]
		}
		for len(s.bytes) > 0 {
			n := wire.FrameHeaderSize + int(binary.BigEndian.Uint16(s.bytes))
			frames = append(frames, frame{said: said{s.toServer, s.bytes[:n]}})
			s.bytes = s.bytes[n:]
		}
	}
	toServer, toClient := new(joined), new(joined)
	for _, f := range frames {
		if f.toServer {
			*toServer = append(*toServer, f.bytes...)
		} else {
			*toClient = append(*toClient, f.bytes...)
		}
	}
	ctx := t.Context()
	client := noiseconn.Client(&script{Reader: toClient}, &once{keys.clientEphemeral})
	hello, _, err := client.Hello(ctx)
	if err != nil {
		t.Fatalf("client: %v", err)
	}
	server := noiseconn.Server(&script{Reader: toServer}, &once{keys.serverEphemeral})
	if err := server.Start(ctx); err != nil {
		t.Fatalf("server: %v", err)
	}
	if err := server.Hello(ctx, noiseconn.StaticFromPrivate(keys.serverStatic), hello.AppendTo(nil)); err != nil {
		t.Fatalf("server: %v", err)
	}
	start, atServer, err := server.Finish(ctx)
	if err != nil {
		t.Fatalf("server: %v", err)
	}
	atClient, err := client.Finish(ctx, noiseconn.StaticFromPrivate(keys.clientStatic), start)
	if err != nil {
		t.Fatalf("client: %v", err)
	}
	frames[2].plaintext, frames[3].plaintext = hello.AppendTo(nil), append([]byte(nil), start...)
	for i := 4; i < len(frames); i++ {
		from := atClient
		if frames[i].toServer {
			from = atServer
		}
		b, err := from.ReadMessage(wire.MaxSessionFrame)
		if err != nil {
			t.Fatalf("frame %d: %v", i, err)
		}
		frames[i].plaintext = append([]byte(nil), b...)
	}
	if atClient.HandshakeHash() != atServer.HandshakeHash() {
		t.Fatal("the two sides have different handshake hashes")
	}
	return frames, atClient.HandshakeHash()
}

// joined reads what was appended.
type joined []byte

func (j *joined) Read(p []byte) (int, error) {
	if len(*j) == 0 {
		return 0, io.EOF
	}
	n := copy(p, *j)
	*j = (*j)[n:]
	return n, nil
}

// once is a source of one key.
type once struct{ key [32]byte }

func (o *once) Read(p []byte) (int, error) { return copy(p, o.key[:]), nil }
