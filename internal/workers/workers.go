// Package workers runs functions on goroutines that are there already, with stacks that have grown to what such a function needs: to grow another
// one costs as much as half a signature.
package workers

import "sync/atomic"

// maxIdle is how many goroutines of a Pool wait for something to do.
const maxIdle = 16

// A Pool runs any number of functions at once. It is safe for concurrent use.
type Pool struct {
	start func(func()) // starts a goroutine
	done  <-chan struct{}
	work  chan func() // from Run to a worker that is idle
	idle  atomic.Int32
}

// New returns a Pool without goroutines. It makes them by start; nil: by a go statement. Those that are idle end when done is closed.
func New(start func(func()), done <-chan struct{}) *Pool {
	if start == nil {
		start = func(fn func()) { go fn() }
	}
	return &Pool{start: start, done: done, work: make(chan func())}
}

// Run runs fn on a goroutine that has nothing to do, or on a new one. It does not wait.
func (p *Pool) Run(fn func()) {
	select {
	case p.work <- fn:
	default:
		p.start(func() { p.worker(fn) })
	}
}

// worker runs fn and then whatever else there is, until done is closed or enough others wait.
func (p *Pool) worker(fn func()) {
	for fn != nil {
		fn()
		if p.idle.Add(1) > maxIdle {
			p.idle.Add(-1)
			return
		}
		select {
		case fn = <-p.work:
		case <-p.done:
			fn = nil
		}
		p.idle.Add(-1)
	}
}
