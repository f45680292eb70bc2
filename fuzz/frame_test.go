package fuzz

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"testing"
	"testing/iotest"

	"github.com/authsrv/authsrv/wire"
)

var caps = []int{wire.MaxHandshakeFrame, wire.MaxStartFrame, wire.MaxLoginFrame, wire.MaxCheckingFrame, wire.MaxSessionFrame}

// frame returns the frame with a body.
func frame(body []byte) []byte {
	return append(binary.BigEndian.AppendUint16(nil, uint16(len(body))), body...)
}

func frameSeeds(t testing.TB) (all []seed) {
	add := func(limit int, stream ...[]byte) {
		all = append(all, seed{uint16(limit), uint8(len(all)), concat(stream...)})
	}
	for _, limit := range caps {
		add(limit, frame(make([]byte, limit)))
		add(limit, frame(make([]byte, limit+1)))
		add(limit, frame([]byte{1}), frame(make([]byte, limit)), frame([]byte{2}))
	}
	whole := frame([]byte("twenty bytes of body"))
	for _, n := range []int{0, 1, 2, 3, len(whole) - 1} {
		add(wire.MaxHandshakeFrame, whole[:n])
		add(wire.MaxHandshakeFrame, whole, whole[:n])
	}
	add(wire.MaxHandshakeFrame, []byte{0, 0})
	add(wire.MaxHandshakeFrame, []byte{0xff, 0xff})
	add(0xffff, frame(bytes.Repeat([]byte{0xff}, 0xffff)))
	add(0, frame([]byte{1}))
	add(wire.MaxHandshakeFrame, whole, []byte("GET / HTTP/1.1\r\n\r\n"))
	for _, m := range golden(t) {
		add(wire.MaxCheckingFrame, frame(m))
	}
	for _, c := range recordedConnections(t) {
		add(wire.MaxSessionFrame, c.toServer[wire.PrefaceSize:])
		add(wire.MaxSessionFrame, c.toClient)
	}
	return all
}

// watched notes how much of a stream was asked for.
type watched struct {
	r       io.Reader
	read    int // bytes
	largest int // room behind a buffer that was read into
}

func (w *watched) Read(p []byte) (int, error) {
	w.largest = max(w.largest, cap(p))
	n, err := w.r.Read(p)
	w.read += n
	return n, err
}

// FuzzFrame reads frames under a cap from any stream, in pieces of any size, and judges each by the rules of PROTOCOL 2.
func FuzzFrame(f *testing.F) {
	plant(f)
	f.Fuzz(func(t *testing.T, limit uint16, pieces uint8, stream []byte) {
		var under io.Reader = bytes.NewReader(stream)
		switch pieces % 4 {
		case 1:
			under = iotest.OneByteReader(under)
		case 2:
			under = iotest.HalfReader(under)
		case 3:
			under = iotest.DataErrReader(under)
		}
		w := &watched{r: under}
		frames := wire.NewFrameReader(w)
		longest := 0
		for rest := stream; ; {
			before := w.read
			body, err := frames.Next(int(limit))
			n, want := expectFrame(rest, int(limit))
			if !errors.Is(err, want) || (err == nil) != (want == nil) {
				t.Fatalf("%v, want %v", err, want)
			}
			if used := w.read - before; used != n {
				t.Fatalf("%d bytes read, want %d (%v)", used, n, err)
			}
			if w.largest > max(int(limit), wire.FrameHeaderSize) {
				t.Fatalf("room for %d bytes under a cap of %d", w.largest, limit)
			}
			if err != nil {
				return
			}
			longest = max(longest, len(body))
			again := append(wire.BeginFrame([]byte("before")), body...)
			if err := wire.EndFrame(again, len("before")); err != nil || !bytes.Equal(again[len("before"):], rest[:n]) {
				t.Fatalf("%x is written as %x, %v", rest[:n], again, err)
			}
			if cap(body) > longest {
				t.Fatalf("%d bytes held after frames of at most %d", cap(body), longest)
			}
			rest = rest[n:]
		}
	})
}

// expectFrame says what there is to be read of a stream for one frame, and how that ends.
func expectFrame(stream []byte, limit int) (read int, err error) {
	switch {
	case len(stream) == 0:
		return 0, io.EOF
	case len(stream) < wire.FrameHeaderSize:
		return len(stream), io.ErrUnexpectedEOF
	}
	n := int(binary.BigEndian.Uint16(stream))
	switch {
	case n == 0 || n > limit:
		return wire.FrameHeaderSize, wire.ErrFrameSize
	case len(stream) < wire.FrameHeaderSize+n:
		return len(stream), io.ErrUnexpectedEOF
	}
	return wire.FrameHeaderSize + n, nil
}
