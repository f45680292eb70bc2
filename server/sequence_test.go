package server_test

import (
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/authsrv/authsrv/internal/attack/walk"
	"github.com/authsrv/authsrv/internal/authtest"
	"github.com/authsrv/authsrv/internal/soak"
	"github.com/authsrv/authsrv/server"
)

// sequences walks through all sequences of events of a length, as far as the connection lives, and returns how many those are. A worker
// of several does its share of them.
func sequences(t *testing.T, length int, events []*walk.Event, worker, workers int, each func(error, []*walk.Event) (goOn bool)) (walks, steps int) {
	srv := authtest.New(t, authtest.Options{})
	table, driver := walk.ReadTable(t), server.NewDriver(t, srv.Server)
	seq := make([]int, length)
	for {
		chosen := make([]*walk.Event, length)
		for i, n := range seq {
			chosen[i] = events[n]
		}
		ran := 2 // where it is another worker's: the next two to begin with
		if (seq[0]*len(events)+seq[1])%workers == worker {
			walks++
			line := driver.Line()
			var err error
			ran, err = walk.Run(t.Context(), srv, table, line, fmt.Sprintf("w%d-%d", worker, walks), chosen)
			line.Close()
			steps += ran
			if err != nil {
				err = fmt.Errorf("%s: %w", walk.Names(chosen[:ran]), err)
			}
			if !each(err, chosen) {
				return walks, steps
			}
		}
		// What the connection did not live to see makes no difference: on to the next of what it did.
		i := ran - 1
		for ; i >= 0; i-- {
			if seq[i]++; seq[i] < len(events) {
				break
			}
		}
		if i < 0 {
			return walks, steps
		}
		clear(seq[i+1:])
	}
}

// TestSoakEverySequence holds every sequence of events against the state table as it is published: in CI four of all events, and five
// of those that make the difference.
func TestSoakEverySequence(t *testing.T) {
	all, longer := 3, 3
	if soak.Full(t) {
		all, longer = 4, 5
	}
	if soak.Judged(t) {
		all, longer = 5, 6
	}
	core := slices.DeleteFunc(walk.Events(true), func(e *walk.Event) bool { return !e.Core })
	walkAll(t, all, walk.Events(true))
	if longer > all {
		walkAll(t, longer, core)
	}
}

func walkAll(t *testing.T, length int, events []*walk.Event) {
	const workers = 2
	var walks, steps atomic.Int64
	began := time.Now()
	t.Run(fmt.Sprintf("%d of %d", length, len(events)), func(t *testing.T) {
		for worker := range workers {
			t.Run(fmt.Sprint(worker), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					failed := 0
					n, s := sequences(t, length, events, worker, workers, func(err error, _ []*walk.Event) bool {
						if err != nil {
							failed++
							t.Error(err)
						}
						return failed < 20
					})
					walks.Add(int64(n))
					steps.Add(int64(s))
				})
			})
		}
	})
	t.Logf("%d sequences of up to %d of %d events, %d steps, %.0f a second", walks.Load(), length, len(events), steps.Load(),
		float64(walks.Load())/time.Since(began).Seconds())
	if walks.Load() < 1000 {
		t.Errorf("only %d sequences", walks.Load())
	}
}

// TestSequencesFindMutants breaks the server's state table in ways that the walks have to find.
func TestSequencesFindMutants(t *testing.T) {
	for name, mutate := range server.Mutants() {
		t.Run(name, func(t *testing.T) {
			defer mutate()()
			synctest.Test(t, func(t *testing.T) {
				var found error
				sequences(t, 4, walk.Events(true), 0, 1, func(err error, _ []*walk.Event) bool {
					found = err
					return err == nil
				})
				if found == nil {
					t.Error("not found")
				}
				t.Log(found)
			})
		})
	}
}
