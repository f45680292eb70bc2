package main

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/authsrv/authsrv/kv"
	"github.com/authsrv/authsrv/kv/pebblekv"
)

// recorder is a connection to a manager that counts what it is told.
type recorder struct {
	net.Conn
	told atomic.Int64
}

func (r *recorder) Write(b []byte) (int, error) {
	r.told.Add(1)
	return len(b), nil
}

func (r *recorder) SetWriteDeadline(time.Time) error { return nil }

// The manager hears of the server twice in each time, while that is healthy, and not otherwise.
func TestWatchdog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var sick atomic.Bool
		var log bytes.Buffer
		conn := new(recorder)
		n := &notifier{conn: conn, log: slog.New(slog.NewTextHandler(&log, nil))}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			n.watch(ctx, time.Minute, func(context.Context) error {
				if sick.Load() {
					return errors.New("sick")
				}
				return nil
			})
		}()
		pass := func(d time.Duration, want int64) {
			t.Helper()
			<-time.After(d)
			synctest.Wait()
			if got := conn.told.Swap(0); got != want {
				t.Errorf("told %d times, want %d", got, want)
			}
		}
		pass(time.Second, 1)
		pass(time.Minute, 2)
		sick.Store(true)
		pass(time.Minute, 0)
		sick.Store(false)
		pass(time.Minute, 2)
		cancel()
		<-done
		if got := strings.Count(log.String(), "not healthy"); got != 2 {
			t.Errorf("the log says so %d times:\n%s", got, &log)
		}
	})
}

func TestWatchdogTime(t *testing.T) {
	for _, c := range []struct {
		time, pid string
		want      time.Duration
	}{
		{"", "", 0}, {"60000000", "", time.Minute}, {"60000000", strconv.Itoa(os.Getpid()), time.Minute}, {"60000000", "1", 0},
		{"-1", "", 0}, {"0", "", 0}, {"soon", "", 0}, {"9223372036854775807", "", 0},
	} {
		t.Setenv("WATCHDOG_USEC", c.time)
		t.Setenv("WATCHDOG_PID", c.pid)
		if got := watchdogTime(); got != c.want {
			t.Errorf("%q, %q: %v, want %v", c.time, c.pid, got, c.want)
		}
	}
}

// A server is well as long as its store serves.
func TestHealth(t *testing.T) {
	h := newHealth()
	if h.well(t.Context()) == nil {
		t.Error("well without a store")
	}
	answers := func(phase string, want int) {
		t.Helper()
		h.phase.Store(phase)
		w := httptest.NewRecorder()
		h.ready(w, httptest.NewRequest("GET", "/readyz", nil))
		if w.Code != want {
			t.Errorf("%s: %d %s", phase, w.Code, w.Body)
		}
	}
	answers(starting, 503)
	full := errorfs.Toggle{Injector: errorfs.ErrInjected.If(errorfs.Writes)}
	engine, err := pebblekv.Open("db", &pebblekv.Options{FS: errorfs.Wrap(vfs.NewMem(), &full)})
	if err != nil {
		t.Fatal(err)
	}
	h.store.Store(engine)
	keys := folder(t.TempDir())
	k, err := makeKeys(keys, nil)
	if err != nil {
		t.Fatal(err)
	}
	r := (&program{stdout: &faultyWriter{}, stderr: new(bytes.Buffer)}).newInstance(&configuration{folder: keys, file: &configFile{}})
	r.keys, r.engine = k, engine
	if err := r.newServer(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := h.well(t.Context()); err != nil {
		t.Errorf("not well: %v", err)
	}
	answers(starting, 503)
	answers(ready, 200)
	answers(stopping, 503)
	full.On()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if _, err := engine.Commit(ctx, nil, []kv.Write{{Key: []byte("key")}}); err == nil {
		t.Error("the disk took the write")
	}
	if h.well(t.Context()) == nil {
		t.Error("well with a store that has failed")
	}
	answers(ready, 503)
}
