package server

import (
	"slices"
	"sync"
)

// lobby is the connections that are not logged in. It is bounded: when it is full, a newcomer
// does not wait and is not turned away, since either would let a crowd of silent connections keep everybody out.
// Instead one of the crowd goes. There are two halves, for those that have shaken hands and those that have not, so that
// neither kind of crowd can push out who is in the other half.
type lobby struct {
	mu     sync.Mutex
	halves [2]queue
}

// queue is one half of the lobby. It is guarded by the lobby's mutex.
type queue struct {
	max    int
	who    []guest // in the order in which they came
	crowds crowds
}

// guest is who waits, and the crowd that it is one of.
type guest struct {
	*session
	crowd crowd
}

func (l *lobby) init() {
	for i := range l.halves {
		l.halves[i].crowds = make(crowds)
	}
}

// resize makes room for as many, or less: nobody goes for it at once.
func (l *lobby) resize(size int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range l.halves {
		l.halves[i].max = (size + 1) / 2
	}
}

// enter adds ss, and returns who has to go for it, if anybody.
func (l *lobby) enter(ss *session) (evicted *session) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.halves[0].add(ss)
}

// shaken moves ss, which has shaken hands, and returns who has to go for it, if anybody.
func (l *lobby) shaken(ss *session) (evicted *session) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.halves[0].remove(ss) { // it was to go
		return nil
	}
	return l.halves[1].add(ss)
}

// leave removes ss, if it is still there.
func (l *lobby) leave(ss *session) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range l.halves {
		l.halves[i].remove(ss)
	}
}

func (q *queue) add(ss *session) (evicted *session) {
	if len(q.who) >= q.max {
		evicted = q.longest()
		q.remove(evicted)
	}
	q.who = append(q.who, guest{ss, q.crowds.add(ss.networks)})
	return evicted
}

// longest returns who has waited for longest of the largest crowds.
func (q *queue) longest() *session {
	first, most := 0, 0
	for i := range q.who {
		if n := q.who[i].crowd.weight(); n > most {
			first, most = i, n
		}
	}
	return q.who[first].session
}

// remove says whether ss was there.
func (q *queue) remove(ss *session) bool {
	i := slices.IndexFunc(q.who, func(g guest) bool { return g.session == ss })
	if i < 0 {
		return false
	}
	q.who = slices.Delete(q.who, i, i+1)
	q.crowds.remove(ss.networks)
	return true
}
