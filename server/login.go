package server

import (
	"context"
	"errors"
	"log/slog"

	"github.com/authsrv/authsrv/credential"
	"github.com/authsrv/authsrv/internal/account"
	"github.com/authsrv/authsrv/wire"
)

func startOf(m *wire.AuthStart) *account.Start {
	start := &account.Start{
		Name: string(m.Name), Method: uint8(m.Method), Offered: m.Offered,
		Lifetime: seconds(m.Lifetime), ClientNonce: m.ClientNonce,
	}
	if len(m.Token) == wire.CodeIDSize { // of a session there is no Start
		start.Code = (*account.ID)(m.Token)
	}
	return start
}

func challengeOf(c *account.Challenge) wire.Challenge {
	return wire.Challenge{ServerNonce: c.ServerNonce, Salt: c.Salt, KDF: wire.KDF(c.KDF), TTL: uint16(c.Life.Seconds())}
}

func policyOf(p credential.Policy) wire.Policy {
	return wire.Policy{Kind: uint8(p.Kind), MinLength: p.MinLength, MaxLength: p.MaxLength, MinScore: p.MinScore}
}

// takeAttempt returns the attempt that is alive, which is then no longer the connection's.
func (ss *session) takeAttempt() *account.Attempt {
	a := ss.attempt
	ss.attempt = nil
	return a
}

func (ss *session) beginLogin(ctx context.Context, m *wire.AuthStart) (message, error) {
	a, c, err := ss.server.c.Accounts.BeginLogin(ctx, &ss.channel, startOf(m))
	if err != nil {
		return nil, err
	}
	ss.attempt = a
	answer := challengeOf(&c)
	return &answer, nil
}

func (ss *session) finishLogin(ctx context.Context, m *wire.Proof) (message, error) {
	a := ss.takeAttempt()
	l, err := ss.server.c.Accounts.FinishLogin(ctx, a, m.Proof)
	ss.logAttempt("login", a, err)
	if err != nil {
		return nil, err
	}
	return ss.welcome(ctx, l), nil
}

func (ss *session) resume(ctx context.Context, m *wire.AuthStart) (message, error) {
	l, err := ss.server.c.Accounts.Resume(ctx, &ss.channel, m.ClientNonce, string(m.Token))
	ss.server.seen.attempt("resume", err)
	if err != nil {
		ss.log(slog.LevelInfo, "resume", "outcome", outcome(err))
		return nil, err
	}
	ss.log(slog.LevelInfo, "resume", "outcome", outcome(nil), "name", l.Session.Name)
	return ss.welcome(ctx, l), nil
}

// welcome makes the connection one of its account's.
func (ss *session) welcome(ctx context.Context, l *account.Login) message {
	ss.join(ctx, l.Session)
	ss.denied = 0
	answer := &wire.Welcome{
		Confirm: l.Confirm, AccountID: l.Session.Account, SessionID: l.Session.ID,
		Expires: uint64(l.Session.Expires.Unix()), Name: []byte(l.Session.Name), Token: []byte(l.Token),
	}
	if l.Token != "" {
		answer.ResumeKey = l.ResumeKey[:]
	}
	return answer
}

// join makes the connection the session's. The check comes behind it, so that nothing that ends the session falls
// between the two. What the check finds is said behind the answer, which is true all the same.
func (ss *session) join(ctx context.Context, session *account.Session) {
	ss.server.live.leave(ss)
	ss.login = session
	ss.used.Store(ss.server.requests.Add(1))
	for _, other := range ss.server.live.join(ss, session) {
		other.displace()
	}
	if err := ss.server.c.Accounts.Check(ctx, session); err != nil {
		ss.wake(goodbyeCode(err))
	}
}

// logAttempt writes the line of an attempt. A name is in it only where there is an account of that name: others are often a
// password in the wrong field.
func (ss *session) logAttempt(what string, a *account.Attempt, err error) {
	ss.server.seen.attempt(what, err)
	args := []any{"outcome", outcome(err)}
	var denied *account.Denied
	exists := err == nil || errors.Is(err, account.ErrNameTaken) ||
		errors.As(err, &denied) && denied.Reason != account.UnknownName && denied.Reason != account.Throttled
	if a != nil && exists {
		args = append(args, "name", a.Name())
	}
	level := slog.LevelInfo
	if denied != nil && denied.Reason == account.Throttled { // as many as anybody likes
		level = slog.LevelDebug
	}
	ss.log(level, what, args...)
}
