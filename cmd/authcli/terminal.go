package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"

	"golang.org/x/term"
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
func (t *terminal) line(ctx context.Context, prompt string) (string, error) {
	text, err := t.ask(ctx, prompt, false)
	return strings.TrimSpace(text), err
}

// secret asks for a line that is not shown.
func (t *terminal) secret(ctx context.Context, prompt string) (string, error) {
	text, err := t.ask(ctx, prompt, true)
	if errors.Is(err, io.EOF) {
		return "", local("no-input", "no password was typed")
	}
	return text, err
}

func (t *terminal) ask(ctx context.Context, prompt string, hidden bool) (string, error) {
	if err := t.open(); err != nil {
		return "", err
	}
	if hidden {
		fd := int(t.in.Fd())
		before, err := term.GetState(fd)
		if err == nil {
			err = silence(fd) // before the prompt, or what is typed at once would be shown
		}
		if err != nil {
			return "", errNoTerminal
		}
		defer t.printf("\n")
		defer term.Restore(fd, before) // also if it was interrupted, or the shell would go on without echo
	}
	t.printf("%s", prompt)
	text, err := await(ctx, func() (string, error) { return readLine(t.in) })
	if err == errInterrupted && !hidden {
		t.printf("\n")
	}
	return text, err
}

// await reads until there is something or ctx ends. Then the reader is left behind, since nothing wakes it: the caller has to
// end the process.
func await(ctx context.Context, read func() (string, error)) (string, error) {
	type answer struct {
		text string
		err  error
	}
	answered := make(chan answer, 1)
	go func() {
		text, err := read()
		answered <- answer{text, err}
	}()
	select {
	case a := <-answered:
		return a.text, a.err
	case <-ctx.Done():
		return "", errInterrupted
	}
}

// readLine reads byte by byte: what was typed ahead is for the next one who asks.
func readLine(f *os.File) (string, error) {
	var line []byte
	for b := make([]byte, 1); ; {
		n, err := f.Read(b)
		switch {
		case n == 1 && b[0] == '\n':
			return strings.TrimSuffix(string(line), "\r"), nil // Windows sends both
		case n == 1:
			line = append(line, b[0])
		case err == io.EOF && len(line) > 0:
			return string(line), nil
		case err != nil:
			return "", err
		}
	}
}
