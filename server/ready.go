package server

import (
	"context"
	"log/slog"

	"github.com/authsrv/authsrv/internal/account"
	"github.com/authsrv/authsrv/wire"
)

// sessionsPage is how many sessions one SessionList has at the most, each of 106 bytes or less: what one request costs, and its answer, stays small.
// PROTOCOL 8 allows 100.
const sessionsPage = 40

// listing is the protected resource that List demonstrates.
var listing = []string{"root", "home", "etc", "lib", "media", "mnt"}

func (ss *session) whoAmI(_ context.Context, m *wire.Plain) (message, error) {
	return &wire.Account{
		ID: m.ID, AccountID: ss.login.Account, Name: []byte(ss.login.Name), Created: uint64(ss.login.Created.Unix()),
		SessionID: ss.login.ID, Expires: uint64(ss.login.Expires.Unix()),
	}, nil
}

func (ss *session) list(_ context.Context, m *wire.Plain) (message, error) {
	answer := &wire.Listing{ID: m.ID}
	for _, name := range listing {
		answer.Add(name)
	}
	return answer, nil
}

func (ss *session) listSessions(ctx context.Context, m *wire.ListSessions) (message, error) {
	list, more, err := ss.server.c.Accounts.Sessions(ctx, ss.login, account.ID(m.After), sessionsPage)
	if err != nil {
		return nil, err
	}
	answer := &wire.SessionList{ID: m.ID, More: more}
	for _, s := range list {
		answer.Add(&wire.Session{
			ID: s.ID, Created: uint64(s.Created.Unix()), LastUsed: uint64(s.LastUsed.Unix()), Expires: uint64(s.Expires.Unix()),
			Current: s.ID == ss.login.ID, Address: []byte(s.Address),
		})
	}
	return answer, nil
}

func (ss *session) logout(ctx context.Context, m *wire.Plain) (message, error) {
	ss.server.live.leave(ss) // who asks for it is not told by the feed
	if err := ss.server.c.Accounts.Logout(ctx, ss.login, &ss.channel); err != nil {
		ss.join(ctx, ss.login)
		return nil, err
	}
	ss.server.seen.attempt("logout", nil)
	ss.log(slog.LevelInfo, "logout", "outcome", outcome(nil), "name", ss.login.Name)
	ss.goodbye = wire.CodeLoggedOut
	return wire.Plain{Type: wire.TypeDone, ID: m.ID}, nil
}

func (ss *session) bye(context.Context, *wire.Plain) (message, error) {
	ss.goodbye = wire.CodeBye
	return nil, nil
}
