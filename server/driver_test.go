package server

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/authsrv/authsrv/internal/account"
	"github.com/authsrv/authsrv/noiseconn"
	"github.com/authsrv/authsrv/wire"
)

// A Driver leads sessions of a server one step at a time, in the caller's goroutine: all of them behind one handshake, whose
// keys they share, since a handshake costs more than all that is behind it. Each has a handshake hash of its own.
type Driver struct {
	server       *Server
	ours, theirs *noiseconn.Conn
	up, down     *pipe // what the client has said, and the server
	lines        uint64
}

// pipe is one direction of a connection in memory; while it blocks, who reads it waits, in another goroutine than who writes.
type pipe struct {
	mu sync.Mutex // held by Write and Read; whatever else there is, is for when it does not block
	bytes.Buffer
	blocks bool
	filled chan struct{}
}

func (p *pipe) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	n, err := p.Buffer.Write(b)
	if p.blocks {
		p.filled <- struct{}{} // there is room: a handshake is fewer writes
	}
	return n, err
}

func (p *pipe) Read(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.blocks && p.Len() == 0 {
		p.mu.Unlock()
		<-p.filled
		p.mu.Lock()
	}
	return p.Buffer.Read(b)
}

// end is one end of such a connection.
type end struct {
	net.Conn // nil: of what a connection has, this is all that is asked of one here
	in, out  *pipe
}

func (e end) Read(b []byte) (int, error)       { return e.in.Read(b) }
func (e end) Write(b []byte) (int, error)      { return e.out.Write(b) }
func (e end) Close() error                     { return nil }
func (e end) SetDeadline(time.Time) error      { return nil }
func (e end) SetReadDeadline(time.Time) error  { return nil }
func (e end) SetWriteDeadline(time.Time) error { return nil }
func (e end) RemoteAddr() net.Addr             { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1} }

// NewDriver shakes hands.
func NewDriver(t *testing.T, s *Server) *Driver {
	t.Helper()
	d := &Driver{server: s}
	d.up, d.down = &pipe{blocks: true, filled: make(chan struct{}, 16)}, &pipe{blocks: true, filled: make(chan struct{}, 16)}
	node, err := s.node.current(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error)
	go func() {
		h := noiseconn.Server(end{in: d.up, out: d.down}, nil)
		err := h.Start(context.Background())
		if err == nil {
			err = h.Hello(context.Background(), node.static, s.hello(&node).AppendTo(nil))
		}
		if err == nil {
			_, d.theirs, err = h.Finish(context.Background())
		}
		done <- err
	}()
	h := noiseconn.Client(end{in: d.down, out: d.up}, nil)
	own, err := noiseconn.NewStaticKey(nil)
	if err == nil {
		_, _, err = h.Hello(t.Context())
	}
	if err == nil {
		d.ours, err = h.Finish(t.Context(), own, make([]byte, wire.AuthStartSize))
	}
	if err := errors.Join(err, <-done); err != nil {
		t.Fatal(err)
	}
	d.up.blocks, d.down.blocks = false, false
	return d
}

// A DrivenLine is one session of a Driver (a walk.Line).
type DrivenLine struct {
	d     *Driver
	ss    *session
	first bool
	alive bool
}

// Line begins a session, with a static key and an address that no other has. The one before it is over.
func (d *Driver) Line() *DrivenLine {
	d.up.Reset()
	d.down.Reset()
	d.lines++
	n := binary.BigEndian.AppendUint64(nil, d.lines)
	ss := newSession(d.server, end{in: d.up, out: d.down})
	ss.conn = d.theirs
	random := sha256.Sum256(n)
	ss.channel = account.Channel{
		Preface: wire.Preface{Version: wire.Version, Suite: wire.Suite}.Bytes(), Handshake: random, Static: sha256.Sum256(random[:]),
		Address: netip.AddrFrom4([4]byte(random[:])),
	}
	ss.shaken.Store(true)
	ss.frames = 2
	return &DrivenLine{d: d, ss: ss, first: true, alive: true}
}

// Close ends the session.
func (l *DrivenLine) Close() { l.d.server.live.leave(l.ss) }

func (l *DrivenLine) Handshake() [32]byte { return l.ss.channel.Handshake }
func (l *DrivenLine) Static() [32]byte    { return l.ss.channel.Static }

// Say lets the server take one message to its end.
func (l *DrivenLine) Say(message []byte) error {
	if !l.alive {
		return net.ErrClosed
	}
	if l.first {
		l.first = false
		l.alive = l.ss.step(context.Background(), message)
		return nil
	}
	if err := l.d.ours.WriteMessage(message); err != nil {
		return err
	}
	b := l.ss.next()
	l.alive = b != nil && l.ss.step(context.Background(), b)
	return nil
}

// Hear returns what the server has said, or io.EOF where it has closed, as it does when the time for a login is over.
func (l *DrivenLine) Hear() ([]byte, error) {
	if until, _ := l.ss.patience(); !time.Now().Before(until) {
		l.alive = false
	}
	if l.d.down.Len() > 0 {
		return l.d.ours.ReadMessage(wire.MaxSessionFrame)
	}
	if l.alive {
		return nil, errors.New("the server is silent")
	}
	return nil, io.EOF
}

// Probe is where the server is. Nothing may be left of what it said.
func (l *DrivenLine) Probe() (string, error) {
	if l.d.down.Len() > 0 {
		return "", errors.New("the server said more than one thing")
	}
	if !l.alive {
		return closed.String(), nil
	}
	return l.ss.state.String(), nil
}

// Mutants breaks the state table in one way each, and returns what mends it.
func Mutants() map[string]func() (mend func()) {
	change := func(s state, e event, t transition) func() {
		before, there := transitions[s][e]
		transitions[s][e] = t
		return func() {
			if transitions[s][e] = before; !there {
				delete(transitions[s], e)
			}
		}
	}
	login := event{wire.TypeAuthStart, wire.PurposeLogin, wire.MethodPassword}
	proof := event{Type: wire.TypeProof}
	return map[string]func() func(){
		"a proof without a challenge is answered": func() func() { return change(start, proof, transitions[challenged][proof]) },
		"a login may begin anew":                  func() func() { return change(challenged, login, transitions[start][login]) },
		"a refused proof leaves the connection where it was": func() func() {
			row := transitions[challenged][proof]
			row.other = challenged
			return change(challenged, proof, row)
		},
		"a registration leads on to a proof": func() func() {
			finish := event{Type: wire.TypeRegisterFinish}
			row := transitions[registering][finish]
			row.then = challenged
			return change(registering, finish, row)
		},
		"a deleted account's connection goes on": func() func() {
			remove := event{Type: wire.TypeDeleteAccount}
			row := transitions[ready][remove]
			row.then = ready
			return change(ready, remove, row)
		},
	}
}
