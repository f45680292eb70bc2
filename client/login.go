package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/authsrv/authsrv/client/store"
	"github.com/authsrv/authsrv/credential"
	"github.com/authsrv/authsrv/wire"
)

// LoginOptions are what Login can be asked for beyond a name and a password.
type LoginOptions struct {
	// Lifetime is how long the session is to live, in seconds, rounded up; 0: the server's default. The server may shorten it.
	Lifetime time.Duration
}

// Login proves the password, and remembers the session in the store. The server learns nothing that could be used again, and
// has to prove that it knows the account; then it is pinned. A session that the store does not take is ended again.
//
// A login that was answered is returned, even where ctx has ended meanwhile. Where it ends, or the connection is lost, between the
// proof and the answer, the server may have begun a session that nobody holds: it ends in its time, or by LogoutAll.
func (c *Client) Login(ctx context.Context, name, password string, options *LoginOptions) (*Session, error) {
	name, prepared, err := prepare(name, password)
	if err != nil {
		return nil, err
	}
	defer clear(prepared)
	ctx, end, err := c.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer end()
	s, err := c.login(ctx, name, prepared, options)
	if err != nil {
		return nil, c.fail(err)
	}
	return s, nil
}

func (c *Client) login(ctx context.Context, name string, password []byte, options *LoginOptions) (*Session, error) {
	start := &wire.AuthStart{
		Purpose: wire.PurposeLogin, Method: wire.MethodPassword, Offered: []byte{byte(wire.MethodPassword)}, Name: []byte(name),
	}
	if options != nil {
		if options.Lifetime < 0 {
			return nil, fmt.Errorf("no session lives for %v", options.Lifetime)
		}
		start.Lifetime = uint32((min(options.Lifetime, 1<<31*time.Second) + time.Second - 1) / time.Second)
	}
	memory, known, err := c.c.Store.WithContext(ctx).Account(c.hello.Load().RealmID, name)
	if err != nil {
		return nil, err
	}
	b, err := c.startWith(ctx, start, name, deviceKey(&memory, known), wire.TypeChallenge)
	if err != nil {
		return nil, err
	}
	challenge, err := wire.ParseChallenge(b)
	if err != nil {
		return nil, protocolError(err)
	}
	if err := c.checkParameters(ctx, name, challenge.KDF, challenge.Salt); err != nil {
		return nil, err
	}
	key, err := c.stretch(ctx, password, name, challenge.Salt, challenge.KDF)
	if err != nil {
		return nil, err
	}
	defer key.Destroy()
	t := c.transcript(start, name)
	t.ServerNonce, t.Salt, t.KDF = challenge.ServerNonce[:], challenge.Salt[:], credential.KDF(challenge.KDF)
	sum := t.Sum()
	proof := wire.Proof{Proof: key.Prove(sum)}
	if err := c.write(ctx, proof.AppendTo(nil)); err != nil {
		return nil, err
	}
	if b, err = c.read(ctx, wire.TypeWelcome); err != nil {
		return nil, err
	}
	welcome, err := wire.ParseWelcome(b)
	if err != nil {
		return nil, protocolError(err)
	}
	if !key.VerifyConfirm(sum, proof.Proof, welcome.Confirm) || string(welcome.Name) != name || len(welcome.Token) == 0 {
		return nil, ErrNotConfirmed
	}
	err = c.confirm()
	if err == nil {
		err = c.keep(name, challenge.KDF, challenge.Salt)
	}
	s := c.enter(&welcome)
	if err == nil {
		err = c.c.Store.PutSession(s.record(store.Token(welcome.Token), [32]byte(welcome.ResumeKey)))
	}
	if err != nil {
		s.abandon(ctx)
		c.used = false
		return nil, err
	}
	return s, nil
}

func deviceKey(a *store.Account, known bool) *[32]byte {
	if !known {
		return nil
	}
	return (*[32]byte)(&a.DeviceKey)
}

// startWith begins an attempt for an account: it sends an AuthStart with a fresh nonce, and returns the answer.
func (c *Client) startWith(ctx context.Context, start *wire.AuthStart, account string, device *[32]byte, want wire.Type) ([]byte, error) {
	if _, err := io.ReadFull(c.c.Rand, start.ClientNonce[:]); err != nil {
		return nil, err
	}
	if err := c.send(ctx, start, account, device); err != nil {
		return nil, err
	}
	return c.read(ctx, want)
}

// checkParameters refuses to stretch a password with less than the protocol's floor or than last time, with
// more than the ceiling, or with another salt than before.
func (c *Client) checkParameters(ctx context.Context, name string, kdf wire.KDF, salt [16]byte) error {
	k := credential.KDF(kdf)
	if err := k.Check(); err != nil {
		return err
	}
	memory, known, err := c.c.Store.WithContext(ctx).Account(c.hello.Load().RealmID, name)
	if err != nil || !known {
		return err
	}
	if k.Below(credential.KDF(memory.KDF)) {
		return fmt.Errorf("%w: the password would be stretched less than last time", ErrDowngrade)
	}
	if salt != memory.Salt {
		return fmt.Errorf("%w: the account's salt has changed", ErrDowngrade)
	}
	return nil
}

// keep remembers what was proved of an account, and the key of this device.
func (c *Client) keep(name string, kdf wire.KDF, salt [16]byte) error {
	return c.c.Store.PutAccount(store.Account{
		RealmID: c.hello.Load().RealmID, Name: name, DeviceKey: c.static.Private,
		KDF: store.KDF(kdf), Salt: salt, Method: uint8(wire.MethodPassword),
	})
}

// Resume logs in with the session that the store holds for this server. ErrNotLoggedIn says that it holds none, and LoginNeeded whether
// that or another error means that a password is needed. A session that the server says has ended is forgotten. What is to be
// remembered of one that goes on is nothing that a store must take now: one that is full, or read-only, does not stand in its way.
func (c *Client) Resume(ctx context.Context) (*Session, error) {
	ctx, end, err := c.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer end()
	saved, ok, err := c.c.Store.WithContext(ctx).Session(c.address)
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, ErrNotLoggedIn
	}
	s, err := c.resume(ctx, &saved)
	if err == nil {
		return s, nil
	}
	if errors.Is(err, ErrSessionExpired) || errors.Is(err, ErrSessionRevoked) || errors.Is(err, ErrSessionMalformed) {
		c.c.Store.RemoveSession(c.address, saved.SessionID) // one that stays is refused again
	}
	return nil, c.fail(err)
}

func (c *Client) resume(ctx context.Context, saved *store.Session) (*Session, error) {
	if saved.RealmID != c.hello.Load().RealmID {
		return nil, ErrNotLoggedIn
	}
	if !c.Pinned() {
		return nil, ErrNotPinned
	}
	account, known, err := c.c.Store.WithContext(ctx).Account(saved.RealmID, saved.Name)
	if err != nil {
		return nil, err
	}
	if !known { // a session without its device key is worth nothing
		return nil, ErrNotLoggedIn
	}
	start := &wire.AuthStart{Purpose: wire.PurposeSession, Token: []byte(saved.Token)}
	b, err := c.startWith(ctx, start, saved.Name, deviceKey(&account, known), wire.TypeWelcome)
	if err != nil {
		return nil, err
	}
	welcome, err := wire.ParseWelcome(b)
	if err != nil {
		return nil, protocolError(err)
	}
	if len(welcome.Token) != 0 { // the token stays as it was
		return nil, protocolError(wire.ErrMalformed)
	}
	t := c.transcript(start, string(welcome.Name))
	t.SessionID, t.AccountID = welcome.SessionID[:], welcome.AccountID[:]
	if !credential.VerifyResumeConfirm(saved.ResumeKey, t.Sum(), welcome.Confirm) ||
		string(welcome.Name) != saved.Name || welcome.SessionID != saved.SessionID || welcome.AccountID != saved.AccountID {
		return nil, ErrNotConfirmed
	}
	var changed *IdentityChangedError
	if err := c.confirm(); errors.As(err, &changed) {
		return nil, err
	}
	s := c.enter(&welcome)
	c.c.Store.ReplaceSession(s.id, s.record(saved.Token, saved.ResumeKey))
	return s, nil
}
