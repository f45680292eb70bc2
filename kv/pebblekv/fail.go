package pebblekv

import (
	"context"
	"errors"
	"fmt"
	iofs "io/fs"
	"log/slog"
	"regexp"
	"strings"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// Pebble reports an error after which it can't go on by Logger.Fatalf, and takes for granted that
// this ends the process: where it returns, a write to a log that failed is acknowledged.
// So here it records the error and never returns, which leaves a goroutine that may hold any of
// pebble's locks. Hence no goroutine of a caller ever enters pebble.

// Failed returns a channel that is closed when the store has stopped for good: the disk refused
// a write, or pebble found a contradiction. The process should end then; what a new one finds is
// every acknowledged commit, and perhaps some of those whose outcome was unknown.
func (s *Store) Failed() <-chan struct{} { return s.failed }

// Err returns nil, or an ErrFailed with its cause once Failed is closed.
func (s *Store) Err() error {
	select {
	case <-s.failed:
		return fmt.Errorf("%w: %w", ErrFailed, s.failure)
	default:
		return nil
	}
}

// fail stops the store. It must not wait for anything, as pebble may hold its locks.
func (s *Store) fail(err error) {
	s.failing.Do(func() {
		s.failure = err
		close(s.failed)
		s.log.Error("store has failed", "error", err)
	})
}

// explain adds the operation and, where it is known, what an error of pebble means.
func (s *Store) explain(op string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, ErrCorrupt): // found by us
		return fmt.Errorf("%s: %w", op, err)
	case pebble.IsCorruptionError(err), errors.Is(err, iofs.ErrNotExist):
		return fmt.Errorf("%w: %s: %w", ErrCorrupt, op, plain{err})
	}
	return fmt.Errorf("pebblekv: %s: %w", op, plain{err})
}

// plain is an error of pebble as one line. By themselves such errors have a stack trace, which slog's TextHandler would log.
type plain struct{ cause error }

func (p plain) Error() string { return plainText(p.cause.Error()) }
func (p plain) Unwrap() error { return p.cause }

// marker is what pebble joins to an error about a file, as one whose text says nothing.
const marker = "<corruption detail carrier>"

// origin is what texts of pebble begin with, each once more where they were passed on.
var origin = regexp.MustCompile(`pebble(/[a-z]+)*: `)

// plainText makes a line of what pebble says. Of many lines, as for each file that is missing, the first says enough.
func plainText(text string) string {
	var lines []string
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line != "" && line != marker {
			lines = append(lines, origin.ReplaceAllString(line, ""))
		}
	}
	if n := len(lines); n > 2 {
		lines = append(lines[:1], fmt.Sprintf("and %d more", n-1))
	}
	return strings.Join(lines, "; ")
}

// logger is a pebble.Logger.
type logger struct{ s *Store }

func (l logger) Infof(format string, args ...any) {
	if l.s.log.Enabled(context.Background(), slog.LevelDebug) {
		l.s.log.Debug(fmt.Sprintf(format, args...))
	}
}

func (l logger) Errorf(format string, args ...any) { l.s.log.Error(fmt.Sprintf(format, args...)) }

// Fatalf never returns.
func (l logger) Fatalf(format string, args ...any) {
	l.s.fail(fatalError(format, args))
	select {}
}

// fatalError keeps the first error among the arguments, so that errors.Is finds ENOSPC, say.
func fatalError(format string, args []any) error {
	text := plainText(fmt.Sprintf(format, args...))
	for _, a := range args {
		if err, ok := a.(error); ok {
			return &fatal{text, err}
		}
	}
	return errors.New(text)
}

type fatal struct {
	text  string
	cause error
}

func (f *fatal) Error() string { return f.text }
func (f *fatal) Unwrap() error { return f.cause }

// events makes what pebble would only log, and retry at once and forever, a failure.
func (s *Store) events() *pebble.EventListener {
	return &pebble.EventListener{
		// A flush or a compaction did not succeed. Its goroutine stops here for good.
		BackgroundError: func(err error) {
			s.fail(s.explain("background work", err))
			select {}
		},
		// By default fatal. The read or compaction that found it returns an error all the same.
		DataCorruption: func(info pebble.DataCorruptionInfo) {
			s.log.Error("store is corrupt", "path", info.Path, "error", plain{info.Details})
		},
		DiskSlow: func(info pebble.DiskSlowInfo) {
			s.log.Warn("disk is slow", "path", info.Path, "duration", info.Duration)
		},
	}
}

// guardedFS is what pebble sees of the file system. Where a folder can't be synced, or a log can't be ended or begun, pebble panics, on
// goroutines of its own too. So does a compaction that was begun while the store is opened, once pebble gives up opening because it could not write
// its options or a marker. Here all of that fails and parks as with Fatalf.
type guardedFS struct {
	vfs.FS
	s *Store
}

func (g guardedFS) OpenDir(name string) (vfs.File, error) {
	f, err := g.FS.OpenDir(name)
	if err != nil {
		return nil, err
	}
	return guardedDir{f, g.s}, nil
}

func (g guardedFS) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := g.FS.Create(name, category)
	return g.guard(name, f, err)
}

func (g guardedFS) ReuseForWrite(from, to string, category vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := g.FS.ReuseForWrite(from, to, category)
	return g.guard(to, f, err)
}

func (g guardedFS) Rename(from, to string) error {
	g.s.failAndPark("rename", g.FS.Rename(from, to))
	return nil
}

func (g guardedFS) guard(name string, f vfs.File, err error) (vfs.File, error) {
	what := ""
	switch base := g.PathBase(name); {
	case strings.HasSuffix(base, ".log"):
		what = "log"
	case strings.HasSuffix(base, ".dbtmp"):
		what = "options"
	case strings.HasPrefix(base, "marker."):
		what = "marker"
	default:
		return f, err
	}
	g.s.failAndPark(what, err)
	return guardedFile{f, g.s, what}, nil
}

func (g guardedFS) Unwrap() vfs.FS { return g.FS }

// failAndPark does not return, but where there is no error.
func (s *Store) failAndPark(op string, err error) {
	if err != nil {
		s.fail(s.explain(op, err))
		select {}
	}
}

type guardedDir struct {
	vfs.File
	s *Store
}

func (d guardedDir) Sync() error {
	d.s.failAndPark("sync folder", d.File.Sync())
	return nil
}

// guardedFile is a file that is written.
type guardedFile struct {
	vfs.File
	s    *Store
	what string
}

func (f guardedFile) Write(b []byte) (int, error) {
	n, err := f.File.Write(b)
	f.s.failAndPark(f.what, err)
	return n, nil
}

func (f guardedFile) Sync() error {
	f.s.failAndPark(f.what, f.File.Sync())
	return nil
}

func (f guardedFile) SyncData() error {
	f.s.failAndPark(f.what, f.File.SyncData())
	return nil
}

func (f guardedFile) SyncTo(length int64) (fullSync bool, err error) {
	fullSync, err = f.File.SyncTo(length)
	f.s.failAndPark(f.what, err)
	return fullSync, nil
}

func (f guardedFile) Stat() (vfs.FileInfo, error) {
	info, err := f.File.Stat()
	f.s.failAndPark(f.what, err)
	return info, nil
}

func (f guardedFile) Close() error {
	f.s.failAndPark(f.what, f.File.Close())
	return nil
}
