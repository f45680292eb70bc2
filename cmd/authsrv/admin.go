package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/authsrv/authsrv/internal/account"
	"github.com/authsrv/authsrv/internal/admin"
	"github.com/authsrv/authsrv/internal/keyfile"
	"github.com/authsrv/authsrv/internal/keyring"
	"github.com/authsrv/authsrv/kv"
	"github.com/authsrv/authsrv/kv/pebblekv"
	"github.com/authsrv/authsrv/server"
)

// adminStopTime is how long operations that are under way may take when the server stops.
const adminStopTime = 5 * time.Second

// serveAdmin answers at the administration socket until stop is called. A server without one is a server all the same.
func serveAdmin(f folder, log *slog.Logger, o *admin.Operations) (stop func()) {
	l, err := admin.Listen(string(f))
	if err != nil {
		log.Warn("no administration while the server runs", "error", err)
		return func() {}
	}
	s := admin.NewServer(o, log)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if err := s.Serve(l); !errors.Is(err, admin.ErrClosed) {
			log.Error("no administration any more while the server runs", "error", err)
		}
	}()
	return func() {
		ctx, cancel := context.WithTimeout(context.Background(), adminStopTime)
		defer cancel()
		s.Shutdown(ctx)
		<-ended
	}
}

// asking does a command's operations on the folder of --data: by the socket if the server runs, else here, with the folder locked.
// Without accounts, the keys need not be opened for that.
func (p *program) asking(c *cli.Context, accounts bool, ask func(admin.Doer) error) error {
	f, err := dataFolder(c)
	if err != nil {
		return err
	}
	client, err := admin.Dial(string(f))
	if err == nil {
		return explainAdmin(ask(client))
	}
	var refused *admin.Error
	if errors.As(err, &refused) {
		return explainAdmin(err)
	}
	if err := f.needKeys(); err != nil { // before a lock file is made in whatever folder that is
		return err
	}
	if !errors.Is(err, admin.ErrNotRunning) {
		return explainAdmin(err)
	}
	if err := f.checkOwner(); err != nil { // before somebody is asked
		return err
	}
	var passphrase []byte
	if accounts {
		if passphrase, err = p.passphraseOf(c, f); err != nil {
			return err
		}
	}
	unlock, err := f.lock()
	if errors.Is(err, errUsed) {
		return fail(exitBusy, "%w (and nobody answers at its socket %s)", err, admin.SocketName)
	} else if err != nil {
		return err
	}
	release := p.holding()
	err = f.asking(c.Context, accounts, passphrase, ask)
	unlock()
	if writeErr := release(); err == nil {
		err = writeErr
	}
	return err
}

// asking does operations on a locked folder.
func (f folder) asking(ctx context.Context, accounts bool, passphrase []byte, ask func(admin.Doer) error) error {
	if !accounts {
		return explainAdmin(ask(&admin.Operations{Status: f.status}))
	}
	keys, err := openKeysWith(f.keys(), f.keys(), passphrase)
	if err != nil {
		return err
	}
	return onStore(ctx, f, keys, func(s *account.Service) error {
		ring := keyring.New(&keyring.Config{Path: f.keys(), Keys: keys, Passphrase: passphrase, Accounts: s})
		return explainAdmin(ask(&admin.Operations{Accounts: s, Keys: ring, Explain: f.explainOperation}))
	})
}

// onStore opens the store of a locked folder for as long as do takes.
func onStore(ctx context.Context, f folder, keys *keyfile.Keys, do func(*account.Service) error) error {
	if err := f.checkDatabase(); err != nil {
		return err
	}
	engine, err := pebblekv.Open(f.database(), nil)
	if err != nil {
		return explainStore(f.database(), err)
	}
	tokens, err := tokensOf(keys)
	if err == nil {
		var s *account.Service
		s, err = account.New(ctx, &account.Config{Engine: engine, Secrets: secretsOf(keys), Tokens: tokens, MustExist: !f.isNew()})
		if err != nil {
			err = explainStore(f.database(), err)
		} else if err = f.removeMark(); err == nil {
			err = do(s)
		}
	}
	if closeErr := engine.Close(); err == nil {
		err = explainStore(f.database(), closeErr)
	}
	return local(err)
}

// explainAdmin gives an error of an operation its exit code.
func explainAdmin(err error) error {
	var f *failure
	var e *admin.Error
	switch {
	case err == nil || errors.As(err, &f):
		return err
	case errors.Is(err, admin.ErrNotRunning):
		return fail(exitConnection, "the server has ended meanwhile: try again")
	case errors.As(err, &e) && (e.Code == admin.CodeNoAnswer || e.Code == admin.CodeInterrupted):
		return &failure{exitConnection, err}
	case errors.As(err, &e) && e.Code == admin.CodeBusy:
		return &failure{exitBusy, err}
	case errors.As(err, &e) && e.Code == admin.CodeStorage:
		return &failure{exitStorage, err}
	}
	return local(err)
}

// explainOperation says in a person's words why the database has failed an operation. Where that may have been done all the same, it says so.
func (f folder) explainOperation(err error) string {
	if errors.Is(err, kv.ErrUnknownOutcome) {
		return fmt.Sprintf("storage failed: what was asked for may have been done, look whether it was (%s)", detail(err))
	}
	return explainStore(f.database(), err).Error()
}

// status is that of a folder on which no server runs.
func (f folder) status(context.Context) (*admin.Status, error) {
	size, err := f.size()
	return &admin.Status{Version: version(), Data: string(f), DataBytes: size}, err
}

// size is the sum of the files in a folder, in bytes. Those that come and go meanwhile count or not.
func (f folder) size() (total int64, err error) {
	err = filepath.WalkDir(string(f), func(_ string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			var info fs.FileInfo
			if info, err = d.Info(); err == nil {
				total += info.Size()
			}
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	})
	return total, err
}

// running makes the operation that says how a server is.
func (f folder) running(address string, stats func() server.Stats) func(context.Context) (*admin.Status, error) {
	started := time.Now()
	return func(ctx context.Context) (*admin.Status, error) {
		s, err := f.status(ctx)
		if err != nil {
			return nil, err
		}
		now := stats()
		s.Running, s.PID, s.Address = true, os.Getpid(), address
		s.Connections, s.LoggedIn, s.Penalized, s.CutOff = &now.Connections, &now.LoggedIn, &now.Penalized, &now.CutOff
		s.Started, s.Uptime = started.UTC().Truncate(time.Second), int64(time.Since(started).Seconds())
		return s, nil
	}
}
