package client

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"time"

	"github.com/authsrv/authsrv/client/store"
	"github.com/authsrv/authsrv/noiseconn"
	"github.com/authsrv/authsrv/wire"
)

// Fingerprint returns the fingerprint of an identity, such as one that a store holds.
func Fingerprint(identity [32]byte) string { return noiseconn.Fingerprint(identity) }

// judge holds a ServerHello against what is known, before anything of the user's is sent (PROTOCOL 10).
func (c *Client) judge(ctx context.Context, hello *wire.ServerHello, static [32]byte) error {
	if hello.Version != wire.Version || hello.HighestVersion < wire.Version || hello.HighestSuite < wire.Suite {
		return fmt.Errorf("%w: version %d", ErrProtocol, hello.Version)
	}
	st := c.c.Store.WithContext(ctx)
	known, atAddress, err := c.known(st, hello)
	if err != nil {
		return err
	}
	if err := noiseconn.VerifyCertificate(hello, static, clock(known)); errors.Is(err, ErrCertificate) {
		return err
	} else if err != nil { // its times
		return fmt.Errorf("%w: %w", ErrCertificate, err)
	}
	if t, c := hello.Time, &hello.Certificate; t > c.NotAfter || t+uint64(noiseconn.ClockTolerance/time.Second) < c.NotBefore {
		return fmt.Errorf("%w: it does not hold at the time that the server says it is", ErrCertificate)
	}
	switch {
	case known == nil:
	case hello.Certificate.Epoch < known.Epoch:
		return fmt.Errorf("%w: it was revoked (epoch %d, known is %d)", ErrCertificate, hello.Certificate.Epoch, known.Epoch)
	case hello.HighestVersion < known.Version || hello.HighestSuite < known.Suite:
		return ErrDowngrade
	}
	if atAddress {
		return nil
	}
	if c.pin == "" && !c.c.AcceptNew {
		return &UnknownServerError{c.address, noiseconn.Fingerprint(hello.Identity)}
	}
	return c.remember(st, hello, false)
}

// known returns what is known of the server at the address, or else what was confirmed of its realm, or nil; and an
// *IdentityChangedError where either is not who answered.
func (c *Client) known(st *store.Store, hello *wire.ServerHello) (known *store.Server, atAddress bool, err error) {
	got := noiseconn.Fingerprint(hello.Identity)
	if c.pin != "" && c.pin != got {
		return nil, false, &IdentityChangedError{Address: c.address, Known: c.pin, Got: got}
	}
	at, atAddress, err := st.Server(c.address)
	if err != nil {
		return nil, false, err
	}
	realm, ok, err := st.ServerByRealm(hello.RealmID)
	if err != nil {
		return nil, false, err
	}
	var binding []*store.Server
	if atAddress {
		binding = append(binding, &at)
	}
	if ok && realm.Confirmed { // what is not confirmed binds its address, and speaks for no realm
		binding = append(binding, &realm)
	}
	for _, s := range binding {
		successor := s.Confirmed && sha256.Sum256(hello.Identity[:]) == s.NextIdentity
		if s.RealmID != hello.RealmID || s.Identity != hello.Identity && !successor {
			return nil, false, c.changed(s, got)
		}
		known = s
	}
	return known, atAddress, nil
}

// changed is the error where the store knows another server than the one that showed a fingerprint.
func (c *Client) changed(known *store.Server, got string) error {
	return &IdentityChangedError{
		Address: c.address, Known: noiseconn.Fingerprint(known.Identity), Got: got, KnownAt: known.Address, Given: c.pin == got,
	}
}

// confirm pins the server: it has shown that it knows the account, or has registered it.
func (c *Client) confirm() error { return c.remember(c.c.Store, c.hello.Load(), true) }

func (c *Client) remember(st *store.Store, hello *wire.ServerHello, confirmed bool) error {
	s := store.Server{
		Address: c.address, RealmID: hello.RealmID, Identity: hello.Identity, NextIdentity: hello.NextIdentity,
		Confirmed: confirmed, FirstSeen: time.Now(),
	}
	if confirmed {
		// Of what this client does not speak, the server's word would only keep the client out when it offers less again.
		s.Epoch, s.Version, s.Suite = hello.Certificate.Epoch, min(hello.HighestVersion, wire.Version), min(hello.HighestSuite, wire.Suite)
		s.ServerTime = time.Unix(int64(hello.Time), 0)
	}
	err := st.PutServer(s)
	if errors.Is(err, store.ErrIdentityChanged) { // another process has pinned one meanwhile
		if k, ok, _ := st.Server(c.address); ok {
			return c.changed(&k, noiseconn.Fingerprint(hello.Identity))
		}
	}
	return err
}

// Pinned says whether the server's identity came with the address, or was confirmed by a login, a registration or a code before. Where it
// is not, all that speaks for the server is that it was accepted once: an app that lets a person try again should ask first, since who denies a
// login or refuses a registration at first contact may be somebody else, and gets what a guess at the next password can be held against.
func (c *Client) Pinned() bool {
	if c.vouched.Load() {
		return true
	}
	s, ok, err := c.c.Store.Server(c.address)
	return err == nil && ok && s.Confirmed
}

// clock is the latest of what says what time it is.
func clock(known *store.Server) time.Time {
	now := time.Now()
	for _, t := range []time.Time{built(), confirmedTime(known)} {
		if t.After(now) {
			now = t
		}
	}
	return now
}

func confirmedTime(known *store.Server) time.Time {
	if known == nil {
		return time.Time{}
	}
	return known.ServerTime
}
