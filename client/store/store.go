package store

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/gofrs/flock"
)

const (
	lockFile   = "lock"
	lockWait   = 10 * time.Second // for another process; it holds the lock for one write
	tempSuffix = ".tmp"
)

var errZero = errors.New("store: a Store that neither Memory nor Open has made")

// Store is what a client remembers. It is safe for concurrent use, in one process and in several. Memory and Open make one; the zero
// value is none.
//
// One goroutine of one process at a time uses it, and holds the lock of the folder for one write. A call waits for the lock for up to 10 s,
// and no longer than the context of WithContext, where there is one; then it is an ErrBusy, and has changed nothing.
type Store struct {
	dir    string // empty: in memory
	ctx    context.Context
	turn   chan struct{} // holds an element while a goroutine of this process uses the store
	lock   *flock.Flock
	memory map[string][]byte // the files' text, where dir is empty
}

// Memory returns an empty store that ends with the process.
func Memory() *Store {
	return &Store{ctx: context.Background(), turn: make(chan struct{}, 1), memory: make(map[string][]byte)}
}

// Open returns the store in dir, and makes the folder (0700) if it is not there. A folder that others can write to, or that
// belongs to another user than this one and root, is refused: they could pin a server of theirs.
func Open(dir string) (*Store, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("store: %w", err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("store: %w", err)
	}
	info, err := os.Stat(dir)
	if err != nil {
		return nil, fmt.Errorf("store: %w", err)
	}
	if runtime.GOOS != "windows" && info.Mode().Perm()&0o022 != 0 {
		return nil, fmt.Errorf("%w: %s is %#o", ErrPermissions, dir, info.Mode().Perm())
	}
	if uid, ok := owner(info); ok && !trusted(uid, os.Geteuid()) {
		return nil, fmt.Errorf("%w: %s belongs to user %d", ErrPermissions, dir, uid)
	}
	return &Store{
		dir: dir, ctx: context.Background(), turn: make(chan struct{}, 1),
		lock: flock.New(filepath.Join(dir, lockFile), flock.SetPermissions(0o600)),
	}, nil
}

// WithContext returns the same store, whose calls do not wait for the lock any more when ctx ends: that is an ErrBusy then, which wraps
// the context's error. A call that need not wait is made all the same.
func (s *Store) WithContext(ctx context.Context) *Store {
	bounded := *s
	bounded.ctx = ctx
	return &bounded
}

// Format writes where the store is, whatever the verb, and nothing that is in it.
func (s Store) Format(f fmt.State, _ rune) { fmt.Fprintf(f, "store in %s", cmp.Or(s.dir, "memory")) }

// trusted reports whether a folder may belong to a user: its owner can change what is in it, whatever its mode is.
func trusted(uid, effective int) bool { return uid == effective || uid == 0 }

// exclusive calls f with the lock held, against other goroutines and other processes.
func (s *Store) exclusive(f func() error) error {
	if s.turn == nil {
		return errZero
	}
	ctx, cancel := context.WithTimeout(s.ctx, lockWait)
	defer cancel()
	select {
	case s.turn <- struct{}{}:
	default:
		select {
		case s.turn <- struct{}{}:
		case <-ctx.Done():
			return s.busy()
		}
	}
	defer func() { <-s.turn }()
	if s.dir != "" {
		locked, err := s.lock.TryLock()
		if err == nil && !locked {
			locked, err = s.lock.TryLockContext(ctx, 5*time.Millisecond)
		}
		switch {
		case locked:
			defer s.lock.Unlock()
		case ctx.Err() != nil:
			return s.busy()
		default:
			return fmt.Errorf("store: %w", err)
		}
	}
	return f()
}

// busy is the error of who has waited for the lock in vain.
func (s *Store) busy() error {
	err := fmt.Errorf("%w: %s", ErrBusy, filepath.Join(s.dir, lockFile))
	if ended := s.ctx.Err(); ended != nil {
		err = fmt.Errorf("%w: %w", err, ended)
	}
	return err
}

// view returns what k's file holds.
func view[E, J any](s *Store, k *kind[E, J]) (c contents[E], err error) {
	err = s.exclusive(func() (err error) {
		c, _, err = loadLocked(s, k)
		return err
	})
	return c, err
}

// update lets change work on what k's file holds, and writes it if it is another then.
func update[E, J any](s *Store, k *kind[E, J], change func(*contents[E]) error) error {
	return s.exclusive(func() error { return updateLocked(s, k, change) })
}

func updateLocked[E, J any](s *Store, k *kind[E, J], change func(*contents[E]) error) error {
	c, before, err := loadLocked(s, k)
	if err != nil {
		return err
	}
	if err := change(&c); err != nil {
		return err
	}
	after, err := k.text(c)
	if err != nil {
		return err
	}
	if bytes.Equal(before, after) || before == nil && len(c.entries) == 0 && c.defaultAddress == "" {
		return nil
	}
	if len(after) > maxSize {
		return fmt.Errorf("%w: %s would be larger than 1 MiB", ErrTooLarge, k.file)
	}
	return s.writeLocked(k.file, after)
}

// loadLocked returns what k's file holds, and its text: nil if there is none.
func loadLocked[E, J any](s *Store, k *kind[E, J]) (contents[E], []byte, error) {
	text, err := s.readLocked(k.file)
	if err != nil || text == nil {
		return contents[E]{}, nil, err
	}
	c, err := k.parse(text)
	if err != nil {
		return contents[E]{}, nil, describe(filepath.Join(s.dir, k.file), err)
	}
	return c, text, nil
}

func (s *Store) readLocked(name string) ([]byte, error) {
	if s.dir == "" {
		return s.memory[name], nil
	}
	f, err := os.Open(filepath.Join(s.dir, name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	} else if err != nil {
		return nil, fmt.Errorf("store: %w", err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxSize+1)) // one more than parse lets pass
	if err != nil {
		return nil, fmt.Errorf("store: %w", err)
	}
	return text, nil // not nil, even if the file is empty
}

func (s *Store) writeLocked(name string, text []byte) error {
	if s.dir == "" {
		s.memory[name] = text
		return nil
	}
	s.removeStaleLocked()
	if err := writeWhole(s.dir, name, text); err != nil {
		return fmt.Errorf("store: %w", err)
	}
	return nil
}

// removeStaleLocked removes what a process left that died while it wrote: who holds the lock is the only one that writes.
func (s *Store) removeStaleLocked() {
	entries, _ := os.ReadDir(s.dir)
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), ".json"+tempSuffix) {
			_ = os.Remove(filepath.Join(s.dir, e.Name()))
		}
	}
}

// writeWhole replaces a file such that there is the old text or the new one at any time, also after a crash.
func writeWhole(dir, name string, text []byte) error {
	f, err := os.CreateTemp(dir, "*."+name+tempSuffix) // 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // no longer there, if all went well
	_, err = f.Write(text)
	if err == nil {
		err = f.Sync()
	}
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return err
	}
	if err := os.Rename(f.Name(), filepath.Join(dir, name)); err != nil {
		return err
	}
	if runtime.GOOS == "windows" {
		return nil // a folder can't be synced there, and renames are journaled
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
