package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/authsrv/authsrv/internal/account"
	"github.com/authsrv/authsrv/internal/admin"
)

func lifeFlag(fallback string) cli.Flag {
	return &cli.StringFlag{Name: "life", Usage: "the code is good for `TIME`, such as 30m, 12h or 7d", DefaultText: fallback}
}

func (p *program) inviteCommand() *cli.Command {
	c := p.adminCommand("invite", "print a code for one use, with which an account can be registered", "", 0, checkLife, p.invite, lifeFlag("7 days"))
	c.UsageText = "authsrv invite [flags]"
	return c
}

func checkLife(c *cli.Context) error {
	if !c.IsSet("life") {
		return nil
	}
	life, err := parseLife(c.String("life"))
	if err != nil || life < account.MinCodeLife || life > account.MaxCodeLife {
		return usage("--life: %q is not a time from 1m to 30d", c.String("life"))
	}
	return nil
}

// parseLife reads a time as Go does, or in days.
func parseLife(text string) (time.Duration, error) {
	days, found := strings.CutSuffix(text, "d")
	if !found {
		return time.ParseDuration(text)
	}
	n, err := strconv.ParseUint(days, 10, 16)
	return time.Duration(n) * 24 * time.Hour, err
}

// lifeOf is what the flag says; 0: the default.
func lifeOf(c *cli.Context) admin.Life {
	life, err := parseLife(c.String("life"))
	if err != nil { // it is not set
		return admin.Life{}
	}
	return admin.Life{Life: int64(life / time.Second)}
}

func (p *program) userReset(c *cli.Context, d admin.Doer) error {
	params := admin.NamedLife{Named: admin.Named{Name: c.Args().First()}, Life: lifeOf(c)}
	return p.issue(c, d, "user.reset", params)
}

func (p *program) invite(c *cli.Context, d admin.Doer) error {
	return p.issue(c, d, "invite.create", lifeOf(c))
}

// issue asks for a code, and prints that alone: what a person needs to know besides goes to standard error.
func (p *program) issue(c *cli.Context, d admin.Doer, op string, params any) error {
	return d.Do(c.Context, admin.NewRequest(op, params), func(result json.RawMessage) error {
		if c.Bool("json") {
			fmt.Fprintf(p.stdout, "%s\n", result)
			return nil
		}
		var made admin.Code
		if err := json.Unmarshal(result, &made); err != nil {
			return errors.New("the server's answer is not understood")
		}
		if _, err := fmt.Fprintln(p.stdout, made.Code); err != nil {
			return err // there is nothing to say of a code that nobody has seen
		}
		if err := p.stdout.flush(); err != nil {
			return err
		}
		command := "authcli --server ADDR register --invite NAME"
		if made.Name != "" {
			command = "authcli --server ADDR reset " + made.Name
		}
		fmt.Fprintf(p.stderr, "for one use, until %s, with: %s\n", moment(made.Expires), command)
		if made.NotTaken != "" {
			fmt.Fprintf(p.stderr, "no invite is taken as long as registration is %s\n", made.NotTaken)
		}
		return nil
	})
}
