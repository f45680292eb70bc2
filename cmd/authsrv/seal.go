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
	return p.changeKeyFile(c, func(f folder, sealed bool) error {
		if sealed {
			return fail(exitLocal, "the key file is sealed already: unseal it first, to change the passphrase")
		}
		k, err := keyfile.Open(f.keys(), nil)
		if err != nil {
			return local(err)
		}
		passphrase, err := p.passphraseToSeal(c)
		if err != nil {
			return err
		}
		if err := keyfile.Save(f.keys(), k, passphrase); err != nil {
			return local(err)
		}
		return p.print(c, keyFileIs{f.keys(), true}, "sealed: %s\n", f.keys())
	})
}

func (p *program) passphraseToSeal(c *cli.Context) ([]byte, error) {
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
	return p.changeKeyFile(c, func(f folder, sealed bool) error {
		if !sealed {
			return fail(exitLocal, "the key file is not sealed: %s", f.keys())
		}
		k, err := p.openKeys(c, f)
		if err != nil {
			return err
		}
		if err := keyfile.Save(f.keys(), k, nil); err != nil {
			return local(err)
		}
		return p.print(c, keyFileIs{f.keys(), false}, "unsealed: %s\n", f.keys())
	})
}

// changeKeyFile calls change with the data folder locked.
func (p *program) changeKeyFile(c *cli.Context, change func(f folder, sealed bool) error) error {
	f, err := dataFolder(c)
	if err != nil {
		return err
	}
	if _, err := keyfile.Sealed(f.keys()); err != nil { // before a lock file is made in whatever folder that is
		return local(err)
	}
	unlock, err := f.lock()
	if err != nil {
		return err
	}
	defer unlock()
	sealed, err := keyfile.Sealed(f.keys())
	if err != nil {
		return local(err)
	}
	return change(f, sealed)
}
