package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// The modes, which are the first argument. None is logins.
const (
	modeLogins  = ""
	modeScale   = "scale"
	modeProfile = "profile"
	modeAgainst = "against"
	modeAll     = "all"
)

// foreign are the flags that a mode has no use for.
var foreign = map[string][]string{
	modeLogins:  {"sizes", "idle"},
	modeScale:   {"only", "make-user"},
	modeProfile: {"only", "json", "sizes", "idle", "make-user", "rounds"},
	modeAgainst: {"only", "svg", "sizes", "idle", "make-user"},
}

const usage = `usage: bench [flags]                 logins, side by side, and small requests
       bench scale [flags]           what grows: accounts, cores, idle connections
       bench micro [flags]           the benchmarks of the packages, against baseline.txt
       bench against COMMIT [flags]  our server beside itself at another commit
       bench profile [flags]         what the time of a login goes to
       bench all [flags]             logins, requests and scale
       bench fill --data DIR --accounts N`

// flags returns a set of flags that says its usage where it is asked for, and not with every slip.
func flags(stderr io.Writer, usage string) *helpful {
	f := &helpful{flag.NewFlagSet("bench", flag.ContinueOnError), stderr, usage}
	f.Usage = func() {}
	f.SetOutput(io.Discard)
	return f
}

type helpful struct {
	*flag.FlagSet
	stderr io.Writer
	usage  string
}

func (f *helpful) Parse(args []string) error {
	err := f.FlagSet.Parse(args)
	if errors.Is(err, flag.ErrHelp) {
		fmt.Fprintf(f.stderr, "%s\n\nflags:\n", f.usage)
		f.SetOutput(f.stderr)
		f.PrintDefaults()
	}
	return err
}

// options are the flags.
type options struct {
	commit                    string // the argument of against
	rounds, clients, accounts int
	time                      time.Duration
	only, json, svg, dir      string
	sizes                     string
	accountsOf                []int // the same
	idle                      int
	quick, user, keep         bool
}

func parse(mode string, args []string, stderr io.Writer) (o *options, err error) {
	o = &options{}
	if mode == modeAgainst && len(args) > 0 && !strings.HasPrefix(args[0], "-") {
		o.commit, args = args[0], args[1:]
	}
	f := flags(stderr, usage)
	f.IntVar(&o.rounds, "rounds", 5, "rounds; the figures are medians over them")
	f.DurationVar(&o.time, "time", 5*time.Second, "how long each load lasts")
	f.IntVar(&o.clients, "clients", 8, "clients at once")
	f.IntVar(&o.accounts, "accounts", 0, "accounts in our store (0: as many as keep each below its most sessions)")
	f.StringVar(&o.only, "only", "", "a list of peers to measure, such as authsrv,tls; those whose name goes on behind a hyphen are meant, too (all: "+strings.Join(names(), ",")+")")
	f.StringVar(&o.json, "json", "", "write the figures to this `FILE`")
	f.StringVar(&o.svg, "svg", "", "write a plot to this `FILE`")
	f.StringVar(&o.dir, "dir", "", "make the data folders in this `DIR`, on the disk that is to be measured (default: the temporary folder, or /var/tmp where that is in memory)")
	f.StringVar(&o.sizes, "sizes", "1000,100000,1000000", "scale: accounts in the store, a list")
	f.IntVar(&o.idle, "idle", 10_000, "scale: connections to hold")
	f.BoolVar(&o.quick, "quick", false, "one short round, which says little: to see that everything works")
	f.BoolVar(&o.user, "make-user", false, "as root: make a user of the system for the time of the run, to measure OpenSSH with a password")
	f.BoolVar(&o.keep, "keep", false, "keep the data folders and logs")
	if err := f.Parse(args); err != nil {
		return nil, err
	}
	if mode == modeAgainst && o.commit == "" {
		return nil, errors.New("against needs a commit: bench against COMMIT [flags]")
	}
	if f.NArg() > 0 {
		return nil, fmt.Errorf("unknown argument %q", f.Arg(0))
	}
	asked := map[string]bool{}
	f.Visit(func(given *flag.Flag) {
		asked[given.Name] = true
		if slices.Contains(foreign[mode], given.Name) {
			err = fmt.Errorf("--%s has no meaning here", given.Name)
		}
	})
	if err != nil {
		return nil, err
	}
	if o.quick {
		for name, value := range quick {
			if !asked[name] { // or else it is as it was asked for
				if err := f.Set(name, value); err != nil {
					return nil, err
				}
			}
		}
	}
	if err := o.check(); err != nil {
		return nil, err
	}
	if o.accounts == 0 { // 4,000 logins a second for twice the time, at most 60 sessions of 100 an account
		o.accounts = max(1000, int(float64(o.rounds)*o.time.Seconds()*2*4000/60))
	}
	return o, nil
}

// quick is what --quick stands for.
var quick = map[string]string{"rounds": "1", "time": "500ms", "sizes": "500,5000", "idle": "800"}

// check holds the flags against what they may be, and reads the sizes.
func (o *options) check() error {
	for text := range strings.SplitSeq(o.sizes, ",") {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 {
			return fmt.Errorf("%q is not a number of accounts", text)
		}
		o.accountsOf = append(o.accountsOf, n)
	}
	slices.Sort(o.accountsOf)
	if o.rounds < 1 || o.clients < 1 || o.idle < o.clients || o.accounts < 0 || o.time < 100*time.Millisecond {
		return errors.New("rounds and clients are at least 1, idle connections as many as clients, accounts at least 0, the time at least 100ms")
	}
	for _, file := range []string{o.json, o.svg} { // better said now than when all is measured
		if file == "" {
			continue
		}
		if info, err := os.Stat(filepath.Dir(file)); err != nil || !info.IsDir() {
			return fmt.Errorf("there is no folder %s", filepath.Dir(file))
		}
		if info, err := os.Stat(file); err == nil && info.IsDir() {
			return fmt.Errorf("%s is a folder", file)
		}
	}
	return nil
}
