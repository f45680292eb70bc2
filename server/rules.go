package server

import (
	"errors"
	"fmt"
	"time"
)

// Rules are the part of a Config that may change while the Server runs. The zero value of each field is its default there.
type Rules struct {
	MaxConnections int
	MaxHandshakes  int
	MaxPerAccount  int
	Penalties      *Penalties
	Grace          time.Duration
}

// complete fills in the defaults, and refuses what can't be.
func (r Rules) complete() (Rules, error) {
	if r.MaxConnections < 0 || r.MaxHandshakes < 0 || r.MaxPerAccount < 0 || r.Grace < 0 {
		return r, errors.New("server: a limit is negative")
	}
	if r.MaxConnections == 0 {
		r.MaxConnections = DefaultMaxConnections
	}
	if r.MaxHandshakes == 0 {
		r.MaxHandshakes = defaultLobby
	}
	if r.MaxPerAccount == 0 {
		r.MaxPerAccount = DefaultMaxPerAccount
	}
	if r.Penalties == nil {
		p := DefaultPenalties()
		r.Penalties = &p
	}
	if r.Grace == 0 {
		r.Grace = defaultGrace
	}
	return r, r.Penalties.check()
}

// Within returns the rules that so many file descriptors are enough for: less connections, where it has to be. What else the process
// needs descriptors for is not among them.
func (r Rules) Within(files int) (Rules, error) {
	r, err := r.complete()
	if err != nil {
		return r, err
	}
	most := files - leeway - maxRefusals
	if least := min(r.MaxConnections, leastConns); most < least {
		return r, fmt.Errorf("server: %d more file descriptors are needed", least-most)
	}
	r.MaxConnections = min(r.MaxConnections, most)
	return r, nil
}

// lobby returns how many places of MaxConnections are for those that are not logged in.
func (r *Rules) lobby() int { return min(r.MaxHandshakes, (r.MaxConnections+1)/2) }

// SetRules changes the rules for who comes from now on: nobody who is there already goes at once, but one for each who comes. On an
// error they stay.
func (s *Server) SetRules(r Rules) error {
	r, err := r.complete()
	if err == nil {
		s.rules.Store(&r)
		s.lobby.resize(r.lobby())
		s.live.resize(max(r.MaxConnections-r.lobby(), 1), r.MaxPerAccount)
		s.penalties.set(*r.Penalties)
	}
	return err
}
