package noiseconn

import (
	"context"
	"fmt"
	"io"
	"net"

	"github.com/authsrv/authsrv/wire"
	"github.com/flynn/noise"
)

// A RefusedError says that the server refused the connection before the handshake. Nobody vouches for it: it
// can be shown to a person, and that is all (PROTOCOL 2). It wraps the code.
type RefusedError struct {
	Refusal wire.Refusal
}

func (e *RefusedError) Error() string { return "refused (unauthenticated): " + e.Refusal.Code.Error() }

// Unwrap returns the code.
func (e *RefusedError) Unwrap() error { return e.Refusal.Code }

// A ClientHandshake is the client's side of a handshake: Hello, then Finish. After an error every further step
// has the same one, and the connection is for the caller to close. A context that ends during a step closes it.
type ClientHandshake struct {
	*handshake
}

// Client begins a handshake on conn, without sending anything. Random makes the ephemeral key; nil is
// crypto/rand.Reader.
func Client(conn net.Conn, random io.Reader) *ClientHandshake { return newClient(conn, random, suite) }

func newClient(conn net.Conn, random io.Reader, suite noise.CipherSuite) *ClientHandshake {
	return &ClientHandshake{newHandshake(conn, random, suite, true)}
}

// Hello sends the preface and M1, and reads M2: the ServerHello, and the static key that the server proved to
// have. It judges neither. A server that refuses is a *RefusedError.
func (h *ClientHandshake) Hello(ctx context.Context) (hello wire.ServerHello, static [32]byte, err error) {
	err = h.step(ctx, 0, func() error {
		preface := speaks.Bytes()
		if _, _, err := h.send(preface[:], nil, wire.MaxHandshakeFrame); err != nil {
			return err
		}
		body, err := h.frames.Next(wire.MaxHandshakeFrame)
		if err != nil {
			return err
		}
		if len(body) == wire.RefusalSize {
			return refused(body)
		}
		payload, _, _, err := h.open(body)
		if err != nil {
			return err
		}
		if hello, err = wire.ParseServerHello(payload); err != nil {
			return fmt.Errorf("%w: %w", ErrHandshake, err)
		}
		static = [32]byte(h.state.PeerStatic())
		return nil
	})
	if err != nil {
		return wire.ServerHello{}, [32]byte{}, err
	}
	return hello, static, nil
}

func refused(body []byte) error {
	refusal, err := wire.ParseRefusal(body)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrHandshake, err)
	}
	return &RefusedError{refusal}
}

// Finish sends M3, with the client's static key and a payload, which is an AuthStart. It does not wait for
// an answer: a server that does not accept M3 ends the connection.
func (h *ClientHandshake) Finish(ctx context.Context, static StaticKey, payload []byte) (*Conn, error) {
	var conn *Conn
	err := h.step(ctx, 1, func() error {
		h.static = static
		toServer, toClient, err := h.send(nil, payload, wire.MaxStartFrame)
		if err != nil {
			return err
		}
		conn = newConn(h.handshake, toClient, toServer)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return conn, nil
}
