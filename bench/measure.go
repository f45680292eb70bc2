package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"
)

// A turn is what was measured of a peer in one round.
type turn struct {
	Rate      float64 `json:"logins_per_s"`
	CPU       float64 `json:"server_cpu_ms"` // a login
	OpenRate  float64 `json:"open_loop_logins_per_s"`
	P50       float64 `json:"p50_ms"`
	P99       float64 `json:"p99_ms"`   // 0: too few samples
	P999      float64 `json:"p99_9_ms"` // 0: too few samples
	Resident  float64 `json:"resident_mib"`
	IdleKiB   float64 `json:"kib_per_idle_connection"` // 0: not in this round
	IdleCount int     `json:"idle_connections"`
}

// plan is how long everything takes.
type plan struct {
	rounds   int
	time     time.Duration // of each load
	clients  int
	fraction float64 // of the rate of the closed loop at which the open one goes; 0: none does
	idle     int     // divides the number of idle connections
}

// take is a turn of a peer: it is started, measured and stopped.
func (p *peer) take(ctx context.Context, env *environment, plan *plan, first bool) (t *turn, err error) {
	r, err := p.start(ctx, env)
	if err != nil {
		return nil, err
	}
	defer func() {
		stopped := r.Stop()
		if r.close != nil {
			stopped = errors.Join(stopped, r.close())
		}
		if err == nil {
			err = stopped
		}
	}()
	t = &turn{}
	if first && r.hold != nil { // of a server that has done nothing else
		if t.IdleKiB, t.IdleCount, err = idleMemory(ctx, r, plan.clients, p.idle/plan.idle); err != nil {
			return nil, r.fault(err)
		}
	}
	if _, err := closed(ctx, plan.clients, plan.time/4, r.login); err != nil { // warm
		return nil, r.fault(err)
	}
	load, cpu, err := charged(ctx, r.process, func() (*sample, error) { return closed(ctx, plan.clients, plan.time, r.login) })
	if err != nil {
		return nil, r.fault(err)
	}
	t.Rate = load.rate()
	t.CPU = cpu.Seconds() * 1e3 / float64(load.done)
	memory, err := memoryOf(r.pid())
	if err != nil {
		return nil, r.fault(err)
	}
	t.Resident = float64(memory) / (1 << 20)
	if plan.fraction == 0 {
		return t, nil
	}
	if load, err = open(ctx, plan.clients, plan.time, t.Rate*plan.fraction, r.login); err != nil {
		return nil, r.fault(err)
	}
	t.OpenRate = load.rate()
	t.P50, t.P99, t.P999 = ms(percentile(load.latency, 50)), ms(percentile(load.latency, 99)), ms(percentile(load.latency, 99.9))
	return t, nil
}

func ms(d time.Duration) float64 { return d.Seconds() * 1e3 }

// charged returns what a load cost the server in CPU time, with that of the processes that it made for it.
func charged(ctx context.Context, p *process, load func() (*sample, error)) (*sample, time.Duration, error) {
	before, processes, err := cpuOf(p.pid())
	if err != nil {
		return nil, 0, err
	}
	s, err := load()
	if err != nil {
		return nil, 0, err
	}
	// What was done for the last clients counts too: a server that forks has ended those processes when there are as many as before.
	for end := time.Now().Add(2 * time.Second); ; {
		after, left, err := cpuOf(p.pid())
		if err != nil || left <= processes || time.Now().After(end) || ctx.Err() != nil {
			return s, after - before, err
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// idleMemory is by how much a server's resident memory grows, a connection, while so many are held idle.
func idleMemory(ctx context.Context, r *running, workers, n int) (kib float64, held int, err error) {
	if n = n / workers * workers; n == 0 {
		n = workers
	}
	if _, err := drive(ctx, workers, func(_ context.Context, w int, record func(time.Duration)) error { // what the first few need once
		record(0)
		return r.login(w)
	}); err != nil {
		return 0, 0, err
	}
	before, err := settled(r.pid())
	if err != nil {
		return 0, 0, err
	}
	all, err := holdAll(ctx, r.hold, workers, n)
	defer func() { err = errors.Join(err, closeAll(all)) }()
	if err != nil {
		return 0, 0, err
	}
	after, err := settled(r.pid())
	return float64(after-before) / 1024 / float64(n), n, err
}

func holdAll(ctx context.Context, hold func(int) (io.Closer, error), workers, n int) (all []io.Closer, err error) {
	each := make([][]io.Closer, workers)
	_, err = drive(ctx, workers, func(ctx context.Context, w int, record func(time.Duration)) error {
		for range n / workers {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			c, err := hold(w)
			if err != nil {
				return fmt.Errorf("connection %d of %d: %w", len(each[w]), n/workers, err)
			}
			each[w] = append(each[w], c)
			record(0)
		}
		return nil
	})
	return slices.Concat(each...), err
}

func closeAll(all []io.Closer) (err error) {
	for _, c := range all {
		err = errors.Join(err, c.Close())
	}
	return err
}

// settled is the resident memory when it has stopped to change, within a percent over half a second.
func settled(pid int) (int64, error) {
	last, err := memoryOf(pid)
	for range 10 {
		time.Sleep(500 * time.Millisecond)
		now, e := memoryOf(pid)
		if err = errors.Join(err, e); err != nil {
			return 0, err
		}
		if d := now - last; d*100 <= last && -d*100 <= last {
			return now, nil
		}
		last = now
	}
	return last, err
}
