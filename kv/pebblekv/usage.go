package pebblekv

import "context"

// DiskUsage returns the size of the store's files in bytes, with those that are about to be removed.
func (s *Store) DiskUsage(ctx context.Context) (uint64, error) {
	return call(ctx, s, func() (uint64, error) { return s.db.Metrics().DiskSpaceUsage(), nil })
}
