package kvtest

import (
	"fmt"
	"testing"

	"github.com/authsrv/authsrv/kv"
)

// RunDurable tests that a store goes on where it was. fresh makes an empty store and returns how
// to open it, which is called again each time that what it returned was closed.
func RunDurable(t *testing.T, fresh func(t *testing.T) (open func() kv.Engine)) {
	t.Run("Reopen", func(t *testing.T) { reopen(t, fresh(t)) })
	t.Run("ReopenWatch", func(t *testing.T) { reopenWatch(t, fresh(t)) })
}

func closeEngine(t *testing.T, e kv.Engine) {
	t.Helper()
	if err := e.Close(); err != nil {
		t.Fatalf("Close: %v", err)
	}
}

func reopen(t *testing.T, open func() kv.Engine) {
	var last kv.Version
	for round := range 4 {
		b := newBench(t, open())
		for i := range round {
			b.holds(fmt.Sprint("kept", i), fmt.Sprint(i))
		}
		b.absent("gone")
		if _, v := b.scan("", nil, 1); v != last {
			b.Fatalf("at version %d, was at %d", v, last)
		}
		v := b.commit(put(fmt.Sprint("kept", round), fmt.Sprint(round)), put("gone", ""))
		if v <= last {
			b.Fatalf("version %d after %d", v, last)
		}
		last = b.commit(del("gone"))
		closeEngine(t, b.e)
	}
	b := newBench(t, open())
	defer closeEngine(t, b.e)
	b.absent("gone")
	if v := b.commit(put("gone", "")); v <= last {
		b.Fatalf("created again at %d, deleted at %d", v, last)
	}
}

// reopenWatch resumes from before a restart. Whether an engine still has the changes of before is its own
// affair, but it must not leave any out.
func reopenWatch(t *testing.T, open func() kv.Engine) {
	b := newBench(t, open())
	b.commit(put("a", "1"))
	before := b.commit(put("a", "2"))
	closeEngine(t, b.e)
	b = newBench(t, open())
	closeEngine(t, b.e) // a start without a commit changes nothing
	b = newBench(t, open())
	three := b.commit(put("a", "3"))
	four := b.commit(put("b", "4"))
	b.wantEvents("", before, fmt.Sprint(three, " a=3"), fmt.Sprint(four, " b=4"))
	closeEngine(t, b.e)

	b = newBench(t, open())
	defer closeEngine(t, b.e)
	five := b.commit(put("a", "5"))
	b.wantEvents("", four, fmt.Sprint(five, " a=5"))
	for e, err := range b.e.Watch(b.ctx, nil, before) {
		if err != nil {
			b.wantError(err, kv.ErrCompacted, "from before the restart")
			break
		}
		if got, want := line(e), fmt.Sprint(three, " a=3"); got != want {
			b.Fatalf("first event after %d: %s, want %s or an error", before, got, want)
		}
		break
	}
}
