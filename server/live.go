package server

import (
	"maps"
	"sync"

	"github.com/authsrv/authsrv/internal/account"
)

// live is the connections that are logged in, by account, each with the session that it has. It is bounded, as the lobby is:
// when it is full, who joins is not turned away, but one of the largest crowd goes.
type live struct {
	mu       sync.Mutex
	sessions map[account.ID]map[*session]*account.Session
	crowds   crowds
	n        int // of all accounts
	max      int
	each     int // of one account
}

func (l *live) init() {
	l.sessions, l.crowds = make(map[account.ID]map[*session]*account.Session), make(crowds)
}

// resize makes room for as many, or less, and for as many of each account: nobody goes for it at once.
func (l *live) resize(size, each int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.max, l.each = size, each
}

// join adds ss, and returns who have to go for it. Whoever joins has to check the session afterwards: what happened to it
// before is not told again.
func (l *live) join(ss *session, login *account.Session) (displaced []*session) {
	l.mu.Lock()
	defer l.mu.Unlock()
	of := l.sessions[login.Account]
	if of == nil {
		of = make(map[*session]*account.Session)
		l.sessions[login.Account] = of
	}
	of[ss] = login
	l.crowds.add(ss.networks)
	l.n++
	if len(of) > l.each {
		victim := longestIdle(of)
		l.remove(login.Account, victim)
		displaced = append(displaced, victim)
	}
	if victim := l.shrink(); victim != nil {
		displaced = append(displaced, victim)
	}
	return displaced
}

// makeRoom returns who has to go where there are more than there is room for; nil is nobody. That is so after resize.
func (l *live) makeRoom() *session {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.shrink()
}

// shrink removes the one that is idle for longest of the largest crowd, where there are too many: of an account with the most
// connections, and of those accounts of a network with the most.
func (l *live) shrink() *session {
	if l.n <= l.max {
		return nil
	}
	most := 0
	for _, of := range l.sessions {
		most = max(most, len(of))
	}
	crowd, candidates := 0, make(map[*session]*account.Session)
	for _, of := range l.sessions {
		if len(of) < most {
			continue
		}
		for ss, login := range of {
			of := l.crowds.of(ss.networks)
			if n := of.weight(); n > crowd {
				crowd = n
				clear(candidates)
			} else if n < crowd {
				continue
			}
			candidates[ss] = login
		}
	}
	victim := longestIdle(candidates)
	l.remove(candidates[victim].Account, victim)
	return victim
}

// longestIdle returns the one of some whose last request was before those of the others.
func longestIdle(some map[*session]*account.Session) (first *session) {
	for ss := range some {
		if first == nil || ss.used.Load() < first.used.Load() {
			first = ss
		}
	}
	return first
}

// leave removes ss, if it is there.
func (l *live) leave(ss *session) {
	if ss.login == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.remove(ss.login.Account, ss)
}

func (l *live) remove(id account.ID, ss *session) {
	of := l.sessions[id]
	if _, there := of[ss]; !there {
		return
	}
	delete(of, ss)
	if len(of) == 0 {
		delete(l.sessions, id)
	}
	l.crowds.remove(ss.networks)
	l.n--
}

// count returns how many connections are logged in.
func (l *live) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.n
}

// has says whether ss is there with a session.
func (l *live) has(ss *session, login *account.Session) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.sessions[login.Account][ss] == login
}

// of returns the connections that a change is about, each with its session.
func (l *live) of(c account.Change) map[*session]*account.Session {
	l.mu.Lock()
	defer l.mu.Unlock()
	some := make(map[*session]*account.Session)
	if c.Account != (account.ID{}) {
		for ss, login := range l.sessions[c.Account] {
			if c.Session == (account.ID{}) || login.ID == c.Session {
				some[ss] = login
			}
		}
		return some
	}
	for _, of := range l.sessions {
		maps.Copy(some, of)
	}
	return some
}
