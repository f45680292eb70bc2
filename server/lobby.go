package server

import (
	"net/netip"
	"sync"
)

// lobby is the connections that are not logged in. It is bounded: when it is full, a newcomer
// does not wait and is not turned away, since either would let a crowd of silent connections keep everybody out.
// Instead one of the crowd goes.
type lobby struct {
	max int

	mu     sync.Mutex
	queue  []*session // in the order in which they came
	crowds map[netip.Prefix]int
}

// enter adds ss, and returns who has to go for it, if anybody.
func (l *lobby) enter(ss *session) (evicted *session) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.crowds == nil {
		l.crowds = make(map[netip.Prefix]int)
	}
	if len(l.queue) >= l.max {
		evicted = l.longestLocked()
		l.removeLocked(evicted)
	}
	l.queue = append(l.queue, ss)
	l.crowds[ss.prefix]++
	return evicted
}

// longestLocked returns who has waited for longest of the largest crowds, and of those who have not yet
// done their part of the handshake, if there are any: a login in progress has paid for its place.
func (l *lobby) longestLocked() *session {
	most := 0
	for _, n := range l.crowds {
		most = max(most, n)
	}
	var oldest *session
	for _, ss := range l.queue {
		if l.crowds[ss.prefix] < most {
			continue
		}
		if !ss.shaken.Load() {
			return ss
		}
		if oldest == nil {
			oldest = ss
		}
	}
	return oldest
}

// leave removes ss, if it is still there.
func (l *lobby) leave(ss *session) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.removeLocked(ss)
}

func (l *lobby) removeLocked(ss *session) {
	for i, other := range l.queue {
		if other == ss {
			l.queue = append(l.queue[:i], l.queue[i+1:]...)
			if l.crowds[ss.prefix]--; l.crowds[ss.prefix] == 0 {
				delete(l.crowds, ss.prefix)
			}
			return
		}
	}
}

// crowdOf is the network that an address counts for.
func crowdOf(a netip.Addr) netip.Prefix {
	bits := 32
	if a.Is6() {
		bits = 64
	}
	p, _ := a.Prefix(bits) // the zero Prefix for what is no address, such as a pipe's
	return p
}
