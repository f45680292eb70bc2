package main

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/gofrs/flock"
	"github.com/urfave/cli/v2"

	"github.com/authsrv/authsrv/internal/account"
	"github.com/authsrv/authsrv/internal/admin"
	"github.com/authsrv/authsrv/internal/backup"
	"github.com/authsrv/authsrv/internal/keyfile"
	"github.com/authsrv/authsrv/kv/pebblekv"
)

// checkpointTries is how often a checkpoint is made again because the keys have changed beside it.
const checkpointTries = 5

func (f folder) checkpoint() string { return filepath.Join(string(f), "checkpoint") }
func (f folder) backupLock() string { return filepath.Join(string(f), "backup.lock") }

func (p *program) backupCommand() *cli.Command {
	return &cli.Command{
		Name:      "backup",
		Usage:     "write a backup of the data folder into one file",
		UsageText: "authsrv backup [--data DIR] [--config FILE] [--no-keys] [--replace] [--passphrase-file FILE] [--json] FILE",
		ArgsUsage: "FILE",
		Description: "It works while the server runs, and when it is stopped. What is written is read back and verified before it takes its place.\n" +
			"The key file goes into it as it stands: who has a backup with a key file that is not sealed has everything.\n" +
			"A sealed key file needs the passphrase only for opening every record; without it their form alone is verified.",
		Flags: []cli.Flag{
			dataFlag(), configFlag(),
			&cli.BoolFlag{Name: "no-keys", Usage: "leave out the key file: a restore needs it from elsewhere"},
			&cli.BoolFlag{Name: "replace", Usage: "replace FILE, if it is there"},
			passphraseFlag(), jsonFlag(),
		},
		Action: p.backup,
	}
}

func (p *program) backup(c *cli.Context) error {
	file := c.Args().First()
	f, err := dataFolder(c)
	if err != nil {
		return err
	}
	if err := f.needKeys(); err != nil {
		return err
	}
	if err := f.checkOwner(); err != nil { // before somebody is asked
		return err
	}
	if err := p.checkPlace(c, f, file); err != nil {
		return err
	}
	passphrase, err := p.passphraseToVerify(c, f.keys())
	if err != nil {
		return err
	}
	if _, err := secretsAt(f.keys(), passphrase); err != nil { // before anything is done
		return err
	}
	unlock, err := f.lockBackup()
	if err != nil {
		return err
	}
	defer unlock()
	ctx, restore := untilSignal(c.Context)
	defer restore()
	src, err := f.source(ctx, c.Bool("no-keys"))
	if err != nil && ctx.Err() != nil {
		err = fail(exitInterrupted, "interrupted: nothing was made")
	}
	if err != nil {
		return errors.Join(local(err), f.removeCheckpoint())
	}
	err = p.writeBackup(ctx, c, f, src, passphrase)
	return errors.Join(err, f.removeCheckpoint())
}

// checkPlace says whether a backup may be written to a file, before anything is done.
func (p *program) checkPlace(c *cli.Context, f folder, file string) error {
	passphrases, err := lookUp(c, "passphrase_file")
	if err != nil {
		return err
	}
	if err := f.checkBackup(file, chosenName(c), passphrases); err != nil {
		return err
	}
	return explainBackup(file, backup.CheckPlace(file, c.Bool("replace")))
}

// writeBackup writes the archive, verifies it, and says what it is.
func (p *program) writeBackup(ctx context.Context, c *cli.Context, f folder, src *backup.Source, passphrase []byte) error {
	file := c.Args().First()
	var found account.Inspection
	var staged *backup.Staged
	progress := p.progress()
	wrote, err := backup.Write(ctx, file, src, c.Bool("replace"), func(temp string) (err error) {
		staged, found, err = backup.Verify(ctx, temp, func(s *backup.Staged) (*account.Secrets, error) {
			if src.Keys == nil {
				return secretsAt(f.keys(), passphrase)
			}
			return secretsAs(s.KeyFile(), file, passphrase)
		}, progress.tell)
		return err
	}, progress.tell)
	progress.end()
	var missing *account.MissingKeyError
	if errors.Is(err, account.ErrOtherRealm) || errors.As(err, &missing) && !errors.Is(err, backup.ErrDamaged) { // what was written is a copy of the original
		return explainStore(f.database(), err)
	}
	if isDamage(err) {
		return failFor(err, exitStorage, "the database in %s is damaged, and no backup was written: restore an earlier one (%s)",
			f.database(), strings.TrimPrefix(detail(err), backup.ErrDamaged.Error()+": "))
	}
	if err != nil {
		return explainBackup(file, err)
	}
	r := newReport(staged.Manifest, wrote, found)
	r.Backup = file
	return p.report(c, r)
}

// source makes a checkpoint of the database, and reads the key file and the configuration that belong to it.
func (f folder) source(ctx context.Context, noKeys bool) (*backup.Source, error) {
	src := &backup.Source{Store: f.checkpoint(), Program: version()}
	for range checkpointTries {
		before, err := os.ReadFile(f.keys())
		if err != nil {
			return nil, local(err)
		}
		if err := f.removeCheckpoint(); err != nil { // of a backup that was cut short
			return nil, err
		}
		src.Created = time.Now()
		made, err := f.makeCheckpoint(ctx)
		if err != nil {
			return nil, err
		}
		realm, err := hex.DecodeString(made.Realm)
		if err != nil || len(realm) != len(src.Realm) {
			return nil, fail(exitLocal, "the server's answer is not understood")
		}
		src.Realm, src.StoreFormat = [16]byte(realm), made.Format
		after, err := os.ReadFile(f.keys())
		if err != nil {
			return nil, local(err)
		}
		if !bytes.Equal(before, after) {
			continue // records may be sealed under keys that one of the two does not have
		}
		if !noKeys {
			src.Keys = after
		}
		src.Config, err = f.configAsItStands()
		return src, err
	}
	return nil, fail(exitBusy, "the keys change all the time: try again later")
}

// configAsItStands returns the configuration's bytes, or nil where there is none.
func (f folder) configAsItStands() ([]byte, error) {
	if err := endless(f.config()); err != nil {
		return nil, err
	}
	text, err := os.ReadFile(f.config())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return text, local(err)
}

// makeCheckpoint has the server make one, or makes it itself where none runs.
func (f folder) makeCheckpoint(ctx context.Context) (*admin.Checkpoint, error) {
	client, err := admin.Dial(string(f))
	if errors.Is(err, admin.ErrNotRunning) {
		return f.checkpointStopped(ctx)
	} else if err != nil {
		return nil, explainAdmin(err)
	}
	made := new(admin.Checkpoint)
	err = client.Do(ctx, admin.NewRequest(admin.CheckpointOperation, nil), func(result json.RawMessage) error {
		return json.Unmarshal(result, made)
	})
	return made, explainAdmin(err)
}

func (f folder) checkpointStopped(ctx context.Context) (*admin.Checkpoint, error) {
	if err := f.checkDatabase(); err != nil {
		return nil, err
	}
	if !f.hasDatabase() {
		return nil, fail(exitLocal, "there is no database in %s: the server has never run", f)
	}
	unlock, err := f.lock()
	if err != nil {
		return nil, err
	}
	defer unlock()
	engine, err := pebblekv.Open(f.database(), nil)
	if err != nil {
		return nil, explainStore(f.database(), err)
	}
	made, err := f.checkpointOf(ctx, engine)
	if closeErr := engine.Close(); err == nil {
		err = closeErr
	}
	return made, explainStore(f.database(), err)
}

// checkpointer is checkpointOf for the administration of a running server.
func (f folder) checkpointer(engine *pebblekv.Store) func(context.Context) (*admin.Checkpoint, error) {
	return func(ctx context.Context) (*admin.Checkpoint, error) { return f.checkpointOf(ctx, engine) }
}

// checkpointOf makes a checkpoint of an open database in the data folder. Who asks for it has the lock of backups.
func (f folder) checkpointOf(ctx context.Context, engine *pebblekv.Store) (*admin.Checkpoint, error) {
	realm, format, err := account.Identify(ctx, engine)
	if err != nil {
		return nil, err
	}
	if format > account.Format {
		return nil, account.ErrNewerFormat
	}
	return &admin.Checkpoint{Realm: hex.EncodeToString(realm[:]), Format: format}, engine.Checkpoint(f.checkpoint())
}

func (f folder) removeCheckpoint() error {
	return local(errors.Join(os.RemoveAll(f.checkpoint()), os.RemoveAll(f.checkpoint()+".partial")))
}

// lockBackup makes this process the only one that backs the folder up. Its file stays.
func (f folder) lockBackup() (unlock func(), err error) {
	if err := f.checkOwner(); err != nil { // whether or not the server runs: it backs up too, before a migration
		return nil, err
	}
	l := flock.New(f.backupLock(), flock.SetFlag(os.O_CREATE|os.O_RDWR), flock.SetPermissions(0o600))
	locked, err := l.TryLock()
	if err != nil {
		return nil, local(fmt.Errorf("cannot lock the data folder: %w", err))
	}
	if !locked {
		return nil, fail(exitBusy, "another backup of this folder is under way: %s", f)
	}
	return func() { _ = l.Close() }, nil
}

// passphraseToVerify returns the passphrase for a key file, or nil where there is none: it may be left out.
func (p *program) passphraseToVerify(c *cli.Context, keys string) ([]byte, error) {
	passphrase, err := givenPassphrase(c)
	if err != nil || passphrase != nil {
		return passphrase, err
	}
	sealed, err := keyfile.Sealed(keys)
	if err == nil && sealed && p.terminal() {
		return p.ask("Passphrase of the key file (empty: the records are not opened): ")
	}
	return nil, local(err)
}

// secretsAt opens a key file. A sealed one without a passphrase is nil, and no error.
func secretsAt(keys string, passphrase []byte) (*account.Secrets, error) {
	return secretsAs(keys, keys, passphrase)
}

// secretsAs is secretsAt for a key file that errors call by another name.
func secretsAs(keys, name string, passphrase []byte) (*account.Secrets, error) {
	k, err := keyfile.OpenAs(keys, name, passphrase)
	if errors.Is(err, keyfile.ErrPassphraseNeeded) {
		return nil, nil
	} else if err != nil {
		return nil, local(err)
	}
	secrets := secretsOf(k)
	return &secrets, nil
}
