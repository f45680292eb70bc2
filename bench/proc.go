package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// tick is the unit of times in /proc/PID/stat: USER_HZ is 100 on every Linux.
const tick = 10 * time.Millisecond

// stat is what the kernel says of one process.
type stat struct {
	pid, parent int
	cpu         time.Duration // user and system time of its threads, and of its children that were waited for
}

// parseStat reads a /proc/PID/stat. The name of the program, in brackets, can hold anything, brackets too.
func parseStat(text string) (s stat, err error) {
	front, back, ok := cutLast(text, ") ")
	pid, _, ok2 := strings.Cut(front, " (")
	f := strings.Fields(back)
	if !ok || !ok2 || len(f) < 15 {
		return s, fmt.Errorf("not a process's stat: %.80q", text)
	}
	var n [6]int64
	for i, field := range []string{pid, f[1], f[11], f[12], f[13], f[14]} {
		if n[i], err = strconv.ParseInt(field, 10, 64); err != nil {
			return s, fmt.Errorf("not a process's stat: %w", err)
		}
	}
	return stat{int(n[0]), int(n[1]), time.Duration(n[2]+n[3]+n[4]+n[5]) * tick}, nil
}

func cutLast(s, sep string) (before, after string, found bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return s, "", false
}

// tree returns a process and all that descend from it, as far as they live. A child that ended and was waited for is in its parent's time.
func tree(root int) ([]stat, error) {
	files, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return nil, err
	}
	children := make(map[int][]stat)
	var found []stat
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			continue // it has ended since
		}
		s, err := parseStat(string(text))
		if err != nil {
			return nil, err
		}
		if s.pid == root {
			found = append(found, s)
		}
		children[s.parent] = append(children[s.parent], s)
	}
	if len(found) == 0 {
		return nil, errNoProcess
	}
	for i := 0; i < len(found); i++ {
		found = append(found, children[found[i].pid]...)
	}
	return found, nil
}

var errNoProcess = errors.New("the server's process is not there (other systems than Linux have no /proc)")

// cpuOf returns the time that a process and its descendants have used so far.
func cpuOf(root int) (cpu time.Duration, processes int, err error) {
	all, err := tree(root)
	for _, s := range all {
		cpu += s.cpu
	}
	return cpu, len(all), err
}

// memoryOf returns the resident memory of a process and its descendants, in bytes. Pages that they share count once (PSS).
func memoryOf(root int) (bytes int64, err error) {
	all, err := tree(root)
	if err != nil {
		return 0, err
	}
	for _, s := range all {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", s.pid))
		if errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ESRCH) || err == nil && len(text) == 0 {
			continue // it has ended since
		}
		if err != nil {
			return 0, err
		}
		n, err := parsePSS(string(text))
		if err != nil {
			return 0, err
		}
		bytes += n
	}
	return bytes, nil
}

func parsePSS(text string) (bytes int64, err error) {
	for line := range strings.Lines(text) {
		if value, ok := strings.CutPrefix(line, "Pss:"); ok {
			n, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(value), "kB")), 10, 64)
			return n * 1024, err
		}
	}
	return 0, errors.New("smaps_rollup has no line Pss")
}
