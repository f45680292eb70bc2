package pebblekv

import (
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2"
)

// A scheduler has as many compactions at once as pebble allows, as pebble's own does, but none before begin: to open a store is to wait for those that have
// begun, and one of a large store takes seconds.
//
// The database's locks come before mu: nothing of it is called with mu held but GetAllowedWithoutPermission, which takes none.
type scheduler struct {
	db   pebble.DBForCompaction // set before all else
	poke chan struct{}          // of capacity 1: it may be time for a compaction that waits
	stop chan struct{}
	over chan struct{} // closed when grants has ended

	mu      sync.Mutex
	open    bool // compactions may begin
	closed  bool // they never will
	running int
}

// compactAfter is how long behind its opening a store begins with what was left to compact, unless so many of its tables overlap that each read takes longer.
// Most commands are through by then, and neither begin with it nor wait for its end.
const (
	compactAfter = time.Second
	overlapping  = 8 // tables of level 0, one above the other
)

// lookAgain is how often grants looks without being poked, as pebble's own does.
const lookAgain = 100 * time.Millisecond

func newScheduler() *scheduler {
	return &scheduler{poke: make(chan struct{}, 1), stop: make(chan struct{}), over: make(chan struct{})}
}

// Register implements pebble.CompactionScheduler.
func (s *scheduler) Register(_ int, db pebble.DBForCompaction) { s.db = db }

// begin lets compactions begin, unless the store was closed.
func (s *scheduler) begin() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return
	}
	s.open = true
	go s.grants()
}

// Unregister implements pebble.CompactionScheduler.
func (s *scheduler) Unregister() {
	s.mu.Lock()
	began := s.open
	s.open, s.closed = false, true
	s.mu.Unlock()
	if began {
		close(s.stop)
		<-s.over
	}
}

// TrySchedule implements pebble.CompactionScheduler.
func (s *scheduler) TrySchedule() (bool, pebble.CompactionGrantHandle) { return s.take(), s }

func (s *scheduler) take() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.open || s.running >= s.db.GetAllowedWithoutPermission() {
		return false
	}
	s.running++
	return true
}

// grants starts compactions that wait.
func (s *scheduler) grants() {
	defer close(s.over)
	ticker := time.NewTicker(lookAgain)
	defer ticker.Stop()
	for {
		for s.take() {
			if waits, _ := s.db.GetWaitingCompaction(); !waits || !s.db.Schedule(s) {
				s.give()
				break
			}
		}
		select {
		case <-s.poke:
		case <-ticker.C:
		case <-s.stop:
			return
		}
	}
}

func (s *scheduler) give() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.running--
}

// UpdateGetAllowedWithoutPermission implements pebble.CompactionScheduler.
func (s *scheduler) UpdateGetAllowedWithoutPermission() {
	select {
	case s.poke <- struct{}{}:
	default:
	}
}

// Done implements pebble.CompactionGrantHandle, as the next three do.
func (s *scheduler) Done() {
	s.give()
	s.UpdateGetAllowedWithoutPermission()
}

// Started is of no use here.
func (s *scheduler) Started() {}

// MeasureCPU is of no use here.
func (s *scheduler) MeasureCPU(pebble.CompactionGoroutineKind) {}

// CumulativeStats is of no use here.
func (s *scheduler) CumulativeStats(pebble.CompactionGrantHandleStats) {}
