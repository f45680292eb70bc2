package backup

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
)

// Staged is an archive that was unpacked into a folder of its own, and is not in its place yet. Commit or Discard ends it.
type Staged struct {
	Manifest *Manifest
	Summary  Summary

	keep   bool   // it is to be moved to its place, and so has to be durable
	dir    string // what was unpacked
	target string
	made   []string // the parents that were missing, from below
}

// Extract unpacks an archive into a new folder beside the target, which must not exist, or be an empty folder. All of it is durable then.
// accept may refuse a manifest before anything is made.
func Extract(ctx context.Context, file, target string, accept func(*Manifest) error, p Progress) (s *Staged, err error) {
	if target, err = emptyPlace(target); err != nil {
		return nil, err
	}
	s = &Staged{target: target, keep: true}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Discard())
		}
	}()
	prepare := func(m *Manifest) error {
		if err := accept(m); err != nil {
			return err
		}
		return s.makeFolders(".*.restore")
	}
	if s.Manifest, s.Summary, err = read(ctx, file, prepare, s.create, p); err != nil {
		return s, err
	}
	return s, s.sync()
}

// emptyPlace returns where the folder is to be, past symbolic links.
func emptyPlace(target string) (string, error) {
	target, err := filepath.Abs(target)
	if err != nil {
		return "", err
	}
	info, err := os.Lstat(target)
	if errors.Is(err, fs.ErrNotExist) {
		return target, nil
	} else if err != nil {
		return "", err
	}
	if info.Mode()&fs.ModeSymlink != 0 {
		if target, err = filepath.EvalSymlinks(target); err != nil {
			return "", err
		}
	}
	entries, err := os.ReadDir(target)
	if err != nil {
		return "", err
	}
	if len(entries) > 0 {
		return "", fmt.Errorf("%w: %s", ErrOccupied, target)
	}
	return target, nil
}

// makeFolders makes the folder to unpack into, and the parents that it lacks.
func (s *Staged) makeFolders(suffix string) error {
	parent := filepath.Dir(s.target)
	for dir := parent; ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(dir); err == nil || !errors.Is(err, fs.ErrNotExist) || dir == filepath.Dir(dir) {
			break
		}
		s.made = append(s.made, dir)
	}
	if err := os.MkdirAll(parent, 0o700); err != nil {
		return err
	}
	for _, dir := range s.made {
		if err := syncFolder(filepath.Dir(dir)); err != nil {
			return err
		}
	}
	var err error
	if s.dir, err = os.MkdirTemp(parent, filepath.Base(s.target)+suffix); err != nil { // 0700
		return called(s.target, err)
	}
	return called(s.target, os.Mkdir(s.Store(), 0o700))
}

// create makes the file of an entry, whose name was checked with the manifest.
func (s *Staged) create(f *File) (io.WriteCloser, error) {
	file, err := os.OpenFile(filepath.Join(s.dir, filepath.FromSlash(f.Name)), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	if !s.keep {
		return file, nil
	}
	return syncedFile{file}, nil
}

// syncedFile is durable once it is closed.
type syncedFile struct{ *os.File }

func (f syncedFile) Close() error {
	err := f.Sync()
	if closeErr := f.File.Close(); err == nil {
		err = closeErr
	}
	return err
}

func (s *Staged) sync() error {
	if err := syncFolder(s.Store()); err != nil {
		return err
	}
	return syncFolder(s.dir)
}

// Dir is the folder with what was unpacked, until Commit.
func (s *Staged) Dir() string { return s.dir }

// Store is the folder of the database in it.
func (s *Staged) Store() string { return filepath.Join(s.dir, nameStore) }

// KeyFile is the place of the key file in it.
func (s *Staged) KeyFile() string { return filepath.Join(s.dir, nameKeys) }

// AddKeys puts in a key file for an archive without one.
func (s *Staged) AddKeys(text []byte) error {
	w, err := s.create(&File{Name: nameKeys})
	if err != nil {
		return err
	}
	_, err = w.Write(text)
	if closeErr := w.Close(); err == nil {
		err = closeErr
	}
	return err
}

// Commit moves the folder to its place, durably.
func (s *Staged) Commit() error {
	if err := s.sync(); err != nil {
		return err
	}
	if err := os.Remove(s.target); err != nil && !errors.Is(err, fs.ErrNotExist) { // only an empty one
		return fmt.Errorf("the folder cannot be put in its place: %w", err)
	}
	if err := os.Rename(s.dir, s.target); err != nil {
		return fmt.Errorf("the folder cannot be put in its place: %w", err)
	}
	s.dir, s.made = "", nil
	return syncFolder(filepath.Dir(s.target))
}

// Discard removes what was made, unless it is in its place. It may be called again.
func (s *Staged) Discard() error {
	var err error
	if s.dir != "" {
		err = os.RemoveAll(s.dir)
	}
	for _, dir := range s.made {
		_ = os.Remove(dir) // unless somebody has put something there
	}
	s.dir, s.made = "", nil
	return err
}

// syncFolder makes the entries of a folder durable.
func syncFolder(dir string) error {
	if runtime.GOOS == "windows" {
		return nil // it can't be done there, and renames are journaled
	}
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}
