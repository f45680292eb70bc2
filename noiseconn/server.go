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
	// ErrPreface says that a client does not speak this protocol at all: it gets no answer.
	ErrPreface = errors.New("noiseconn: not a client of this protocol")
	// ErrVersion says that a client asks for a version, suite or flags that this implementation does not
	// have: it can be told so with Refuse.
	ErrVersion = errors.New("noiseconn: client speaks another version of the protocol")
)

// A ServerHandshake is the server's side of a handshake: Start, then Hello or Refuse, then Finish. After an error
// every further step has the same one, and the connection is for the caller to close; Refuse is open even
// then, as long as nothing was sent. A context that ends during a step closes the connection.
type ServerHandshake struct {
	*handshake
	answered bool
}

// Server begins a handshake on conn, without reading anything. Random makes the ephemeral key; nil is
// crypto/rand.Reader.
func Server(conn net.Conn, random io.Reader) *ServerHandshake { return newServer(conn, random, suite) }

func newServer(conn net.Conn, random io.Reader, suite noise.CipherSuite) *ServerHandshake {
	return &ServerHandshake{handshake: newHandshake(conn, random, suite, false)}
}

// Limit has the handshake take a place, by a send, whenever it computes with keys, and give it back behind it: so as many compute at once as places
// holds. It is called before Start.
func (h *ServerHandshake) Limit(places chan struct{}) { h.places = places }

// Start reads the preface and M1. The error is ErrPreface or ErrVersion where the preface is not the one of
// this version; M1 has not been read then. It is io.EOF where the client closed without a word.
func (h *ServerHandshake) Start(ctx context.Context) error {
	return h.step(ctx, 0, func() error {
		if err := h.readPreface(); err != nil {
			return err
		}
		body, err := h.frames.Next(wire.MaxHandshakeFrame)
		if err != nil {
			return unexpected(err)
		}
		if len(body) != suite.DHLen() {
			return fmt.Errorf("%w: M1 of %d bytes", ErrHandshake, len(body))
		}
		_, _, _, err = h.open(body)
		return err
	})
}

func (h *ServerHandshake) readPreface() error {
	var b [wire.PrefaceSize]byte
	if err := h.frames.ReadFull(b[:]); err != nil {
		return err
	}
	preface, err := wire.ParsePreface(b)
	if err != nil {
		return ErrPreface
	}
	if preface != speaks {
		return ErrVersion
	}
	return nil
}

// unexpected is err where a stream must not end yet.
func unexpected(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// Refuse sends the refusal in clear, in the place of M2, and ends the handshake. Code is wire.CodeVersion or
// wire.CodeOverloaded. Only the connection's deadline bounds it. Behind it a caller does well to end the
// stream of a TCP connection and to read what is left, for a moment: closed with bytes unread, TCP may take the
// refusal back.
func (h *ServerHandshake) Refuse(code wire.Code) error {
	if h.answered {
		return ErrStep
	}
	h.answered = true
	if h.err == nil {
		h.err = fmt.Errorf("noiseconn: refused: %w", code)
	}
	refusal := wire.Refusal{Version: wire.Version, Suite: wire.Suite, Code: code}
	frame := refusal.AppendTo(wire.BeginFrame(nil))
	if err := wire.EndFrame(frame, 0); err != nil {
		return err
	}
	_, err := h.conn.Write(frame)
	return err
}

// Hello sends M2: the node's static key, and hello, which is the encoding of a ServerHello with the certificate
// of that key.
func (h *ServerHandshake) Hello(ctx context.Context, static StaticKey, hello []byte) error {
	return h.step(ctx, 1, func() error {
		h.answered = true
		h.static = static
		_, _, err := h.send(nil, hello, wire.MaxHandshakeFrame)
		return err
	})
}

// Finish reads M3: the client's static key, which is the Conn's PeerStatic, and its payload.
func (h *ServerHandshake) Finish(ctx context.Context) (payload []byte, conn *Conn, err error) {
	err = h.step(ctx, 2, func() error {
		body, err := h.frames.Next(wire.MaxStartFrame)
		if err != nil {
			return unexpected(err)
		}
		plaintext, toServer, toClient, err := h.open(body)
		if err != nil {
			return err
		}
		payload, conn = plaintext, newConn(h.handshake, toServer, toClient)
		return nil
	})
	if err != nil {
		return nil, nil, err
	}
	return payload, conn, nil
}
