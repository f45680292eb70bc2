package server

import (
	"slices"
	"sync"
)

// lobby is the connections that are not logged in. It is bounded: when it is full, a newcomer
// does not wait and is not turned away, since either would let a crowd of silent connections keep everybody out.
// Instead one of the crowd goes. There are three rooms, each with a third of the places, so that a crowd that
// says nothing, or does not go on, pushes out nobody who is further.
type lobby struct {
	mu    sync.Mutex
	rooms [rooms]queue
}

// room is how far a connection has come.
type room int

const (
	entered room = iota // nothing of it has been taken
	greeted             // its first message has, and M2 is or will be on its way
	shaken              // it has shaken hands
	rooms
)

// queue is one room of the lobby. It is guarded by the lobby's mutex.
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
	for i := range l.rooms {
		l.rooms[i].crowds = make(crowds)
	}
}

// resize makes room for as many, or less: nobody goes for it at once.
func (l *lobby) resize(size int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range l.rooms {
		l.rooms[i].max = (size + int(rooms) - 1) / int(rooms)
	}
}

// enter adds ss, and returns who has to go for it, if anybody.
func (l *lobby) enter(ss *session) (evicted *session) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.rooms[entered].add(ss)
}

// advance moves ss to the next room, and returns who has to go for it, if anybody.
func (l *lobby) advance(ss *session, to room) (evicted *session) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.rooms[to-1].remove(ss) { // it was to go
		return nil
	}
	return l.rooms[to].add(ss)
}

// leave removes ss, if it is still there.
func (l *lobby) leave(ss *session) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range l.rooms {
		l.rooms[i].remove(ss)
	}
}

// unbounded is how many connections may shake hands before their computing is bounded: more wait for a processor, and must not take all of it
// from those that are further.
const unbounded = 32

// busy says whether more than that shake hands.
func (l *lobby) busy() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.rooms[entered].who)+len(l.rooms[greeted].who) > unbounded
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
