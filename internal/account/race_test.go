//go:build race

package account

// underRace says that the race detector is on, with which a sync.Pool drops some of what it is given.
const underRace = true
