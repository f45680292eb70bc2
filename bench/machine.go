package main

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// A machine is where and when figures were taken.
type machine struct {
	Time       time.Time `json:"time"`
	Processor  string    `json:"processor"`
	Cores      int       `json:"cores"`
	Kernel     string    `json:"kernel"`
	Go         string    `json:"go"`
	Disk       string    `json:"disk"` // the file system of the data
	Commit     string    `json:"commit"`
	LoadBefore float64   `json:"load_before"` // processes that wanted to run in the minute before
	Seconds    float64   `json:"seconds"`
}

func describe(dir string) *machine {
	m := &machine{Time: time.Now().UTC(), Cores: runtime.NumCPU(), Go: runtime.Version(), Disk: fileSystem(dir), Processor: "unknown", Commit: "unknown"}
	if text, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(text)) {
			if name, value, _ := strings.Cut(line, ":"); strings.TrimSpace(name) == "model name" {
				m.Processor = strings.TrimSpace(value)
				break
			}
		}
	}
	if text, err := os.ReadFile("/proc/sys/kernel/osrelease"); err == nil {
		m.Kernel = strings.TrimSpace(string(text))
	}
	if text, err := os.ReadFile("/proc/loadavg"); err == nil {
		first, _, _ := strings.Cut(string(text), " ")
		m.LoadBefore, _ = strconv.ParseFloat(first, 64)
	}
	if out, err := exec.Command("git", "describe", "--always", "--dirty").Output(); err == nil {
		m.Commit = strings.TrimSpace(string(out))
	}
	return m
}

// after notes how long it took.
func (m *machine) after() { m.Seconds = time.Since(m.Time).Seconds() }

func (m *machine) String() string {
	quiet := ""
	if m.LoadBefore > 0.5 {
		quiet = ", NOT QUIET: the figures are provisional"
	}
	return fmt.Sprintf("%s, %d cores, Linux %s, %s, data on %s, commit %s, %s, %.0f s; load before: %.1f%s",
		m.Processor, m.Cores, m.Kernel, m.Go, m.Disk, m.Commit, m.Time.Format("2006-01-02 15:04 UTC"), m.Seconds, m.LoadBefore, quiet)
}

// fileSystems are those that data is likely to be on, by their magic number.
var fileSystems = map[int64]string{
	0xEF53: "ext4", 0x58465342: "xfs", 0x9123683E: "btrfs", 0x01021994: "tmpfs (in memory)", 0x858458F6: "ramfs (in memory)", 0x794C7630: "overlayfs",
	0x2FC12FC1: "zfs", 0xF2F52010: "f2fs", 0x6969: "nfs",
}

func fileSystem(dir string) string {
	var s syscall.Statfs_t
	if err := syscall.Statfs(dir, &s); err != nil {
		return "unknown"
	}
	if name := fileSystems[int64(s.Type)]; name != "" {
		return name
	}
	return fmt.Sprintf("a file system of type %#x", s.Type)
}

func inMemory(dir string) bool { return strings.Contains(fileSystem(dir), "in memory") }
