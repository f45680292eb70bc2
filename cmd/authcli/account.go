package main

import (
	"context"
	"encoding/hex"
	"errors"
	"io"
	"strings"
	"time"

	"github.com/authsrv/authsrv/client"
)

// savedLife is how long a session of login --save is to live. Others have the server's default, a day.
const savedLife = 30 * 24 * time.Hour

func (r *request) register(ctx context.Context, name string, sendPassword bool) error {
	name, err := client.CheckName(name)
	if err != nil {
		return err
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
	if err := c.Register(ctx, name, password, &client.RegisterOptions{SendPassword: sendPassword}); err != nil {
		return err
	}
	r.answer(accountDocument{name, r.address}, "%s is registered at %s; to log in: authcli login %s\n", name, r.address, name)
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
	return r.rememberDefault(c.Fingerprint())
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
	id := hex.EncodeToString(a.ID[:])
	r.answer(whoamiDocument{clean(a.Name), id, a.Created.UTC(), hex.EncodeToString(a.SessionID[:]), a.Expires.UTC(), r.address},
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
	s, err := r.resume(ctx)
	if err != nil {
		return err
	}
	defer s.Close()
	if err := s.ChangePassword(ctx, current, next); err != nil {
		return err
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
		err = s.LogoutAll(ctx, password)
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
		return err
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
	case typed == name, strings.EqualFold(typed, "yes"):
		return nil
	}
	return local("not-deleted", "not confirmed: the account is still there")
}
