package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/authsrv/authsrv/internal/admin"
)

// A start waits for who is on the folder for a moment, and for no server.
func TestLockPatiently(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := folder(t.TempDir())
		var text bytes.Buffer
		log := slog.New(slog.NewTextHandler(&text, nil))
		unlock, err := f.lock()
		if err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		time.AfterFunc(lockTime/2-lockPoll/2, unlock)
		if unlock, err = f.lockPatiently(log); err != nil || time.Since(start) != lockTime/2 {
			t.Fatalf("after %v: %v", time.Since(start), err)
		}
		if n := strings.Count(text.String(), "\n"); n != 1 {
			t.Errorf("%d lines: %s", n, text.String())
		}

		start = time.Now()
		var failed *failure
		if _, err = f.lockPatiently(log); !errors.Is(err, errUsed) || !errors.As(err, &failed) || failed.code != exitBusy || time.Since(start) != lockTime {
			t.Errorf("after %v: %v", time.Since(start), err)
		}
		unlock()
	})
}

func TestLockOfARunningServer(t *testing.T) {
	f := folder(filepath.Join(t.TempDir(), "data"))
	if err := f.create(); err != nil {
		t.Fatal(err)
	}
	unlock, err := f.lock()
	if err != nil {
		t.Fatal(err)
	}
	defer unlock()
	stop := serveAdmin(f, slog.New(slog.DiscardHandler), &admin.Operations{})
	defer stop()
	if _, err := admin.Dial(string(f)); errors.Is(err, admin.ErrNotRunning) {
		t.Skip("there is no administration socket here")
	}
	var failed *failure
	if _, err := f.lockPatiently(slog.New(slog.DiscardHandler)); !errors.As(err, &failed) || failed.code != exitLocal || errors.Is(err, errUsed) ||
		!strings.Contains(err.Error(), "another authsrv is running on this folder") {
		t.Errorf("%v", err)
	}
}

// root leaves nothing in the folder of another user's server, which that one could not open.
func TestRootInTheFolderOfAnother(t *testing.T) {
	f := served(t)
	if _, known := owner(mustStat(t, string(f))); !known {
		t.Skip("files have no owner here that can be told")
	}
	if os.Geteuid() == 0 {
		if err := os.Chown(string(f), 65534, 65534); err != nil {
			t.Fatal(err)
		}
	} else {
		effectiveUser = func() int { return 0 }
		defer func() { effectiveUser = os.Geteuid }()
	}
	passphrase := filepath.Join(t.TempDir(), "passphrase")
	if err := os.WriteFile(passphrase, []byte("hidden words"), 0o600); err != nil {
		t.Fatal(err)
	}
	state := func() (text string) {
		err := filepath.WalkDir(string(f), func(name string, d fs.DirEntry, err error) error {
			if err == nil {
				info := mustStat(t, name)
				text += fmt.Sprintln(name, info.Mode(), info.ModTime(), info.Size())
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	before := state()
	backup := filepath.Join(t.TempDir(), "a.backup")
	at := "--data=" + string(f)
	for _, args := range [][]string{
		{"seal", at, "--passphrase-file", passphrase}, {"unseal", at}, {"backup", at, backup}, {"init", at, "--listen", "127.0.0.1:0"},
		{"run", at, "--listen", "127.0.0.1:0"}, {"status", at}, {"user", "list", at}, {"key", "rotate", at, "epoch"}, {"audit", at},
	} {
		want(t, exitLocal, "do this as that user", args...)
		if after := state(); after != before {
			t.Errorf("%q: it was\n%sand is\n%s", args, before, after)
		}
	}
	empty := folder(t.TempDir())
	if os.Geteuid() == 0 {
		if err := os.Chown(string(empty), 65534, 65534); err != nil {
			t.Fatal(err)
		}
	}
	f = empty
	before = state()
	want(t, exitLocal, "do this as that user", "init", "--data", string(f))
	want(t, exitLocal, "do this as that user", "run", "--data", string(f), "--listen", "127.0.0.1:0")
	if after := state(); after != before {
		t.Errorf("an empty folder was\n%sand is\n%s", before, after)
	}
}

func mustStat(t *testing.T, name string) fs.FileInfo {
	t.Helper()
	info, err := os.Stat(name)
	if err != nil {
		t.Fatal(err)
	}
	return info
}

// The key file that is lost is what is told of, whatever else is in the folder.
func TestKeysAreLost(t *testing.T) {
	dir := folder("")
	names := []string{"lock", "authsrv.toml", "backup.lock", "admin.sock", "checkpoint", "checkpoint.partial", "keys.1.tmp", "authsrv.toml.1.tmp"}
	for _, own := range []string{dir.lockFile(), dir.config(), dir.backupLock(), dir.checkpoint(), admin.SocketName} {
		if !slices.Contains(names, own) {
			t.Errorf("%s is not tried", own)
		}
	}
	f := folder(t.TempDir())
	write := func(name string) {
		if err := os.WriteFile(filepath.Join(string(f), name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range names {
		write(name)
	}
	if hasKeys, err := f.inspect(); hasKeys || err != nil { // it was given up before it had keys
		t.Errorf("%v, %v", hasKeys, err)
	}
	want(t, exitLocal, "is not a data folder: it has no key file", "user", "list", "--data", string(f))
	want(t, exitLocal, "the data folder "+f.lockFile()+" is a file", "user", "list", "--data", f.lockFile())
	write("addr")
	want(t, exitLocal, `is not a data folder: it holds "addr", and no key file`, "run", "--data", string(f))
	if err := os.Mkdir(f.database(), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"run"}, {"init"}, {"user", "list"}, {"status"}, {"audit"}, {"key", "list"}} {
		want(t, exitLocal, "has a database, but no key file: restore the file "+f.keys(), append(args, "--data", string(f))...)
	}
	want(t, exitLocal, "has a database, but no key file: restore the file "+f.keys(), "backup", "--data", string(f), filepath.Join(t.TempDir(), "a.backup"))
}
