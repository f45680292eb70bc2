//go:build race

package wire

// underRace says that the race detector is on, which may allocate.
const underRace = true
