package main

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/authsrv/authsrv/credential"
	"github.com/authsrv/authsrv/internal/account"
	"github.com/authsrv/authsrv/internal/admin"
	"github.com/authsrv/authsrv/internal/keyfile"
	"github.com/authsrv/authsrv/kv/pebblekv"
	"github.com/authsrv/authsrv/server"
)

// stopTime is how long a graceful stop may take.
const stopTime = 15 * time.Second

func (p *program) runCommand() *cli.Command {
	return &cli.Command{
		Name:      "run",
		Usage:     "serve; the first run makes the data folder and the keys",
		UsageText: "authsrv run [flags]",
		Description: "It serves until SIGTERM or SIGINT, then finishes what is in flight; a second signal ends it at once.\n" +
			"The address of the first run is kept for later ones; a flag overrides it for one run.",
		Flags: []cli.Flag{
			dataFlag(),
			listenFlag("listen at `HOST:PORT`; port 0 picks one"),
			&cli.StringFlag{Name: "addr-file", Usage: "write the bound address to `FILE` once it is listening"},
			&cli.StringFlag{Name: "registration", Usage: "who may register, `MODE` is open, closed or checked", Value: "open", DefaultText: "open"},
			&cli.StringFlag{Name: "password-policy", Usage: "what a password must fulfil, `POLICY` is strength, classes or length:N", Value: "strength", DefaultText: "strength"},
			passphraseFlag(),
			&cli.StringFlag{Name: "log-format", Usage: "the log on standard error has `FORMAT` text or json", Value: "text", DefaultText: "text"},
			&cli.StringFlag{Name: "log-level", Usage: "log from `LEVEL` debug, info, warn or error on", Value: "info", DefaultText: "info"},
		},
		Action: p.run,
	}
}

// options are the flags of run, checked.
type options struct {
	listen       string // empty: what is kept, or the default
	addrFile     string
	registration account.Registration
	policy       credential.Policy
	log          *slog.Logger
}

func (p *program) options(c *cli.Context) (o options, err error) {
	o.listen, o.addrFile = c.String("listen"), c.String("addr-file")
	if o.listen != "" {
		if err := checkListen(o.listen); err != nil {
			return o, usage("--listen: %w", err)
		}
	}
	switch mode := c.String("registration"); mode {
	case "open":
		o.registration = account.RegistrationOpen
	case "closed":
		o.registration = account.RegistrationClosed
	case "checked":
		o.registration = account.RegistrationChecked
	default:
		return o, usage("--registration: %q is not open, closed or checked", mode)
	}
	if o.policy, err = credential.ParsePolicy(c.String("password-policy")); err != nil {
		return o, usage("--password-policy: %q is not strength, classes or length:N with N of %d to %d",
			c.String("password-policy"), credential.PasswordMin, credential.PasswordMax)
	}
	o.log, err = p.logger(c.String("log-format"), c.String("log-level"))
	return o, err
}

func (p *program) logger(format, level string) (*slog.Logger, error) {
	levels := map[string]slog.Level{
		"debug": slog.LevelDebug, "info": slog.LevelInfo, "warn": slog.LevelWarn, "error": slog.LevelError,
	}
	least, known := levels[level]
	if !known {
		return nil, usage("--log-level: %q is not debug, info, warn or error", level)
	}
	switch o := (&slog.HandlerOptions{Level: least}); format {
	case "text":
		return slog.New(slog.NewTextHandler(p.stderr, o)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(p.stderr, o)), nil
	}
	return nil, usage("--log-format: %q is not text or json", format)
}

func (p *program) run(c *cli.Context) error {
	o, err := p.options(c)
	if err != nil {
		return err
	}
	f, err := dataFolder(c)
	if err != nil {
		return err
	}
	if _, err := f.inspect(); err != nil {
		return err
	}
	kept, err := f.readConfig()
	if err != nil {
		return err
	}
	keys, unlock, err := p.prepare(c, f, false)
	if err != nil {
		return err
	}
	defer unlock()
	engine, err := pebblekv.Open(f.database(), &pebblekv.Options{Logger: o.log})
	if err != nil {
		return explainStore(f.database(), err)
	}
	err = p.serve(c.Context, f, kept, o, keys, engine)
	if closeErr := engine.Close(); err == nil {
		err = explainStore(f.database(), closeErr)
	}
	if err == nil {
		o.log.Info("stopped")
	}
	return err
}

// serve binds, announces, and serves on an open store until it is to stop.
func (p *program) serve(ctx context.Context, f folder, kept config, o options, keys *keyfile.Keys, engine *pebblekv.Store) error {
	s, accounts, err := newServer(ctx, f, o, keys, engine)
	if err != nil {
		return err
	}
	address := chooseListen(o.listen, kept.Listen)
	ctx, restore := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer restore()
	l, err := net.Listen("tcp", address)
	if err != nil {
		return fail(exitLocal, "cannot listen at %s: %w", address, err)
	}
	if kept.Listen == "" { // only an address that works is kept
		if err := f.writeConfig(config{Listen: address}); err != nil {
			l.Close()
			return err
		}
	}
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(l) }()
	stopAdmin := serveAdmin(f, o.log, &admin.Operations{
		Accounts: accounts, Identity: identityOf(keys), Status: f.running(l.Addr().String(), s.Connections), Checkpoint: f.checkpointer(engine),
	})
	defer stopAdmin()
	p.announce(f, l.Addr(), fingerprintOf(keys), o.registration)
	if o.addrFile != "" {
		if err := writeWhole(o.addrFile, l.Addr().String()+"\n", 0o644); err != nil {
			return local(errors.Join(err, stop(s, f, o, engine)))
		}
	}
	o.log.Info("listening", "address", l.Addr().String(), "data", string(f), "version", version())

	select {
	case <-engine.Failed():
		return explainStore(f.database(), engine.Err())
	case err := <-ended:
		return fail(exitLocal, "cannot listen any more: %w", errors.Join(err, stop(s, f, o, engine)))
	case <-ctx.Done():
	}
	restore() // from here a signal has its usual effect: it ends the process at once
	o.log.Info("stopping", "within", stopTime)
	return stop(s, f, o, engine)
}

func newServer(ctx context.Context, f folder, o options, keys *keyfile.Keys, engine *pebblekv.Store) (*server.Server, *account.Service, error) {
	tokens, err := tokensOf(keys)
	if err != nil {
		return nil, nil, local(err)
	}
	if err := f.migrate(ctx, engine, keys, o.log); err != nil {
		return nil, nil, err
	}
	accounts, err := account.New(ctx, &account.Config{
		Engine: engine, Secrets: secretsOf(keys), Tokens: tokens, Policy: o.policy, Registration: o.registration,
	})
	if err != nil {
		return nil, nil, explainStore(f.database(), err)
	}
	config := serverConfig(keys, accounts)
	config.Logger = o.log
	s, err := server.New(&config)
	return s, accounts, local(err)
}

// stop lets the server finish what it has begun, but not when the store fails meanwhile.
func stop(s *server.Server, f folder, o options, engine *pebblekv.Store) error {
	ctx, cancel := context.WithTimeout(context.Background(), stopTime)
	defer cancel()
	stopped := make(chan error, 1)
	go func() { stopped <- s.Shutdown(ctx) }()
	select {
	case <-engine.Failed():
		return explainStore(f.database(), engine.Err())
	case err := <-stopped:
		if err != nil { // they were told nothing, but nothing that they were told is lost
			o.log.Warn("connections were cut off", "error", err)
		}
		return nil
	}
}
