package kv

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"
)

// The pause before the n-th retry is a random part of backoffFirst·2ⁿ⁻¹, at most of backoffMost:
// around the duration of a commit, so that colliding writers come apart without waiting for long.
const (
	backoffFirst = time.Millisecond
	backoffMost  = 64 * time.Millisecond
)

// Update runs fn and commits what it wrote, provided that nothing it read has moved; otherwise it
// runs fn again, after a short pause, until ctx ends. So fn runs as if alone, but may run
// several times, and on reads that do not fit together: it must have no effects but its return
// values, and must not loop on what it read.
//
// An error of fn is returned as it is, and nothing is written. Before that, the reads that led to
// it are checked as those of a commit are, so that it is not the outcome of a torn view.
//
// If fn writes nothing, its reads are checked, and Update returns once all that they observed
// is durable: that is how to read several keys as of one moment. On a nil error all is durable. Any
// error of Commit but ErrConflict is returned at once; an unknown outcome is never retried.
func Update(ctx context.Context, e Engine, fn func(*Tx) error) error {
	return UpdateFrom(ctx, e, nil, fn)
}

// UpdateFrom is Update where some keys were read before: the first run takes the entries for what it reads there. They are
// checked as every other read, and an error of that run is not believed: fn runs again, on what it reads itself. So what is
// out of date costs a second run, and nothing else. The caller leaves the entries as they are.
func UpdateFrom(ctx context.Context, e Engine, before []Entry, fn func(*Tx) error) error {
	limit := backoffFirst
	for {
		again, err := attempt(ctx, e, before, fn)
		if !again {
			return err
		}
		if before != nil {
			before = nil
			continue // as if it had never run
		}
		pause := time.NewTimer(rand.N(limit))
		select {
		case <-pause.C:
		case <-ctx.Done():
			pause.Stop()
			return fmt.Errorf("kv: giving up after conflicts: %w", ctx.Err())
		}
		limit = min(2*limit, backoffMost)
	}
}

// attempt runs fn once. Only a conflict found by the engine asks for another attempt: an error
// of fn might well be an ErrConflict of its own, from elsewhere.
func attempt(ctx context.Context, e Engine, before []Entry, fn func(*Tx) error) (again bool, err error) {
	tx := &Tx{ctx: ctx, engine: e, before: before}
	tx.reads, tx.seen, tx.writes = tx.few.reads[:0], tx.few.seen[:0], tx.few.writes[:0]
	err = fn(tx)
	switch {
	case tx.err != nil && err != nil:
		return false, err
	case tx.err != nil: // also if fn has overlooked it
		return false, tx.err
	case err != nil && before != nil:
		return true, nil
	case err != nil && len(tx.reads) < 2: // one read can't be torn
		return false, err
	case err != nil:
		_, torn := e.Commit(ctx, tx.reads, nil)
		return errors.Is(torn, ErrConflict), err
	}
	tx.version, err = e.Commit(ctx, tx.reads, tx.writes)
	if errors.Is(err, ErrConflict) {
		return true, nil
	}
	return false, err
}

// Tx is one run of the function given to Update, and of no use after it. It is not
// safe for concurrent use.
type Tx struct {
	ctx    context.Context // Update's; a Tx does not outlive that call
	engine Engine

	before  []Entry // what was read before Update
	reads   []Read  // in the order in which they were read
	seen    []Entry // what was read, in the same order
	writes  []Write // in the order of their first mention
	version Version // of the commit, once there was one
	err     error   // the first one; nothing is committed after it

	few struct { // room for what most transactions do
		reads  [8]Read
		seen   [8]Entry
		writes [4]Write
	}
}

// Get returns the value of a key and whether it is present, as this transaction has left it: what
// Put and Delete did before is seen, and what was read once is read again as it was then.
func (tx *Tx) Get(key []byte) (value []byte, ok bool, err error) {
	if value, ok, err = tx.Peek(key); ok {
		value = append([]byte{}, value...)
	}
	return value, ok, err
}

// Peek is Get without a copy: the value is the transaction's, and the caller leaves it as it is. To copy takes time where a key is present, and only there.
func (tx *Tx) Peek(key []byte) (value []byte, ok bool, err error) {
	if tx.err != nil {
		return nil, false, tx.err
	}
	if i := tx.writeOf(key); i >= 0 {
		w := &tx.writes[i]
		return w.Value, !w.Delete, nil
	}
	i := tx.readOf(key)
	if i < 0 {
		if err := tx.room(key); err != nil {
			return nil, false, tx.fail(err)
		}
		e, err := tx.read(key)
		if err != nil {
			return nil, false, tx.fail(err)
		}
		i = len(tx.seen)
		tx.seen = append(tx.seen, e)
		tx.reads = append(tx.reads, Read{Key: e.Key, Version: e.Version, At: e.At})
	}
	e := &tx.seen[i]
	return e.Value, e.Version != 0, nil
}

// read reads a key for the first time, with a key of its own.
func (tx *Tx) read(key []byte) (Entry, error) {
	for _, e := range tx.before {
		if bytes.Equal(e.Key, key) {
			return e, nil
		}
	}
	e, err := tx.engine.Get(tx.ctx, key)
	e.Key = bytes.Clone(key)
	return e, err
}

// readOf returns the index in reads of a key, or -1. MaxOps is too few for a map to be worth its making.
func (tx *Tx) readOf(key []byte) int {
	return slices.IndexFunc(tx.reads, func(r Read) bool { return bytes.Equal(r.Key, key) })
}

// writeOf is readOf for writes.
func (tx *Tx) writeOf(key []byte) int {
	return slices.IndexFunc(tx.writes, func(w Write) bool { return bytes.Equal(w.Key, key) })
}

// After returns the read of a key as it would be right after the commit, without reading it. It is for what follows an Update that
// returned nil, whose last run this was; the key is one that was read or written.
func (tx *Tx) After(key []byte) Read {
	r := Read{Key: bytes.Clone(key), At: tx.version}
	if i := tx.writeOf(key); i >= 0 {
		if !tx.writes[i].Delete {
			r.Version = tx.version
		}
	} else if i := tx.readOf(key); i >= 0 {
		r.Version = tx.reads[i].Version
	} else {
		panic("kv: After a key that was neither read nor written")
	}
	return r
}

// Put sets a key. A key or value beyond the limits makes the transaction fail: every
// later call of Get, and Update itself, return that error.
func (tx *Tx) Put(key, value []byte) {
	tx.write(Write{Key: bytes.Clone(key), Value: append([]byte{}, value...)})
}

// Delete removes a key, whether or not it is present. Errors are reported as those of Put.
func (tx *Tx) Delete(key []byte) {
	tx.write(Write{Key: bytes.Clone(key), Delete: true})
}

func (tx *Tx) write(w Write) {
	if tx.err != nil {
		return
	}
	if err := checkValue(w.Value); err != nil {
		tx.fail(err)
		return
	}
	if i := tx.writeOf(w.Key); i >= 0 {
		tx.writes[i] = w
		return
	}
	if err := tx.room(w.Key); err != nil {
		tx.fail(err)
		return
	}
	tx.writes = append(tx.writes, w)
}

// room reports whether there is room for one more operation, on this key. The sum of bytes is left
// to the engine's CheckCommit, since a later Put can replace a long value by a short one.
func (tx *Tx) room(key []byte) error {
	if err := CheckKey(key); err != nil {
		return err
	}
	if len(tx.reads)+len(tx.writes) == MaxOps {
		return fmt.Errorf("%w: more than %d operations", ErrTooLarge, MaxOps)
	}
	return nil
}

func (tx *Tx) fail(err error) error {
	if tx.err == nil {
		tx.err = err
	}
	return err
}
