package server_test

import (
	"encoding/binary"
	"io"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/authsrv/authsrv/internal/authtest"
	"github.com/authsrv/authsrv/noiseconn"
	"github.com/authsrv/authsrv/wire"
)

func dial(t testing.TB, srv *authtest.Server) net.Conn {
	t.Helper()
	conn, err := srv.Connect(t.Context(), "", "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// expectAge waits until the server closes the connection, and holds its age then against what it should be.
func (p *peer) expectAge(began time.Time, want time.Duration) {
	p.t.Helper()
	p.closedAfter()
	if age := time.Since(began); age != want {
		p.t.Fatalf("closed at an age of %v, want %v", age, want)
	}
}

func TestHandshakeDeadline(t *testing.T) {
	var dripping sync.WaitGroup
	for name, say := range map[string]func(*testing.T, net.Conn){
		"silent":         func(*testing.T, net.Conn) {},
		"half a preface": func(_ *testing.T, c net.Conn) { c.Write([]byte("auth")) },
		"preface":        func(_ *testing.T, c net.Conn) { c.Write([]byte("auth\x01\x01\x00\x00")) },
		"drips": func(_ *testing.T, c net.Conn) {
			m1 := append([]byte("auth\x01\x01\x00\x00\x00\x20"), make([]byte, 32)...)
			dripping.Go(func() {
				for i := range m1 {
					time.Sleep(time.Second)
					if _, err := c.Write(m1[i : i+1]); err != nil {
						return
					}
				}
			})
		},
		"no M3": func(t *testing.T, c net.Conn) {
			if _, _, err := noiseconn.Client(c, nil).Hello(t.Context()); err != nil {
				t.Error(err)
			}
		},
		"does not take M2": func(_ *testing.T, c net.Conn) {
			m1 := append([]byte("auth\x01\x01\x00\x00\x00\x20"), make([]byte, 31)...)
			c.Write(append(m1, 9))
			time.Sleep(6 * time.Second)
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, srv *authtest.Server, _ *user) {
				conn, began := dial(t, srv), time.Now()
				say(t, conn)
				rest, _ := io.ReadAll(conn)
				if len(rest) != 0 {
					t.Errorf("the server said %x", rest)
				}
				age := time.Since(began)
				dripping.Wait()
				if age != 5*time.Second && name != "does not take M2" {
					t.Errorf("closed after %v", age)
				}
			})
		})
	}
}

func TestLoginDeadline(t *testing.T) {
	const limit = 30 * time.Second
	bubble(t, func(t *testing.T, srv *authtest.Server, alice *user) {
		p, began := connect(t, srv), time.Now()
		p.ask(alice)
		p.expectAge(began, limit)
	})
	bubble(t, func(t *testing.T, srv *authtest.Server, alice *user) {
		p, began := connect(t, srv), time.Now() // what is said in between gives no more time
		time.Sleep(4 * time.Second)
		p.ask(alice)
		time.Sleep(19 * time.Second)
		p.send(&wire.Proof{})
		p.expectDenied(wire.CodeDenied)
		p.ask(alice)
		p.expectAge(began, limit)
	})
	bubble(t, func(t *testing.T, srv *authtest.Server, alice *user) {
		p := connect(t, srv)
		time.Sleep(4 * time.Second)
		p.ask(alice)
		time.Sleep(19 * time.Second)
		p.send(p.proof(alice))
		p.takeWelcome()
		time.Sleep(time.Minute)
		p.plain(wire.TypeWhoAmI, wire.TypeAccount) // it counts no more
	})
}

func TestIdle(t *testing.T) {
	bubble(t, func(t *testing.T, srv *authtest.Server, alice *user) {
		p := connect(t, srv)
		if p.hello.Idle != 1800 || p.hello.ConnectionLife != 43200 || p.hello.SessionLife != 2592000 {
			t.Errorf("ServerHello has %d, %d, %d", p.hello.Idle, p.hello.ConnectionLife, p.hello.SessionLife)
		}
		p.login(alice)
		time.Sleep(29 * time.Minute)
		p.plain(wire.TypeWhoAmI, wire.TypeAccount)
		began := time.Now()
		p.expectGoodbyeAt(wire.CodeIdle, began.Add(30*time.Minute))
	})
}

func (p *peer) expectGoodbyeAt(code wire.Code, at time.Time) {
	p.t.Helper()
	g, err := wire.ParseGoodbye(p.expect(wire.TypeGoodbye))
	if now := time.Now(); err != nil || g.Code != code || !now.Equal(at) {
		p.t.Fatalf("goodbye %v, %v, at %v, want %v at %v", g.Code.Name(), err, now, code.Name(), at)
	}
	p.expectClosed()
}

func TestConnectionLife(t *testing.T) {
	bubble(t, func(t *testing.T, srv *authtest.Server, alice *user) {
		began := time.Now()
		p := connect(t, srv)
		p.login(alice)
		for time.Since(began) < 12*time.Hour-20*time.Minute {
			time.Sleep(20 * time.Minute)
			p.plain(wire.TypeList, wire.TypeListing)
		}
		p.expectGoodbyeAt(wire.CodeLimit, began.Add(12*time.Hour))
	})
}

func TestSessionExpires(t *testing.T) {
	bubble(t, func(t *testing.T, srv *authtest.Server, alice *user) {
		p := connect(t, srv)
		p.static = alice.static
		m := loginStart("alice")
		m.Lifetime = 90
		p.sendStart(m)
		c, err := wire.ParseChallenge(p.expect(wire.TypeChallenge))
		if err != nil {
			t.Fatal(err)
		}
		p.challenge = c
		p.send(p.proof(alice))
		p.takeWelcome()
		began := time.Now()
		if got := time.Unix(int64(p.welcome.Expires), 0); !got.Equal(began.Add(90 * time.Second)) {
			t.Errorf("expires at %v", got)
		}
		time.Sleep(80 * time.Second)
		p.plain(wire.TypeWhoAmI, wire.TypeAccount)
		p.expectGoodbyeAt(wire.CodeSessionExpired, began.Add(90*time.Second))
		p = connect(t, srv)
		p.static = alice.static
		p.sendStart(sessionStart([]byte("a.b.c")))
		p.expectDenied(wire.CodeSessionMalformed)
	})
}

func TestThreeStarts(t *testing.T) {
	bubble(t, func(t *testing.T, srv *authtest.Server, alice *user) {
		p, bob := connect(t, srv), newUser("bob")
		p.takeParams(bob)
		p.send(p.finish(bob))
		p.expect(wire.TypeRegistered)
		for range 2 {
			p.ask(alice)
			p.send(&wire.Proof{})
			p.expectDenied(wire.CodeDenied)
		}
		p.send(loginStart("alice"))
		p.expectClosed()
	})
}

func TestThreeDenied(t *testing.T) {
	bubble(t, func(t *testing.T, srv *authtest.Server, alice *user) {
		p := connect(t, srv)
		for range 3 {
			p.ask(alice)
			p.send(&wire.Proof{})
			p.expectDenied(wire.CodeDenied)
		}
		p.expectClosed()
	})
	bubble(t, func(t *testing.T, srv *authtest.Server, alice *user) {
		p := connect(t, srv)
		p.ask(alice)
		p.send(&wire.Proof{})
		p.expectDenied(wire.CodeDenied)
		p.login(alice)
		for id := range uint32(3) { // counted anew
			p.send(&wire.ProvedOp{Type: wire.TypeRevokeAll, ID: id + 1})
			p.expectRefused(id+1, wire.CodeDenied)
		}
		p.expectGoodbye(wire.CodeLimit)
	})
}

// TestBytesBeforeLogin: three passwords to be judged on one connection are more than 8 KiB. No other path comes near that, and
// none to 16 frames.
func TestBytesBeforeLogin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t)
		p, _ := s.reach("Checking")
		for range 2 {
			p.send(&wire.RegisterPassword{Password: []byte("password")})
			p.expectDenied(wire.CodePasswordPolicy)
			p.sendStart(checkedStart("bob"))
			p.expect(wire.TypeRegisterParams)
		}
		if _, err := p.raw.Write(binary.BigEndian.AppendUint16(nil, wire.MaxCheckingFrame)); err != nil {
			t.Fatal(err)
		}
		p.expectClosed() // at the header: the body has not come
	})
}

func TestFrameSizes(t *testing.T) {
	frame := func(n int) []byte { return binary.BigEndian.AppendUint16(nil, uint16(n)) }
	for _, state := range []struct {
		name string
		cap  int
	}{{"Start", 1056}, {"Challenged", 1056}, {"Registering", 1056}, {"Checking", 2112}, {"Ready", 16400}} {
		for name, bytes := range map[string][]byte{
			"empty": frame(0), "over": frame(state.cap + 1), "longest": frame(0xffff),
			"garbage": append(frame(100), make([]byte, 100)...), "no tag": append(frame(15), make([]byte, 15)...),
			"full of garbage": append(frame(state.cap), make([]byte, state.cap)...),
		} {
			t.Run(state.name+" "+name, func(t *testing.T) {
				bubble(t, func(t *testing.T, srv *authtest.Server, alice *user) {
					s := &stage{t: t, open: srv, checked: srv, shared: alice}
					if state.name == "Checking" {
						s = newStage(t)
					}
					p, _ := s.reach(state.name)
					began := time.Now()
					p.raw.Write(bytes)
					p.expectClosed()
					if time.Since(began) != 0 {
						t.Error("not at once")
					}
				})
			})
		}
	}
	for _, state := range []string{"Start", "Ready"} {
		t.Run(state+" cut", func(t *testing.T) {
			bubble(t, func(t *testing.T, srv *authtest.Server, alice *user) {
				s := &stage{t: t, open: srv, shared: alice}
				p, _ := s.reach(state)
				p.raw.Write(append(frame(100), make([]byte, 50)...))
				p.raw.Close()
			})
		})
	}
}

func TestHandshakeGarbage(t *testing.T) {
	m1 := func(n int, key byte) []byte {
		b := binary.BigEndian.AppendUint16([]byte("auth\x01\x01\x00\x00"), uint16(n))
		for range n {
			b = append(b, key)
		}
		return b
	}
	for name, bytes := range map[string][]byte{
		"HTTP":             []byte("GET / HTTP/1.1\r\nHost: auth.example.org\r\n\r\n"),
		"TLS":              []byte("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"),
		"SSH":              []byte("SSH-2.0-OpenSSH_9.9\r\n"),
		"zeros":            make([]byte, 64),
		"upper-case magic": []byte("AUTH\x01\x01\x00\x00"),
		"M1 empty":         m1(0, 9),
		"M1 short":         m1(31, 9),
		"M1 long":          m1(33, 9),
		"M1 over the cap":  m1(513, 9),
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, srv *authtest.Server, _ *user) {
				conn, began := dial(t, srv), time.Now()
				go conn.Write(bytes)
				if rest, _ := io.ReadAll(conn); len(rest) != 0 || time.Since(began) != 0 {
					t.Errorf("the server said %x after %v", rest, time.Since(began))
				}
			})
		})
	}
	for name, bytes := range map[string]string{
		"version 2": "auth\x02\x01\x00\x00", "version 0": "auth\x00\x01\x00\x00", "suite 2": "auth\x01\x02\x00\x00", "flags": "auth\x01\x01\x00\x01",
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, srv *authtest.Server, _ *user) {
				conn := dial(t, srv)
				go conn.Write([]byte(bytes))
				rest, _ := io.ReadAll(conn)
				if want := "\x00\x08auth\x01\x01\x00\x0a"; string(rest) != want {
					t.Errorf("the server said %q, want %q", rest, want)
				}
			})
		})
	}
	t.Run("M1 of low order", func(t *testing.T) {
		bubble(t, func(t *testing.T, srv *authtest.Server, _ *user) {
			conn := dial(t, srv)
			go conn.Write(m1(32, 0))
			if rest, _ := io.ReadAll(conn); len(rest) != 0 {
				t.Errorf("the server said %x", rest)
			}
		})
	})
}
