package client

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"

	"github.com/authsrv/authsrv/credential"
	"github.com/authsrv/authsrv/wire"
)

// RegisterOptions are what Register can be asked for beyond a name and a password.
type RegisterOptions struct {
	// SendPassword lets a server judge the password itself, if it wants to: the password is then sent to it, inside the
	// channel. It goes only to a server that was pinned before.
	SendPassword bool
}

// Register makes an account. It does not log in. The server's policy is enforced here, unless the server judges itself.
func (c *Client) Register(ctx context.Context, name, password string, options *RegisterOptions) error {
	name, err := CheckName(name)
	if err != nil {
		return err
	}
	prepared, err := preparePassword(password)
	if err != nil {
		return err
	}
	defer clear(prepared)
	ctx, end, err := c.begin(ctx)
	if err != nil {
		return err
	}
	defer end()
	if options != nil && options.SendPassword {
		err = c.registerChecked(ctx, name, prepared)
	} else {
		err = c.register(ctx, name, prepared)
	}
	if errors.Is(err, ErrOutcomeUnknown) {
		c.fail(err)
		err = c.settle(ctx, name, password, err)
	}
	if err != nil {
		return c.fail(err)
	}
	return c.confirm()
}

// params begins a registration, and returns what the record is to be made with.
func (c *Client) params(ctx context.Context, start *wire.AuthStart, name string) (wire.RegisterParams, error) {
	b, err := c.startWith(ctx, start, name, nil, wire.TypeRegisterParams)
	if err != nil {
		return wire.RegisterParams{}, err
	}
	p, err := wire.ParseRegisterParams(b)
	if err != nil {
		return p, protocolError(err)
	}
	return p, c.checkParameters(name, p.KDF, p.Salt)
}

func (c *Client) register(ctx context.Context, name string, password []byte) error {
	start := &wire.AuthStart{
		Purpose: wire.PurposeRegister, Method: wire.MethodPassword, Offered: []byte{byte(wire.MethodPassword)}, Name: []byte(name),
	}
	p, err := c.params(ctx, start, name)
	if err != nil {
		return err
	}
	if err := checkPassword(p.Policy, name, password); err != nil {
		return err
	}
	key, err := credential.Derive(password, c.hello.RealmID, name, p.Salt, credential.KDF(p.KDF))
	if err != nil {
		return err
	}
	defer key.Destroy()
	finish := wire.RegisterFinish{Record: recordOf(p.KDF, key)}
	digest := sha256.Sum256(finish.AppendSigned(nil))
	t := c.transcript(start, name)
	t.ServerNonce, t.Salt, t.KDF, t.OpDigest = p.ServerNonce[:], p.Salt[:], credential.KDF(p.KDF), digest[:]
	finish.Signature = key.ProveNew(t.Sum())
	return c.finishRegister(ctx, finish.AppendTo(nil))
}

func recordOf(kdf wire.KDF, key *credential.Key) wire.Record {
	return wire.Record{KDF: kdf, PublicKey: key.Public(), ServerKey: key.ServerKey()}
}

func (c *Client) registerChecked(ctx context.Context, name string, password []byte) error {
	if c.hello.Features&wire.FeatureRegisterChecked == 0 {
		return ErrPasswordUnsent
	}
	if !c.pinned() {
		return fmt.Errorf("%w: your password is only sent to a server whose fingerprint you gave or that you logged in to before", ErrNotPinned)
	}
	start := &wire.AuthStart{
		Purpose: wire.PurposeRegister, Method: wire.MethodChecked, Offered: []byte{byte(wire.MethodChecked)}, Name: []byte(name),
	}
	if _, err := c.params(ctx, start, name); err != nil {
		return err
	}
	m := wire.RegisterPassword{Password: password}
	plaintext := m.AppendTo(nil)
	defer clear(plaintext)
	return c.finishRegister(ctx, plaintext)
}

// finishRegister sends the last message of a registration.
func (c *Client) finishRegister(ctx context.Context, plaintext []byte) error {
	if err := c.write(ctx, plaintext); err != nil {
		return err
	}
	b, err := c.read(ctx, wire.TypeRegistered)
	if err == nil {
		_, err = wire.ParseRegistered(b)
	}
	if err == nil {
		c.pending = false
	}
	return lost(err)
}

// lost marks an error that came in the place of the answer to the last message of a change, unless it is an answer too: a
// refusal, or a goodbye.
func lost(err error) error {
	var refused *Error
	var goodbye *GoodbyeError
	if err == nil || errors.As(err, &refused) || errors.As(err, &goodbye) {
		return err
	}
	return &unknownError{err}
}

// unknownError is a connection that was lost between the last message of a change and its answer.
type unknownError struct{ cause error }

func (e *unknownError) Error() string   { return fmt.Sprintf("%v: %v", ErrOutcomeUnknown, e.cause) }
func (e *unknownError) Unwrap() []error { return []error{ErrOutcomeUnknown, e.cause} }
