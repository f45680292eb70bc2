package client

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/authsrv/authsrv/client/store"
)

// partingTime is how long a session that is abandoned may take to end: also where the context ends just then.
const partingTime = time.Second

// settle finds out, by logging in with the password that a lost change was to set, whether it was made. Nil says that
// it was, errNotMade that it was not; if that can't be told either, it returns lost.
func (c *Client) settle(ctx context.Context, name, password string, lost error) error {
	if ctx.Err() != nil {
		return lost
	}
	again, err := c.aside(ctx)
	if err != nil {
		return lost
	}
	defer again.Close()
	s, err := again.Login(ctx, name, password, nil)
	var refused *Error
	switch {
	case err == nil:
		s.abandon(ctx)
		return nil
	case errors.As(err, &refused) && refused.Code == ErrDenied && refused.RetryAfter == 0:
		return errNotMade
	}
	return lost
}

// abandon ends a session that nobody would hold.
func (s *Session) abandon(ctx context.Context) {
	parting, cancel := context.WithTimeout(context.WithoutCancel(ctx), partingTime)
	defer cancel()
	s.Logout(parting)
	s.Close()
}

// alive says whether the session is still good, which a second connection finds out by resuming it: whatever would have ended
// it was not done then. False says nothing: it may have ended for any reason, or the server be out of reach.
func (s *Session) alive(ctx context.Context) bool {
	c := s.client
	s.mu.Lock()
	id := s.id
	s.mu.Unlock()
	saved, ok, err := c.c.Store.WithContext(ctx).Session(c.address)
	if err != nil || !ok || saved.SessionID != id { // another process has logged in since
		return false
	}
	account, ok, err := c.c.Store.WithContext(ctx).Account(saved.RealmID, saved.Name)
	if err != nil || !ok {
		return false
	}
	again, err := c.aside(ctx)
	if err != nil {
		return false
	}
	defer again.Close()
	if errors.Join(again.c.Store.PutAccount(account), again.c.Store.PutSession(saved)) != nil {
		return false
	}
	resumed, err := again.Resume(ctx)
	if err != nil {
		return false
	}
	resumed.Close()
	return true
}

// aside connects to the same server once more. What comes of it does not disturb the user's store: it has one of its own, and
// in that nothing but what is known of the server.
func (c *Client) aside(ctx context.Context) (*Client, error) {
	known, ok, err := c.c.Store.WithContext(ctx).Server(c.address)
	if err != nil {
		return nil, err
	}
	config := c.c
	config.Store, config.Identity = store.Memory(), c.Fingerprint()
	if ok {
		if err := config.Store.PutServer(known); err != nil {
			return nil, err
		}
	}
	return Dial(ctx, c.address, &config)
}

// errNotMade says that the change was not made when the server was asked. It still can be by who held back its last message on
// the way, as long as the server keeps that connection and takes the proof: 20 s from the challenge (PROTOCOL 9). Of
// a new password, a denied login says it too: then it is not the password now.
var errNotMade = fmt.Errorf("%w: it was lost before the change was made", ErrConnection)
