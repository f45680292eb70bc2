package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/authsrv/authsrv/client"
)

// askTrust shows a fingerprint, for the first time or again, and returns it if the person takes it for the server's.
func (r *request) askTrust(ctx context.Context, unknown *client.UnknownServerError, again bool) (string, error) {
	refused := fail(exitIdentity, "unknown-server", "the server at %s was not trusted: nothing was sent to it", unknown.Address)
	refused.more.Address, refused.more.Fingerprint = unknown.Address, unknown.Fingerprint
	if err := r.terminal.open(); err != nil {
		refused.message = fmt.Sprintf("the server at %s is not known: compare its fingerprint %s, then use --server %s#%s, or --accept-new",
			unknown.Address, unknown.Fingerprint, unknown.Address, unknown.Fingerprint)
		return "", refused
	}
	what := "The server at %s is not known yet. Its fingerprint is\n  %s\n"
	if again {
		what = "The server at %s was accepted before, but has not shown yet that it knows an account of yours. Its fingerprint is\n  %s\n"
	}
	r.terminal.printf(what, clean(unknown.Address), unknown.Fingerprint)
	for prompt := "Is this what its operator told you (yes/no)? "; ; prompt = "Please answer yes or no: " {
		answer, err := r.terminal.line(ctx, prompt)
		switch {
		case errors.Is(err, io.EOF):
			r.terminal.printf("\n")
			return "", refused
		case err != nil:
			return "", err
		case strings.EqualFold(answer, "yes"), answer == unknown.Fingerprint:
			return unknown.Fingerprint, nil
		case strings.EqualFold(answer, "no"):
			return "", refused
		}
	}
}

// explainChange is loud: who overlooks this may give a password to somebody else's server.
func explainChange(e *client.IdentityChangedError) *failure {
	f := fail(exitIdentity, "identity-changed", "%v", e)
	f.more.Address, f.more.Known, f.more.Fingerprint = e.Address, e.Known, e.Got
	stars := strings.Repeat("*", 72) + "\n"
	var b strings.Builder
	b.WriteString(stars)
	b.WriteString("***     STOP: THE IDENTITY OF THE SERVER IS NOT THE ONE EXPECTED     ***\n")
	b.WriteString(stars)
	what := "authcli: the identity of the server at %s has changed.\n"
	if e.KnownAt == "" {
		what = "authcli: the server at %s is not the one that was expected.\n"
	}
	fmt.Fprintf(&b, what, clean(e.Address))
	fmt.Fprintf(&b, "  expected: %s\n  it shows: %s\n", e.Known, e.Got)
	given := e.Given && e.Known != e.Got
	if !given {
		b.WriteString("Somebody may be in between, or another server answers at this address.\n")
	}
	b.WriteString("Nothing of yours was sent.\n")
	switch {
	case given:
		fmt.Fprintf(&b, "It shows the fingerprint that you gave, but another one is kept from before. If the server was set up anew:\n"+
			"  authcli trust remove %s\n", clean(e.KnownAt))
	case e.KnownAt == "":
		b.WriteString("The fingerprint that was expected is the one that you gave. Ask the operator which is right.\n")
	case e.Known == e.Got:
		fmt.Fprintf(&b, "The key is the same, but it stands for another installation. Ask the operator; if that is right:\n"+
			"  authcli trust remove %s\n", clean(e.KnownAt))
	default:
		fmt.Fprintf(&b, "Ask the operator for the fingerprint. Only if the new one is right, forget the old one and connect again:\n"+
			"  authcli trust remove %s\n", clean(e.KnownAt))
	}
	f.banner = b.String()
	return f
}

func (r *request) trustList(context.Context) error {
	servers, err := r.store.Servers()
	if err != nil {
		return err
	}
	byDefault, err := r.store.Default()
	if err != nil {
		return err
	}
	d := trustDocument{Servers: []trustEntry{}}
	var text strings.Builder
	table := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	for _, s := range servers {
		e := trustEntry{s.Address, client.Fingerprint(s.Identity), s.Confirmed, s.Address == byDefault, s.FirstSeen.UTC()}
		d.Servers = append(d.Servers, e)
		state, mark := "accepted", ""
		if e.Pinned {
			state = "pinned"
		}
		if e.Default {
			mark = "default"
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\n", clean(e.Address), e.Fingerprint, state, mark)
	}
	table.Flush()
	if len(servers) == 0 {
		text.WriteString("no server is known yet\n")
	}
	r.answer(d, "%s", trimLines(text.String()))
	return nil
}

func (r *request) trustRemove(_ context.Context, spec string) error {
	address, pin, err := client.ParseAddress(spec)
	if err != nil {
		return usage("%v", err)
	}
	known, ok, err := r.store.Server(address)
	switch {
	case err != nil:
		return err
	case !ok:
		return local("unknown-server", "no server is known at %s", address)
	case pin != "" && pin != client.Fingerprint(known.Identity):
		return local("unknown-server", "the server that is known at %s has another fingerprint", address)
	}
	if _, err := r.store.RemoveServer(address); err != nil {
		return err
	}
	r.answer(addressDocument{address}, "%s is forgotten, and the session there\n", address)
	return nil
}
