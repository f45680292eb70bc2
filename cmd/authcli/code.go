package main

import (
	"context"
	"strings"

	"github.com/authsrv/authsrv/client"
)

// code reads one that an operator gave out: the next line of standard input, or from the terminal, where nobody sees it. It is judged
// at once, and says which identity the server has to show.
func (r *request) code(ctx context.Context, kind client.CodeKind) (client.CodeText, error) {
	text, err := r.password(ctx, "Code: ")
	if err != nil {
		return client.CodeText{}, err
	}
	code, err := client.ParseCode(text)
	if err != nil {
		return code, err
	}
	if code.Kind != kind {
		use := "authcli register --invite NAME"
		if code.Kind == client.CodeReset {
			use = "authcli reset NAME"
		}
		return code, local("code-of-another-kind", "this code is for: %s", use)
	}
	if address, pin, pinned := strings.Cut(r.server, "#"); !pinned {
		r.server = address + "#" + code.Fingerprint()
	} else if pin != code.Fingerprint() {
		return code, client.ErrCodeServer
	}
	return code, nil
}

func (r *request) reset(ctx context.Context, name string) error {
	name, err := client.CheckName(name)
	if err != nil {
		return err
	}
	code, err := r.code(ctx, client.CodeReset)
	if err != nil {
		return err
	}
	defer code.Destroy()
	password, err := r.newPassword(ctx, "New password for "+name+": ", "The same again: ")
	if err != nil {
		return err
	}
	c, err := r.dial(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.Reset(ctx, name, code, password); err != nil {
		return unsure(err, "it was, if this logs in with the new password: %s login %s", r.again(), name)
	}
	r.answer(accountDocument{name, r.address}, "the password of %s at %s is set, and all sessions have ended; to log in: authcli login %s\n", name, r.address, name)
	return r.rememberDefault(c.Fingerprint())
}
