package server_test

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/authsrv/authsrv/internal/authtest"
	"github.com/authsrv/authsrv/kv"
	"github.com/authsrv/authsrv/wire"
)

// hanging is an engine whose reads do not come back, but for as many as are let through. It is no kv.Witness: every check of a session reads.
type hanging struct {
	kv.Engine
	on  atomic.Bool
	let atomic.Int32
}

func (h *hanging) Get(ctx context.Context, key []byte) (kv.Entry, error) {
	if h.on.Load() && h.let.Add(-1) < 0 {
		<-ctx.Done()
		return kv.Entry{}, ctx.Err()
	}
	return h.Engine.Get(ctx, key)
}

// TestStoreThatHangs: who is logged in waits for a store that does not answer as long as for one that does not take a write, and is told. What was
// answered before comes.
func TestStoreThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := &hanging{Engine: authtest.Engine(t)}
		srv := authtest.New(t, authtest.Options{Engine: e})
		p := connect(t, srv)
		p.login(enroll(t, srv, "alice"))
		e.let.Store(2) // the session and the account, for the first request
		e.on.Store(true)
		began := time.Now()
		go func() {
			for id := range uint32(2) {
				p.conn.QueueMessage(wire.Plain{Type: wire.TypeWhoAmI, ID: id + 1}.AppendTo(nil))
			}
			p.conn.Flush()
		}()
		p.expect(wire.TypeAccount)
		p.expectGoodbye(wire.CodeInternal)
		if d := time.Since(began); d != 10*time.Second {
			t.Errorf("it took %v", d)
		}
	})
}
