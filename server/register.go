package server

import (
	"context"
	"crypto/sha256"

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
	err := ss.server.c.Accounts.FinishRegister(ctx, a, verifierOf(&m.Record), digest, m.Signature)
	return ss.registered(a, err)
}

func (ss *session) finishRegisterChecked(ctx context.Context, m *wire.RegisterPassword) (message, error) {
	a := ss.takeAttempt()
	err := ss.server.c.Accounts.FinishRegisterChecked(ctx, a, m.Password)
	clear(m.Password)
	return ss.registered(a, err)
}

func (ss *session) registered(a *account.Attempt, err error) (message, error) {
	ss.logAttempt("register", a, err)
	if err != nil {
		return nil, err
	}
	return wire.Registered{}, nil
}
