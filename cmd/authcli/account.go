package main

import (
	"cmp"
	"context"
	"errors"
	"io"
	"strings"
	"time"

	"github.com/authsrv/authsrv/client"
	"github.com/authsrv/authsrv/client/store"
)

// savedLife is how long a session of login --save is to live. Others have the server's default, a day.
const savedLife = 30 * 24 * time.Hour

// replacedTime is how long a login may take to end the session that it replaced.
const replacedTime = 3 * time.Second

func (r *request) register(ctx context.Context, name string, sendPassword, invited bool) error {
	name, err := client.CheckName(name)
	if err != nil {
		return err
	}
	known, err := r.store.Default()
	if err != nil {
		return err
	}
	options := &client.RegisterOptions{SendPassword: sendPassword}
	if invited {
		code, err := r.code(ctx, client.CodeInvite)
		if err != nil {
			return err
		}
		options.Invite = &code
	}
	password, err := r.newPassword(ctx, "Password for "+name+": ", "The same again: ")
	if err != nil {
		return err
	}
	c, err := r.dial(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.Register(ctx, name, password, options); err != nil {
		return unsure(err, "it was, if this logs in: %s login %s", r.again(), name)
	}
	r.answer(accountDocument{name, r.address}, "%s is registered at %s; to log in: %s login %s\n",
		name, r.address, r.authcli(cmp.Or(known, r.address)), name)
	return r.rememberDefault(c.Fingerprint())
}

func (r *request) login(ctx context.Context, name string, save bool) error {
	name, err := client.CheckName(name)
	if err != nil {
		return err
	}
	password, err := r.password(ctx, "Password for "+name+": ")
	if err != nil {
		return err
	}
	c, err := r.dial(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	replaced, before, err := r.store.Session(r.address)
	if err != nil {
		return err
	}
	options := &client.LoginOptions{}
	if save {
		options.Lifetime = savedLife
	}
	s, err := c.Login(ctx, name, password, options)
	if err != nil {
		return err
	}
	defer s.Close()
	r.answer(sessionDocument{accountDocument{s.Name(), r.address}, s.Expires().UTC()},
		"logged in as %s at %s until %s\n", clean(s.Name()), r.address, moment(s.Expires()))
	if err := r.rememberDefault(c.Fingerprint()); err != nil {
		return err
	}
	if before {
		r.endReplaced(ctx, &replaced)
	}
	return nil
}

// endReplaced ends a session whose place in the store another one took: nobody could end it from here any more. It does so
// with a store of its own, and if it fails, the session ends by itself in time.
func (r *request) endReplaced(ctx context.Context, old *store.Session) {
	ctx, cancel := context.WithTimeout(ctx, replacedTime)
	defer cancel()
	server, known, err := r.store.Server(r.address)
	if err != nil || !known || time.Now().After(old.Expires) {
		return
	}
	account, known, err := r.store.Account(old.RealmID, old.Name)
	if err != nil || !known {
		return
	}
	alone := store.Memory()
	if alone.PutServer(server) != nil || alone.PutAccount(account) != nil || alone.PutSession(*old) != nil {
		return
	}
	c, err := client.Dial(ctx, r.address, &client.Config{Store: alone})
	if err != nil {
		return
	}
	defer c.Close()
	if s, err := c.Resume(ctx); err == nil {
		_ = s.Logout(ctx)
		s.Close()
	}
}

func (r *request) whoami(ctx context.Context) error {
	s, err := r.resume(ctx)
	if err != nil {
		return err
	}
	defer s.Close()
	a, err := s.WhoAmI(ctx)
	if err != nil {
		return err
	}
	id := a.ID.String()
	r.answer(whoamiDocument{clean(a.Name), id, a.Created.UTC(), a.SessionID.String(), a.Expires.UTC(), r.address},
		"name     %s\naccount  %s\nserver   %s\nexpires  %s\n", clean(a.Name), id, r.address, moment(a.Expires))
	return nil
}

func (r *request) list(ctx context.Context) error {
	s, err := r.resume(ctx)
	if err != nil {
		return err
	}
	defer s.Close()
	names, err := s.List(ctx)
	if err != nil {
		return err
	}
	for i, name := range names {
		names[i] = clean(name)
	}
	r.answer(listDocument{names}, "%s\n", strings.Join(names, " "))
	return nil
}

func (r *request) passwd(ctx context.Context) error {
	if _, err := r.held(); err != nil {
		return err
	}
	current, err := r.password(ctx, "Current password: ")
	if err != nil {
		return err
	}
	next, err := r.newPassword(ctx, "New password: ", "The new one again: ")
	if err != nil {
		return err
	}
	if next == current {
		return local("password-unchanged", "the new password is the current one")
	}
	s, err := r.resume(ctx)
	if err != nil {
		return err
	}
	defer s.Close()
	if err := s.ChangePassword(ctx, current, next); err != nil {
		return unsure(explainCurrent(err), "it was, if this logs in with the new password: %s login %s", r.again(), clean(s.Name()))
	}
	r.answer(sessionDocument{accountDocument{s.Name(), r.address}, s.Expires().UTC()},
		"the password of %s is changed; all other sessions have ended\n", clean(s.Name()))
	return nil
}

func (r *request) logout(ctx context.Context, all bool) error {
	held, err := r.held()
	if err != nil {
		return err
	}
	password := ""
	if all {
		if password, err = r.password(ctx, "Password for "+clean(held.Name)+": "); err != nil {
			return err
		}
	}
	s, err := r.resume(ctx)
	if err != nil {
		return err
	}
	defer s.Close()
	text := "%s is logged out\n"
	if all {
		text = "%s is logged out everywhere\n"
		err = unsure(explainCurrent(s.LogoutAll(ctx, password)), "it was not, if this still says who you are: %s whoami", r.again())
	} else {
		err = s.Logout(ctx)
	}
	if err != nil {
		return err
	}
	r.answer(logoutDocument{accountDocument{s.Name(), r.address}, all}, text, clean(s.Name()))
	return nil
}

func (r *request) delete(ctx context.Context, confirmed bool) error {
	held, err := r.held()
	if err != nil {
		return err
	}
	name := clean(held.Name)
	password, err := r.password(ctx, "Password for "+name+": ")
	if err != nil {
		return err
	}
	if !confirmed {
		if err := r.confirmDelete(ctx, name); err != nil {
			return err
		}
	}
	s, err := r.resume(ctx)
	if err != nil {
		return err
	}
	defer s.Close()
	if err := s.Delete(ctx, password); err != nil {
		return unsure(explainCurrent(err), "it was not, if this still logs in: %s login %s", r.again(), name)
	}
	r.answer(accountDocument{name, r.address}, "the account %s is deleted\n", name)
	return nil
}

func (r *request) confirmDelete(ctx context.Context, name string) error {
	typed, err := r.terminal.line(ctx, "This deletes "+name+" at "+r.address+" for good. Type the name to go on: ")
	switch {
	case errors.Is(err, errNoTerminal):
		return local(errNoTerminal.code, "there is no terminal to ask for a confirmation on: use --yes")
	case errors.Is(err, io.EOF):
		r.terminal.printf("\n")
	case err != nil:
		return err
	case strings.EqualFold(typed, name): // as names are
		return nil
	}
	return local("not-deleted", "not confirmed: the account is still there")
}
