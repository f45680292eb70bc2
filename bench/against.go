package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// pairs are our server beside itself at another commit: what a change brought. Each round is a pair, and a ratio is the median over pairs: what
// the machine does meanwhile happens to both of a pair.
type pairs struct {
	Commit string  `json:"commit"`
	Here   []turn  `json:"here"`
	There  []turn  `json:"there"` // at that commit
	Rate   float64 `json:"rate_here_to_there"`
	CPU    float64 `json:"cpu_here_to_there"`
}

func against(ctx context.Context, env *environment, plan *plan, commit string, progress io.Writer) (*pairs, error) {
	root, err := mainModule()
	if err != nil {
		return nil, err
	}
	here, err := env.side(ctx, "here", root)
	if err != nil {
		return nil, err
	}
	tree, err := env.checkout(ctx, root, commit)
	if err != nil {
		return nil, err
	}
	there, err := env.side(ctx, "there", tree)
	if err != nil {
		return nil, err
	}
	sides := []*side{here, there}
	var cpu, rate []float64
	for round := range plan.rounds {
		for i := range sides {
			s := sides[(i+round)%2] // who is first changes
			t, err := s.peer.take(ctx, s.env, plan, false)
			if err != nil {
				return nil, err
			}
			s.turns = append(s.turns, *t)
		}
		h, t := here.turns[round], there.turns[round]
		cpu, rate = append(cpu, h.CPU/t.CPU), append(rate, h.Rate/t.Rate)
		fmt.Fprintf(progress, "round %d: %.3f and %.3f ms, %.0f and %.0f logins/s\n", round+1, h.CPU, t.CPU, h.Rate, t.Rate)
	}
	return &pairs{Commit: commit, Here: here.turns, There: there.turns, Rate: median(rate), CPU: median(cpu)}, nil
}

func (p *pairs) String() string {
	t := newTable("authsrv", "logins/s", "server CPU a login", "resident")
	add := func(title string, turns []turn) {
		m := medianTurn(turns)
		t.add(title, number(m.Rate), unit(m.CPU, "ms"), unit(m.Resident, "MiB"))
	}
	add("here", p.Here)
	add(p.Commit, p.There)
	t.add("here to there, median of pairs", ratio(p.Rate), ratio(p.CPU), "")
	return t.String()
}

// A side is our server of one source tree, with a folder of its own.
type side struct {
	env   *environment
	peer  *peer
	turns []turn
}

func (e *environment) side(ctx context.Context, name, root string) (*side, error) {
	own := *e
	own.dir = filepath.Join(e.dir, name)
	if err := os.Mkdir(own.dir, 0o700); err != nil {
		return nil, err
	}
	return &side{env: &own, peer: ourPeer()}, own.buildFrom(ctx, root)
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
