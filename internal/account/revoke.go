package account

import (
	"context"

	"github.com/authsrv/authsrv/kv"
)

// RevokeEverything ends every session of every account and every code, and leaves an audit record of no account, that of a restore: it is for a store that
// goes back in time, where sessions would be live again that had ended, and codes be good again that were used. It returns how many sessions it
// has ended. Where it is cut short, what it has ended stays ended, and it may be run again. A login meanwhile may stay or end.
func (s *Service) RevokeEverything(ctx context.Context) (ended int, err error) {
	if _, err := s.EndCodes(ctx); err != nil {
		return 0, err
	}
	return s.endAllSessions(ctx, KindRestore)
}

// removeSpace removes all records of a space, batch by batch, and returns how many.
func (s *Service) removeSpace(ctx context.Context, space byte) (removed int, err error) {
	var start []byte
	for {
		entries, _, err := s.store.engine.Scan(ctx, []byte{space}, start, kv.MaxOps)
		if err != nil || len(entries) == 0 {
			return removed, err
		}
		writes := make([]kv.Write, len(entries))
		for i, e := range entries {
			writes[i] = kv.Write{Key: e.Key, Delete: true}
		}
		if _, err := s.store.engine.Commit(ctx, nil, writes); err != nil {
			return removed, err
		}
		removed += len(entries)
		start = append(entries[len(entries)-1].Key, 0)
	}
}
