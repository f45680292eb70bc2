package kv

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
)

// Limits of keys, values and commits. They are those of the least of the engines that are
// planned, with room to spare: etcd takes 128 operations and 1.5 MiB in a transaction.
const (
	MaxKey   = 1 << 10  // bytes of a key; the least is 1
	MaxValue = 64 << 10 // bytes of a value; the least is 0, which is not the same as absent
	MaxOps   = 128      // reads and writes of one commit, together
	MaxBytes = 1 << 20  // bytes of all keys and values of one commit, together
)

// Errors that every engine returns, wrapped; match them with errors.Is.
var (
	// ErrConflict: a key that was read has moved since. Nothing was written.
	ErrConflict = errors.New("kv: conflict")
	// ErrTooLarge: one of the limits above. Nothing was written.
	ErrTooLarge = errors.New("kv: too large")
	// ErrInvalid: an argument that no store could serve, such as an empty key. Nothing was written.
	ErrInvalid = errors.New("kv: invalid argument")
	// ErrCompacted: the feed no longer knows every change since the version asked for.
	// The consumer must read the present state with Scan and watch from there.
	ErrCompacted = errors.New("kv: changes no longer kept")
	// ErrClosed: the engine was closed. Nothing was written.
	ErrClosed = errors.New("kv: closed")
	// ErrUnknownOutcome: the commit may have happened, or may yet happen. It comes with its
	// cause: often the context's error. Only a read can tell, and only once the engine
	// serves again. It is never returned together with ErrConflict.
	ErrUnknownOutcome = errors.New("kv: commit of unknown outcome")
)

// Version numbers the commits of one store. Later commits have higher versions, with gaps. A
// version is never used twice in the life of a store, whether its commit survived a crash or not.
// The version of a key is that of the commit that last wrote it; 0 is the version of an absent key.
type Version uint64

// Entry is a key as it was read. An absent key has version 0 and a nil value; a key that is
// present has a higher version and a value that may be empty.
type Entry struct {
	Key, Value []byte
	Version    Version
	At         Version // of the store: no commit up to it is missing in what was read; 0: the engine does not say
}

// Read says that a commit depends on a key that had this version; 0: on its absence. At is that of the Entry, or 0: with it
// an engine may be able to tell from its latest commits alone that the key has not moved.
type Read struct {
	Key     []byte
	Version Version
	At      Version
}

// Write sets a key, or removes it; Value is ignored where Delete is set.
type Write struct {
	Key, Value []byte
	Delete     bool
}

// Event is one change of one key. Value is nil where the key was deleted.
type Event struct {
	Key, Value []byte
	Version    Version
	Deleted    bool
}

// Engine is an ordered store of keys with optimistic, serializable commits. Its methods may be
// called from several goroutines at once. Slices that are passed are not retained after the call;
// slices that are returned belong to the caller.
//
// Reads are of the latest commit, which may not be durable yet. What follows from such a read
// is safe all the same: a commit that observed another one is durable only after it.
type Engine interface {
	// Get returns the entry of a key. An absent key is not an error.
	Get(ctx context.Context, key []byte) (Entry, error)

	// Scan returns up to limit entries (at least 1) whose keys have the prefix and are not below
	// start, in ascending order of their bytes, and the version of the store at which they were
	// read, all at once: Watch from that version misses nothing. A nil start stands for the
	// prefix, and an empty prefix for every key. The next page starts at the last key and a zero
	// byte; pages are read at different versions. A scan is not part of any read set.
	Scan(ctx context.Context, prefix, start []byte, limit int) ([]Entry, Version, error)

	// Commit writes all of writes, or nothing, if every key of reads still has the version given.
	// On return it is durable, as is everything that its reads observed, and every key written has
	// the version returned. The keys of writes must differ. Deleting an absent key is allowed, changes
	// nothing and makes no event. Where nothing is to be changed, the reads are
	// checked all the same, and the version returned is that of the store at that moment.
	//
	// An error means that nothing was or will be written, except ErrUnknownOutcome.
	Commit(ctx context.Context, reads []Read, writes []Write) (Version, error)

	// Watch returns every change to a key with the prefix by commits after the version given:
	// commit by commit in their order, the keys of one commit ascending, and only what is durable.
	// When there is nothing left, it blocks. It ends with exactly one error and no event:
	// the context's, ErrClosed, or ErrCompacted: where changes are missing, because they are too
	// old or the consumer falls too far behind, or where the store never reached that version. It does not end by itself in the midst of a commit, so a
	// consumer that saw an error resumes after the last version it saw; one that broke off on its own
	// resumes after the version before, and sees some events again.
	Watch(ctx context.Context, prefix []byte, after Version) iter.Seq2[Event, error]

	// Close waits for the calls that have begun, ends the feeds and releases the store.
	// Every call that follows returns ErrClosed; Close itself may be called again.
	Close() error
}

// A Witness is an Engine that remembers which keys its latest commits have written.
type Witness interface {
	// Unmoved reports whether it is certain, without reading anything, that every key still has the version with which it
	// was read. False says nothing.
	Unmoved(reads []Read) bool
}

// A Counter is an Engine that counts keys for less than it scans them.
type Counter interface {
	// Count returns how many keys have the prefix, but no more than limit, which is at least 1. As a scan, it is not part of any read set.
	Count(ctx context.Context, prefix []byte, limit int) (int, error)
}

// Count is that of the engine, or made of a scan.
func Count(ctx context.Context, e Engine, prefix []byte, limit int) (int, error) {
	if c, ok := e.(Counter); ok {
		return c.Count(ctx, prefix, limit)
	}
	entries, _, err := e.Scan(ctx, prefix, nil, limit)
	return len(entries), err
}

// A Reader reads what is there as the methods of an Engine do.
type Reader interface {
	Get(key []byte) (Entry, error)
	Count(prefix []byte, limit int) (int, error)
}

// A Viewer is an Engine in which reads of which one depends on another cost less together than each by itself.
type Viewer interface {
	// View runs look, and returns what it returns. Where ctx ends before, View does not wait: look may still be running then, and so has no effects but its
	// results. The reads are no more of one moment than those of several calls of Get need be.
	View(ctx context.Context, look func(Reader) (any, error)) (any, error)
}

// View is that of the engine, or made of calls of its other methods.
func View[T any](ctx context.Context, e Engine, look func(Reader) (T, error)) (T, error) {
	viewer, ok := e.(Viewer)
	if !ok {
		return look(reader{ctx, e})
	}
	v, err := viewer.View(ctx, func(r Reader) (any, error) { return look(r) })
	result, _ := v.(T)
	return result, err
}

type reader struct {
	ctx    context.Context // of the View, which it does not outlive
	engine Engine
}

func (r reader) Get(key []byte) (Entry, error) { return r.engine.Get(r.ctx, key) }

func (r reader) Count(prefix []byte, limit int) (int, error) {
	return Count(r.ctx, r.engine, prefix, limit)
}

// CheckKey reports whether a key is within the limits. It is for engines.
func CheckKey(key []byte) error {
	switch {
	case len(key) == 0:
		return fmt.Errorf("%w: empty key", ErrInvalid)
	case len(key) > MaxKey:
		return fmt.Errorf("%w: key of %d bytes, of %d", ErrTooLarge, len(key), MaxKey)
	}
	return nil
}

// CheckScan reports whether the arguments of a scan are within the limits. It is for engines.
func CheckScan(prefix, start []byte, limit int) error {
	switch {
	case limit < 1:
		return fmt.Errorf("%w: scan limit %d", ErrInvalid, limit)
	case len(prefix) > MaxKey:
		return fmt.Errorf("%w: prefix of %d bytes, of %d", ErrTooLarge, len(prefix), MaxKey)
	case len(start) > MaxKey+1: // a longest key and the zero byte of the next page
		return fmt.Errorf("%w: start of %d bytes, of %d", ErrTooLarge, len(start), MaxKey+1)
	}
	return nil
}

// CheckCommit reports whether a commit is within the limits. It is for engines.
func CheckCommit(reads []Read, writes []Write) error {
	if n := len(reads) + len(writes); n > MaxOps {
		return fmt.Errorf("%w: %d operations, of %d", ErrTooLarge, n, MaxOps)
	}
	total := 0
	for _, r := range reads {
		if err := CheckKey(r.Key); err != nil {
			return err
		}
		total += len(r.Key)
	}
	for i, w := range writes {
		if err := CheckKey(w.Key); err != nil {
			return err
		}
		for _, other := range writes[:i] { // so few that a map costs more
			if bytes.Equal(w.Key, other.Key) {
				return fmt.Errorf("%w: key written twice", ErrInvalid)
			}
		}
		total += len(w.Key)
		if w.Delete {
			continue
		}
		if err := checkValue(w.Value); err != nil {
			return err
		}
		total += len(w.Value)
	}
	if total > MaxBytes {
		return fmt.Errorf("%w: commit of %d bytes, of %d", ErrTooLarge, total, MaxBytes)
	}
	return nil
}

func checkValue(value []byte) error {
	if len(value) > MaxValue {
		return fmt.Errorf("%w: value of %d bytes, of %d", ErrTooLarge, len(value), MaxValue)
	}
	return nil
}
