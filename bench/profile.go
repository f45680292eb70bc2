package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/google/pprof/profile"
)

// profiler is compiled into our server for this command alone, beside its own files: a CPU profile from SIGUSR1 to SIGUSR2.
const profiler = `package main

import (
	"os"
	"os/signal"
	"runtime/pprof"
	"syscall"
)

func init() {
	start, stop := make(chan os.Signal, 1), make(chan os.Signal, 1)
	signal.Notify(start, syscall.SIGUSR1)
	signal.Notify(stop, syscall.SIGUSR2)
	go func() {
		<-start
		f, err := os.Create(os.Getenv("AUTHSRV_BENCH_PROFILE") + ".part")
		if err == nil {
			err = pprof.StartCPUProfile(f)
		}
		if err != nil {
			panic(err)
		}
		<-stop
		pprof.StopCPUProfile()
		f.Close()
		os.Rename(f.Name(), os.Getenv("AUTHSRV_BENCH_PROFILE"))
	}()
}
`

// buildProfiled is build, with the profiler.
func (e *environment) buildProfiled(ctx context.Context) error {
	root, err := mainModule()
	if err != nil {
		return err
	}
	source, overlay := filepath.Join(e.dir, "profiler.go"), filepath.Join(e.dir, "overlay.json")
	text, err := json.Marshal(map[string]map[string]string{"Replace": {filepath.Join(root, "cmd", "authsrv", "bench_profiler.go"): source}})
	if err != nil {
		return err
	}
	if err := errors.Join(os.WriteFile(source, []byte(profiler), 0o600), os.WriteFile(overlay, text, 0o600)); err != nil {
		return err
	}
	e.binary = filepath.Join(e.dir, "authsrv-profiled")
	c := exec.CommandContext(ctx, "go", "build", "-overlay", overlay, "-o", e.binary, "./cmd/authsrv")
	c.Dir = root
	if out, err := c.CombinedOutput(); err != nil {
		return fmt.Errorf("go build ./cmd/authsrv, with a profiler: %w: %s", err, out)
	}
	return nil
}

// profiled takes a CPU profile of our server under the load of logins.
func profiled(ctx context.Context, env *environment, plan *plan) (p *profile.Profile, logins int64, err error) {
	if err := env.buildProfiled(ctx); err != nil {
		return nil, 0, err
	}
	file := filepath.Join(env.dir, "cpu.pprof")
	a, err := env.newFolder(ctx, "profile-data", env.accounts)
	if err != nil {
		return nil, 0, err
	}
	if err := a.start(ctx, env, "AUTHSRV_BENCH_PROFILE="+file); err != nil {
		return nil, 0, err
	}
	defer func() { err = errors.Join(err, a.Stop()) }()
	crowd := newCrowd(a.address, a.fingerprint, env.accounts, env.accounts)
	login := closing(crowd.hold)
	if _, err := closed(ctx, plan.clients, plan.time/4, login); err != nil {
		return nil, 0, a.fault(err)
	}
	if err := a.cmd.Process.Signal(syscall.SIGUSR1); err != nil {
		return nil, 0, err
	}
	load, err := closed(ctx, plan.clients, plan.time, login)
	if err != nil {
		return nil, 0, a.fault(err)
	}
	if err := a.cmd.Process.Signal(syscall.SIGUSR2); err != nil {
		return nil, 0, err
	}
	if err := a.answering(ctx, func() error { _, err := os.Stat(file); return err }); err != nil {
		return nil, 0, err
	}
	f, err := os.Open(file)
	if err != nil {
		return nil, 0, err
	}
	defer f.Close()
	p, err = profile.Parse(f)
	return p, load.done, err
}

// parts are what the time of a login goes to: a sample belongs to the first part that has a function of its stack, from the innermost out.
var parts = []struct {
	name     string
	prefixes []string
}{
	{"curve arithmetic (X25519, Ed25519)", []string{"github.com/cloudflare/circl/", "crypto/ed25519.", "crypto/internal/fips140/ed25519.", "crypto/internal/fips140/edwards25519", "filippo.io/edwards25519"}},
	{"ciphers and hashes", []string{"golang.org/x/crypto/chacha20", "golang.org/x/crypto/internal/poly1305", "crypto/internal/fips140/sha", "crypto/sha", "crypto/internal/fips140/hmac", "crypto/hmac", "golang.org/x/crypto/hkdf"}},
	{"system calls: the network and the log's syncs", []string{"syscall.", "internal/runtime/syscall.", "golang.org/x/sys/unix."}},
	{"allocation and garbage collection", []string{"runtime.mallocgc", "runtime.newobject", "runtime.makeslice", "runtime.growslice", "runtime.gcBgMarkWorker", "runtime.bgsweep", "runtime.bgscavenge", "runtime.gcAssist", "runtime.gcStart", "runtime.(*mheap)"}},
	{"goroutines: switching, waking, waiting", []string{"runtime.schedule", "runtime.findRunnable", "runtime.mcall", "runtime.park_m", "runtime.ready", "runtime.wakep", "runtime.sysmon", "runtime.mstart", "runtime.netpoll", "runtime.gopark", "runtime.futex", "runtime.usleep"}},
	{"the store (Pebble)", []string{"github.com/cockroachdb/"}},
	{"our own code, with what it calls of the library", []string{"github.com/authsrv/authsrv/", "main."}},
}

const elsewhere = "elsewhere"

// stackOf returns the functions of a sample, the innermost first.
func stackOf(s *profile.Sample) (stack []string) {
	for _, l := range s.Location {
		for _, line := range l.Line {
			if line.Function != nil {
				stack = append(stack, line.Function.Name)
			}
		}
	}
	return stack
}

func partOf(stack []string) string {
	for _, f := range stack {
		for _, p := range parts {
			if slices.ContainsFunc(p.prefixes, func(prefix string) bool { return strings.HasPrefix(f, prefix) }) {
				return p.name
			}
		}
	}
	return elsewhere
}

// cpuTime is the value of a sample of a CPU profile.
func cpuTime(s *profile.Sample) time.Duration { return time.Duration(s.Value[len(s.Value)-1]) }

// partTable says what the time goes to, for each login.
func partTable(p *profile.Profile, logins int64) string {
	times := make(map[string]time.Duration)
	var all time.Duration
	for _, s := range p.Sample {
		times[partOf(stackOf(s))] += cpuTime(s)
		all += cpuTime(s)
	}
	t := newTable("what the time goes to", "of it", "a login")
	for _, name := range slices.SortedFunc(maps.Keys(times), func(a, b string) int { return int(times[b] - times[a]) }) {
		t.add(name, fmt.Sprintf("%.0f %%", 100*times[name].Seconds()/all.Seconds()), unit(ms(times[name])/float64(logins), "ms"))
	}
	t.add("together", "100 %", unit(ms(all)/float64(logins), "ms"))
	return t.String()
}

// A frame is a function in a flame graph, and what it called.
type frame struct {
	name  string
	time  time.Duration
	calls map[string]*frame
}

func (f *frame) add(stack []string, d time.Duration) {
	f.time += d
	for i := len(stack) - 1; i >= 0; i-- {
		if f.calls == nil {
			f.calls = make(map[string]*frame)
		}
		next := f.calls[stack[i]]
		if next == nil {
			next = &frame{name: stack[i]}
			f.calls[stack[i]] = next
		}
		next.time += d
		f = next
	}
}

const (
	flameWidth = 1400.0
	flameLine  = 16
	flameLeast = 1.5 // pixels; what is less is left out
)

// flame draws a profile: each function on top of its caller, as wide as its time. Colours are those of the parts.
func flame(p *profile.Profile) string {
	root := &frame{name: "authsrv"}
	for _, s := range p.Sample {
		root.add(stackOf(s), cpuTime(s))
	}
	var boxes strings.Builder
	deepest := 0
	var draw func(f *frame, x float64, depth int)
	draw = func(f *frame, x float64, depth int) {
		w := flameWidth * f.time.Seconds() / root.time.Seconds()
		if w < flameLeast {
			return
		}
		deepest = max(deepest, depth)
		short := f.name[strings.LastIndexByte(f.name, '/')+1:]
		fmt.Fprintf(&boxes, `<g><title>%s: %.1f %%</title><rect x="%.1f" y="%d" width="%.1f" height="%d" fill="%s" stroke="white" stroke-width="0.5"/>`,
			html.EscapeString(f.name), 100*f.time.Seconds()/root.time.Seconds(), x, depth*flameLine, w, flameLine, colourOf(f.name))
		if letters := int(w / 6.2); letters >= 4 {
			fmt.Fprintf(&boxes, `<text x="%.1f" y="%d">%s</text>`, x+2, depth*flameLine+12, html.EscapeString(shorten(short, letters)))
		}
		boxes.WriteString("</g>\n")
		for _, name := range slices.Sorted(maps.Keys(f.calls)) {
			draw(f.calls[name], x, depth+1)
			x += flameWidth * f.calls[name].time.Seconds() / root.time.Seconds()
		}
	}
	draw(root, 0, 0)
	height := (deepest + 1) * flameLine
	return fmt.Sprintf(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %.0f %d" width="%.0f" height="%d" font-family="monospace" font-size="10">`+"\n%s</svg>\n",
		flameWidth, height, flameWidth, height, boxes.String())
}

func colourOf(function string) string {
	colours := []string{"#f4a261", "#e9c46a", "#8ab4d8", "#d98cb3", "#b8b8d1", "#9bc59d", "#7cc4c4"}
	for i, p := range parts {
		if p.name == partOf([]string{function}) {
			return colours[i%len(colours)]
		}
	}
	return "#dddddd"
}

// profileCommand measures what the time of a login goes to.
func profileCommand(ctx context.Context, env *environment, plan *plan, svg string, stdout io.Writer) error {
	p, logins, err := profiled(ctx, env, plan)
	if err != nil {
		return err
	}
	if _, err := io.WriteString(stdout, partTable(p, logins)); err != nil {
		return err
	}
	if svg != "" {
		return os.WriteFile(svg, []byte(flame(p)), 0o644)
	}
	return nil
}
