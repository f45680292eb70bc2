package wire

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"testing"
	"testing/iotest"
)

// chunks reads in pieces of any size.
type chunks struct {
	r   io.Reader
	rng *rand.Rand
	max int
}

func (c chunks) Read(b []byte) (int, error) { return c.r.Read(b[:min(len(b), 1+c.rng.IntN(c.max))]) }

// TestAheadReader holds a reader that reads ahead against one that does not, whatever the stream comes in: frames of all sizes, one too
// long, an empty one, and an end at any place.
func TestAheadReader(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	limits := []int{MaxHandshakeFrame, MaxStartFrame, MaxLoginFrame, MaxCheckingFrame, MaxSessionFrame}
	ends := map[error]int{}
	for round := range 600 {
		preface := make([]byte, rng.IntN(10))
		stream := bytes.Clone(preface)
		most := []int{20, 70, 1200, 17000}[round%4]
		for range rng.IntN(40) {
			n := rng.IntN(most)
			if n == 0 && rng.IntN(3) > 0 {
				n = 1
			}
			body := make([]byte, n)
			for i := range body {
				body[i] = byte(rng.Uint32())
			}
			stream = append(binary.BigEndian.AppendUint16(stream, uint16(n)), body...)
		}
		stream = stream[:len(preface)+rng.IntN(len(stream)-len(preface)+1)]
		plain := bytes.NewReader(stream[len(preface):])
		var under io.Reader = chunks{bytes.NewReader(stream), rng, 1 << rng.IntN(16)}
		if rng.IntN(2) == 0 {
			under = iotest.DataErrReader(under)
		}
		a, f := NewAheadReader(under), NewFrameReader(plain)
		if err := a.ReadFull(preface); err != nil || !bytes.HasPrefix(stream, preface) {
			t.Fatalf("the preface: %v", err)
		}
		for {
			limit := limits[rng.IntN(len(limits))]
			buffered := a.Buffered()
			want, wantErr := f.Next(limit)
			got, err := a.Next(limit)
			if err != wantErr || !bytes.Equal(got, want) {
				t.Fatalf("round %d: %d bytes, %v, want %d, %v", round, len(got), err, len(want), wantErr)
			}
			if buffered && (err == io.EOF || err == io.ErrUnexpectedEOF) {
				t.Fatalf("round %d: a frame that is buffered is %v", round, err)
			}
			if err != nil {
				ends[err]++
				break
			}
		}
		a.Close()
	}
	if ends[io.EOF] == 0 || ends[io.ErrUnexpectedEOF] == 0 || ends[ErrFrameSize] == 0 {
		t.Errorf("ends %v", ends)
	}
}

// counted is a reader that counts.
type counted struct {
	r     io.Reader
	reads int
}

func (c *counted) Read(b []byte) (int, error) { c.reads++; return c.r.Read(b) }

// TestAheadReaderReadsAtOnce: many frames that have come take a few reads, and while it waits for more it holds no buffer.
func TestAheadReaderReadsAtOnce(t *testing.T) {
	r := &counted{r: bytes.NewReader(bytes.Repeat(frame(23), 500))}
	f := NewAheadReader(r)
	for range 500 {
		if _, err := f.Next(MaxSessionFrame); err != nil {
			t.Fatal(err)
		}
	}
	if r.reads > 3 {
		t.Errorf("%d reads", r.reads)
	}
	waits := false
	r.r = readFunc(func([]byte) (int, error) {
		waits = true
		if len(f.buf) != smallBuffer {
			t.Errorf("it waits with a buffer of %d bytes", len(f.buf))
		}
		return 0, os.ErrDeadlineExceeded
	})
	if _, err := f.Next(MaxSessionFrame); !errors.Is(err, os.ErrDeadlineExceeded) || !waits {
		t.Errorf("%v", err)
	}
}

// TestAheadReaderInProportion: who sends a byte of a frame does not make the reader hold a buffer for the largest.
func TestAheadReaderInProportion(t *testing.T) {
	sent := frame(MaxSessionFrame)
	f, n := NewAheadReader(nil), 0
	f.r = readFunc(func(b []byte) (int, error) {
		want := smallBuffer
		if n >= loginBuffer {
			want = sessionBuffer
		} else if n >= smallBuffer {
			want = loginBuffer
		}
		if len(f.buf) != want {
			t.Fatalf("a buffer of %d bytes for %d that have come, want %d", len(f.buf), n, want)
		}
		n += copy(b[:1], sent[n:])
		return 1, nil
	})
	if body, err := f.Next(MaxSessionFrame); err != nil || !bytes.Equal(body, sent[FrameHeaderSize:]) {
		t.Errorf("%d bytes, %v", len(body), err)
	}
}

type readFunc func([]byte) (int, error)

func (f readFunc) Read(b []byte) (int, error) { return f(b) }

// TestAheadReaderForgets: a buffer that is given back has nothing of its frames in it.
func TestAheadReaderForgets(t *testing.T) {
	for _, size := range []int{100, MaxCheckingFrame, MaxSessionFrame} {
		f := NewAheadReader(bytes.NewReader(frame(size)))
		if _, err := f.Next(max(size, MaxCheckingFrame)); err != nil {
			t.Fatal(err)
		}
		given := f.buf
		f.Close()
		if len(given) < size || !bytes.Equal(given, make([]byte, len(given))) {
			t.Errorf("a buffer of %d bytes has something of a frame of %d", len(given), size)
		}
	}
}
