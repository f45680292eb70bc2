package server_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/authsrv/authsrv/internal/authtest"
	"github.com/authsrv/authsrv/server"
	"github.com/authsrv/authsrv/wire"
)

// strict starts a server with the penalties of the default, that exempt nothing.
func strict(t *testing.T, change func(*server.Config)) *authtest.Server {
	p := server.DefaultPenalties()
	p.Exempt = nil
	c := server.Config{Penalties: &p}
	if change != nil {
		change(&c)
	}
	return authtest.New(t, authtest.Options{Server: c})
}

// told is the refusal with the code overloaded.
const told = "\x00\x08auth\x01\x01\x00\x0b"

// garbage sends what is no handshake, and returns what it is answered.
func garbage(t *testing.T, srv *authtest.Server, address string) string {
	t.Helper()
	conn := from(t, srv, address)
	go conn.Write([]byte("GET / HTTP/1.1\r\n"))
	said, _ := io.ReadAll(conn)
	synctest.Wait()
	return string(said)
}

// isCut says whether the connections of an address are closed at once. Where they are not, it is one that wants nothing.
func isCut(t *testing.T, srv *authtest.Server, address string) bool {
	t.Helper()
	before := srv.Stats().CutOff
	conn := from(t, srv, address)
	synctest.Wait()
	defer synctest.Wait()
	defer conn.Close()
	return srv.Stats().CutOff > before
}

func offend(t *testing.T, srv *authtest.Server, address string, n int) {
	t.Helper()
	for range n {
		garbage(t, srv, address)
	}
}

func TestPenalty(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := strict(t, nil)
		alice := enroll(t, srv, "alice")
		p := enter(t, srv, alice, "203.0.113.1")
		waiting := greet(t, from(t, srv, "203.0.113.1"))
		offend(t, srv, "203.0.113.1", 5)
		if isCut(t, srv, "203.0.113.1") { // 26 s
			t.Fatal("cut off too early")
		}
		offend(t, srv, "203.0.113.1", 1)
		began := time.Now()
		// What is there goes on, what is new does not, and elsewhere nothing has changed.
		p.isThere()
		waiting.login(alice)
		conn := from(t, srv, "203.0.113.1")
		go conn.Write(preface())
		if said, _ := io.ReadAll(conn); string(said) != told {
			t.Errorf("the first one is told %q", said)
		}
		conn = from(t, srv, "203.0.113.1")
		if said, _ := io.ReadAll(conn); len(said) != 0 {
			t.Errorf("the second one is told %q", said)
		}
		if time.Since(began) > time.Second { // that is how long a refusal waits
			t.Errorf("it took %v", time.Since(began))
		}
		enter(t, srv, alice, "203.0.113.2")
		if s := srv.Stats(); s.Penalized != 1 || s.CutOff != 2 || s.Offences["garbage"] != 6 {
			t.Errorf("%d cut off, %d connections, %v", s.Penalized, s.CutOff, s.Offences)
		}
		// It passes by itself: who goes on does not make it longer.
		for range 20 {
			offend(t, srv, "203.0.113.1", 1)
			time.Sleep(time.Second)
		}
		time.Sleep(31*time.Second - time.Since(began))
		if s := srv.Stats(); s.Penalized != 0 || s.Offences["garbage"] != 6 {
			t.Errorf("after its time: %d cut off, %v", s.Penalized, s.Offences)
		}
		enter(t, srv, alice, "203.0.113.1")
		if n := strings.Count(srv.Log.String(), `msg="network cut off" network=203.0.113.1/32 for=31s last=garbage unlogged=0`); n != 1 {
			t.Errorf("%d lines of the log", n)
		}
	})
}

func preface() []byte { return []byte("auth\x01\x01\x00\x00\x00\x20" + strings.Repeat("\x09", 32)) }

// TestPenaltyMost: many offences at once cost no more than the most.
func TestPenaltyMost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := strict(t, nil)
		var conns []net.Conn
		for range 200 {
			conns = append(conns, from(t, srv, "203.0.113.1"))
		}
		synctest.Wait()
		for _, c := range conns {
			go c.Write([]byte("GET / HTTP/1.1\r\n"))
		}
		synctest.Wait()
		time.Sleep(5*time.Minute - time.Millisecond)
		if !isCut(t, srv, "203.0.113.1") {
			t.Error("200 offences have passed earlier")
		}
		time.Sleep(time.Millisecond)
		if isCut(t, srv, "203.0.113.1") {
			t.Error("they have not passed")
		}
	})
}

// TestOffences makes each of them in its ways.
func TestOffences(t *testing.T) {
	for name, test := range map[string]struct {
		offence string // "": none
		do      func(*testing.T, *authtest.Server, *user)
	}{
		"no client":   {"garbage", func(t *testing.T, srv *authtest.Server, _ *user) { garbage(t, srv, "203.0.113.1") }},
		"M1 too long": {"garbage", func(t *testing.T, srv *authtest.Server, _ *user) { say(t, srv, "auth\x01\x01\x00\x00\xff\xff") }},
		"M1 of zeros": {"garbage", func(t *testing.T, srv *authtest.Server, _ *user) {
			say(t, srv, "auth\x01\x01\x00\x00\x00\x20"+string(make([]byte, 32)))
		}},
		"M3 not right": {"garbage", func(t *testing.T, srv *authtest.Server, _ *user) {
			say(t, srv, string(preface())+"\x00\x60"+string(make([]byte, 96)))
		}},
		"silent": {"timeout", func(t *testing.T, srv *authtest.Server, _ *user) {
			from(t, srv, "203.0.113.1")
			time.Sleep(5 * time.Second)
		}},
		"no login": {"timeout", func(t *testing.T, srv *authtest.Server, alice *user) {
			greet(t, from(t, srv, "203.0.113.1")).ask(alice)
			time.Sleep(30 * time.Second)
		}},
		"not there": {"violation", func(t *testing.T, srv *authtest.Server, _ *user) {
			p := greet(t, from(t, srv, "203.0.113.1"))
			p.send(&wire.Proof{})
			p.expectClosed()
		}},
		"not there, logged in": {"violation", func(t *testing.T, srv *authtest.Server, alice *user) {
			p := enter(t, srv, alice, "203.0.113.1")
			p.send(&wire.Proof{})
			p.expectClosed()
		}},
		"a record that is none": {"violation", func(t *testing.T, srv *authtest.Server, alice *user) {
			p := enter(t, srv, alice, "203.0.113.1")
			p.raw.Write(append([]byte{0, 100}, make([]byte, 100)...))
			p.expectClosed()
		}},
		"wrong password": {"refused", func(t *testing.T, srv *authtest.Server, alice *user) {
			p := greet(t, from(t, srv, "203.0.113.1"))
			p.ask(alice)
			p.send(&wire.Proof{})
			p.expectDenied(wire.CodeDenied)
			p.raw.Close()
		}},
		"no token": {"refused", func(t *testing.T, srv *authtest.Server, _ *user) {
			p := greet(t, from(t, srv, "203.0.113.1"))
			p.sendStart(sessionStart([]byte("a.b.c")))
			p.expectDenied(wire.CodeSessionMalformed)
			p.raw.Close()
		}},
		"nothing wanted": {"dropped", func(t *testing.T, srv *authtest.Server, _ *user) { from(t, srv, "203.0.113.1").Close() }},
		"goes after the challenge": {"dropped", func(t *testing.T, srv *authtest.Server, alice *user) {
			p := greet(t, from(t, srv, "203.0.113.1"))
			p.ask(alice)
			p.raw.Close()
		}},
		"another version": {"dropped", func(t *testing.T, srv *authtest.Server, _ *user) { say(t, srv, "auth\x02\x01\x00\x00") }},

		"a login": {"", func(t *testing.T, srv *authtest.Server, alice *user) { enter(t, srv, alice, "203.0.113.1").raw.Close() }},
		"a registration": {"", func(t *testing.T, srv *authtest.Server, _ *user) {
			p, bob := greet(t, from(t, srv, "203.0.113.1")), newUser("bob")
			p.takeParams(bob)
			p.send(p.finish(bob))
			p.expect(wire.TypeRegistered)
			p.raw.Close()
		}},
		"a name that is taken": {"", func(t *testing.T, srv *authtest.Server, alice *user) {
			p := greet(t, from(t, srv, "203.0.113.1"))
			p.takeParams(alice)
			p.send(p.finish(alice))
			p.expectDenied(wire.CodeNameTaken)
			p.raw.Close()
		}},
		"a wrong password of who is logged in": {"", func(t *testing.T, srv *authtest.Server, alice *user) {
			p := enter(t, srv, alice, "203.0.113.1")
			p.send(&wire.ProvedOp{Type: wire.TypeRevokeAll, ID: 1})
			p.expectRefused(1, wire.CodeDenied)
			p.raw.Close()
		}},
		"idle": {"", func(t *testing.T, srv *authtest.Server, alice *user) {
			enter(t, srv, alice, "203.0.113.1").expectGoodbye(wire.CodeIdle)
		}},
		"evicted": {"", func(t *testing.T, srv *authtest.Server, _ *user) {
			if err := srv.SetRules(server.Rules{MaxHandshakes: 2, Penalties: exemptNothing()}); err != nil {
				t.Fatal(err)
			}
			conn := from(t, srv, "203.0.113.1")
			synctest.Wait()
			say(t, srv, "")
			io.ReadAll(conn)
		}},
		"a stop": {"", func(t *testing.T, srv *authtest.Server, _ *user) {
			from(t, srv, "203.0.113.1")
			synctest.Wait()
			if err := srv.Shutdown(context.Background()); err != nil {
				t.Error(err)
			}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				srv := strict(t, nil)
				alice := enroll(t, srv, "alice")
				test.do(t, srv, alice)
				synctest.Wait()
				for o, n := range srv.Stats().Offences {
					if want := o == test.offence; want != (n == 1) || n > 1 {
						t.Errorf("%d times %s", n, o)
					}
				}
			})
		})
	}
}

func exemptNothing() *server.Penalties {
	p := server.DefaultPenalties()
	p.Exempt = nil
	return &p
}

// say sends bytes on a connection of its own, and waits until the server closes it. Nothing is an address that counts for nothing.
func say(t *testing.T, srv *authtest.Server, text string) {
	t.Helper()
	if text == "" {
		dial(t, srv)
		return
	}
	conn := from(t, srv, "203.0.113.1")
	go conn.Write([]byte(text))
	io.ReadAll(conn)
}

// TestPenaltyOfWideNetworks: a wide network is cut off for what many of those in it do, and not for what one does.
func TestPenaltyOfWideNetworks(t *testing.T) {
	for name, c := range map[string]struct {
		address func(int) string // the i-th small network
		need    int              // of them, for the wide one
		beside  string           // in the wide one
		outside string
	}{
		"/24": {func(i int) string { return fmt.Sprintf("203.0.113.%d", i+1) }, 14, "203.0.113.200", "203.0.114.1"},
		"/56": {func(i int) string { return fmt.Sprintf("2001:db8:0:1%02x::1", i) }, 4, "2001:db8:0:1ff::1", "2001:db8:0:2ff::1"},
		"/48": {func(i int) string { return fmt.Sprintf("2001:db8:1:%02x00::1", i) }, 14, "2001:db8:1:ffff::1", "2001:db8:2::1"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				srv := strict(t, nil)
				for range 500 { // one of them, as often as it likes
					garbage(t, srv, c.address(0))
				}
				if !isCut(t, srv, c.address(0)) || isCut(t, srv, c.beside) {
					t.Fatal("the network beside pays for it")
				}
				n := 1
				for ; !isCut(t, srv, c.beside); n++ {
					if n > 20 {
						t.Fatal("twenty of them do what they like")
					}
					offend(t, srv, c.address(n), 6)
				}
				t.Logf("the wide network is cut off with %d in it", n)
				if n < c.need || isCut(t, srv, c.outside) {
					t.Errorf("it takes %d, and outside of it: %v", n, isCut(t, srv, c.outside))
				}
			})
		})
	}
}

// TestPenaltyExempt: by default loopback, and what a rule says.
func TestPenaltyExempt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := server.DefaultPenalties()
		p.Exempt = append(p.Exempt, netip.MustParsePrefix("2001:db8::/32"))
		srv := authtest.New(t, authtest.Options{Server: server.Config{Penalties: &p}})
		for _, address := range []string{"127.0.0.1", "127.9.9.9", "::1", "2001:db8:7::1"} {
			offend(t, srv, address, 20)
			if isCut(t, srv, address) {
				t.Errorf("%s is cut off", address)
			}
		}
		offend(t, srv, "203.0.113.1", 7)
		if !isCut(t, srv, "203.0.113.1") {
			t.Error("nobody is cut off")
		}
		// Who becomes exempt is let in at once.
		p.Exempt = append(p.Exempt, netip.MustParsePrefix("203.0.113.0/24"))
		if err := srv.SetRules(server.Rules{Penalties: &p}); err != nil || isCut(t, srv, "203.0.113.1") {
			t.Errorf("%v, and it is still cut off", err)
		}
	})
}

// TestPenaltyOff: what was held against anybody is forgotten.
func TestPenaltyOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := strict(t, nil)
		offend(t, srv, "203.0.113.1", 7)
		for _, p := range []*server.Penalties{{}, exemptNothing()} {
			if err := srv.SetRules(server.Rules{Penalties: p}); err != nil {
				t.Fatal(err)
			}
			if isCut(t, srv, "203.0.113.1") || srv.Stats().Penalized != 0 {
				t.Error("still cut off")
			}
		}
	})
	for _, p := range []server.Penalties{
		{Costs: [server.Offences]time.Duration{-1}},
		{Costs: [server.Offences]time.Duration{1}, Most: time.Second},
		{Costs: [server.Offences]time.Duration{1}, Least: time.Minute, Most: time.Second},
	} {
		if err := p.Check(); err == nil {
			t.Errorf("%+v is taken", p)
		}
	}
}

// TestPenaltyLines: of networks that are cut off at the same time one line is written, and the next one says how many there were.
func TestPenaltyLines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := strict(t, nil)
		for i := range 5 {
			offend(t, srv, fmt.Sprintf("203.0.%d.1", i), 6)
		}
		time.Sleep(10 * time.Second)
		offend(t, srv, "198.51.100.1", 6)
		log := srv.Log.String()
		if n := strings.Count(log, `msg="network cut off"`); n != 2 || !strings.Contains(log, "network=198.51.100.1/32 for=30s last=garbage unlogged=4") {
			t.Errorf("%d lines", n)
		}
	})
}

// TestPenaltiesAreBounded: as many networks as anybody likes take so much memory, and do not wash away what is worse.
func TestPenaltiesAreBounded(t *testing.T) {
	const room = 1000
	charge, cut, size := server.NewPenalties(*exemptNothing(), room)
	worst := netip.MustParseAddr("198.51.100.1")
	for range 60 {
		charge(worst, server.Garbage)
	}
	for i := range 50 * room {
		charge(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), server.Dropped)
		if size() > room {
			t.Fatalf("%d networks are remembered", size())
		}
	}
	if !cut(worst) || size() != room {
		t.Errorf("of %d networks the worst is cut off: %v", size(), cut(worst))
	}
}
