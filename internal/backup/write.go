package backup

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// Source is what is to be written.
type Source struct {
	Store       string // a folder with a checkpoint of the store
	Keys        []byte // the key file as it stands; nil: it is left out
	Config      []byte // authsrv.toml as it stands; nil: there is none
	Realm       [16]byte
	StoreFormat uint32
	Program     string
	Created     time.Time
}

// Progress is told how many bytes of how many a step has come through. Nil: nobody is told.
type Progress func(step string, done, total int64)

func (p Progress) tell(step string, done, total int64) {
	if p != nil {
		p(step, done, total)
	}
}

// Summary is what a whole archive is known by.
type Summary struct {
	Size   int64
	SHA256 [32]byte // of the file, as sha256sum prints it
}

// Write makes the archive file out of a source. Before it takes its place, check is called with the name that it has until then. An
// archive or another file that is there already stays, and is ErrExists, unless it is to be replaced.
func Write(ctx context.Context, file string, src *Source, replace bool, check func(temp string) error, p Progress) (s Summary, err error) {
	file, err = place(file, replace)
	if err != nil {
		return s, err
	}
	m, open, err := src.survey(ctx, p)
	if err != nil {
		return s, err
	}
	f, err := os.CreateTemp(filepath.Dir(file), filepath.Base(file)+".*.tmp") // 0600
	if err != nil {
		return s, called(file, err)
	}
	defer os.Remove(f.Name())
	defer func() { err = called(file, err) }()
	s, err = writeArchive(ctx, f, m, open, p)
	if err == nil {
		err = f.Sync()
	}
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err == nil {
		err = check(f.Name())
	}
	if err != nil {
		return Summary{}, err
	}
	return s, put(f.Name(), file, replace)
}

// called gives an error about a file or folder that has a temporary name the name that the caller knows.
func called(name string, err error) error {
	temporary := func(path string) bool { return strings.HasPrefix(filepath.Clean(path), filepath.Clean(name)+".") }
	switch e := err.(type) {
	case *fs.PathError:
		if temporary(e.Path) {
			return &fs.PathError{Op: e.Op, Path: name, Err: e.Err}
		}
	case *os.LinkError:
		if temporary(e.Old) {
			return &fs.PathError{Op: e.Op, Path: name, Err: e.Err}
		}
	}
	return err
}

// CheckPlace says whether Write would find its place free, before there is anything to write.
func CheckPlace(file string, replace bool) error {
	dir := filepath.Dir(file)
	info, err := os.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR):
		return fmt.Errorf("there is no folder %s", dir)
	case err != nil:
		return err
	case !info.IsDir():
		return fmt.Errorf("%s is not a folder", dir)
	}
	_, err = place(file, replace)
	return err
}

// place looks at where the archive is to be, before any work is done.
func place(file string, replace bool) (string, error) {
	info, err := os.Lstat(file)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return file, nil
	case err != nil:
		return "", err
	case info.IsDir():
		return "", fmt.Errorf("%s is a folder", file)
	case !replace:
		return "", fmt.Errorf("%w: %s", ErrExists, file)
	}
	target, err := filepath.EvalSymlinks(file) // a link stays, what it points to is replaced
	if err != nil {
		return "", err
	}
	if info, err = os.Stat(target); err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is not a file", file)
	}
	return target, err
}

// put gives a finished file its name, durably. A link is the rename that does not replace.
func put(temp, file string, replace bool) error {
	err := errors.ErrUnsupported
	if !replace {
		err = os.Link(temp, file)
	}
	if err != nil {
		if _, there := os.Lstat(file); there == nil && !replace {
			return fmt.Errorf("%w: %s", ErrExists, file)
		}
		if err := os.Rename(temp, file); err != nil { // a file system without links
			return err
		}
	}
	return syncFolder(filepath.Dir(file))
}

// opener opens the bytes of an entry, by its name.
type opener func(name string) (io.ReadCloser, error)

// survey makes the manifest of a source: it reads through all of it.
func (src *Source) survey(ctx context.Context, p Progress) (*Manifest, opener, error) {
	m := &Manifest{
		Format: formatName, Version: Version, Realm: src.Realm[:], Created: src.Created.UTC().Truncate(time.Second),
		Program: src.Program, StoreFormat: src.StoreFormat, Keys: src.Keys != nil,
	}
	small := map[string][]byte{nameKeys: src.Keys, nameConfig: src.Config}
	open := func(name string) (io.ReadCloser, error) {
		if text, ok := small[name]; ok {
			return io.NopCloser(bytes.NewReader(text)), nil
		}
		return os.Open(filepath.Join(src.Store, filepath.Base(name)))
	}
	total := int64(0)
	for _, name := range []string{nameKeys, nameConfig} {
		if text := small[name]; text != nil {
			m.Files = append(m.Files, File{Name: name, Size: int64(len(text))})
			total += int64(len(text))
		}
	}
	entries, err := os.ReadDir(src.Store) // by ascending name
	if err != nil {
		return nil, nil, err
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			return nil, nil, err
		}
		name := nameStore + "/" + e.Name()
		if !info.Mode().IsRegular() || !storeNames.MatchString(name) {
			return nil, nil, fmt.Errorf("backup: %s is not a file of the store", filepath.Join(src.Store, e.Name()))
		}
		m.Files = append(m.Files, File{Name: name, Size: info.Size()})
		total += info.Size()
	}
	done := int64(0)
	for i := range m.Files {
		sum := sha256.New()
		if err := copyFile(ctx, sum, open, &m.Files[i], func(n int64) { p.tell("reading", done+n, total) }); err != nil {
			return nil, nil, err
		}
		m.Files[i].SHA256 = sum.Sum(nil)
		done += m.Files[i].Size
	}
	return m, open, nil
}

// writeArchive writes the archive of a manifest. A file that is not what the manifest says is an error.
func writeArchive(ctx context.Context, w io.Writer, m *Manifest, open opener, p Progress) (Summary, error) {
	manifest, err := m.encode()
	if err != nil {
		return Summary{}, fmt.Errorf("backup: %w", err)
	}
	a := &archiver{w: w, sum: sha256.New(), mtime: m.Created.Unix(), total: m.size(len(manifest)), progress: p}
	if err := a.header(nameManifest, int64(len(manifest))); err != nil {
		return Summary{}, err
	}
	if err := a.bytes(manifest); err != nil {
		return Summary{}, err
	}
	for i := range m.Files {
		if err := a.file(ctx, &m.Files[i], open); err != nil {
			return Summary{}, err
		}
	}
	last, err := end(a.sum.Sum(nil), a.mtime)
	if err == nil {
		_, err = a.Write(last)
	}
	if err == nil && a.done != a.total {
		err = fmt.Errorf("backup: wrote %d bytes, of %d", a.done, a.total)
	}
	return Summary{a.done, [32]byte(a.sum.Sum(nil))}, err
}

// archiver writes entries, and sums up what it has written.
type archiver struct {
	w           io.Writer
	sum         hash.Hash
	mtime       int64
	done, total int64
	progress    Progress
}

func (a *archiver) Write(b []byte) (int, error) {
	n, err := a.w.Write(b)
	a.sum.Write(b[:n])
	a.done += int64(n)
	a.progress.tell("writing", a.done, a.total)
	return n, err
}

func (a *archiver) header(name string, size int64) error {
	h, err := header(name, size, a.mtime)
	if err == nil {
		_, err = a.Write(h)
	}
	return err
}

// bytes writes what belongs to an entry, and its padding.
func (a *archiver) bytes(b []byte) error {
	if _, err := a.Write(b); err != nil {
		return err
	}
	return a.pad(int64(len(b)))
}

func (a *archiver) pad(size int64) error {
	_, err := a.Write(make([]byte, padded(size)-size))
	return err
}

func (a *archiver) file(ctx context.Context, f *File, open opener) error {
	if err := a.header(f.Name, f.Size); err != nil {
		return err
	}
	sum := sha256.New()
	if err := copyFile(ctx, io.MultiWriter(a, sum), open, f, nil); err != nil {
		return err
	}
	if !bytes.Equal(sum.Sum(nil), f.SHA256) {
		return fmt.Errorf("backup: %s has changed while it was read", f.Name)
	}
	return a.pad(f.Size)
}

// copyFile copies the bytes of an entry, which must be as many as f says.
func copyFile(ctx context.Context, w io.Writer, open opener, f *File, tell func(done int64)) error {
	r, err := open(f.Name)
	if err != nil {
		return err
	}
	defer r.Close()
	n, err := copyBytes(ctx, w, r, f.Size+1, tell)
	if err == nil && n != f.Size {
		err = fmt.Errorf("backup: %s has changed while it was read", f.Name)
	}
	return err
}

// copyBytes copies up to most bytes, and can be cancelled.
func copyBytes(ctx context.Context, w io.Writer, r io.Reader, most int64, tell func(done int64)) (done int64, err error) {
	r = io.LimitReader(r, most)
	buffer := make([]byte, min(most, buffered))
	for {
		if err := ctx.Err(); err != nil {
			return done, err
		}
		n, readErr := r.Read(buffer)
		if _, err := w.Write(buffer[:n]); err != nil {
			return done, err
		}
		done += int64(n)
		if tell != nil {
			tell(done)
		}
		if errors.Is(readErr, io.EOF) {
			return done, nil
		}
		if readErr != nil {
			return done, readErr
		}
	}
}
