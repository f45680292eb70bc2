package main

import (
	"bufio"
	"context"
	"errors"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"slices"
	"syscall"

	"golang.org/x/term"
)

func main() { os.Exit(run(os.Args, os.Stdin, os.Stdout, os.Stderr)) }

// maxInput bounds what is read from standard input, in bytes. It holds two passwords, in a form that shrinks when it is prepared.
const maxInput = 64 << 10

// run is the program without the process around it. It returns the exit code.
func run(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	p := &program{
		stdin: bufio.NewReader(io.LimitReader(stdin, maxInput)), stdout: &faultyWriter{w: stdout}, stderr: stderr,
		typedAt: isTerminal(stdin), shownAt: isTerminal(stdout),
		json: slices.Contains(args, "--json") || slices.Contains(args, "-json"), // until the flags are parsed
	}
	defer p.terminal.close()
	err := p.app().RunContext(ctx, args)
	if err == nil && p.stdout.err != nil {
		err = local("output", "cannot write the output: %v", p.stdout.err)
	}
	if err == nil {
		return exitDone
	}
	var f *failure
	if !errors.As(err, &f) { // whatever urfave/cli finds wrong itself is the command line
		f = usage("%v", err)
	}
	p.report(f)
	return f.exit
}

// program is what the commands share.
type program struct {
	stdin            *bufio.Reader
	stdout           *faultyWriter
	stderr           io.Writer
	typedAt, shownAt bool // standard input, standard output is a terminal
	json             bool
	terminal         terminal
}

func isTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// faultyWriter remembers that a write failed, so that a full disk behind the output is not taken for success.
type faultyWriter struct {
	w   io.Writer
	err error
}

func (f *faultyWriter) Write(b []byte) (int, error) {
	n, err := f.w.Write(b)
	if err != nil && f.err == nil {
		f.err = err
	}
	return n, err
}

// version is the module's version, and "(devel)" where it was built from a checkout without one.
func version() string {
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "(devel)"
}
