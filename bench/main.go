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
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout, os.Stderr); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return
		}
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	mode := modeLogins
	if len(args) > 0 && !strings.HasPrefix(args[0], "-") {
		mode, args = args[0], args[1:]
	}
	switch mode {
	case modeLogins, modeScale, modeProfile, modeAgainst, modeAll:
	case "micro":
		return micro(ctx, args, stdout, stderr)
	case "fill":
		return fillCommand(ctx, args, stderr)
	case "serve":
		return serveHidden(args)
	case "help":
		_, err := parse(modeLogins, []string{"--help"}, stderr)
		return err
	default:
		return fmt.Errorf("unknown command %q: there are scale, profile, micro, against, all and fill; none compares logins", mode)
	}
	o, err := parse(mode, args, stderr)
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
	if mode == modeProfile {
		return profileCommand(ctx, env, plan, o.svg, stdout)
	}
	r := &report{}
	if r.Machine, err = describe(env.dir); err != nil {
		return err
	}
	if mode == modeAgainst {
		if r.Against, err = against(ctx, env, plan, o.commit, stderr); err != nil {
			return err
		}
	}
	if mode == modeLogins || mode == modeAll {
		if err := r.compare(ctx, env, plan, o.only, stderr); err != nil {
			return err
		}
	}
	if mode == modeScale || mode == modeAll {
		if r.Scale, err = scale(ctx, env, plan, o.accountsOf, o.idle, stderr); err != nil {
			return err
		}
	}
	if err := r.Machine.after(); err != nil {
		return err
	}
	return errors.Join(r.write(o, stdout), r.fault(o.only != ""))
}

// fault says what could not be measured. A peer that is not installed is one only where it was asked for.
func (r *report) fault(asked bool) error {
	var all []error
	note := func(title, why string) {
		if why != "" && (asked || strings.HasPrefix(why, failed)) {
			all = append(all, fmt.Errorf("%s: %s", title, why))
		}
	}
	if r.Logins != nil {
		for _, p := range r.Logins.Rows {
			note(p.Title, p.Why)
		}
	}
	for _, p := range r.Requests {
		note(p.Title, p.Why)
	}
	return errors.Join(all...)
}

// compare lets all the chosen peers take their turns, with logins and with small requests.
func (r *report) compare(ctx context.Context, env *environment, plan *plan, only string, progress io.Writer) error {
	peers, err := chosen(only)
	if err != nil {
		return err
	}
	var logins []*peer
	var requests []*requestPeer
	for _, p := range peers {
		if p.start != nil {
			logins = append(logins, p)
		}
		for _, q := range requestPeers(peers) {
			if q.of == p.name {
				requests = append(requests, q)
			}
		}
	}
	if r.Logins, err = compare(ctx, env, plan, logins, progress); err != nil {
		return err
	}
	if r.Requests, err = compareRequests(ctx, env, plan, requests, progress); err != nil {
		return err
	}
	for _, p := range peers {
		if p.name != "authsrv" {
			continue
		}
		s, err := p.start(ctx, env)
		if err != nil {
			return err
		}
		r.Client, err = measureClient(ctx, s.crowd.address, s.crowd.fingerprint, 2*plan.rounds+1)
		if err := errors.Join(err, s.Stop()); err != nil {
			return err
		}
	}
	return nil
}

// allPeers are the peers in the order of the table.
func allPeers() []*peer {
	return []*peer{
		ourPeer("authsrv", "authsrv", 0),
		ourPeer("authsrv-unit", "authsrv, as its unit for systemd runs it", unitSlack),
		tlsPeer("tls", "bare TLS 1.3 (crypto/tls), default curves"),
		tlsPeer("tls-x25519", "bare TLS 1.3 (crypto/tls), X25519 alone", tls.X25519),
		tcpPeer(),
		sshPeer(),
		postgresPeer(false),
		postgresPeer(true),
		opensshPeer(false),
		opensshPeer(true),
		pocketbasePeer(),
		{name: "redis"}, // only for small requests
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
	Machine  *machine      `json:"machine"`
	Logins   *comparison   `json:"logins,omitempty"`
	Requests []*requestRow `json:"requests,omitempty"`
	Client   *clientRow    `json:"client,omitempty"`
	Scale    *scaling      `json:"scale,omitempty"`
	Against  *pairs        `json:"against,omitempty"`
}

func (r *report) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n", r.Machine)
	if r.Logins != nil {
		fmt.Fprintf(&b, "\n%s", r.Logins)
	}
	if len(r.Requests) > 0 {
		fmt.Fprintf(&b, "\n%s", requestTable(r.Requests))
	}
	if r.Client != nil {
		fmt.Fprintf(&b, "\n%s", r.Client)
	}
	if r.Scale != nil {
		fmt.Fprintf(&b, "\n%s", r.Scale)
	}
	if r.Against != nil {
		fmt.Fprintf(&b, "\n%s", r.Against)
	}
	return b.String()
}

func (r *report) panels() (all []panel) {
	if r.Logins != nil {
		all = append(all, r.Logins.panels()...)
	}
	if len(r.Requests) > 0 {
		all = append(all, requestPanel(r.Requests))
	}
	if r.Scale != nil {
		all = append(all, r.Scale.panels()...)
	}
	return all
}

func (r *report) write(o *options, stdout io.Writer) error {
	if _, err := io.WriteString(stdout, r.String()); err != nil {
		return err
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
	if o.svg != "" {
		return os.WriteFile(o.svg, []byte(plot("authsrv, measured "+r.Machine.Time.Format("2006-01-02"), r.panels())), 0o644)
	}
	return nil
}

// fillCommand makes accounts in the folder of a server that does not run.
func fillCommand(ctx context.Context, args []string, stderr io.Writer) error {
	f := flags(stderr, "usage: bench fill --data DIR --accounts N")
	data := f.String("data", "", "the data `DIR`, made by authsrv init")
	accounts := f.Int("accounts", 0, "how many, from user0 on")
	if err := f.Parse(args); err != nil {
		return err
	}
	if *data == "" || *accounts < 1 || f.NArg() > 0 {
		return errors.New("usage: bench fill --data DIR --accounts N")
	}
	return fill(ctx, *data, 0, *accounts)
}

// serveHidden is this program as a server of its own.
func serveHidden(args []string) error {
	switch {
	case len(args) == 1 && args[0] == "tcp":
		return serveTCP()
	case len(args) == 1 && args[0] == "tls":
		return serveTLS(nil)
	case len(args) == 1 && args[0] == "tls-x25519":
		return serveTLS([]tls.CurveID{tls.X25519})
	case len(args) == 2 && args[0] == "ssh":
		return serveSSH(args[1])
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
