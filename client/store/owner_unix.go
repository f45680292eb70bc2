//go:build unix

package store

import (
	"os"
	"syscall"
)

// owner returns the user that a file belongs to, and whether that can be told.
func owner(info os.FileInfo) (uid int, known bool) {
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, false
	}
	return int(stat.Uid), true
}
