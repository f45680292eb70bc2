// Command pocketbase is a PocketBase server with its defaults, and with users to log in as: a peer of package bench.
//
//	pocketbase DIR HOST:PORT USERS < PASSWORD
//
// The users are user0@example.org and on. It ends with its standard input.
package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/pocketbase/pocketbase"
	"github.com/pocketbase/pocketbase/apis"
	"github.com/pocketbase/pocketbase/core"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "pocketbase:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) != 3 {
		return fmt.Errorf("usage: pocketbase DIR HOST:PORT USERS < PASSWORD")
	}
	users, err := strconv.Atoi(args[2])
	if err != nil {
		return err
	}
	in := bufio.NewReader(os.Stdin)
	password, err := in.ReadString('\n')
	if err != nil {
		return err
	}
	go func() {
		_, _ = io.Copy(io.Discard, in)
		os.Exit(0)
	}()
	app := pocketbase.NewWithConfig(pocketbase.Config{DefaultDataDir: args[0], HideStartBanner: true})
	if err := app.Bootstrap(); err != nil {
		return err
	}
	if err := app.RunAllMigrations(); err != nil {
		return err
	}
	collection, err := app.FindCollectionByNameOrId("users")
	if err != nil {
		return err
	}
	for n := range users {
		email := fmt.Sprintf("user%d@example.org", n)
		if _, err := app.FindAuthRecordByEmail(collection, email); err == nil {
			continue
		}
		r := core.NewRecord(collection)
		r.SetEmail(email)
		r.SetPassword(strings.TrimSpace(password))
		if err := app.Save(r); err != nil {
			return err
		}
	}
	return apis.Serve(app, apis.ServeConfig{HttpAddr: args[1]})
}
