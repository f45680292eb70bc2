package server_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/authsrv/authsrv/internal/account"
	"github.com/authsrv/authsrv/internal/authtest"
	"github.com/authsrv/authsrv/server"
	"github.com/authsrv/authsrv/wire"
)

// TestRulesChange: the rules of a server that runs change for who comes from then on, and drop nobody.
func TestRulesChange(t *testing.T) {
	bubble(t, func(t *testing.T, srv *authtest.Server, alice *user) {
		p := connect(t, srv)
		p.login(alice)
		change := func(r server.Rules, ok bool) {
			t.Helper()
			if err := srv.SetRules(r); (err == nil) != ok {
				t.Errorf("%+v: %v", r, err)
			}
		}
		change(server.Rules{MaxConnections: 1, MaxHandshakes: 2}, true)
		change(server.Rules{MaxConnections: -1}, false)
		change(server.Rules{MaxHandshakes: -1}, false)
		change(server.Rules{Grace: -1}, false)
		p.plain(wire.TypeWhoAmI, wire.TypeAccount)
		next := connect(t, srv)
		next.login(alice)
		p.expectGoodbye(wire.CodeLimit)
		synctest.Wait()
		change(server.Rules{}, true)
		second := connect(t, srv)
		second.login(alice)
		next.plain(wire.TypeWhoAmI, wire.TypeAccount)
		if n := srv.Connections(); n != 2 {
			t.Errorf("%d connections", n)
		}
	})
}

// TestLobbyChanges: a lobby that is made smaller pushes nobody out by that, and makes room as others come.
func TestLobbyChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := authtest.New(t, authtest.Options{})
		var peers []*peer
		for range 4 {
			peers = append(peers, connect(t, srv))
		}
		synctest.Wait()
		if err := srv.SetRules(server.Rules{MaxHandshakes: 4}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if s := srv.Stats(); s.Evictions != 0 || s.Connections != 4 {
			t.Errorf("%d evictions, %d connections", s.Evictions, s.Connections)
		}
		connect(t, srv)
		peers[0].expectClosed()
		if s := srv.Stats(); s.Evictions != 1 {
			t.Errorf("%d evictions", s.Evictions)
		}
	})
}

// TestRulesRace: rules change while connections use them.
func TestRulesRace(t *testing.T) {
	bubble(t, func(t *testing.T, srv *authtest.Server, alice *user) {
		stop, done := make(chan struct{}), make(chan struct{})
		go func() {
			defer close(done)
			for i := 1; ; i++ {
				select {
				case <-stop:
					return
				case <-time.After(time.Millisecond):
				}
				if err := srv.SetRules(server.Rules{MaxConnections: 100 + i%7, MaxHandshakes: 50 + i%7}); err != nil {
					t.Error(err)
				}
				if err := srv.Accounts.SetRules(account.Rules{SessionLife: time.Hour}); err != nil {
					t.Error(err)
				}
				srv.Stats()
			}
		}()
		for range 20 {
			p := connect(t, srv)
			p.login(alice)
			<-time.After(time.Millisecond)
		}
		close(stop)
		<-done
	})
}

func TestStats(t *testing.T) {
	bubble(t, func(t *testing.T, srv *authtest.Server, alice *user) {
		before := srv.Stats()
		p := connect(t, srv)
		p.ask(newUser("mallory"))
		p.send(&wire.Proof{})
		p.expectDenied(wire.CodeDenied)
		p.ask(alice)
		p.send(&wire.Proof{})
		p.expectDenied(wire.CodeDenied)
		p.login(alice)
		p.plain(wire.TypeWhoAmI, wire.TypeAccount)
		dial(t, srv)
		<-time.After(6 * time.Second) // too long for a handshake
		connect(t, srv).raw.Close()
		synctest.Wait()

		s := srv.Stats()
		if s.Connections != 1 || s.LoggedIn != 1 {
			t.Errorf("%d connections, %d logged in", s.Connections, s.LoggedIn)
		}
		for a, want := range map[server.Attempt]uint64{
			{What: "login", Outcome: "success"}: 1, {What: "login", Outcome: "wrong-password"}: 1, {What: "login", Outcome: "unknown-name"}: 1,
		} {
			if got := s.Attempts[a]; got != want {
				t.Errorf("%v: %d, want %d", a, got, want)
			}
		}
		if got := s.Handshakes["timeout"] - before.Handshakes["timeout"]; got != 1 {
			t.Errorf("%d handshakes timed out", got)
		}
		h := s.Requests[wire.TypeProof.String()]
		sum := uint64(0)
		for _, n := range h.Buckets {
			sum += n
		}
		if h.Count != 3 || sum != 3 || h.Sum < 0 {
			t.Errorf("proofs: %+v", h)
		}
		if s.Requests[wire.TypeWhoAmI.String()].Count != 1 {
			t.Error("the question who one is was not counted")
		}
		p.plain(wire.TypeLogout, wire.TypeDone)
		synctest.Wait()
		if s := srv.Stats(); s.LoggedIn != 0 || s.Attempts[server.Attempt{What: "logout", Outcome: "success"}] != 1 {
			t.Errorf("after the logout: %+v", s)
		}
	})
}
