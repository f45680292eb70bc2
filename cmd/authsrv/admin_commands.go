package main

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"sync"

	"github.com/urfave/cli/v2"

	"github.com/authsrv/authsrv/internal/admin"
)

const adminDescription = "It works while the server runs, by the socket in the data folder, and when it is stopped. Only in that case a passphrase\n" +
	"is needed, if the key file is sealed."

// listPage is how much of a list is asked for at once, so that nobody waits for who reads it slowly.
const listPage = 500

// adminCommands are those that work on accounts, whether or not the server runs.
func (p *program) adminCommands() []*cli.Command {
	user := func(name, about, op, done string) *cli.Command {
		return p.adminCommand(name, about, "NAME", 1, nil, p.changeUser(op, done))
	}
	return []*cli.Command{
		p.group("user", "list, show and change accounts", "[NAME]",
			p.adminCommand("list", "list the accounts, in the order of their ids", "", 0, checkPage, p.userList, pageFlags()...),
			p.adminCommand("show", "show an account", "NAME", 1, nil, p.userShow),
			user("disable", "shut an account; all of its sessions end at once", "user.disable", "disabled"),
			user("enable", "open an account again", "user.enable", "enabled"),
			user("unlock", "forget the failed logins of a name", "user.unlock", "unlocked"),
			p.adminCommand("reset", "print a code for one use, with which its owner sets a new password", "NAME", 1, checkLife, p.userReset, lifeFlag("1 day")),
			p.adminCommand("delete", "delete an account for good", "NAME", 1, p.confirmDelete, p.changeUser("user.delete", "deleted"),
				&cli.BoolFlag{Name: "yes", Usage: "do not ask for a confirmation"}),
		),
		p.group("session", "list and end sessions", "NAME [ID]",
			p.adminCommand("list", "list the sessions of an account", "NAME", 1, checkPage, p.sessionList, pageFlags()...),
			p.adminCommand("revoke", "end one session of an account; without an ID all of them", "NAME [ID]", 1, checkSession, p.sessionRevoke),
		),
		p.keyCommands(),
		p.inviteCommand(),
		p.auditCommand(),
		p.statusCommand(),
	}
}

func pageFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "after", Usage: "list what comes behind `ID`"},
		&cli.IntFlag{Name: "limit", Usage: "list at most `N`", DefaultText: "all"},
	}
}

// group makes a command that is only there for those below it.
func (p *program) group(name, about, arguments string, below ...*cli.Command) *cli.Command {
	for _, c := range below {
		c.UsageText = strings.TrimSpace("authsrv " + name + " " + c.Name + " [flags] " + c.ArgsUsage)
	}
	return &cli.Command{
		Name: name, Usage: about, UsageText: "authsrv " + name + " COMMAND [flags] " + arguments,
		Subcommands: below, HideHelpCommand: true, OnUsageError: onUsageError,
		Action: func(c *cli.Context) error {
			if c.Args().Present() {
				return unknownCommand(name + " " + c.Args().First())
			}
			return usage("%s needs a command", name)
		},
	}
}

// adminCommand makes a command that asks for operations on accounts, if it passes its check: before the folder is touched.
func (p *program) adminCommand(name, about, arguments string, least int, check func(*cli.Context) error, ask func(*cli.Context, admin.Doer) error, flags ...cli.Flag) *cli.Command {
	return positional(&cli.Command{
		Name: name, Usage: about, Description: adminDescription, ArgsUsage: arguments,
		Flags: append(flags, dataFlag(), configFlag(), passphraseFlag(), jsonFlag()),
		Action: func(c *cli.Context) error {
			if check != nil {
				if err := check(c); err != nil {
					return err
				}
			}
			return p.asking(c, true, func(d admin.Doer) error { return ask(c, d) })
		},
	}, least)
}

func jsonFlag() cli.Flag {
	return &cli.BoolFlag{Name: "json", Usage: "print JSON: one document, of a list one a line; errors too"}
}

// positional refuses what urfave/cli lets pass: missing and further arguments, a flag behind one, and flags with an empty value.
func positional(c *cli.Command, least int) *cli.Command {
	most, action := len(strings.Fields(c.ArgsUsage)), c.Action
	c.HideHelpCommand, c.OnUsageError = true, onUsageError
	c.Action = func(ctx *cli.Context) error {
		args := ctx.Args().Slice()
		for i, a := range args {
			switch {
			case strings.HasPrefix(a, "-"):
				return usage("flags come before the arguments: %q", a)
			case i == most:
				return usage("unexpected argument %q", a)
			case a == "":
				return usage("an argument is empty")
			}
		}
		if len(args) < least {
			return usage("%s needs a %s", ctx.Command.Name, strings.Fields(c.ArgsUsage)[len(args)])
		}
		for _, name := range ctx.LocalFlagNames() {
			if ctx.String(name) == "" {
				return usage("flag --%s needs a value", name)
			}
		}
		return action(ctx)
	}
	return c
}

// confirmDelete asks the person at the terminal whether an account is to be deleted.
func (p *program) confirmDelete(c *cli.Context) error {
	name := c.Args().First()
	if c.Bool("yes") {
		return nil
	}
	return p.confirm(fmt.Sprintf("This deletes %q and all of its sessions for good. Type the name to go on: ", name), name, "nothing was deleted")
}

// one asks for an operation with one result, and prints that as it is, or as a line for a person.
func (p *program) one(c *cli.Context, d admin.Doer, op string, params any, text func(*admin.User) string) error {
	return d.Do(c.Context, admin.NewRequest(op, params), func(result json.RawMessage) error {
		if c.Bool("json") {
			fmt.Fprintf(p.stdout, "%s\n", result)
			return nil
		}
		var u admin.User
		if err := json.Unmarshal(result, &u); err != nil {
			return err
		}
		fmt.Fprintln(p.stdout, text(&u))
		return nil
	})
}

func (p *program) changeUser(op, done string) func(*cli.Context, admin.Doer) error {
	return func(c *cli.Context, d admin.Doer) error {
		return p.one(c, d, op, admin.Named{Name: c.Args().First()}, func(u *admin.User) string { return done + ": " + u.Name })
	}
}

func (p *program) userShow(c *cli.Context, d admin.Doer) error {
	return p.one(c, d, "user.show", admin.Named{Name: c.Args().First()}, describeUser)
}

func (p *program) userList(c *cli.Context, d admin.Doer) error {
	return listing(p, c, d, "user.list", func(page admin.Page) any { return page }, userHeader, func(u *admin.User) (string, string) {
		return userRow(u), u.ID
	})
}

func (p *program) sessionList(c *cli.Context, d admin.Doer) error {
	named := admin.Named{Name: c.Args().First()}
	params := func(page admin.Page) any { return admin.NamedPage{Named: named, Page: page} }
	return listing(p, c, d, "session.list", params, sessionHeader, func(s *admin.Session) (string, string) { return sessionRow(s), s.ID })
}

func (p *program) sessionRevoke(c *cli.Context, d admin.Doer) error {
	named, id := admin.Named{Name: c.Args().First()}, c.Args().Get(1)
	if id == "" {
		return p.one(c, d, "session.revoke-all", named, func(u *admin.User) string {
			if u.Ended == nil { // of a server that runs from before an update
				return "all sessions of " + u.Name + " have ended"
			}
			return fmt.Sprintf("all sessions of %s have ended: %d", u.Name, *u.Ended)
		})
	}
	return p.one(c, d, "session.revoke", admin.NamedSession{Named: named, Session: id}, func(u *admin.User) string {
		return "the session " + id + " of " + u.Name + " has ended"
	})
}

func checkPage(c *cli.Context) error {
	if after := c.String("after"); !isID(after) {
		return usage("--after: %q is not an id", after)
	}
	if limit := c.Int("limit"); limit < 0 || c.IsSet("limit") && limit == 0 {
		return usage("--limit: %d is not a number from 1", limit)
	}
	return nil
}

func checkSession(c *cli.Context) error {
	if id := c.Args().Get(1); !isID(id) {
		return usage("%q is not the id of a session", id)
	}
	return nil
}

// isID says whether text is empty, or looks like an id of an account or a session.
func isID(text string) bool {
	b, err := hex.DecodeString(text)
	return err == nil && (len(b) == 0 || len(b) == 16)
}

// listing prints a list as it comes: page by page, since each is asked for only when the one before is printed.
func listing[T any](p *program, c *cli.Context, d admin.Doer, op string, params func(admin.Page) any, header string, row func(*T) (text, id string)) error {
	page, left := admin.Page{After: c.String("after")}, c.Int("limit")
	bounded := left > 0
	head := sync.OnceFunc(func() {
		if !c.Bool("json") {
			fmt.Fprintln(p.stdout, header)
		}
	})
	for {
		page.Limit = listPage
		if bounded {
			page.Limit = min(left, listPage)
		}
		seen := 0
		err := d.Do(c.Context, admin.NewRequest(op, params(page)), func(result json.RawMessage) error {
			var item T
			if err := json.Unmarshal(result, &item); err != nil {
				return err
			}
			text, id := row(&item)
			if c.Bool("json") {
				text = string(result)
			}
			seen, page.After = seen+1, id
			head()
			_, err := fmt.Fprintln(p.stdout, text)
			return err
		})
		if err != nil {
			return err
		}
		head() // of a list without anything
		if left -= seen; seen < page.Limit || bounded && left == 0 {
			return nil
		}
	}
}

func (p *program) statusCommand() *cli.Command {
	return positional(&cli.Command{
		Name: "status", Usage: "show whether and how the server runs", UsageText: "authsrv status [flags]", Flags: []cli.Flag{dataFlag(), configFlag(), jsonFlag()},
		Action: func(c *cli.Context) error {
			return p.asking(c, false, func(d admin.Doer) error {
				return d.Do(c.Context, admin.NewRequest("status", nil), func(result json.RawMessage) error {
					if c.Bool("json") {
						fmt.Fprintf(p.stdout, "%s\n", result)
						return nil
					}
					var s admin.Status
					if err := json.Unmarshal(result, &s); err != nil {
						return err
					}
					fmt.Fprint(p.stdout, describeStatus(&s))
					return nil
				})
			})
		},
	}, 0)
}
