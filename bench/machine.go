package main

import (
	"errors"
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
	Time      time.Time `json:"time"`
	Processor string    `json:"processor"`
	Cores     int       `json:"cores"`
	Kernel    string    `json:"kernel"`
	Go        string    `json:"go"`
	Disk      string    `json:"disk"` // the file system of the data
	Commit    string    `json:"commit"`
	Others    float64   `json:"used_by_others"` // of all cores' time during the run: by what is not of it
	Stolen    float64   `json:"stolen"`         // by other virtual machines
	Seconds   float64   `json:"seconds"`

	busy, stolen time.Duration // of all cores when it began
}

func describe(dir string) (m *machine, err error) {
	m = &machine{Time: time.Now().UTC(), Cores: runtime.NumCPU(), Go: runtime.Version(), Disk: fileSystem(dir), Processor: "unknown", Commit: "unknown"}
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
	if out, err := exec.Command("git", "describe", "--always", "--dirty").Output(); err == nil {
		m.Commit = strings.TrimSpace(string(out))
	}
	m.busy, m.stolen, err = cores()
	return m, err
}

// parseBusy reads the first line of /proc/stat: how long the cores have been busy since the machine started, and for how long others had them.
func parseBusy(text string) (busy, stolen time.Duration, err error) {
	line, _, _ := strings.Cut(text, "\n")
	f := strings.Fields(line)
	if len(f) < 9 || f[0] != "cpu" {
		return 0, 0, fmt.Errorf("not the cores' times: %.80q", line)
	}
	for i, field := range f[1:9] { // user nice system idle iowait irq softirq steal
		n, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return 0, 0, err
		}
		switch i {
		case 3, 4:
		case 7:
			stolen = time.Duration(n) * tick
		default:
			busy += time.Duration(n) * tick
		}
	}
	return busy, stolen, nil
}

func cores() (busy, stolen time.Duration, err error) {
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, 0, err
	}
	return parseBusy(string(text))
}

// after notes how long it took, and what others did to the machine meanwhile. All servers have ended.
func (m *machine) after() error {
	busy, stolen, err := cores()
	if err != nil {
		return err
	}
	var own, children syscall.Rusage
	if err := errors.Join(syscall.Getrusage(syscall.RUSAGE_SELF, &own), syscall.Getrusage(syscall.RUSAGE_CHILDREN, &children)); err != nil {
		return err
	}
	used := time.Duration(own.Utime.Nano() + own.Stime.Nano() + children.Utime.Nano() + children.Stime.Nano())
	m.Seconds = time.Since(m.Time).Seconds()
	all := m.Seconds * float64(m.Cores)
	m.Others = max(0, (busy-m.busy-used).Seconds()/all)
	m.Stolen = (stolen - m.stolen).Seconds() / all
	return nil
}

// noisy is the part of the cores' time from which on others spoil the figures.
const noisy = 0.05

func (m *machine) String() string {
	quiet := ""
	if m.Others+m.Stolen > noisy {
		quiet = ": NOT QUIET, the figures are provisional"
	}
	return fmt.Sprintf("%s, %d cores, Linux %s, %s, data on %s, commit %s, %s, %.0f s; others had %.0f %% of the cores meanwhile, %.0f %% was stolen%s",
		m.Processor, m.Cores, m.Kernel, m.Go, m.Disk, m.Commit, m.Time.Format("2006-01-02 15:04 UTC"), m.Seconds, 100*m.Others, 100*m.Stolen, quiet)
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
