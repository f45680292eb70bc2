//go:build !race

package account

const underRace = false
