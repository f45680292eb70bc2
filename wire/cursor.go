package wire

import (
	"bytes"
	"encoding/binary"
	"errors"
)

// ErrMalformed says that bytes are not the one encoding of any value of the message.
var ErrMalformed = errors.New("wire: malformed message")

// A cursor reads the fields of a message one by one. The first fault sticks: what is read after it
// is zero, and end reports it.
type cursor struct {
	b   []byte
	bad bool
}

// parse begins a message of type t, which is b from the first byte to the last.
func parse(b []byte, t Type) cursor {
	c := cursor{b: b}
	if size := t.size(); size != 0 {
		c.check(len(b) == size)
	}
	c.check(Type(c.u8()) == t)
	return c
}

func (c *cursor) check(ok bool) {
	if !ok {
		c.bad = true
	}
}

// take returns the next n bytes, which alias the input, or nil.
func (c *cursor) take(n int) []byte {
	if c.bad || len(c.b) < n {
		c.bad = true
		return nil
	}
	f := c.b[:n:n]
	c.b = c.b[n:]
	return f
}

func (c *cursor) u8() uint8 {
	if f := c.take(1); f != nil {
		return f[0]
	}
	return 0
}

func (c *cursor) u16() uint16 {
	if f := c.take(2); f != nil {
		return binary.BigEndian.Uint16(f)
	}
	return 0
}

func (c *cursor) u32() uint32 {
	if f := c.take(4); f != nil {
		return binary.BigEndian.Uint32(f)
	}
	return 0
}

func (c *cursor) u64() uint64 {
	if f := c.take(8); f != nil {
		return binary.BigEndian.Uint64(f)
	}
	return 0
}

// flag reads a u8 that is 0 or 1.
func (c *cursor) flag() bool {
	v := c.u8()
	c.check(v <= 1)
	return v == 1
}

// copy fills dst with the next bytes.
func (c *cursor) copy(dst []byte) {
	copy(dst, c.take(len(dst)))
}

// bytes8 reads a field with a u8 length of lo to hi bytes.
func (c *cursor) bytes8(lo, hi int) []byte {
	n := int(c.u8())
	c.check(lo <= n && n <= hi)
	return c.take(n)
}

// all8 reads a field with a u8 length that has n bytes or none.
func (c *cursor) all8(n int) []byte {
	f := c.bytes8(0, n)
	c.check(len(f) == 0 || len(f) == n)
	return f
}

// bytes16 reads a field with a u16 length of lo to hi bytes.
func (c *cursor) bytes16(lo, hi int) []byte {
	n := int(c.u16())
	c.check(lo <= n && n <= hi)
	return c.take(n)
}

// end reports ErrMalformed if anything was wrong or is left over. In a padded message what is left
// over has to be zero.
func (c *cursor) end(t Type) error {
	if t.size() == 0 {
		c.check(len(c.b) == 0)
	} else if !c.bad { // so that the message has its size, which zeros has too
		c.check(bytes.Equal(c.b, zeros[:len(c.b)]))
	}
	if c.bad {
		return ErrMalformed
	}
	return nil
}

// pad appends zeros until the message of type t that began at start of dst has its size.
func pad(dst []byte, start int, t Type) []byte {
	n := t.size() - (len(dst) - start)
	if n < 0 {
		panic("wire: message is longer than its size")
	}
	return append(dst, zeros[:n]...)
}

var zeros [RegisterPasswordSize]byte

func appendBytes8(dst, f []byte) []byte {
	if len(f) > 0xff {
		panic("wire: field of more than 255 bytes")
	}
	return append(append(dst, uint8(len(f))), f...)
}

func appendBytes16(dst, f []byte) []byte {
	if len(f) > 0xffff {
		panic("wire: field of more than 65,535 bytes")
	}
	return append(binary.BigEndian.AppendUint16(dst, uint16(len(f))), f...)
}

func appendFlag(dst []byte, v bool) []byte {
	if v {
		return append(dst, 1)
	}
	return append(dst, 0)
}
