package client

import (
	"bytes"
	"context"
	"sync/atomic"

	"github.com/authsrv/authsrv/credential"
	"github.com/authsrv/authsrv/wire"
)

// leftBehind is whether a stretching goes on that nobody waits for.
var leftBehind atomic.Bool

// stretch makes the key of a password, which takes tenths of a second that nothing can shorten. Where ctx ends meanwhile, it is left
// behind, and ends by itself with a copy of the password of its own. Of these there is one at a time in the process: while there is, the next one
// is waited for. So who tries again and again with little time takes the memory of one stretching more than who waits.
func (c *Client) stretch(ctx context.Context, password []byte, name string, salt [16]byte, kdf wire.KDF) (*credential.Key, error) {
	if err := ended(ctx); err != nil {
		return nil, err
	}
	type stretched struct {
		key *credential.Key
		err error
	}
	done := make(chan stretched, 1)
	derive, realm, own := c.c.derive, c.hello.Load().RealmID, bytes.Clone(password)
	go func() {
		defer clear(own)
		key, err := derive(own, realm, name, salt, credential.KDF(kdf))
		done <- stretched{key, err}
	}()
	var s stretched
	select {
	case s = <-done:
		return s.key, s.err
	case <-ctx.Done():
	}
	destroy := func() {
		if s = <-done; s.key != nil {
			s.key.Destroy()
		}
	}
	if leftBehind.CompareAndSwap(false, true) {
		go func() {
			defer leftBehind.Store(false)
			destroy()
		}()
	} else {
		destroy()
	}
	return nil, ended(ctx)
}
