package main

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/authsrv/authsrv/internal/account"
	"github.com/authsrv/authsrv/internal/admin"
	"github.com/authsrv/authsrv/internal/keyfile"
	"github.com/authsrv/authsrv/internal/keyring"
	"github.com/authsrv/authsrv/internal/metrics"
	"github.com/authsrv/authsrv/kv/pebblekv"
	"github.com/authsrv/authsrv/noiseconn"
	"github.com/authsrv/authsrv/server"
)

// stopTime is how long a graceful stop may take beyond the grace for logins.
const stopTime = 10 * time.Second

func (p *program) runCommand() *cli.Command {
	flags := []cli.Flag{settingFlag("data"), configFlag()}
	for i := range table {
		if table[i].key != "data" {
			flags = append(flags, settingFlag(table[i].key))
		}
	}
	return &cli.Command{
		Name:      "run",
		Usage:     "serve; the first run makes the data folder and the keys",
		UsageText: "authsrv run [flags]",
		Description: "It serves until SIGTERM or SIGINT, then finishes what is in flight; a second signal ends it at once. SIGHUP reads the\n" +
			"configuration again. The address of the first run is kept for later ones; a flag overrides it for one run. Each flag can stand in\n" +
			"the environment (AUTHSRV_LISTEN) and in the configuration file (listen) as well: see authsrv config.",
		Flags:  flags,
		Action: p.run,
	}
}

// instance is one run of the server.
type instance struct {
	*program
	config   *configuration
	reread   func() (*configuration, error) // what SIGHUP asks for
	hangups  chan os.Signal
	attended bool // it was started at a terminal
	files    int  // that may be open; negative: as many as it takes
	level    slog.LevelVar
	log      *slog.Logger
	health   *health
	metrics  *metrics.Metrics
	manager  *notifier

	listener net.Listener // nil: not yet
	web      net.Listener // nil: not yet, or there is none

	keys     *keyfile.Keys
	ring     *keyring.Ring
	sealed   []byte // the passphrase of the key file, until the ring has it
	engine   *pebblekv.Store
	accounts *account.Service
	server   *server.Server
}

func (p *program) newInstance(k *configuration) *instance {
	r := &instance{program: p, config: k, files: -1, hangups: make(chan os.Signal, 1), health: newHealth(), metrics: metrics.New(version())}
	r.attended = p.terminal()
	r.level.Set(k.logLevel)
	var handler slog.Handler = slog.NewTextHandler(p.stderr, &slog.HandlerOptions{Level: &r.level})
	if k.logFormat == "json" {
		handler = slog.NewJSONHandler(p.stderr, &slog.HandlerOptions{Level: &r.level})
	}
	r.log = slog.New(handler)
	r.manager = newNotifier(r.log)
	return r
}

// garbage is GOGC, where the operator sets none: how much may be made before a collection, in percent of what is in use. Most of that is
// connections that are idle, and to collect twice as often as by Go's default costs a login less than can be measured.
const garbage = 50

func (p *program) run(c *cli.Context) error {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(garbage)
	}
	k, err := configure(c)
	if err != nil {
		return err
	}
	r := p.newInstance(k)
	r.reread = func() (*configuration, error) { return configure(c) }
	signal.Notify(r.hangups, syscall.SIGHUP)
	defer signal.Stop(r.hangups)
	f := k.folder
	hasKeys, err := f.inspect()
	if err != nil {
		return err
	}
	if err := f.checkOwner(); err != nil { // before anything is bound
		return err
	}
	if hasKeys {
		if err := f.checkDatabase(); err != nil {
			return err
		}
	}
	if r.files = openFiles(); r.files >= 0 { // before the store is opened, which fails for good where there are too few
		if _, err := k.serverRulesWithin(r.files, r.log); err != nil {
			return err
		}
	}
	if err := k.probeAddrFile(); err != nil {
		return err
	}
	defer r.unbind()
	if !f.hasDatabase() { // one is made for a server that can serve; where there is one, clients are not to wait until it is opened
		if err := r.bindHTTP(c.Context); err != nil {
			return err
		}
		if err := r.bind(c.Context); err != nil {
			return err
		}
	}
	var unlock func()
	lock := func() (func(), error) { return f.lockPatiently(r.log) }
	if r.keys, r.sealed, unlock, err = p.prepare(c, f, false, lock); err != nil {
		return err
	}
	defer unlock()
	if err := r.bindHTTP(c.Context); err != nil {
		return err
	}
	defer r.serveHTTP()()
	if r.engine, err = pebblekv.Open(f.database(), &pebblekv.Options{Logger: r.log}); err != nil {
		return explainStore(f.database(), err)
	}
	r.health.store.Store(r.engine)
	err = r.serve(c.Context)
	r.health.phase.Store(stopping)
	if closeErr := r.engine.Close(); err == nil {
		err = explainStore(f.database(), closeErr)
	}
	if err == nil {
		r.log.Info("stopped")
	}
	return err
}

// serve binds, announces, and serves on an open store until it is to stop.
func (r *instance) serve(ctx context.Context) error {
	if err := r.newServer(ctx); err != nil {
		return err
	}
	ctx, restore := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer restore()
	k := r.config
	if err := r.bind(ctx); err != nil {
		return err
	}
	l := r.listener
	if err := k.keepListen(k.listen); err != nil { // only an address that works is kept
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- r.server.Serve(l) }()
	defer r.keepKeys()()
	defer r.serveAdmin(l.Addr())()
	r.announce(k.folder, l.Addr(), fingerprintOf(r.keys), k.registration)
	if k.addrFile != "" {
		if err := writeWhole(k.addrFile, l.Addr().String()+"\n", 0o644); err != nil {
			return local(errors.Join(err, r.stop()))
		}
	}
	r.log.Info("listening", "address", l.Addr().String(), "data", string(k.folder), "version", version())
	r.health.phase.Store(ready)
	r.manager.tell("READY=1\nSTATUS=serving at " + l.Addr().String())
	watched, unwatch := context.WithCancel(context.Background())
	defer unwatch()
	go r.manager.watch(watched, watchdogTime(), func(ctx context.Context) error {
		r.server.Stats() // it takes the locks that everybody needs
		return r.health.well(ctx)
	})
	if err := r.wait(ctx, ended); err != nil {
		return err
	}
	restore() // from here a signal has its usual effect: it ends the process at once
	r.health.phase.Store(stopping)
	r.manager.tell("STOPPING=1\nSTATUS=stopping")
	r.log.Info("stopping", "within", r.config.grace+stopTime)
	return r.stop()
}

// bind listens at the server's address, unless it does so already.
func (r *instance) bind(ctx context.Context) (err error) {
	if r.listener != nil {
		return nil
	}
	r.listener, err = (&net.ListenConfig{KeepAliveConfig: noiseconn.KeepAlive()}).Listen(ctx, "tcp", r.config.listen)
	if err != nil {
		return cannotListen(r.config.listen, err)
	}
	return nil
}

// unbind closes what listens and was not closed by who served at it.
func (r *instance) unbind() {
	for _, l := range []net.Listener{r.listener, r.web} {
		if l != nil {
			_ = l.Close()
		}
	}
}

// wait reloads the configuration whenever it is asked to. It returns nil when the server is to stop.
func (r *instance) wait(ctx context.Context, ended <-chan error) error {
	for {
		select {
		case <-r.engine.Failed():
			return explainStore(r.config.folder.database(), r.engine.Err())
		case err := <-ended:
			return fail(exitBusy, "cannot listen any more: %w", errors.Join(err, r.stop()))
		case <-r.hangups:
			if r.abandoned() {
				return nil
			}
			r.manager.tell("RELOADING=1")
			r.reload()
			r.manager.tell("READY=1")
		case <-ctx.Done():
			return nil
		}
	}
}

// abandoned says whether the terminal at which the server was started is gone: that is what SIGHUP is for, first of all.
func (r *instance) abandoned() bool {
	return r.attended && !r.terminal()
}

func (r *instance) serveAdmin(address net.Addr) (stop func()) {
	f := r.config.folder
	return serveAdmin(f, r.log, &admin.Operations{
		Accounts: r.accounts, Keys: r.ring, Status: f.running(address.String(), r.server.Stats), Checkpoint: f.checkpointer(r.engine),
		Explain: f.explainOperation,
	})
}

// newServer puts the server together, behind a migration where the store is of an older format.
func (r *instance) newServer(ctx context.Context) error {
	f := r.config.folder
	tokens, err := tokensOf(r.keys)
	if err != nil {
		return local(err)
	}
	if err := f.migrate(ctx, r.engine, r.keys, r.log); err != nil {
		return err
	}
	rules := r.config.accountRules()
	r.accounts, err = account.New(ctx, &account.Config{
		Engine: r.metrics.Engine(r.engine), Secrets: secretsOf(r.keys), Tokens: tokens,
		Policy: rules.Policy, Registration: rules.Registration, SessionLife: rules.SessionLife, MaxSessionLife: rules.MaxSessionLife,
		AuditRetention: r.config.auditRetention, RegistrationsPerMinute: perMinute(r.config.registrationLimit),
		OperationsPerMinute: perMinute(r.config.operationLimit), MustExist: !f.isNew(),
	})
	if err != nil {
		return explainStore(f.database(), err)
	}
	if err := f.removeMark(); err != nil {
		return err
	}
	c := serverConfig(r.keys, r.accounts)
	limits, err := r.config.serverRulesWithin(r.files, nil)
	if err != nil {
		return err
	}
	c.MaxConnections, c.MaxHandshakes, c.MaxPerAccount = limits.MaxConnections, limits.MaxHandshakes, limits.MaxPerAccount
	c.Penalties, c.Grace = limits.Penalties, limits.Grace
	c.Logger = r.log
	if r.server, err = server.New(&c); err != nil {
		return local(err)
	}
	r.metrics.Watch(r.server.Stats, r.engine.DiskUsage)
	r.ring = keyring.New(&keyring.Config{
		Path: f.keys(), Keys: r.keys, Passphrase: r.sealed, Accounts: r.accounts, Adopt: r.adopt, Logger: r.log,
	})
	clear(r.sealed)
	return explainStore(f.database(), r.ring.Start(ctx))
}

// adopt makes the server who some keys say it is.
func (r *instance) adopt(k *keyfile.Keys) error {
	return r.server.SetIdentity(server.Identity{Key: identityOf(k), Next: k.NextIdentityHash, Epoch: k.Epoch})
}

// keepKeys does what is due with the keys, until stop is called.
func (r *instance) keepKeys() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		r.ring.Run(ctx)
	}()
	return func() {
		cancel()
		<-ended
	}
}

// stop lets the server finish what it has begun, but not when the store fails meanwhile.
func (r *instance) stop() error {
	ctx, cancel := context.WithTimeout(context.Background(), r.config.grace+stopTime)
	defer cancel()
	stopped := make(chan error, 1)
	go func() { stopped <- r.server.Shutdown(ctx) }()
	select {
	case <-r.engine.Failed():
		return explainStore(r.config.folder.database(), r.engine.Err())
	case err := <-stopped:
		if err != nil { // they were told nothing, but nothing that they were told is lost
			r.log.Warn("connections were cut off", "error", err)
		}
		return nil
	}
}
