package noiseconn

import (
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/authsrv/authsrv/wire"
	"github.com/flynn/noise"
)

// Overhead is what a record's frame body is longer than its plaintext, in bytes: the tag.
const Overhead = 16

// MaxPlaintext is the longest plaintext of a record, in bytes.
const MaxPlaintext = wire.MaxSessionFrame - Overhead

// maxRecords is how many records a connection carries in one direction (PROTOCOL 3).
const maxRecords = 1<<32 - 1

var (
	// ErrRecord says that a record was not made by the peer, or is not the next one.
	ErrRecord = errors.New("noiseconn: record does not authenticate")
	// ErrRecordLimit says that a direction of the connection has carried all the records that it may.
	ErrRecordLimit = errors.New("noiseconn: record limit reached")
)

// A Conn is a connection after its handshake. Its two directions are independent of each other, and each can be
// used by several goroutines. It is used by messages, one a record, or as a stream, but not both ways in
// one direction.
//
// An error of a direction is permanent, a deadline that passed too: half a record cannot be taken back. Streams are
// cut without a trace by whoever carries them: only a message that says so (PROTOCOL 8, Goodbye) ends one.
type Conn struct {
	conn          net.Conn
	handshakeHash [32]byte
	peerStatic    [32]byte
	in            readHalf
	out           writeHalf
}

type readHalf struct {
	mu     sync.Mutex
	frames *wire.FrameReader
	cipher *noise.CipherState
	rest   []byte // of the last record, for Read; in the buffer of frames
	err    error
}

type writeHalf struct {
	mu     sync.Mutex
	cipher *noise.CipherState
	buf    *frameBuffer // of the frames that are to be sent with the next one; nil: there are none
	n      int          // bytes of them
	err    error
}

var _ net.Conn = (*Conn)(nil)

// newConn takes what lasts out of a handshake that is over, and what was read ahead. The rest of it is garbage.
func newConn(h *handshake, in, out *noise.CipherState) *Conn {
	c := &Conn{
		conn:          h.conn,
		handshakeHash: [32]byte(h.state.ChannelBinding()),
		peerStatic:    [32]byte(h.state.PeerStatic()),
	}
	c.in.frames, c.in.cipher = h.frames, in
	c.out.cipher = out
	return c
}

// Format writes the address of the peer, whatever the verb: what was read is not printed.
func (c *Conn) Format(s fmt.State, _ rune) { fmt.Fprintf(s, "connection to %v", c.RemoteAddr()) }

// HandshakeHash returns the hash over the whole handshake, which no other connection has: h in PROTOCOL 6.
func (c *Conn) HandshakeHash() [32]byte { return c.handshakeHash }

// PeerStatic returns the static key that the peer proved to have.
func (c *Conn) PeerStatic() [32]byte { return c.peerStatic }

// ReadMessage returns the plaintext of the next record, whose frame has a body of at most limit bytes. The
// plaintext is good until the next call. The error is io.EOF only where the stream ends between two
// records.
func (c *Conn) ReadMessage(limit int) ([]byte, error) {
	c.in.mu.Lock()
	defer c.in.mu.Unlock()
	return c.in.nextLocked(limit)
}

func (h *readHalf) nextLocked(limit int) (plaintext []byte, err error) {
	if h.err != nil {
		return nil, h.err
	}
	defer func() {
		if h.err = err; err != nil {
			h.frames.Close()
		}
	}()
	if h.cipher.Nonce() >= maxRecords {
		return nil, ErrRecordLimit
	}
	body, err := h.frames.Next(limit)
	if err != nil {
		return nil, err
	}
	if plaintext, err = h.cipher.Decrypt(body[:0], nil, body); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrRecord, err)
	}
	return plaintext, nil
}

// Buffered says whether ReadMessage would return a record, or its fault, without reading.
func (c *Conn) Buffered() bool {
	c.in.mu.Lock()
	defer c.in.mu.Unlock()
	return c.in.err == nil && c.in.frames.Buffered()
}

// WriteMessage sends plaintext, of at most MaxPlaintext bytes, as one record, with one Write, behind those that wait. More is
// wire.ErrFrameSize, and sends nothing.
func (c *Conn) WriteMessage(plaintext []byte) error { return c.write(plaintext, true) }

// QueueMessage is WriteMessage for a record that can wait: until the next WriteMessage or Flush, or until there are too many.
func (c *Conn) QueueMessage(plaintext []byte) error { return c.write(plaintext, false) }

// HasRoom says whether QueueMessage would take a record of n bytes without sending those that wait.
func (c *Conn) HasRoom(n int) bool {
	c.out.mu.Lock()
	defer c.out.mu.Unlock()
	return c.out.hasRoomLocked(n)
}

func (h *writeHalf) hasRoomLocked(n int) bool {
	return h.buf == nil || h.n+wire.FrameHeaderSize+n+Overhead <= len(h.buf)
}

func (c *Conn) write(plaintext []byte, now bool) error {
	if len(plaintext) > MaxPlaintext {
		return wire.ErrFrameSize
	}
	c.out.mu.Lock()
	defer c.out.mu.Unlock()
	if err := c.out.addLocked(c.conn, plaintext); err != nil || !now {
		return err
	}
	return c.out.flushLocked(c.conn)
}

// Flush sends the records that wait.
func (c *Conn) Flush() error {
	c.out.mu.Lock()
	defer c.out.mu.Unlock()
	return c.out.flushLocked(c.conn)
}

type frameBuffer [wire.FrameHeaderSize + wire.MaxSessionFrame]byte

// frames holds buffers for the frames that a goroutine is writing, so that a connection that is idle has none.
// What is in them is encrypted.
var frames = sync.Pool{New: func() any { return new(frameBuffer) }}

// addLocked puts a record behind those that wait, and sends them before where there is no room.
func (h *writeHalf) addLocked(conn net.Conn, plaintext []byte) (err error) {
	if !h.hasRoomLocked(len(plaintext)) {
		if err := h.flushLocked(conn); err != nil {
			return err
		}
	}
	if h.err != nil {
		return h.err
	}
	defer func() { h.err = err }()
	if h.cipher.Nonce() >= maxRecords {
		h.flushLocked(conn)
		return ErrRecordLimit
	}
	if h.buf == nil {
		h.buf, h.n = frames.Get().(*frameBuffer), 0
	}
	b, err := h.cipher.Encrypt(wire.BeginFrame(h.buf[:h.n]), nil, plaintext)
	if err != nil {
		return err
	}
	if err := wire.EndFrame(b, h.n); err != nil {
		return err
	}
	h.n = len(b)
	return nil
}

func (h *writeHalf) flushLocked(conn net.Conn) error {
	if h.buf == nil {
		return h.err
	}
	buf := h.buf
	h.buf = nil
	defer frames.Put(buf)
	if h.err == nil {
		_, h.err = conn.Write(buf[:h.n])
	}
	return h.err
}

// Read reads from the stream of all plaintexts.
func (c *Conn) Read(p []byte) (int, error) {
	c.in.mu.Lock()
	defer c.in.mu.Unlock()
	for len(c.in.rest) == 0 && len(p) > 0 {
		rest, err := c.in.nextLocked(wire.MaxSessionFrame)
		if err != nil {
			return 0, err
		}
		c.in.rest = rest
	}
	n := copy(p, c.in.rest)
	c.in.rest = c.in.rest[n:]
	return n, nil
}

// Write sends p as records of at most MaxPlaintext bytes, with none of another goroutine between them.
func (c *Conn) Write(p []byte) (n int, err error) {
	c.out.mu.Lock()
	defer c.out.mu.Unlock()
	for len(p) > 0 {
		part := p[:min(len(p), MaxPlaintext)]
		if err := c.out.addLocked(c.conn, part); err != nil {
			return n, err
		}
		if err := c.out.flushLocked(c.conn); err != nil {
			return n, err
		}
		n += len(part)
		p = p[len(part):]
	}
	return n, nil
}

// Close closes the connection below, which ends the calls that wait for it.
func (c *Conn) Close() error { return c.conn.Close() }

// LocalAddr returns the address of this side.
func (c *Conn) LocalAddr() net.Addr { return c.conn.LocalAddr() }

// RemoteAddr returns the address of the peer.
func (c *Conn) RemoteAddr() net.Addr { return c.conn.RemoteAddr() }

// SetDeadline sets both deadlines.
func (c *Conn) SetDeadline(t time.Time) error { return c.conn.SetDeadline(t) }

// SetReadDeadline sets the time when reads fail. A read that failed is the connection's last.
func (c *Conn) SetReadDeadline(t time.Time) error { return c.conn.SetReadDeadline(t) }

// SetWriteDeadline sets the time when writes fail. A write that failed is the connection's last.
func (c *Conn) SetWriteDeadline(t time.Time) error { return c.conn.SetWriteDeadline(t) }

// KeepAlive is how TCP below a Conn is to find out that an idle peer is gone: within 5 minutes. Go's default asks every 15 s, which 10,000 idle
// connections and the batteries behind them pay for. What translates addresses forgets a connection after 4 minutes or more.
func KeepAlive() net.KeepAliveConfig {
	return net.KeepAliveConfig{Enable: true, Idle: 3 * time.Minute, Interval: 30 * time.Second, Count: 4}
}
