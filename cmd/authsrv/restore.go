package main

import (
	"context"
	"os"

	"github.com/urfave/cli/v2"

	"github.com/authsrv/authsrv/internal/account"
	"github.com/authsrv/authsrv/internal/backup"
	"github.com/authsrv/authsrv/internal/keyfile"
)

func keysFlag() cli.Flag {
	return &cli.StringFlag{Name: "keys", Usage: "the key file is `FILE`, for a backup without one"}
}

func (p *program) restoreCommand() *cli.Command {
	return &cli.Command{
		Name:      "restore",
		Usage:     "make a data folder out of a backup",
		UsageText: "authsrv restore [--data DIR] [--config FILE] [--keys FILE] [--passphrase-file FILE] [--json] FILE",
		ArgsUsage: "FILE",
		Description: "The folder must not be there, or be empty. Everything is verified before it is moved to its place.\n" +
			"All sessions are ended, since some of them may have ended after the backup: everybody logs in again.\n" +
			"A sealed key file needs its passphrase.",
		Flags:  []cli.Flag{dataFlag(), configFlag(), keysFlag(), passphraseFlag(), jsonFlag()},
		Action: p.restore,
	}
}

func (p *program) verifyCommand() *cli.Command {
	return &cli.Command{
		Name:      "verify",
		Usage:     "verify a backup",
		UsageText: "authsrv verify [--keys FILE] [--passphrase-file FILE] [--json] FILE",
		ArgsUsage: "FILE",
		Description: "It is read as a whole, unpacked beside it, opened, and every record is read; with the keys, every record is opened too.\n" +
			"Afterwards nothing is left of that.",
		Flags:  []cli.Flag{keysFlag(), passphraseFlag(), jsonFlag()},
		Action: p.verify,
	}
}

// checkKeys holds the keys of a backup against what was given.
func checkKeys(m *backup.Manifest, given string) error {
	if m.Keys && given != "" {
		return fail(exitLocal, "the backup has a key file of its own: leave --keys out")
	}
	return nil
}

func (p *program) restore(c *cli.Context) error {
	file := c.Args().First()
	f, err := dataFolder(c)
	if err != nil {
		return err
	}
	if err := f.checkRestore(); err != nil {
		return err
	}
	given := c.String("keys")
	if given != "" {
		if _, err := keyfile.Sealed(given); err != nil { // before any work is done
			return local(err)
		}
	}
	ctx, restore := untilSignal(c.Context)
	defer restore()
	progress := p.progress()
	staged, err := backup.Extract(ctx, file, string(f), func(m *backup.Manifest) error {
		if !m.Keys && given == "" {
			return fail(exitLocal, "the backup was made with --no-keys: give the key file with --keys FILE")
		}
		return checkKeys(m, given)
	}, progress.tell)
	progress.end()
	if err != nil {
		return explainBackup(file, err)
	}
	err = p.settle(ctx, c, f, staged, file, given)
	if discardErr := staged.Discard(); err == nil {
		err = discardErr
	}
	return explainBackup(file, err)
}

// settle verifies what was unpacked, ends its sessions, and moves it to its place.
func (p *program) settle(ctx context.Context, c *cli.Context, f folder, staged *backup.Staged, file, given string) error {
	name := file // of what the keys are in
	if given != "" {
		name = given
		text, err := os.ReadFile(given)
		if err != nil {
			return err
		}
		if err := staged.AddKeys(text); err != nil {
			return err
		}
	}
	keys, _, err := p.openKeyFileAs(c, folder(staged.Dir()), name)
	if err != nil {
		return err
	}
	secrets := secretsOf(keys)
	if err := staged.Migrate(ctx, &secrets); err != nil {
		return err
	}
	found, err := staged.Inspect(ctx, &secrets)
	if err != nil {
		return err
	}
	ended := 0
	err = onStore(ctx, folder(staged.Dir()), keys, func(s *account.Service) (err error) {
		ended, err = s.RevokeEverything(ctx)
		return err
	})
	if err != nil {
		return err
	}
	if err := staged.Commit(); err != nil {
		return err
	}
	r := newReport(staged.Manifest, staged.Summary, found)
	r.Data, r.Fingerprint, r.Ended = string(f), fingerprintOf(keys), &ended
	return p.report(c, r)
}

func (p *program) verify(c *cli.Context) error {
	file := c.Args().First()
	given := c.String("keys")
	ctx, restore := untilSignal(c.Context)
	defer restore()
	progress := p.progress()
	staged, found, err := backup.Verify(ctx, file, func(s *backup.Staged) (*account.Secrets, error) {
		progress.end()
		if err := checkKeys(s.Manifest, given); err != nil {
			return nil, err
		}
		at, name := given, given
		if s.Manifest.Keys {
			at, name = s.KeyFile(), file
		} else if given == "" {
			return nil, nil
		}
		passphrase, err := p.passphraseToVerify(c, at)
		if err != nil {
			return nil, err
		}
		return secretsAs(at, name, passphrase)
	}, progress.tell)
	progress.end()
	if err != nil {
		return explainBackup(file, err)
	}
	r := newReport(staged.Manifest, staged.Summary, found)
	r.Backup = file
	return p.report(c, r)
}
