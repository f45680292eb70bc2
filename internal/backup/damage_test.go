package backup

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/authsrv/authsrv/internal/account"
)

func refused(err error) bool {
	return errors.Is(err, ErrDamaged) || errors.Is(err, ErrNotBackup) || errors.Is(err, ErrNewer)
}

// An archive that is cut at any place.
func TestTruncated(t *testing.T) {
	r := newRig(t)
	whole := r.write("a")
	info, err := os.Stat(whole)
	r.check(err)
	for n := info.Size() - 1; n >= 0; n-- {
		if n > 3<<10 && n < info.Size()-5<<9 && n%97 != 0 { // everywhere near both ends
			continue
		}
		r.check(os.Truncate(whole, n))
		if _, _, err := judge(whole); !refused(err) {
			t.Fatalf("cut to %d bytes of %d: %v", n, info.Size(), err)
		}
	}
}

// Any bit of it.
func TestFlipped(t *testing.T) {
	r := newRig(t)
	whole, err := os.ReadFile(r.write("a"))
	r.check(err)
	f, err := os.OpenFile(r.file("a"), os.O_RDWR, 0)
	r.check(err)
	defer f.Close()
	set := func(at int, b byte) {
		t.Helper()
		_, err := f.WriteAt([]byte{b}, int64(at))
		r.check(err)
	}
	for at, b := range whole {
		if at > 3<<10 && at < len(whole)-5<<9 && at%31 != 0 {
			continue
		}
		set(at, b^1<<(at%8))
		if _, _, err := judge(r.file("a")); !refused(err) {
			t.Fatalf("byte %d of %d: %v", at, len(whole), err)
		}
		set(at, b)
	}
	_, _, err = judge(r.file("a"))
	r.check(err)
	r.put("a", append(whole, 0))
	if _, _, err := judge(r.file("a")); !errors.Is(err, ErrDamaged) {
		t.Errorf("with a byte behind its end: %v", err)
	}
}

// What a faulty or hostile writer could put in the place of an archive, with all sums right.
func TestForged(t *testing.T) {
	r := newRig(t)
	m, _, err := judge(r.write("a"))
	r.check(err)
	good, err := m.encode()
	r.check(err)
	edit := func(from, to string) []byte {
		if !bytes.Contains(good, []byte(from)) {
			t.Fatalf("the manifest has no %s", from)
		}
		return bytes.Replace(good, []byte(from), []byte(to), 1)
	}
	listed := func(change func(files []File) []File) []byte {
		c := *m
		c.Files = change(slices.Clone(m.Files))
		text, err := json.MarshalIndent(&c, "", "  ")
		r.check(err)
		return append(text, '\n')
	}
	renamed := func(name string) []byte {
		return listed(func(f []File) []File { f[2].Name = name; return f })
	}
	for what, c := range map[string]struct {
		manifest []byte
		want     error
	}{
		"newer":             {edit(`"version": 1`, `"version": 2`), ErrNewer},
		"newer, unreadable": {[]byte(`{"format":"authsrv-backup","version":9,"files":"elsewhere"}`), ErrNewer},
		"newer store":       {edit(`"store_format": 1`, `"store_format": 2`), ErrNewer},
		"another format":    {edit(`authsrv-backup`, `authsrv-backed`), ErrNotBackup},
		"not JSON":          {[]byte("hello\n"), ErrDamaged},
		"empty":             {nil, ErrDamaged},
		"an unknown field":  {edit(`"program"`, `"x": 1, "program"`), ErrDamaged},
		"a field twice":     {edit(`"version": 1`, `"version": 1, "version": 1`), ErrDamaged},
		"no realm":          {edit(`"realm_id": "07`, `"realm_id": "`), ErrDamaged},
		"another time":      {edit(m.Created.Format(time.RFC3339), "2001-01-01T00:00:00Z"), ErrDamaged},
		"no time":           {edit(m.Created.Format(time.RFC3339), "0001-01-01T00:00:00Z"), ErrDamaged},
		"keys denied":       {edit(`"keys": true`, `"keys": false`), ErrDamaged},
		"a long program":    {edit(`v0.0.1`, strings.Repeat("v", 129)), ErrDamaged},
		"format 0":          {edit(`"store_format": 1`, `"store_format": 0`), ErrDamaged},
		"a path upward":     {renamed("db/../../000001.log"), ErrDamaged},
		"an absolute path":  {renamed("/etc/000001.log"), ErrDamaged},
		"a strange file":    {renamed("db/LOCK"), ErrDamaged},
		"a folder":          {renamed("db/"), ErrDamaged},
		"a name with NUL":   {renamed("db/000001.log\x00"), ErrDamaged},
		"the lock":          {renamed("lock"), ErrDamaged},
		"keys twice":        {listed(func(f []File) []File { return slices.Insert(f, 0, f[0]) }), ErrDamaged},
		"a file twice":      {listed(func(f []File) []File { return append(f, f[len(f)-1]) }), ErrDamaged},
		"out of order":      {listed(func(f []File) []File { f[0], f[1] = f[1], f[0]; return f }), ErrDamaged},
		"a negative size":   {listed(func(f []File) []File { f[2].Size = -512; return f }), ErrDamaged},
		"a huge size":       {listed(func(f []File) []File { f[2].Size = 1 << 62; return f }), ErrDamaged},
		"huge keys":         {listed(func(f []File) []File { f[0].Size = maxSmall + 1; return f }), ErrDamaged},
		"no database":       {listed(func(f []File) []File { return f[:2] }), ErrDamaged},
		"a short sum":       {listed(func(f []File) []File { f[2].SHA256 = f[2].SHA256[1:]; return f }), ErrDamaged},
	} {
		r.put("forged", r.forge(c.manifest, m))
		before := slices.Clone(m.Files)
		_, err := Extract(t.Context(), r.file("forged"), r.file("target"), Readable, nil)
		if !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", what, err, c.want)
		}
		if err != nil && (strings.Contains(err.Error(), "\n") || strings.Contains(err.Error(), "/etc")) {
			t.Errorf("%s: %q is not a line for a person", what, err)
		}
		r.holds("a", "forged")
		m.Files = before
	}
	r.put("forged", r.forge(good, m))
	_, _, err = judge(r.file("forged"))
	r.check(err) // so that it is the changes that are refused
}

// forge is an archive with another manifest, and all sums right.
func (r *rig) forge(manifest []byte, m *Manifest) []byte {
	r.t.Helper()
	_, open, err := r.src.survey(r.t.Context(), nil)
	r.check(err)
	var out bytes.Buffer
	a := &archiver{w: &out, sum: sha256.New(), mtime: m.Created.Unix()}
	r.check(a.header(nameManifest, int64(len(manifest))))
	r.check(a.bytes(manifest))
	for i := range m.Files {
		r.check(a.file(r.t.Context(), &m.Files[i], open))
	}
	last, err := end(a.sum.Sum(nil), a.mtime)
	r.check(err)
	out.Write(last)
	return out.Bytes()
}

func TestForeign(t *testing.T) {
	r := newRig(t)
	var other bytes.Buffer
	w := tar.NewWriter(&other)
	r.check(w.WriteHeader(&tar.Header{Name: "manifest.json", Typeflag: tar.TypeReg, Size: 2, Mode: 0o644}))
	_, err := w.Write([]byte("[]"))
	r.check(err)
	r.check(w.Close())
	for what, text := range map[string][]byte{
		"empty": nil, "zeros": make([]byte, 4<<10), "text": bytes.Repeat([]byte("hello\n"), 500), "tar": other.Bytes(),
	} {
		if _, _, err := judge(r.put("foreign", text)); !errors.Is(err, ErrNotBackup) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if _, _, err := judge(r.dir); !errors.Is(err, ErrNotBackup) {
		t.Errorf("a folder: %v", err)
	}
	if _, _, err := judge(r.file("nowhere")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
}

func TestTargets(t *testing.T) {
	r := newRig(t)
	a := r.write("a")
	r.check(os.MkdirAll(r.file("full/x"), 0o700))
	r.check(os.Mkdir(r.file("empty"), 0o755))
	r.check(os.Symlink("empty", r.file("link")))
	if _, err := Extract(t.Context(), a, r.file("full"), Readable, nil); !errors.Is(err, ErrOccupied) {
		t.Errorf("into a folder with something in it: %v", err)
	}
	if _, err := Extract(t.Context(), a, a, Readable, nil); err == nil {
		t.Error("into a file")
	}
	if _, err := Extract(t.Context(), a, r.file("a/b"), Readable, nil); err == nil {
		t.Error("below a file")
	}
	r.holds("a", "full", "empty", "link")

	// Discarded, nothing is left, not even the parents.
	s, err := Extract(t.Context(), a, r.file("x/y/z"), Readable, nil)
	r.check(err)
	r.check(s.Discard())
	r.holds("a", "full", "empty", "link")

	// Two at once: the later one finds it taken.
	s, err = Extract(t.Context(), a, r.file("link"), Readable, nil)
	r.check(err)
	s2, err := Extract(t.Context(), a, r.file("empty"), Readable, nil)
	r.check(err)
	r.check(s2.Commit())
	if err := s.Commit(); err == nil {
		t.Error("it took the place of a folder with something in it")
	}
	r.check(s.Discard())
	r.holds("a", "full", "empty", "link")
	r.same("link/keys", r.src.Keys)
	info, err := os.Stat(r.file("empty"))
	r.check(err)
	if info.Mode().Perm() != 0o700 {
		t.Errorf("its mode is %#o", info.Mode().Perm())
	}
}

func TestVerify(t *testing.T) {
	r := newRig(t)
	a := r.write("a")
	s, found, err := Verify(t.Context(), a, r.keys, nil)
	if err != nil || found.Events != events || !found.Opened || s.Summary.Size == 0 {
		t.Errorf("%+v %+v: %v", s, found, err)
	}
	_, found, err = Verify(t.Context(), a, noKeys, nil)
	if err != nil || found.Events != events || found.Opened {
		t.Errorf("without keys %+v: %v", found, err)
	}
	other := r.secrets
	other.RealmID[0]++
	keys := func(*Staged) (*account.Secrets, error) { return &other, nil }
	if _, _, err = Verify(t.Context(), a, keys, nil); !errors.Is(err, account.ErrOtherRealm) {
		t.Errorf("with the keys of another realm: %v", err)
	}
	other = r.secrets
	other.Wrapping = map[uint32][32]byte{1: {4}}
	if _, _, err = Verify(t.Context(), a, keys, nil); !errors.Is(err, ErrDamaged) || !errors.Is(err, account.ErrDamaged) {
		t.Errorf("with other wrapping keys: %v", err)
	}
	r.src.Realm[0]++
	if _, _, err = Verify(t.Context(), r.write("b"), noKeys, nil); !errors.Is(err, ErrDamaged) {
		t.Errorf("with a manifest of another realm: %v", err)
	}
	r.holds("a", "b")
}
