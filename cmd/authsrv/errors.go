package main

import (
	"errors"
	"fmt"
	"strings"
	"syscall"

	"github.com/authsrv/authsrv/internal/account"
	"github.com/authsrv/authsrv/kv"
	"github.com/authsrv/authsrv/kv/pebblekv"
)

// The exit codes of both commands; authcli has the others.
const (
	exitDone        = 0
	exitUsage       = 2
	exitConnection  = 3 // the server that runs did not answer, or not to the end
	exitLocal       = 5 // refused here: bad input, a bad key file, a wrong passphrase
	exitStorage     = 6
	exitBusy        = 7   // what is in the way may go away by itself: to try again may do
	exitInterrupted = 130 // before anything was done
)

// failure is an error with the exit code that it ends the program with.
type failure struct {
	code int
	err  error
}

func (f *failure) Error() string { return f.err.Error() }
func (f *failure) Unwrap() error { return f.err }

func fail(code int, format string, args ...any) error {
	return &failure{code, fmt.Errorf(format, args...)}
}

// reworded is an error that says what it is in other words.
type reworded struct {
	text  string
	cause error
}

func (r *reworded) Error() string { return r.text }
func (r *reworded) Unwrap() error { return r.cause }

// failFor is fail with a cause that the text does not show as it is.
func failFor(cause error, code int, format string, args ...any) error {
	return &failure{code, &reworded{fmt.Sprintf(format, args...), cause}}
}

// kinds is what errors of the database begin with, each once more where they were passed on.
var kinds = strings.NewReplacer(
	pebblekv.ErrCorrupt.Error()+": ", "", pebblekv.ErrFailed.Error()+": ", "", kv.ErrUnknownOutcome.Error()+": ", "",
	account.ErrDamaged.Error(), "damaged record", "pebblekv: ", "",
)

// detail is the text of an error of the database, for whoever has said already of what kind it is.
func detail(err error) string { return kinds.Replace(oneLine(err)) }

// isDamage says whether an error is what is wrong with a database, and not with its disk or its keys.
func isDamage(err error) bool {
	return errors.Is(err, account.ErrDamaged) || errors.Is(err, pebblekv.ErrCorrupt)
}

// local makes an error one that is refused here, unless it has a code already, or is that of a disk.
func local(err error) error {
	var f *failure
	if err == nil || errors.As(err, &f) {
		return err
	}
	for _, disk := range []syscall.Errno{syscall.ENOSPC, syscall.EDQUOT, syscall.EFBIG, syscall.EIO, syscall.EROFS} {
		if errors.Is(err, disk) {
			return fail(exitStorage, "storage failed: %w", err)
		}
	}
	return &failure{exitLocal, err}
}

// explainStore says in a person's words what is wrong with the database in a folder.
func explainStore(dir string, err error) error {
	var missing *account.MissingKeyError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &missing):
		return fail(exitLocal, "the key file is %s than the database in %s: it lacks wrapping key %d: put the key file of its time beside it",
			ageOf(missing), dir, missing.ID)
	case errors.Is(err, pebblekv.ErrLocked):
		return errInUse(dir)
	case errors.Is(err, account.ErrNoStore):
		return errNoDatabase(dir)
	case errors.Is(err, account.ErrOtherRealm):
		return fail(exitLocal, "the database in %s belongs to another key file: put the key file that it was made with beside it", dir)
	case errors.Is(err, account.ErrNewerFormat), errors.Is(err, pebblekv.ErrNewerFormat):
		return fail(exitLocal, "the database in %s was written by a newer version of authsrv", dir)
	case errors.Is(err, account.ErrOlderFormat):
		return fail(exitLocal, "the database in %s was written by an older version of authsrv: start the server once, which migrates it", dir)
	case isDamage(err):
		return failFor(err, exitStorage, "the database in %s is damaged: restore a backup (%s)", dir, detail(err))
	}
	return failFor(err, exitStorage, "storage failed: %s", detail(err))
}

// ageOf is how a key file that lacks a key stands to what is sealed under it.
func ageOf(missing *account.MissingKeyError) string {
	if missing.Older {
		return "older"
	}
	return "newer"
}

// errUsed says of a folder that another process works on it: a command, or a server that does not answer (yet, or any more).
var errUsed = errors.New("another authsrv uses this folder")

func errInUse(dir string) error { return fail(exitBusy, "%w: %s", errUsed, dir) }

// errRunning is the one line for a folder whose server runs, and goes on.
func errRunning(f folder) error {
	return fail(exitLocal, "another authsrv is running on this folder: %s", f)
}
