package server_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"

	"github.com/authsrv/authsrv/client"
	"github.com/authsrv/authsrv/internal/authtest"
	"github.com/authsrv/authsrv/kv"
	"github.com/authsrv/authsrv/wire"
)

// uncertain is an engine that can't say of its next commit whether it happened.
type uncertain struct {
	kv.Engine
	next atomic.Bool
	made bool // it did
}

func (e *uncertain) Commit(ctx context.Context, reads []kv.Read, writes []kv.Write) (kv.Version, error) {
	if !e.next.CompareAndSwap(true, false) {
		return e.Engine.Commit(ctx, reads, writes)
	}
	if e.made {
		if _, err := e.Engine.Commit(ctx, reads, writes); err != nil {
			return 0, err
		}
	}
	return 0, kv.ErrUnknownOutcome
}

// TestUnknownOutcome: what may have been done is not refused. The server says nothing about it, and the client finds out.
func TestUnknownOutcome(t *testing.T) {
	for _, made := range []bool{false, true} {
		e := &uncertain{Engine: authtest.Engine(t), made: made}
		srv := authtest.New(t, authtest.Options{Engine: e})
		alice := enroll(t, srv, "alice")

		p := connect(t, srv)
		bob := newUser("bob")
		p.takeParams(bob)
		e.next.Store(true)
		p.send(p.finish(bob))
		p.expectClosed()

		p = connect(t, srv)
		p.login(alice)
		id, c := p.operation(wire.TypeRevokeAll)
		e.next.Store(true)
		p.send(p.proved(alice, wire.TypeRevokeAll, id, &c))
		p.expectGoodbye(wire.CodeInternal)
		p.expectClosed()

		const first, second = "correct horse battery staple", "correct battery horse staple"
		srv.Register("carol", first)
		s := srv.Login(nil, "carol", first)
		e.next.Store(true)
		err := s.ChangePassword(t.Context(), first, second)
		if made && err != nil || !made && (!errors.Is(err, client.ErrConnection) || errors.Is(err, client.ErrOutcomeUnknown)) {
			t.Errorf("made: %v: %v", made, err)
		}
		now := map[bool]string{false: first, true: second}[made]
		srv.Login(nil, "carol", now).Close()
		s.Close()

		e.next.Store(true)
		err = srv.Dial(nil).Register(t.Context(), "dave", first, nil)
		if made && err != nil || !made && (!errors.Is(err, client.ErrConnection) || errors.Is(err, client.ErrOutcomeUnknown)) {
			t.Errorf("made: %v: Register: %v", made, err)
		}
	}
}
