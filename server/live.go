package server

import (
	"maps"
	"sync"

	"github.com/authsrv/authsrv/internal/account"
)

// live is the connections that are logged in, by account, each with the session that it has.
type live struct {
	mu       sync.Mutex
	sessions map[account.ID]map[*session]*account.Session
}

// join adds ss. Whoever joins has to check the session afterwards: what happened to it before is not told again.
func (l *live) join(ss *session, login *account.Session) {
	l.mu.Lock()
	defer l.mu.Unlock()
	of := l.sessions[login.Account]
	if of == nil {
		of = make(map[*session]*account.Session)
		l.sessions[login.Account] = of
	}
	of[ss] = login
}

// leave removes ss, if it is there.
func (l *live) leave(ss *session) {
	if ss.login == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	id := ss.login.Account
	delete(l.sessions[id], ss)
	if len(l.sessions[id]) == 0 {
		delete(l.sessions, id)
	}
}

// count returns how many connections are logged in.
func (l *live) count() (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, of := range l.sessions {
		n += len(of)
	}
	return n
}

// has says whether ss is there with a session.
func (l *live) has(ss *session, login *account.Session) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.sessions[login.Account][ss] == login
}

// of returns a copy of the connections of an account; of the zero id: of all.
func (l *live) of(id account.ID) map[*session]*account.Session {
	l.mu.Lock()
	defer l.mu.Unlock()
	if id != (account.ID{}) {
		return maps.Clone(l.sessions[id])
	}
	all := make(map[*session]*account.Session)
	for _, of := range l.sessions {
		maps.Copy(all, of)
	}
	return all
}
