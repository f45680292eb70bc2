package pebblekv

import (
	"context"
	"errors"
	"fmt"
	iofs "io/fs"
	"path/filepath"

	"github.com/cockroachdb/pebble/v2"
)

// Checkpoint writes a copy of the store into a new folder, which must not exist yet and appears
// only once it is complete. Whatever was acknowledged before the call is in it. It is a store of its
// own: Open it to verify it. On one file system it is quick, and shares the space of its
// tables as long as both have them.
//
// The copy and the original go on from the same version, each for itself: a consumer of one's feed
// must not take its version to the other's.
func (s *Store) Checkpoint(dir string) error {
	_, err := call(context.Background(), s, func() (struct{}, error) {
		return struct{}{}, s.checkpoint(dir)
	})
	return err
}

func (s *Store) checkpoint(dir string) error {
	if s.disk {
		abs, err := filepath.Abs(dir)
		if err != nil {
			return fmt.Errorf("pebblekv: checkpoint: %w", err)
		}
		dir = abs
	}
	// Pebble makes a folder that others may read. Within one that they may not enter it can be
	// made ours, and then be moved. One that is there already is of an attempt that was cut short.
	outer := dir + ".partial"
	for _, taken := range []string{dir, outer} {
		if _, err := s.fs.Stat(taken); err == nil {
			return fmt.Errorf("pebblekv: checkpoint: %s: %w", taken, iofs.ErrExist)
		}
	}
	err := s.makeDir(outer)
	if err == nil {
		err = s.checkpointInto(s.fs.PathJoin(outer, "store"), dir)
		err = errors.Join(err, s.fs.RemoveAll(outer))
	}
	if err != nil {
		return fmt.Errorf("pebblekv: checkpoint: %w", err)
	}
	return nil
}

// checkpointInto makes the copy in a folder, and moves it to its place once it is complete.
func (s *Store) checkpointInto(inner, dir string) error {
	if err := s.db.Checkpoint(inner, pebble.WithFlushedWAL()); err != nil {
		return s.explain("copy", err)
	}
	if err := s.makeDir(inner); err != nil {
		return err
	}
	if err := s.fs.Rename(inner, dir); err != nil {
		return err
	}
	return syncDir(s.fs, s.fs.PathDir(dir))
}
