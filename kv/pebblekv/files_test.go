package pebblekv

import (
	"bytes"
	"errors"
	"fmt"
	iofs "io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/authsrv/authsrv/kv"
	"github.com/authsrv/authsrv/kv/kvtest"
)

func TestFolder(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	if err := os.Mkdir(dir, 0o755); err != nil { // as a service manager would
		t.Fatal(err)
	}
	s := mustOpen(t, dir, nil)
	nested := filepath.Join(dir, "copies", "today")
	if err := s.Checkpoint(nested); err != nil {
		t.Fatal(err)
	}
	for _, d := range []string{dir, filepath.Dir(nested), nested} {
		info, err := os.Stat(d)
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != 0o700 {
			t.Errorf("%s: mode %v", d, info.Mode())
		}
	}
	for _, bad := range []func() (*Store, error){
		func() (*Store, error) { return Open("", nil) },
		func() (*Store, error) { return Open(dir, &Options{FeedLength: -1}) },
		func() (*Store, error) { return Open(dir, &Options{CacheBytes: -1}) },
	} {
		if s, err := bad(); err == nil {
			s.Close()
			t.Error("bad argument accepted")
		}
	}
}

func TestLocked(t *testing.T) {
	dir := t.TempDir()
	mem := vfs.NewMem()
	for name, open := range map[string]func() (*Store, error){
		"disk":   func() (*Store, error) { return Open(dir, nil) },
		"memory": func() (*Store, error) { return Open("store", &Options{FS: mem}) },
	} {
		s, err := open()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := open(); !errors.Is(err, ErrLocked) {
			t.Errorf("%s: second Open: %v", name, err)
		}
		if _, err := count(t.Context(), s, 0, 1); err != nil {
			t.Errorf("%s: the first after the second was refused: %v", name, err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if s, err = open(); err != nil {
			t.Errorf("%s: after Close: %v", name, err)
			continue
		}
		s.Close()
	}
	// By another name for the same folder, since the machine's locks do not hold within a process.
	t.Chdir(dir)
	s := mustOpen(t, dir, nil)
	if _, err := Open(".", nil); !errors.Is(err, ErrLocked) {
		t.Errorf("as a relative name: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	// A folder that can't be used is not one that is in use.
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(file, nil); err == nil || errors.Is(err, ErrLocked) {
		t.Errorf("a file as folder: %v", err)
	}
}

// TestLockedByProcess is TestLocked against the child of TestKill.
func TestLockedByProcess(t *testing.T) {
	dir := t.TempDir()
	stop := startChild(t, dir)
	if _, err := Open(dir, nil); !errors.Is(err, ErrLocked) {
		t.Errorf("Open: %v", err)
	}
	stop()
	mustOpen(t, dir, nil)
}

func TestFormat(t *testing.T) {
	if formatVersion != pebble.FormatNewest {
		t.Errorf("format %d, though this pebble has %d: raise it", formatVersion, pebble.FormatNewest)
	}
	mem := vfs.NewCrashableMem()
	s := mustOpen(t, "store", &Options{FS: mem})
	if _, err := count(t.Context(), s, 0, 1); err != nil {
		t.Fatal(err)
	}
	if v := s.db.FormatMajorVersion(); v != formatVersion {
		t.Errorf("created in format %d", v)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}

	newer := mem.CrashClone(vfs.CrashCloneCfg{})
	renamed := 0
	for _, name := range list(t, newer) {
		if strings.HasPrefix(name, "marker.format-version") {
			renamed++
			if err := newer.Rename("store/"+name, fmt.Sprintf("store/marker.format-version.999999.%03d", formatVersion+1)); err != nil {
				t.Fatal(err)
			}
		}
	}
	before := newer.String()
	if _, err := Open("store", &Options{FS: newer}); renamed == 0 || !errors.Is(err, ErrNewerFormat) {
		t.Errorf("a newer pebble's: %v", err)
	}
	if after := newer.String(); len(after) != len(before) {
		t.Errorf("a store that was refused has changed:\n%s\n%s", before, after)
	}

	for name, test := range map[string]struct {
		key, value []byte
		want       error
	}{
		"a newer layout":        {metaKey, append([]byte{layoutVersion + 1}, make([]byte, metaSize+5)...), ErrNewerFormat},
		"no layout":             {metaKey, make([]byte, metaSize), ErrCorrupt},
		"a record cut short":    {metaKey, meta{3, 3}.encode()[:metaSize-1], ErrCorrupt},
		"versions out of order": {metaKey, meta{assigned: 2, last: 3}.encode(), ErrCorrupt},
		"no record":             {metaKey, nil, ErrCorrupt},
	} {
		fs := mem.CrashClone(vfs.CrashCloneCfg{})
		s := mustOpen(t, "store", &Options{FS: fs})
		err := s.db.Set(test.key, test.value, pebble.Sync)
		if test.value == nil {
			err = s.db.Delete(test.key, pebble.Sync)
		}
		if err := errors.Join(err, s.Close()); err != nil {
			t.Fatal(err)
		}
		for range 2 { // refused, and released
			if _, err := Open("store", &Options{FS: fs}); !errors.Is(err, test.want) {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}

func list(t *testing.T, fs vfs.FS) []string {
	t.Helper()
	names, err := fs.List("store")
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// TestCorrupt spoils each file of a store in turn, in several ways. The damage is found, at once or
// when it is read, or it did no harm. Only the end of the log is another matter: there, damage
// looks like a write that a crash has cut short (STORAGE 2.5).
func TestCorrupt(t *testing.T) {
	whole, want := spoilable(t)
	found, lines := map[string]int{}, 0
	for _, name := range list(t, whole) {
		data, err := whole.UnsafeGetFileDataBuffer("store/" + name)
		if err != nil {
			t.Fatal(err)
		}
		for how, spoil := range map[string]func(vfs.FS) error{
			"removed":   func(fs vfs.FS) error { return fs.Remove("store/" + name) },
			"emptied":   func(fs vfs.FS) error { return overwrite(fs, name, nil) },
			"cut":       func(fs vfs.FS) error { return overwrite(fs, name, data[:len(data)*2/3]) },
			"begun bad": func(fs vfs.FS) error { return overwrite(fs, name, flipped(data, 0, 20)) },
			"bad":       func(fs vfs.FS) error { return overwrite(fs, name, flipped(data, len(data)/3, len(data)/3+9)) },
			"ended bad": func(fs vfs.FS) error { return overwrite(fs, name, flipped(data, len(data)-20, len(data))) },
		} {
			fs := whole.CrashClone(vfs.CrashCloneCfg{})
			if err := spoil(fs); err != nil {
				t.Fatal(err)
			}
			var log lockedBuffer
			got, err := readAll(t, fs, slog.New(slog.NewTextHandler(&log, nil)))
			if text := fmt.Sprintf("%+v", err); strings.ContainsAny(text, "\n\r") || strings.Contains(text, "carrier") || len(text) > 500 {
				t.Errorf("%s %s: %q is not a line", name, how, text)
			}
			for line := range strings.Lines(log.String()) {
				if strings.Contains(line, "stack trace") || len(line) > 500 {
					t.Errorf("%s %s: the log has %s", name, how, line)
				}
				lines++
			}
			switch {
			case errors.Is(err, ErrCorrupt):
				found[kind(name)]++
			case err != nil:
				t.Errorf("%s %s: %v", name, how, err)
			case got != want && (kind(name) != ".log" || strings.HasSuffix(how, "bad") && how != "ended bad"):
				t.Errorf("%s %s: not found, though it lost something", name, how)
			}
		}
	}
	for _, k := range []string{".sst", ".log", "MANIFEST"} {
		if found[k] == 0 {
			t.Errorf("no corruption found in %s: %v", k, found)
		}
	}
	if lines == 0 {
		t.Error("nothing was logged")
	}
}

// lockedBuffer may be written to by a store that has failed, and can't be waited for.
type lockedBuffer struct {
	mu   sync.Mutex
	text strings.Builder
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// spoilable returns a store with tables and several blocks of log, and its contents.
func spoilable(t *testing.T) (*vfs.MemFS, string) {
	mem := vfs.NewCrashableMem()
	s := mustOpen(t, "store", &Options{FS: mem})
	for n := range 40 {
		w := kv.Write{Key: fmt.Append(nil, n%20), Value: bytes.Repeat([]byte{byte(n)}, 8<<10)}
		if _, err := s.Commit(t.Context(), nil, []kv.Write{w}); err != nil {
			t.Fatal(err)
		}
		if n%10 == 5 && n < 30 {
			if err := s.db.Flush(); err != nil {
				t.Fatal(err)
			}
		}
	}
	whole := mem.CrashClone(vfs.CrashCloneCfg{}) // as it is while open
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	want, err := readAll(t, whole.CrashClone(vfs.CrashCloneCfg{}), nil)
	if err != nil || strings.Count(want, "\n") != 20 {
		t.Fatalf("%.200q, %v", want, err)
	}
	return whole, want
}

// TestIncompleteCopy opens what is left of a store when the small files were forgotten: pebble alone would begin
// a new store there, and delete the rest.
func TestIncompleteCopy(t *testing.T) {
	whole, _ := spoilable(t)
	for _, forget := range [][]string{{"marker."}, {"marker.", ".sst"}, {"marker.", ".log"}, {"marker.", "MANIFEST", "OPTIONS"}, {"marker.", "MANIFEST", "OPTIONS", ".sst"}} {
		fs := whole.CrashClone(vfs.CrashCloneCfg{})
		for _, name := range list(t, fs) {
			for _, f := range forget {
				if strings.Contains(name, f) {
					if err := fs.Remove("store/" + name); err != nil {
						t.Fatal(err)
					}
					break
				}
			}
		}
		before := list(t, fs)
		if _, err := Open("store", &Options{FS: fs}); !errors.Is(err, ErrCorrupt) {
			t.Errorf("without %q: %v", forget, err)
		}
		if after := list(t, fs); len(after) < len(before) {
			t.Errorf("without %q: files were deleted", forget)
		}
	}
}

func kind(name string) string {
	if ext := filepath.Ext(name); ext == ".sst" || ext == ".log" {
		return ext
	}
	base, _, _ := strings.Cut(name, "-")
	return base
}

func flipped(data []byte, from, to int) []byte {
	data = bytes.Clone(data)
	for i := max(from, 0); i < min(to, len(data)); i++ {
		data[i] ^= 0xff
	}
	return data
}

func overwrite(fs vfs.FS, name string, data []byte) error {
	f, err := fs.Create("store/"+name, vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	return errors.Join(err, f.Sync(), f.Close())
}

// readAll opens a store, reads it to the end, and returns what it holds as text.
func readAll(t *testing.T, fs vfs.FS, log *slog.Logger) (string, error) {
	s, err := Open("store", &Options{FS: fs, Logger: log})
	if err != nil {
		return "", err
	}
	defer s.Close()
	entries, _, err := s.Scan(t.Context(), nil, nil, 1000)
	if err != nil {
		return "", err
	}
	var text strings.Builder
	for _, e := range entries {
		if _, err := s.Get(t.Context(), e.Key); err != nil {
			return "", err
		}
		fmt.Fprintf(&text, "%s=%x@%d\n", e.Key, e.Value, e.Version)
	}
	return text.String(), nil
}

// TestCorruptValue has entries that no checksum of pebble's can know to be wrong.
func TestCorruptValue(t *testing.T) {
	s := mustOpen(t, "store", &Options{FS: vfs.NewMem()})
	for _, stored := range []string{"", "short", "\x00\x00\x00\x00\x00\x00\x00\x00zero"} {
		if err := s.db.Set(userKey([]byte("a")), []byte(stored), pebble.Sync); err != nil {
			t.Fatal(err)
		}
		_, getErr := s.Get(t.Context(), []byte("a"))
		_, _, scanErr := s.Scan(t.Context(), nil, nil, 1)
		_, commitErr := s.Commit(t.Context(), []kv.Read{{Key: []byte("a")}}, nil)
		for _, err := range []error{getErr, scanErr, commitErr} {
			if !errors.Is(err, ErrCorrupt) {
				t.Errorf("%q: %v", stored, err)
			}
		}
	}
	if err := s.Err(); err != nil {
		t.Errorf("one bad entry stops the store: %v", err)
	}
}

func TestCheckpoint(t *testing.T) {
	t.Run("disk", func(t *testing.T) {
		dir := t.TempDir()
		testCheckpoint(t, filepath.Join(dir, "store"), filepath.Join(dir, "copy"), nil)
	})
	t.Run("memory", func(t *testing.T) { testCheckpoint(t, "store", "copy", &Options{FS: vfs.NewMem()}) })
}

func testCheckpoint(t *testing.T, dir, copied string, o *Options) {
	s := mustOpen(t, dir, o)
	before, err := count(t.Context(), s, 0, 1)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Checkpoint(copied); err != nil {
		t.Fatal(err)
	}
	if _, err := count(t.Context(), s, 0, 2); err != nil {
		t.Fatal(err)
	}
	if err := s.Checkpoint(copied); !errors.Is(err, iofs.ErrExist) {
		t.Errorf("into what exists: %v", err)
	}
	c := mustOpen(t, copied, o)
	if n := counted(t, c, 0); n != 1 {
		t.Errorf("copy has %d, want 1", n)
	}
	if e, err := c.Get(t.Context(), []byte("a/0")); err != nil || e.Version != before {
		t.Errorf("copy has version %d, %v, want %d", e.Version, err, before)
	}
	if _, err := count(t.Context(), c, 0, 3); err != nil {
		t.Error(err)
	}
	if n := counted(t, s, 0); n != 2 {
		t.Errorf("original has %d, want 2", n)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.Checkpoint(copied + "2"); !errors.Is(err, kv.ErrClosed) {
		t.Errorf("of a closed store: %v", err)
	}
}

func TestFeedForgets(t *testing.T) {
	open := func(o Options) func(t *testing.T) kv.Engine {
		return func(t *testing.T) kv.Engine { o.FS = vfs.NewMem(); return mustOpen(t, "store", &o) }
	}
	fill := func(n, size int) func(t *testing.T, e kv.Engine) {
		return func(t *testing.T, e kv.Engine) {
			for range n {
				if _, err := e.Commit(t.Context(), nil, []kv.Write{{Key: []byte("~"), Value: make([]byte, size)}}); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	t.Run("length", func(t *testing.T) { kvtest.RunCompacted(t, open(Options{FeedLength: 4}), fill(100, 0)) })
	t.Run("bytes", func(t *testing.T) {
		kvtest.RunCompacted(t, open(Options{}), fill(feedBytes/kv.MaxValue+70, kv.MaxValue))
	})
}

// TestFeedKeeps holds the feed to exactly what its length promises.
func TestFeedKeeps(t *testing.T) {
	var f feed
	f.length = 4
	f.init(meta{assigned: 10, last: 5})
	for v := kv.Version(11); v <= 14; v++ {
		f.publish(v, make([]kv.Event, 2))
	}
	if changes, _, err := f.since(12, 14); err != nil || len(changes) != 2 {
		t.Errorf("after four commits of 2: %d, %v, want the last 2", len(changes), err)
	}
	f.publish(15, make([]kv.Event, 9)) // alone beyond the length
	if changes, _, err := f.since(14, 15); err != nil || len(changes) != 1 {
		t.Errorf("after one of 9: %d, %v, want it", len(changes), err)
	}
	f.publish(16, make([]kv.Event, 1))
	f.publish(17, make([]kv.Event, 3))
	f.publish(18, make([]kv.Event, 1))
	for after, want := range map[kv.Version]int{0: -1, 5: -1, 7: -1, 10: -1, 15: -1, 16: 2, 17: 1, 18: 0, 19: -1} {
		changes, _, err := f.since(after, 18)
		if (err != nil) != (want < 0) || err == nil && len(changes) != want {
			t.Errorf("since %d: %d commits, %v, want %d", after, len(changes), err, want)
		}
	}
}

func TestLogger(t *testing.T) {
	var buf bytes.Buffer
	quiet := slog.New(slog.NewTextHandler(&buf, nil))
	s := mustOpen(t, "store", &Options{FS: vfs.NewMem(), Logger: quiet})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if buf.Len() != 0 {
		t.Errorf("routine at level info or above: %s", &buf)
	}
	logger{s}.Errorf("number %d", 7)
	if !strings.Contains(buf.String(), "number 7") {
		t.Errorf("logged %q", &buf)
	}
}

func TestPlainText(t *testing.T) {
	for text, want := range map[string]string{
		"pebble: file 7: bad\n<corruption detail carrier>":                "file 7: bad",
		"pebble: no table 7: pebble/table: no file 7":                     "no table 7: no file 7",
		"L0: 000005: gone\nL0: 000007: gone":                              "L0: 000005: gone; L0: 000007: gone",
		"L0: 000005: gone\nL0: 000007: gone\nL0: 000009: gone\n\nL1: ...": "L0: 000005: gone; and 3 more",
	} {
		if got := plainText(text); got != want {
			t.Errorf("%q becomes %q, want %q", text, got, want)
		}
	}
}
