package main

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/urfave/cli/v2"
	"golang.org/x/term"

	"github.com/authsrv/authsrv/internal/account"
	"github.com/authsrv/authsrv/internal/backup"
	"github.com/authsrv/authsrv/kv/pebblekv"
)

// This file is what the commands that work on backups share.

// backupCommands are those that work on backups.
func (p *program) backupCommands() []*cli.Command {
	return []*cli.Command{
		positional(p.backupCommand(), 1), positional(p.restoreCommand(), 1), positional(p.verifyCommand(), 1),
	}
}

// untilSignal returns a context that ends with the first signal, or with stop. A second signal has its usual effect: it ends the process at once.
func untilSignal(parent context.Context) (ctx context.Context, stop context.CancelFunc) {
	ctx, stop = signal.NotifyContext(parent, os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	return ctx, stop
}

// explainBackup gives an error about an archive its exit code, and says which file it is about.
func explainBackup(file string, err error) error {
	var f *failure
	var missing *account.MissingKeyError
	var path *fs.PathError
	switch {
	case err == nil || errors.As(err, &f):
		return err
	case errors.As(err, &missing) && !errors.Is(err, backup.ErrDamaged):
		return fail(exitLocal, "%s: the key file is %s than the backup: it lacks wrapping key %d", file, ageOf(missing), missing.ID)
	case errors.Is(err, context.Canceled):
		return fail(exitInterrupted, "interrupted: nothing was made")
	case errors.Is(err, account.ErrOtherRealm):
		return fail(exitLocal, "%s belongs to another key file", file)
	case errors.Is(err, account.ErrNewerFormat), errors.Is(err, pebblekv.ErrNewerFormat):
		return fail(exitLocal, "%s: %w", file, backup.ErrNewer)
	case errors.Is(err, backup.ErrNotBackup), errors.Is(err, backup.ErrDamaged), errors.Is(err, backup.ErrNewer):
		return failFor(err, exitLocal, "%s: %s", file, detail(err))
	case errors.Is(err, account.ErrNoStore):
		return failFor(err, exitLocal, "%s: %v: its database is empty", file, backup.ErrDamaged)
	case isDamage(err):
		return failFor(err, exitLocal, "%s: %v: its database does not open (%s)", file, backup.ErrDamaged, detail(err))
	case errors.As(err, &path) && path.Path == file:
		err = &reworded{fmt.Sprintf("%s: %v", file, path.Err), err}
	}
	return local(err)
}

// report is what the commands print: with --json as it is, else as lines for a person.
type report struct {
	Backup      string    `json:"backup,omitempty"`
	Data        string    `json:"data,omitempty"`
	Fingerprint string    `json:"fingerprint,omitempty"`
	Created     time.Time `json:"created"` // the backup
	Size        int64     `json:"size"`    // of the archive, in bytes
	Records     int       `json:"records"`
	Accounts    int       `json:"accounts"`
	Sessions    int       `json:"sessions"` // in the backup
	Opened      bool      `json:"opened"`   // every record, with the keys
	Keys        bool      `json:"keys"`     // are in the backup
	Ended       *int      `json:"sessions_ended,omitempty"`
	SHA256      string    `json:"sha256"`
}

func newReport(m *backup.Manifest, s backup.Summary, found account.Inspection) *report {
	return &report{
		Created: m.Created, Size: s.Size, Records: found.Total(), Accounts: found.Accounts, Sessions: found.Sessions,
		Opened: found.Opened, Keys: m.Keys, SHA256: hex.EncodeToString(s.SHA256[:]),
	}
}

func (p *program) report(c *cli.Context, r *report) error {
	if c.Bool("json") {
		return local(json.NewEncoder(p.stdout).Encode(r))
	}
	line := func(name, format string, args ...any) { fmt.Fprintf(p.stdout, name+": "+format+"\n", args...) }
	if r.Backup != "" {
		line("backup", "%s", r.Backup)
	}
	if r.Data != "" {
		line("data folder", "%s", r.Data)
		line("fingerprint", "%s", r.Fingerprint)
	}
	line("created", "%s", r.Created.Format(time.RFC3339))
	line("size", "%d bytes", r.Size)
	how := "all opened"
	if !r.Opened {
		how = "not opened: only their form was verified"
	}
	line("records", "%d, %s", r.Records, how)
	line("accounts", "%d", r.Accounts)
	if r.Ended != nil {
		line("sessions", "%d ended: everybody logs in again", *r.Ended)
		return nil
	}
	line("sessions", "%d", r.Sessions)
	if r.Keys {
		line("keys", "in the backup, as they stand")
	} else {
		line("keys", "not in the backup, which is of no use without them")
	}
	line("sha256", "%s", r.SHA256)
	return nil
}

// progress shows on a terminal how far something has come, in one line that it wipes away in the end.
type progress struct {
	w     io.Writer // nil: nobody looks
	plain bool      // not a terminal: each tenth is a line
	last  string
}

func (p *program) progress() *progress {
	if f, ok := p.stderr.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		return &progress{w: f}
	}
	return &progress{}
}

// lines is progress for what takes so long that a log wants it too.
func (p *program) lines() *progress {
	shown := p.progress()
	if shown.w == nil {
		shown.w, shown.plain = p.stderr, true
	}
	return shown
}

func (p *progress) tell(step string, done, total int64) {
	if p.w == nil || total == 0 {
		return
	}
	if p.plain {
		if line := fmt.Sprintf("%s: %d %%", step, 10*(10*done/total)); line != p.last {
			p.last = line
			fmt.Fprintf(p.w, "%s (%d of %d)\n", line, done, total)
		}
		return
	}
	if line := fmt.Sprintf("%s: %d %%", step, 100*done/total); line != p.last {
		p.last = line
		fmt.Fprintf(p.w, "\r\x1b[K%s", line)
	}
}

func (p *progress) end() {
	if p.last != "" && !p.plain {
		fmt.Fprint(p.w, "\r\x1b[K")
		p.last = ""
	}
}
