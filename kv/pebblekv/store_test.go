package pebblekv

import (
	"path/filepath"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/authsrv/authsrv/kv"
	"github.com/authsrv/authsrv/kv/kvtest"
)

// mustOpen opens a store that is closed at the end of the test, if it was not before.
func mustOpen(t testing.TB, dir string, o *Options) *Store {
	t.Helper()
	s, err := Open(dir, o)
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func TestEngine(t *testing.T) {
	t.Run("memory", func(t *testing.T) {
		kvtest.Run(t, func(t *testing.T) kv.Engine { return mustOpen(t, "store", &Options{FS: vfs.NewMem()}) })
	})
	t.Run("disk", func(t *testing.T) {
		kvtest.Run(t, func(t *testing.T) kv.Engine { return mustOpen(t, t.TempDir(), nil) })
	})
}

func TestEngineDurable(t *testing.T) {
	t.Run("memory", func(t *testing.T) {
		kvtest.RunDurable(t, func(t *testing.T) func() kv.Engine {
			fs := vfs.NewMem()
			return func() kv.Engine { return mustOpen(t, "store", &Options{FS: fs}) }
		})
	})
	t.Run("disk", func(t *testing.T) {
		kvtest.RunDurable(t, func(t *testing.T) func() kv.Engine {
			dir := filepath.Join(t.TempDir(), "made", "by", "open")
			return func() kv.Engine { return mustOpen(t, dir, nil) }
		})
	})
}
