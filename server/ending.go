package server

// This file is what ends a connection from outside of its goroutine: the server that stops, a session that was ended elsewhere, and who
// needs its place. All of it is guarded by the session's mutex.

import (
	"log/slog"
	"time"

	"github.com/authsrv/authsrv/wire"
)

// setReadDeadline sets when the next read ends, unless the connection is to end before.
func (ss *session) setReadDeadline(t time.Time) {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	ss.inside = ss.state == ready
	switch {
	case ss.woken != 0:
		return
	case ss.inside && !ss.drained.IsZero():
		ss.wakeLocked(wire.CodeShuttingDown)
		return
	case !ss.drained.IsZero() && ss.drained.Before(t):
		t = ss.drained
	}
	ss.raw.SetReadDeadline(t)
}

// wake ends the connection from another goroutine, without ever blocking on its peer: its own goroutine stops
// reading, and says goodbye.
func (ss *session) wake(code wire.Code) {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	ss.wakeLocked(code)
}

func (ss *session) wakeLocked(code wire.Code) {
	if ss.woken == 0 {
		ss.woken = code
		ss.raw.SetReadDeadline(time.Unix(1, 0))
	}
}

// displace wakes who has to make room among those that are logged in; nil is nobody. Only so many are told why at once: a
// peer that does not listen takes its time.
func (ss *session) displace() {
	if ss == nil {
		return
	}
	ss.server.seen.displacement()
	ss.log(slog.LevelDebug, "makes room for others")
	ss.mu.Lock()
	defer ss.mu.Unlock()
	if ss.leaving || ss.gone {
		return
	}
	if ss.leaving = ss.server.leaving.take(); !ss.leaving {
		ss.raw.Close()
		return
	}
	if ss.woken == wire.CodeOverloaded { // an eviction that came too late must not be its last word: see admit
		ss.woken = 0
	}
	ss.wakeLocked(wire.CodeLimit)
}

// leave is its end. It gives back what it has of the server's places for who makes room.
func (ss *session) leave() {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	ss.gone = true
	if ss.leaving {
		ss.server.leaving.give()
	}
	if ss.evicted {
		ss.server.evicted.give()
	}
}

// evict wakes who has to make room in the lobby; nil is nobody. It says whether that is on its way out now.
func (ss *session) evict() bool {
	if ss == nil {
		return false
	}
	ss.mu.Lock()
	defer ss.mu.Unlock()
	if ss.admitted || ss.gone || ss.woken != 0 {
		return false
	}
	ss.wakeLocked(wire.CodeOverloaded)
	ss.server.seen.eviction()
	return true
}

// makeWay evicts ss, once there are not too many on their way out. Who has come waits for that, and so do those behind it, in the system's
// queue: here they would push out others whose first bytes are there, and whose turn to have them read has not come.
func (ss *session) makeWay() {
	if ss == nil {
		return
	}
	ss.server.evicted <- struct{}{}
	if !ss.evict() {
		ss.server.evicted.give()
		return
	}
	ss.mu.Lock()
	defer ss.mu.Unlock()
	if ss.gone {
		ss.server.evicted.give()
	} else {
		ss.evicted = true
	}
}

// admit takes who is logged in out of the lobby. An eviction that came too late is void.
func (ss *session) admit() {
	ss.server.lobby.leave(ss)
	ss.mu.Lock()
	defer ss.mu.Unlock()
	ss.admitted = true
	if ss.woken == wire.CodeOverloaded {
		ss.woken = 0 // the next read sets its deadline anew
	}
}

func (ss *session) wokenBy() wire.Code {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	return ss.woken
}

// drain is the wake of a server that stops: who is logged in is told goodbye, who is about to log in may
// finish within the grace, and who has not shaken hands goes.
func (ss *session) drain(grace time.Duration) {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	ss.drained = time.Now().Add(grace)
	switch {
	case ss.inside || !ss.shaken.Load():
		ss.wakeLocked(wire.CodeShuttingDown)
	case ss.woken == 0:
		ss.raw.SetReadDeadline(ss.drained)
	}
}
