package keyring

import (
	"context"
	"slices"
	"time"

	"github.com/authsrv/authsrv/internal/account"
	"github.com/authsrv/authsrv/internal/keyfile"
)

// dropTokens drops the token keys that no live session needs.
func (r *Ring) dropTokens(ctx context.Context) {
	idle, err := r.idleTokens(ctx)
	if err == nil && len(idle) > 0 {
		err = r.drop(idle)
	}
	if err != nil && ctx.Err() == nil {
		r.log.Error("old token keys are kept", "error", err)
	}
}

func (r *Ring) idleTokens(ctx context.Context) (idle []string, err error) {
	uses, err := r.tokenUses(ctx)
	for _, u := range uses {
		if u.id != r.Keys().CurrentToken && u.Sessions == 0 && !time.Now().Before(u.least) {
			idle = append(idle, u.id)
		}
	}
	return idle, err
}

func (r *Ring) drop(idle []string) error {
	r.changing.take()
	defer r.changing.give()
	passphrase := r.startPassphrase()
	sealed, err := keyfile.Sealed(r.path)
	if err != nil {
		return err
	}
	if sealed && len(passphrase) == 0 { // they verify nothing any more, and leave the file when that can be written
		r.mu.Lock()
		news := false
		for _, id := range idle {
			news = news || !r.dropped[id]
			r.dropped[id] = true
		}
		tokens, err := tokensBut(r.keys, r.dropped)
		r.mu.Unlock()
		if err != nil || !news {
			return err
		}
		r.log.Info("old token keys dropped", "keys", len(idle), "file", "at the next start")
		return r.accounts.SetTokens(tokens)
	}
	err = r.change(passphrase, func(k *keyfile.Keys) error {
		k.TokenKeys = slices.DeleteFunc(k.TokenKeys, func(t keyfile.TokenKey) bool { return slices.Contains(idle, t.ID) })
		return nil
	})
	if err == nil {
		r.log.Info("old token keys dropped", "keys", len(idle))
	}
	return err
}

// tokenUse is what a token key is needed for.
type tokenUse struct {
	id    string
	least time.Time // it is kept until then, for whatever may have been under way
	account.Use
}

// tokenUses returns those of all keys but the current one. Which key has signed for a session follows from when that was made.
func (r *Ring) tokenUses(ctx context.Context) ([]tokenUse, error) {
	keys := r.Keys().TokenKeys
	if len(keys) < 2 {
		return nil, nil
	}
	var uses []tokenUse
	var periods []account.Period
	current := r.Keys().CurrentToken
	for i, t := range keys {
		if t.ID == current {
			continue
		}
		until := time.Now()
		if i+1 < len(keys) {
			until = keys[i+1].Created
		}
		uses = append(uses, tokenUse{id: t.ID, least: until.Add(keptAtLeast)})
		periods = append(periods, account.Period{From: t.Created.Add(-keptAtLeast), Until: until.Add(keptAtLeast)})
	}
	made, err := r.accounts.SessionsMade(ctx, periods)
	for i := range made {
		uses[i].Use = made[i]
	}
	return uses, err
}
