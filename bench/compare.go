package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// A row is a peer with all its turns. One that failed or is missing has a reason instead.
type row struct {
	Name   string `json:"name"`
	Title  string `json:"title"`
	Note   string `json:"note"`
	Why    string `json:"missing,omitempty"`
	Turns  []turn `json:"turns,omitempty"`
	Median turn   `json:"median"`
}

// A floorRow is the floor in each round.
type floorRow struct {
	Turns  []float64 `json:"cpu_ms"` // of all parts together
	Median float64   `json:"median_cpu_ms"`
	Parts  struct {
		Generation float64 `json:"x25519_generation_ms"`
		Shared     float64 `json:"x25519_ms"`
		Verify     float64 `json:"ed25519_verify_ms"`
		Sign       float64 `json:"ed25519_sign_ms"`
	} `json:"median_parts"`
}

// A comparison is the whole table.
type comparison struct {
	Clients int      `json:"clients"`
	Rounds  int      `json:"rounds"`
	Seconds float64  `json:"seconds_a_load"`
	Floor   floorRow `json:"floor"`
	Rows    []*row   `json:"rows"`
}

// compare lets the peers take their turns, round by round: A B C, A B C, …, so that what changes on the machine meanwhile is shared by all.
func compare(ctx context.Context, env *environment, plan *plan, peers []*peer, progress io.Writer) (*comparison, error) {
	c := &comparison{Clients: plan.clients, Rounds: plan.rounds, Seconds: plan.time.Seconds()}
	for _, p := range peers {
		c.Rows = append(c.Rows, &row{Name: p.name, Title: p.title, Note: p.note})
	}
	var floors []*floor
	for round := range plan.rounds {
		f, err := measureFloor(min(plan.time, 2*time.Second))
		if err != nil {
			return nil, err
		}
		floors = append(floors, f)
		fmt.Fprintf(progress, "round %d: floor %.3f ms\n", round+1, ms(f.sum()))
		for i, p := range peers {
			r := c.Rows[i]
			if r.Why != "" {
				continue
			}
			t, err := p.take(ctx, env, plan, round == 0)
			if ctx.Err() != nil {
				return nil, context.Cause(ctx)
			}
			if err != nil {
				r.Why, r.Turns = why(err), nil
				fmt.Fprintf(progress, "round %d: %s: %s\n", round+1, p.title, r.Why)
				continue
			}
			r.Turns = append(r.Turns, *t)
			fmt.Fprintf(progress, "round %d: %s: %.0f logins/s, %.3f ms\n", round+1, p.title, t.Rate, t.CPU)
		}
	}
	for _, r := range c.Rows {
		r.Median = medianTurn(r.Turns)
	}
	c.Floor.fill(floors)
	return c, nil
}

// failed begins the reason of a peer that is there and can't be measured.
const failed = "failed: "

func why(err error) string {
	var missing *errMissing
	if errors.As(err, &missing) {
		return missing.Error()
	}
	return failed + shorten(strings.Join(strings.Fields(err.Error()), " "), 150)
}

func (r *floorRow) fill(floors []*floor) {
	part := func(of func(*floor) time.Duration) float64 {
		var all []float64
		for _, f := range floors {
			all = append(all, ms(of(f)))
		}
		return median(all)
	}
	for _, f := range floors {
		r.Turns = append(r.Turns, ms(f.sum()))
	}
	r.Median = median(r.Turns)
	r.Parts.Generation = part(func(f *floor) time.Duration { return f.generation })
	r.Parts.Shared = part(func(f *floor) time.Duration { return f.shared })
	r.Parts.Verify = part(func(f *floor) time.Duration { return f.verify })
	r.Parts.Sign = part(func(f *floor) time.Duration { return f.sign })
}

// median of any number of values; 0 of none.
func median(values []float64) float64 {
	if len(values) == 0 {
		return 0
	}
	v := slices.Sorted(slices.Values(values))
	return (v[(len(v)-1)/2] + v[len(v)/2]) / 2
}

// medianTurn takes the median of each figure by itself, over the turns that have it.
func medianTurn(turns []turn) (m turn) {
	of := func(field func(*turn) *float64) {
		var all []float64
		for i := range turns {
			if v := *field(&turns[i]); v != 0 {
				all = append(all, v)
			}
		}
		*field(&m) = median(all)
	}
	of(func(t *turn) *float64 { return &t.Rate })
	of(func(t *turn) *float64 { return &t.CPU })
	of(func(t *turn) *float64 { return &t.OpenRate })
	of(func(t *turn) *float64 { return &t.P50 })
	of(func(t *turn) *float64 { return &t.P99 })
	of(func(t *turn) *float64 { return &t.P999 })
	of(func(t *turn) *float64 { return &t.Resident })
	of(func(t *turn) *float64 { return &t.IdleKiB })
	for _, t := range turns {
		m.IdleCount = max(m.IdleCount, t.IdleCount)
	}
	return m
}

// ours is our row, or nil where it was not measured.
func (c *comparison) ours() *row {
	for _, r := range c.Rows {
		if r.Name == "authsrv" && r.Why == "" {
			return r
		}
	}
	return nil
}

// String is the comparison as Markdown.
func (c *comparison) String() string {
	t := newTable("server", "logins/s", "server CPU a login", "p50", "p99", "p99.9", "resident", "an idle connection", "CPU, × ours", "logins/s, ours ×")
	ours := c.ours()
	for _, r := range c.Rows {
		if r.Why != "" {
			t.add(r.Title, r.Why)
			continue
		}
		m := &r.Median
		cpu, rate := "", ""
		if ours != nil && r != ours {
			cpu, rate = ratio(m.CPU/ours.Median.CPU), ratio(ours.Median.Rate/m.Rate)
		}
		t.add(r.Title, number(m.Rate), unit(m.CPU, "ms"), unit(m.P50, "ms"), unit(m.P99, "ms"), unit(m.P999, "ms"), unit(m.Resident, "MiB"), unit(m.IdleKiB, "KiB"), cpu, rate)
	}
	floorRatio := ""
	if ours != nil {
		floorRatio = ratio(c.Floor.Median / ours.Median.CPU)
	}
	t.add("floor: one X25519 key generation, three X25519, one Ed25519 check, one signature", "–", unit(c.Floor.Median, "ms"), "–", "–", "–", "–", "–", floorRatio)
	return t.String()
}
