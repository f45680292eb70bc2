package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"

	"github.com/authsrv/authsrv/cmd/internal/prompt"
)

var (
	errNoTerminal  = local("no-terminal", "there is no terminal to ask on")
	errInterrupted = fail(exitInterrupted, "interrupted", "interrupted")
)

// terminal is the one that the process belongs to, whatever its standard streams are. It is opened when it is needed.
type terminal struct {
	in, out *os.File
}

func (t *terminal) open() error {
	if t.in != nil {
		return nil
	}
	in, out := "/dev/tty", "/dev/tty"
	if runtime.GOOS == "windows" {
		in, out = "CONIN$", "CONOUT$"
	}
	var err error
	if t.in, err = os.OpenFile(in, os.O_RDWR, 0); err != nil {
		t.in = nil
		return errNoTerminal
	}
	if t.out, err = os.OpenFile(out, os.O_RDWR, 0); err != nil {
		t.close()
		return errNoTerminal
	}
	return nil
}

func (t *terminal) close() {
	for _, f := range []*os.File{t.in, t.out} {
		if f != nil {
			f.Close()
		}
	}
	t.in, t.out = nil, nil
}

func (t *terminal) printf(format string, args ...any) { fmt.Fprintf(t.out, format, args...) }

// line asks for a line, and returns it without white space around it; io.EOF if the input has ended.
func (t *terminal) line(ctx context.Context, question string) (string, error) {
	text, err := t.ask(ctx, question, false)
	return strings.TrimSpace(text), err
}

// secret asks for a line that is not shown.
func (t *terminal) secret(ctx context.Context, question string) (string, error) {
	text, err := t.ask(ctx, question, true)
	if errors.Is(err, io.EOF) {
		return "", local("no-input", "no password was typed")
	}
	return text, err
}

func (t *terminal) ask(ctx context.Context, question string, hidden bool) (string, error) {
	if err := t.open(); err != nil {
		return "", err
	}
	line, err := prompt.Ask(ctx, t.in, t.out, question, hidden)
	return line, explainPrompt(err)
}

// explainPrompt gives an error of asking its exit code.
func explainPrompt(err error) error {
	switch {
	case errors.Is(err, prompt.ErrInterrupted):
		return errInterrupted
	case errors.Is(err, prompt.ErrNoTerminal):
		return errNoTerminal
	}
	return err
}
