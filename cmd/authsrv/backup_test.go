package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/authsrv/authsrv/internal/account"
	"github.com/authsrv/authsrv/internal/keyfile"
	"github.com/authsrv/authsrv/kv"
	"github.com/authsrv/authsrv/kv/pebblekv"
)

// served is a data folder on which a server has run.
func served(t *testing.T) folder {
	t.Helper()
	f := folder(filepath.Join(t.TempDir(), "data"))
	want(t, exitDone, "", "init", "--data", string(f))
	keys, err := keyfile.Open(f.keys(), nil)
	if err != nil {
		t.Fatal(err)
	}
	err = onStore(t.Context(), f, keys, func(s *account.Service) error {
		_, err := s.RevokeEverything(t.Context())
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// want runs the program, and holds its exit code and its one line on standard error.
func want(t *testing.T, code int, line string, args ...string) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	have := run(append([]string{"authsrv"}, args...), nil, &stdout, &stderr)
	if text := stderr.String(); have != code || !strings.Contains(text, line) || strings.Count(text, "\n") > 1 {
		t.Fatalf("%q: exit code %d, want %d: %s", args, have, code, text)
	}
}

func TestBackupsTakeTurns(t *testing.T) {
	f := served(t)
	file := filepath.Join(filepath.Dir(string(f)), "a.backup")
	unlock, err := f.lockBackup()
	if err != nil {
		t.Fatal(err)
	}
	want(t, exitBusy, "another backup of this folder is under way", "backup", "--data", string(f), file)
	unlock()
	want(t, exitDone, "", "backup", "--data", string(f), file)

	// A process that works on the folder without being a server.
	unlock, err = f.lock()
	if err != nil {
		t.Fatal(err)
	}
	defer unlock()
	want(t, exitBusy, "another authsrv uses this folder", "backup", "--data", string(f), "--replace", file)
}

// A database that is damaged makes no backup that says that it is good, and stays as it is.
func TestBackupOfDamage(t *testing.T) {
	f := served(t)
	engine, err := pebblekv.Open(f.database(), nil)
	if err != nil {
		t.Fatal(err)
	}
	entries, _, err := engine.Scan(t.Context(), []byte("u"), nil, 1)
	if err != nil || len(entries) != 1 {
		t.Fatalf("%d entries: %v", len(entries), err)
	}
	damage := entries[0]
	damage.Value[len(damage.Value)-1] ^= 1
	if _, err := engine.Commit(t.Context(), nil, []kv.Write{{Key: damage.Key, Value: damage.Value}}); err != nil {
		t.Fatal(err)
	}
	if err := engine.Close(); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Dir(string(f))
	want(t, exitStorage, "storage failed: the database is damaged, and no backup was written", "backup", "--data", string(f), filepath.Join(dir, "a.backup"))
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 1 {
		t.Errorf("left are %v: %v", left, err)
	}
}
