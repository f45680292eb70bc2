package kvtest

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/authsrv/authsrv/kv"
)

// patience bounds a test whose engine hangs. Nothing waits for it otherwise.
const patience = 5 * time.Minute

// Run tests an engine. open returns an empty store for each test, and sees to its being closed.
func Run(t *testing.T, open func(t *testing.T) kv.Engine) {
	for _, test := range []struct {
		name string
		run  func(*bench)
	}{
		{"Versions", versions},
		{"VersionsAfterDelete", versionsAfterDelete},
		{"CommitChecksReads", commitChecksReads},
		{"CommitChecksAbsence", commitChecksAbsence},
		{"CommitOfReads", commitOfReads},
		{"CommitRefusesBadArguments", commitRefusesBadArguments},
		{"DeleteOfAbsent", deleteOfAbsent},
		{"EmptyIsNotAbsent", emptyIsNotAbsent},
		{"Limits", limits},
		{"Aliasing", aliasing},
		{"Cancelled", cancelled},
		{"Closed", closed},

		{"UpdateReadsItsWrites", updateReadsItsWrites},
		{"UpdateRepeatsReads", updateRepeatsReads},
		{"UpdateAborts", updateAborts},
		{"UpdateRefusesTornErrors", updateRefusesTornErrors},
		{"UpdateOperations", updateOperations},
		{"UpdateCounter", updateCounter},
		{"UpdateUniqueCreate", updateUniqueCreate},
		{"UpdateWriteSkew", updateWriteSkew},
		{"UpdateFromRead", updateFromRead},
		{"UpdateFromStale", updateFromStale},
		{"UpdateFromError", updateFromError},
		{"Witness", witness},

		{"View", view},
		{"ScanOrder", scanOrder},
		{"ScanPages", scanPages},
		{"ScanPrefixEdges", scanPrefixEdges},
		{"ScanOutsideReadSet", scanOutsideReadSet},
		{"ScanVersion", scanVersion},

		{"WatchOrder", watchOrder},
		{"WatchResumes", watchResumes},
		{"WatchDeletes", watchDeletes},
		{"WatchWaits", watchWaits},
		{"WatchPrefixes", watchPrefixes},
		{"WatchCancelled", watchCancelled},
		{"WatchClosed", watchClosed},
		{"WatchUnknownVersion", watchUnknownVersion},

		{"HistoryOfOne", historyOfOne},
		{"HistoryOfMany", historyOfMany},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(newBench(t, open(t))) })
	}
}

// bench is one test with its store. Its helpers end the test, so only the test's own goroutine may
// call them.
type bench struct {
	*testing.T
	ctx context.Context
	e   kv.Engine
}

func newBench(t *testing.T, e kv.Engine) *bench {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return &bench{t, ctx, e}
}

func put(key, value string) kv.Write { return kv.Write{Key: []byte(key), Value: []byte(value)} }
func del(key string) kv.Write        { return kv.Write{Key: []byte(key), Delete: true} }

func read(key string, v kv.Version) kv.Read { return kv.Read{Key: []byte(key), Version: v} }

// commit writes without a condition.
func (b *bench) commit(writes ...kv.Write) kv.Version {
	b.Helper()
	v, err := b.e.Commit(b.ctx, nil, writes)
	if err != nil {
		b.Fatalf("Commit: %v", err)
	}
	return v
}

func (b *bench) get(key string) kv.Entry {
	b.Helper()
	e, err := b.e.Get(b.ctx, []byte(key))
	if err != nil {
		b.Fatalf("Get(%q): %v", key, err)
	}
	return e
}

// holds checks the value of a key that is present, and returns its version.
func (b *bench) holds(key, value string) kv.Version {
	b.Helper()
	e := b.get(key)
	if e.Version == 0 || string(e.Value) != value {
		b.Fatalf("%q: %q at version %d, want %q", key, e.Value, e.Version, value)
	}
	return e.Version
}

func (b *bench) absent(key string) {
	b.Helper()
	if e := b.get(key); e.Version != 0 || e.Value != nil {
		b.Fatalf("%q: %q at version %d, want it absent", key, e.Value, e.Version)
	}
}

func (b *bench) update(fn func(*kv.Tx) error) {
	b.Helper()
	if err := kv.Update(b.ctx, b.e, fn); err != nil {
		b.Fatalf("Update: %v", err)
	}
}

// scan returns the keys, each with a blank behind it.
func (b *bench) scan(prefix string, start []byte, limit int) (keys string, v kv.Version) {
	b.Helper()
	entries, v, err := b.e.Scan(b.ctx, []byte(prefix), start, limit)
	if err != nil {
		b.Fatalf("Scan(%q): %v", prefix, err)
	}
	for _, e := range entries {
		keys += string(e.Key) + " "
	}
	return keys, v
}

// events returns the first n events after a version.
func (b *bench) events(prefix string, after kv.Version, n int) []kv.Event {
	b.Helper()
	var events []kv.Event
	for e, err := range b.e.Watch(b.ctx, []byte(prefix), after) {
		if err != nil {
			b.Fatalf("Watch(%q, %d): %v after %d of %d events", prefix, after, err, len(events), n)
		}
		if events = append(events, e); len(events) == n {
			break
		}
	}
	return events
}

// watchError returns the error that ends a feed which must not have any event.
func (b *bench) watchError(ctx context.Context, after kv.Version) error {
	b.Helper()
	var last error
	for e, err := range b.e.Watch(ctx, nil, after) {
		if err == nil {
			b.Fatalf("Watch(%d): unexpected event %q at %d", after, e.Key, e.Version)
		}
		if last != nil {
			b.Fatalf("Watch(%d): %v after %v", after, err, last)
		}
		last = err
	}
	return last
}

func (b *bench) wantError(err, want error, what string) {
	b.Helper()
	if !errors.Is(err, want) {
		b.Fatalf("%s: %v, want %v", what, err, want)
	}
}
