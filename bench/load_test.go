package main

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// stalls is an operation of 1 ms that takes a second once.
func stalls() operation {
	var n atomic.Int64
	return func(int) error {
		if n.Add(1) == 100 {
			time.Sleep(time.Second)
		}
		time.Sleep(time.Millisecond)
		return nil
	}
}

func TestOpenChargesTheWait(t *testing.T) {
	sleepUntil = func(at time.Time) { time.Sleep(time.Until(at)) }
	defer func() { sleepUntil = exactly }()
	synctest.Test(t, func(t *testing.T) {
		s, err := open(t.Context(), 1, 3*time.Second, 100, stalls())
		if err != nil {
			t.Fatal(err)
		}
		if s.done != 300 {
			t.Errorf("%d of 300 were begun", s.done)
		}
		// The second during which nobody was served was one for a hundred of them, on the average half of it.
		if p90 := time.Duration(s.latency.ValueAtQuantile(90)); p90 < 500*time.Millisecond {
			t.Errorf("p90 is %v: what waited for the stall is left out", p90)
		}
		if p50 := percentile(s.latency, 50); p50 < 900*time.Microsecond || p50 > 1100*time.Microsecond {
			t.Errorf("p50 is %v", p50)
		}
	})
}

// The mutant of the test above: a closed loop sees one slow operation, and so would an open one that counts from when an operation begins.
func TestClosedOmitsTheWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, err := closed(t.Context(), 1, 3*time.Second, stalls())
		if err != nil {
			t.Fatal(err)
		}
		if p90 := time.Duration(s.latency.ValueAtQuantile(90)); p90 > 2*time.Millisecond {
			t.Errorf("p90 is %v", p90)
		}
		if s.done != 2000 || s.rate() < 660 || s.rate() > 670 {
			t.Errorf("%d in %v", s.done, s.elapsed)
		}
	})
}

func TestOpenHasABound(t *testing.T) {
	sleepUntil = func(at time.Time) { time.Sleep(time.Until(at)) }
	defer func() { sleepUntil = exactly }()
	synctest.Test(t, func(t *testing.T) {
		var now, most atomic.Int64
		s, err := open(t.Context(), 4, time.Second, 1000, func(int) error {
			n := now.Add(1)
			defer now.Add(-1)
			for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
			}
			time.Sleep(8 * time.Millisecond)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if most.Load() != 4 {
			t.Errorf("%d at once, not 4", most.Load())
		}
		if r := s.rate(); r < 499 || r > 501 { // what four can do, of twice as much
			t.Errorf("%.1f a second, not 500", r)
		}
		if p50 := percentile(s.latency, 50); p50 < 400*time.Millisecond {
			t.Errorf("p50 is %v, where a queue grows for a second", p50)
		}
	})
}

func TestLoadEndsWithAnError(t *testing.T) {
	broken := errors.New("broken")
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		var n atomic.Int64
		_, err := closed(t.Context(), 8, time.Hour, func(int) error {
			time.Sleep(time.Millisecond)
			if n.Add(1) == 1000 {
				return broken
			}
			return nil
		})
		if !errors.Is(err, broken) {
			t.Errorf("%v", err)
		}
		if d := time.Since(start); d > time.Second {
			t.Errorf("the others went on for %v", d)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := closed(ctx, 2, time.Hour, func(int) error { time.Sleep(time.Millisecond); return nil }); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("cancelled: %v", err)
		}
	})
}

func TestPercentileNeedsSamples(t *testing.T) {
	h := newHistogram()
	for i := range 1000 {
		if err := h.RecordValue(int64(i+1) * 1_000_000); err != nil {
			t.Fatal(err)
		}
	}
	if p := percentile(h, 99); p < 985*time.Millisecond || p > 995*time.Millisecond {
		t.Errorf("p99 is %v", p)
	}
	if p := percentile(h, 99.9); p != 0 {
		t.Errorf("p99.9 of 1,000 samples is %v", p)
	}
}
