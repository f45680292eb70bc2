package backup

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"strconv"
)

// sink takes the bytes of an entry. It is closed when all are there and their sum is right, or something is wrong.
type sink func(f *File) (io.WriteCloser, error)

// read goes through a whole archive once, and hands the bytes of each entry to a sink. Whatever is not as it would have been
// written is an error, but one that the sinks may only see after bytes that are wrong.
func read(ctx context.Context, file string, accept func(*Manifest) error, into sink, p Progress) (*Manifest, Summary, error) {
	if info, err := os.Stat(file); err == nil && !info.Mode().IsRegular() { // to open a pipe may never end
		return nil, Summary{}, fmt.Errorf("%w: %s is not a file", ErrNotBackup, file)
	}
	f, err := os.Open(file)
	if err != nil {
		return nil, Summary{}, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, Summary{}, err
	}
	r := &reader{r: bufio.NewReaderSize(f, int(min(info.Size(), buffered))), sum: sha256.New(), size: info.Size(), progress: p}
	m, err := r.archive(ctx, accept, into)
	if err != nil {
		return nil, Summary{}, err
	}
	return m, Summary{r.done, [32]byte(r.sum.Sum(nil))}, nil
}

// reader reads an archive in order, and sums up what it has read.
type reader struct {
	r          io.Reader
	sum        hash.Hash
	mtime      int64
	done, size int64
	progress   Progress
}

func (r *reader) Read(b []byte) (int, error) {
	n, err := r.r.Read(b)
	r.sum.Write(b[:n])
	r.done += int64(n)
	r.progress.tell("verifying", r.done, r.size)
	return n, err
}

// full reads exactly n bytes.
func (r *reader) full(n int64) ([]byte, error) {
	if r.done+n > r.size {
		return nil, r.short(r.done + n)
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(r, b); err != nil {
		return nil, r.explain(err)
	}
	return b, nil
}

func (r *reader) explain(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return damaged("it got shorter while it was read")
	}
	return err
}

func (r *reader) short(needed int64) error {
	return damaged("it is cut short, and has %d bytes where at least %d belong", r.size, needed)
}

func (r *reader) archive(ctx context.Context, accept func(*Manifest) error, into sink) (*Manifest, error) {
	m, err := r.manifest()
	if err != nil {
		return nil, err
	}
	if err := accept(m); err != nil {
		return nil, err
	}
	for i := range m.Files {
		if err := r.file(ctx, &m.Files[i], into); err != nil {
			return nil, err
		}
	}
	want, err := end(r.sum.Sum(nil), r.mtime)
	if err != nil {
		return nil, err
	}
	have, err := r.full(int64(len(want)))
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(have, want) {
		return nil, damaged("its end does not fit to the rest")
	}
	return m, nil
}

// manifest reads the first entry, whose header tells what no other does: a size and a time.
func (r *reader) manifest() (*Manifest, error) {
	if r.size < block {
		return nil, ErrNotBackup
	}
	have, err := r.full(block)
	if err != nil {
		return nil, err
	}
	size, sizeErr := strconv.ParseInt(string(have[124:135]), 8, 64)
	mtime, mtimeErr := strconv.ParseInt(string(have[136:147]), 8, 64)
	if sizeErr != nil || mtimeErr != nil || size < 0 || mtime < 0 || size > maxManifest {
		return nil, ErrNotBackup
	}
	if want, err := header(nameManifest, size, mtime); err != nil || !bytes.Equal(have, want) {
		return nil, ErrNotBackup
	}
	r.mtime = mtime
	text, err := r.full(size)
	if err != nil {
		return nil, err
	}
	m, err := decodeManifest(text)
	if err != nil {
		return nil, err
	}
	if m.Created.Unix() != mtime {
		return nil, damaged("its manifest is of another time than its entries")
	}
	if total := m.size(int(size)); r.size < total {
		return nil, damaged("it is cut short, and has %d bytes of %d", r.size, total)
	} else if r.size > total {
		return nil, damaged("it has %d bytes behind its end", r.size-total)
	}
	return m, r.padding(size)
}

func (r *reader) padding(size int64) error {
	zeros, err := r.full(padded(size) - size)
	if err == nil && len(bytes.Trim(zeros, "\x00")) > 0 {
		err = damaged("there is something between its files")
	}
	return err
}

func (r *reader) file(ctx context.Context, f *File, into sink) error {
	have, err := r.full(block)
	if err != nil {
		return err
	}
	want, err := header(f.Name, f.Size, r.mtime)
	if err != nil {
		return err
	}
	if !bytes.Equal(have, want) {
		return damaged("the header of %s is not as it was written", f.Name)
	}
	w, err := into(f)
	if err != nil {
		return err
	}
	sum := sha256.New()
	n, err := copyBytes(ctx, io.MultiWriter(w, sum), r, f.Size, nil)
	switch {
	case err != nil:
	case n != f.Size:
		err = r.explain(io.ErrUnexpectedEOF)
	case !bytes.Equal(sum.Sum(nil), f.SHA256):
		err = damaged("%s has another sum than it was written with", f.Name)
	}
	if closeErr := w.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return err
	}
	return r.padding(f.Size)
}
