package server_test

import (
	"context"
	"errors"
	"iter"
	"sync"
	"testing"

	"github.com/authsrv/authsrv/internal/authtest"
	"github.com/authsrv/authsrv/kv"
)

var errBroken = errors.New("the store is broken")

// engine is a store that can be broken, or held up.
type engine struct {
	kv.Engine
	mu   sync.Mutex
	hook func(operation string) error // called before get, scan and commit
}

func newEngine(t testing.TB) *engine { return &engine{Engine: authtest.Engine(t)} }

// set puts a hook in; nil is none.
func (e *engine) set(hook func(string) error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.hook = hook
}

func (e *engine) before(operation string) error {
	e.mu.Lock()
	hook := e.hook
	e.mu.Unlock()
	if hook == nil {
		return nil
	}
	return hook(operation)
}

// breakAfter lets n of an operation pass, and then no more.
func (e *engine) breakAfter(operation string, n int) {
	var mu sync.Mutex
	e.set(func(o string) error {
		mu.Lock()
		defer mu.Unlock()
		if o != operation {
			return nil
		}
		if n--; n < 0 {
			return errBroken
		}
		return nil
	})
}

func (e *engine) Get(ctx context.Context, key []byte) (kv.Entry, error) {
	if err := e.before("get"); err != nil {
		return kv.Entry{}, err
	}
	return e.Engine.Get(ctx, key)
}

func (e *engine) Scan(ctx context.Context, prefix, start []byte, limit int) ([]kv.Entry, kv.Version, error) {
	if err := e.before("scan"); err != nil {
		return nil, 0, err
	}
	return e.Engine.Scan(ctx, prefix, start, limit)
}

func (e *engine) Commit(ctx context.Context, reads []kv.Read, writes []kv.Write) (kv.Version, error) {
	if err := e.before("commit"); err != nil {
		return 0, err
	}
	return e.Engine.Commit(ctx, reads, writes)
}

func (e *engine) Watch(ctx context.Context, prefix []byte, after kv.Version) iter.Seq2[kv.Event, error] {
	return e.Engine.Watch(ctx, prefix, after)
}
