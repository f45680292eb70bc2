package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
)

// The benchmarks of the packages that a login and a request go through. An expression has as many parts as the names that it is for.
var micros = []struct{ pkg, bench string }{
	{"./wire", "^BenchmarkMessages$/^(decode|encode)$/^(AuthStart|Challenge|Proof|Welcome|WhoAmI|Account)$"},
	{"./wire", "^BenchmarkMessages$/^frame$"},
	{"./noiseconn", "^BenchmarkClientHandshake$"},
	{"./noiseconn", "^Benchmark(ServerHandshake|WriteMessage|ReadMessage)$/^(ours|64B|1KiB|16KiB)$"},
	{"./credential", "^Benchmark(VerifyProof|CheckPublicKey|Confirm|TranscriptSum|Salt)$"},
	{"./token", "^Benchmark(Sign|Verify)$"},
	{"./internal/account", "^BenchmarkRecord$"},
}

// micro runs them and shows the change against the baseline, or makes that.
func micro(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	f := flags(stderr, "usage: bench micro [flags]")
	count := f.Int("count", 6, "how often each runs: benchstat wants 6 at least")
	each := f.String("benchtime", "200ms", "how long each runs")
	save := f.Bool("save", false, "write what was measured to baseline.txt, instead of showing the change")
	if err := f.Parse(args); err != nil {
		return err
	}
	if f.NArg() > 0 {
		return fmt.Errorf("unknown argument %q", f.Arg(0))
	}
	root, err := mainModule()
	if err != nil {
		return err
	}
	baseline := filepath.Join(root, "bench", "baseline.txt")
	result, err := os.CreateTemp("", "authsrv-micro-*.txt")
	if err != nil {
		return err
	}
	defer os.Remove(result.Name())
	defer result.Close()
	for _, m := range micros {
		c := exec.CommandContext(ctx, "go", "test", "-run", "^$", "-bench", m.bench, "-benchmem", "-benchtime", *each, "-count", strconv.Itoa(*count), m.pkg)
		c.Dir, c.Stderr = root, stderr
		c.Stdout = io.MultiWriter(result, stderr)
		if err := c.Run(); err != nil {
			return fmt.Errorf("%s: %w", m.pkg, err)
		}
	}
	if text, err := os.ReadFile(result.Name()); err != nil || bytes.Count(text, []byte("\nBenchmark")) < len(micros)**count {
		return errors.Join(errors.New("a package had no benchmark to run"), err)
	}
	if *save {
		text, err := os.ReadFile(result.Name())
		if err != nil {
			return err
		}
		return os.WriteFile(baseline, text, 0o644)
	}
	if _, err := os.Stat(baseline); errors.Is(err, os.ErrNotExist) {
		return errors.New("there is no baseline.txt: make one with --save")
	}
	c := exec.CommandContext(ctx, "go", "tool", "benchstat", "baseline="+baseline, "now="+result.Name())
	c.Dir, c.Stdout, c.Stderr = filepath.Join(root, "bench"), stdout, stderr
	return c.Run()
}
