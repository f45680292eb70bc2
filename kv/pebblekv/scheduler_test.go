package pebblekv

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// piled returns a store with so many tables of level 0, one above the other.
func piled(t *testing.T, tables int) vfs.FS {
	t.Helper()
	fs := vfs.NewMem()
	s, err := Open("db", &Options{FS: fs})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	db, err := pebble.Open("db", &pebble.Options{
		FS: fs, FormatMajorVersion: formatVersion, DisableAutomaticCompactions: true, L0StopWritesThreshold: 100,
	})
	if err != nil {
		t.Fatal(err)
	}
	for i := range tables {
		batch := db.NewBatch()
		for k := range 4 {
			if err := set(batch, fmt.Appendf(nil, "key%d", k), 1, fmt.Appendf(nil, "value%d", i)); err != nil {
				t.Fatal(err)
			}
		}
		if err := batch.Commit(pebble.Sync); err != nil {
			t.Fatal(err)
		}
		if err := db.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	return fs
}

// A store that is opened does not wait for a compaction that is due: pebble would have it wait for one that began meanwhile.
func TestOpenDoesNotCompact(t *testing.T) {
	compactions, ended := newScheduler(), make(chan struct{}, 16)
	o := &pebble.Options{FS: piled(t, 2*overlapping), FormatMajorVersion: formatVersion, EventListener: &pebble.EventListener{
		CompactionEnd: func(pebble.CompactionInfo) { ended <- struct{}{} },
	}}
	o.Experimental.CompactionScheduler = compactions
	db, err := pebble.Open("db", o)
	if err != nil {
		t.Fatal(err)
	}
	if waits, _ := db.GetWaitingCompaction(); !waits {
		t.Error("no compaction waits: this shows nothing")
	}
	if n := db.Metrics().Compact.Count; n != 0 {
		t.Errorf("%d compactions before they may begin", n)
	}
	compactions.begin()
	<-ended
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if compactions.running != 0 {
		t.Errorf("%d compactions have not given back their place", compactions.running)
	}
}

// A store begins to compact a second behind its opening, or at once where many tables overlap, even more than pebble lets writes add to. One that is
// closed before begins no more.
func TestCompactAfter(t *testing.T) {
	for _, c := range []struct {
		tables int
		after  time.Duration
	}{{1, compactAfter}, {2 * overlapping, 0}} {
		fs := piled(t, c.tables)
		synctest.Test(t, func(t *testing.T) {
			start := time.Now()
			s, err := Open("db", &Options{FS: fs})
			if err != nil {
				t.Fatal(err)
			}
			if err := s.db.Compact(t.Context(), []byte{tagMeta}, []byte{tagEnd}, false); err != nil { // which waits as what is due does
				t.Error(err)
			}
			if d := time.Since(start); d < c.after || d >= c.after+compactAfter {
				t.Errorf("%d tables: the first compaction was through after %v", c.tables, d)
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			if s, err = Open("db", &Options{FS: fs}); err != nil {
				t.Fatal(err)
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			time.Sleep(2 * compactAfter)
		})
	}
}
