package wire

import (
	"encoding/binary"
	"io"
	"sync"
)

// Sizes of the buffers of a reader that reads ahead. The small one is its own, so that one that waits for the next request
// of a session holds no other: most requests fit into it. The others are shared by all readers, and one gets the next larger one when it has filled
// its own: what a peer makes it hold is in proportion to what that has sent.
const (
	smallBuffer   = 64
	loginBuffer   = FrameHeaderSize + MaxCheckingFrame
	sessionBuffer = FrameHeaderSize + MaxSessionFrame
)

var (
	loginBuffers   = sync.Pool{New: func() any { return new([loginBuffer]byte) }}
	sessionBuffers = sync.Pool{New: func() any { return new([sessionBuffer]byte) }}
)

// ahead is the state of a FrameReader that reads what there is. What was read and not yet asked for is buf[lo:hi].
type ahead struct {
	on     bool
	lo, hi int
	small  [smallBuffer]byte
}

// NewAheadReader returns a FrameReader that reads as much of r as there is at once: several frames with one Read. While it waits for a
// frame of up to MaxSessionFrame it holds no buffer to speak of; one that is no longer needed is zeroed, and given back at the next call
// of Next, or by Close.
func NewAheadReader(r io.Reader) *FrameReader { return &FrameReader{r: r, ahead: ahead{on: true}} }

// Buffered says whether Next would return a frame without reading.
func (f *FrameReader) Buffered() bool {
	have := f.buf[f.lo:f.hi]
	return len(have) > FrameHeaderSize && len(have) >= FrameHeaderSize+int(binary.BigEndian.Uint16(have))
}

// ReadFull fills b with what comes before the next frame, as io.ReadFull does. It is for a reader that reads ahead.
func (f *FrameReader) ReadFull(b []byte) error {
	for f.hi-f.lo < len(b) {
		if err := f.fill(len(b), MaxHandshakeFrame); err != nil {
			return err
		}
	}
	f.lo += copy(b, f.buf[f.lo:])
	return nil
}

func (f *FrameReader) nextAhead(limit int) ([]byte, error) {
	if f.lo == f.hi {
		f.Close()
	}
	for {
		have, need := f.buf[f.lo:f.hi], FrameHeaderSize
		if len(have) >= FrameHeaderSize {
			n := int(binary.BigEndian.Uint16(have))
			if n == 0 || n > limit {
				return nil, ErrFrameSize
			}
			if need += n; len(have) >= need {
				f.lo += need
				return have[FrameHeaderSize:need:need], nil
			}
		}
		if err := f.fill(need, limit); err != nil {
			return nil, err
		}
	}
}

// fill reads once, on the way to need bytes behind lo. Limit is that of the frame.
func (f *FrameReader) fill(need, limit int) error {
	full, session := f.hi == len(f.buf), limit > MaxCheckingFrame
	switch {
	case f.buf == nil && session:
		f.buf = f.small[:]
	case f.buf == nil, full && len(f.buf) == smallBuffer:
		f.move(loginBuffers.Get().(*[loginBuffer]byte)[:])
	case full && len(f.buf) == loginBuffer && session:
		f.move(sessionBuffers.Get().(*[sessionBuffer]byte)[:])
	case need > len(f.buf)-f.lo && f.lo > 0:
		f.hi = copy(f.buf, f.buf[f.lo:f.hi])
		f.lo = 0
	}
	n, err := f.r.Read(f.buf[f.hi:])
	if f.hi += n; n > 0 {
		return nil // an error comes again
	}
	if err == io.EOF && f.hi > f.lo {
		err = io.ErrUnexpectedEOF
	}
	return err
}

// move puts what is there into another buffer.
func (f *FrameReader) move(to []byte) {
	n := copy(to, f.buf[f.lo:f.hi])
	f.hi = f.lo + n
	f.Close()
	f.buf, f.hi = to, n
}

// Close gives the buffer back, and forgets what was not asked for.
func (f *FrameReader) Close() {
	clear(f.buf) // passwords and tokens have been in it, decrypted in place
	switch len(f.buf) {
	case loginBuffer:
		loginBuffers.Put((*[loginBuffer]byte)(f.buf))
	case sessionBuffer:
		sessionBuffers.Put((*[sessionBuffer]byte)(f.buf))
	}
	f.buf, f.lo, f.hi = nil, 0, 0
}
