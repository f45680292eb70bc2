package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// choice is a line of a menu. What it does is what the command of that name does.
type choice struct {
	word, about string
	also        string                      // another word for it
	run         func(context.Context) error // nil: quit
}

// menu asks for one thing after the other until the person quits. Which of the two menus it is depends on whether a session is
// held, which each command knows to keep right.
func (r *request) menu(ctx context.Context) error {
	shown := ""
	for {
		title, choices, err := r.choices()
		if err != nil {
			return err
		}
		if title != shown {
			r.showMenu(title, choices)
			shown = title
		}
		typed, err := r.terminal.line(ctx, "> ")
		if errors.Is(err, io.EOF) {
			r.terminal.printf("\n")
			return nil
		}
		if err != nil {
			return err
		}
		c := pick(choices, typed)
		switch {
		case typed == "":
			shown = ""
		case c == nil:
			r.terminal.printf("There is no %q here: type a number or a word of the menu; an empty line shows it again.\n", clean(typed))
		case c.run == nil:
			return nil
		default:
			if err := r.act(ctx, c); err != nil {
				return err
			}
		}
	}
}

// act does what was chosen. What goes wrong is shown, and the menu goes on, unless it was interrupted.
func (r *request) act(ctx context.Context, c *choice) error {
	err := c.run(ctx)
	switch {
	case err == nil || errors.Is(err, io.EOF):
		return nil
	case ctx.Err() != nil:
		return explain(ctx, r.address, err)
	}
	r.report(explain(ctx, r.address, err))
	return nil
}

func (r *request) choices() (title string, choices []choice, err error) {
	held, loggedIn, err := r.store.Session(r.address)
	if err != nil {
		return "", nil, err
	}
	if !loggedIn {
		return "authcli at " + r.address, []choice{
			{word: "register", about: "make an account", run: func(ctx context.Context) error {
				return r.withName(ctx, func(name string) error { return r.register(ctx, name, false, false) })
			}},
			{word: "login", about: "log in", run: func(ctx context.Context) error {
				return r.withName(ctx, func(name string) error { return r.login(ctx, name, false) })
			}},
			{word: "quit", about: "leave"},
		}, nil
	}
	return clean(held.Name) + " at " + r.address, []choice{
		{word: "ls", about: "list what is protected", run: r.list},
		{word: "whoami", about: "show the account", run: r.whoami},
		{word: "password", also: "passwd", about: "change the password", run: r.passwd},
		{word: "sessions", about: "show where you are logged in", run: r.sessions},
		{word: "logout", about: "end this session", run: func(ctx context.Context) error { return r.logout(ctx, false) }},
		{word: "delete", about: "delete the account for good", run: func(ctx context.Context) error { return r.delete(ctx, false) }},
		{word: "quit", about: "leave; the session goes on"},
	}, nil
}

func (r *request) showMenu(title string, choices []choice) {
	var text strings.Builder
	fmt.Fprintf(&text, "\n%s\n", title)
	for i, c := range choices {
		fmt.Fprintf(&text, "  %d  %-9s  %s\n", i+1, c.word, c.about)
	}
	r.terminal.printf("%s", text.String())
}

// pick returns the choice of a number or a word, or nil. An empty line is none of its business.
func pick(choices []choice, typed string) *choice {
	for i := range choices {
		if typed == strconv.Itoa(i+1) || strings.EqualFold(typed, choices[i].word) || strings.EqualFold(typed, choices[i].also) {
			return &choices[i]
		}
	}
	return nil
}

// withName asks for a name first. Nothing typed is a change of mind.
func (r *request) withName(ctx context.Context, do func(name string) error) error {
	name, err := r.terminal.line(ctx, "Name: ")
	if err != nil || name == "" {
		return err
	}
	return do(name)
}
