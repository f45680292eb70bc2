package kvtest

import (
	"context"
	"fmt"
	"testing"

	"github.com/authsrv/authsrv/kv"
)

// line is an event as text.
func line(e kv.Event) string {
	if e.Deleted {
		return fmt.Sprintf("%d -%s", e.Version, e.Key)
	}
	return fmt.Sprintf("%d %s=%s", e.Version, e.Key, e.Value)
}

func (b *bench) wantEvents(prefix string, after kv.Version, want ...string) {
	b.Helper()
	for i, e := range b.events(prefix, after, len(want)) {
		if got := line(e); got != want[i] {
			b.Fatalf("event %d of %q after %d: %s, want %s", i, prefix, after, got, want[i])
		}
		if e.Deleted && e.Value != nil {
			b.Fatalf("a deletion with a value: %q", e.Value)
		}
	}
}

func watchOrder(b *bench) {
	one := b.commit(put("c", "1"), put("a", "1"), put("b", "1"))
	two := b.commit(put("b", "2"))
	three := b.commit(put("a", "3"))
	b.wantEvents("", 0, fmt.Sprint(one, " a=1"), fmt.Sprint(one, " b=1"), fmt.Sprint(one, " c=1"),
		fmt.Sprint(two, " b=2"), fmt.Sprint(three, " a=3"))
}

func watchResumes(b *bench) {
	one := b.commit(put("a", "1"))
	two := b.commit(put("x", "2"))
	three := b.commit(put("a", "3"))
	b.wantEvents("a", one, fmt.Sprint(three, " a=3"))
	b.wantEvents("a", two, fmt.Sprint(three, " a=3")) // not a version of that prefix, but of the store
	b.wantEvents("", one, fmt.Sprint(two, " x=2"), fmt.Sprint(three, " a=3"))

	// One feed, used twice, begins twice.
	feed := b.e.Watch(b.ctx, []byte("a"), 0)
	for range 2 {
		for e, err := range feed {
			if err != nil || e.Version != one {
				b.Fatalf("%s, %v, want the first event", line(e), err)
			}
			break
		}
	}
}

func watchDeletes(b *bench) {
	one := b.commit(put("a", "1"), put("b", "1"))
	two := b.commit(del("a"), put("c", "2"))
	three := b.commit(put("a", "3"))
	four := b.commit(del("b"), del("a"))
	b.wantEvents("", 0, fmt.Sprint(one, " a=1"), fmt.Sprint(one, " b=1"), fmt.Sprint(two, " -a"), fmt.Sprint(two, " c=2"),
		fmt.Sprint(three, " a=3"), fmt.Sprint(four, " -a"), fmt.Sprint(four, " -b"))
}

// watchWaits commits only after the feed has caught up, each time on the event before.
func watchWaits(b *bench) {
	last := b.commit(put("n", "0"))
	n := 0
	for e, err := range b.e.Watch(b.ctx, []byte("n"), 0) {
		if err != nil {
			b.Fatal(err)
		}
		if want := fmt.Sprintf("%d n=%d", last, n); line(e) != want {
			b.Fatalf("%s, want %s", line(e), want)
		}
		if n++; n == 5 {
			break
		}
		// From another goroutine, so that the feed may already be waiting.
		committed := make(chan kv.Version, 1)
		go func() {
			v, err := b.e.Commit(b.ctx, nil, []kv.Write{put("n", fmt.Sprint(n))})
			if err != nil {
				b.Errorf("Commit: %v", err)
			}
			committed <- v
		}()
		last = <-committed
	}
}

// watchPrefixes has two feeds run while commits touch both of their prefixes, and neither.
func watchPrefixes(b *bench) {
	const n = 20
	b.commit(put("z", ""))
	_, start := b.scan("", nil, 1)
	feeds := make(chan error, 2)
	for _, prefix := range []string{"p/", "q/"} {
		go func() {
			feeds <- func() error {
				i, last := 0, start
				for e, err := range b.e.Watch(b.ctx, []byte(prefix), start) {
					if err != nil {
						return err
					}
					if want := fmt.Sprintf("%s%d", prefix, i); string(e.Key) != want || e.Version <= last {
						return fmt.Errorf("%s after version %d, want %s", line(e), last, want)
					}
					last = e.Version
					if i++; i == n {
						break
					}
				}
				return nil
			}()
		}()
	}
	for i := range n {
		b.commit(put(fmt.Sprint("p/", i), ""), put(fmt.Sprint("q/", i), ""), put("pq", ""))
		b.commit(put("p", ""), put("q", ""))
	}
	for range 2 {
		if err := <-feeds; err != nil {
			b.Error(err)
		}
	}
}

func watchCancelled(b *bench) {
	ctx, cancel := context.WithCancel(b.ctx)
	v := b.commit(put("a", "1"), put("b", "1"), put("c", "1"))
	b.commit(put("d", "2"))
	var seen string
	var last error
	for e, err := range b.e.Watch(ctx, nil, v-1) {
		cancel() // in the midst of the first commit, which is delivered in full all the same
		if last != nil {
			b.Fatalf("%v and %v after %v", e, err, last)
		}
		seen, last = seen+string(e.Key), err
	}
	b.wantError(last, context.Canceled, "Watch")
	if seen != "abc" {
		b.Errorf("events of %q, want all of the first commit and none of the second", seen)
	}

	// And one that waits.
	ctx, cancel = context.WithCancel(b.ctx)
	ended := make(chan error, 1)
	_, now := b.scan("", nil, 1)
	go func() {
		for _, err := range b.e.Watch(ctx, nil, now) {
			ended <- err
		}
	}()
	cancel()
	b.wantError(<-ended, context.Canceled, "waiting Watch")
}

func watchClosed(b *bench) {
	v := b.commit(put("a", "1"))
	started, ended := make(chan struct{}), make(chan error, 1)
	go func() {
		for _, err := range b.e.Watch(b.ctx, nil, v-1) {
			if err != nil {
				ended <- err
				return
			}
			close(started)
		}
	}()
	<-started
	if err := b.e.Close(); err != nil {
		b.Fatal(err)
	}
	b.wantError(<-ended, kv.ErrClosed, "waiting Watch")
}

func watchUnknownVersion(b *bench) {
	v := b.commit(put("a", "1"))
	b.wantError(b.watchError(b.ctx, v+1), kv.ErrCompacted, "a version that is yet to come")
	b.wantError(b.watchError(b.ctx, v+1<<40), kv.ErrCompacted, "a version of another store")
}

// RunCompacted tests an engine that can be made to forget. open returns an empty store; forget makes it
// drop every change up to the present, but for the last few, and may write keys that begin with "~" for it.
func RunCompacted(t *testing.T, open func(t *testing.T) kv.Engine, forget func(t *testing.T, e kv.Engine)) {
	b := newBench(t, open(t))
	one := b.commit(put("a", "1"))
	b.wantEvents("", 0, fmt.Sprint(one, " a=1"))
	b.commit(put("a", "2"))

	// A consumer that has begun, and is overtaken.
	var behind error
	seen := 0
	for _, err := range b.e.Watch(b.ctx, []byte("a"), 0) {
		if behind = err; err == nil {
			if seen++; seen == 1 {
				forget(t, b.e)
			}
		}
	}
	b.wantError(behind, kv.ErrCompacted, "consumer that fell behind")

	b.wantError(b.watchError(b.ctx, 0), kv.ErrCompacted, "from the beginning")
	b.wantError(b.watchError(b.ctx, one), kv.ErrCompacted, "from the first commit")
	b.holds("a", "2")
	_, v := b.scan("", nil, 1)
	next := b.commit(put("a", "3"))
	b.wantEvents("a", v, fmt.Sprint(next, " a=3"))
}
