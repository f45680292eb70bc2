package main

import (
	"errors"

	"github.com/authsrv/authsrv/internal/account"
	"github.com/authsrv/authsrv/server"
)

func (s *settings) accountRules() account.Rules {
	return account.Rules{Policy: s.policy, Registration: s.registration, SessionLife: s.sessionLife, MaxSessionLife: s.maxLife}
}

func (s *settings) serverRules() server.Rules {
	p := s.penalties
	p.Exempt = s.exempt
	return server.Rules{
		MaxConnections: s.maxConnections, MaxHandshakes: s.maxLobby, MaxPerAccount: s.maxPerAccount, Penalties: &p, Grace: s.grace,
	}
}

// reload takes over what has changed in the configuration and can be changed while connections go on. Of an error nothing comes
// but a line in the log.
func (r *instance) reload() {
	var next *configuration
	err := endless(r.config.file.name)
	if err == nil {
		next, err = r.reread()
	}
	if err == nil && r.config.file.present && !next.file.present {
		err = errors.New(next.file.name + " is gone")
	}
	if err == nil {
		err = r.accounts.SetRules(next.accountRules())
	}
	if err == nil {
		var rules server.Rules
		if rules, err = next.serverRulesWithin(r.files, r.log); err == nil {
			err = r.server.SetRules(rules)
		}
	}
	if err != nil {
		r.log.Error("configuration not reloaded: all stays as it was", "error", oneLine(err))
		return
	}
	r.level.Set(min(r.config.logLevel, next.logLevel))
	defer r.level.Set(next.logLevel)
	changed, waiting := 0, 0
	for i, s := range table {
		was, is := &r.config.values[i], next.values[i]
		switch {
		case was.text == is.text:
		case s.reload:
			changed++
			r.log.Info("configuration changed", "key", s.key, "from", was.text, "to", is.text)
		default:
			waiting++
			r.log.Warn("configuration needs a restart", "key", s.key, "running", was.text, "configured", is.text)
		}
	}
	r.config.keep(next)
	r.log.Info("configuration reloaded", "changed", changed, "need_restart", waiting)
}

// keep takes over what a reload changes, and nothing else.
func (k *configuration) keep(next *configuration) {
	for i := range table {
		if s := &table[i]; s.reload {
			k.values[i] = next.values[i]
			_ = s.parse(&k.settings, k.values[i].text) // it was parsed before
		}
	}
	if !k.file.present { // it was made since
		k.file = next.file
	}
}

// perMinute is a limit as the rules have it, where 0 stands for the default.
func perMinute(limit int) int {
	if limit == 0 {
		return -1
	}
	return limit
}
