package client

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"

	"github.com/authsrv/authsrv/credential"
	"github.com/authsrv/authsrv/wire"
)

// A CodeText is an invite or a reset as an operator gave it to a person. It is a secret for one use, which is never sent; printing it does
// not show it. Its Fingerprint is that of the one server that it is for: Dial that, as HOST:PORT#FINGERPRINT.
type CodeText = credential.Code

// A CodeKind is what a CodeText is for.
type CodeKind = credential.CodeKind

// The kinds of a CodeText.
const (
	CodeInvite = credential.CodeInvite
	CodeReset  = credential.CodeReset
)

// What a code is refused for here, before anything is sent.
var (
	ErrCodePrefix   = credential.ErrCodePrefix
	ErrCodeMistyped = credential.ErrCodeMistyped
	ErrCodeKind     = errors.New("the code is not for this")
	ErrCodeServer   = errors.New("the code is for another server")
)

// ParseCode reads a code as a person copied it. A slip is ErrCodeMistyped or ErrCodePrefix.
func ParseCode(text string) (CodeText, error) { return credential.ParseCode(text) }

// openCode judges a code for the server at hand, which it vouches for, and returns its key.
func (c *Client) openCode(code *CodeText, kind credential.CodeKind) (*credential.Key, error) {
	if code.Kind != kind {
		return nil, fmt.Errorf("%w: its kind is %q", ErrCodeKind, code.Kind)
	}
	if sha256.Sum256(c.hello.Load().Identity[:]) != code.Server {
		return nil, ErrCodeServer
	}
	c.vouched.Store(true)
	c.pin = code.Fingerprint() // also where the connection has to be made anew
	return code.Key()
}

// Reset sets a new password for the account of a name, by right of a code, which is used up. All of its sessions end. It does not log in. The
// server has to prove that it knows the code; then it is pinned.
func (c *Client) Reset(ctx context.Context, name string, code CodeText, password string) error {
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
	err = c.reset(ctx, name, &code, prepared)
	if errors.Is(err, ErrOutcomeUnknown) {
		c.fail(err)
		if c.settle(ctx, name, password, err) == nil { // otherwise it may have been made for an account that is disabled
			err = nil
		}
	}
	if err != nil {
		return c.fail(err)
	}
	return remembered(c.confirm())
}

func (c *Client) reset(ctx context.Context, name string, code *CodeText, password []byte) error {
	right, err := c.openCode(code, CodeReset)
	if err != nil {
		return err
	}
	defer right.Destroy()
	start := &wire.AuthStart{
		Purpose: wire.PurposeReset, Method: wire.MethodCode, Offered: []byte{byte(wire.MethodCode)}, Name: []byte(name), Token: code.ID[:],
	}
	p, key, err := c.newKey(ctx, start, name, password)
	if err != nil {
		return err
	}
	defer key.Destroy()
	m := wire.ResetFinish{Record: recordOf(p.KDF, key)}
	sum := c.finishSum(start, name, &p, m.AppendSigned(nil))
	m.NewProof, m.CodeProof = key.ProveNew(sum), right.ProveCode(sum)
	b, err := c.last(ctx, m.AppendTo(nil), wire.TypeResetDone)
	if err != nil {
		return err
	}
	done, err := wire.ParseResetDone(b)
	if err != nil {
		return lost(protocolError(err))
	}
	if !right.VerifyConfirm(sum, m.CodeProof, done.Confirm) {
		return ErrCodeNotConfirmed
	}
	c.pending = false
	return nil
}

// newKey begins what sets a password, and returns what the server asked for and the key that the password stretches to.
func (c *Client) newKey(ctx context.Context, start *wire.AuthStart, name string, password []byte) (wire.RegisterParams, *credential.Key, error) {
	p, err := c.params(ctx, start, name)
	if err != nil {
		return p, nil, err
	}
	if err := checkPassword(p.Policy, name, password); err != nil {
		return p, nil, err
	}
	key, err := c.stretch(ctx, password, name, p.Salt, p.KDF)
	return p, key, err
}

// finishSum is T of the message that brings a record, whose signed part is given.
func (c *Client) finishSum(start *wire.AuthStart, name string, p *wire.RegisterParams, signed []byte) [32]byte {
	digest := sha256.Sum256(signed)
	t := c.transcript(start, name)
	t.ServerNonce, t.Salt, t.KDF, t.OpDigest = p.ServerNonce[:], p.Salt[:], credential.KDF(p.KDF), digest[:]
	return t.Sum()
}
