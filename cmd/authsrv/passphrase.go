package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/urfave/cli/v2"
	"golang.org/x/term"

	"github.com/authsrv/authsrv/cmd/internal/prompt"
)

// credentialName is that of the systemd credential with the passphrase of the key file.
const credentialName = "authsrv-passphrase"

const maxPassphrase = 1024 // bytes

// givenPassphrase returns the passphrase of the file that the configuration names or of the systemd credential, and nil if there is neither.
func givenPassphrase(c *cli.Context) ([]byte, error) {
	name, err := lookUp(c, "passphrase_file")
	if err != nil {
		return nil, err
	}
	if name != "" {
		return readPassphrase(name)
	}
	dir := os.Getenv("CREDENTIALS_DIRECTORY")
	if dir == "" {
		return nil, nil
	}
	passphrase, err := readPassphrase(filepath.Join(dir, credentialName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return passphrase, err
}

// readPassphrase reads the one line of a file.
func readPassphrase(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, fail(exitLocal, "cannot read the passphrase: %w", err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxPassphrase+3))
	if err != nil {
		return nil, fail(exitLocal, "cannot read the passphrase: %w", err)
	}
	text = bytes.TrimSuffix(bytes.TrimSuffix(text, []byte("\n")), []byte("\r"))
	switch {
	case len(text) == 0:
		return nil, fail(exitLocal, "the passphrase file %s is empty", name)
	case len(text) > maxPassphrase:
		return nil, fail(exitLocal, "the passphrase in %s is longer than %d bytes", name, maxPassphrase)
	case bytes.ContainsAny(text, "\n\r\x00"):
		return nil, fail(exitLocal, "the passphrase file %s is not one line of text", name)
	}
	return text, nil
}

// terminal says whether standard input is one, where a person sits.
func (p *program) terminal() bool {
	f, ok := p.stdin.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

var errInterrupted = fail(exitInterrupted, "interrupted")

// ask reads one passphrase from the terminal without showing it.
func (p *program) ask(question string) ([]byte, error) {
	text, err := p.line(question, true)
	switch {
	case errors.Is(err, prompt.ErrInterrupted):
		return nil, errInterrupted
	case err != nil:
		return nil, fail(exitLocal, "no passphrase was typed")
	case len(text) > maxPassphrase:
		return nil, fail(exitLocal, "the passphrase is longer than %d bytes", maxPassphrase)
	}
	return []byte(text), nil
}

// line reads one line from the terminal.
func (p *program) line(question string, hidden bool) (string, error) {
	ctx, restore := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer restore()
	return prompt.Ask(ctx, p.stdin.(*os.File), p.stderr, question, hidden)
}

// confirm has the person at the terminal type what is wanted, after a text that says what for. Not is what was not done if they don't.
func (p *program) confirm(what, wanted, not string) error {
	if !p.terminal() {
		return fail(exitLocal, "a confirmation is needed: --yes, or a terminal")
	}
	typed, err := p.line(what, false)
	switch {
	case errors.Is(err, prompt.ErrInterrupted):
		return errInterrupted
	case err != nil && err != io.EOF:
		return local(err)
	case !strings.EqualFold(strings.TrimSpace(typed), wanted):
		return fail(exitLocal, "not confirmed: %s", not)
	}
	return nil
}

// newPassphrase asks twice. An empty one is returned as it is.
func (p *program) newPassphrase(question string) ([]byte, error) {
	first, err := p.ask(question)
	if err != nil || len(first) == 0 {
		return nil, err
	}
	second, err := p.ask("The same again: ")
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(first, second) {
		return nil, fail(exitLocal, "the passphrases differ")
	}
	return first, nil
}
