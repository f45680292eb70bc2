package server

import (
	"context"
	"crypto/sha256"
	"errors"
	"log/slog"

	"github.com/authsrv/authsrv/internal/account"
	"github.com/authsrv/authsrv/wire"
)

// operations is what an OpStart can be for.
var operations = map[wire.Type]account.Kind{
	wire.TypeChangePassword: account.KindChangePassword,
	wire.TypeDeleteAccount:  account.KindDelete,
	wire.TypeRevokeAll:      account.KindRevokeAll,
}

func (ss *session) beginOperation(ctx context.Context, m *wire.OpStart) (message, error) {
	ss.attempt = nil // one nonce at a time
	a, c, err := ss.server.c.Accounts.BeginOperation(ctx, &ss.channel, ss.login, operations[m.Operation], m.ClientNonce)
	if err != nil {
		return nil, err
	}
	ss.attempt, ss.opID = a, m.ID
	return &wire.OpChallenge{
		ID: m.ID, ServerNonce: c.ServerNonce, Salt: c.Salt, KDF: wire.KDF(c.KDF), NewKDF: wire.KDF(c.NewKDF),
		TTL: uint16(c.Life.Seconds()), Policy: policyOf(c.Policy),
	}, nil
}

// operate takes the attempt of request id and runs an operation with it. Meanwhile the connection is not among
// those that the feed of changes looks after, so that it is not ended by its own doing.
func (ss *session) operate(ctx context.Context, what string, id uint32, do func(*account.Attempt) (*account.Session, error)) error {
	a := ss.takeAttempt()
	if ss.opID != id {
		a = nil
	}
	ss.server.live.leave(ss)
	next, err := do(a)
	ss.server.seen.attempt(what, err)
	level := slog.LevelInfo
	if errors.Is(err, account.ErrOverloaded) { // as many as anybody likes
		level = slog.LevelDebug
	}
	ss.log(level, what, "outcome", outcome(err), "name", ss.login.Name)
	switch {
	case err != nil:
		ss.join(ctx, ss.login)
	case next != nil:
		ss.join(ctx, next)
	}
	return err
}

func (ss *session) changePassword(ctx context.Context, m *wire.ChangePassword) (message, error) {
	digest := sha256.Sum256(m.AppendSigned(nil))
	var l *account.Login
	err := ss.operate(ctx, "change-password", m.ID, func(a *account.Attempt) (next *account.Session, err error) {
		l, err = ss.server.c.Accounts.ChangePassword(ctx, a, verifierOf(&m.Record), digest, m.NewProof, m.Proof)
		if err != nil {
			return nil, err
		}
		return l.Session, nil
	})
	if err != nil {
		return nil, err
	}
	return &wire.PasswordChanged{
		ID: m.ID, SessionID: l.Session.ID, Expires: uint64(l.Session.Expires.Unix()),
		Token: []byte(l.Token), ResumeKey: l.ResumeKey,
	}, nil
}

func (ss *session) deleteAccount(ctx context.Context, m *wire.ProvedOp) (message, error) {
	return ss.endBy(ctx, "delete", m, wire.CodeAccountDeleted, ss.server.c.Accounts.Delete)
}

func (ss *session) revokeAll(ctx context.Context, m *wire.ProvedOp) (message, error) {
	return ss.endBy(ctx, "logout-all", m, wire.CodeLoggedOut, ss.server.c.Accounts.RevokeAll)
}

// endBy runs an operation that ends the session along with whatever else it does.
func (ss *session) endBy(ctx context.Context, what string, m *wire.ProvedOp, code wire.Code,
	do func(context.Context, *account.Attempt, [32]byte, [64]byte) error) (message, error) {
	digest := sha256.Sum256(m.AppendSigned(nil))
	err := ss.operate(ctx, what, m.ID, func(a *account.Attempt) (*account.Session, error) {
		return nil, do(ctx, a, digest, m.Proof)
	})
	if err != nil {
		return nil, err
	}
	ss.goodbye = code
	return wire.Plain{Type: wire.TypeDone, ID: m.ID}, nil
}
