package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/authsrv/authsrv/internal/account"
	"github.com/authsrv/authsrv/internal/backup"
	"github.com/authsrv/authsrv/internal/keyfile"
	"github.com/authsrv/authsrv/kv/pebblekv"
)

// migrate raises an older database to this version's format, after it was backed up. The folder is locked.
func (f folder) migrate(ctx context.Context, engine *pebblekv.Store, keys *keyfile.Keys, log *slog.Logger) error {
	secrets := secretsOf(keys)
	err := account.Migrate(ctx, engine, &secrets, func(format uint32) error {
		file, err := f.backupBefore(ctx, engine, format)
		if err == nil {
			log.Info("the database is of an older format and will be migrated", "format", format, "backup", file)
		}
		return err
	})
	var refused *failure
	if errors.As(err, &refused) { // the backup
		return err
	}
	return explainStore(f.database(), err)
}

// backupBefore writes a verified backup beside the folder, and returns its name.
func (f folder) backupBefore(ctx context.Context, engine *pebblekv.Store, format uint32) (file string, err error) {
	unlock, err := f.lockBackup()
	if err != nil {
		return "", err
	}
	defer unlock()
	if err := f.removeCheckpoint(); err != nil {
		return "", err
	}
	created := time.Now().UTC()
	file = fmt.Sprintf("%s.format-%d.%s.backup", f, format, created.Format("20060102T150405Z"))
	src := &backup.Source{Store: f.checkpoint(), StoreFormat: format, Program: version(), Created: created}
	if src.Realm, _, err = account.Identify(ctx, engine); err != nil {
		return "", err
	}
	if src.Keys, err = os.ReadFile(f.keys()); err != nil {
		return "", local(err)
	}
	if src.Config, err = f.configAsItStands(); err != nil {
		return "", err
	}
	err = engine.Checkpoint(f.checkpoint())
	if err == nil {
		_, err = backup.Write(ctx, file, src, false, func(temp string) error {
			_, _, err := backup.Verify(ctx, temp, func(*backup.Staged) (*account.Secrets, error) { return nil, nil }, nil)
			return err
		}, nil)
	}
	if removeErr := f.removeCheckpoint(); err == nil {
		err = removeErr
	}
	return file, explainBackup(file, err)
}
