package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/authsrv/authsrv/client"
)

const description = `The server's address is HOST:PORT, or HOST:PORT#SHA256:FINGERPRINT to
trust that identity and no other. Without --server and AUTHCLI_SERVER it
is the default one: the first that was trusted, and 127.0.0.1:7022 where
there is none yet. Passwords and codes are typed at the terminal, or read
from standard input with --password-stdin, one a line; they are never
arguments. Flags that stand before the command may also follow it, but no
flag follows a NAME.

Exit codes: 0 done, 1 refused by the server, 2 usage, 3 no connection,
or not known whether a change was made, 4 server identity not trusted,
5 refused here, 6 storage failed, 130 interrupted. With --json, errors
are {"error": {"code", "message", "retry_after", "exit"}} on standard
error.`

// commandHelp is the page of one command, or of a group of them. The flags of all commands are explained once, in the page of
// authcli itself.
const commandHelp = `NAME:
   {{.HelpName}} - {{.Usage}}

USAGE:
   {{.UsageText}}{{if .VisibleCommands}}

COMMANDS:{{template "visibleCommandCategoryTemplate" .}}{{end}}

OPTIONS:{{template "visibleFlagTemplate" .}}

GLOBAL OPTIONS:
   --server ADDR, --home DIR, --accept-new, --json: see "authcli help"
`

func (p *program) app() *cli.App {
	app := &cli.App{
		Name:            "authcli",
		Usage:           "accounts on a server that is never told a password",
		UsageText:       "authcli [--server ADDR] [--home DIR] [--accept-new] [--json]\n        COMMAND [flags] [NAME]",
		Description:     description,
		Version:         version(),
		Writer:          p.stdout,
		ErrWriter:       p.stderr,
		Flags:           append(settingFlags(false), cli.HelpFlag), // which it leaves out where a command is called help
		HideHelpCommand: true,
		OnUsageError:    onUsageError,
		ExitErrHandler:  func(*cli.Context, error) {}, // the default one ends the process
		Action:          p.alone,
		Commands: []*cli.Command{
			p.command("register", "make an account", "NAME", func(ctx context.Context, c *cli.Context, r *request) error {
				if c.Bool("invite") && c.Bool("send-password") {
					return usage("--invite and --send-password do not go together")
				}
				return r.register(ctx, c.Args().First(), c.Bool("send-password"), c.Bool("invite"))
			}, &cli.BoolFlag{Name: "invite", DisableDefaultText: true, Usage: "ask first for the code of an operator,\n   \twhich pins the server"},
				&cli.BoolFlag{Name: "send-password", DisableDefaultText: true, Usage: "let the server judge the password: it is\n   \tsent there, if the server's identity is pinned"},
				stdinFlag("the password, with --invite\n   \tbehind the code,")),
			p.command("login", "log in, and keep the session", "NAME", func(ctx context.Context, c *cli.Context, r *request) error {
				return r.login(ctx, c.Args().First(), c.Bool("save"))
			}, &cli.BoolFlag{Name: "save", DisableDefaultText: true, Usage: "stay logged in for 30 days instead of one"}, stdinFlag("the password")),
			p.command("whoami", "show the account that is logged in", "", simple((*request).whoami)),
			p.command("ls", "list what is protected", "", simple((*request).list)),
			p.command("sessions", "show where the account is logged in; * is here", "", simple((*request).sessions)),
			p.command("passwd", "change the password; all other sessions end", "", simple((*request).passwd),
				stdinFlag("the current password, then on a line of\n   \tits own the new one,")),
			p.command("reset", "set a new password with an operator's code", "NAME", func(ctx context.Context, c *cli.Context, r *request) error {
				return r.reset(ctx, c.Args().First())
			}, stdinFlag("the code, then on a line of\n   \tits own the new password,")),
			p.command("logout", "end the session", "", func(ctx context.Context, c *cli.Context, r *request) error {
				return r.logout(ctx, c.Bool("all"))
			}, &cli.BoolFlag{Name: "all", DisableDefaultText: true, Usage: "end all sessions of the account; asks for the password"}, stdinFlag("the password")),
			p.command("delete", "delete the account for good", "", func(ctx context.Context, c *cli.Context, r *request) error {
				return r.delete(ctx, c.Bool("yes"))
			}, &cli.BoolFlag{Name: "yes", DisableDefaultText: true, Usage: "don't ask for a confirmation"}, stdinFlag("the password")),
			p.checked(&cli.Command{Name: "menu", Usage: "choose from a menu, as authcli alone does on a terminal"}, "", p.startMenu),
			p.trustCommand(),
			p.versionCommand(),
		},
	}
	nameAll("", app.Commands)
	app.Commands = append(app.Commands, p.helpCommand())
	return app
}

// nameAll gives commands the usage that pages of help and messages show, and messages the command that they are about.
func nameAll(above string, commands []*cli.Command) {
	for _, c := range commands {
		name, action := strings.TrimSpace(above+" "+c.Name), c.Action
		c.UsageText = strings.TrimSpace("authcli " + name + " [flags] " + c.ArgsUsage)
		c.CustomHelpTemplate = commandHelp
		c.Action = func(ctx *cli.Context) error { return about(name, action(ctx)) }
		c.OnUsageError = func(ctx *cli.Context, err error, below bool) error { return about(name, onUsageError(ctx, err, below)) }
		nameAll(name, c.Subcommands)
	}
}

// about says in a usage error which command it is about.
func about(command string, err error) error {
	var f *failure
	if errors.As(err, &f) && f.command == "" {
		f.command = command
	}
	return err
}

func (p *program) trustCommand() *cli.Command {
	return p.group("trust", "the servers that are known",
		p.command("list", "show them, with their fingerprints", "", simple((*request).trustList)),
		p.command("remove", "forget a server, and the session there", "ADDR", func(ctx context.Context, c *cli.Context, r *request) error {
			return r.trustRemove(ctx, c.Args().First())
		}),
	)
}

func (p *program) versionCommand() *cli.Command {
	return p.checked(&cli.Command{Name: "version", Usage: "print the version"}, "", func(c *cli.Context) error {
		p.answer(versionDocument{version()}, "authcli version %s\n", version())
		return nil
	})
}

func (p *program) helpCommand() *cli.Command {
	return &cli.Command{
		Name: "help", Usage: "show what there is, or one command", ArgsUsage: "[COMMAND]",
		UsageText:       "authcli help [COMMAND]",
		HideHelpCommand: true,
		OnUsageError:    onUsageError,
		Action: func(c *cli.Context) error {
			commands, names := c.App.Commands, c.Args().Slice()
			for i, name := range names {
				found := find(commands, name)
				if found == nil {
					return unknownCommand(strings.Join(names[:i+1], " "))
				}
				commands = found.Subcommands
			}
			return p.app().RunContext(c.Context, append(append([]string{c.App.Name}, names...), "--help"))
		},
	}
}

func find(commands []*cli.Command, name string) *cli.Command {
	for _, c := range commands {
		if c.HasName(name) {
			return c
		}
	}
	return nil
}

// alone is authcli without a command: the menu for a person, a page of help for a program.
func (p *program) alone(c *cli.Context) error {
	if c.Args().Present() {
		return unknownCommand(c.Args().First())
	}
	for _, name := range []string{"server", "home"} {
		if find(c.App.Commands, c.String(name)) != nil {
			return usage("--%s needs a value: it got the command %q", name, c.String(name))
		}
	}
	if !p.typedAt || !p.shownAt {
		if c.NumFlags() == 0 {
			c.App.Writer = p.stderr
			_ = cli.ShowAppHelp(c)
		}
		return usage("a command is needed")
	}
	return p.startMenu(c)
}

func (p *program) startMenu(c *cli.Context) error {
	if p.json {
		return usage("the menu is for a person: it has no --json")
	}
	if err := p.terminal.open(); err != nil {
		return local(errNoTerminal.code, "the menu needs a terminal")
	}
	return p.start(c, simple((*request).menu))
}

type runFunc func(ctx context.Context, c *cli.Context, r *request) error

func simple(run func(*request, context.Context) error) runFunc {
	return func(ctx context.Context, _ *cli.Context, r *request) error { return run(r, ctx) }
}

// command makes a command that takes no argument, or one if it has a name for it.
func (p *program) command(name, about, argument string, run runFunc, flags ...cli.Flag) *cli.Command {
	return p.checked(&cli.Command{Name: name, Usage: about, Flags: flags}, argument, func(c *cli.Context) error { return p.start(c, run) })
}

// group makes a command that is only there for those below it.
func (p *program) group(name, about string, below ...*cli.Command) *cli.Command {
	return &cli.Command{
		Name: name, Usage: about, ArgsUsage: "COMMAND", Flags: settingFlags(true), Subcommands: below, HideHelpCommand: true, OnUsageError: onUsageError,
		Action: func(c *cli.Context) error {
			if c.Args().Present() {
				return unknownCommand(name + " " + c.Args().First())
			}
			return usage("%s needs a command", name)
		},
	}
}

// checked refuses what urfave/cli lets pass: missing and further arguments, and flags behind one.
func (p *program) checked(c *cli.Command, argument string, action cli.ActionFunc) *cli.Command {
	c.ArgsUsage = argument
	c.Flags = append(c.Flags, settingFlags(true)...)
	c.HideHelpCommand, c.OnUsageError = true, onUsageError
	c.Action = func(ctx *cli.Context) error {
		args := ctx.Args().Slice()
		for _, a := range args {
			if strings.HasPrefix(a, "-") {
				return usage("flags come before the %s: %q", orElse(argument, "arguments"), clean(a))
			}
		}
		switch {
		case argument != "" && len(args) == 0:
			return usage("%s is missing: %s", argument, c.UsageText)
		case argument != "" && len(args) > 1:
			return usage("unexpected argument %q", clean(args[1]))
		case argument == "" && len(args) > 0:
			return usage("unexpected argument %q", clean(args[0]))
		}
		p.json = setting(ctx, "json") != nil && setting(ctx, "json").Bool("json")
		return action(ctx)
	}
	return c
}

func orElse(text, other string) string {
	if text == "" {
		return other
	}
	return text
}

// start makes a request of the flags and the environment, and runs it. What it ends with is a failure.
func (p *program) start(c *cli.Context, run runFunc) error {
	s, err := settingsOf(c)
	if err != nil {
		return err
	}
	r, err := p.request(s, c.Bool("password-stdin"))
	if err == nil {
		err = run(c.Context, c, r)
	}
	if err == nil {
		return nil
	}
	address := s.server
	if r != nil {
		address = r.address
	}
	return explain(c.Context, address, err)
}

func settingsOf(c *cli.Context) (s settings, err error) {
	text := func(name, variable string) string {
		at := setting(c, name)
		if at == nil {
			return os.Getenv(variable)
		}
		if at.String(name) == "" {
			err = usage("--%s needs a value", name)
		}
		return at.String(name)
	}
	s.server, s.home = text("server", "AUTHCLI_SERVER"), text("home", "AUTHCLI_HOME")
	if at := setting(c, "accept-new"); at != nil {
		s.acceptNew = at.Bool("accept-new")
	}
	if _, _, parseErr := client.ParseAddress(s.server); s.server != "" && err == nil && parseErr != nil {
		err = usage("%v", parseErr)
	}
	return s, err
}

// setting returns where a flag of all commands was set, the nearest to the command, or nil.
func setting(c *cli.Context, name string) *cli.Context {
	for _, at := range c.Lineage() {
		if at.Command != nil && at.IsSet(name) {
			return at
		}
	}
	return nil
}

// settingFlags are the flags of all commands. They are shown once.
func settingFlags(hidden bool) []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "server", Usage: "the server's `ADDR`, as above [$AUTHCLI_SERVER]", Hidden: hidden},
		&cli.StringFlag{Name: "home", Usage: "the folder `DIR` of sessions and known servers; default:\n   \tauthcli in the user's folder for configuration,\n   \tsuch as ~/.config/authcli [$AUTHCLI_HOME]", Hidden: hidden},
		&cli.BoolFlag{Name: "accept-new", DisableDefaultText: true, Usage: "trust a server that is not known yet, without asking", Hidden: hidden},
		&cli.BoolFlag{Name: "json", DisableDefaultText: true, Usage: "print one JSON document, and errors as JSON", Hidden: hidden},
	}
}

func stdinFlag(what string) cli.Flag {
	return &cli.BoolFlag{Name: "password-stdin", DisableDefaultText: true, Usage: "read " + what + " from standard input"}
}

func unknownCommand(name string) error {
	if strings.HasPrefix(name, "-") {
		return usage("there is no flag %q", clean(name))
	}
	return usage("there is no command %q", clean(name))
}

// onUsageError takes the place of the page of help that urfave/cli prints on standard output.
func onUsageError(_ *cli.Context, err error, _ bool) error {
	text := err.Error()
	for _, known := range []struct{ theirs, ours string }{
		{"flag provided but not defined: -", "there is no flag --%s"},
		{"flag needs an argument: -", "--%s needs a value"},
	} {
		if name, ok := strings.CutPrefix(text, known.theirs); ok {
			text = fmt.Sprintf(known.ours, strings.TrimPrefix(name, "-"))
		}
	}
	return usage("%s", text)
}
