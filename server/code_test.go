package server_test

import (
	"crypto/sha256"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/authsrv/authsrv/credential"
	"github.com/authsrv/authsrv/internal/account"
	"github.com/authsrv/authsrv/internal/authtest"
	"github.com/authsrv/authsrv/wire"
)

func resetStart(name string, c credential.Code) *wire.AuthStart {
	return &wire.AuthStart{Purpose: wire.PurposeReset, Method: wire.MethodCode, Offered: []byte{4}, Name: []byte(name), Token: c.ID[:]}
}

func invitedStart(name string, c credential.Code) *wire.AuthStart {
	m := registerStart(name)
	m.Token = c.ID[:]
	return m
}

func (p *peer) keyOf(c credential.Code) *credential.Key {
	p.t.Helper()
	k, err := c.Key()
	if err != nil {
		p.t.Fatal(err)
	}
	return k
}

// takeReset begins a reset with a code.
func (p *peer) takeReset(u *user, c credential.Code) { p.takeCode(resetStart(u.name, c), c) }

func (p *peer) takeCode(start *wire.AuthStart, c credential.Code) {
	p.t.Helper()
	p.sendStart(start)
	m, err := wire.ParseRegisterParams(p.expect(wire.TypeRegisterParams))
	if err != nil {
		p.t.Fatal(err)
	}
	p.challenge, p.code = m.Challenge, p.keyOf(c)
}

func (p *peer) codeSum(signed []byte) [32]byte {
	digest := sha256.Sum256(signed)
	t := p.transcript(&p.challenge)
	t.OpDigest = digest[:]
	return t.Sum()
}

// resetFinish is the record of a reset that was begun.
func (p *peer) resetFinish(u *user) *wire.ResetFinish {
	m := &wire.ResetFinish{Record: u.record()}
	sum := p.codeSum(m.AppendSigned(nil))
	m.NewProof, m.CodeProof = u.prove("new-key-proof", sum), p.code.ProveCode(sum)
	return m
}

// reset sends the last message of a reset, and checks that the server confirms.
func (p *peer) reset(u *user) {
	p.t.Helper()
	m := p.resetFinish(u)
	p.send(m)
	done, err := wire.ParseResetDone(p.expect(wire.TypeResetDone))
	if err != nil || !p.code.VerifyConfirm(p.codeSum(m.AppendSigned(nil)), m.CodeProof, done.Confirm) {
		p.t.Fatalf("the server does not confirm: %v", err)
	}
}

// TestReset ends sessions that are open, on the same connection lets the new password in, and is logged without a secret.
func TestReset(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := authtest.New(t, authtest.Options{})
		u := enroll(t, srv, "alice")
		inside := connect(t, srv)
		inside.login(u)
		code := srv.Reset("alice")
		p, next := connect(t, srv), newUser("next")
		next.name = "alice"
		p.static = next.static
		p.takeReset(next, code)
		p.reset(next)
		inside.expectGoodbye(wire.CodeSessionRevoked)
		p.login(next)
		late := connect(t, srv)
		late.takeReset(u, code)
		late.send(late.resetFinish(u))
		late.expectDenied(wire.CodeCodeRefused)
		log, text := srv.Log.String(), code.Text()
		if !strings.Contains(log, "msg=reset") || !strings.Contains(log, "outcome=unknown-code name=alice") {
			t.Errorf("the log has nothing of it:\n%s", log)
		}
		for _, part := range []string{text, text[14:40], text[40:66]} {
			if strings.Contains(log, part) {
				t.Errorf("the log has %q", part)
			}
		}
	})
}

// TestCodeRefusals: one and the same answer for whatever is wrong, and the third ends the connection.
func TestCodeRefusals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := authtest.New(t, authtest.Options{})
		alice, dora := enroll(t, srv, "alice"), enroll(t, srv, "dora")
		good, doras := srv.Reset("alice"), srv.Reset("dora")
		unknown := good
		unknown.ID[0] ^= 1
		var first wire.Denied
		for i, c := range []struct {
			u    *user
			code credential.Code
		}{{alice, doras}, {dora, good}, {alice, unknown}, {newUser("nobody"), good}} {
			p := connect(t, srv)
			p.takeReset(c.u, c.code)
			p.send(p.resetFinish(c.u))
			if d := p.expectDenied(wire.CodeCodeRefused); i == 0 {
				first = d
			} else if d != first {
				t.Errorf("case %d: %+v, at first %+v", i, d, first)
			}
			p.send(p.resetFinish(c.u)) // there is no state for it any more
			p.expectClosed()
		}
		// What one connection proved is nothing on another.
		p, thief := connect(t, srv), connect(t, srv)
		p.takeReset(alice, good)
		thief.takeReset(alice, good)
		stolen := p.resetFinish(alice)
		thief.send(stolen)
		thief.expectDenied(wire.CodeRecordRefused)
		mixed := connect(t, srv)
		mixed.takeReset(alice, good)
		m := mixed.resetFinish(alice)
		m.CodeProof = stolen.CodeProof
		mixed.send(m)
		mixed.expectDenied(wire.CodeCodeRefused)
		p.reset(alice)
	})
}

func TestInvited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := authtest.New(t, authtest.Options{Account: account.Config{Registration: account.RegistrationInvited}})
		p := connect(t, srv)
		if p.hello.Features != wire.FeatureRegisterInvited {
			t.Errorf("features are %b", p.hello.Features)
		}
		p.sendStart(registerStart("alice"))
		p.expectDenied(wire.CodeInviteNeeded)
		code, u := srv.Invite(), newUser("alice")
		finish := func(p *peer, u *user) *wire.RegisterFinish {
			m := p.finish(u)
			proof := p.code.ProveCode(p.codeSum(m.AppendSigned(nil)))
			m.CodeProof = proof[:]
			return m
		}
		p.takeCode(invitedStart("alice", code), code)
		p.send(p.finish(u)) // without the code's proof
		p.expectDenied(wire.CodeRecordRefused)
		p = connect(t, srv)
		p.takeCode(invitedStart("alice", code), code)
		m := finish(p, u)
		p.send(m)
		done, err := wire.ParseRegistered(p.expect(wire.TypeRegistered))
		if err != nil || len(done.Confirm) != 32 || !p.code.VerifyConfirm(p.codeSum(m.AppendSigned(nil)), [64]byte(m.CodeProof), [32]byte(done.Confirm)) {
			t.Fatalf("the server does not confirm: %x, %v", done.Confirm, err)
		}
		p.static = u.static
		other := connect(t, srv)
		other.takeCode(invitedStart("hunter2", code), code)
		other.send(finish(other, newUser("hunter2")))
		other.expectDenied(wire.CodeCodeRefused)
		if log := srv.Log.String(); strings.Contains(log, "hunter2") || !strings.Contains(log, "msg=register") {
			t.Errorf("the log:\n%s", log)
		}
		again := connect(t, srv)
		again.login(u)
	})
}

// TestCodeOnce has sixteen connections use one code at once.
func TestCodeOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := authtest.New(t, authtest.Options{})
		u := enroll(t, srv, "alice")
		code := srv.Reset("alice")
		var all sync.WaitGroup
		var done, refused atomic.Int32
		for range 16 {
			p := connect(t, srv)
			p.takeReset(u, code)
			m := p.resetFinish(u)
			all.Go(func() {
				if p.trySend(m) != nil {
					return
				}
				b, err := p.conn.ReadMessage(wire.MaxSessionFrame)
				if err != nil {
					t.Error(err)
					return
				}
				if wire.TypeOf(b) == wire.TypeResetDone {
					done.Add(1)
				} else if d, err := wire.ParseDenied(b); err == nil && d.Code == wire.CodeCodeRefused {
					refused.Add(1)
				}
			})
		}
		all.Wait()
		if done.Load() != 1 || refused.Load() != 15 {
			t.Errorf("%d got through, and %d were refused", done.Load(), refused.Load())
		}
	})
}
