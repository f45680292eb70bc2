package server_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/authsrv/authsrv/internal/account"
	"github.com/authsrv/authsrv/internal/authtest"
	"github.com/authsrv/authsrv/wire"
)

// changePassword changes a password to that of next, and takes over the session that comes of it.
func (p *peer) changePassword(u, next *user) {
	p.t.Helper()
	id, c := p.operation(wire.TypeChangePassword)
	p.send(p.change(u, next, id, &c))
	m, err := wire.ParsePasswordChanged(p.expect(wire.TypePasswordChanged))
	if err != nil || m.ID != id {
		p.t.Fatalf("PasswordChanged %d: %v", m.ID, err)
	}
	p.welcome.SessionID, p.welcome.Token = m.SessionID, append([]byte(nil), m.Token...)
}

// renewed is the user with another key.
func (u *user) renewed() *user {
	next := newUser(u.name + "'s next key")
	next.name, next.static = u.name, u.static
	return next
}

// TestOthersAreEnded: whatever ends sessions elsewhere is told at once, and to nobody else.
func TestOthersAreEnded(t *testing.T) {
	for name, c := range map[string]struct {
		do   func(*testing.T, *authtest.Server, *peer, *user)
		ends bool // all sessions of the account
	}{
		"password changed": {func(_ *testing.T, _ *authtest.Server, p *peer, u *user) {
			p.changePassword(u, u.renewed())
			p.plain(wire.TypeWhoAmI, wire.TypeAccount) // its own connection goes on
			p.changePassword(u.renewed(), u)
			p.plain(wire.TypeWhoAmI, wire.TypeAccount)
		}, true},
		"logged out everywhere": {func(_ *testing.T, _ *authtest.Server, p *peer, u *user) {
			id, c := p.operation(wire.TypeRevokeAll)
			p.send(p.proved(u, wire.TypeRevokeAll, id, &c))
			p.expect(wire.TypeDone)
			p.expectGoodbye(wire.CodeLoggedOut)
		}, true},
		"deleted": {func(_ *testing.T, _ *authtest.Server, p *peer, u *user) {
			id, c := p.operation(wire.TypeDeleteAccount)
			p.send(p.proved(u, wire.TypeDeleteAccount, id, &c))
			p.expect(wire.TypeDone)
			p.expectGoodbye(wire.CodeAccountDeleted)
		}, true},
		"disabled": {func(t *testing.T, srv *authtest.Server, p *peer, u *user) {
			if err := srv.Accounts.SetDisabled(t.Context(), u.name, true); err != nil {
				t.Fatal(err)
			}
			p.expectGoodbye(wire.CodeSessionRevoked)
		}, true},
		"logged out": {func(_ *testing.T, _ *authtest.Server, p *peer, _ *user) {
			p.plain(wire.TypeLogout, wire.TypeDone)
			p.expectGoodbye(wire.CodeLoggedOut)
		}, false},
		"an operation refused": {func(_ *testing.T, _ *authtest.Server, p *peer, _ *user) {
			id, _ := p.operation(wire.TypeDeleteAccount)
			p.send(&wire.ProvedOp{Type: wire.TypeDeleteAccount, ID: id})
			p.expectRefused(id, wire.CodeDenied)
			p.plain(wire.TypeWhoAmI, wire.TypeAccount)
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, srv *authtest.Server, alice *user) {
				p, bob := connect(t, srv), enroll(t, srv, "bob")
				p.login(alice)
				bystander := connect(t, srv)
				bystander.login(bob)
				var others []*peer
				for range 3 {
					other := connect(t, srv)
					other.login(alice)
					others = append(others, other)
				}
				began := time.Now()
				c.do(t, srv, p, alice)
				for _, other := range others {
					if c.ends {
						other.expectGoodbye(wire.CodeSessionRevoked)
					} else {
						other.plain(wire.TypeWhoAmI, wire.TypeAccount)
					}
				}
				bystander.plain(wire.TypeWhoAmI, wire.TypeAccount)
				if waited := time.Since(began); waited != 0 {
					t.Errorf("it took %v", waited)
				}
			})
		})
	}
}

// TestOneSessionOnTwoConnections: a session that is logged out on one connection ends on the other.
func TestOneSessionOnTwoConnections(t *testing.T) {
	bubble(t, func(t *testing.T, srv *authtest.Server, alice *user) {
		p, q := connect(t, srv), connect(t, srv)
		p.login(alice)
		q.static = alice.static
		q.sendStart(sessionStart(p.welcome.Token))
		q.takeWelcome()
		p.plain(wire.TypeLogout, wire.TypeDone)
		p.expectGoodbye(wire.CodeLoggedOut)
		q.expectGoodbye(wire.CodeSessionRevoked)
		q = connect(t, srv)
		q.static = alice.static
		q.sendStart(sessionStart(p.welcome.Token))
		q.expectDenied(wire.CodeSessionRevoked)
	})
}

// TestSessionEndsElsewhereMeanwhile: also where the feed is not looking because the connection has an operation of its own.
func TestSessionEndsElsewhereMeanwhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEngine(t)
		srv := authtest.New(t, authtest.Options{Engine: e})
		alice := enroll(t, srv, "alice")
		p := connect(t, srv)
		p.login(alice)
		id, _ := p.operation(wire.TypeDeleteAccount)
		gate, held := make(chan struct{}), false
		e.set(func(operation string) error {
			if operation == "commit" && !held { // that of the failure
				held = true
				<-gate
			}
			return nil
		})
		p.send(&wire.ProvedOp{Type: wire.TypeDeleteAccount, ID: id})
		synctest.Wait()
		if _, err := srv.Accounts.RevokeAllOf(t.Context(), "alice"); err != nil {
			t.Fatal(err)
		}
		synctest.Wait() // the feed has passed
		close(gate)
		p.expectRefused(id, wire.CodeSessionRevoked) // the session is judged before the proof
		p.expectGoodbye(wire.CodeSessionRevoked)
	})
}

// TestVictimThatDoesNotRead: who is to be told goodbye and does not listen holds up neither who ended the session nor
// the others that are to be told.
func TestVictimThatDoesNotRead(t *testing.T) {
	bubble(t, func(t *testing.T, srv *authtest.Server, alice *user) {
		p := connect(t, srv)
		p.login(alice)
		var deaf, others []*peer
		for range 10 {
			d, o := connect(t, srv), connect(t, srv)
			d.login(alice)
			o.login(alice)
			d.send(wire.Plain{Type: wire.TypeWhoAmI, ID: 1}) // and does not take the answer
			deaf, others = append(deaf, d), append(others, o)
		}
		began := time.Now()
		p.changePassword(alice, alice.renewed())
		for _, o := range others {
			o.expectGoodbye(wire.CodeSessionRevoked)
		}
		p.plain(wire.TypeWhoAmI, wire.TypeAccount)
		if waited := time.Since(began); waited != 0 {
			t.Errorf("it took %v", waited)
		}
		time.Sleep(11 * time.Second) // more than a write may take
		for _, d := range deaf {
			d.expectClosed()
		}
	})
}

func TestResumptionIsTold(t *testing.T) {
	bubble(t, func(t *testing.T, srv *authtest.Server, alice *user) {
		p := connect(t, srv)
		p.login(alice)
		token := p.welcome.Token
		resume := func(u *user, token []byte) *peer {
			p := connect(t, srv)
			p.static = u.static
			p.sendStart(sessionStart(token))
			return p
		}
		good := resume(alice, token)
		good.takeWelcome()
		if len(good.welcome.Token) != 0 || good.welcome.SessionID != p.welcome.SessionID {
			t.Errorf("resumed as %+v", good.welcome)
		}
		resume(newUser("thief"), token).expectDenied(wire.CodeSessionMalformed) // without the key
		p.changePassword(alice, alice.renewed())
		resume(alice, token).expectDenied(wire.CodeSessionRevoked)
		resume(alice, p.welcome.Token).takeWelcome()
		time.Sleep(25 * time.Hour)
		resume(alice, p.welcome.Token).expectDenied(wire.CodeSessionExpired)
		resume(newUser("thief"), p.welcome.Token).expectDenied(wire.CodeSessionMalformed)
	})
}

func TestSessionsArePaged(t *testing.T) {
	bubble(t, func(t *testing.T, srv *authtest.Server, alice *user) {
		const n = 110 // an account keeps 100
		var p *peer
		for range n {
			p = connect(t, srv)
			p.login(alice)
			if len(p.welcome.Token) == 0 {
				t.Fatal("no token")
			}
		}
		var after account.ID
		seen, current, pages := 0, 0, 0
		for more := true; more; pages++ {
			p.send(&wire.ListSessions{ID: p.newID(), After: after})
			list, err := wire.ParseSessionList(p.expect(wire.TypeSessionList))
			if err != nil {
				t.Fatal(err)
			}
			for s := range list.All() {
				after = s.ID
				seen++
				if s.Current {
					current++
				}
			}
			more = list.More
		}
		if seen != 100 || current != 1 || pages != 3 {
			t.Errorf("%d sessions, %d current, on %d pages", seen, current, pages)
		}
	})
}
