package noiseconn

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"

	"github.com/authsrv/authsrv/wire"
	"github.com/flynn/noise"
)

var (
	// ErrHandshake says that a handshake message is not one that the protocol allows here, or does not
	// authenticate. It wraps the reason.
	ErrHandshake = errors.New("noiseconn: handshake failed")
	// ErrStep says that a step of a handshake was called out of its order.
	ErrStep = errors.New("noiseconn: handshake step out of order")
)

// speaks is the one preface of this implementation.
var speaks = wire.Preface{Version: wire.Version, Suite: wire.Suite}

// handshake is what the two sides have in common. One goroutine uses it.
type handshake struct {
	conn   net.Conn
	frames *wire.FrameReader
	state  *noise.HandshakeState
	static StaticKey // the state's, too: see newHandshake
	done   int       // steps
	err    error     // of the step that failed, for ever
	places chan struct{}
}

func newHandshake(conn net.Conn, random io.Reader, suite noise.CipherSuite, initiator bool) *handshake {
	h := &handshake{conn: conn, frames: wire.NewFrameReader(conn)}
	if !initiator { // who serves many reads much at once
		h.frames = wire.NewAheadReader(conn)
	}
	prologue := speaks.Bytes()
	state, err := noise.NewHandshakeState(noise.Config{
		CipherSuite: suite,
		Random:      random, // nil is crypto/rand.Reader
		Pattern:     noise.HandshakeXX,
		Initiator:   initiator,
		Prologue:    prologue[:],
		// The state takes the static key now and first reads it where XX sends it: in M2 on the
		// server's side, in M3 on the client's (XX has no pre-messages that would hash it sooner).
		// It keeps these slices and not what is in them, so the key is filled in until then.
		StaticKeypair: noise.DHKey{Private: h.static.Private[:], Public: h.static.Public[:]},
	})
	if err != nil {
		panic(err) // only a pre-shared key can be wrong
	}
	h.state = state
	return h
}

// step runs the n-th step, and closes the connection when ctx ends before the step does. An error of any
// step is the handshake's last word: a Noise state does not survive one.
func (h *handshake) step(ctx context.Context, n int, run func() error) error {
	if h.err != nil {
		return h.err
	}
	if h.done != n {
		return ErrStep
	}
	stop := context.AfterFunc(ctx, func() { h.conn.Close() })
	if h.err = ctx.Err(); h.err == nil {
		h.err = run()
	}
	if !stop() {
		h.err = ctx.Err()
	}
	if h.err != nil {
		h.frames.Close()
	}
	h.done++
	return h.err
}

// begin takes a place to compute, and end gives it back. Nothing waits for the peer in between.
func (h *handshake) begin() {
	if h.places != nil {
		h.places <- struct{}{}
	}
}

func (h *handshake) end() {
	if h.places != nil {
		<-h.places
	}
}

// send writes the next Noise message as a frame, and what is before it in the same Write.
func (h *handshake) send(before, payload []byte, limit int) (first, second *noise.CipherState, err error) {
	start := len(before)
	buf := frames.Get().(*frameBuffer)
	defer frames.Put(buf)
	b := wire.BeginFrame(append(buf[:0], before...))
	h.begin()
	b, first, second, err = h.state.WriteMessage(b, payload)
	h.end()
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %w", ErrHandshake, err)
	}
	if len(b)-start-wire.FrameHeaderSize > limit {
		return nil, nil, wire.ErrFrameSize
	}
	if err := wire.EndFrame(b, start); err != nil {
		return nil, nil, err
	}
	_, err = h.conn.Write(b)
	return first, second, err
}

// open takes the body of a frame as the next Noise message.
func (h *handshake) open(body []byte) (payload []byte, first, second *noise.CipherState, err error) {
	h.begin()
	payload, first, second, err = h.state.ReadMessage(nil, body)
	h.end()
	if err != nil {
		err = fmt.Errorf("%w: %w", ErrHandshake, err)
	}
	return payload, first, second, err
}
