package main

import (
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/authsrv/authsrv/internal/account"
	"github.com/authsrv/authsrv/internal/keyfile"
	"github.com/authsrv/authsrv/internal/keyring"
	"github.com/authsrv/authsrv/noiseconn"
	"github.com/authsrv/authsrv/server"
	"github.com/authsrv/authsrv/token"
)

// This file is where the key file's secrets are turned into what each package wants of them.

func identityOf(k *keyfile.Keys) ed25519.PrivateKey { return keyring.Identity(k) }

func fingerprintOf(k *keyfile.Keys) string {
	return noiseconn.Fingerprint([32]byte(identityOf(k).Public().(ed25519.PublicKey)))
}

func secretsOf(k *keyfile.Keys) account.Secrets { return keyring.Secrets(k) }

func tokensOf(k *keyfile.Keys) (*token.Keyset, error) { return keyring.Tokens(k) }

func serverConfig(k *keyfile.Keys, accounts *account.Service) server.Config {
	return server.Config{
		Accounts: accounts, Identity: identityOf(k), NextIdentity: k.NextIdentityHash, Epoch: k.Epoch,
	}
}

// openKeys opens the key file. A sealed one takes the passphrase that was given, or one typed at a terminal.
func (p *program) openKeys(c *cli.Context, f folder) (*keyfile.Keys, error) {
	k, _, err := p.openKeyFile(c, f)
	return k, err
}

// openKeyFile is openKeys for who has to write the file again, and so needs the passphrase too.
func (p *program) openKeyFile(c *cli.Context, f folder) (*keyfile.Keys, []byte, error) {
	return p.openKeyFileAs(c, f, f.keys())
}

// openKeyFileAs is openKeyFile for a folder that was unpacked for a moment: errors call its key file by the name that the operator knows.
func (p *program) openKeyFileAs(c *cli.Context, f folder, name string) (*keyfile.Keys, []byte, error) {
	passphrase, err := p.passphraseOf(c, f)
	if err != nil {
		return nil, nil, err
	}
	k, err := openKeysWith(f.keys(), name, passphrase)
	return k, passphrase, err
}

// openKeysWith opens a key file for who has asked for its passphrase already: nobody types one while the folder is locked.
func openKeysWith(path, name string, passphrase []byte) (*keyfile.Keys, error) {
	k, err := keyfile.OpenAs(path, name, passphrase)
	if errors.Is(err, keyfile.ErrPassphraseNeeded) {
		return nil, needsPassphrase(err)
	}
	return k, local(err)
}

func needsPassphrase(err error) error {
	return fail(exitLocal, "%w (--passphrase-file FILE, or a terminal)", err)
}

// passphraseOf returns the passphrase that was given, or asks for one where the key file is sealed and somebody is there; else nil.
func (p *program) passphraseOf(c *cli.Context, f folder) ([]byte, error) {
	passphrase, err := givenPassphrase(c)
	if err != nil || passphrase != nil {
		return passphrase, err
	}
	sealed, err := keyfile.Sealed(f.keys())
	if err != nil {
		return nil, local(err)
	}
	if sealed && p.terminal() {
		return p.ask("Passphrase of the key file: ")
	}
	return nil, nil
}

// makeKeys writes the keys of a new server, sealed if a passphrase is given.
func makeKeys(f folder, passphrase []byte) (*keyfile.Keys, error) {
	k, err := keyfile.Generate(rand.Reader, time.Now())
	if err != nil {
		return nil, local(err)
	}
	if err := f.setMark(); err != nil {
		return nil, local(err)
	}
	if err := keyfile.Create(f.keys(), k, passphrase); err != nil {
		return nil, local(err)
	}
	return k, nil
}
