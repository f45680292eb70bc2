package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// against measures our server beside itself at another commit: what a change brought. Each round is a pair, and the ratio is the median over
// pairs: what the machine does meanwhile happens to both of a pair.
func against(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	if len(args) == 0 || strings.HasPrefix(args[0], "-") {
		return errors.New("usage: bench against COMMIT [flags]")
	}
	o, err := parse(args[1:], stderr)
	if err != nil {
		return err
	}
	env, remove, err := newEnvironment(o)
	if err != nil {
		return err
	}
	defer remove()
	plan := &plan{rounds: o.rounds, time: o.time, clients: o.clients}
	machine, err := describe(env.dir)
	if err != nil {
		return err
	}
	root, err := mainModule()
	if err != nil {
		return err
	}
	tree, err := env.checkout(ctx, root, args[0])
	if err != nil {
		return err
	}
	var sides [2]*side
	for i, at := range []struct{ title, root string }{{"here", root}, {args[0], tree}} {
		if sides[i], err = env.side(ctx, at.title, at.root); err != nil {
			return err
		}
	}
	var cpu, rate []float64
	for round := range plan.rounds {
		for i := range sides {
			s := sides[(i+round)%2] // who is first changes
			t, err := s.peer.take(ctx, s.env, plan, false)
			if err != nil {
				return err
			}
			s.turns = append(s.turns, *t)
		}
		here, there := sides[0].turns[round], sides[1].turns[round]
		cpu, rate = append(cpu, here.CPU/there.CPU), append(rate, here.Rate/there.Rate)
		fmt.Fprintf(stderr, "round %d: %.3f and %.3f ms, %.0f and %.0f logins/s\n", round+1, here.CPU, there.CPU, here.Rate, there.Rate)
	}
	if err := machine.after(); err != nil {
		return err
	}
	t := newTable("authsrv", "logins/s", "server CPU a login", "resident")
	for _, s := range sides {
		m := medianTurn(s.turns)
		t.add(s.peer.title, number(m.Rate), unit(m.CPU, "ms"), unit(m.Resident, "MiB"))
	}
	t.add("here to there, median of pairs", ratio(median(rate)), ratio(median(cpu)), "")
	_, err = fmt.Fprintf(stdout, "%s\n\n%s", machine, t)
	return err
}

// A side is our server of one source tree, with a folder of its own.
type side struct {
	env   *environment
	peer  *peer
	turns []turn
}

func (e *environment) side(ctx context.Context, title, root string) (*side, error) {
	own := *e
	own.dir = filepath.Join(e.dir, strings.NewReplacer("/", "-", ".", "-").Replace(title))
	if err := os.Mkdir(own.dir, 0o700); err != nil {
		return nil, err
	}
	p := ourPeer()
	p.title = title
	return &side{env: &own, peer: p}, own.buildFrom(ctx, root)
}

// checkout writes the files of a commit down.
func (e *environment) checkout(ctx context.Context, root, commit string) (dir string, err error) {
	archive := filepath.Join(e.dir, "there.tar")
	dir = filepath.Join(e.dir, "there")
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
