package backup

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"
)

func TestRoundTrip(t *testing.T) {
	for _, c := range []struct {
		name         string
		keys, config bool
	}{{"all", true, true}, {"no keys", false, true}, {"no configuration", true, false}, {"neither", false, false}} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t)
			if !c.keys {
				r.src.Keys = nil
			}
			if !c.config {
				r.src.Config = nil
			}
			checked := ""
			wrote, err := Write(t.Context(), r.file("a.backup"), &r.src, false, func(temp string) error {
				checked = temp
				_, err := os.Lstat(r.file("a.backup"))
				if !errors.Is(err, fs.ErrNotExist) {
					t.Errorf("it is in its place before it was checked: %v", err)
				}
				return nil
			}, nil)
			r.check(err)
			if filepath.Dir(checked) != r.dir {
				t.Errorf("checked was %s", checked)
			}
			r.holds("a.backup")
			text, err := os.ReadFile(r.file("a.backup"))
			r.check(err)
			if wrote.Size != int64(len(text)) || wrote.SHA256 != sha256.Sum256(text) {
				t.Errorf("it says %d bytes, %x", wrote.Size, wrote.SHA256)
			}
			info, err := os.Stat(r.file("a.backup"))
			r.check(err)
			if runtime.GOOS != "windows" && info.Mode().Perm() != 0o600 {
				t.Errorf("its mode is %#o", info.Mode().Perm())
			}
			s, err := Extract(t.Context(), r.file("a.backup"), r.file("new/data"), Readable, nil)
			r.check(err)
			if s.Summary != wrote || s.Manifest.Keys != c.keys || s.Manifest.HasConfig() != c.config || !s.Manifest.Created.Equal(r.src.Created.Truncate(time.Second)) {
				t.Errorf("read %+v %+v", s.Manifest, s.Summary)
			}
			found, err := s.Inspect(t.Context(), &r.secrets)
			r.check(err)
			if found.Events != events || !found.Opened {
				t.Errorf("found %+v", found)
			}
			r.check(s.Commit())
			r.check(s.Discard())
			r.holds("a.backup", "new")
			r.same("new/data/keys", r.src.Keys)
			r.same("new/data/authsrv.toml", r.src.Config)
		})
	}
}

func (r *rig) same(name string, want []byte) {
	r.t.Helper()
	have, err := os.ReadFile(r.file(name))
	if want == nil && errors.Is(err, fs.ErrNotExist) {
		return
	}
	if err != nil || !bytes.Equal(have, want) {
		r.t.Errorf("%s is %q, want %q: %v", name, have, want, err)
	}
}

// What any other program sees of it.
func TestIsTar(t *testing.T) {
	r := newRig(t)
	f, err := os.Open(r.write("a.backup"))
	r.check(err)
	defer f.Close()
	m, _, err := judge(f.Name())
	r.check(err)
	want := []string{nameManifest}
	for _, f := range m.Files {
		want = append(want, f.Name)
	}
	want = append(want, nameEnd)
	a := tar.NewReader(f)
	for i := 0; ; i++ {
		h, err := a.Next()
		if errors.Is(err, io.EOF) {
			if i != len(want) {
				t.Errorf("%d entries, want %d", i, len(want))
			}
			break
		}
		r.check(err)
		if i >= len(want) || h.Name != want[i] || h.Typeflag != tar.TypeReg || h.Mode != 0o600 || !h.ModTime.Equal(m.Created) {
			t.Fatalf("entry %d: %+v", i, h)
		}
		if _, err := io.Copy(io.Discard, a); err != nil {
			t.Fatal(err)
		}
	}
}

// The same source makes the same archive.
func TestOneForm(t *testing.T) {
	r := newRig(t)
	a, err := os.ReadFile(r.write("a"))
	r.check(err)
	b, err := os.ReadFile(r.write("b"))
	r.check(err)
	if !bytes.Equal(a, b) {
		t.Error("two archives of the same source differ")
	}
}

func TestNothingIsOverwritten(t *testing.T) {
	r := newRig(t)
	old := []byte("somebody's\n")
	r.put("a", old)
	r.check(os.Mkdir(r.file("dir"), 0o700))
	if _, err := Write(t.Context(), r.file("a"), &r.src, false, pass, nil); !errors.Is(err, ErrExists) {
		t.Errorf("over a file: %v", err)
	}
	if _, err := Write(t.Context(), r.file("dir"), &r.src, true, pass, nil); err == nil {
		t.Error("over a folder")
	}
	// One that appears while the archive is written.
	appears := func(string) error { return os.WriteFile(r.file("b"), old, 0o600) }
	if _, err := Write(t.Context(), r.file("b"), &r.src, false, appears, nil); !errors.Is(err, ErrExists) {
		t.Errorf("over a file that appeared: %v", err)
	}
	r.same("a", old)
	r.same("b", old)
	r.holds("a", "b", "dir")
	_, err := Write(t.Context(), r.file("a"), &r.src, true, pass, nil)
	r.check(err)
	_, _, err = judge(r.file("a"))
	r.check(err)
	r.holds("a", "b", "dir")
}

func TestWriteFails(t *testing.T) {
	r := newRig(t)
	old := []byte("the last one\n")
	r.put("a", old)
	fault := errors.New("fault")
	if _, err := Write(t.Context(), r.file("a"), &r.src, true, func(string) error { return fault }, nil); !errors.Is(err, fault) {
		t.Errorf("a check that fails: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Write(ctx, r.file("a"), &r.src, true, pass, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	stray := filepath.Join(r.src.Store, "notes.txt")
	r.check(os.WriteFile(stray, nil, 0o600))
	if _, err := Write(t.Context(), r.file("a"), &r.src, true, pass, nil); err == nil {
		t.Error("a store with a file that is not one of a store")
	}
	r.check(os.Remove(stray))
	if _, err := Write(t.Context(), r.file("nowhere/a"), &r.src, false, pass, nil); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("into a folder that is not there: %v", err)
	}
	r.same("a", old)
	r.holds("a")
}

// A disk that is full at any place.
func TestWriterFails(t *testing.T) {
	r := newRig(t)
	m, open, err := r.src.survey(t.Context(), nil)
	r.check(err)
	var whole bytes.Buffer
	_, err = writeArchive(t.Context(), &whole, m, open, nil)
	r.check(err)
	for room := 0; room <= whole.Len(); room += 100 {
		w := &limited{room: room}
		if _, err := writeArchive(t.Context(), w, m, open, nil); !errors.Is(err, errFull) {
			t.Fatalf("with room for %d bytes of %d: %v", room, whole.Len(), err)
		}
	}
	if _, err := writeArchive(t.Context(), &limited{room: whole.Len()}, m, open, nil); err != nil {
		t.Error(err)
	}
}

var errFull = errors.New("no space left")

type limited struct{ room int }

func (l *limited) Write(b []byte) (int, error) {
	if len(b) > l.room {
		n := l.room
		l.room = 0
		return n, errFull
	}
	l.room -= len(b)
	return len(b), nil
}

// A file that changes between the two times that it is read.
func TestSourceChanges(t *testing.T) {
	r := newRig(t)
	m, open, err := r.src.survey(t.Context(), nil)
	r.check(err)
	last := m.Files[len(m.Files)-1].Name
	for what, text := range map[string]string{"other bytes": "x", "longer": "xy", "shorter": ""} {
		m.Files[len(m.Files)-1].Size = 1
		changed := func(name string) (io.ReadCloser, error) {
			if name == last {
				return io.NopCloser(bytes.NewReader([]byte(text))), nil
			}
			return open(name)
		}
		if _, err := writeArchive(t.Context(), io.Discard, m, changed, nil); err == nil {
			t.Errorf("%s: it was not seen", what)
		}
	}
}

func TestProgress(t *testing.T) {
	r := newRig(t)
	last := make(map[string][2]int64)
	tell := func(step string, done, total int64) {
		if before := last[step]; done < before[0] || done > total {
			t.Errorf("%s: %d of %d after %v", step, done, total, before)
		}
		last[step] = [2]int64{done, total}
	}
	_, err := Write(t.Context(), r.file("a"), &r.src, false, pass, tell)
	r.check(err)
	_, _, err = Verify(t.Context(), r.file("a"), noKeys, tell)
	r.check(err)
	if len(last) != 3 {
		t.Errorf("steps: %v", last)
	}
	for step, at := range last {
		if at[0] != at[1] {
			t.Errorf("%s ends at %v", step, at)
		}
	}
}
