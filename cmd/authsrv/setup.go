package main

import (
	"encoding/json"
	"fmt"

	"github.com/urfave/cli/v2"

	"github.com/authsrv/authsrv/internal/keyfile"
)

func (p *program) initCommand() *cli.Command {
	return &cli.Command{
		Name:      "init",
		Usage:     "make the data folder and its keys",
		UsageText: "authsrv init [--data DIR] [--config FILE] [--listen HOST:PORT] [--passphrase-file FILE] [--json]",
		Description: "What is there already stays as it is. With a passphrase the key file is sealed: with that of --passphrase-file,\n" +
			"of the systemd credential " + credentialName + ", or one typed at a terminal, where an empty one is none.\n" +
			"The first run does the same, but does not ask.",
		Flags:  []cli.Flag{dataFlag(), configFlag(), initListenFlag(), passphraseFlag(), jsonFlag()},
		Action: p.init,
	}
}

func (p *program) init(c *cli.Context) error {
	config, err := configure(c)
	if err != nil {
		return err
	}
	f, listen := config.folder, c.String("listen")
	hasKeys, err := f.inspect()
	if err != nil {
		return err
	}
	kept, _, err := config.file.get(settingOf("listen"))
	if err != nil {
		return err
	}
	switch {
	case listen != "" && kept != "" && kept != listen:
		return fail(exitLocal, "%s has listen = %q already: change it there", config.file.name, kept)
	case listen != "" && kept == "" && config.file.chosen:
		return fail(exitLocal, "%s has no listen: add it there", config.file.name)
	}
	keepListen := listen != "" && kept == ""
	var k *keyfile.Keys
	if hasKeys && !keepListen { // nothing is to be changed: this works beside a running server
		k, err = p.openKeys(c, f)
	} else {
		var unlock func()
		if k, _, unlock, err = p.prepare(c, f, true, f.lock); err == nil {
			defer unlock()
		}
	}
	if err == nil && keepListen {
		err = config.keepListen(listen)
	}
	if err != nil {
		return err
	}
	return p.print(c, keysMade{string(f), fingerprintOf(k)}, "data folder: %s\nfingerprint: %s\n", f, fingerprintOf(k))
}

// keysMade is what init says, and fingerprint the second half of it.
type keysMade struct {
	Data        string `json:"data,omitempty"`
	Fingerprint string `json:"fingerprint"`
}

// print prints what a command has to say: with --json the document, else the text.
func (p *program) print(c *cli.Context, document any, format string, args ...any) error {
	if c.Bool("json") {
		encoder := json.NewEncoder(p.stdout)
		encoder.SetEscapeHTML(false)
		return local(encoder.Encode(document))
	}
	_, err := fmt.Fprintf(p.stdout, format, args...)
	return local(err)
}

func initListenFlag() cli.Flag {
	f := settingFlag("listen")
	f.Usage = "the server is to listen at `HOST:PORT`"
	return f
}

// prepare makes the folder and its keys where they are missing, locks the folder, and opens the keys.
func (p *program) prepare(c *cli.Context, f folder, ask bool, lock func() (func(), error)) (k *keyfile.Keys, passphrase []byte, unlock func(), err error) {
	hasKeys, err := f.inspect()
	if err != nil {
		return nil, nil, nil, err
	}
	if hasKeys {
		if passphrase, err = p.passphraseOf(c, f); err != nil {
			return nil, nil, nil, err
		}
	} else { // what can fail comes before anything is made
		if passphrase, err = givenPassphrase(c); err != nil {
			return nil, nil, nil, err
		}
		if ask && passphrase == nil && p.terminal() {
			if passphrase, err = p.newPassphrase("Passphrase for the new key file (empty: it is not sealed): "); err != nil {
				return nil, nil, nil, err
			}
		}
		if err := f.create(); err != nil {
			return nil, nil, nil, err
		}
	}
	if unlock, err = lock(); err != nil {
		return nil, nil, nil, err
	}
	defer func() {
		if err != nil {
			unlock()
		}
	}()
	// Another process may have made the keys while this one waited or asked.
	if hasKeys, err = f.inspect(); err != nil {
		return nil, nil, nil, err
	}
	if hasKeys {
		k, err = openKeysWith(f.keys(), f.keys(), passphrase)
	} else {
		k, err = makeKeys(f, passphrase)
	}
	return k, passphrase, unlock, err
}

func (p *program) fingerprintCommand() *cli.Command {
	return &cli.Command{
		Name:        "fingerprint",
		Usage:       "print the fingerprint by which clients know the server",
		UsageText:   "authsrv fingerprint [--data DIR] [--config FILE] [--passphrase-file FILE] [--json]",
		Description: "It works while the server runs, and needs nothing but the key file.",
		Flags:       []cli.Flag{dataFlag(), configFlag(), passphraseFlag(), jsonFlag()},
		Action: func(c *cli.Context) error {
			f, err := dataFolder(c)
			if err != nil {
				return err
			}
			k, err := p.openKeys(c, f)
			if err != nil {
				return err
			}
			return p.print(c, keysMade{Fingerprint: fingerprintOf(k)}, "%s\n", fingerprintOf(k))
		},
	}
}
