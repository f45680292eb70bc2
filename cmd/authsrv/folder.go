package main

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/gofrs/flock"

	"github.com/authsrv/authsrv/internal/admin"
)

// folder is the data folder, by its absolute name.
type folder string

func (f folder) keys() string     { return filepath.Join(string(f), "keys") }
func (f folder) database() string { return filepath.Join(string(f), "db") }
func (f folder) config() string   { return filepath.Join(string(f), "authsrv.toml") }
func (f folder) lockFile() string { return filepath.Join(string(f), "lock") }

// newMark is there from before the keys are made until a database has been: without it, one that is not there was lost.
func (f folder) newMark() string { return filepath.Join(string(f), "new") }

// ours says whether a name is one that a data folder has beside its keys and its database.
func ours(name string) bool {
	switch name {
	case "lock", "new", "authsrv.toml", "backup.lock", "checkpoint", "checkpoint.partial", admin.SocketName:
		return true
	}
	return strings.HasSuffix(name, ".tmp") &&
		(strings.HasPrefix(name, "keys.") || strings.HasPrefix(name, "new.") || strings.HasPrefix(name, "authsrv.toml."))
}

func defaultFolder() (string, error) {
	if dir := os.Getenv("XDG_DATA_HOME"); filepath.IsAbs(dir) { // the specification has others ignored
		return filepath.Join(dir, "authsrv"), nil
	}
	if dir := os.Getenv("LOCALAPPDATA"); runtime.GOOS == "windows" && dir != "" {
		return filepath.Join(dir, "authsrv"), nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", err
	}
	return filepath.Join(home, ".local", "share", "authsrv"), nil
}

// inspect says whether the folder has keys. One without them must be absent, or hold nothing that is not ours: then it may be
// taken into use. Nothing is changed.
func (f folder) inspect() (hasKeys bool, err error) {
	info, err := os.Stat(string(f))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return false, nil
	case err != nil:
		return false, local(err)
	case !info.IsDir():
		return false, fail(exitLocal, "the data folder %s is a file", f)
	}
	entries, err := os.ReadDir(string(f))
	if err != nil {
		return false, local(err)
	}
	foreign, database := "", false
	for _, e := range entries {
		switch name := e.Name(); {
		case name == filepath.Base(f.keys()):
			return true, nil
		case name == filepath.Base(f.database()):
			database = true
		case !ours(name) && foreign == "":
			foreign = name
		}
	}
	switch {
	case database:
		return false, fail(exitLocal, "%s has a database, but no key file: restore the file %s", f, f.keys())
	case foreign != "":
		return false, fail(exitLocal, "%s is not a data folder: it holds %q, and no key file", f, foreign)
	}
	return false, nil
}

// needKeys says what is wrong with a folder that has no key file.
func (f folder) needKeys() error {
	hasKeys, err := f.inspect()
	if err == nil && !hasKeys {
		err = fail(exitLocal, "%s is not a data folder: it has no key file", f)
	}
	return err
}

// isNew says whether no database was made in the folder yet.
func (f folder) isNew() bool {
	_, err := os.Lstat(f.newMark())
	return err == nil
}

// hasDatabase says whether there is anything where the database is.
func (f folder) hasDatabase() bool {
	entries, err := os.ReadDir(f.database())
	return len(entries) > 0 || err != nil && !errors.Is(err, fs.ErrNotExist)
}

// checkDatabase refuses a folder whose database was lost: a server that began anew would give the names away.
func (f folder) checkDatabase() error {
	if f.isNew() || f.hasDatabase() {
		return nil
	}
	return errNoDatabase(f.database())
}

func errNoDatabase(dir string) error {
	return fail(exitLocal, "there is a key file, but the database that belongs to it is gone: put back %s, or restore a backup", dir)
}

// setMark and removeMark are durable.
func (f folder) setMark() error {
	return writeWhole(f.newMark(), "no database has been made here yet\n", 0o600)
}

func (f folder) removeMark() error {
	if err := os.Remove(f.newMark()); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return local(err)
	}
	return syncFolder(string(f))
}

// create makes the folder, durably, or closes one that is there to others.
func (f folder) create() error {
	if err := f.checkOwner(); err != nil {
		return err
	}
	var made []string // what is missing on the way, from below
	for dir := string(f); ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(dir); err == nil || !errors.Is(err, fs.ErrNotExist) || dir == filepath.Dir(dir) {
			break
		}
		made = append(made, dir)
	}
	if err := os.MkdirAll(string(f), 0o700); err != nil {
		return local(err)
	}
	for _, dir := range made {
		if err := syncFolder(filepath.Dir(dir)); err != nil {
			return local(err)
		}
	}
	return local(os.Chmod(string(f), 0o700))
}

// syncFolder makes the entries of a folder durable.
func syncFolder(dir string) error {
	if runtime.GOOS == "windows" {
		return nil // it can't be done there
	}
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}

// effectiveUser is changed by tests alone.
var effectiveUser = os.Geteuid

// checkOwner is mayOpen for this process, and a folder that need not be there.
func (f folder) checkOwner() error {
	info, err := os.Stat(string(f))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return local(err)
	}
	if uid, known := owner(info); known {
		return f.mayOpen(effectiveUser(), uid)
	}
	return nil
}

// mayOpen keeps root from making files in the folder of a server of another user, which that server could not open afterwards.
func (f folder) mayOpen(own, owner int) error {
	if own == 0 && owner != 0 {
		return fail(exitLocal, "%s belongs to user %d, whose server can't open what root leaves there: do this as that user", f, owner)
	}
	return nil
}

// lock makes this process the only one that changes the folder. The lock ends with the process at the latest. Its
// file stays. The error is errRunning where a server answers, and errUsed where nobody does.
func (f folder) lock() (unlock func(), err error) {
	if err := f.checkOwner(); err != nil {
		return nil, err
	}
	l := flock.New(f.lockFile(), flock.SetFlag(os.O_CREATE|os.O_RDWR), flock.SetPermissions(0o600))
	locked, err := l.TryLock()
	if err != nil {
		return nil, local(fmt.Errorf("cannot lock the data folder: %w", err))
	}
	if !locked {
		if _, err := admin.Dial(string(f)); err == nil {
			return nil, errRunning(f)
		}
		return nil, errInUse(string(f))
	}
	return func() { _ = l.Close() }, nil
}

const (
	lockTime = 10 * time.Second       // how long a server that starts waits for the folder
	lockPoll = 100 * time.Millisecond // and how often it looks
)

// lockPatiently is lock for a server that starts: what a command does on a stopped folder is done in a moment. For a server that runs it does not wait.
func (f folder) lockPatiently(log *slog.Logger) (unlock func(), err error) {
	end := time.Now().Add(lockTime)
	for waits := false; ; time.Sleep(lockPoll) {
		if unlock, err = f.lock(); !errors.Is(err, errUsed) || !time.Now().Before(end) {
			return unlock, err
		}
		if !waits {
			waits = true
			log.Info("waiting: another authsrv uses this folder", "data", string(f), "within", lockTime)
		}
	}
}

// writeWhole puts text in the place of a file: a reader finds the old text or the new one, whatever happens meanwhile. Errors name the file.
func writeWhole(name, text string, perm fs.FileMode) error {
	if err := writeTemp(name, text, perm); err != nil {
		return fmt.Errorf("cannot write %s: %w", name, causeOf(err))
	}
	return syncFolder(filepath.Dir(name))
}

// writeTemp writes a file under a temporary name beside its own, and renames it.
func writeTemp(name, text string, perm fs.FileMode) error {
	f, err := os.CreateTemp(filepath.Dir(name), filepath.Base(name)+".*.tmp")
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	if err == nil && runtime.GOOS != "windows" {
		err = f.Chmod(perm)
	}
	if err == nil {
		err = f.Sync()
	}
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err == nil {
		err = os.Rename(f.Name(), name)
	}
	if err != nil {
		_ = os.Remove(f.Name())
	}
	return err
}

// causeOf is what an error of a file says beside the name that the file had.
func causeOf(err error) error {
	var path *fs.PathError
	var link *os.LinkError
	switch {
	case errors.As(err, &path):
		return path.Err
	case errors.As(err, &link):
		return link.Err
	}
	return err
}

// probe says whether writeWhole could write a file.
func probe(name string) error {
	if info, err := os.Stat(name); err == nil && info.IsDir() {
		return fmt.Errorf("cannot write %s: it is a folder", name)
	}
	f, err := os.CreateTemp(filepath.Dir(name), filepath.Base(name)+".*.tmp")
	if err != nil {
		return fmt.Errorf("cannot write %s: %w", name, causeOf(err))
	}
	f.Close()
	return os.Remove(f.Name())
}
