// Package prompt asks a person at a terminal, for both commands.
package prompt

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/term"
)

var (
	ErrNoTerminal  = errors.New("there is no terminal to ask on")
	ErrInterrupted = errors.New("interrupted")
)

// Ask asks for a line, which a hidden prompt does not show. The error is io.EOF where the input has ended before there was anything, and
// ErrInterrupted where ctx has: see Await.
func Ask(ctx context.Context, in *os.File, out io.Writer, prompt string, hidden bool) (string, error) {
	fd := int(in.Fd())
	if hidden {
		before, err := term.GetState(fd)
		if err == nil {
			err = silence(fd) // before the prompt, or what is typed at once would be shown
		}
		if err != nil {
			return "", ErrNoTerminal
		}
		defer fmt.Fprintln(out)
		defer term.Restore(fd, before) // also if it was interrupted, or the shell would go on without echo
	}
	resumed, stop := resumptions()
	defer stop()
	fmt.Fprint(out, prompt)
	text, err := await(ctx, func() (string, error) { return readLine(in) }, resumed, func() {
		if hidden {
			_ = silence(fd) // a shell makes a terminal show what is typed again, and leaves it so; where it can't be, it is gone
		}
		fmt.Fprint(out, prompt)
	})
	if errors.Is(err, ErrInterrupted) && !hidden {
		fmt.Fprintln(out)
	}
	return text, err
}

// Await reads until there is something or ctx ends. Then the reader is left behind, since nothing wakes it: the caller has to
// end the process.
func Await(ctx context.Context, read func() (string, error)) (string, error) {
	return await(ctx, read, nil, nil)
}

// await is Await, and calls again whenever the process goes on after a stop.
func await(ctx context.Context, read func() (string, error), resumed <-chan os.Signal, again func()) (string, error) {
	type answer struct {
		text string
		err  error
	}
	answered := make(chan answer, 1)
	go func() {
		text, err := read()
		answered <- answer{text, err}
	}()
	for {
		select {
		case a := <-answered:
			return a.text, a.err
		case <-ctx.Done():
			return "", ErrInterrupted
		case <-resumed:
			again()
		}
	}
}

// readLine reads byte by byte: what was typed ahead is for the next one who asks. To term.ReadPassword a terminal's end of input is nothing,
// again and again.
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
