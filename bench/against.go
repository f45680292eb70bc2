package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// pairs are our server beside itself at another commit: what a change brought. Both run all the time, and the load goes from the one to the other. Each round is
// a pair, and a ratio is the median over pairs: what the machine does meanwhile happens to both of a pair.
type pairs struct {
	Commit string  `json:"commit"`
	Here   []turn  `json:"here"`
	There  []turn  `json:"there"` // at that commit
	Rate   float64 `json:"rate_here_to_there"`
	CPU    float64 `json:"cpu_here_to_there"`
	// The median of CPU is within these in 19 of 20 runs.
	CPULeast float64 `json:"cpu_here_to_there_at_least"`
	CPUMost  float64 `json:"cpu_here_to_there_at_most"`
}

func against(ctx context.Context, env *environment, plan *plan, commit string, progress io.Writer) (p *pairs, err error) {
	root, err := mainModule()
	if err != nil {
		return nil, err
	}
	tree, err := env.checkout(ctx, root, commit)
	if err != nil {
		return nil, err
	}
	var sides []*side
	defer func() {
		for _, s := range sides {
			err = errors.Join(err, s.Stop())
		}
	}()
	for _, of := range []struct{ name, root string }{{"here", root}, {"there", tree}} {
		s, err := env.side(ctx, of.name, of.root)
		if err != nil {
			return nil, err
		}
		sides = append(sides, s)
		if _, err := closed(ctx, plan.clients, max(plan.time, time.Second), s.login); err != nil { // warm
			return nil, s.fault(err)
		}
	}
	here, there := sides[0], sides[1]
	var cpu, rate []float64
	for round := range plan.rounds {
		if err := takeTurns(ctx, plan, sides, round); err != nil {
			return nil, err
		}
		h, t := here.turns[round], there.turns[round]
		cpu, rate = append(cpu, h.CPU/t.CPU), append(rate, h.Rate/t.Rate)
		fmt.Fprintf(progress, "round %d: %.3f and %.3f ms, %.0f and %.0f logins/s\n", round+1, h.CPU, t.CPU, h.Rate, t.Rate)
	}
	p = &pairs{Commit: commit, Here: here.turns, There: there.turns, Rate: median(rate), CPU: median(cpu)}
	p.CPULeast, p.CPUMost = medianWithin(cpu)
	return p, nil
}

// takeTurns gives each side the load once. Who is first changes with the round.
func takeTurns(ctx context.Context, plan *plan, sides []*side, round int) error {
	for i := range sides {
		if err := sides[(i+round)%len(sides)].take(ctx, plan); err != nil {
			return err
		}
	}
	return nil
}

// medianWithin is between which of the values the median of what they are samples of is, at 95 %: by the binomial distribution, as a normal one.
func medianWithin(values []float64) (least, most float64) {
	v := slices.Sorted(slices.Values(values))
	n := float64(len(v))
	i := max(0, int(n/2-0.98*math.Sqrt(n)))
	return v[i], v[len(v)-1-i]
}

// within is a median of ratios with what it is between.
func within(r, least, most float64) string {
	return fmt.Sprintf("%s (%s to %s)", ratio(r), ratio(least), ratio(most))
}

func (p *pairs) String() string {
	t := newTable("authsrv", "logins/s", "server CPU a login", "resident")
	add := func(title string, turns []turn) {
		m := medianTurn(turns)
		t.add(title, number(m.Rate), unit(m.CPU, "ms"), unit(m.Resident, "MiB"))
	}
	add("here", p.Here)
	add(p.Commit, p.There)
	t.add("here to there, median of pairs", ratio(p.Rate), within(p.CPU, p.CPULeast, p.CPUMost), "")
	return t.String()
}

// A side is our server of one source tree, or with so many accounts, beside others.
type side struct {
	*running
	turns []turn
	done  int64 // logins in them
}

// side builds and starts the server of a tree.
func (e *environment) side(ctx context.Context, name, root string) (*side, error) {
	own := *e
	own.dir = filepath.Join(e.dir, name)
	if err := os.Mkdir(own.dir, 0o700); err != nil {
		return nil, err
	}
	if err := own.buildFrom(ctx, root); err != nil {
		return nil, err
	}
	r, err := ourPeer("authsrv", "authsrv", 0).start(ctx, &own)
	return &side{running: r}, err
}

func (s *side) take(ctx context.Context, plan *plan) error {
	load, cpu, err := charged(ctx, s.process, func() (*sample, error) { return closed(ctx, plan.clients, plan.time, s.login) })
	if err != nil {
		return s.fault(err)
	}
	memory, err := memoryOf(s.pid())
	if err != nil {
		return s.fault(err)
	}
	s.done += load.done
	s.turns = append(s.turns, turn{Rate: load.rate(), CPU: ms(cpu) / float64(load.done), Resident: float64(memory) / (1 << 20)})
	return nil
}

// checkout writes the files of a commit down.
func (e *environment) checkout(ctx context.Context, root, commit string) (dir string, err error) {
	archive := filepath.Join(e.dir, "commit.tar")
	dir = filepath.Join(e.dir, "commit")
	if err := os.Mkdir(dir, 0o700); err != nil {
		return "", err
	}
	for _, c := range [][]string{
		{"git", "-C", root, "archive", "--output", archive, "--end-of-options", commit},
		{"tar", "-xf", archive, "-C", dir},
	} {
		if out, err := exec.CommandContext(ctx, c[0], c[1:]...).CombinedOutput(); err != nil {
			return "", fmt.Errorf("%s: %w: %s", c[0], err, strings.TrimSpace(string(out)))
		}
	}
	return dir, nil
}
