package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"syscall"
	"time"
)

// A sizeRow is our server with so many accounts in its store.
type sizeRow struct {
	Accounts   int       `json:"accounts"`
	Fill       float64   `json:"filled_per_s"`      // by the rules of a registration, without a network
	Bytes      int64     `json:"bytes_on_disk"`     // when it was filled
	EachBytes  float64   `json:"bytes_per_account"` // of those
	CPU        []float64 `json:"server_cpu_ms"`     // a login, by round
	MedianCPU  float64   `json:"median_server_cpu_ms"`
	Rate       []float64 `json:"logins_per_s"`
	MedianRate float64   `json:"median_logins_per_s"`
	Start      []float64 `json:"start_ms"` // from its start to its first ServerHello, after it was stopped
	MedianMS   float64   `json:"median_start_ms"`
	Killed     []float64 `json:"start_after_kill_ms"`
	MedianKill float64   `json:"median_start_after_kill_ms"`

	// Beside is the CPU of a login over that in the smallest store, slice by slice of the load: the median, which is between the other two in 19 of 20 runs.
	Beside      float64   `json:"server_cpu_to_smallest"`
	BesideLeast float64   `json:"server_cpu_to_smallest_at_least"`
	BesideMost  float64   `json:"server_cpu_to_smallest_at_most"`
	Slices      []float64 `json:"server_cpu_ms_by_slice"`
	Whole       float64   `json:"server_cpu_to_smallest_by_round"` // the same of all that is in CPU
}

// A loadRow is our server under a load, with something changed.
type loadRow struct {
	Title      string    `json:"title"`
	Rate       []float64 `json:"per_s"`
	MedianRate float64   `json:"median_per_s"`
	CPU        []float64 `json:"server_cpu_ms"`
	MedianCPU  float64   `json:"median_server_cpu_ms"`
}

func (r *loadRow) add(s *sample, cpu time.Duration) {
	r.Rate = append(r.Rate, s.rate())
	r.CPU = append(r.CPU, cpu.Seconds()*1e3/float64(s.done))
	r.MedianRate, r.MedianCPU = median(r.Rate), median(r.CPU)
}

// A scaling is what grows.
type scaling struct {
	Rounds        int        `json:"rounds"`
	Seconds       float64    `json:"seconds_a_load"`
	Sizes         []*sizeRow `json:"sizes"`
	Cores         []*loadRow `json:"cores"`
	Idle          []*loadRow `json:"idle"`
	IdleKiB       float64    `json:"kib_per_idle_connection"`
	IdleHeld      int        `json:"idle_connections"`
	Registrations *loadRow   `json:"registrations"`
}

const (
	crowdSize   = 20_000 // accounts that log in, of those that there are
	loginsEach  = 90     // that an account may have without coming to its most sessions
	sparedFiles = 600    // that a process needs for other things
	sliceTime   = 500 * time.Millisecond
)

// scale measures it.
func scale(ctx context.Context, env *environment, plan *plan, sizes []int, idle int, progress io.Writer) (*scaling, error) {
	if err := env.build(ctx); err != nil {
		return nil, err
	}
	s := &scaling{Rounds: plan.rounds, Seconds: plan.time.Seconds(), Registrations: &loadRow{Title: "registrations, each durable"}}
	if err := s.grow(ctx, env, plan, sizes, progress); err != nil {
		return nil, err
	}
	env.accounts *= 3 // for as many more loads on one folder than a comparison has
	small, err := env.newFolder(ctx, "scale-small", env.accounts)
	if err != nil {
		return nil, err
	}
	if err := s.spread(ctx, env, plan, small, progress); err != nil {
		return nil, err
	}
	if err := s.hold(ctx, env, plan, small, idle, progress); err != nil {
		return nil, err
	}
	return s, s.register(ctx, env, plan, small, progress)
}

// grow measures what a login costs with more accounts.
func (s *scaling) grow(ctx context.Context, env *environment, plan *plan, sizes []int, progress io.Writer) error {
	folders := make([]*authsrv, len(sizes))
	for i, n := range sizes {
		a, err := env.newFolder(ctx, "scale-"+strconv.Itoa(n), 0)
		if err != nil {
			return err
		}
		start := time.Now()
		if err := fill(ctx, a.data, 0, n); err != nil {
			return err
		}
		r := &sizeRow{Accounts: n, Fill: float64(n) / time.Since(start).Seconds()}
		if r.Bytes, err = onDisk(a.data); err != nil {
			return err
		}
		r.EachBytes = float64(r.Bytes) / float64(n)
		fmt.Fprintf(progress, "%d accounts: filled, %.0f a second, %.0f bytes each\n", n, r.Fill, r.EachBytes)
		folders[i] = a
		s.Sizes = append(s.Sizes, r)
	}
	for round := range plan.rounds {
		if err := s.turns(ctx, env, plan, folders, round == 0); err != nil {
			return err
		}
		for _, r := range s.Sizes {
			fmt.Fprintf(progress, "round %d: %d accounts: %.3f ms a login, ready after %.0f ms, after a kill %.0f ms\n",
				round+1, r.Accounts, r.CPU[round], r.Start[round], r.Killed[round])
		}
	}
	for _, r := range s.Sizes {
		r.MedianCPU, r.MedianRate, r.MedianMS, r.MedianKill = median(r.CPU), median(r.Rate), median(r.Start), median(r.Killed)
		beside := ratios(r.Slices, s.Sizes[0].Slices)
		r.Beside = median(beside)
		r.BesideLeast, r.BesideMost = medianWithin(beside)
		r.Whole = median(ratios(r.CPU, s.Sizes[0].CPU))
	}
	return nil
}

// turns is a round: the servers of all sizes run, and the load goes from the one to the next.
func (s *scaling) turns(ctx context.Context, env *environment, plan *plan, folders []*authsrv, first bool) (err error) {
	defer func() {
		for _, a := range folders {
			if a.process != nil {
				err = errors.Join(err, a.Stop())
				a.process = nil
			}
		}
	}()
	sides := make([]*side, len(folders))
	for i, a := range folders {
		if sides[i], err = s.Sizes[i].ready(ctx, env, plan, a, first); err != nil {
			return err
		}
	}
	before, err := cpuOfEach(sides)
	if err != nil {
		return err
	}
	part, n := s.parts(plan)
	for i := range n {
		if err := takeTurns(ctx, part, sides, i); err != nil {
			return err
		}
	}
	after, err := cpuOfEach(sides) // with what they did while others had the load: that was left from their own
	if err != nil {
		return err
	}
	for i, r := range s.Sizes {
		r.add(sides[i], after[i]-before[i])
		if err := r.restart(ctx, env, folders[i]); err != nil {
			return err
		}
	}
	return nil
}

// parts are the loads of a round: so many for each size. The smallest folder stays below its most sessions, at no more than 5,000 logins a second.
func (s *scaling) parts(p *plan) (part *plan, n int) {
	most := time.Duration(float64(min(crowdSize, s.Sizes[0].Accounts)*loginsEach) / 5000 / float64(p.rounds) / 1.25 * float64(time.Second))
	short := *p
	short.time = min(sliceTime, p.time)
	return &short, max(1, int(min(p.time, most)/short.time))
}

// ready starts the server of a size, and warms it.
func (r *sizeRow) ready(ctx context.Context, env *environment, plan *plan, a *authsrv, first bool) (*side, error) {
	ms, err := a.readyAfter(ctx, env)
	if err != nil {
		return nil, err
	}
	r.Start = append(r.Start, ms)
	crowd := newCrowd(a.address, a.fingerprint, crowdSize, r.Accounts)
	if first { // the first login of a device writes more than later ones: all have had it
		if err := errors.Join(crowd.everyone(ctx, plan.clients), a.rest(ctx)); err != nil {
			return nil, a.fault(err)
		}
	}
	d := &side{running: &running{process: a.process, login: closing(crowd.hold)}}
	if _, err := closed(ctx, plan.clients, plan.time/4, d.login); err != nil { // warm
		return nil, d.fault(err)
	}
	return d, nil
}

// add takes in what a side has done in a round, for so much CPU time in all.
func (r *sizeRow) add(d *side, cpu time.Duration) {
	for _, t := range d.turns {
		r.Slices = append(r.Slices, t.CPU)
	}
	r.CPU = append(r.CPU, ms(cpu)/float64(d.done))
	r.Rate = append(r.Rate, medianTurn(d.turns).Rate)
}

// restart kills a server and starts it again.
func (r *sizeRow) restart(ctx context.Context, env *environment, a *authsrv) error {
	a.stop = syscall.SIGKILL
	if err := a.Stop(); err != nil {
		return err
	}
	ms, err := a.readyAfter(ctx, env)
	r.Killed = append(r.Killed, ms)
	return err
}

func cpuOfEach(sides []*side) ([]time.Duration, error) {
	all := make([]time.Duration, len(sides))
	for i, d := range sides {
		var err error
		if all[i], _, err = cpuOf(d.pid()); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// readyAfter starts a server, and returns after how many milliseconds it greeted its first client.
func (a *authsrv) readyAfter(ctx context.Context, env *environment, variables ...string) (float64, error) {
	start := time.Now()
	if err := a.start(ctx, env, variables...); err != nil {
		return 0, err
	}
	c, err := dial(0, a.address)
	if err == nil {
		_, _, err = newCrowd(a.address, a.fingerprint, 1, 1).greet(c)
		err = errors.Join(err, c.Close())
	}
	if err != nil {
		return 0, a.fault(errors.Join(err, a.Stop()))
	}
	return ms(time.Since(start)), nil
}

// rest waits until a server computes no more, or for a minute: what accounts that were just made leave to compact is no cost of the logins behind them.
func (a *authsrv) rest(ctx context.Context) error {
	var before time.Duration
	for range 60 {
		now, _, err := cpuOf(a.pid())
		if err != nil || before > 0 && now-before <= resting {
			return err
		}
		before = now
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Second):
		}
	}
	return nil
}

// resting is what a server may compute in a second in which it rests.
const resting = 20 * time.Millisecond

// everyone logs each user in once.
func (c *crowd) everyone(ctx context.Context, workers int) error {
	_, err := drive(ctx, workers, func(ctx context.Context, w int, record func(time.Duration)) error {
		for i := w; i < len(c.users) && ctx.Err() == nil; i += workers {
			k, err := c.login(w, c.users[i], nil)
			if err != nil {
				return err
			}
			if err := k.Close(); err != nil {
				return err
			}
		}
		record(0)
		return ctx.Err()
	})
	return err
}

// loaded warms a server and then measures a load.
func loaded(ctx context.Context, p *process, plan *plan, d time.Duration, do operation) (*sample, time.Duration, error) {
	if _, err := closed(ctx, plan.clients, d/4, do); err != nil {
		return nil, 0, err
	}
	return charged(ctx, p, func() (*sample, error) { return closed(ctx, plan.clients, d, do) })
}

// unitSlack is TimerSlackNSec in deploy/authsrv.service.
const unitSlack = time.Millisecond

// spread measures logins on one core, on two, and so on up to all, and with the slack of the unit for systemd.
func (s *scaling) spread(ctx context.Context, env *environment, plan *plan, a *authsrv, progress io.Writer) error {
	type setting struct {
		row      *loadRow
		variable []string
		slack    time.Duration
	}
	var settings []setting
	add := func(title string, slack time.Duration, variable ...string) {
		row := &loadRow{Title: title}
		s.Cores = append(s.Cores, row)
		settings = append(settings, setting{row, variable, slack})
	}
	for n := 1; ; n = min(2*n, runtime.NumCPU()) {
		variable := fmt.Sprintf("GOMAXPROCS=%d", n)
		add(variable, 0, variable)
		if n == runtime.NumCPU() {
			break
		}
	}
	add(fmt.Sprintf("TimerSlackNSec=%v, as its unit has it", unitSlack), unitSlack)
	defer func() { a.slack = 0 }()
	for round := range plan.rounds {
		for _, set := range settings {
			a.slack = set.slack
			if err := a.start(ctx, env, set.variable...); err != nil {
				return err
			}
			crowd := newCrowd(a.address, a.fingerprint, env.accounts, env.accounts)
			load, cpu, err := loaded(ctx, a.process, plan, plan.time, closing(crowd.hold))
			if err != nil {
				return a.fault(errors.Join(err, a.Stop()))
			}
			set.row.add(load, cpu)
			fmt.Fprintf(progress, "round %d: %s: %.0f logins/s, %.3f ms\n", round+1, set.row.Title, load.rate(), set.row.CPU[round])
			if err := a.Stop(); err != nil {
				return err
			}
		}
	}
	return nil
}

// hold measures logins while many connections are idle, and before.
func (s *scaling) hold(ctx context.Context, env *environment, plan *plan, a *authsrv, n int, progress io.Writer) (err error) {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return err
	}
	if n = min(n, int(limit.Max)-sparedFiles); n < plan.clients {
		return fmt.Errorf("no more than %d files may be open: raise `ulimit -n`", limit.Max)
	}
	s.Idle = []*loadRow{{Title: "no idle connection"}, {}}
	var kib []float64
	for round := range plan.rounds {
		if err := a.start(ctx, env); err != nil {
			return err
		}
		crowd := newCrowd(a.address, a.fingerprint, env.accounts, env.accounts)
		each := func() error {
			r := &running{process: a.process, login: closing(crowd.hold), hold: crowd.hold}
			load, cpu, err := loaded(ctx, a.process, plan, plan.time, r.login)
			if err != nil {
				return err
			}
			s.Idle[0].add(load, cpu)
			before, err := settled(a.pid())
			if err != nil {
				return err
			}
			all, err := holdAll(ctx, r.hold, plan.clients, n)
			defer func() { _ = closeAll(all) }()
			if err != nil {
				return err
			}
			after, err := settled(a.pid())
			if err != nil {
				return err
			}
			s.IdleHeld = len(all)
			kib = append(kib, float64(after-before)/1024/float64(len(all)))
			if load, cpu, err = loaded(ctx, a.process, plan, plan.time, r.login); err != nil {
				return err
			}
			s.Idle[1].add(load, cpu)
			return nil
		}
		if err := each(); err != nil {
			return a.fault(errors.Join(err, a.Stop()))
		}
		fmt.Fprintf(progress, "round %d: %d idle connections: %.0f logins/s, %.3f ms, %.1f KiB each\n", round+1, s.IdleHeld, s.Idle[1].Rate[round], s.Idle[1].CPU[round], kib[round])
		if err := a.Stop(); err != nil {
			return err
		}
	}
	s.Idle[1].Title, s.IdleKiB = grouped(int64(s.IdleHeld))+" idle connections held", median(kib)
	return nil
}

// register measures registrations over the wire.
func (s *scaling) register(ctx context.Context, env *environment, plan *plan, a *authsrv, progress io.Writer) error {
	next := newCounter(env.accounts)
	for range plan.rounds {
		if err := a.start(ctx, env); err != nil {
			return err
		}
		crowd := newCrowd(a.address, a.fingerprint, 1, 1)
		load, cpu, err := loaded(ctx, a.process, plan, plan.time, func(worker int) error { return crowd.register(worker, next()) })
		if err != nil {
			return a.fault(errors.Join(err, a.Stop()))
		}
		s.Registrations.add(load, cpu)
		fmt.Fprintf(progress, "%.0f registrations/s\n", load.rate())
		if err := a.Stop(); err != nil {
			return err
		}
	}
	return nil
}

// onDisk is how many bytes the files of a folder take, as the disk counts them.
func onDisk(dir string) (bytes int64, err error) {
	err = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		info, err := d.Info()
		if errors.Is(err, os.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		bytes += info.Sys().(*syscall.Stat_t).Blocks * 512
		return nil
	})
	return bytes, err
}

// ratios are those of values to as many others.
func ratios(values, to []float64) []float64 {
	all := make([]float64, len(values))
	for i := range values {
		all[i] = values[i] / to[i]
	}
	return all
}

func (s *scaling) String() string {
	sizes := newTable("accounts in the store", "server CPU a login", "× that of the smallest", "× by all of it", "logins/s", "on disk an account", "start to ready", "the same after SIGKILL", "filled")
	for i, r := range s.Sizes {
		beside, whole := "", ""
		if i > 0 {
			beside, whole = within(r.Beside, r.BesideLeast, r.BesideMost), ratio(r.Whole)
		}
		sizes.add(grouped(int64(r.Accounts)), unit(r.MedianCPU, "ms"), beside, whole, number(r.MedianRate), unit(r.EachBytes, "bytes"), unit(r.MedianMS, "ms"), unit(r.MedianKill, "ms"), number(r.Fill)+"/s")
	}
	loads := newTable("our server", "a second", "server CPU each")
	for _, r := range slices.Concat(s.Cores, s.Idle, []*loadRow{s.Registrations}) {
		loads.add(r.Title, number(r.MedianRate), unit(r.MedianCPU, "ms"))
	}
	return fmt.Sprintf("%s\nThe ratio to the smallest is the median over half seconds of load in turn; it is between the other two in 19 of 20 runs. By all of it: over rounds, with what a server computed between its turns.\n\n%s\n%s idle connections that are logged in take %.1f KiB each.\n",
		sizes, loads, grouped(int64(s.IdleHeld)), s.IdleKiB)
}

// panels are the plots.
func (s *scaling) panels() []panel {
	cpu := panel{title: "server CPU time a login, by accounts in the store", unit: "ms"}
	disk := panel{title: "on disk an account", unit: "bytes"}
	start := panel{title: "from start to ready", unit: "ms"}
	for _, r := range s.Sizes {
		label := grouped(int64(r.Accounts)) + " accounts"
		cpu.bars = append(cpu.bars, bar{label, r.MedianCPU, true})
		disk.bars = append(disk.bars, bar{label, r.EachBytes, true})
		start.bars = append(start.bars, bar{label, r.MedianMS, true}, bar{label + ", after SIGKILL", r.MedianKill, true})
	}
	rate := panel{title: "a second, load on the same cores", unit: "1/s"}
	for _, r := range s.Cores {
		rate.bars = append(rate.bars, bar{"logins, " + r.Title, r.MedianRate, true})
	}
	for _, r := range s.Idle {
		rate.bars = append(rate.bars, bar{"logins, " + r.Title, r.MedianRate, true})
	}
	rate.bars = append(rate.bars, bar{s.Registrations.Title, s.Registrations.MedianRate, true})
	return []panel{cpu, disk, start, rate}
}
