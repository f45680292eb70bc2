//go:build race

package server_test

// raceEnabled says whether the race detector watches, which costs memory of its own.
const raceEnabled = true
