//go:build !race

package noiseconn

const underRace = false
