package client

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/authsrv/authsrv/credential"
	"github.com/authsrv/authsrv/wire"
)

// RegisterOptions are what Register can be asked for beyond a name and a password.
type RegisterOptions struct {
	// SendPassword lets a server judge the password itself, if it wants to: the password is then sent to it, inside the
	// channel. It goes only to a server that was pinned before.
	SendPassword bool
	// Invite is the code of an operator, for servers that ask for one. It is used up, and pins the server. Not with SendPassword.
	Invite *CodeText
}

// Register makes an account. It does not log in. The server's policy is enforced here, unless the server judges itself.
func (c *Client) Register(ctx context.Context, name, password string, options *RegisterOptions) error {
	name, prepared, err := prepare(name, password)
	if err != nil {
		return err
	}
	defer clear(prepared)
	ctx, end, err := c.begin(ctx)
	if err != nil {
		return err
	}
	defer end()
	if options == nil {
		options = &RegisterOptions{}
	}
	switch {
	case options.SendPassword && options.Invite != nil:
		err = fmt.Errorf("%w: no server that judges passwords takes an invite", ErrCodeKind)
	case options.SendPassword:
		err = c.registerChecked(ctx, name, prepared)
	default:
		err = c.register(ctx, name, prepared, options.Invite)
	}
	if errors.Is(err, ErrOutcomeUnknown) {
		c.fail(err)
		err = c.settle(ctx, name, password, err)
	}
	if err != nil {
		return c.fail(err)
	}
	return remembered(c.confirm())
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
	return p, c.checkParameters(ctx, name, p.KDF, p.Salt)
}

func (c *Client) register(ctx context.Context, name string, password []byte, invite *CodeText) error {
	var right *credential.Key
	start := &wire.AuthStart{
		Purpose: wire.PurposeRegister, Method: wire.MethodPassword, Offered: []byte{byte(wire.MethodPassword)}, Name: []byte(name),
	}
	if invite != nil {
		var err error
		if right, err = c.openCode(invite, CodeInvite); err != nil {
			return err
		}
		defer right.Destroy()
		start.Token = invite.ID[:]
	}
	p, key, err := c.newKey(ctx, start, name, password)
	if err != nil {
		return err
	}
	defer key.Destroy()
	finish := wire.RegisterFinish{Record: recordOf(p.KDF, key)}
	sum := c.finishSum(start, name, &p, finish.AppendSigned(nil))
	finish.Signature = key.ProveNew(sum)
	if right == nil {
		return c.finishRegister(ctx, finish.AppendTo(nil), nil)
	}
	proof := right.ProveCode(sum)
	finish.CodeProof = proof[:]
	return c.finishRegister(ctx, finish.AppendTo(nil), func(confirm []byte) bool {
		return len(confirm) == 32 && right.VerifyConfirm(sum, proof, [32]byte(confirm))
	})
}

func recordOf(kdf wire.KDF, key *credential.Key) wire.Record {
	return wire.Record{KDF: kdf, PublicKey: key.Public(), ServerKey: key.ServerKey()}
}

func (c *Client) registerChecked(ctx context.Context, name string, password []byte) error {
	if c.hello.Load().Features&wire.FeatureRegisterChecked == 0 {
		return ErrPasswordUnsent
	}
	if !c.Pinned() {
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
	return c.finishRegister(ctx, plaintext, nil)
}

// finishRegister sends the last message of a registration. With an invite, confirmed judges what the server shows of it.
func (c *Client) finishRegister(ctx context.Context, plaintext []byte, confirmed func([]byte) bool) error {
	b, err := c.last(ctx, plaintext, wire.TypeRegistered)
	if err != nil {
		return err
	}
	m, err := wire.ParseRegistered(b)
	if err == nil && confirmed == nil && len(m.Confirm) != 0 { // of a code that was not shown
		err = wire.ErrMalformed
	}
	if err != nil {
		return lost(protocolError(err))
	}
	if confirmed != nil && !confirmed(m.Confirm) {
		return ErrCodeNotConfirmed
	}
	c.pending = false
	return nil
}

// lost marks an error that came in the place of the answer to the last message of a change, unless it is an answer too: a refusal.
func lost(err error) error {
	var refused *Error
	if err == nil || errors.As(err, &refused) {
		return err
	}
	return &unknownError{err}
}

// unknownError is what came between the last message of a change and its answer: a context that ended, or a connection that was lost.
type unknownError struct{ cause error }

func (e *unknownError) Error() string {
	reason := "the connection was lost"
	switch {
	case errors.Is(e.cause, context.Canceled), errors.Is(e.cause, ErrClosed):
		reason = "interrupted"
	case errors.Is(e.cause, context.DeadlineExceeded), errors.Is(e.cause, os.ErrDeadlineExceeded):
		reason = "there was no answer in time"
	case errors.Is(e.cause, ErrProtocol):
		reason = ErrProtocol.Error()
	}
	return fmt.Sprintf("%s, and %v", reason, ErrOutcomeUnknown)
}

// Unwrap returns ErrOutcomeUnknown, and the cause.
func (e *unknownError) Unwrap() []error { return []error{ErrOutcomeUnknown, e.cause} }
