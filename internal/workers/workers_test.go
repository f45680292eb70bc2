package workers

import (
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
)

// TestPool has goroutines run one function after the other, keeps no more of them than may be idle, and ends those.
func TestPool(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		done := make(chan struct{})
		var started, ended atomic.Int32
		p := New(func(fn func()) {
			started.Add(1)
			go func() {
				defer ended.Add(1)
				fn()
			}()
		}, done)
		const many = 3 * maxIdle
		release := make(chan struct{})
		var ran atomic.Int32
		for range many { // all at once
			p.Run(func() { <-release; ran.Add(1) })
		}
		synctest.Wait()
		if started.Load() != many || ran.Load() != 0 {
			t.Errorf("%d goroutines for %d functions that wait, %d ran", started.Load(), many, ran.Load())
		}
		close(release)
		synctest.Wait()
		if left := started.Load() - ended.Load(); ran.Load() != many || left != maxIdle {
			t.Errorf("%d of %d ran, %d goroutines are idle, want %d", ran.Load(), many, left, maxIdle)
		}
		for range many { // one after the other
			p.Run(func() { ran.Add(1) })
			synctest.Wait()
		}
		if started.Load() != many || ran.Load() != 2*many {
			t.Errorf("%d goroutines were started, %d functions ran, want %d and %d", started.Load(), ran.Load(), many, 2*many)
		}
		close(done)
		synctest.Wait()
		if ended.Load() != many {
			t.Errorf("%d of %d goroutines have ended", ended.Load(), many)
		}
		p.Run(func() { ran.Add(1) })
		synctest.Wait()
		if ran.Load() != 2*many+1 || started.Load() != ended.Load() {
			t.Error("what came behind the end did not run, or left a goroutine")
		}
	})
}

func TestPoolOfMany(t *testing.T) {
	done := make(chan struct{})
	p := New(nil, done)
	var wg sync.WaitGroup
	var ran atomic.Int64
	for range 8 {
		wg.Go(func() {
			for range 1000 {
				one := make(chan struct{})
				p.Run(func() { ran.Add(1); close(one) })
				<-one
			}
		})
	}
	wg.Wait()
	close(done)
	if ran.Load() != 8000 {
		t.Errorf("%d of 8000 ran", ran.Load())
	}
}
