package main

import (
	"log/slog"

	"github.com/authsrv/authsrv/kv/pebblekv"
	"github.com/authsrv/authsrv/server"
)

// otherFiles is how many file descriptors are kept for what is neither a connection nor a table of the store: listeners, requests of
// administrators and over http, a checkpoint, the log.
const otherFiles = 64

// serverRulesWithin returns the rules of the server that so many open files are enough for; a negative number is enough for all. The store ends
// the process when it finds none left, so that connections must leave it its own. A nil logger is told nothing.
func (s *settings) serverRulesWithin(files int, log *slog.Logger) (server.Rules, error) {
	rules := s.serverRules()
	if files < 0 {
		return rules, nil
	}
	fit, err := rules.Within(files - pebblekv.MaxOpenFiles - otherFiles)
	if err != nil {
		return rules, fail(exitLocal, "the limit of open files is %d, which is too low to serve: raise it (ulimit -n, LimitNOFILE): %w", files, err)
	}
	if fit.MaxConnections < rules.MaxConnections && log != nil {
		if rules.MaxConnections == server.DefaultMaxConnections { // nobody has asked for so many
			log.Info("connections fitted to the limit of open files", "limit", files, "max_connections", fit.MaxConnections)
			return fit, nil
		}
		log.Warn("fewer connections than configured: the limit of open files is too low", "limit", files,
			"configured", rules.MaxConnections, "max_connections", fit.MaxConnections)
	}
	return fit, nil
}
