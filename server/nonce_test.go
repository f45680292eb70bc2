package server_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/authsrv/authsrv/internal/account"
	"github.com/authsrv/authsrv/internal/authtest"
	"github.com/authsrv/authsrv/wire"
)

// bubble runs a test with a server and an account of alice's in a bubble, in which time is not real.
func bubble(t *testing.T, run func(*testing.T, *authtest.Server, *user)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		srv := authtest.New(t, authtest.Options{})
		run(t, srv, enroll(t, srv, "alice"))
	})
}

func TestProofServesOnce(t *testing.T) {
	t.Run("after a right one", func(t *testing.T) {
		bubble(t, func(t *testing.T, srv *authtest.Server, alice *user) {
			p := connect(t, srv)
			p.login(alice)
			p.send(p.proof(alice))
			p.expectClosed()
		})
	})
	t.Run("after a wrong one", func(t *testing.T) {
		bubble(t, func(t *testing.T, srv *authtest.Server, alice *user) {
			p := connect(t, srv)
			p.ask(alice)
			p.send(&wire.Proof{})
			p.expectDenied(wire.CodeDenied)
			p.send(p.proof(alice)) // good for the nonce that was burned
			p.expectClosed()
		})
	})
	t.Run("for the next challenge", func(t *testing.T) {
		bubble(t, func(t *testing.T, srv *authtest.Server, alice *user) {
			p := connect(t, srv)
			p.ask(alice)
			old := p.proof(alice)
			p.send(&wire.Proof{})
			p.expectDenied(wire.CodeDenied)
			p.ask(alice) // with the same client nonce
			p.send(old)
			p.expectDenied(wire.CodeDenied)
			p.ask(alice)
			p.send(p.proof(alice))
			p.takeWelcome()
		})
	})
	t.Run("on another connection", func(t *testing.T) {
		bubble(t, func(t *testing.T, srv *authtest.Server, alice *user) {
			p, other := connect(t, srv), connect(t, srv)
			p.ask(alice)
			other.ask(alice)
			proof := p.proof(alice)
			other.send(proof) // never used before
			other.expectDenied(wire.CodeDenied)
			p.send(proof)
			p.takeWelcome()
			other.ask(alice)
			other.send(proof)
			other.expectDenied(wire.CodeDenied)
		})
	})
	t.Run("for another account", func(t *testing.T) {
		bubble(t, func(t *testing.T, srv *authtest.Server, alice *user) {
			enroll(t, srv, "bob")
			p := connect(t, srv)
			p.ask(alice)
			p.start.Name = []byte("bob")
			p.send(p.proof(alice))
			p.expectDenied(wire.CodeDenied)
		})
	})
}

func TestNonceLives20Seconds(t *testing.T) {
	for _, c := range []struct {
		wait  time.Duration
		alive bool
	}{{account.NonceLife, true}, {account.NonceLife + time.Nanosecond, false}} {
		bubble(t, func(t *testing.T, srv *authtest.Server, alice *user) {
			p := connect(t, srv)
			p.ask(alice)
			if p.challenge.TTL != 20 {
				t.Errorf("ttl is %d", p.challenge.TTL)
			}
			time.Sleep(c.wait)
			p.send(p.proof(alice))
			if c.alive {
				p.takeWelcome()
			} else {
				p.expectDenied(wire.CodeDenied)
			}
		})
		bubble(t, func(t *testing.T, srv *authtest.Server, alice *user) {
			p := connect(t, srv)
			p.login(alice)
			id, challenge := p.operation(wire.TypeRevokeAll)
			time.Sleep(c.wait)
			p.send(p.proved(alice, wire.TypeRevokeAll, id, &challenge))
			if c.alive {
				p.expect(wire.TypeDone)
			} else {
				p.expectRefused(id, wire.CodeDenied)
			}
		})
		bubble(t, func(t *testing.T, srv *authtest.Server, _ *user) {
			p, bob := connect(t, srv), newUser("bob")
			p.takeParams(bob)
			time.Sleep(c.wait)
			p.send(p.finish(bob))
			if c.alive {
				p.expect(wire.TypeRegistered)
			} else {
				p.expectDenied(wire.CodeRecordRefused)
			}
		})
	}
}

func TestTwoStartsInARow(t *testing.T) {
	bubble(t, func(t *testing.T, srv *authtest.Server, alice *user) {
		p := connect(t, srv)
		p.ask(alice)
		p.send(loginStart("alice"))
		p.expectClosed()
	})
}

func TestRegistrationServesOnce(t *testing.T) {
	bubble(t, func(t *testing.T, srv *authtest.Server, alice *user) {
		p, bob, carol := connect(t, srv), newUser("bob"), newUser("carol")
		p.takeParams(bob)
		finish := p.finish(bob)
		p.send(finish)
		p.expect(wire.TypeRegistered)
		p.takeParams(carol)
		p.send(finish) // bob's
		p.expectDenied(wire.CodeRecordRefused)
		p.takeParams(alice)
		p.send(p.finish(alice))
		p.expectDenied(wire.CodeNameTaken)
		p.send(finish)
		p.expectClosed()
	})
}

// TestOperationNonces is section 8's paragraph on operations: every way in which a proof is not one for its challenge.
func TestOperationNonces(t *testing.T) {
	const of = wire.TypeRevokeAll
	for name, run := range map[string]func(*peer, *user){
		"without a challenge": func(p *peer, _ *user) {
			p.send(&wire.ProvedOp{Type: of, ID: 7})
			p.expectRefused(7, wire.CodeDenied)
		},
		"a second OpStart burns the first": func(p *peer, u *user) {
			id, c := p.operation(of)
			p.operation(of)
			p.send(p.proved(u, of, id, &c))
			p.expectRefused(id, wire.CodeDenied)
		},
		"also for another operation": func(p *peer, u *user) {
			id, c := p.operation(of)
			p.operation(wire.TypeDeleteAccount)
			p.send(p.proved(u, of, id, &c))
			p.expectRefused(id, wire.CodeDenied)
		},
		"finish with another id": func(p *peer, u *user) {
			id, c := p.operation(of)
			p.send(p.proved(u, of, id+1, &c))
			p.expectRefused(id+1, wire.CodeDenied)
			p.send(p.proved(u, of, id, &c)) // burned by then
			p.expectRefused(id, wire.CodeDenied)
		},
		"finish of another type": func(p *peer, u *user) {
			id, c := p.operation(wire.TypeDeleteAccount)
			p.send(p.proved(u, of, id, &c))
			p.expectRefused(id, wire.CodeDenied)
			p.send(p.proved(u, wire.TypeDeleteAccount, id, &c))
			p.expectRefused(id, wire.CodeDenied)
		},
		"a proof for another type": func(p *peer, u *user) {
			id, c := p.operation(of)
			m := p.proved(u, wire.TypeDeleteAccount, id, &c)
			m.Type = of
			p.send(m)
			p.expectRefused(id, wire.CodeDenied)
		},
		"a wrong proof burns": func(p *peer, u *user) {
			id, c := p.operation(of)
			p.send(&wire.ProvedOp{Type: of, ID: id})
			p.expectRefused(id, wire.CodeDenied)
			p.send(p.proved(u, of, id, &c))
			p.expectRefused(id, wire.CodeDenied)
		},
		"a proof of the login": func(p *peer, u *user) {
			id, _ := p.operation(of)
			p.send(&wire.ProvedOp{Type: of, ID: id, Proof: p.proof(u).Proof})
			p.expectRefused(id, wire.CodeDenied)
		},
		"another account's key": func(p *peer, _ *user) {
			id, c := p.operation(of)
			p.send(p.proved(newUser("bob"), of, id, &c))
			p.expectRefused(id, wire.CodeDenied)
		},
		"a change that served": func(p *peer, u *user) {
			id, c := p.operation(wire.TypeChangePassword)
			m := p.change(u, newUser("next"), id, &c)
			p.send(m)
			p.expect(wire.TypePasswordChanged)
			p.send(m)
			p.expectRefused(id, wire.CodeDenied)
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, srv *authtest.Server, alice *user) {
				p := connect(t, srv)
				p.login(alice)
				run(p, alice)
				p.plain(wire.TypeWhoAmI, wire.TypeAccount) // nothing has happened, and it goes on
			})
		})
	}
}

// TestRecordsThatAreRefused changes to records that are not as they were asked for.
func TestRecordsThatAreRefused(t *testing.T) {
	bubble(t, func(t *testing.T, srv *authtest.Server, alice *user) {
		p, next := connect(t, srv), newUser("next")
		p.login(alice)
		for what, spoil := range map[string]func(*wire.ChangePassword){
			"kdf":           func(m *wire.ChangePassword) { m.Record.KDF.Time-- },
			"small order":   func(m *wire.ChangePassword) { m.Record.PublicKey = [32]byte{1} },
			"new-key proof": func(m *wire.ChangePassword) { m.NewProof = m.Proof },
		} {
			id, c := p.operation(wire.TypeChangePassword)
			m := p.change(alice, next, id, &c)
			spoil(m)
			p.send(m)
			if r := p.expectRefused(id, wire.CodeRecordRefused); r.RetryAfter != 0 {
				t.Errorf("%s: retry after %d s", what, r.RetryAfter)
			}
		}
		other := connect(t, srv)
		other.login(alice) // still the old key
	})
}
