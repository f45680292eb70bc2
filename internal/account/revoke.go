package account

import (
	"context"

	"github.com/authsrv/authsrv/kv"
)

// RevokeEverything ends every session of every account, and leaves an audit record of no account: it is for a store that goes back in
// time, where sessions would be live again that had ended. It returns how many it has ended. Where it is cut short, what it has ended stays ended,
// and it may be run again. A login meanwhile may stay or end.
func (s *Service) RevokeEverything(ctx context.Context) (ended int, err error) {
	prefix := []byte{spaceSession}
	var start []byte
	for {
		entries, _, err := s.store.engine.Scan(ctx, prefix, start, kv.MaxOps)
		if err != nil {
			return ended, err
		}
		if len(entries) == 0 {
			break
		}
		writes := make([]kv.Write, len(entries))
		for i, e := range entries {
			writes[i] = kv.Write{Key: e.Key, Delete: true}
		}
		if _, err := s.store.engine.Commit(ctx, nil, writes); err != nil {
			return ended, err
		}
		ended += len(entries)
		start = append(entries[len(entries)-1].Key, 0)
	}
	return ended, kv.Update(ctx, s.store.engine, func(tx *kv.Tx) error {
		return s.audit(tx, Event{Kind: KindRevokeAll, Outcome: Success})
	})
}
