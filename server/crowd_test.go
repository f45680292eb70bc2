package server_test

import (
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/authsrv/authsrv/internal/authtest"
	"github.com/authsrv/authsrv/server"
	"github.com/authsrv/authsrv/wire"
)

// enter logs a user in from an address.
func enter(t *testing.T, srv *authtest.Server, u *user, address string) *peer {
	t.Helper()
	p := greet(t, from(t, srv, address))
	p.login(u)
	return p
}

func (p *peer) isThere() {
	p.t.Helper()
	p.plain(wire.TypeWhoAmI, wire.TypeAccount)
}

// TestCrowdOfOneAccount: who logs in as often as the server has room keeps nobody out.
func TestCrowdOfOneAccount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := authtest.New(t, authtest.Options{Server: server.Config{MaxConnections: 12, MaxHandshakes: 4}})
		mallory, bob := enroll(t, srv, "mallory"), enroll(t, srv, "bob")
		p := enter(t, srv, bob, "198.51.100.1") // it is idle for longest, and stays
		var crowd []*peer
		for range 20 {
			crowd = append(crowd, enter(t, srv, mallory, "203.0.113.1"))
		}
		second := enter(t, srv, bob, "198.51.100.2")
		p.isThere()
		second.isThere()
		for i, m := range crowd {
			if i < 14 {
				m.expectGoodbye(wire.CodeLimit)
			} else {
				m.isThere()
			}
		}
		if s := srv.Stats(); s.LoggedIn != 8 || s.Displaced != 14 {
			t.Errorf("%d logged in, %d displaced", s.LoggedIn, s.Displaced)
		}
	})
}

// TestMaxPerAccount: of the connections of an account the one goes that is idle for longest, and of no other account.
func TestMaxPerAccount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := authtest.New(t, authtest.Options{Server: server.Config{MaxPerAccount: 3}})
		alice, bob := enroll(t, srv, "alice"), enroll(t, srv, "bob")
		other := enter(t, srv, bob, "198.51.100.1")
		var peers []*peer
		for range 3 {
			peers = append(peers, enter(t, srv, alice, "198.51.100.1"))
		}
		peers[0].isThere()
		last := enter(t, srv, alice, "198.51.100.1")
		peers[1].expectGoodbye(wire.CodeLimit)
		for _, p := range []*peer{peers[0], peers[2], last, other} {
			p.isThere()
		}
		id, _ := last.operation(wire.TypeRevokeAll) // an operation takes no second place
		last.send(&wire.ProvedOp{Type: wire.TypeRevokeAll, ID: id})
		last.expectRefused(id, wire.CodeDenied)
		for _, p := range []*peer{peers[0], peers[2], last} {
			p.isThere()
		}
	})
	if _, err := server.New(&server.Config{MaxPerAccount: -1}); err == nil {
		t.Error("a limit below nothing")
	}
}

// TestWhoMakesRoom: of the largest accounts the largest network, and of those the one that is idle for longest.
func TestWhoMakesRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := authtest.New(t, authtest.Options{Server: server.Config{MaxConnections: 10, MaxHandshakes: 4}})
		users := map[string]*user{}
		for _, name := range []string{"alice", "bob", "carol", "dave", "erin", "frank", "grace"} {
			users[name] = enroll(t, srv, name)
		}
		dave := enter(t, srv, users["dave"], "198.51.100.4")
		alice := enter(t, srv, users["alice"], "198.51.100.1")
		bob := enter(t, srv, users["bob"], "2001:db8::1")
		second := enter(t, srv, users["alice"], "198.51.100.2")
		carol := enter(t, srv, users["carol"], "2001:db8::2")
		frank := enter(t, srv, users["frank"], "198.51.100.6")
		erin := enter(t, srv, users["erin"], "198.51.100.5")
		alice.expectGoodbye(wire.CodeLimit) // two of one account
		bob.isThere()
		grace := enter(t, srv, users["grace"], "198.51.100.7")
		carol.expectGoodbye(wire.CodeLimit) // two of one network
		for _, p := range []*peer{dave, bob, second, frank, erin, grace} {
			p.isThere()
		}
	})
}

// TestSilentCrowdDisplacesNobody: who is not logged in has places of its own, and takes none of those that are logged in.
func TestSilentCrowdDisplacesNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := authtest.New(t, authtest.Options{Server: server.Config{MaxConnections: 8}})
		alice := enroll(t, srv, "alice")
		var peers []*peer
		for range 4 {
			peers = append(peers, enter(t, srv, alice, "198.51.100.1"))
		}
		for range 300 {
			go io.Copy(io.Discard, from(t, srv, "203.0.113.1"))
			synctest.Wait()
		}
		for _, p := range peers {
			p.isThere()
		}
		enter(t, srv, alice, "198.51.100.1")
	})
}

// TestDeafMakeRoom: who has to make room and does not listen is cut off, where there are many of that kind.
func TestDeafMakeRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := authtest.New(t, authtest.Options{Server: server.Config{MaxPerAccount: 1}})
		alice := enroll(t, srv, "alice")
		for range 200 {
			enter(t, srv, alice, "198.51.100.1")
			synctest.Wait()
		}
		if n := srv.Connections(); n != 65 {
			t.Errorf("%d connections", n)
		}
		time.Sleep(11 * time.Second)
		p := enter(t, srv, alice, "198.51.100.1")
		enter(t, srv, alice, "198.51.100.1")
		p.expectGoodbye(wire.CodeLimit)
		synctest.Wait()
		if n := srv.Connections(); n > 2 { // the one before p is deaf
			t.Errorf("%d connections", n)
		}
	})
}

// TestRefusalsAreBounded: only so many are told that there is no room, and they are no connections.
func TestRefusalsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := authtest.New(t, authtest.Options{Server: server.Config{MaxPerAccount: 1000}})
		alice := enroll(t, srv, "alice")
		for range 200 {
			enter(t, srv, alice, "198.51.100.1")
		}
		if err := srv.SetRules(server.Rules{MaxConnections: 2}); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		var ended atomic.Int64
		for range 70 {
			conn := from(t, srv, "203.0.113.1")
			go func() {
				if io.Copy(io.Discard, conn); time.Since(began) == 0 {
					ended.Add(1)
				}
			}()
			synctest.Wait()
		}
		if n := ended.Load(); n != 6 {
			t.Errorf("%d were closed at once", n)
		}
		if s := srv.Stats(); s.Connections != 194 || s.Handshakes["overloaded"] != 70 { // 64 are being told goodbye, 6 were cut off
			t.Errorf("%d connections, %d were refused", s.Connections, s.Handshakes["overloaded"])
		}
		time.Sleep(2 * time.Second)
		if said, _ := io.ReadAll(refused(t, srv)); string(said) != "\x00\x08auth\x01\x01\x00\x0b" {
			t.Errorf("the server said %q", said)
		}
	})
}

// refused is a client that has said its first word.
func refused(t *testing.T, srv *authtest.Server) io.Reader {
	conn := dial(t, srv)
	go conn.Write(append([]byte("auth\x01\x01\x00\x00\x00\x20"), make([]byte, 32)...))
	return conn
}

// TestLogoutCostsOneSession: what the feed tells of one session is not looked up for all others of the account.
func TestLogoutCostsOneSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEngine(t)
		srv := authtest.New(t, authtest.Options{Engine: e})
		alice := enroll(t, srv, "alice")
		var peers []*peer
		for range 40 {
			peers = append(peers, enter(t, srv, alice, "198.51.100.1"))
		}
		synctest.Wait()
		var gets atomic.Int64
		e.set(func(operation string) error {
			if operation == "get" {
				gets.Add(1)
			}
			return nil
		})
		peers[0].plain(wire.TypeLogout, wire.TypeDone)
		synctest.Wait()
		if n := gets.Load(); n > 6 {
			t.Errorf("a logout reads %d records", n)
		}
		e.set(nil)
		peers[1].isThere()
	})
}

// TestLogBeforeLogin: who is not logged in can't fill the log by what costs nothing.
func TestLogBeforeLogin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := &authtest.Log{}
		srv := authtest.New(t, authtest.Options{Server: server.Config{Logger: slog.New(slog.NewTextHandler(log, nil))}})
		alice := enroll(t, srv, "alice")
		for i := range 12 {
			p := connectFrom(t, srv, i)
			p.ask(alice)
			p.send(&wire.Proof{})
			p.expectDenied(wire.CodeDenied)
		}
		p := connectFrom(t, srv, 100)
		p.send(bytesMessage("\x77"))
		p.expectClosed()
		p = connectFrom(t, srv, 101)
		p.ask(newUser("nobody"))
		p.send(bytesMessage(fmt.Sprintf("%c", wire.TypeProof)))
		p.expectClosed()
		synctest.Wait()
		text := log.String()
		if n := strings.Count(text, "outcome=wrong-password"); n < 5 {
			t.Errorf("%d real outcomes:\n%s", n, text)
		}
		for _, word := range []string{"throttled", "violation", "malformed"} {
			if strings.Contains(text, word) {
				t.Errorf("%q is in the log:\n%s", word, text)
			}
		}
		s := srv.Stats()
		if s.Violations != 2 || s.Attempts[server.Attempt{What: "login", Outcome: "throttled"}] == 0 {
			t.Errorf("%d violations, %v", s.Violations, s.Attempts)
		}
		time.Sleep(time.Hour)
		p = connectFrom(t, srv, 102)
		p.login(alice)
		p.send(bytesMessage("\x77"))
		p.expectClosed()
		synctest.Wait()
		if !strings.Contains(log.String(), "protocol violation") {
			t.Error("what a user does is not in the log")
		}
	})
}

func TestRulesWithinFiles(t *testing.T) {
	for _, c := range []struct{ max, files, want int }{
		{0, 1 << 20, 20_000}, {0, 20_192, 20_000}, {0, 20_191, 19_999}, {500, 1000, 500}, {500, 600, 408}, {0, 208, 16}, {0, 207, 0}, {0, -100, 0}, {16, 208, 16},
		{4, 208, 4}, {4, 196, 4}, {4, 195, 0},
	} {
		r, err := (server.Rules{MaxConnections: c.max}).Within(c.files)
		if (err == nil) != (c.want > 0) || err == nil && r.MaxConnections != c.want {
			t.Errorf("%+v: %+v, %v", c, r, err)
		}
	}
	if _, err := (server.Rules{Grace: -1}).Within(1000); err == nil {
		t.Error("a rule that can't be")
	}
}

// TestCrowdOfManyNetworks: who has many networks of a wide one is a crowd, though there is but one connection in each.
func TestCrowdOfManyNetworks(t *testing.T) {
	for name, address := range map[string]string{
		"/64s of a /48": "2001:db8:1:%x::1", "/56s of a /48": "2001:db8:1:%x00::1", "/64s of a /56": "2001:db8:1:42%02x::1", "addresses of a /24": "203.0.113.%d",
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				srv := authtest.New(t, authtest.Options{Server: server.Config{MaxHandshakes: 96}})
				alice := enroll(t, srv, "alice")
				var waiting []net.Conn
				for i := range 5 { // they are there for longest
					waiting = append(waiting, from(t, srv, fmt.Sprintf("198.51.%d.1", i)))
					synctest.Wait()
				}
				for i := range 200 {
					go io.Copy(io.Discard, from(t, srv, fmt.Sprintf(address, i+1)))
					synctest.Wait()
				}
				for _, conn := range waiting {
					greet(t, conn).login(alice)
				}
			})
		})
	}
}
