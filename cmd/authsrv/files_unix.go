//go:build unix

package main

import (
	"math"
	"syscall"
)

// openFiles returns how many files the process may have open, -1 where that is not known. The runtime has raised the limit as far as it goes.
func openFiles() int {
	var limit syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit) != nil {
		return -1
	}
	return int(min(uint64(limit.Cur), math.MaxInt32))
}
