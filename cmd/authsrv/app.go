package main

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
)

// app is the command line. Flags follow the last command word, and no command but help takes arguments.
func (p *program) app() *cli.App {
	app := &cli.App{
		Name:            "authsrv",
		Usage:           "an account server that is never told a password",
		UsageText:       "authsrv COMMAND [flags]",
		Description:     "Exit codes: 0 done, 2 usage, 3 no answer, 5 refused, 6 storage failed, 7 not now, 130 interrupted.",
		Version:         version(),
		Writer:          p.stdout,
		ErrWriter:       p.stderr,
		HideHelpCommand: true,
		Flags:           []cli.Flag{cli.HelpFlag}, // it is left out where there is a help command of one's own
		OnUsageError:    onUsageError,
		ExitErrHandler:  func(*cli.Context, error) {}, // the default one ends the process
		Action: func(c *cli.Context) error {
			if c.Args().Present() {
				return unknownCommand(c.Args().First())
			}
			c.App.Writer = p.stderr
			_ = cli.ShowAppHelp(c)
			return usage("a command is needed")
		},
		Commands: []*cli.Command{
			p.runCommand(),
			p.initCommand(),
			p.configCommand(),
			p.fingerprintCommand(),
			p.sealCommand(),
			p.unsealCommand(),
			{
				Name: "version", Usage: "print the version", UsageText: "authsrv version [--json]", Flags: []cli.Flag{jsonFlag()},
				Action: func(c *cli.Context) error {
					document := struct {
						Version string `json:"version"`
					}{version()}
					return p.print(c, document, "authsrv version %s\n", version())
				},
			},
		},
	}
	for _, c := range app.Commands {
		c.HideHelpCommand = true
		c.OnUsageError = onUsageError
		c.Action = checked(c.Action)
	}
	app.Commands = append(app.Commands, p.adminCommands()...)
	app.Commands = append(app.Commands, p.backupCommands()...)
	app.Commands = append(app.Commands, p.helpCommand())
	return app
}

func (p *program) helpCommand() *cli.Command {
	return &cli.Command{
		Name: "help", Usage: "show what there is, or one command", UsageText: "authsrv help [COMMAND]",
		HideHelpCommand: true,
		OnUsageError:    onUsageError,
		Action: func(c *cli.Context) error {
			commands := c.App.Commands
			for i, name := range c.Args().Slice() {
				n := slices.IndexFunc(commands, func(c *cli.Command) bool { return c.HasName(name) })
				if n < 0 && i > 0 && len(commands) == 0 {
					return usage("unexpected argument %q", name)
				}
				if n < 0 {
					return unknownCommand(strings.Join(c.Args().Slice()[:i+1], " "))
				}
				commands = commands[n].Subcommands
			}
			return p.app().RunContext(c.Context, slices.Concat([]string{c.App.Name}, c.Args().Slice(), []string{"--help"}))
		},
	}
}

// checked refuses what urfave/cli lets pass: arguments, a flag behind one of them, and flags with an empty value.
func checked(action cli.ActionFunc) cli.ActionFunc {
	return func(c *cli.Context) error {
		if c.Args().Present() {
			return usage("unexpected argument %q", c.Args().First())
		}
		for _, name := range c.LocalFlagNames() {
			if c.String(name) == "" {
				return usage("flag --%s needs a value", name)
			}
		}
		return action(c)
	}
}

func usage(format string, args ...any) error {
	return fail(exitUsage, format+` (see "authsrv help")`, args...)
}

func unknownCommand(name string) error {
	if strings.HasPrefix(name, "-") {
		return usage("flags follow the command")
	}
	return usage("there is no command %q", name)
}

// badValue is what package flag says of a value that a flag for a number or, with "boolean", one without a value can't take. All numbers are from 1.
var badValue = regexp.MustCompile(`(?s)^invalid (boolean )?value (".*") for (?:flag )?-?([a-z-]+): `)

// onUsageError takes the place of the page of help that urfave/cli prints on standard output.
func onUsageError(c *cli.Context, err error, isSubcommand bool) error {
	text := err.Error()
	if name, ok := strings.CutPrefix(text, "flag provided but not defined: -"); ok {
		text = fmt.Sprintf("there is no flag --%s", strings.TrimPrefix(name, "-"))
		if !isSubcommand {
			text += " before a command"
		}
	} else if name, ok := strings.CutPrefix(text, "flag needs an argument: -"); ok {
		text = fmt.Sprintf("flag --%s needs a value", strings.TrimPrefix(name, "-"))
	} else if m := badValue.FindStringSubmatch(text); m != nil {
		text = fmt.Sprintf("--%s: %s is not a number from 1", m[3], m[2])
		if m[1] != "" {
			text = fmt.Sprintf("flag --%s takes no value", m[3])
		}
	}
	return usage("%w", errors.New(text))
}

// Flags that several commands have.

func dataFlag() cli.Flag { return settingFlag("data") }

func passphraseFlag() cli.Flag { return settingFlag("passphrase_file") }
