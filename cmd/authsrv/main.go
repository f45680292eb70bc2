package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"slices"
	"strings"
)

func main() { os.Exit(run(os.Args, os.Stdin, os.Stdout, os.Stderr)) }

// run is the program without the process around it. It returns the exit code.
func run(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	p := &program{stdin: stdin, stdout: &faultyWriter{w: stdout}, stderr: stderr}
	err := p.app().RunContext(context.Background(), args)
	if p.stdout.err != nil && (err == nil || errors.Is(err, p.stdout.err)) {
		err = fail(exitLocal, "cannot write the output: %w", p.stdout.err)
	}
	if err == nil {
		return exitDone
	}
	code := exitUsage // whatever urfave/cli finds wrong itself is the command line
	var f *failure
	if errors.As(err, &f) {
		code = f.code
	}
	if slices.Contains(args, "--json") || slices.Contains(args, "-json") {
		reportJSON(stderr, code, err)
	} else {
		fmt.Fprintf(stderr, "authsrv: %s\n", oneLine(err))
	}
	return code
}

// program is what the commands share.
type program struct {
	stdin  io.Reader
	stdout *faultyWriter
	stderr io.Writer
}

// faultyWriter remembers that a write failed, so that a full disk behind the output is not taken for success. Later writes fail with the same error.
type faultyWriter struct {
	w   io.Writer
	err error
}

func (f *faultyWriter) Write(b []byte) (n int, err error) {
	if f.err == nil {
		n, f.err = f.w.Write(b)
	}
	return n, f.err
}

// oneLine is an error as one line, whatever its parts were joined with.
func oneLine(err error) string {
	return strings.Join(strings.FieldsFunc(err.Error(), func(r rune) bool { return r == '\n' || r == '\r' }), "; ")
}

// version is the module's version, and "(devel)" where it was built from a checkout without one.
func version() string {
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "(devel)"
}
