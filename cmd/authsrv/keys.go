package main

import (
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/authsrv/authsrv/internal/account"
	"github.com/authsrv/authsrv/internal/keyfile"
	"github.com/authsrv/authsrv/noiseconn"
	"github.com/authsrv/authsrv/server"
	"github.com/authsrv/authsrv/token"
)

// This file is where the key file's secrets are turned into what each package wants of them.

func identityOf(k *keyfile.Keys) ed25519.PrivateKey { return ed25519.NewKeyFromSeed(k.Identity[:]) }

func fingerprintOf(k *keyfile.Keys) string {
	return noiseconn.Fingerprint([32]byte(identityOf(k).Public().(ed25519.PublicKey)))
}

func secretsOf(k *keyfile.Keys) account.Secrets {
	s := account.Secrets{
		RealmID: k.RealmID, SaltKey: k.SaltKey, NameKey: k.NameKey, AuditKey: k.AuditKey,
		Wrapping: make(map[uint32][32]byte, len(k.WrappingKeys)), Current: k.CurrentWrapping,
	}
	for _, w := range k.WrappingKeys {
		s.Wrapping[w.ID] = w.Key
	}
	return s
}

func tokensOf(k *keyfile.Keys) (*token.Keyset, error) {
	keys := make([]token.Key, len(k.TokenKeys))
	for i, t := range k.TokenKeys {
		keys[i] = token.Key{ID: t.ID, Private: ed25519.NewKeyFromSeed(t.Seed[:])}
	}
	return token.New(account.Issuer(k.RealmID), k.CurrentToken, keys...)
}

func serverConfig(k *keyfile.Keys, accounts *account.Service) server.Config {
	return server.Config{
		Accounts: accounts, Identity: identityOf(k), NextIdentity: k.NextIdentityHash, Epoch: k.Epoch,
	}
}

// openKeys opens the key file. A sealed one takes the passphrase that was given, or one typed at a terminal.
func (p *program) openKeys(c *cli.Context, f folder) (*keyfile.Keys, error) {
	passphrase, err := givenPassphrase(c)
	if err != nil {
		return nil, err
	}
	if passphrase == nil {
		sealed, err := keyfile.Sealed(f.keys())
		if err != nil {
			return nil, local(err)
		}
		if fd, ok := p.terminal(); sealed && ok {
			if passphrase, err = p.ask(fd, "Passphrase of the key file: "); err != nil {
				return nil, err
			}
		}
	}
	k, err := keyfile.Open(f.keys(), passphrase)
	if errors.Is(err, keyfile.ErrPassphraseNeeded) {
		return nil, fail(exitLocal, "%w (--passphrase-file FILE, or a terminal)", err)
	}
	return k, local(err)
}

// makeKeys writes the keys of a new server, sealed if a passphrase is given.
func makeKeys(f folder, passphrase []byte) (*keyfile.Keys, error) {
	k, err := keyfile.Generate(rand.Reader, time.Now())
	if err != nil {
		return nil, local(err)
	}
	if err := keyfile.Create(f.keys(), k, passphrase); err != nil {
		return nil, local(err)
	}
	return k, nil
}
