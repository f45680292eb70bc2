package server

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/authsrv/authsrv/internal/account"
	"github.com/authsrv/authsrv/internal/network"
	"github.com/authsrv/authsrv/noiseconn"
	"github.com/authsrv/authsrv/wire"
)

// session is one connection. Only its own goroutine uses what is not said to be shared.
type session struct {
	server   *Server
	raw      net.Conn
	conn     *noiseconn.Conn // after the handshake
	began    time.Time
	networks network.Networks // of the peer's address
	channel  account.Channel

	state   state
	attempt *account.Attempt // the nonce that is alive, if any
	opID    uint32           // the request that an operation's attempt is for
	login   *account.Session // in Ready
	goodbye wire.Code        // why a handler ends the connection
	wait    bool             // answers wait for those to the requests that were read with theirs
	lost    bool             // the peer has closed, or can't be reached

	frames, starts, denied, bytes int  // counted up to their limits
	judged                        bool // it was of use, or was held against its network

	shaken atomic.Bool  // shared: the handshake is done
	used   atomic.Int64 // shared: the number of the last request after login

	mu       sync.Mutex // guards what follows, which is shared
	admitted bool       // it has left the lobby
	inside   bool       // the next read is one in Ready
	woken    wire.Code  // why the connection is to end; 0: it is not
	leaving  bool       // it has one of the server's places for who makes room
	evicted  bool       // it has one of those for who makes room in the lobby
	gone     bool       // its goroutine is about to end
	drained  time.Time  // until when a login may still finish; zero: the server is not stopping
}

// message is what a handler answers with.
type message interface{ AppendTo([]byte) []byte }

// handler takes a message as bytes, and returns the answer, or an error that becomes a refusal.
type handler func(*session, context.Context, []byte) (message, error)

// on makes a handler of a parser and of a method that takes what it parses. This is where bytes
// become messages.
func on[M any](parse func([]byte) (M, error), handle func(*session, context.Context, *M) (message, error)) handler {
	return func(ss *session, ctx context.Context, b []byte) (message, error) {
		m, err := parse(b)
		if err != nil {
			return nil, err
		}
		return handle(ss, ctx, &m)
	}
}

func newSession(s *Server, conn net.Conn) *session {
	ss := &session{server: s, raw: conn, began: time.Now()}
	ss.channel.Address = addressOf(conn)
	ss.networks = network.Of(ss.channel.Address)
	return ss
}

// addressOf returns the address of the peer, without a port; the zero Addr where there is none, as of a pipe.
func addressOf(conn net.Conn) netip.Addr {
	if tcp, ok := conn.RemoteAddr().(*net.TCPAddr); ok {
		return tcp.AddrPort().Addr().Unmap()
	}
	a, err := netip.ParseAddrPort(conn.RemoteAddr().String())
	if err != nil {
		return netip.Addr{}
	}
	return a.Addr().Unmap()
}

// log writes a line about the connection. What nobody wants to read costs nothing.
func (ss *session) log(level slog.Level, msg string, args ...any) {
	log, ctx := ss.server.c.Logger, context.Background()
	if log.Enabled(ctx, level) {
		log.Log(ctx, level, msg, append([]any{"peer", ss.raw.RemoteAddr().String()}, args...)...)
	}
}

// serve leads the connection from its first byte to where it is logged in and idle, and returns what leads it on from there to its
// last; nil: it has come to that. The rest is for another goroutine: the stack of this one has grown to what a login needs.
func (ss *session) serve(ctx context.Context) (rest func()) {
	ss.server.lobby.enter(ss).makeWay()
	ss.server.arriving.give()
	ss.raw.SetWriteDeadline(ss.began.Add(handshakeTime))
	ss.setReadDeadline(ss.began.Add(handshakeTime))
	payload, err := ss.handshake(ctx)
	ss.server.seen.handshake(ss.handshakeOutcome(err))
	if err != nil {
		ss.log(slog.LevelDebug, "handshake failed", "error", err)
		ss.judge(err)
		ss.close()
		return nil
	}
	ss.server.lobby.advance(ss, shaken).evict()
	ss.log(slog.LevelDebug, "connect")
	for msg := payload; msg != nil; msg = ss.next() {
		if !ss.step(ctx, msg) {
			break
		}
		if ss.state == ready && !ss.conn.Buffered() {
			return func() { ss.stay(ctx) }
		}
	}
	ss.close()
	return nil
}

// stay is the rest of serve.
func (ss *session) stay(ctx context.Context) {
	for msg := ss.next(); msg != nil && ss.step(ctx, msg); msg = ss.next() {
	}
	ss.close()
}

// close is the end of serve.
func (ss *session) close() {
	if ss.conn != nil {
		ss.flush()
	}
	if ss.login != nil && !ss.lost { // the server ends it
		ss.linger(maxPartingBytes)
	}
	ss.dismiss()
	ss.server.lobby.leave(ss)
	ss.raw.Close()
}

// handshake returns the payload of M3.
func (ss *session) handshake(ctx context.Context) ([]byte, error) {
	node, err := ss.server.node.current(time.Now())
	if err != nil {
		return nil, err
	}
	h := noiseconn.Server(ss.raw, ss.server.c.Rand)
	if ss.server.lobby.busy() {
		h.Limit(ss.server.computing)
	}
	if err := h.Start(ctx); err != nil {
		switch {
		case errors.Is(err, noiseconn.ErrVersion):
			h.Refuse(wire.CodeVersion)
			ss.linger(maxLoginBytes)
		case ss.wokenBy() == wire.CodeOverloaded && ss.server.refusals.take():
			defer ss.server.refusals.give()
			h.Refuse(wire.CodeOverloaded)
			ss.linger(maxLoginBytes)
		}
		return nil, err
	}
	ss.server.lobby.advance(ss, greeted).evict()
	buf := answers.Get().(*[]byte)
	*buf = ss.server.hello(&node).AppendTo((*buf)[:0])
	err = h.Hello(ctx, node.static, *buf)
	answers.Put(buf)
	if err != nil {
		return nil, err
	}
	payload, conn, err := h.Finish(ctx)
	if err != nil {
		return nil, err
	}
	ss.conn = conn
	ss.channel.Preface = wire.Preface{Version: wire.Version, Suite: wire.Suite}.Bytes()
	ss.channel.Handshake = conn.HandshakeHash()
	ss.channel.Static = conn.PeerStatic()
	ss.shaken.Store(true)
	ss.frames, ss.bytes = 2, wire.PrefaceSize+2*wire.FrameHeaderSize+32+48+len(payload)+noiseconn.Overhead
	return payload, nil
}

// handshakeOutcome is how a handshake ended, as a word.
func (ss *session) handshakeOutcome(err error) string {
	switch {
	case err == nil:
		return account.Success.String()
	case errors.Is(err, noiseconn.ErrVersion):
		return wire.CodeVersion.Name()
	case ss.wokenBy() != 0: // evicted, or the server stops
		return ss.wokenBy().Name()
	case errors.Is(err, os.ErrDeadlineExceeded):
		return "timeout"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "disconnect"
	}
	return "failed"
}

// refuse sends the refusal in clear to a client that there is no room for. Who is no client gets none.
func (ss *session) refuse(ctx context.Context, code wire.Code) {
	defer ss.raw.Close()
	ss.raw.SetDeadline(time.Now().Add(time.Second))
	h := noiseconn.Server(ss.raw, nil)
	if h.Start(ctx) == nil {
		h.Refuse(code)
		ss.linger(maxLoginBytes)
	}
}

// linger lets what was said last arrive: a connection that is closed with bytes unread is reset, and takes back what was sent. So it drops what
// still comes until the peer closes, too, but no more than so many bytes, and for no more than a second.
func (ss *session) linger(most int64) {
	if tcp, ok := ss.raw.(*net.TCPConn); ok {
		tcp.CloseWrite()
		tcp.SetReadDeadline(time.Now().Add(time.Second))
		io.CopyN(io.Discard, tcp, most)
	}
}

func (s *Server) hello(c *credentials) *wire.ServerHello {
	m := &wire.ServerHello{
		Version: wire.Version, HighestVersion: wire.Version, HighestSuite: wire.Suite,
		RealmID: s.c.Accounts.RealmID(), Identity: c.identity, NextIdentity: c.next,
		Certificate: c.certificate, Time: uint64(time.Now().Unix()),
		Idle: uint32(idleTime / time.Second), ConnectionLife: uint32(connectionLife / time.Second),
		SessionLife: uint32(s.c.Accounts.MaxSessionLife() / time.Second),
	}
	switch s.c.Accounts.Registration() {
	case account.RegistrationOpen:
		m.Features = wire.FeatureRegister
	case account.RegistrationChecked:
		m.Features = wire.FeatureRegisterChecked
	case account.RegistrationInvited:
		m.Features = wire.FeatureRegisterInvited
	}
	return m
}

// eventOf says what a message is to the state table.
func eventOf(msg []byte) event {
	e := event{Type: wire.TypeOf(msg)}
	if e.Type == wire.TypeAuthStart {
		m, err := wire.ParseAuthStart(msg)
		if err != nil {
			return event{}
		}
		e.purpose, e.method = m.Purpose, m.Method
	}
	return e
}

// step handles one message, and says whether to go on.
func (ss *session) step(ctx context.Context, msg []byte) bool {
	e := eventOf(msg)
	row, ok := transitions[ss.state][e]
	if !ok || !ss.within(e) {
		ss.violation("protocol violation", ss.state, e)
		return false
	}
	if !atHand[e.Type] {
		ss.flush()
	}
	ctx, cancel := ss.deadline(ctx)
	defer cancel()
	if ss.state == ready {
		ss.used.Store(ss.server.requests.Add(1))
		if err := ss.server.c.Accounts.Check(ctx, ss.login); err != nil {
			code := goodbyeCode(err)
			if code == wire.CodeInternal {
				ss.log(slog.LevelError, "session check failed", "error", err)
			}
			return ss.end(code)
		}
	}
	before := ss.state
	began := time.Now()
	answer, err := row.handle(ss, ctx, msg)
	ss.server.seen.request(e.Type, time.Since(began))
	if errors.Is(err, wire.ErrMalformed) {
		ss.violation("malformed message", before, e)
		return false
	}
	if errors.Is(err, account.ErrUnknownOutcome) { // any answer would say too much
		ss.log(slog.LevelError, "request failed", "message", e.Type.String(), "error", err)
		if before == ready {
			return ss.end(wire.CodeInternal)
		}
		return false
	}
	if ss.state = row.then; err != nil {
		ss.state = row.other
		answer = ss.refusal(e, msg, before, err)
	} else if before != start || ss.state == ready { // to have asked for a challenge is of no use by itself
		ss.judged = true
	}
	if before != ready && ss.state == ready {
		ss.admit()
	}
	if answer != nil && !ss.write(answer) {
		return false
	}
	switch {
	case ss.denied >= maxDenied && before == ready:
		return ss.end(wire.CodeLimit)
	case ss.denied >= maxDenied:
		return false
	case ss.state == closed:
		return ss.end(ss.goodbye)
	}
	return true
}

// violation counts a message that ends the connection. Anybody can send those: only who is logged in gets a line that is seen.
func (ss *session) violation(what string, in state, e event) {
	ss.server.seen.violation()
	ss.offend(Violation)
	level := slog.LevelDebug
	if in == ready {
		level = slog.LevelInfo
	}
	ss.log(level, what, "state", in.String(), "message", e.Type.String())
}

// within counts a message against the limits of a connection that is not logged in.
func (ss *session) within(e event) bool {
	if e.Type == wire.TypeAuthStart {
		ss.starts++
	}
	return ss.state == ready || ss.frames <= maxLoginFrames && ss.starts <= maxStarts
}

// deadline bounds a message's check and handler: before login by the time for that, then as a write is.
func (ss *session) deadline(ctx context.Context) (context.Context, context.CancelFunc) {
	if ss.state == ready {
		return context.WithTimeout(ctx, writeTime)
	}
	return context.WithDeadline(ctx, ss.began.Add(loginTime))
}

// refusal makes an answer of an error, and counts it.
func (ss *session) refusal(e event, msg []byte, in state, err error) message {
	d := refuse(err)
	if d.Code == wire.CodeInternal {
		ss.log(slog.LevelError, "request failed", "message", e.Type.String(), "error", err)
	}
	if in != ready {
		ss.denied++
		switch d.Code {
		case wire.CodeDenied, wire.CodeCodeRefused, wire.CodeSessionMalformed:
			ss.offend(Refused)
		default:
			ss.judged = true // it was told why, which is of use
		}
		return &d
	}
	if d.Code == wire.CodeDenied {
		ss.denied++
	}
	id, _ := wire.RequestID(msg)
	return &wire.Refused{ID: id, Denied: d}
}

// answers holds buffers for the answer that a goroutine is writing, so that a connection that is idle has none.
var answers = sync.Pool{New: func() any { b := make([]byte, 0, 2048); return &b }}

// write sends one answer, or keeps it for a moment where the next request has been read already: then one system call sends the answers to
// all that have come together. This is where messages become bytes.
func (ss *session) write(m message) bool {
	buf := answers.Get().(*[]byte)
	defer answers.Put(buf)
	*buf = m.AppendTo((*buf)[:0])
	ss.wait = ss.state == ready && ss.conn.Buffered()
	if !ss.wait || !ss.conn.HasRoom(len(*buf)) {
		ss.raw.SetWriteDeadline(time.Now().Add(writeTime))
	}
	var err error
	if ss.wait {
		err = ss.conn.QueueMessage(*buf)
	} else {
		err = ss.conn.WriteMessage(*buf)
	}
	clear(*buf) // tokens and resume keys have been in it
	if err != nil {
		ss.lost = true
		ss.log(slog.LevelDebug, "write failed", "error", err)
	}
	return err == nil
}

// flush sends what waits, if anything does.
func (ss *session) flush() {
	if ss.wait {
		ss.wait = false
		ss.raw.SetWriteDeadline(time.Now().Add(writeTime))
		ss.conn.Flush()
	}
}

// end tells a peer that is logged in goodbye.
func (ss *session) end(code wire.Code) bool {
	ss.log(slog.LevelDebug, "goodbye", "reason", code.Name())
	ss.write(wire.Goodbye{Code: code})
	return false
}

// next reads the next message, or returns nil where the connection has come to its end.
func (ss *session) next() []byte {
	until, code := ss.patience()
	if !ss.wait || !ss.conn.Buffered() { // or else it has been read
		ss.flush()
		ss.setReadDeadline(until)
	}
	most := frameCap[ss.state]
	if ss.state != ready {
		most = min(most, maxLoginBytes-ss.bytes-wire.FrameHeaderSize)
	}
	msg, err := ss.conn.ReadMessage(most)
	if err == nil {
		if ss.state != ready {
			ss.frames++
			ss.bytes += wire.FrameHeaderSize + len(msg) + noiseconn.Overhead
		}
		return msg
	}
	if woken := ss.wokenBy(); woken != 0 {
		code = woken
	}
	timeout := errors.Is(err, os.ErrDeadlineExceeded)
	if ss.state == ready && timeout {
		ss.end(code)
	} else if ss.state == ready && errors.Is(err, noiseconn.ErrRecordLimit) {
		ss.end(wire.CodeLimit)
	} else {
		ss.lost = !errors.Is(err, wire.ErrFrameSize) && !errors.Is(err, noiseconn.ErrRecord)
		ss.log(slog.LevelDebug, "disconnect", "state", ss.state.String(), "error", err)
		ss.judge(err)
	}
	return nil
}

// patience is until when to wait for the peer, and why no longer.
func (ss *session) patience() (until time.Time, code wire.Code) {
	if ss.state != ready {
		return ss.began.Add(loginTime), wire.CodeIdle
	}
	until, code = time.Now().Add(idleTime), wire.CodeIdle
	if ss.login.Expires.Before(until) {
		until, code = ss.login.Expires, wire.CodeSessionExpired
	}
	if end := ss.began.Add(connectionLife); end.Before(until) {
		until, code = end, wire.CodeLimit
	}
	return until, code
}
