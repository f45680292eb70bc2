package keyfile

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"filippo.io/age"
)

func TestMain(m *testing.M) {
	workFactor = 10 // a millisecond instead of a second; the file says which it has
	m.Run()
}

var created = time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)

func generate(t *testing.T) *Keys {
	t.Helper()
	k, err := Generate(rand.Reader, created.Add(123*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// counting is a source of bytes that are known: 1, 2, 3, …
type counting byte

func (c *counting) Read(b []byte) (int, error) {
	for i := range b {
		*c++
		b[i] = byte(*c)
	}
	return len(b), nil
}

// sample returns keys that are the same at every call: those of the example in the documentation.
func sample(t *testing.T) *Keys {
	t.Helper()
	k, err := Generate(new(counting), created)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func create(t *testing.T, k *Keys, passphrase string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "keys")
	if err := Create(path, k, []byte(passphrase)); err != nil {
		t.Fatal(err)
	}
	return path
}

func contents(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestGenerate(t *testing.T) {
	a, b := generate(t), generate(t)
	if reflect.DeepEqual(a, b) || a.Identity == b.Identity || a.SaltKey == b.SaltKey || a.RealmID == b.RealmID {
		t.Error("two servers have the same keys")
	}
	distinct := make(map[Secret]bool)
	for _, s := range []Secret{a.Identity, a.NextIdentity, a.SaltKey, a.NameKey, a.AuditKey, a.WrappingKeys[0].Key, a.TokenKeys[0].Seed} {
		if s == (Secret{}) || distinct[s] {
			t.Error("a key is zero, or there twice")
		}
		distinct[s] = true
	}
	if a.Epoch != 1 || a.CurrentWrapping != a.WrappingKeys[0].ID || a.CurrentToken != a.TokenKeys[0].ID {
		t.Error("the current keys are not those that were made")
	}
	if !a.WrappingKeys[0].Created.Equal(created) || !a.TokenKeys[0].Created.Equal(created) {
		t.Error("the times are not those of the creation, in seconds")
	}
	if _, err := Generate(bytes.NewReader(make([]byte, 50)), created); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("too few random bytes: %v", err)
	}
	if _, err := Generate(bytes.NewReader(make([]byte, 1000)), created); err == nil {
		t.Error("keys were made out of zeros")
	}
}

func TestCreateAndOpen(t *testing.T) {
	for _, passphrase := range []string{"", "correct horse", "pässphrase\x00\xff"} {
		k := generate(t)
		path := create(t, k, passphrase)
		if sealed, err := Sealed(path); sealed != (passphrase != "") || err != nil {
			t.Errorf("Sealed: %v, %v", sealed, err)
		}
		got, err := Open(path, []byte(passphrase))
		if err != nil || !reflect.DeepEqual(got, k) {
			t.Errorf("with passphrase %q: other keys, %v", passphrase, err)
		}
		if passphrase != "" && bytes.Contains(contents(t, path), []byte("realm")) {
			t.Error("the sealed file is in clear")
		}
	}
}

// The file is what the documentation says, so that it changes only on purpose: `age -d` gives this text, too.
func TestFormat(t *testing.T) {
	want := contents(t, filepath.Join("testdata", "keys.json"))
	if got := contents(t, create(t, sample(t), "")); !bytes.Equal(got, want) {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
	identity, err := age.NewScryptIdentity("secret")
	if err != nil {
		t.Fatal(err)
	}
	r, err := age.Decrypt(bytes.NewReader(contents(t, create(t, sample(t), "secret"))), identity)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, want) {
		t.Errorf("age says %v:\n%s", err, got)
	}
}

// What any tool seals in the age format is opened, such as a key file that was unsealed, edited and sealed by hand.
func TestOpensWhatAgeSealed(t *testing.T) {
	recipient, err := age.NewScryptRecipient("secret")
	if err != nil {
		t.Fatal(err)
	}
	recipient.SetWorkFactor(12)
	path := sealTo(t, recipient, contents(t, create(t, sample(t), "")))
	if k, err := Open(path, []byte("secret")); err != nil || !reflect.DeepEqual(k, sample(t)) {
		t.Errorf("other keys, %v", err)
	}
}

func sealTo(t *testing.T, recipient age.Recipient, text []byte) (path string) {
	t.Helper()
	var out bytes.Buffer
	w, err := age.Encrypt(&out, recipient)
	if err != nil {
		t.Fatal(err)
	}
	_, err = w.Write(text)
	if err = errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	path = filepath.Join(t.TempDir(), "keys")
	if err := os.WriteFile(path, out.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// What has the strength of a key file in production is not what the tests set.
func TestWorkFactor(t *testing.T) {
	workFactor = productionWorkFactor
	defer func() { workFactor = 10 }()
	sealed := contents(t, create(t, sample(t), "secret"))
	header, _, _ := bytes.Cut(sealed, []byte("\n---"))
	if !bytes.Contains(header, []byte(" 18\n")) {
		t.Errorf("the head is %s", header)
	}
}

func TestCreateNeverOverwrites(t *testing.T) {
	path := create(t, generate(t), "")
	before := contents(t, path)
	for _, passphrase := range []string{"", "secret"} {
		if err := Create(path, generate(t), []byte(passphrase)); !errors.Is(err, ErrExists) || !strings.Contains(err.Error(), path) {
			t.Errorf("error %v", err)
		}
	}
	if !bytes.Equal(contents(t, path), before) {
		t.Error("the file was changed")
	}
	onlyFile(t, path)
}

func TestCreateAtOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keys")
	const n = 8
	keys, errs := make([]*Keys, n), make([]error, n)
	for i := range n {
		keys[i] = generate(t)
	}
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { errs[i] = Create(path, keys[i], nil) })
	}
	wg.Wait()
	winner := slices.Index(errs, nil)
	for i, err := range errs {
		if i != winner && !errors.Is(err, ErrExists) {
			t.Errorf("error %v", err)
		}
	}
	if k, err := Open(path, nil); winner < 0 || err != nil || !reflect.DeepEqual(k, keys[winner]) {
		t.Errorf("the file is not that of the one that succeeded: %v", err)
	}
	onlyFile(t, path)
}

func onlyFile(t *testing.T, path string) {
	t.Helper()
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(entries) != 1 || entries[0].Name() != filepath.Base(path) {
		t.Errorf("the folder holds %v, %v", entries, err)
	}
}

func TestSave(t *testing.T) {
	path := create(t, generate(t), "")
	stale := path + ".123.tmp"
	if err := os.WriteFile(stale, []byte("left by a crash"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, passphrase := range []string{"secret", "another", ""} {
		k := generate(t)
		k.WrappingKeys = append(k.WrappingKeys, WrappingKey{7, Secret{1}, created})
		k.CurrentWrapping = 7
		if err := Save(path, k, []byte(passphrase)); err != nil {
			t.Fatal(err)
		}
		if got, err := Open(path, []byte(passphrase)); err != nil || !reflect.DeepEqual(got, k) {
			t.Errorf("with passphrase %q: other keys, %v", passphrase, err)
		}
		onlyFile(t, path)
	}
	if info, err := os.Stat(path); err != nil || runtime.GOOS != "windows" && info.Mode() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	missing := filepath.Join(t.TempDir(), "keys")
	if err := Save(missing, generate(t), nil); !errors.Is(err, ErrNotFound) || !strings.Contains(err.Error(), missing) {
		t.Errorf("error %v", err)
	}
}

// A folder that links to a key file elsewhere keeps its link.
func TestSaveThroughLink(t *testing.T) {
	if runtime.GOOS == "windows" {
		return // links need a privilege there
	}
	path := create(t, generate(t), "")
	link := filepath.Join(t.TempDir(), "keys")
	if err := os.Symlink(path, link); err != nil {
		t.Fatal(err)
	}
	k := generate(t)
	if err := Save(link, k, nil); err != nil {
		t.Fatal(err)
	}
	if got, err := Open(path, nil); err != nil || !reflect.DeepEqual(got, k) {
		t.Errorf("the file that the link points to has other keys, %v", err)
	}
}

func TestDoesNotWriteInvalid(t *testing.T) {
	path := create(t, generate(t), "")
	before := contents(t, path)
	k := generate(t)
	k.SaltKey = Secret{}
	if err := Save(path, k, nil); !errors.Is(err, ErrCorrupt) {
		t.Errorf("Save: %v", err)
	}
	if !bytes.Equal(contents(t, path), before) {
		t.Error("the file was changed")
	}
	k = generate(t)
	k.TokenKeys[0].Created = time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC)
	if err := Create(path+"2", k, nil); !errors.Is(err, ErrCorrupt) {
		t.Errorf("Create: %v", err)
	}
	onlyFile(t, path)
}

func TestPassphrase(t *testing.T) {
	plain, sealed := create(t, generate(t), ""), create(t, generate(t), "secret")
	for _, c := range []struct {
		path, passphrase string
		want             error
	}{
		{sealed, "", ErrPassphraseNeeded},
		{sealed, "Secret", ErrWrongPassphrase},
		{sealed, "secret\n", ErrWrongPassphrase},
		{plain, "secret", ErrNotSealed},
		{filepath.Join(t.TempDir(), "keys"), "", ErrNotFound},
	} {
		k, err := Open(c.path, []byte(c.passphrase))
		if k != nil || !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.path) {
			t.Errorf("passphrase %q: %v, want %v", c.passphrase, err, c.want)
		}
	}
	if _, err := Sealed(filepath.Join(t.TempDir(), "keys")); !errors.Is(err, ErrNotFound) {
		t.Errorf("Sealed: %v", err)
	}
}

func TestPermissions(t *testing.T) {
	if runtime.GOOS == "windows" {
		return // has no such modes
	}
	path := create(t, generate(t), "")
	if info, err := os.Stat(path); err != nil || info.Mode() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	for mode, want := range map[os.FileMode]error{0o400: nil, 0o640: ErrPermissions, 0o604: ErrPermissions, 0o620: ErrPermissions} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(path, nil); !errors.Is(err, want) {
			t.Errorf("%#o: %v", mode, err)
		}
		if _, err := Sealed(path); !errors.Is(err, want) {
			t.Errorf("Sealed with %#o: %v", mode, err)
		}
	}
}

func TestSecretsAreNotPrinted(t *testing.T) {
	k := generate(t)
	for _, s := range []*Secret{&k.Identity, &k.NextIdentity, &k.SaltKey, &k.NameKey, &k.AuditKey, &k.WrappingKeys[0].Key, &k.TokenKeys[0].Seed} {
		*s = Secret(bytes.Repeat([]byte{0xab}, 32))
	}
	var out bytes.Buffer
	for _, v := range []any{k, *k, k.WrappingKeys, k.TokenKeys[0], k.Identity, &k.Identity} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
			fmt.Fprintf(&out, verb+"\n", v)
		}
		slog.New(slog.NewTextHandler(&out, nil)).Info("m", "v", v)
		slog.New(slog.NewJSONHandler(&out, nil)).Info("m", "v", v)
		text, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		out.Write(text)
	}
	for _, secret := range []string{"abab", "ABAB", "171 171", "171,171", "0xab, 0xab"} {
		if strings.Contains(out.String(), secret) {
			t.Errorf("%q was printed", secret)
		}
	}
	if !strings.Contains(out.String(), masked) {
		t.Error("nothing was printed")
	}
}
