package main

import (
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"github.com/authsrv/authsrv/internal/account"
	"github.com/authsrv/authsrv/internal/backup"
	"github.com/authsrv/authsrv/internal/keyfile"
	"github.com/authsrv/authsrv/kv/pebblekv"
)

// What is written beside the folder before a migration is a whole backup, made of the open database.
func TestBackupBefore(t *testing.T) {
	dir := t.TempDir()
	f := folder(filepath.Join(dir, "data"))
	if code := run([]string{"authsrv", "init", "--data", string(f)}, nil, io.Discard, os.Stderr); code != exitDone {
		t.Fatalf("init: exit code %d", code)
	}
	keys, err := keyfile.Open(f.keys(), nil)
	if err != nil {
		t.Fatal(err)
	}
	engine, err := pebblekv.Open(f.database(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer engine.Close()
	tokens, err := tokensOf(keys)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := account.New(t.Context(), &account.Config{Engine: engine, Secrets: secretsOf(keys), Tokens: tokens}); err != nil {
		t.Fatal(err)
	}
	if err := f.migrate(t.Context(), engine, keys, slog.New(slog.DiscardHandler)); err != nil {
		t.Error(err) // there is nothing to migrate, and no backup
	}
	if made, _ := filepath.Glob(filepath.Join(dir, "*.backup")); len(made) != 0 {
		t.Errorf("made %q", made)
	}
	file, err := f.backupBefore(t.Context(), engine, account.Format)
	if err != nil {
		t.Fatal(err)
	}
	if made, _ := filepath.Glob(filepath.Join(dir, "data.format-1.*.backup")); len(made) != 1 || made[0] != file {
		t.Errorf("made %q, says %q", made, file)
	}
	secrets := secretsOf(keys)
	s, found, err := backup.Verify(t.Context(), file, func(*backup.Staged) (*account.Secrets, error) { return &secrets, nil }, nil)
	if err != nil || !found.Opened || !s.Manifest.Keys {
		t.Errorf("%+v %+v: %v", s, found, err)
	}
	if _, err := os.Stat(f.checkpoint()); !os.IsNotExist(err) {
		t.Errorf("the checkpoint is left: %v", err)
	}
}
