package pebblekv

import (
	"fmt"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// A store that is opened does not wait for a compaction that is due: pebble would have it wait for one that began meanwhile.
func TestOpenDoesNotCompact(t *testing.T) {
	fs := vfs.NewMem()
	s, err := Open("db", &Options{FS: fs})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	db, err := pebble.Open("db", &pebble.Options{FS: fs, FormatMajorVersion: formatVersion, DisableAutomaticCompactions: true})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 8 { // tables of level 0, one above the other
		for k := range 4 {
			batch := db.NewBatch()
			if err := set(batch, fmt.Appendf(nil, "key%d", k), 1, fmt.Appendf(nil, "value%d", i)); err != nil {
				t.Fatal(err)
			}
			if err := batch.Commit(pebble.Sync); err != nil {
				t.Fatal(err)
			}
		}
		if err := db.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	compactions, ended := newScheduler(), make(chan struct{}, 16)
	o := &pebble.Options{FS: fs, FormatMajorVersion: formatVersion, EventListener: &pebble.EventListener{
		CompactionEnd: func(pebble.CompactionInfo) { ended <- struct{}{} },
	}}
	o.Experimental.CompactionScheduler = compactions
	if db, err = pebble.Open("db", o); err != nil {
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

	// Of its own, a store begins after a second, or at once where many tables overlap: what is asked for waits for that.
	if s, err = Open("db", &Options{FS: fs}); err != nil {
		t.Fatal(err)
	}
	if err := s.db.Compact(t.Context(), []byte{tagMeta}, []byte{tagEnd}, false); err != nil { // which waits for its turn, as others do
		t.Error(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}
