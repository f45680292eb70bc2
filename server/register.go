package server

import (
	"context"
	"crypto/sha256"
	"errors"

	"github.com/authsrv/authsrv/credential"
	"github.com/authsrv/authsrv/internal/account"
	"github.com/authsrv/authsrv/wire"
)

func (ss *session) beginRegister(ctx context.Context, m *wire.AuthStart) (message, error) {
	a, c, err := ss.server.c.Accounts.BeginRegister(ctx, &ss.channel, startOf(m))
	if err != nil {
		ss.logAttempt("register", nil, err)
		return nil, err
	}
	ss.attempt = a
	return &wire.RegisterParams{Challenge: challengeOf(&c), Policy: policyOf(c.Policy)}, nil
}

func verifierOf(r *wire.Record) account.Verifier {
	return account.Verifier{KDF: credential.KDF(r.KDF), PublicKey: r.PublicKey, ServerKey: r.ServerKey}
}

func (ss *session) finishRegister(ctx context.Context, m *wire.RegisterFinish) (message, error) {
	a := ss.takeAttempt()
	digest := sha256.Sum256(m.AppendSigned(nil))
	if len(m.CodeProof) == 0 {
		err := ss.server.c.Accounts.FinishRegister(ctx, a, verifierOf(&m.Record), digest, m.Signature)
		return ss.registered(a, nil, err)
	}
	confirm, err := ss.server.c.Accounts.FinishInvited(ctx, a, verifierOf(&m.Record), digest, m.Signature, [64]byte(m.CodeProof))
	return ss.registered(a, confirm[:], err)
}

func (ss *session) finishRegisterChecked(ctx context.Context, m *wire.RegisterPassword) (message, error) {
	a := ss.takeAttempt()
	err := ss.server.c.Accounts.FinishRegisterChecked(ctx, a, m.Password)
	clear(m.Password)
	return ss.registered(a, nil, err)
}

func (ss *session) registered(a *account.Attempt, confirm []byte, err error) (message, error) {
	named := a
	if errors.Is(err, account.ErrCodeRefused) { // nobody has looked whether there is an account of that name
		named = nil
	}
	ss.logAttempt("register", named, err)
	if err != nil {
		return nil, err
	}
	return wire.Registered{Confirm: confirm}, nil
}

func (ss *session) beginReset(ctx context.Context, m *wire.AuthStart) (message, error) {
	a, c, err := ss.server.c.Accounts.BeginReset(ctx, &ss.channel, startOf(m))
	if err != nil {
		ss.logAttempt("reset", nil, err)
		return nil, err
	}
	ss.attempt = a
	return &wire.RegisterParams{Challenge: challengeOf(&c), Policy: policyOf(c.Policy)}, nil
}

func (ss *session) finishReset(ctx context.Context, m *wire.ResetFinish) (message, error) {
	a := ss.takeAttempt()
	digest := sha256.Sum256(m.AppendSigned(nil))
	confirm, err := ss.server.c.Accounts.FinishReset(ctx, a, verifierOf(&m.Record), digest, m.NewProof, m.CodeProof)
	ss.logAttempt("reset", a, err)
	if err != nil {
		return nil, err
	}
	return &wire.ResetDone{Confirm: confirm}, nil
}
