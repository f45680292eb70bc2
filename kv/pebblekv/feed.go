package pebblekv

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"iter"
	"slices"
	"sort"
	"sync"

	"github.com/authsrv/authsrv/kv"
)

// feedBytes bounds the keys and values that the feed keeps, whatever their number.
const feedBytes = 16 << 20

// feed keeps the latest durable commits for those who watch. It belongs to the process: after a
// start it knows nothing of what was before.
type feed struct {
	length int // of events

	mu      sync.Mutex
	commits []change      // ascending versions; their events are never modified
	events  int           // in commits
	bytes   int           // in commits
	floor   kv.Version    // every change above it is in commits, or not durable yet
	lost    kv.Version    // versions above the first floor up to here belong to no commit that survived
	opened  kv.Version    // the first floor
	moved   chan struct{} // closed and replaced when commits grows
}

type change struct {
	version kv.Version
	events  []kv.Event // by ascending key
}

func (f *feed) init(m meta) {
	f.floor, f.opened, f.lost = m.last, m.last, m.assigned
	f.moved = make(chan struct{})
}

// publish appends a commit that is durable. The newest is kept whatever its size, so that
// one who keeps up never misses any.
func (f *feed) publish(version kv.Version, events []kv.Event) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.commits = append(f.commits, change{version, events})
	f.events += len(events)
	f.bytes += size(events)
	drop := 0
	for ; drop < len(f.commits)-1 && (f.events > f.length || f.bytes > feedBytes); drop++ {
		old := &f.commits[drop]
		f.events -= len(old.events)
		f.bytes -= size(old.events)
		f.floor = old.version
		*old = change{} // the array may live on for a while, its contents need not
	}
	f.commits = f.commits[drop:]
	close(f.moved)
	f.moved = make(chan struct{})
}

func size(events []kv.Event) int {
	n := 0
	for _, e := range events {
		n += len(e.Key) + len(e.Value)
	}
	return n
}

// since returns the commits after a version, and a channel that is closed when there are more.
// Where assigned is below after, this store never gave that version.
func (f *feed) since(after, assigned kv.Version) ([]change, <-chan struct{}, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if after < f.floor || after > f.opened && after <= f.lost || after > assigned {
		return nil, nil, kv.ErrCompacted
	}
	i := sort.Search(len(f.commits), func(i int) bool { return f.commits[i].version > after })
	// A copy, since publish clears what it drops. A bounded one, since ten thousand may watch.
	n := min(len(f.commits), i+64)
	return slices.Clone(f.commits[i:n]), f.moved, nil
}

// Watch implements kv.Engine. It can resume from any version of this process as long as the
// feed keeps what came after (Options.FeedLength), and from before its start only if
// nothing was committed in between.
func (s *Store) Watch(ctx context.Context, prefix []byte, after kv.Version) iter.Seq2[kv.Event, error] {
	prefix = bytes.Clone(prefix)
	return func(yield func(kv.Event, error) bool) {
		err := s.watch(ctx, prefix, after, func(e kv.Event) bool { return yield(e, nil) })
		if err != nil {
			yield(kv.Event{}, err)
		}
	}
}

// watch returns nil when yield has had enough.
func (s *Store) watch(ctx context.Context, prefix []byte, after kv.Version, yield func(kv.Event) bool) error {
	if err := s.begin(ctx); err != nil {
		return err
	}
	s.end() // a feed needs nothing of pebble: Close need not wait for those who consume it
	for {
		changes, moved, err := s.feed.since(after, kv.Version(s.assigned.Load()))
		if err != nil {
			return err
		}
		for _, c := range changes {
			if err := ctx.Err(); err != nil {
				return fmt.Errorf("pebblekv: %w", err)
			}
			if !deliver(c, prefix, yield) {
				return nil
			}
			after = c.version
		}
		if len(changes) > 0 {
			continue
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return fmt.Errorf("pebblekv: %w", ctx.Err())
		case <-s.closing:
			return cmp.Or(s.Err(), kv.ErrClosed) // who closes a failed store does not hide why it failed
		case <-s.failed:
			return s.Err()
		}
	}
}

func deliver(c change, prefix []byte, yield func(kv.Event) bool) bool {
	for _, e := range c.events {
		if !bytes.HasPrefix(e.Key, prefix) {
			continue
		}
		e.Key = bytes.Clone(e.Key)
		if !e.Deleted {
			e.Value = append([]byte{}, e.Value...)
		}
		if !yield(e) {
			return false
		}
	}
	return true
}
