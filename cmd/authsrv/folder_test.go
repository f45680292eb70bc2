package main

import (
	"bytes"
	"errors"
	"log/slog"
	"path/filepath"
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
		time.AfterFunc(lockTime/2, unlock)
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
