package main

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// An operation is what a client does over and over: a login, or a batch of requests. Workers are numbered from 0.
type operation func(worker int) error

// A sample is what came of a load.
type sample struct {
	done    int64
	elapsed time.Duration
	latency *hdrhistogram.Histogram // nanoseconds
}

func (s *sample) rate() float64 { return float64(s.done) / s.elapsed.Seconds() }

// Latencies of 1 µs to 2 minutes, to three digits.
func newHistogram() *hdrhistogram.Histogram { return hdrhistogram.New(1_000, 120_000_000_000, 3) }

// percentile returns one, or 0 where there are too few samples to have it: ten above it are asked for.
func percentile(h *hdrhistogram.Histogram, q float64) time.Duration {
	if float64(h.TotalCount())*(100-q)/100 < 9.99 {
		return 0
	}
	return time.Duration(h.ValueAtQuantile(q))
}

// closed runs as many operations as so many workers can do one after the other: how much a server can take.
func closed(ctx context.Context, workers int, d time.Duration, do operation) (*sample, error) {
	return drive(ctx, workers, func(ctx context.Context, w int, record func(time.Duration)) error {
		for end := time.Now().Add(d); ; {
			start := time.Now()
			if !start.Before(end) || ctx.Err() != nil {
				return ctx.Err()
			}
			if err := do(w); err != nil {
				return err
			}
			record(time.Since(start))
		}
	})
}

// open begins operations at fixed times, at a rate a second, whatever becomes of those before: the latency counts from when one was to begin, so that
// a server that stalls is charged for all that had to wait (no coordinated omission). No more than so many are under way at once.
func open(ctx context.Context, workers int, d time.Duration, rate float64, do operation) (*sample, error) {
	if rate <= 0 {
		return nil, fmt.Errorf("a rate of %v", rate)
	}
	interval := time.Duration(float64(time.Second) / rate)
	var next atomic.Int64
	start := time.Now()
	return drive(ctx, workers, func(ctx context.Context, w int, record func(time.Duration)) error {
		for {
			due := time.Duration(next.Add(1)-1) * interval
			if due >= d || ctx.Err() != nil {
				return ctx.Err()
			}
			sleepUntil(start.Add(due))
			if err := do(w); err != nil {
				return err
			}
			record(time.Since(start) - due)
		}
	})
}

// sleepUntil waits; only tests have another one.
var sleepUntil = exactly

// exactly is more exact than time.Sleep, which is up to a millisecond late where nothing else is to be done.
func exactly(t time.Time) {
	for {
		left := time.Until(t)
		if left <= 0 {
			return
		}
		ts := syscall.NsecToTimespec(int64(left))
		_ = syscall.Nanosleep(&ts, nil)
	}
}

// drive runs the workers to their end, and puts together what they recorded. The first error of one ends the others at their next turn.
func drive(ctx context.Context, workers int, work func(ctx context.Context, w int, record func(time.Duration)) error) (*sample, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	total := &sample{latency: newHistogram()}
	var (
		mu    sync.Mutex
		first error
		wg    sync.WaitGroup
	)
	start := time.Now()
	for w := range workers {
		wg.Go(func() {
			own := newHistogram()
			var out error
			err := work(ctx, w, func(d time.Duration) {
				if err := own.RecordValue(max(int64(d), 0)); err != nil && out == nil {
					out = fmt.Errorf("a latency of %v: %w", d, err)
				}
			})
			if err == nil {
				err = out
			}
			mu.Lock()
			defer mu.Unlock()
			total.latency.Merge(own)
			if err != nil && first == nil {
				first = err
				cancel()
			}
		})
	}
	wg.Wait()
	total.elapsed = time.Since(start)
	total.done = total.latency.TotalCount()
	if first == nil && total.done == 0 {
		first = fmt.Errorf("not one in %v", total.elapsed)
	}
	return total, first
}
