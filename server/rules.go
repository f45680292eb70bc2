package server

import (
	"errors"
	"time"
)

// Rules are the part of a Config that may change while the Server runs. The zero value of each field is its default there.
type Rules struct {
	MaxConnections int
	MaxHandshakes  int
	Grace          time.Duration
}

// complete fills in the defaults, and refuses what can't be.
func (r Rules) complete() (Rules, error) {
	if r.MaxConnections < 0 || r.MaxHandshakes < 0 || r.Grace < 0 {
		return r, errors.New("server: a limit is negative")
	}
	if r.MaxConnections == 0 {
		r.MaxConnections = defaultMaxConns
	}
	if r.MaxHandshakes == 0 {
		r.MaxHandshakes = defaultLobby
	}
	if r.Grace == 0 {
		r.Grace = defaultGrace
	}
	return r, nil
}

// SetRules changes the rules for who comes from now on: nobody who is there already goes for it. On an error they stay.
func (s *Server) SetRules(r Rules) error {
	r, err := r.complete()
	if err == nil {
		s.rules.Store(&r)
		s.lobby.resize(r.MaxHandshakes)
	}
	return err
}
