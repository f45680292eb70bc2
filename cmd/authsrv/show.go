package main

import (
	"encoding/json"
	"fmt"

	"github.com/urfave/cli/v2"
)

func (p *program) configCommand() *cli.Command {
	return &cli.Command{
		Name:      "config",
		Usage:     "show the configuration, and where each value comes from",
		UsageText: "authsrv config [--data DIR] [--config FILE] [--json]",
		Description: "This is what `authsrv run` would use if it were started here, without its flags: flags come before the environment\n" +
			"(AUTHSRV_ and the key in capitals), that before the file, and that before the default.",
		Flags:  []cli.Flag{settingFlag("data"), configFlag(), jsonFlag()},
		Action: p.config,
	}
}

func (p *program) config(c *cli.Context) error {
	k, err := configure(c)
	if err != nil {
		return err
	}
	encoder := json.NewEncoder(p.stdout)
	encoder.SetEscapeHTML(false)
	width := 0
	for _, v := range k.values {
		width = max(width, len(v.shown()))
	}
	if !c.Bool("json") {
		fmt.Fprintf(p.stdout, "%-20s%-*s  %s\n", "KEY", width, "VALUE", "FROM")
	}
	for i, v := range k.values {
		if c.Bool("json") {
			err = encoder.Encode(struct {
				Key    string `json:"key"`
				Value  string `json:"value"`
				From   string `json:"from"` // flag, environment, file or default
				Where  string `json:"where,omitempty"`
				Reload bool   `json:"reload"` // SIGHUP changes it
			}{table[i].key, v.text, v.from, v.where, table[i].reload})
		} else {
			_, err = fmt.Fprintf(p.stdout, "%-20s%-*s  %s\n", table[i].key, width, v.shown(), v.source())
		}
		if err != nil {
			return local(err)
		}
	}
	return nil
}

// shown is the value for a person.
func (v *value) shown() string {
	if v.text == "" {
		return "-"
	}
	return v.text
}

func (v *value) source() string {
	if v.where == "" {
		return v.from
	}
	return v.from + " " + v.where
}
