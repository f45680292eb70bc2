package wire

import (
	"encoding/binary"
	"errors"
	"io"
)

// Caps on the body of a frame, in bytes, by the state of the connection (PROTOCOL 11).
const (
	MaxHandshakeFrame = 512   // M1 and M2
	MaxStartFrame     = 1104  // M3
	MaxLoginFrame     = 1056  // records before login
	MaxCheckingFrame  = 2112  // the record with a password that the server judges
	MaxSessionFrame   = 16400 // records after login
)

// FrameHeaderSize is the length in bytes of what stands before the body of a frame.
const FrameHeaderSize = 2

// ErrFrameSize says that a frame was empty or over the cap of its state.
var ErrFrameSize = errors.New("wire: frame is empty or over its cap")

// A FrameReader reads frames from a byte stream, in one of two ways: see NewFrameReader and NewAheadReader.
type FrameReader struct {
	r    io.Reader
	head [FrameHeaderSize]byte
	buf  []byte
	ahead
}

// NewFrameReader returns a FrameReader that reads no byte of r beyond the frame that is asked
// for, and keeps one buffer, which is never larger than the largest frame that was read.
func NewFrameReader(r io.Reader) *FrameReader { return &FrameReader{r: r} }

// Next returns the body of the next frame, of 1 to limit bytes. The body is good until the next
// call. The error is io.EOF only where the stream ends between two frames.
func (f *FrameReader) Next(limit int) ([]byte, error) {
	if f.on {
		return f.nextAhead(limit)
	}
	if _, err := io.ReadFull(f.r, f.head[:]); err != nil {
		return nil, err
	}
	n := int(binary.BigEndian.Uint16(f.head[:]))
	if n == 0 || n > limit {
		return nil, ErrFrameSize
	}
	if n > cap(f.buf) {
		f.buf = make([]byte, n)
	}
	body := f.buf[:n]
	if _, err := io.ReadFull(f.r, body); err != nil {
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return nil, err
	}
	return body, nil
}

// BeginFrame appends the room for a frame's length; EndFrame fills it in.
func BeginFrame(dst []byte) []byte { return append(dst, 0, 0) }

// EndFrame writes the length of the frame that BeginFrame began at offset start of dst, the body
// being all that was appended since. A body of more than 65,535 bytes is ErrFrameSize.
func EndFrame(dst []byte, start int) error {
	n := len(dst) - start - FrameHeaderSize
	if n <= 0 || n > 0xffff {
		return ErrFrameSize
	}
	binary.BigEndian.PutUint16(dst[start:], uint16(n))
	return nil
}
