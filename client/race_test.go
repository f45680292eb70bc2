//go:build race

package client_test

// raceEnabled says whether the race detector watches, which costs several times as much.
const raceEnabled = true
