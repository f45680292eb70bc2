package server_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/authsrv/authsrv/credential"
	"github.com/authsrv/authsrv/internal/account"
	"github.com/authsrv/authsrv/internal/authtest"
	"github.com/authsrv/authsrv/internal/soak"
	"github.com/authsrv/authsrv/kv"
	"github.com/authsrv/authsrv/server"
	"github.com/authsrv/authsrv/wire"
)

// tapped is a connection that is recorded.
type tapped struct {
	net.Conn
	mu       sync.Mutex
	up, down []byte
}

func (c *tapped) Write(b []byte) (int, error) {
	c.mu.Lock()
	c.up = append(c.up, b...)
	c.mu.Unlock()
	return c.Conn.Write(b)
}

func (c *tapped) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.down = append(c.down, b[:n]...)
	return n, err
}

// heard is what somebody has of a connection: each frame of both ways, and what the client said in them.
type heard struct {
	what   string
	up     []byte
	frames [][]byte
	plain  [][]byte
}

func framesOf(stream []byte, preface bool) (frames [][]byte) {
	for len(stream) > 0 {
		n := wire.PrefaceSize
		if !preface {
			n = wire.FrameHeaderSize + int(binary.BigEndian.Uint16(stream))
		}
		preface = false
		frames, stream = append(frames, stream[:n:n]), stream[n:]
	}
	return frames
}

// replays is a server with its store, and what was recorded of it.
type replays struct {
	t      *testing.T
	engine kv.Engine
	srv    *authtest.Server
	n      int // connections
	heard  []heard

	vera, gone *user
	code       credential.Code // for vera, not used
}

// keyed is randomness that begins with a key.
type keyed struct {
	mu   sync.Mutex
	key  *[32]byte
	rest *rand.ChaCha8
}

func (k *keyed) Read(p []byte) (int, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.key != nil {
		n := copy(p, k.key[:])
		k.key = nil
		return n, nil
	}
	return k.rest.Read(p)
}

// start starts the server, or starts it again: with the same store and the same keys, the static one among them.
func (r *replays) start() {
	if r.srv != nil {
		if err := r.srv.Stop(); err != nil {
			r.t.Error(err)
		}
	}
	static := sha256.Sum256([]byte("a node's static key"))
	random := &keyed{key: &static, rest: rand.NewChaCha8(sha256.Sum256(fmt.Appendf(nil, "start %d", r.n)))}
	r.srv = authtest.New(r.t, authtest.Options{Engine: r.engine, Server: server.Config{Rand: random}})
}

// connect leads a connection from an address of its own up to M2.
func (r *replays) connect() *peer {
	r.n++
	return connectFrom(r.t, r.srv, r.n)
}

func (r *replays) record(what string, run func(p *peer)) {
	r.n++
	conn, err := r.srv.Connect(r.t.Context(), "", "")
	if err != nil {
		r.t.Fatal(err)
	}
	tap := &tapped{Conn: conn}
	p := greet(r.t, tap)
	run(p)
	p.raw.Close()
	synctest.Wait()
	tap.mu.Lock()
	defer tap.mu.Unlock()
	r.heard = append(r.heard, heard{what, tap.up, slices.Concat(framesOf(tap.up, true), framesOf(tap.down, false)), p.sent})
}

// recordAll makes one connection of each kind.
func (r *replays) recordAll() {
	r.start()
	r.vera, r.gone = newUser("vera"), newUser("gone")
	for _, u := range []*user{r.vera, r.gone} {
		r.record("registration", func(p *peer) {
			p.takeParams(u)
			p.send(p.finish(u))
			p.expect(wire.TypeRegistered)
		})
	}
	r.record("invited", func(p *peer) {
		code, u := r.srv.Invite(), newUser("invited")
		p.takeCode(invitedStart(u.name, code), code)
		m := p.finish(u)
		proof := p.code.ProveCode(p.codeSum(m.AppendSigned(nil)))
		m.CodeProof = proof[:]
		p.send(m)
		p.expect(wire.TypeRegistered)
	})
	r.registration(account.RegistrationChecked)
	r.record("checked", func(p *peer) {
		p.toBeJudged("judged")
		p.send(&wire.RegisterPassword{Password: []byte("correct horse battery staple")})
		p.expect(wire.TypeRegistered)
	})
	r.registration(account.RegistrationOpen)
	r.record("reset", func(p *peer) {
		p.takeReset(r.vera, r.srv.Reset("vera"))
		p.reset(r.vera)
	})
	for _, of := range []wire.Type{wire.TypeRevokeAll, wire.TypeDeleteAccount} {
		u := map[wire.Type]*user{wire.TypeRevokeAll: r.vera, wire.TypeDeleteAccount: r.gone}[of]
		r.record(of.String(), func(p *peer) {
			p.login(u)
			id, c := p.operation(of)
			p.send(p.proved(u, of, id, &c))
			p.expect(wire.TypeDone)
		})
	}
	var token []byte
	r.record("login", func(p *peer) {
		p.login(r.vera)
		p.plain(wire.TypeWhoAmI, wire.TypeAccount)
		p.plain(wire.TypeList, wire.TypeListing)
		p.changePassword(r.vera, r.vera.renewed())
		p.changePassword(r.vera.renewed(), r.vera)
		token = p.welcome.Token
	})
	r.record("resumption", func(p *peer) {
		p.static = r.vera.static
		p.sendStart(sessionStart(token))
		p.takeWelcome()
		p.plain(wire.TypeWhoAmI, wire.TypeAccount)
	})
	r.code = r.srv.Reset("vera")
}

func (r *replays) registration(mode account.Registration) {
	if err := r.srv.Accounts.SetRules(account.Rules{Registration: mode}); err != nil {
		r.t.Fatal(err)
	}
}

// toBeJudged begins a registration by sending the password.
func (p *peer) toBeJudged(name string) {
	p.t.Helper()
	p.sendStart(checkedStart(name))
	p.expect(wire.TypeRegisterParams)
}

// checking leads a connection to state Checking, on a server that else takes other registrations.
func (r *replays) checking(p func() *peer) *peer {
	r.registration(account.RegistrationChecked)
	defer r.registration(account.RegistrationOpen)
	q := p()
	q.toBeJudged("unjudged")
	return q
}

// stored is all that is kept of accounts: names, records and codes in full; of sessions that they are there.
func (r *replays) stored() (all []string) {
	entries, _, err := r.engine.Scan(r.t.Context(), nil, nil, 100_000)
	if err != nil {
		r.t.Fatal(err)
	}
	for _, e := range entries {
		switch e.Key[0] {
		case 'a', 'n', 'c':
			all = append(all, string(e.Key)+string(e.Value))
		case 's':
			all = append(all, string(e.Key))
		}
	}
	return all
}

// unchanged runs what must change nothing.
func (r *replays) unchanged(what string, run func()) {
	before := r.stored()
	run()
	synctest.Wait()
	if after := r.stored(); !slices.Equal(before, after) {
		r.t.Errorf("%s: of %d records %d are left", what, len(before), len(after))
	}
}

// situations are where a connection can be when a frame comes that was recorded: every state of PROTOCOL 9, and those before it.
var situations = []struct {
	name string
	lead func(*replays) net.Conn
}{
	{"before the preface", func(r *replays) net.Conn { r.n++; return from(r.t, r.srv, "198.18.0.1") }},
	{"behind the preface", func(r *replays) net.Conn {
		conn := from(r.t, r.srv, "198.18.0.1")
		preface := wire.Preface{Version: wire.Version, Suite: wire.Suite}.Bytes()
		conn.Write(preface[:])
		return conn
	}},
	{"before M3", func(r *replays) net.Conn { return r.connect().raw }},
	{"Start", func(r *replays) net.Conn { return r.denied(false).raw }},
	{"Challenged", func(r *replays) net.Conn { p := r.connect(); p.ask(r.vera); return p.raw }},
	{"Registering", func(r *replays) net.Conn { p := r.connect(); p.takeParams(r.gone); return p.raw }},
	{"Checking", func(r *replays) net.Conn { return r.checking(r.connect).raw }},
	{"Resetting", func(r *replays) net.Conn { p := r.connect(); p.takeReset(r.vera, r.code); return p.raw }},
	{"Ready", func(r *replays) net.Conn { p := r.connect(); p.login(r.vera); return p.raw }},
	{"Ready, challenged", func(r *replays) net.Conn {
		p := r.connect()
		p.login(r.vera)
		p.operation(wire.TypeDeleteAccount)
		return p.raw
	}},
}

// denied is a connection in state Start, with vera's device key or one of its own.
func (r *replays) denied(stolen bool) *peer {
	p := r.connect()
	if stolen {
		p.static = r.vera.static
	}
	p.sendStart(sessionStart([]byte("x.y.z")))
	p.expectDenied(wire.CodeSessionMalformed)
	return p
}

// TestSoakReplayedFrames sends every frame of every connection that was recorded, of both ways, to the server again: in every
// state, before and after it was started anew, one by one and all of a connection in their order. None is answered.
func TestSoakReplayedFrames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &replays{t: t, engine: authtest.Engine(t)}
		r.recordAll()
		var all [][]byte
		for _, h := range r.heard {
			all = append(all, h.frames...)
		}
		n := min(soak.Times(t, len(all), 8), len(all))
		tried := 0
		for _, again := range []bool{false, true} {
			if again {
				r.start()
			}
			for _, s := range situations {
				first := tried
				for i := range n {
					frame := all[(i*len(all)/n+first)%len(all)]
					tried++
					what := fmt.Sprintf("%s, %d bytes, started anew %v", s.name, len(frame), again)
					conn := s.lead(r)
					r.unchanged(what, func() {
						conn.Write(frame)
						said, _ := io.ReadAll(conn)
						m1 := s.name == "behind the preface" && len(frame) == wire.FrameHeaderSize+32
						if len(said) != 0 && !(m1 && len(said) == wire.FrameHeaderSize+448) {
							t.Errorf("%s: the server said %d bytes", what, len(said))
						}
					})
					conn.Close()
				}
			}
			for _, h := range r.heard {
				conn := from(t, r.srv, "198.18.0.1")
				r.unchanged(h.what, func() {
					go conn.Write(h.up)                                                     // while the server answers
					if said, _ := io.ReadAll(conn); len(said) != wire.FrameHeaderSize+448 { // M2, for another ephemeral key
						t.Errorf("all of %s: the server said %d bytes", h.what, len(said))
					}
				})
			}
		}
		t.Logf("%d frames of %d connections: %d replays in %d states", len(all), len(r.heard), tried, len(situations))
	})
}

// below are the states in which who has the keys of a connection can say what was said on another one. An operation that was begun
// is one of the message's type, under its id.
var below = []struct {
	name string
	lead func(r *replays, message []byte, stolen bool) *peer
}{
	{"Start", func(r *replays, _ []byte, stolen bool) *peer { return r.denied(stolen) }},
	{"Challenged", func(r *replays, _ []byte, stolen bool) *peer {
		p := r.denied(stolen)
		static := p.static
		p.ask(&user{name: "vera", static: static})
		return p
	}},
	{"Registering", func(r *replays, _ []byte, stolen bool) *peer {
		p := r.denied(stolen)
		p.takeParams(r.gone)
		return p
	}},
	{"Checking", func(r *replays, _ []byte, stolen bool) *peer {
		return r.checking(func() *peer { return r.denied(stolen) })
	}},
	{"Resetting", func(r *replays, _ []byte, stolen bool) *peer {
		p := r.denied(stolen)
		p.takeReset(r.vera, r.code)
		return p
	}},
	{"Ready", func(r *replays, _ []byte, stolen bool) *peer {
		p := r.denied(stolen)
		p.login(&user{"vera", r.vera.key, r.vera.serverKey, p.static})
		return p
	}},
	{"Ready, challenged", func(r *replays, message []byte, stolen bool) *peer {
		p := r.denied(stolen)
		p.login(&user{"vera", r.vera.key, r.vera.serverKey, p.static})
		of, id := wire.TypeDeleteAccount, uint32(1)
		switch t := wire.TypeOf(message); t {
		case wire.TypeChangePassword, wire.TypeDeleteAccount, wire.TypeRevokeAll:
			of, id = t, binary.BigEndian.Uint32(message[1:])
		}
		p.send(&wire.OpStart{ID: id, Operation: of, ClientNonce: nonce("operation")})
		p.expect(wire.TypeOpChallenge)
		return p
	}},
}

// grants are the answers that let somebody in or change something.
var grants = []wire.Type{wire.TypeWelcome, wire.TypeRegistered, wire.TypeResetDone, wire.TypeDone, wire.TypePasswordChanged}

// TestSoakReplayedMessages says every message of every connection that was recorded again, inside of Noise: as who has the keys of a
// connection of his own, with a device key of his own and with vera's, in every state, before and after the server was started anew. What
// proved something then proves nothing now.
func TestSoakReplayedMessages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &replays{t: t, engine: authtest.Engine(t)}
		r.recordAll()
		var all [][]byte
		for _, h := range r.heard {
			for _, m := range h.plain {
				if !slices.ContainsFunc(all, func(b []byte) bool { return bytes.Equal(b, m) }) {
					all = append(all, m)
				}
			}
		}
		n := min(soak.Times(t, len(all), 5), len(all))
		tried, answers := 0, make(map[string]int)
		for _, again := range []bool{false, true} {
			if again {
				r.start()
			}
			for _, stolen := range []bool{false, true} {
				for _, s := range below {
					first := tried
					for i := range n {
						m := all[(i*len(all)/n+first)%len(all)]
						if start, err := wire.ParseAuthStart(m); err == nil && start.Purpose == wire.PurposeSession && stolen {
							continue // a token with its key is what resumes
						}
						if wire.TypeOf(m) == wire.TypeRegisterPassword && s.name == "Checking" {
							continue // a password proves nothing of before: it is what an account is made with
						}
						tried++
						if err := r.srv.Accounts.Unlock(t.Context(), "vera"); err != nil { // what is refused is the proof, and not one more try
							t.Fatal(err)
						}
						p := s.lead(r, m, stolen)
						what := fmt.Sprintf("%v in state %s, the key stolen %v, started anew %v", wire.TypeOf(m), s.name, stolen, again)
						r.unchanged(what, func() {
							p.conn.WriteMessage(m)
							b, err := p.conn.ReadMessage(wire.MaxSessionFrame)
							p.raw.Close()
							if err != nil {
								answers["closed"]++
								return
							}
							answers[wire.TypeOf(b).String()]++
							if slices.Contains(grants, wire.TypeOf(b)) {
								t.Errorf("%s: the answer is %v", what, wire.TypeOf(b))
							}
						})
					}
				}
			}
		}
		t.Logf("%d messages of %d connections, %d times: %v", len(all), len(r.heard), tried, answers)
		for _, want := range []string{"closed", wire.TypeDenied.String(), wire.TypeRefused.String()} {
			if answers[want] == 0 {
				t.Errorf("none was answered with %s", want)
			}
		}
	})
}
