package server_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/authsrv/authsrv/internal/authtest"
	"github.com/authsrv/authsrv/kv"
	"github.com/authsrv/authsrv/wire"
)

// A hanging engine does so much more, and then nothing until the caller or it is given up. It is no kv.Witness: every check of a session reads.
type hanging struct {
	kv.Engine
	on     atomic.Bool
	let    atomic.Int32
	broken chan struct{}
}

func (h *hanging) hang(ctx context.Context) error {
	if !h.on.Load() || h.let.Add(-1) >= 0 {
		return nil
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-h.broken:
		return errors.New("it has hung for long")
	}
}

func (h *hanging) Get(ctx context.Context, key []byte) (kv.Entry, error) {
	if err := h.hang(ctx); err != nil {
		return kv.Entry{}, err
	}
	return h.Engine.Get(ctx, key)
}

func (h *hanging) Commit(ctx context.Context, reads []kv.Read, writes []kv.Write) (kv.Version, error) {
	if err := h.hang(ctx); err != nil {
		return 0, err
	}
	return h.Engine.Commit(ctx, reads, writes)
}

// TestStoreThatHangs: who is logged in waits for a store that does not answer as long as for one that does not take a write, and is told. What was
// answered before comes.
func TestStoreThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := &hanging{Engine: authtest.Engine(t)}
		srv := authtest.New(t, authtest.Options{Engine: e})
		p := connect(t, srv)
		p.login(enroll(t, srv, "alice"))
		synctest.Wait() // the audit chain has looked: what is counted is the connection's alone
		e.let.Store(2)  // the session and the account, for the first request
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

// TestProofToStoreThatHangs: wherever a store hangs behind a proof, whoever sent it is answered when the time for a login is over, and is cut off when
// that of Shutdown is, whether it was right or wrong.
func TestProofToStoreThatHangs(t *testing.T) {
	for _, c := range []struct {
		name  string
		wrong byte
		least int32 // that it asks of the store
	}{{"right", 0, 3}, {"wrong", 1, 6}} {
		t.Run(c.name, func(t *testing.T) {
			for let, through := int32(0), false; !through; let++ {
				synctest.Test(t, func(t *testing.T) {
					e := &hanging{Engine: authtest.Engine(t), broken: make(chan struct{})}
					defer close(e.broken)
					srv := authtest.New(t, authtest.Options{Engine: e})
					alice, bob := enroll(t, srv, "alice"), enroll(t, srv, "bob")
					began := time.Now()
					try := func(u *user) *peer {
						p := connect(t, srv)
						p.ask(u)
						proof := p.proof(u)
						proof.Proof[0] ^= c.wrong
						synctest.Wait() // the audit chain has looked: what is counted is the connection's alone
						e.let.Store(let)
						e.on.Store(true)
						p.send(proof)
						return p
					}
					if _, err := try(alice).conn.ReadMessage(wire.MaxSessionFrame); err != nil {
						t.Error(err)
					}
					if through = e.let.Load() >= 0; through {
						if let < c.least {
							t.Errorf("through after %d", let)
						}
						return
					}
					if d := time.Since(began); d != 30*time.Second {
						t.Errorf("behind %d: answered after %v", let, d)
					}
					e.on.Store(false)
					try(bob)
					began = time.Now()
					ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
					defer cancel()
					if err := srv.Server.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != 2*time.Second {
						t.Errorf("behind %d: Shutdown: %v, after %v", let, err, time.Since(began))
					}
				})
			}
		})
	}
}
