package noiseconn

import (
	"bytes"
	"context"
	"net"
	"runtime"
	"testing"
	"time"

	"github.com/authsrv/authsrv/wire"
	"github.com/flynn/noise"
)

// BenchmarkServerHandshake measures the server's side alone: what a client said is recorded, and good
// for as long as the server's ephemeral key is the same.
func BenchmarkServerHandshake(b *testing.B) {
	for name, s := range map[string]noise.CipherSuite{
		"ours":    suite,
		"default": noise.NewCipherSuite(noise.DH25519, noise.CipherChaChaPoly, noise.HashSHA256),
	} {
		r := record(b, s)
		hello := testHello(serverStatic, time.Unix(1_800_000_000, 0))
		encoded := hello.AppendTo(nil)
		ctx := context.Background()
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				h := newServer(play(r.toServer), fixed(2), s)
				if err := h.Start(ctx); err != nil {
					b.Fatal(err)
				}
				if err := h.Hello(ctx, serverStatic, encoded); err != nil {
					b.Fatal(err)
				}
				if _, _, err := h.Finish(ctx); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkClientHandshake measures the client's side alone, in the same way, with the certificate's check.
func BenchmarkClientHandshake(b *testing.B) {
	r := record(b, suite)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := dial(play(r.toClient), fixed(1), suite); err != nil {
			b.Fatal(err)
		}
	}
}

var sizes = map[string]int{"64B": 64, "1KiB": 1024, "16KiB": MaxPlaintext}

func BenchmarkWriteMessage(b *testing.B) {
	r := record(b, suite)
	r.client.conn = discard{}
	for name, size := range sizes {
		message := make([]byte, size)
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(size))
			for b.Loop() {
				if err := r.client.WriteMessage(message); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

type discard struct{ net.Conn }

func (discard) Write(p []byte) (int, error) { return len(p), nil }

func BenchmarkReadMessage(b *testing.B) {
	for name, size := range sizes {
		b.Run(name, func(b *testing.B) {
			r := record(b, suite)
			var record sink
			r.client.conn = &record
			r.client.WriteMessage(make([]byte, size))
			again := &loop{b: record.Bytes()}
			r.server.in.frames = wire.NewFrameReader(again)
			b.ReportAllocs()
			b.SetBytes(int64(size))
			for b.Loop() {
				r.server.in.cipher.SetNonce(0) // so that the one record is always the next
				if _, err := r.server.ReadMessage(wire.MaxSessionFrame); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// loop is a stream of the same bytes over and over.
type loop struct {
	b  []byte
	at int
}

func (l *loop) Read(p []byte) (int, error) {
	n := copy(p, l.b[l.at:])
	l.at = (l.at + n) % len(l.b)
	return n, nil
}

// BenchmarkIdle reports the memory of one end of a connection that has read and written records as long as those of
// a login, and is idle.
func BenchmarkIdle(b *testing.B) {
	const ends = 1000
	for b.Loop() {
		open := make([]*Conn, 0, ends)
		before := heap()
		for range ends {
			r := record(b, suite)
			r.server.conn = discard{}
			r.client.conn = &sink{}
			r.client.WriteMessage(make([]byte, 512))
			r.server.in.frames = wire.NewFrameReader(r.client.conn)
			if _, err := r.server.ReadMessage(wire.MaxLoginFrame); err != nil {
				b.Fatal(err)
			}
			if err := r.server.WriteMessage(make([]byte, 1024)); err != nil {
				b.Fatal(err)
			}
			r.client.conn.(*sink).Buffer = bytes.Buffer{} // is the test's
			open = append(open, r.server)
		}
		b.ReportMetric(float64(heap()-before)/ends, "B/conn")
		runtime.KeepAlive(open)
	}
}

func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
