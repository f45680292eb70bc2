package pebblekv

import (
	"context"
	"errors"
	"fmt"
	iofs "io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/atomicfs"

	"github.com/authsrv/authsrv/internal/workers"
)

// formatVersion is pebble's newest stable format in the release that go.mod names. A store of a lower one
// is raised to it when it is opened; one of a higher one is refused. Raise it with pebble.
const formatVersion = pebble.FormatValueSeparation

// versionGap is skipped at every start, and made durable before anything is served. A commit that was seen
// but lost in a crash can't have had a version as high as that, so none is used twice.
const versionGap = 1 << 20

// indexBytes is as large as a table's index gets, so that it is one block: by pebble's default, that of a table of 2 MB is two levels of small ones,
// and each read looks through both.
const indexBytes = 256 << 10

// baseBytes is how large the store gets until it has one level more, by pebble's default 64 MB: each read looks into all of them.
const baseBytes = 512 << 20

// Open opens the store in a folder, and creates both if there is nothing yet. A folder on disk
// becomes accessible to its owner alone. A nil *Options is the zero Options.
func Open(dir string, o *Options) (*Store, error) {
	s, err := newStore(dir, o)
	if err != nil {
		return nil, err
	}
	if err := s.makeDir(s.dir); err != nil {
		return nil, fmt.Errorf("pebblekv: %w", err)
	}
	if s.lock, err = lockDir(s.dir, s.fs); err != nil {
		return nil, err
	}
	m, err := await(context.Background(), s, s.openLocked)
	if err != nil {
		if s.Err() == nil { // otherwise something may still be at work in the folder
			err = errors.Join(err, s.lock.Close())
		}
		return nil, err
	}
	s.last = m.last
	s.assigned.Store(uint64(m.assigned))
	s.feed.init(m)
	s.recent.init(m.last)
	go s.commitLoop()
	go s.syncLoop()
	return s, nil
}

func newStore(dir string, o *Options) (*Store, error) {
	var opts Options
	if o != nil {
		opts = *o
	}
	if dir == "" || opts.FeedLength < 0 || opts.CacheBytes < 0 {
		return nil, errors.New("pebblekv: empty folder name or negative option")
	}
	s := &Store{
		dir:        dir,
		fs:         opts.FS,
		log:        opts.Logger,
		cacheBytes: opts.CacheBytes,
		feed:       feed{length: opts.FeedLength},
		requests:   make(chan *request, queueLength),
		syncs:      make(chan *request, queueLength),
		synced:     make(chan struct{}),
		failed:     make(chan struct{}),
		closing:    make(chan struct{}),
	}
	s.workers = workers.New(nil, s.closing)
	s.close = sync.OnceValue(s.shutdown)
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if s.feed.length == 0 {
		s.feed.length = defaultFeedLength
	}
	if s.cacheBytes == 0 {
		s.cacheBytes = defaultCacheBytes
	}
	if s.fs == nil {
		s.fs, s.disk = vfs.Default, true
		var err error
		if s.dir, err = filepath.Abs(dir); err != nil { // locks within a process go by name
			return nil, fmt.Errorf("pebblekv: %w", err)
		}
	}
	return s, nil
}

// makeDir makes a folder that only its owner may enter: pebble leaves its files to the umask. The
// entries of what is missing on the way are made durable too.
func (s *Store) makeDir(dir string) error {
	parents, err := missing(s.fs, dir)
	if err != nil {
		return err
	}
	if err := s.fs.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	for _, p := range parents {
		if err := syncDir(s.fs, p); err != nil {
			return err
		}
	}
	if !s.disk {
		return nil
	}
	info, err := os.Stat(dir)
	if err != nil || info.Mode().Perm()&0o077 == 0 {
		return err
	}
	return os.Chmod(dir, 0o700)
}

// missing returns the parents of a folder and of each of its parents that are to be made.
func missing(fs vfs.FS, dir string) (parents []string, err error) {
	for {
		_, err := fs.Stat(dir)
		up := fs.PathDir(dir)
		switch {
		case err == nil || up == dir:
			return parents, nil
		case !errors.Is(err, iofs.ErrNotExist):
			return nil, err
		}
		parents = append(parents, up)
		dir = up
	}
}

func syncDir(fs vfs.FS, dir string) error {
	f, err := fs.OpenDir(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

func lockDir(dir string, fs vfs.FS) (*pebble.Lock, error) {
	lock, err := pebble.LockDirectory(dir, fs)
	if err == nil {
		return lock, nil
	}
	// The lock of another process is a bare EAGAIN or EACCES, that of this one a text. A lock file that
	// can't be created at all comes with its path.
	var path *iofs.PathError
	var errno syscall.Errno
	if errors.As(err, &path) || errors.As(err, &errno) && errno != syscall.EAGAIN && errno != syscall.EACCES {
		return nil, fmt.Errorf("pebblekv: lock %s: %w", dir, err)
	}
	return nil, fmt.Errorf("%w: %s", ErrLocked, dir)
}

// openLocked opens pebble in the folder, which is locked, and makes its record of versions durable.
func (s *Store) openLocked() (meta, error) {
	if err := s.checkFormat(); err != nil {
		return meta{}, err
	}
	o := &pebble.Options{
		FS:                 guardedFS{s.fs, s},
		Lock:               s.lock,
		Logger:             logger{s},
		EventListener:      s.events(),
		FormatMajorVersion: formatVersion,
		CacheSize:          s.cacheBytes,
		MemTableSize:       memTableBytes,
		MaxOpenFiles:       MaxOpenFiles,
		LBaseMaxBytes:      baseBytes,
	}
	compactions := newScheduler()
	o.Experimental.CompactionScheduler = compactions
	for i := range o.Levels {
		o.Levels[i].IndexBlockSize = indexBytes
	}
	db, err := pebble.Open(s.dir, o)
	var errno syscall.Errno
	if err != nil && s.Err() == nil && !errors.As(err, &errno) {
		// Not the machine's: pebble does not mark all that it finds wrong with its files.
		return meta{}, fmt.Errorf("%w: open: %w", ErrCorrupt, plain{err})
	}
	if err != nil {
		return meta{}, s.explain("open", err)
	}
	s.db = db
	m, err := s.openMeta()
	if err != nil {
		return meta{}, errors.Join(err, s.explain("close", db.Close()))
	}
	if db.Metrics().Levels[0].Sublevels >= overlapping {
		compactions.begin()
	} else {
		time.AfterFunc(compactAfter, compactions.begin)
	}
	return m, nil
}

// checkFormat looks at pebble's format before pebble does, which would raise an old one and has no
// sentinel for a new one. Tables without a format are what an incomplete copy of a store leaves;
// pebble would take the folder for a new one, and remove them.
func (s *Store) checkFormat() error {
	marker, err := atomicfs.ReadMarker(s.fs, s.dir, "format-version")
	if err != nil {
		return s.explain("open", err)
	}
	if marker != "" {
		v, err := strconv.ParseUint(marker, 10, 64)
		if err != nil {
			return fmt.Errorf("%w: format %q", ErrCorrupt, marker)
		}
		if v > uint64(formatVersion) {
			return fmt.Errorf("%w: format %d, of %d", ErrNewerFormat, v, formatVersion)
		}
		return nil
	}
	names, err := s.fs.List(s.dir)
	if err != nil {
		return s.explain("open", err)
	}
	for _, name := range names {
		if strings.HasSuffix(name, ".sst") {
			return fmt.Errorf("%w: tables, but no format", ErrCorrupt)
		}
	}
	return nil
}

// openMeta reads the record meta and rewrites it for this process.
func (s *Store) openMeta() (meta, error) {
	stored, err := s.load(metaKey)
	if err != nil {
		return meta{}, err
	}
	var m meta
	if stored == nil {
		if err := s.checkEmpty(); err != nil {
			return meta{}, err
		}
	} else {
		if m, err = decodeMeta(stored); err != nil {
			return meta{}, err
		}
		m.assigned += versionGap
	}
	return m, s.explain("open", s.db.Set(metaKey, m.encode(), pebble.Sync))
}

// checkEmpty holds for a store that is new, or whose creation did not get as far as its first record.
func (s *Store) checkEmpty() error {
	it, err := s.db.NewIter(nil)
	if err != nil {
		return s.explain("open", err)
	}
	found := it.First()
	if err := errors.Join(it.Error(), it.Close()); err != nil {
		return s.explain("open", err)
	}
	if found {
		return fmt.Errorf("%w: entries, but no record of its own", ErrCorrupt)
	}
	return nil
}
