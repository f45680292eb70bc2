package account

import (
	"context"
	"math"

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

// removeSpace removes all records of a space, and returns how many.
func (s *Service) removeSpace(ctx context.Context, space byte) (removed int, err error) {
	return s.removePrefix(ctx, []byte{space}, math.MaxInt)
}

// removePrefix removes what has a prefix, batch by batch and at most so many of them, and returns how many records that were.
func (s *Service) removePrefix(ctx context.Context, prefix []byte, batches int) (removed int, err error) {
	var start []byte
	for range batches {
		entries, _, err := s.store.engine.Scan(ctx, prefix, start, kv.MaxOps)
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
		if len(entries) < kv.MaxOps {
			break
		}
		start = append(entries[len(entries)-1].Key, 0) // not from the beginning: what was removed still takes time to pass
	}
	return removed, nil
}
