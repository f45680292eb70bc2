package main

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"fmt"
	"log/slog"
	"net/netip"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/authsrv/authsrv/credential"
	"github.com/authsrv/authsrv/internal/account"
	"github.com/authsrv/authsrv/internal/keyfile"
	"github.com/authsrv/authsrv/kv/pebblekv"
	"github.com/authsrv/authsrv/token"
)

// fillers is how many registrations share a sync.
const fillers = 512

// fill makes the accounts from (inclusive) to (exclusive) in the data folder of a server that does not run, by the rules of a registration: each is signed, checked,
// audited and synced as one that came over the wire. Only the network is left out.
func fill(ctx context.Context, data string, from, to int) (err error) {
	k, err := keyfile.Open(filepath.Join(data, "keys"), nil)
	if err != nil {
		return err
	}
	engine, err := pebblekv.Open(filepath.Join(data, "db"), &pebblekv.Options{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return err
	}
	defer func() {
		if closed := engine.Close(); err == nil {
			err = closed
		}
	}()
	secrets := account.Secrets{
		RealmID: k.RealmID, SaltKey: k.SaltKey, NameKey: k.NameKey, AuditKey: k.AuditKey,
		Wrapping: make(map[uint32][32]byte), Current: k.CurrentWrapping,
	}
	for _, w := range k.WrappingKeys {
		secrets.Wrapping[w.ID] = w.Key
	}
	var tokenKeys []token.Key
	for _, t := range k.TokenKeys {
		tokenKeys = append(tokenKeys, token.Key{ID: t.ID, Private: ed25519.NewKeyFromSeed(t.Seed[:])})
	}
	tokens, err := token.New(account.Issuer(k.RealmID), k.CurrentToken, tokenKeys...)
	if err != nil {
		return err
	}
	accounts, err := account.New(ctx, &account.Config{Engine: engine, Secrets: secrets, Tokens: tokens, RegistrationsPerMinute: -1})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var next atomic.Int64
	next.Store(int64(from))
	var wg sync.WaitGroup
	for range min(fillers, to-from) {
		wg.Go(func() {
			for ctx.Err() == nil {
				n := int(next.Add(1) - 1)
				if n >= to {
					return
				}
				if err := enroll(ctx, accounts, newUser(n)); err != nil {
					cancel(fmt.Errorf("account %d: %w", n, err))
				}
			}
		})
	}
	chaining, stop := context.WithCancel(ctx)
	var chain sync.WaitGroup
	chain.Go(func() { accounts.KeepAudit(chaining, cancel) }) // as a server does
	wg.Wait()
	stop()
	chain.Wait()
	if err := context.Cause(ctx); err != nil {
		return err
	}
	return accounts.ChainAudit(ctx, time.Now().Add(time.Minute)) // the last ones too: no work is left to the server
}

// enroll makes an account.
func enroll(ctx context.Context, s *account.Service, u *user) error {
	ch := &account.Channel{Address: netip.AddrFrom4([4]byte{127, 0, 0, 1})}
	a, c, err := s.BeginRegister(ctx, ch, &account.Start{Name: u.name, Method: 1, Offered: []byte{1}})
	if err != nil {
		return err
	}
	digest := sha256.Sum256([]byte(u.name))
	sum := (&credential.Transcript{
		RealmID: s.RealmID(), Purpose: credential.PurposeRegister, Method: 1, OfferedMethods: []byte{1}, LoginName: u.name,
		ServerNonce: c.ServerNonce[:], Salt: c.Salt[:], KDF: c.KDF, OpDigest: digest[:],
	}).Sum()
	v := account.Verifier{KDF: c.KDF, PublicKey: u.public(), ServerKey: u.serverKey}
	return s.FinishRegister(ctx, a, v, digest, u.prove("new-key-proof", sum))
}

// newCounter counts up from a number, for several at once.
func newCounter(from int) func() int {
	var n atomic.Int64
	n.Store(int64(from))
	return func() int { return int(n.Add(1) - 1) }
}
