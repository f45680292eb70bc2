package client

import (
	"sync/atomic"

	"github.com/authsrv/authsrv/credential"
)

// Derive is how a client stretches a password.
type Derive = func(password []byte, realm [16]byte, name string, salt [16]byte, kdf credential.KDF) (*credential.Key, error)

// Stretch has clients of this configuration stretch passwords by another function, nil being the real one, and returns how
// often they have.
func (c *Config) Stretch(derive Derive) *atomic.Int64 {
	calls := new(atomic.Int64)
	if derive == nil {
		derive = credential.Derive
	}
	c.derive = func(password []byte, realm [16]byte, name string, salt [16]byte, kdf credential.KDF) (*credential.Key, error) {
		calls.Add(1)
		return derive(password, realm, name, salt, kdf)
	}
	return calls
}
