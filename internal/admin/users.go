package admin

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/authsrv/authsrv/internal/account"
)

// pageSize is how many records are read at once. A result takes room until it is sent.
const pageSize = 100

// Page are the parameters of a list: what is behind the id After, and at most Limit of it; 0: all.
type Page struct {
	After string `json:"after,omitempty"`
	Limit int    `json:"limit,omitempty"`
}

// Named are the parameters of what is done to one account.
type Named struct {
	Name string `json:"name"`
}

// NamedPage are the parameters of session.list.
type NamedPage struct {
	Named
	Page
}

// NamedSession are the parameters of session.revoke.
type NamedSession struct {
	Named
	Session string `json:"session"`
}

// User is an account, as a result. What changes an account answers with what it is then, or was before it was deleted.
type User struct {
	Name         string    `json:"name"`
	ID           string    `json:"id"`
	Created      time.Time `json:"created"`
	Changed      time.Time `json:"changed"` // the password
	Disabled     bool      `json:"disabled"`
	Generation   uint64    `json:"generation"`
	Failures     int       `json:"failures"`               // that count against the name; not in a list also against its known devices
	Wait         int       `json:"wait"`                   // seconds until another attempt can succeed
	Locked       bool      `json:"locked,omitzero"`        // too many failures in a row: no wait helps
	Sessions     *int      `json:"sessions,omitempty"`     // live ones; not in a list
	MoreSessions bool      `json:"more_sessions,omitzero"` // than those counted
	Ended        *int      `json:"ended,omitempty"`        // live sessions that session.revoke-all has ended
}

// Session is a live session, as a result.
type Session struct {
	ID       string    `json:"id"`
	Created  time.Time `json:"created"`
	LastUsed time.Time `json:"last_used"`
	Expires  time.Time `json:"expires"`
	Address  string    `json:"address"`
}

func userOf(u *account.UserInfo) *User {
	return &User{
		Name: u.Name, ID: hex.EncodeToString(u.ID[:]), Created: u.Created.UTC(), Changed: u.Changed.UTC(), Disabled: u.Disabled,
		Generation: u.Generation, Failures: u.Failures, Wait: int(math.Ceil(u.Wait.Seconds())), Locked: u.Locked, MoreSessions: u.MoreSessions,
	}
}

// parseID reads the id of an account or a session; an empty one is zero where that is allowed.
func parseID(what, text string, empty bool) (id account.ID, err error) {
	if text == "" && empty {
		return id, nil
	}
	b, err := hex.DecodeString(text)
	if err != nil || len(b) != len(id) {
		return id, badRequest("%s %q is not an id of %d hexadecimal digits", what, text, 2*len(id))
	}
	return account.ID(b), nil
}

// list emits what fetch yields page by page, up to a limit.
func list[T any](p *Page, fetch func(after account.ID, limit int) ([]T, bool, error), emit func(*T) (account.ID, error)) error {
	after, err := parseID("after", p.After, true)
	if err != nil {
		return err
	}
	if p.Limit < 0 {
		return badRequest("limit is negative")
	}
	left := p.Limit
	if left == 0 {
		left = math.MaxInt
	}
	for {
		page, more, err := fetch(after, min(left, pageSize))
		if err != nil {
			return err
		}
		for i := range page {
			if after, err = emit(&page[i]); err != nil {
				return err
			}
		}
		if left -= len(page); !more || left == 0 {
			return nil
		}
	}
}

func (o *Operations) userList(ctx context.Context, p *Page, emit emitter) error {
	return list(p, func(after account.ID, limit int) ([]account.UserInfo, bool, error) {
		return o.Accounts.Users(ctx, after, limit)
	}, func(u *account.UserInfo) (account.ID, error) { return u.ID, emit(userOf(u)) })
}

func (o *Operations) userShow(ctx context.Context, p *Named, emit emitter) error {
	u, err := o.Accounts.User(ctx, p.Name)
	if err != nil {
		return unnamed(p, err)
	}
	r := userOf(&u)
	r.Sessions = &u.Sessions
	return emit(r)
}

// unnamed names the account that there is not.
func unnamed(p *Named, err error) error {
	if errors.Is(err, account.ErrNoAccount) {
		return &Error{Code: CodeNoAccount, Message: fmt.Sprintf("there is no account %q", p.Name), err: err}
	}
	return err
}

// change shows the account after a change.
func (o *Operations) change(ctx context.Context, p *Named, emit emitter, do func(ctx context.Context, name string) error) error {
	if err := do(ctx, p.Name); err != nil {
		return unnamed(p, err)
	}
	return o.userShow(ctx, p, emit)
}

func (o *Operations) userDisable(ctx context.Context, p *Named, emit emitter) error {
	return o.change(ctx, p, emit, func(ctx context.Context, name string) error { return o.Accounts.SetDisabled(ctx, name, true) })
}

func (o *Operations) userEnable(ctx context.Context, p *Named, emit emitter) error {
	return o.change(ctx, p, emit, func(ctx context.Context, name string) error { return o.Accounts.SetDisabled(ctx, name, false) })
}

func (o *Operations) userUnlock(ctx context.Context, p *Named, emit emitter) error {
	return o.change(ctx, p, emit, o.Accounts.Unlock)
}

func (o *Operations) userDelete(ctx context.Context, p *Named, emit emitter) error {
	u, err := o.Accounts.User(ctx, p.Name)
	if err == nil {
		err = o.Accounts.Remove(ctx, p.Name)
	}
	if err != nil {
		return unnamed(p, err)
	}
	r := userOf(&u)
	r.Sessions = &u.Sessions
	return emit(r)
}

func (o *Operations) sessionList(ctx context.Context, p *NamedPage, emit emitter) error {
	return list(&p.Page, func(after account.ID, limit int) ([]account.SessionInfo, bool, error) {
		sessions, more, err := o.Accounts.SessionsOf(ctx, p.Name, after, limit)
		return sessions, more, unnamed(&p.Named, err)
	}, func(s *account.SessionInfo) (account.ID, error) {
		return s.ID, emit(&Session{
			ID: hex.EncodeToString(s.ID[:]), Created: s.Created.UTC(), LastUsed: s.LastUsed.UTC(), Expires: s.Expires.UTC(), Address: s.Address,
		})
	})
}

func (o *Operations) sessionRevoke(ctx context.Context, p *NamedSession, emit emitter) error {
	sid, err := parseID("session", p.Session, false)
	if err != nil {
		return err
	}
	return o.change(ctx, &p.Named, emit, func(ctx context.Context, name string) error {
		err := o.Accounts.RevokeSession(ctx, name, sid)
		if errors.Is(err, account.ErrNoSession) {
			return &Error{Code: CodeNoSession, Message: fmt.Sprintf("the account %q has no session %s", name, p.Session), err: err}
		}
		return err
	})
}

func (o *Operations) sessionRevokeAll(ctx context.Context, p *Named, emit emitter) error {
	var ended int
	return o.change(ctx, p, func(result any) error {
		result.(*User).Ended = &ended
		return emit(result)
	}, func(ctx context.Context, name string) (err error) {
		ended, err = o.Accounts.RevokeAllOf(ctx, name)
		return err
	})
}
