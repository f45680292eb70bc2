// Package soak says how often a heavy check is made. Its tests are named TestSoak…, so that one command finds them all:
//
//	go test ./...                                                      some fiftieth of it, in seconds
//	AUTHSRV_SOAK=1 go test -p 1 -run Soak -timeout 30m ./...           what CI does, in minutes
//	AUTHSRV_SOAK=10 go test -p 1 -run Soak -timeout 12h -v ./...       ten times that; times are judged as well
//
// It is for tests only.
package soak

import (
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
)

// Variable is the environment variable that scales every check.
const Variable = "AUTHSRV_SOAK"

// quick is the scale where the variable is not set.
const quick = 0.02

// Times is how often to do what is done full times in CI, and never less often than least.
func Times(t testing.TB, full, least int) int {
	t.Helper()
	return max(int(float64(full)*scale(t)), least)
}

// Full says whether the counts of CI are reached: what cannot be seen in fewer tries is to be looked for only then.
func Full(t testing.TB) bool { t.Helper(); return scale(t) >= 1 }

// Judged says whether times and rates are judged, which they are where the machine does nothing else; elsewhere they are only reported.
func Judged(t testing.TB) bool { t.Helper(); return scale(t) > 1 }

// SeedVariable is the environment variable that repeats what was random.
const SeedVariable = "AUTHSRV_SEED"

// Seed is what all that is random in a test is made from. It is written down, and is another one in each run but where the variable gives one.
func Seed(t testing.TB) uint64 {
	t.Helper()
	seed := rand.Uint64()
	if text := os.Getenv(SeedVariable); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatalf("%s is %q: want a number", SeedVariable, text)
		}
	}
	t.Logf("%s=%d", SeedVariable, seed)
	return seed
}

func scale(t testing.TB) float64 {
	t.Helper()
	text := os.Getenv(Variable)
	if text == "" {
		return quick
	}
	f, err := strconv.ParseFloat(text, 64)
	if err != nil || !(f > 0) || f > 1e6 {
		t.Fatalf("%s is %q: want a number above 0", Variable, text)
	}
	return f
}
