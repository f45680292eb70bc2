package pebblekv

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"

	"github.com/authsrv/authsrv/kv"
)

// A commit passes through three hands. Commit queues a request and waits. commitLoop, which is the
// one place where versions are compared and given, applies it: from then on reads see it.
// syncLoop waits for the log to reach the disk, publishes the change and answers. While it waits,
// commitLoop goes on: those that come in the meantime share the next sync.

// How many commits may wait for either loop. Pebble itself takes 511 that wait for a sync. All of
// them together must stay far below versionGap.
const queueLength = 128

// request is one commit on its way. What it holds is its own copy: its caller may be gone.
type request struct {
	reads  []kv.Read
	writes []kv.Write // by ascending key
	state  atomic.Int32
	done   chan outcome // of capacity 1

	batch   *pebble.Batch // nil: nothing to write
	version kv.Version
	events  []kv.Event
}

type outcome struct {
	version kv.Version
	err     error
}

// The states of a request. Whoever moves it on from queued decides: commitLoop that it happens, or
// its caller that it does not.
const (
	queued int32 = iota
	taken
	abandoned
)

// Commit implements kv.Engine. When its context ends while the request is still queued, nothing is
// written, and the error is the context's; later, the outcome is unknown.
func (s *Store) Commit(ctx context.Context, reads []kv.Read, writes []kv.Write) (kv.Version, error) {
	if err := kv.CheckCommit(reads, writes); err != nil {
		return 0, err
	}
	if err := s.begin(ctx); err != nil {
		return 0, err
	}
	defer s.end()
	r := newRequest(reads, writes)
	select {
	case s.requests <- r:
	case <-ctx.Done():
		return 0, fmt.Errorf("pebblekv: %w", ctx.Err())
	case <-s.failed:
		return 0, s.Err()
	}
	var cause error
	select {
	case o := <-r.done:
		return o.version, o.err
	case <-ctx.Done():
		cause = fmt.Errorf("pebblekv: %w", ctx.Err())
	case <-s.failed:
		cause = s.Err()
	}
	select {
	case o := <-r.done: // it may have been answered in the meantime
		return o.version, o.err
	default:
	}
	if len(writes) == 0 || r.state.CompareAndSwap(queued, abandoned) {
		return 0, cause
	}
	return 0, fmt.Errorf("%w: %w", kv.ErrUnknownOutcome, cause)
}

func newRequest(reads []kv.Read, writes []kv.Write) *request {
	r := &request{
		reads:  slices.Clone(reads),
		writes: slices.Clone(writes),
		done:   make(chan outcome, 1),
	}
	read, written := 0, 0
	for i := range reads {
		read += len(reads[i].Key)
	}
	for i := range writes {
		w := &writes[i]
		written += len(w.Key) + len(w.Value)
	}
	// The feed keeps what was written, and not what was read: two copies of all in place of two of each.
	keys, changes := make([]byte, 0, read), make([]byte, 0, written)
	for i := range r.reads {
		keys, r.reads[i].Key = keep(keys, r.reads[i].Key)
	}
	for i := range r.writes {
		w := &r.writes[i]
		changes, w.Key = keep(changes, w.Key)
		if w.Delete {
			w.Value = nil
		} else {
			changes, w.Value = keep(changes, w.Value)
		}
	}
	slices.SortFunc(r.writes, func(a, b kv.Write) int { return bytes.Compare(a.Key, b.Key) })
	return r
}

// keep appends b to a buffer that has room for it, and returns it in there.
func keep(buffer, b []byte) (longer, kept []byte) {
	n := len(buffer)
	buffer = append(buffer, b...)
	return buffer, buffer[n:len(buffer):len(buffer)]
}

func (s *Store) commitLoop() {
	defer close(s.syncs)
	for {
		select {
		case r, open := <-s.requests:
			if !open {
				return
			}
			if !r.state.CompareAndSwap(queued, taken) {
				continue
			}
			if err := s.apply(r); err != nil {
				r.done <- outcome{err: err}
				continue
			}
			select {
			case s.syncs <- r:
			case <-s.failed:
				return
			}
		case <-s.failed:
			return
		}
	}
}

// apply checks a commit and makes it visible. Only commitLoop calls it.
func (s *Store) apply(r *request) error {
	for _, read := range r.reads {
		if err := s.checkRead(read); err != nil {
			return err
		}
	}
	r.version = s.last
	next := kv.Version(s.assigned.Load() + 1)
	batch, events, err := s.prepare(r.writes, next)
	if err != nil || batch == nil {
		return err
	}
	s.assigned.Store(uint64(next)) // before it can be seen: Watch refuses versions above it
	r.batch, r.events, r.version = batch, events, next
	if err := s.db.ApplyNoSyncWait(batch, pebble.Sync); err != nil {
		s.fail(s.explain("commit", err))
		return fmt.Errorf("%w: %w", kv.ErrUnknownOutcome, s.Err())
	}
	s.last = next
	s.recent.commit(next, events)
	return nil
}

// checkRead returns kv.ErrConflict where a key has moved since it was read.
func (s *Store) checkRead(r kv.Read) error {
	switch s.recent.judge(r) {
	case unmoved:
		return nil
	case moved:
		return kv.ErrConflict
	}
	version, err := s.keyVersion(r.Key)
	if err == nil && version != r.Version {
		err = kv.ErrConflict
	}
	return err
}

// keyVersion returns the version of a caller's key, 0 if it is absent.
func (s *Store) keyVersion(key []byte) (kv.Version, error) {
	stored, err := s.load(userKey(key))
	if err != nil || stored == nil {
		return 0, err
	}
	version, _, err := decodeValue(stored)
	return version, err
}

// prepare returns a batch with writes at a version, and the events that they are, or nothing where
// nothing is to be changed. Events share their keys and values with writes.
func (s *Store) prepare(writes []kv.Write, version kv.Version) (*pebble.Batch, []kv.Event, error) {
	events := make([]kv.Event, 0, len(writes))
	for _, w := range writes {
		if w.Delete {
			before, err := s.keyVersion(w.Key)
			if err != nil {
				return nil, nil, err
			}
			if before == 0 {
				continue // not a change
			}
		}
		events = append(events, kv.Event{Key: w.Key, Value: w.Value, Version: version, Deleted: w.Delete})
	}
	if len(events) == 0 {
		return nil, nil, nil
	}
	batch := s.db.NewBatch()
	err := batch.Set(metaKey, meta{assigned: version, last: version}.encode(), nil)
	for _, e := range events {
		if err != nil {
			break
		}
		if e.Deleted {
			err = remove(batch, e.Key)
		} else {
			err = set(batch, e.Key, version, e.Value)
		}
	}
	if err != nil {
		return nil, nil, errors.Join(s.explain("commit", err), batch.Close())
	}
	return batch, events, nil
}

func (s *Store) syncLoop() {
	defer close(s.synced)
	for {
		select {
		case r, open := <-s.syncs:
			if !open {
				return
			}
			r.done <- s.sync(r)
		case <-s.failed:
			return
		}
	}
}

// sync waits until a commit, and so all before it, is durable. Only syncLoop calls it.
func (s *Store) sync(r *request) outcome {
	if r.batch == nil { // nothing of its own, and what it observed was ahead of it in the queue
		return outcome{version: r.version}
	}
	if err := r.batch.SyncWait(); err != nil {
		s.fail(s.explain("sync", err))
		return outcome{err: fmt.Errorf("%w: %w", kv.ErrUnknownOutcome, s.Err())}
	}
	s.feed.publish(r.version, r.events)
	if err := r.batch.Close(); err != nil {
		s.log.Error("batch not released", "error", err)
	}
	return outcome{version: r.version}
}
