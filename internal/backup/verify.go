package backup

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/authsrv/authsrv/internal/account"
	"github.com/authsrv/authsrv/kv/pebblekv"
)

// Verify unpacks an archive into a temporary folder beside it, opens the store, and reads every record: see account.Inspect for what
// secrets do. keys may return other secrets than nil for what was unpacked. The temporary folder is removed.
func Verify(ctx context.Context, file string, keys func(*Staged) (*account.Secrets, error), p Progress) (s *Staged, found account.Inspection, err error) {
	s = &Staged{target: file}
	defer func() { err = errors.Join(err, s.Discard()) }()
	prepare := func(m *Manifest) error {
		if err := Readable(m); err != nil {
			return err
		}
		return s.makeFolders(".*.verify")
	}
	if s.Manifest, s.Summary, err = read(ctx, file, prepare, s.create, p); err != nil {
		return s, found, err
	}
	secrets, err := keys(s)
	if err != nil {
		return s, found, err
	}
	found, err = s.Inspect(ctx, secrets)
	return s, found, err
}

// Readable refuses what a newer version has made.
func Readable(m *Manifest) error {
	if m.StoreFormat > account.Format {
		return ErrNewer
	}
	return nil
}

// Migrate raises the store that was unpacked to this program's format. The archive is the backup that is due before that.
func (s *Staged) Migrate(ctx context.Context, secrets *account.Secrets) (err error) {
	defer func() { err = s.within(err) }()
	if s.Manifest.StoreFormat == account.Format {
		return nil
	}
	engine, err := pebblekv.Open(s.Store(), nil)
	if err != nil {
		return err
	}
	err = account.Migrate(ctx, engine, secrets, func(uint32) error { return nil })
	if closeErr := engine.Close(); err == nil {
		err = closeErr
	}
	return err
}

// within has an error about damage name files as the archive does: the folder that they were unpacked into is gone when it is read.
func (s *Staged) within(err error) error {
	dir, absErr := filepath.Abs(s.dir)
	if !errors.Is(err, pebblekv.ErrCorrupt) || absErr != nil {
		return err
	}
	return &inArchive{strings.ReplaceAll(err.Error(), dir+string(filepath.Separator), ""), err}
}

type inArchive struct {
	text  string
	cause error
}

func (e *inArchive) Error() string { return e.text }
func (e *inArchive) Unwrap() error { return e.cause }

// Inspect opens the store that was unpacked, and reads every record. A damaged one is an error.
func (s *Staged) Inspect(ctx context.Context, secrets *account.Secrets) (found account.Inspection, err error) {
	defer func() { err = s.within(err) }()
	engine, err := pebblekv.Open(s.Store(), nil)
	if err != nil {
		return found, err
	}
	defer func() {
		if closeErr := engine.Close(); err == nil {
			err = closeErr
		}
	}()
	realm, format, err := account.Identify(ctx, engine)
	if err != nil {
		return found, err
	}
	if realm != [16]byte(s.Manifest.Realm) || format < s.Manifest.StoreFormat { // it may have been raised since
		return found, damaged("its database is not the one of its manifest")
	}
	if found, err = account.Inspect(ctx, engine, secrets); err != nil {
		return found, err
	}
	var missing *account.MissingKeyError
	if errors.As(found.First, &missing) { // nothing is wrong with the archive
		return found, missing
	}
	if found.Damaged > 0 {
		return found, fmt.Errorf("%w: %d of %d records: %w", ErrDamaged, found.Damaged, found.Total(), found.First)
	}
	return found, nil
}
