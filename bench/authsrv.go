package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// mainModule returns the folder of our server's module, which is this one's parent.
func mainModule() (string, error) {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/authsrv/authsrv").Output()
	if err != nil {
		return "", fmt.Errorf("cannot find the module of the server: run it as `go -C bench run .` (%w)", withStderr(err))
	}
	return strings.TrimSpace(string(out)), nil
}

// withStderr adds what a command said to its error.
func withStderr(err error) error {
	var exit *exec.ExitError
	if errors.As(err, &exit) && len(exit.Stderr) > 0 {
		return fmt.Errorf("%w: %s", err, strings.TrimSpace(string(exit.Stderr)))
	}
	return err
}

// build builds our server as its own module has it, with none of the bench's dependencies.
func (e *environment) build(ctx context.Context) error {
	root, err := mainModule()
	if err != nil {
		return err
	}
	return e.buildFrom(ctx, root)
}

// buildFrom is build, of the module in a folder.
func (e *environment) buildFrom(ctx context.Context, root string) error {
	e.binary = filepath.Join(e.dir, "authsrv")
	c := exec.CommandContext(ctx, "go", "build", "-o", e.binary, "./cmd/authsrv")
	c.Dir = root
	if out, err := c.CombinedOutput(); err != nil {
		return fmt.Errorf("go build ./cmd/authsrv: %w: %s", err, out)
	}
	return nil
}

// An authsrv is our server, or what is to become of it.
type authsrv struct {
	*process
	data        string
	address     string
	fingerprint string
	slack       time.Duration // how late a timer of its threads may be; 0: as the system has it
}

var fingerprintLine = regexp.MustCompile(`(?m)^fingerprint: (SHA256:\S+)$`)

// newFolder makes a data folder with keys, and fills it.
func (e *environment) newFolder(ctx context.Context, name string, accounts int) (*authsrv, error) {
	a := &authsrv{data: filepath.Join(e.dir, name)}
	out, err := exec.CommandContext(ctx, e.binary, "init", "--data", a.data).Output()
	if err != nil {
		return nil, fmt.Errorf("authsrv init: %w", withStderr(err))
	}
	found := fingerprintLine.FindSubmatch(out)
	if found == nil {
		return nil, fmt.Errorf("authsrv init said no fingerprint: %q", out)
	}
	a.fingerprint = string(found[1])
	if accounts > 0 {
		err = fill(ctx, a.data, 0, accounts)
	}
	return a, err
}

// start starts the server on its folder, with the settings of an operator who sets none, but for the limit of registrations.
func (a *authsrv) start(ctx context.Context, e *environment, variables ...string) error {
	file := filepath.Join(e.dir, filepath.Base(a.data)+".address")
	if err := os.Remove(file); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	c := exec.Command(e.binary, "run", "--data", a.data, "--listen", "127.0.0.1:0", "--addr-file", file, "--registration-limit", "0")
	c.Env = append(os.Environ(), variables...)
	err := withTimerSlack(a.slack, func() (err error) {
		a.process, err = launch(e.dir, filepath.Base(a.data), c)
		return err
	})
	if err != nil {
		return err
	}
	if a.address, err = a.told(ctx, file); err != nil {
		return errors.Join(err, a.Stop())
	}
	return nil
}

// ourPeer is our server, with a slack for its timers; 0: as the system has it.
func ourPeer(name, title string, slack time.Duration) *peer {
	var folder *authsrv // is made once: it is the same server in each round
	return &peer{
		name: name, title: title, idle: 2000,
		note: "a full password login: TCP, Noise XX, challenge, proof, a session that is synced to disk, a signed token",
		start: func(ctx context.Context, e *environment) (*running, error) {
			if e.binary == "" {
				if err := e.build(ctx); err != nil {
					return nil, err
				}
			}
			if folder == nil {
				made, err := e.newFolder(ctx, name+"-data", e.accounts)
				if err != nil {
					return nil, err
				}
				folder, made.slack = made, slack
			}
			if err := folder.start(ctx, e); err != nil {
				return nil, err
			}
			crowd := newCrowd(folder.address, folder.fingerprint, e.accounts, e.accounts)
			return &running{process: folder.process, login: closing(crowd.hold), hold: crowd.hold, crowd: crowd}, nil
		},
	}
}

// accountName is the name of the account n in a folder that was filled.
func accountName(n int) string { return "user" + strconv.Itoa(n) }
