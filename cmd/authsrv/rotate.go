package main

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/authsrv/authsrv/internal/admin"
	"github.com/authsrv/authsrv/internal/keyfile"
	"github.com/authsrv/authsrv/internal/keyring"
)

const keyDescription = "It works while the server runs, by the socket in the data folder, and when it is stopped. The kinds:\n" +
	"  token     signs session tokens. Old ones verify until the last session that they have signed for has ended\n" +
	"  wrapping  seals the records of the database. All are sealed anew, while the server runs; then the old one is removed\n" +
	"  identity  is what clients know the server by. It gives way to the successor that they were told of, which they accept\n" +
	"  epoch     is in the certificate of the running server: clients that have seen a higher one refuse the others\n" +
	"The keys of salts, names and the audit chain are never rotated: every password, or every record, depends on them."

// keyCommands are those that work on keys.
func (p *program) keyCommands() *cli.Command {
	list := p.adminCommand("list", "list the keys, without anything secret", "", 0, nil, p.keyList)
	rotate := p.adminCommand("rotate", "put a new key in the place of the current one", "KIND", 1, p.checkRotation, p.keyRotate,
		&cli.StringFlag{Name: "next", Usage: "identity: the successor is in `FILE`, since the key file does not have it"},
		&cli.BoolFlag{Name: "end-sessions", Usage: "token: drop the old keys at once, and end all sessions"},
		&cli.BoolFlag{Name: "yes", Usage: "do not ask for a confirmation"})
	list.Description, rotate.Description = keyDescription, keyDescription+"\n"+
		"A key file that is sealed stays so: its passphrase is needed, also while the server runs."
	return p.group("key", "list and rotate the keys of the server", "[KIND]", list, rotate)
}

func (p *program) keyList(c *cli.Context, d admin.Doer) error {
	if !c.Bool("json") {
		fmt.Fprintln(p.stdout, keyHeader)
	}
	return d.Do(c.Context, admin.NewRequest("key.list", nil), func(result json.RawMessage) error {
		text := string(result)
		if !c.Bool("json") {
			var e keyring.Entry
			if err := json.Unmarshal(result, &e); err != nil {
				return err
			}
			text = keyRow(&e)
		}
		_, err := fmt.Fprintln(p.stdout, text)
		return err
	})
}

const keyHeader = "KIND      STATE    SINCE                 ID"

func keyRow(e *keyring.Entry) string {
	since, id := "-", e.ID
	if !e.Since.IsZero() {
		since = moment(e.Since)
	}
	if id == "" {
		id = "-"
	}
	return strings.TrimRight(fmt.Sprintf("%-8s  %-7s  %-20s  %s  %s", e.Kind, e.State, since, id, keyNote(e)), " ")
}

// keyNote says of a key why it is there.
func keyNote(e *keyring.Entry) string {
	switch {
	case e.State == keyring.Fixed:
		return "(never rotated)"
	case e.Offline:
		return "(kept elsewhere: rotate identity needs --next FILE)"
	case e.State == keyring.Former:
		return "(until " + moment(e.Until) + ")"
	case e.State == keyring.Kept && e.Sessions != nil:
		return fmt.Sprintf("(kept until %s at the most: %s)", moment(e.Until), counted(*e.Sessions, "session"))
	case e.State == keyring.Kept && e.Records != nil:
		return fmt.Sprintf("(kept: %s under it still)", counted(*e.Records, "record"))
	case e.Records != nil:
		return fmt.Sprintf("(%s)", counted(*e.Records, "record"))
	}
	return ""
}

// counted is a number of things.
func counted(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}

// checkRotation looks at the command line alone, and asks where there is no way back.
func (p *program) checkRotation(c *cli.Context) error {
	kind := c.Args().First()
	switch kind {
	case keyfile.KindToken, keyfile.KindWrapping, keyfile.KindIdentity, keyfile.KindEpoch:
	default:
		return usage("%q is not token, wrapping, identity or epoch", kind)
	}
	if c.Bool("end-sessions") && kind != keyfile.KindToken {
		return usage("--end-sessions is for token")
	}
	if c.IsSet("next") && kind != keyfile.KindIdentity {
		return usage("--next is for identity")
	}
	var what string
	switch {
	case c.Bool("yes"):
	case c.Bool("end-sessions"):
		what = "This ends all sessions of all accounts."
	case kind == keyfile.KindIdentity:
		what = "Addresses with the old fingerprint and codes that are out are no good afterwards, and clients that have missed the identity before do not follow."
	}
	if what == "" {
		return nil
	}
	return p.confirm(what+" Type yes to go on: ", "yes", "nothing was rotated")
}

func (p *program) keyRotate(c *cli.Context, d admin.Doer) error {
	params := admin.KeyRotation{Kind: c.Args().First(), EndSessions: c.Bool("end-sessions")}
	if c.IsSet("next") {
		next, err := readSeed(c.String("next"))
		if err != nil {
			return err
		}
		params.Next = next
	}
	if _, remote := d.(*admin.Client); remote { // who opened the folder has it
		f, err := dataFolder(c)
		if err != nil {
			return err
		}
		if params.Passphrase, err = p.passphraseOf(c, f); err != nil {
			return err
		}
		sealed, err := keyfile.Sealed(f.keys())
		if err != nil {
			return local(err)
		}
		if sealed && len(params.Passphrase) == 0 {
			return needsPassphrase(fmt.Errorf("%w: %s", keyfile.ErrPassphraseNeeded, f.keys()))
		}
	}
	progress := p.lines()
	var done *keyring.Rotated
	err := d.Do(c.Context, admin.NewRequest("key.rotate", params), func(result json.RawMessage) error {
		var answer struct {
			admin.KeyProgress
			admin.KeyRotated
		}
		if err := json.Unmarshal(result, &answer); err != nil {
			return errors.New("the server's answer is not understood")
		}
		if done = answer.Rotated; done == nil {
			progress.tell("rewrapping", int64(answer.Progress.Done), int64(answer.Progress.Total))
		}
		return nil
	})
	progress.end()
	if err != nil || done == nil {
		return err
	}
	if c.Bool("json") {
		return local(json.NewEncoder(p.stdout).Encode(done))
	}
	_, err = fmt.Fprint(p.stdout, describeRotated(done))
	return err
}

// readSeed reads the next identity: the 64 hexadecimal digits that the key file had.
func readSeed(name string) (string, error) {
	f, err := os.Open(name)
	if err != nil {
		return "", fail(exitLocal, "cannot read the next identity: %w", err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, 256))
	if err != nil {
		return "", fail(exitLocal, "cannot read the next identity: %w", err)
	}
	seed := strings.TrimSpace(string(text))
	if b, err := hex.DecodeString(seed); err != nil || len(b) != len(keyfile.Secret{}) {
		return "", fail(exitLocal, "%s is not a next identity: 64 hexadecimal digits, as in a key file", name)
	}
	return seed, nil
}

func describeRotated(r *keyring.Rotated) string {
	var text strings.Builder
	if r.Finished {
		fmt.Fprintf(&text, "finished: the rotation of %s to %s key %s\n", r.Time.Format(time.RFC3339), r.Kind, r.ID)
	} else {
		fmt.Fprintf(&text, "rotated: %s, now %s\n", r.Kind, r.ID)
	}
	if r.Next != "" {
		fmt.Fprintf(&text, "next: %s\n", r.Next)
	}
	if r.Records != nil {
		fmt.Fprintf(&text, "records: %d sealed anew\n", *r.Records)
	}
	if r.Damaged > 0 {
		fmt.Fprintf(&text, "damaged: %d records do not open, and the key that they are under is kept\n", r.Damaged)
	}
	if r.Sessions != nil {
		fmt.Fprintf(&text, "sessions: %d ended: everybody logs in again\n", *r.Sessions)
	}
	if r.Codes != nil && *r.Codes > 0 {
		fmt.Fprintf(&text, "codes: %d ended: issue them anew\n", *r.Codes)
	}
	return text.String()
}
