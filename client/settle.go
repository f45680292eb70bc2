package client

import (
	"context"
	"errors"
	"fmt"

	"github.com/authsrv/authsrv/client/store"
)

// settle finds out, by logging in with the password that a lost change was to set, whether it was made. Nil says that
// it was, an ErrConnection that it was not; if that can't be told either, it returns lost.
func (c *Client) settle(ctx context.Context, name, password string, lost error) error {
	if ctx.Err() != nil {
		return lost
	}
	config := c.c
	config.Store = store.Memory() // whatever session the user has is not disturbed
	config.Identity = c.Fingerprint()
	again, err := Dial(ctx, c.address, &config)
	if err != nil {
		return lost
	}
	defer again.Close()
	s, err := again.Login(ctx, name, password, nil)
	var refused *Error
	switch {
	case err == nil:
		s.Logout(ctx)
		return nil
	case errors.As(err, &refused) && refused.Code == ErrDenied && refused.RetryAfter == 0:
		return errNotMade
	}
	return lost
}

var errNotMade = fmt.Errorf("%w: it was lost before the change was made", ErrConnection)
