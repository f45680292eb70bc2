package server

import (
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/authsrv/authsrv/wire"
)

// Connections returns how many connections there are, logged in or not.
func (s *Server) Connections() int { return int(s.open.Load()) }

// Stats is what a Server is at, and what it has seen since New. All words in it are of this package's and
// internal/account's making, few in number, and none of a peer's.
type Stats struct {
	Connections int // logged in or not
	LoggedIn    int
	Handshakes  map[string]uint64    // by outcome
	Attempts    map[Attempt]uint64   // to log in, to register, to resume, and operations
	Requests    map[string]Histogram // how long they took, by the type of the message
	Offences    map[string]uint64    // that cost something, by their name
	Penalized   int                  // networks that are cut off now
	CutOff      uint64               // connections of such networks
	Evictions   uint64               // from the lobby
	Displaced   uint64               // that were logged in, and made room for others
	Violations  uint64               // messages that ended a connection
}

// Attempt is a line that the log has too.
type Attempt struct{ What, Outcome string }

// LatencyBounds are the upper bounds of a Histogram's buckets, in seconds. The last bucket has none.
var LatencyBounds = [...]float64{0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10}

// Histogram counts durations.
type Histogram struct {
	Buckets [len(LatencyBounds) + 1]uint64 // each without those before it
	Count   uint64
	Sum     float64 // seconds
}

// Stats returns a copy. It costs what a scrape may cost.
func (s *Server) Stats() Stats {
	all := Stats{Connections: s.Connections(), LoggedIn: s.live.count(), Penalized: s.penalties.count()}
	s.seen.mu.Lock()
	defer s.seen.mu.Unlock()
	all.Evictions, all.Displaced, all.Violations = s.seen.evictions, s.seen.displaced, s.seen.violations
	all.CutOff = s.seen.cutOff
	all.Offences = make(map[string]uint64, Offences)
	for o, n := range s.seen.offences {
		all.Offences[Offence(o).String()] = n
	}
	all.Handshakes, all.Attempts = maps.Clone(s.seen.handshakes), maps.Clone(s.seen.attempts)
	all.Requests = make(map[string]Histogram, len(s.seen.requests))
	for t, h := range s.seen.requests {
		all.Requests[t.String()] = *h
	}
	return all
}

// counters is what the connections count. One mutex is enough: it is held for less time than anything that is counted takes.
type counters struct {
	mu         sync.Mutex
	handshakes map[string]uint64
	attempts   map[Attempt]uint64
	requests   map[wire.Type]*Histogram
	offences   [Offences]uint64
	cutOff     uint64
	evictions  uint64
	displaced  uint64
	violations uint64
}

func (c *counters) init() {
	c.handshakes, c.attempts, c.requests = make(map[string]uint64), make(map[Attempt]uint64), make(map[wire.Type]*Histogram)
}

func (c *counters) handshake(outcome string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.handshakes[outcome]++
}

func (c *counters) attempt(what string, err error) {
	a := Attempt{what, outcome(err)}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.attempts[a]++
}

func (c *counters) eviction() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.evictions++
}

func (c *counters) displacement() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.displaced++
}

func (c *counters) violation() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.violations++
}

func (c *counters) offence(o Offence) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.offences[o]++
}

func (c *counters) cut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cutOff++
}

// request counts a message that has a row in the state table, so that there are only so many types.
func (c *counters) request(t wire.Type, took time.Duration) {
	seconds := took.Seconds()
	bucket, _ := slices.BinarySearch(LatencyBounds[:], seconds)
	c.mu.Lock()
	defer c.mu.Unlock()
	h := c.requests[t]
	if h == nil {
		h = new(Histogram)
		c.requests[t] = h
	}
	h.Buckets[bucket]++
	h.Count++
	h.Sum += seconds
}
