package main

import (
	"github.com/urfave/cli/v2"

	"github.com/authsrv/authsrv/internal/keyfile"
)

func (p *program) sealCommand() *cli.Command {
	return &cli.Command{
		Name:      "seal",
		Usage:     "seal the key file with a passphrase",
		UsageText: "authsrv seal [--data DIR] [--config FILE] [--passphrase-file FILE] [--json]",
		Description: "Every start needs the passphrase then: from --passphrase-file, from the systemd credential " + credentialName + ",\n" +
			"or typed at a terminal. The server must be stopped. `age -d` opens a sealed file.",
		Flags:  []cli.Flag{dataFlag(), configFlag(), passphraseFlag(), jsonFlag()},
		Action: p.seal,
	}
}

func (p *program) unsealCommand() *cli.Command {
	return &cli.Command{
		Name:        "unseal",
		Usage:       "take the passphrase off the key file",
		UsageText:   "authsrv unseal [--data DIR] [--config FILE] [--passphrase-file FILE] [--json]",
		Description: "The server must be stopped.",
		Flags:       []cli.Flag{dataFlag(), configFlag(), passphraseFlag(), jsonFlag()},
		Action:      p.unseal,
	}
}

// keyFileIs is what seal and unseal say.
type keyFileIs struct {
	KeyFile string `json:"key_file"`
	Sealed  bool   `json:"sealed"`
}

func (p *program) seal(c *cli.Context) error {
	return p.changeKeyFile(c, true, p.passphraseToSeal)
}

func (p *program) passphraseToSeal(c *cli.Context, _ folder) ([]byte, error) {
	passphrase, err := givenPassphrase(c)
	if err != nil || passphrase != nil {
		return passphrase, err
	}
	if !p.terminal() {
		return nil, fail(exitLocal, "a passphrase is needed: --passphrase-file FILE, or a terminal")
	}
	passphrase, err = p.newPassphrase("Passphrase for the key file: ")
	if err == nil && len(passphrase) == 0 {
		err = fail(exitLocal, "the passphrase is empty")
	}
	return passphrase, err
}

func (p *program) unseal(c *cli.Context) error {
	return p.changeKeyFile(c, false, p.passphraseOf)
}

// changeKeyFile seals the key file of a stopped server, or takes the seal off, by the passphrase that ask returns: it asks while the folder is not locked.
func (p *program) changeKeyFile(c *cli.Context, seal bool, ask func(*cli.Context, folder) ([]byte, error)) error {
	f, err := dataFolder(c)
	if err != nil {
		return err
	}
	if _, err := keyfile.Sealed(f.keys()); err != nil { // before a lock file is made in whatever folder that is
		return local(err)
	}
	unlock, err := f.lock() // so that nobody is asked in vain
	if err != nil {
		return err
	}
	unlock()
	if err := f.canChange(seal); err != nil {
		return err
	}
	passphrase, err := ask(c, f)
	if err != nil {
		return err
	}
	if unlock, err = f.lock(); err != nil {
		return err
	}
	defer unlock()
	if err := f.canChange(seal); err != nil {
		return err
	}
	open, save := passphrase, []byte(nil)
	if seal {
		open, save = nil, passphrase
	}
	k, err := openKeysWith(f.keys(), f.keys(), open)
	if err != nil {
		return err
	}
	if err := keyfile.Save(f.keys(), k, save); err != nil {
		return local(err)
	}
	done := "unsealed"
	if seal {
		done = "sealed"
	}
	return p.print(c, keyFileIs{f.keys(), seal}, "%s: %s\n", done, f.keys())
}

// canChange says whether the key file can be sealed, or its seal be taken off: it is what it is to be, or says what is wrong.
func (f folder) canChange(seal bool) error {
	sealed, err := keyfile.Sealed(f.keys())
	switch {
	case err != nil:
		return local(err)
	case sealed && seal:
		return fail(exitLocal, "the key file is sealed already: unseal it first, to change the passphrase")
	case !sealed && !seal:
		return fail(exitLocal, "the key file is not sealed: %s", f.keys())
	case seal:
		_, err = keyfile.Open(f.keys(), nil)
	}
	return local(err)
}
