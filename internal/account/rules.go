package account

import (
	"errors"
	"time"

	"github.com/authsrv/authsrv/credential"
)

// Rules are the part of a Config that may change while the Service runs. The zero value of each field is its default there.
type Rules struct {
	Policy         credential.Policy
	Registration   Registration
	SessionLife    time.Duration
	MaxSessionLife time.Duration
}

// complete fills in the defaults, and refuses what can't be.
func (r Rules) complete() (Rules, error) {
	if r.Policy == (credential.Policy{}) {
		r.Policy = credential.DefaultPolicy()
	}
	if r.SessionLife == 0 {
		r.SessionLife = 24 * time.Hour
	}
	if r.MaxSessionLife == 0 {
		r.MaxSessionLife = 30 * 24 * time.Hour
	}
	if r.SessionLife < 0 || r.MaxSessionLife < r.SessionLife {
		return r, errors.New("account: a session's life is longer than the longest")
	}
	return r, r.Policy.Valid()
}

// SetRules changes the rules for what begins from now on. On an error they stay as they are.
func (s *Service) SetRules(r Rules) error {
	r, err := r.complete()
	if err == nil {
		s.rules.Store(&r)
	}
	return err
}

// Registration returns who may register.
func (s *Service) Registration() Registration { return s.rules.Load().Registration }

// MaxSessionLife returns the longest life of a session.
func (s *Service) MaxSessionLife() time.Duration { return s.rules.Load().MaxSessionLife }
