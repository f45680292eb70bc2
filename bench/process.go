package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A process is a server that was started, with what descends from it.
type process struct {
	name  string
	cmd   *exec.Cmd
	log   string         // the file that has what it said
	stop  syscall.Signal // what it stops at
	ended chan struct{}
	err   error // once ended
}

// startTime bounds how long a server may take until it answers.
const startTime = time.Minute

// launch starts a server in a process group of its own, so that an interrupt reaches the bench alone, which then stops it.
func launch(dir, name string, cmd *exec.Cmd) (*process, error) {
	f, err := os.OpenFile(filepath.Join(dir, name+".log"), os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if cmd.Stdout == nil {
		cmd.Stdout = f
	}
	cmd.Stderr = f
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Setpgid = true
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	p := &process{name: name, cmd: cmd, log: f.Name(), stop: syscall.SIGTERM, ended: make(chan struct{})}
	go func() {
		p.err = cmd.Wait()
		close(p.ended)
	}()
	return p, nil
}

// withTimerSlack calls start, and what that starts has a slack of its own for its timers, as systemd gives it by TimerSlackNSec; 0: as this
// process has it.
func withTimerSlack(slack time.Duration, start func() error) error {
	if slack == 0 {
		return start()
	}
	runtime.LockOSThread() // a process has it from the thread that starts it
	defer runtime.UnlockOSThread()
	if err := unix.Prctl(unix.PR_SET_TIMERSLACK, uintptr(slack), 0, 0, 0); err != nil {
		return err
	}
	defer unix.Prctl(unix.PR_SET_TIMERSLACK, 0, 0, 0, 0)
	return start()
}

func (p *process) pid() int { return p.cmd.Process.Pid }

// Stop ends the process and waits for it. What is left of its group is killed.
func (p *process) Stop() error {
	if err := p.cmd.Process.Signal(p.stop); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	late := time.AfterFunc(30*time.Second, func() { _ = syscall.Kill(-p.pid(), syscall.SIGKILL) })
	defer late.Stop()
	<-p.ended
	_ = syscall.Kill(-p.pid(), syscall.SIGKILL) // children that outlived it
	return nil
}

// fault is why the server is not there, with the end of its log.
func (p *process) fault(err error) error {
	text, _ := os.ReadFile(p.log)
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	if last := lines[len(lines)-1]; last != "" {
		return fmt.Errorf("%w; the last that it said: %.200s", err, last)
	}
	return err
}

// answering waits until try succeeds.
func (p *process) answering(ctx context.Context, try func() error) error {
	ctx, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	for {
		err := try()
		if err == nil {
			return nil
		}
		select {
		case <-p.ended:
			return p.fault(fmt.Errorf("it ended (%w)", p.err))
		case <-ctx.Done():
			return p.fault(err)
		case <-time.After(2 * time.Millisecond):
		}
	}
}

// told waits for a file with one line, and returns the line.
func (p *process) told(ctx context.Context, file string) (line string, err error) {
	err = p.answering(ctx, func() error {
		text, err := os.ReadFile(file)
		if err == nil && !strings.HasSuffix(string(text), "\n") {
			err = fmt.Errorf("%s has no line yet", file)
		}
		line = strings.TrimSpace(string(text))
		return err
	})
	return line, err
}

// freeAddress returns a loopback address with a port that nobody has at the moment, for servers that can't pick one themselves.
func freeAddress() (address, port string, err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", "", err
	}
	defer l.Close()
	address = l.Addr().String()
	_, port, err = net.SplitHostPort(address)
	return address, port, err
}

// connectable waits until somebody listens at an address.
func (p *process) connectable(ctx context.Context, address string) error {
	return p.answering(ctx, func() error {
		c, err := net.Dial("tcp", address)
		if err == nil {
			err = c.Close()
		}
		return err
	})
}
