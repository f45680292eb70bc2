package pebblekv

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/authsrv/authsrv/internal/workers"
	"github.com/authsrv/authsrv/kv"
)

// Errors of this engine, beyond those of kv.
var (
	// ErrLocked: another process, or another Store of this one, has the folder open.
	ErrLocked = errors.New("pebblekv: store is in use")
	// ErrNewerFormat: a newer release wrote this store. It was not touched.
	ErrNewerFormat = errors.New("pebblekv: store was written by a newer release")
	// ErrCorrupt: the files are not what was written to them.
	ErrCorrupt = errors.New("pebblekv: store is corrupt")
	// ErrFailed: the store has stopped for good, because of the error that comes with it.
	ErrFailed = errors.New("pebblekv: store has failed")
)

// Options are copied by Open. The zero value is good for an account server on a small machine.
type Options struct {
	// FS is where the store lives. Nil: the disk.
	FS vfs.FS
	// Logger gets what pebble says: its routine at level debug. Nil: nobody.
	Logger *slog.Logger
	// FeedLength is the number of events kept in memory for those who watch, and so how far
	// one may fall behind. At most feedBytes of them are kept. 0: 8,192.
	FeedLength int
	// CacheBytes is the size of the cache of blocks read from disk. 0: 16 MiB. Two to three
	// memtables of 4 MiB come on top.
	CacheBytes int64
}

// MaxOpenFiles is how many file descriptors a Store needs at the most, but for moments: tables beyond it are closed and opened again.
const MaxOpenFiles = 256

const (
	defaultFeedLength = 8192
	defaultCacheBytes = 16 << 20
	memTableBytes     = 4 << 20 // more than twice kv.MaxBytes, so that no commit needs a table of its own
)

// Store is a kv.Engine in one folder. Between Open and Close it owns two goroutines, commitLoop
// and syncLoop, and everything else that can wait for the disk runs on a goroutine of its own, a worker,
// because pebble may park any of them for good: see fail.go.
type Store struct {
	dir        string
	fs         vfs.FS
	disk       bool // fs is the machine's own, which has permissions
	log        *slog.Logger
	db         *pebble.DB
	cacheBytes int64
	lock       *pebble.Lock // kept by a failed store until the process ends

	requests chan *request // from Commit to commitLoop; closed by Close, once nobody can send
	syncs    chan *request // from commitLoop to syncLoop, in the order of versions; closed by commitLoop
	synced   chan struct{} // closed when syncLoop has ended
	feed     feed
	recent   recent

	assigned atomic.Uint64 // the highest version given to a commit; set by commitLoop before others can see it
	last     kv.Version    // the latest commit; owned by commitLoop

	workers *workers.Pool // for what uses pebble

	failed  chan struct{} // closed once failure is set
	failing sync.Once
	failure error // set before failed is closed

	closing chan struct{}  // closed when Close begins
	close   func() error   // shutdown, once
	calls   sync.WaitGroup // calls between begin and end
	mu      sync.Mutex     // guards closed, and calls.Add against calls.Wait
	closed  bool
}

// begin admits a call that uses pebble; end must follow if it returns nil.
func (s *Store) begin(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("pebblekv: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return kv.ErrClosed
	}
	if err := s.Err(); err != nil {
		return err
	}
	s.calls.Add(1)
	return nil
}

func (s *Store) end() { s.calls.Done() }

// Close waits for calls and commits that have begun, but not on a store that has failed: that one
// keeps its files and the lock on its folder until the process ends.
func (s *Store) Close() error { return s.close() }

func (s *Store) shutdown() error {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	close(s.closing)
	_, err := await(context.Background(), s, func() (struct{}, error) {
		s.calls.Wait()
		close(s.requests)
		<-s.synced
		if err := s.Err(); err != nil {
			return struct{}{}, err // pebble is in no state to be closed
		}
		err := s.db.Close()
		if lockErr := s.lock.Close(); err == nil {
			err = lockErr
		}
		return struct{}{}, s.explain("close", err)
	})
	return err
}

// call is await for what the public methods do. The Store counts as used until fn has returned,
// which may be after call has.
func call[T any](ctx context.Context, s *Store, fn func() (T, error)) (T, error) {
	if err := s.begin(ctx); err != nil {
		var zero T
		return zero, err
	}
	return await(ctx, s, func() (T, error) {
		defer s.end()
		return fn()
	})
}

// await runs fn, which uses pebble, on another goroutine, and waits no longer than for the
// context or the failure of the store.
func await[T any](ctx context.Context, s *Store, fn func() (T, error)) (T, error) {
	type result struct {
		value T
		err   error
	}
	done := make(chan result, 1)
	s.workers.Run(func() {
		value, err := fn()
		done <- result{value, err}
	})
	var zero T
	select {
	case r := <-done:
		return r.value, r.err
	case <-ctx.Done():
		return zero, fmt.Errorf("pebblekv: %w", ctx.Err())
	case <-s.failed:
		return zero, s.Err()
	}
}
