package main

import (
	"bufio"
	"bytes"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/authsrv/authsrv/internal/account"
	"github.com/authsrv/authsrv/internal/admin"
	"github.com/authsrv/authsrv/internal/backup"
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
	want(t, exitStorage, "authsrv: the database in "+f.database()+" is damaged, and no backup was written: restore an earlier one (1 of 1 records: damaged record: audit)", "backup", "--data", string(f), filepath.Join(dir, "a.backup"))
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 1 {
		t.Errorf("left are %v: %v", left, err)
	}
}

// spoil changes bytes of the files of a database that are named so, and returns how many files there are.
func spoil(t *testing.T, database, pattern string) (files int) {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(database, pattern))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for i := range text {
			text[i] ^= 0xff
		}
		if err := os.WriteFile(name, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return len(names)
}

// What the engine says of damage comes as the end of a line that begins with what to do, and names no folder that is gone.
func TestDamageIsALine(t *testing.T) {
	plain := func(line, beginning string) {
		t.Helper()
		text, ok := strings.CutPrefix(line, "authsrv: "+beginning)
		if !ok || strings.Count(line, "\n") != 1 || len(text) > 300 {
			t.Errorf("the line is %q", line)
		}
		for _, word := range []string{"pebble", "carrier", "stack", "store is corrupt", "store has failed", ".verify", ".restore", "; )"} {
			if strings.Contains(text, word) {
				t.Errorf("%q in %q", word, line)
			}
		}
	}
	for _, pattern := range []string{"MANIFEST-*", "OPTIONS-*", "*.sst"} {
		f := served(t)
		dir := filepath.Dir(string(f))
		want(t, exitDone, "", "backup", "--data", string(f), filepath.Join(dir, "whole"))
		for range 3 { // a table is made of the log at each start
			want(t, exitDone, "", "user", "list", "--data", string(f))
		}
		if spoil(t, f.database(), pattern) == 0 {
			t.Fatalf("there is no %s", pattern)
		}
		damaged := filepath.Join(dir, "damaged") // a copy: an engine that has failed goes on removing files, until its process ends
		if err := os.CopyFS(damaged, os.DirFS(f.database())); err != nil {
			t.Fatal(err)
		}
		line := said(t, exitStorage, "user", "list", "--data", string(f))
		plain(line, "the database in "+f.database()+" is damaged: restore a backup (")

		// A backup of that, as a program that looks less closely would have made it.
		src := &backup.Source{Store: damaged, Program: "v0", Created: time.Now(), StoreFormat: account.Format}
		if err := os.Remove(filepath.Join(damaged, "LOCK")); err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(dir, "bad.backup")
		var err error
		if src.Keys, err = os.ReadFile(f.keys()); err != nil {
			t.Fatal(err)
		}
		keys, err := keyfile.Open(f.keys(), nil)
		if err != nil {
			t.Fatal(err)
		}
		src.Realm = secretsOf(keys).RealmID
		if _, err := backup.Write(t.Context(), file, src, false, func(string) error { return nil }, nil); err != nil {
			t.Fatal(err)
		}
		plain(said(t, exitLocal, "verify", file), file+": the backup is damaged: its database does not open (")
		plain(said(t, exitLocal, "restore", "--data", filepath.Join(dir, "fresh"), file), file+": the backup is damaged: its database does not open (")
	}
}

// said runs the program, and returns what it says on standard error.
func said(t *testing.T, code int, args ...string) string {
	t.Helper()
	var stdout, stderr bytes.Buffer
	if have := run(append([]string{"authsrv"}, args...), nil, &stdout, &stderr); have != code {
		t.Errorf("%q: exit code %d, want %d", args, have, code)
	}
	return stderr.String()
}

// An interrupt while the server makes its part of a backup is one as well.
func TestBackupInterrupted(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("there is no administration socket on Windows")
	}
	f := served(t)
	l, err := admin.Listen(string(f))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for { // a server that takes requests, and does not answer
			conn, err := l.Accept()
			if err != nil {
				return
			}
			defer conn.Close()
			if line, _ := bufio.NewReader(conn).ReadString('\n'); line == "" {
				continue // it was only dialled
			}
			self, err := os.FindProcess(os.Getpid())
			if err == nil {
				err = self.Signal(os.Interrupt)
			}
			if err != nil {
				t.Error(err)
			}
		}
	}()
	want(t, exitInterrupted, "interrupted: nothing was made", "backup", "--data", string(f), filepath.Join(t.TempDir(), "a.backup"))
}
