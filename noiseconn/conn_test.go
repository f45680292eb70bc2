package noiseconn

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/authsrv/authsrv/internal/spec"
	"github.com/authsrv/authsrv/wire"
)

// sink is a connection that is only written to, and counts how often.
type sink struct {
	net.Conn // nil
	bytes.Buffer
	writes int
}

func (s *sink) Write(p []byte) (int, error) { s.writes++; return s.Buffer.Write(p) }
func (s *sink) Read(p []byte) (int, error)  { return s.Buffer.Read(p) }
func (s *sink) Close() error                { return nil }

// through returns the two ends of a recorded handshake, of which the client's writes to, and the server's reads
// from, memory.
func through(t testing.TB) (client, server *Conn, between *sink) {
	r := record(t, suite)
	between = new(sink)
	r.client.conn = between
	r.server.in.frames = wire.NewFrameReader(between)
	return r.client, r.server, between
}

func TestMessages(t *testing.T) {
	client, server, between := through(t)
	for n, size := range []int{0, 1, 1040, MaxPlaintext} {
		message := bytes.Repeat([]byte{byte(n)}, size)
		if err := client.WriteMessage(message); err != nil {
			t.Fatal(err)
		}
		if between.writes != n+1 || between.Len() != 2+size+16 {
			t.Errorf("record %d is %d bytes after %d writes", n, between.Len(), between.writes)
		}
		got, err := server.ReadMessage(size + 16)
		if err != nil || !bytes.Equal(got, message) {
			t.Errorf("record %d of %d bytes is read as %d bytes, %v", n, size, len(got), err)
		}
	}
	if err := client.WriteMessage(make([]byte, MaxPlaintext+1)); err != wire.ErrFrameSize || between.Len() != 0 {
		t.Errorf("a record that is too long: %v, and %d bytes sent", err, between.Len())
	}
	if err := client.WriteMessage([]byte("again")); err != nil {
		t.Errorf("the next one: %v", err)
	}
	if _, err := server.ReadMessage(4 + 16); err != wire.ErrFrameSize {
		t.Errorf("a record over the reader's cap: %v", err)
	}
	if _, err := server.ReadMessage(wire.MaxSessionFrame); err != wire.ErrFrameSize {
		t.Errorf("the read after it: %v", err)
	}
}

func TestStream(t *testing.T) {
	client, server := pipe(t)
	want := make([]byte, 100_000)
	random := rand.NewChaCha8([32]byte{1})
	random.Read(want)
	go func() {
		client.Write(nil)
		client.Write(want[:1])
		client.WriteMessage(nil) // is nothing in a stream
		client.Write(want[1:])
		client.Close()
	}()
	var got []byte
	for {
		p := make([]byte, 1+random.Uint64()%40_000)
		n, err := server.Read(p)
		got = append(got, p[:n]...)
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(got, want) {
		t.Errorf("stream of %d bytes is read as %d bytes", len(want), len(got))
	}
	if n, err := server.Read(nil); n != 0 || err != nil {
		t.Errorf("Read of nothing: %d, %v", n, err)
	}
}

func TestStreamSplits(t *testing.T) {
	client, _, between := through(t)
	n, err := client.Write(make([]byte, 2*MaxPlaintext+1))
	if n != 2*MaxPlaintext+1 || err != nil || between.writes != 3 || between.Len() != n+3*(2+16) {
		t.Errorf("%d, %v, in %d writes of %d bytes", n, err, between.writes, between.Len())
	}
}

// TestConcurrent has several writers on each side, and one reader, at the same time.
func TestConcurrent(t *testing.T) {
	const writers, messages = 4, 100
	for name, connect := range map[string]func(testing.TB) (*Conn, *Conn){"pipe": pipe, "tcp": loopback} {
		t.Run(name, func(t *testing.T) {
			client, server := connect(t)
			var all sync.WaitGroup
			for _, way := range [][2]*Conn{{client, server}, {server, client}} {
				for w := range writers {
					all.Go(func() {
						for i := range messages {
							m := append([]byte{byte(w), byte(i)}, make([]byte, w*i)...)
							if err := way[0].WriteMessage(m); err != nil {
								t.Error(err)
							}
						}
					})
				}
				all.Go(func() {
					var next [writers]int
					for range writers * messages {
						m, err := way[1].ReadMessage(wire.MaxSessionFrame)
						if err != nil {
							t.Error(err)
							return
						}
						w, i := int(m[0]), int(m[1])
						if i != next[w] || len(m) != 2+w*i {
							t.Errorf("writer %d: message %d of %d bytes, want message %d", w, i, len(m), next[w])
						}
						next[w]++
					}
				})
			}
			all.Wait()
		})
	}
}

// TestWriteIsWhole has two streams of several records, none of which is cut by the other.
func TestWriteIsWhole(t *testing.T) {
	client, server := pipe(t)
	const size = 2*MaxPlaintext + 5
	for b := range byte(2) {
		go client.Write(bytes.Repeat([]byte{b}, size))
	}
	got := make([]byte, 2*size)
	if _, err := io.ReadFull(server, got); err != nil {
		t.Fatal(err)
	}
	if len(slices.Compact(got)) != 2 {
		t.Error("one Write cuts into another")
	}
}

// TestTamperedRecord flips one bit of each byte of a record, and moves, repeats, drops and reflects whole ones.
func TestTamperedRecord(t *testing.T) {
	message := func() []byte { return []byte("a message") }
	frame := 2 + len(message()) + 16
	for i := range frame {
		client, server, between := through(t)
		client.WriteMessage(message())
		between.Bytes()[i] ^= 1 << (i % 8)
		_, err := server.ReadMessage(wire.MaxSessionFrame)
		if i >= 2 {
			expect(t, i, err, ErrRecord)
		} else if err == nil {
			t.Errorf("byte %d, of the length, can be changed", i)
		}
		client.WriteMessage(message())
		if _, again := server.ReadMessage(wire.MaxSessionFrame); again != err {
			t.Errorf("with byte %d changed: the next record: %v", i, again)
		}
	}
	client, server, between := through(t)
	client.WriteMessage(message())
	client.WriteMessage(message())
	records := bytes.Clone(between.Bytes())
	one, two := records[:frame], records[frame:]
	for name, b := range map[string][]byte{
		"repeated": append(one[:frame:frame], one...), "moved": append(two[:frame:frame], one...), "dropped": two,
		"short": {0, 15, 14: 0, 15: 0, 16: 0}, "bare tag": append([]byte{0, 16}, make([]byte, 16)...),
	} {
		_, server, between := through(t)
		between.Buffer.Write(b)
		_, err := io.Copy(io.Discard, server)
		if !errors.Is(err, ErrRecord) {
			t.Errorf("record %s: %v", name, err)
		}
	}
	client.in.frames = wire.NewFrameReader(bytes.NewReader(one))
	if _, err := client.ReadMessage(wire.MaxSessionFrame); !errors.Is(err, ErrRecord) {
		t.Errorf("record reflected: %v", err)
	}
	if _, err := io.ReadAll(server); err != nil {
		t.Errorf("records as they were sent: %v", err)
	}
}

func TestTruncatedRecord(t *testing.T) {
	client, _, between := through(t)
	client.WriteMessage([]byte("a message"))
	record := bytes.Clone(between.Bytes())
	for n := range record {
		_, server, between := through(t)
		between.Buffer.Write(record[:n])
		want := io.ErrUnexpectedEOF
		if n == 0 {
			want = io.EOF
		}
		if _, err := server.ReadMessage(wire.MaxSessionFrame); err != want {
			t.Errorf("after %d bytes: %v, want %v", n, err, want)
		}
	}
}

func TestRecordLimit(t *testing.T) {
	client, server, between := through(t)
	client.out.cipher.SetNonce(maxRecords - 1)
	server.in.cipher.SetNonce(maxRecords - 1)
	if err := client.WriteMessage([]byte("last")); err != nil {
		t.Fatal(err)
	}
	if m, err := server.ReadMessage(wire.MaxSessionFrame); err != nil || string(m) != "last" {
		t.Fatalf("%q, %v", m, err)
	}
	if err := client.WriteMessage(nil); err != ErrRecordLimit || between.Len() != 0 {
		t.Errorf("a record more: %v, and %d bytes sent", err, between.Len())
	}
	if n, err := client.Write([]byte{1}); n != 0 || err != ErrRecordLimit {
		t.Errorf("a byte more: %d, %v", n, err)
	}
	between.Buffer.Write(make([]byte, 100))
	if _, err := server.ReadMessage(wire.MaxSessionFrame); err != ErrRecordLimit || between.Len() != 100 {
		t.Errorf("a record more: %v, and %d bytes read", err, 100-between.Len())
	}
}

// failing is a connection that takes half of what is written.
type failing struct{ net.Conn }

func (failing) Write(p []byte) (int, error) { return len(p) / 2, io.ErrClosedPipe }

func TestWriteErrorIsPermanent(t *testing.T) {
	client, _, between := through(t)
	client.conn = failing{}
	if n, err := client.Write([]byte("hello")); n != 0 || err != io.ErrClosedPipe {
		t.Errorf("%d, %v", n, err)
	}
	client.conn = between
	if err := client.WriteMessage([]byte("hello")); err != io.ErrClosedPipe || between.Len() != 0 {
		t.Errorf("the next write: %v, and %d bytes sent", err, between.Len())
	}
}

// TestAllocations holds records to what a connection in use may cost: nothing.
func TestAllocations(t *testing.T) {
	client, server, _ := through(t)
	message := make([]byte, 1024)
	allocs := testing.AllocsPerRun(1000, func() {
		if err := client.WriteMessage(message); err != nil {
			t.Fatal(err)
		}
		if _, err := server.ReadMessage(wire.MaxSessionFrame); err != nil {
			t.Fatal(err)
		}
	})
	if allocs != 0 && !underRace {
		t.Errorf("a record that is sent and received makes %v allocations", allocs)
	}
}

// TestRecordLimitIsThatOfTheSpec holds the limit that is this package's against docs/PROTOCOL.md, section 11.
func TestRecordLimitIsThatOfTheSpec(t *testing.T) {
	if row := fmt.Sprintf("\n| records each way | %d | records |\n", maxRecords); !strings.Contains(spec.Text(t, "PROTOCOL.md"), row) {
		t.Errorf("the spec does not have the row %q", row)
	}
}
