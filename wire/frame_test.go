package wire

import (
	"bytes"
	"errors"
	"io"
	"os"
	"testing"
	"testing/iotest"
)

// frame returns a frame with a body of n bytes.
func frame(n int) []byte {
	return append([]byte{byte(n >> 8), byte(n)}, bytes.Repeat([]byte{0xaa}, n)...)
}

func TestFrameCaps(t *testing.T) {
	for _, limit := range []int{1, MaxHandshakeFrame, MaxStartFrame, MaxLoginFrame, MaxCheckingFrame, MaxSessionFrame, 0xffff} {
		for n, want := range map[int]error{0: ErrFrameSize, 1: nil, limit: nil, limit + 1: ErrFrameSize, 0xffff: ErrFrameSize} {
			if n > 0xffff {
				continue
			}
			if n <= limit && n > 0 {
				want = nil
			}
			rest := bytes.NewReader(append(frame(n), "next"...))
			f := NewFrameReader(rest)
			body, err := f.Next(limit)
			if err != want || err == nil && !bytes.Equal(body, frame(n)[2:]) {
				t.Errorf("frame of %d bytes under a cap of %d: %d bytes, %v, want %v", n, limit, len(body), err, want)
			}
			left, held := len("next"), n
			if want != nil {
				left, held = left+n, 0 // nothing of the body is read, or made room for
			}
			if rest.Len() != left || cap(f.buf) != held {
				t.Errorf("frame of %d bytes under a cap of %d: %d bytes left and %d held, want %d and %d", n, limit, rest.Len(), cap(f.buf), left, held)
			}
		}
	}
}

func TestFrameTruncated(t *testing.T) {
	whole := frame(20)
	for n := range whole {
		want := io.ErrUnexpectedEOF
		if n == 0 {
			want = io.EOF
		}
		for name, r := range map[string]io.Reader{
			"plain": bytes.NewReader(whole[:n]), "slow": iotest.OneByteReader(bytes.NewReader(whole[:n])),
			"early EOF": iotest.DataErrReader(bytes.NewReader(whole[:n])),
		} {
			if body, err := NewFrameReader(r).Next(64); err != want || body != nil {
				t.Errorf("%s, %d bytes: %x, %v, want %v", name, n, body, err, want)
			}
		}
	}
}

// TestFrameStream reads frames of many lengths from readers that give as much as they like at a time.
func TestFrameStream(t *testing.T) {
	var stream []byte
	lengths := []int{1, 2, 300, 20, MaxSessionFrame, 1, 256}
	for _, n := range lengths {
		stream = append(stream, frame(n)...)
	}
	for name, wrap := range map[string]func(io.Reader) io.Reader{
		"plain": func(r io.Reader) io.Reader { return r }, "slow": iotest.OneByteReader,
		"half": iotest.HalfReader, "early EOF": iotest.DataErrReader,
	} {
		f := NewFrameReader(wrap(bytes.NewReader(stream)))
		longest := 0
		for i, n := range lengths {
			body, err := f.Next(MaxSessionFrame)
			if err != nil || !bytes.Equal(body, frame(n)[2:]) {
				t.Fatalf("%s: frame %d: %d bytes, %v", name, i, len(body), err)
			}
			longest = max(longest, n)
			if cap(f.buf) != longest {
				t.Errorf("%s: frame %d: %d bytes held, want %d", name, i, cap(f.buf), longest)
			}
		}
		if _, err := f.Next(MaxSessionFrame); err != io.EOF {
			t.Errorf("%s: at the end: %v", name, err)
		}
	}
}

func TestFrameReadError(t *testing.T) {
	for n := range 5 {
		r := io.MultiReader(bytes.NewReader(frame(3)[:n]), iotest.ErrReader(os.ErrDeadlineExceeded))
		if _, err := NewFrameReader(r).Next(64); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("error after %d bytes: %v", n, err)
		}
	}
}

func TestEndFrame(t *testing.T) {
	for n, want := range map[int]error{0: ErrFrameSize, 1: nil, 256: nil, 0xffff: nil, 0x10000: ErrFrameSize} {
		const before = "before"
		b := append(BeginFrame([]byte(before)), make([]byte, n)...)
		if err := EndFrame(b, len(before)); err != want {
			t.Errorf("frame of %d bytes: %v, want %v", n, err, want)
			continue
		}
		if head := append([]byte(before), byte(n>>8), byte(n)); want == nil && !bytes.HasPrefix(b, head) {
			t.Errorf("frame of %d bytes begins with %x, want %x", n, b[:len(head)], head)
		}
	}
	if err := EndFrame(nil, 0); err != ErrFrameSize {
		t.Errorf("frame without a beginning: %v", err)
	}
}
