package pebblekv

import (
	"errors"
	"testing"

	"github.com/authsrv/authsrv/kv"
)

func TestDiskUsage(t *testing.T) {
	s, err := Open(t.TempDir(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if n, err := s.DiskUsage(t.Context()); err != nil || n == 0 {
		t.Errorf("%d bytes, %v", n, err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.DiskUsage(t.Context()); !errors.Is(err, kv.ErrClosed) {
		t.Errorf("of a closed store: %v", err)
	}
}
