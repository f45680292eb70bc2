package pebblekv

import (
	"bytes"
	"context"

	"github.com/cockroachdb/pebble/v2"

	"github.com/authsrv/authsrv/kv"
)

// A view reads with one iterator.
type view struct {
	store *Store
	ctx   context.Context // of the call, which it does not outlive
	it    *pebble.Iterator
	at    kv.Version // for the At of what is read
}

// look runs fn with a view, as call does.
func look[T any](ctx context.Context, s *Store, fn func(*view) (T, error)) (T, error) {
	return call(ctx, s, func() (T, error) {
		at := s.recent.now()
		it, err := s.db.NewIter(nil)
		if err != nil {
			var zero T
			return zero, s.explain("get", err)
		}
		defer it.Close()
		return fn(&view{s, ctx, it, at})
	})
}

// Get implements kv.Engine.
func (s *Store) Get(ctx context.Context, key []byte) (kv.Entry, error) {
	if err := kv.CheckKey(key); err != nil {
		return kv.Entry{}, err
	}
	stored := userKey(key) // a copy: the call may outlive the caller's wait
	return look(ctx, s, func(v *view) (kv.Entry, error) { return v.entry(stored) })
}

// Count implements kv.Counter.
func (s *Store) Count(ctx context.Context, prefix []byte, limit int) (int, error) {
	if err := kv.CheckScan(prefix, nil, limit); err != nil {
		return 0, err
	}
	stored := userKey(prefix)
	return look(ctx, s, func(v *view) (int, error) { return v.count(stored, limit) })
}

// View implements kv.Viewer: one goroutine and one iterator for all that is read.
func (s *Store) View(ctx context.Context, fn func(kv.Reader) (any, error)) (any, error) {
	return look(ctx, s, func(v *view) (any, error) { return fn(v) })
}

// Get implements kv.Reader.
func (v *view) Get(key []byte) (kv.Entry, error) {
	if err := kv.CheckKey(key); err != nil {
		return kv.Entry{}, err
	}
	return v.entry(userKey(key))
}

// Count implements kv.Reader.
func (v *view) Count(prefix []byte, limit int) (int, error) {
	if err := kv.CheckScan(prefix, nil, limit); err != nil {
		return 0, err
	}
	return v.count(userKey(prefix), limit)
}

// entry returns that of a key in pebble's form, which it keeps.
func (v *view) entry(stored []byte) (kv.Entry, error) {
	e := kv.Entry{Key: stored[1:], At: v.at}
	value, err := v.store.seek(v.it, stored)
	if err != nil || value == nil {
		return e, err
	}
	e.Version, e.Value, err = decodeValue(value)
	return e, err
}

// count counts keys in pebble's form with a prefix, up to a limit.
func (v *view) count(prefix []byte, limit int) (n int, err error) {
	end := prefixEnd(prefix)
	for state := v.it.SeekGEWithLimit(prefix, end); state == pebble.IterValid && n < limit && v.ctx.Err() == nil; state = v.it.NextWithLimit(end) {
		n++
	}
	if err := v.it.Error(); err != nil {
		return 0, v.store.explain("count", err)
	}
	return n, v.ctx.Err()
}

// load returns a copy of what pebble holds for a key in its form; nil: nothing.
func (s *Store) load(key []byte) ([]byte, error) {
	it, err := s.db.NewIter(nil)
	if err != nil {
		return nil, s.explain("get", err)
	}
	defer it.Close()
	return s.seek(it, key)
}

// seek is load with an iterator.
//
// Callers ask for names, and who measures the answer should not learn whether one is there. So it is not pebble's Get, which
// stops at the first level that has the key, but an iterator, which looks at all of them; and where the key is not there, its
// neighbour is read, for the blocks and the bytes that the key's own would have been.
func (s *Store) seek(it *pebble.Iterator, key []byte) ([]byte, error) {
	if it.SeekGEWithLimit(key, prefixEnd(key[:min(len(key), neighbours)])) != pebble.IterValid {
		return nil, s.explain("get", it.Error())
	}
	value, err := it.ValueAndErr()
	stored := append([]byte{}, value...)
	if err != nil || !bytes.Equal(it.Key(), key) {
		return nil, s.explain("get", err)
	}
	return stored, nil
}

// neighbours is how much of a stored key one has to share with another to be read in its place: among keys that are hashes, behind the two bytes of
// their spaces, one of 256. Whatever was deleted of these is passed, and nothing else.
const neighbours = 3

// Scan implements kv.Engine.
func (s *Store) Scan(ctx context.Context, prefix, start []byte, limit int) ([]kv.Entry, kv.Version, error) {
	if err := kv.CheckScan(prefix, start, limit); err != nil {
		return nil, 0, err
	}
	lower := userKey(prefix)
	upper := prefixEnd(lower)
	if bytes.Compare(start, prefix) > 0 {
		lower = userKey(start)
	}
	type page struct {
		entries []kv.Entry
		version kv.Version
	}
	p, err := call(ctx, s, func() (p page, err error) {
		snapshot := s.db.NewSnapshot()
		defer snapshot.Close()
		if p.version, err = s.versionOf(snapshot); err != nil {
			return page{}, err
		}
		if p.entries, err = s.collect(ctx, snapshot, lower, upper, limit); err != nil {
			return page{}, err
		}
		return p, nil
	})
	return p.entries, p.version, err
}

// versionOf returns the latest commit in a snapshot: each rewrites the record meta.
func (s *Store) versionOf(snapshot *pebble.Snapshot) (kv.Version, error) {
	stored, closer, err := snapshot.Get(metaKey)
	if err != nil {
		return 0, s.explain("scan", err)
	}
	defer closer.Close()
	m, err := decodeMeta(stored)
	return m.last, err
}

func (s *Store) collect(ctx context.Context, snapshot *pebble.Snapshot, lower, upper []byte, limit int) ([]kv.Entry, error) {
	if bytes.Compare(lower, upper) >= 0 {
		return nil, nil
	}
	it, err := snapshot.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: upper})
	if err != nil {
		return nil, s.explain("scan", err)
	}
	defer it.Close()
	var entries []kv.Entry
	for ok := it.First(); ok && len(entries) < limit && ctx.Err() == nil; ok = it.Next() {
		stored, err := it.ValueAndErr()
		if err != nil {
			return nil, s.explain("scan", err)
		}
		version, value, err := decodeValue(stored)
		if err != nil {
			return nil, err
		}
		entries = append(entries, kv.Entry{
			Key:     bytes.Clone(it.Key()[1:]),
			Value:   append([]byte{}, value...),
			Version: version,
		})
	}
	if err := it.Error(); err != nil {
		return nil, s.explain("scan", err)
	}
	return entries, ctx.Err()
}
