package soak_test

import (
	"testing"

	"github.com/authsrv/authsrv/internal/soak"
)

func TestTimes(t *testing.T) {
	for _, c := range []struct {
		set                string
		full, least, times int
		isFull, judged     bool
	}{
		{"", 10_000, 10, 200, false, false},
		{"", 100, 10, 10, false, false},
		{"1", 10_000, 10, 10_000, true, false},
		{"10", 10_000, 10, 100_000, true, true},
		{"0.5", 10_000, 10, 5_000, false, false},
	} {
		t.Setenv(soak.Variable, c.set)
		if n := soak.Times(t, c.full, c.least); n != c.times {
			t.Errorf("%q: %d of %d, want %d", c.set, n, c.full, c.times)
		}
		if soak.Full(t) != c.isFull || soak.Judged(t) != c.judged {
			t.Errorf("%q: full %v, judged %v", c.set, soak.Full(t), soak.Judged(t))
		}
	}
}

func TestSeed(t *testing.T) {
	if a, b := soak.Seed(t), soak.Seed(t); a == b {
		t.Errorf("%d twice", a)
	}
	t.Setenv(soak.SeedVariable, "7")
	if n := soak.Seed(t); n != 7 {
		t.Errorf("%d, want 7", n)
	}
}
