package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout, os.Stderr); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			os.Exit(2)
		}
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// options are the flags.
type options struct {
	rounds, clients, accounts int
	time                      time.Duration
	only, json, svg, dir      string
	quick, user, keep         bool
}

func parse(args []string, stderr io.Writer) (o *options, err error) {
	o = &options{}
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	f.SetOutput(stderr)
	f.IntVar(&o.rounds, "rounds", 5, "rounds; the figures are medians over them")
	f.DurationVar(&o.time, "time", 5*time.Second, "how long each load lasts")
	f.IntVar(&o.clients, "clients", 8, "clients at once")
	f.IntVar(&o.accounts, "accounts", 0, "accounts in our store (0: as many as keep each below its most sessions)")
	f.StringVar(&o.only, "only", "", "a list of peers to measure, such as authsrv,tls (all: "+strings.Join(names(), ",")+")")
	f.StringVar(&o.json, "json", "", "write the figures to this `FILE`")
	f.StringVar(&o.svg, "svg", "", "write a plot to this `FILE`")
	f.StringVar(&o.dir, "dir", "", "make the data folders in this `DIR`, on the disk that is to be measured (default: the temporary folder, or /var/tmp where that is in memory)")
	f.BoolVar(&o.quick, "quick", false, "one short round, which says little: to see that everything works")
	f.BoolVar(&o.user, "make-user", false, "as root: make a user of the system for the time of the run, to measure OpenSSH with a password")
	f.BoolVar(&o.keep, "keep", false, "keep the data folders and logs")
	if err := f.Parse(args); err != nil {
		return nil, err
	}
	if f.NArg() > 0 {
		return nil, fmt.Errorf("unknown argument %q", f.Arg(0))
	}
	if o.quick {
		o.rounds, o.time = 1, time.Second
	}
	if o.rounds < 1 || o.clients < 1 || o.accounts < 0 || o.time < 100*time.Millisecond {
		return nil, errors.New("rounds and clients are at least 1, the time at least 100ms")
	}
	if o.accounts == 0 { // 4,000 logins a second for twice the time, at most 60 sessions of 100 an account
		o.accounts = max(1000, int(float64(o.rounds)*o.time.Seconds()*2*4000/60))
	}
	return o, nil
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	if len(args) > 0 {
		switch args[0] {
		case "serve":
			return serveHidden(args[1:])
		}
	}
	o, err := parse(args, stderr)
	if err != nil {
		return err
	}
	peers, err := chosen(o.only)
	if err != nil {
		return err
	}
	env, remove, err := newEnvironment(o)
	if err != nil {
		return err
	}
	defer remove()
	plan := &plan{rounds: o.rounds, time: o.time, clients: o.clients, fraction: 0.7, idle: 1}
	if o.quick {
		plan.idle = 10
	}
	r := &report{Machine: describe(env.dir)}
	if r.Logins, err = compare(ctx, env, plan, peers, stderr); err != nil {
		return err
	}
	r.Machine.after()
	return r.write(o, stdout)
}

// allPeers are the peers in the order of the table.
func allPeers() []*peer {
	return []*peer{
		ourPeer(),
		tlsPeer("tls", "bare TLS 1.3 (crypto/tls), default curves"),
		tlsPeer("tls-x25519", "bare TLS 1.3 (crypto/tls), X25519 alone", tls.X25519),
	}
}

func names() (all []string) {
	for _, p := range allPeers() {
		all = append(all, p.name)
	}
	return all
}

// chosen returns the peers of a list; a name stands for all that begin with it and a dash, too.
func chosen(only string) (peers []*peer, err error) {
	all := allPeers()
	if only == "" {
		return all, nil
	}
	for _, name := range strings.Split(only, ",") {
		found := false
		for _, p := range all {
			if p.name == name || strings.HasPrefix(p.name, name+"-") {
				found = true
				if !slices.Contains(peers, p) {
					peers = append(peers, p)
				}
			}
		}
		if !found {
			return nil, fmt.Errorf("no peer is called %q: there are %s", name, strings.Join(names(), ", "))
		}
	}
	return peers, nil
}

func newEnvironment(o *options) (*environment, func(), error) {
	self, err := os.Executable()
	if err != nil {
		return nil, nil, err
	}
	parent := o.dir
	if parent == "" {
		if parent = os.TempDir(); inMemory(parent) {
			parent = "/var/tmp"
		}
	}
	dir, err := os.MkdirTemp(parent, "authsrv-bench-")
	if err != nil {
		return nil, nil, err
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return nil, nil, err
	}
	// Servers that run as another user have to get through.
	if err := os.Chmod(dir, 0o711); err != nil {
		return nil, nil, err
	}
	remove := func() {
		if o.keep {
			fmt.Fprintln(os.Stderr, "kept:", dir)
			return
		}
		_ = os.RemoveAll(dir)
	}
	return &environment{dir: dir, clients: o.clients, accounts: o.accounts, user: o.user, self: self}, remove, nil
}

// A report is all that was measured in a run.
type report struct {
	Machine *machine    `json:"machine"`
	Logins  *comparison `json:"logins,omitempty"`
}

func (r *report) write(o *options, stdout io.Writer) error {
	fmt.Fprintf(stdout, "%s\n", r.Machine)
	if r.Logins != nil {
		fmt.Fprintf(stdout, "\n%s", r.Logins.table())
	}
	if o.json != "" {
		text, err := json.MarshalIndent(r, "", "  ")
		if err != nil {
			return err
		}
		if err := os.WriteFile(o.json, append(text, '\n'), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// serveHidden is this program as a server of its own.
func serveHidden(args []string) error {
	if len(args) == 1 {
		switch args[0] {
		case "tls":
			return serveTLS(nil)
		case "tls-x25519":
			return serveTLS([]tls.CurveID{tls.X25519})
		}
	}
	return fmt.Errorf("no server is called %q", args)
}

// untilAbandoned ends this process when its standard input does.
func untilAbandoned() {
	_, _ = io.Copy(io.Discard, os.Stdin)
	os.Exit(0)
}

func firstLine(r io.Reader) (string, error) {
	line, err := bufio.NewReader(r).ReadString('\n')
	return strings.TrimSpace(line), err
}
