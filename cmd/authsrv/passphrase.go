package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/urfave/cli/v2"
	"golang.org/x/term"
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

// terminal returns the descriptor of standard input, if a person sits there.
func (p *program) terminal() (fd int, ok bool) {
	f, ok := p.stdin.(*os.File)
	if !ok {
		return 0, false
	}
	return int(f.Fd()), term.IsTerminal(int(f.Fd()))
}

// ask reads one line from the terminal without showing it.
func (p *program) ask(fd int, prompt string) ([]byte, error) {
	before, err := term.GetState(fd)
	if err != nil {
		return nil, local(err)
	}
	interrupt := make(chan os.Signal, 1)
	signal.Notify(interrupt, os.Interrupt, syscall.SIGTERM)
	defer signal.Stop(interrupt)
	type line struct {
		text []byte
		err  error
	}
	typed := make(chan line, 1)
	fmt.Fprint(p.stderr, prompt)
	go func() {
		text, err := term.ReadPassword(fd)
		typed <- line{text, err}
	}()
	select {
	case l := <-typed:
		fmt.Fprintln(p.stderr)
		if l.err != nil {
			return nil, fail(exitLocal, "no passphrase was typed")
		}
		if len(l.text) > maxPassphrase {
			return nil, fail(exitLocal, "the passphrase is longer than %d bytes", maxPassphrase)
		}
		return l.text, nil
	case <-interrupt:
		_ = term.Restore(fd, before) // or the shell would go on without echo
		fmt.Fprintln(p.stderr)
		return nil, fail(exitInterrupted, "interrupted")
	}
}

// newPassphrase asks twice. An empty one is returned as it is.
func (p *program) newPassphrase(fd int, prompt string) ([]byte, error) {
	first, err := p.ask(fd, prompt)
	if err != nil || len(first) == 0 {
		return nil, err
	}
	second, err := p.ask(fd, "The same again: ")
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(first, second) {
		return nil, fail(exitLocal, "the passphrases differ")
	}
	return first, nil
}
