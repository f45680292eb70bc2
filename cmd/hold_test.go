package cmd_test

import (
	"context"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/authsrv/authsrv/client"
	"github.com/authsrv/authsrv/client/store"
)

// held is a connection that a script keeps, which authcli has none of.
type held struct {
	client  *client.Client
	session *client.Session
}

func (h *held) close() {
	h.session.Close()
	h.client.Close()
}

func hold(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, len(args) == 4, neg, "hold NAME ADDRESS USER FILE")
	s := stateOf(ts)
	if s.held[args[0]] != nil {
		ts.Fatalf("%s is held already", args[0])
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	c, err := client.Dial(ctx, args[1], &client.Config{Store: store.Memory(), AcceptNew: true})
	ts.Check(err)
	session, err := c.Login(ctx, args[2], strings.TrimSpace(ts.ReadFile(args[3])), nil)
	if err != nil {
		c.Close()
		ts.Fatalf("login: %v", err)
	}
	s.held[args[0]] = &held{c, session}
}

func released(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, len(args) == 1, false, "[!] released NAME")
	h := stateOf(ts).held[args[0]]
	if h == nil {
		ts.Fatalf("%s is not held", args[0])
	}
	if neg {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if _, err := h.session.WhoAmI(ctx); err != nil {
			ts.Fatalf("%s: %v", args[0], err)
		}
		return
	}
	select {
	case <-h.session.Done():
		ts.Logf("%s ended: %v", args[0], h.session.Err())
	case <-time.After(patience):
		ts.Fatalf("the connection of %s goes on", args[0])
	}
}
