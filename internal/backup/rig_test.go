package backup

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/authsrv/authsrv/internal/account"
	"github.com/authsrv/authsrv/kv/pebblekv"
	"github.com/authsrv/authsrv/token"
)

const events = 7 // records of a rig's store

// A rig is a store with some records, and what else a backup is made of.
type rig struct {
	t       testing.TB
	dir     string // for whatever the test writes
	secrets account.Secrets
	src     Source
}

func newRig(t testing.TB) *rig {
	t.Helper()
	r := &rig{t: t, dir: t.TempDir()}
	r.secrets = account.Secrets{
		RealmID: [16]byte{7}, SaltKey: [32]byte{1}, NameKey: [32]byte{2}, Wrapping: map[uint32][32]byte{1: {3}}, Current: 1,
	}
	rest := t.TempDir()
	engine, err := pebblekv.Open(filepath.Join(rest, "live"), nil)
	r.check(err)
	s := r.service(engine)
	for range events {
		_, err := s.RevokeEverything(t.Context())
		r.check(err)
	}
	r.src = Source{
		Store: filepath.Join(rest, "checkpoint"), Keys: []byte("the keys\n"), Config: []byte("listen = \"127.0.0.1:0\"\n"),
		Realm: r.secrets.RealmID, StoreFormat: account.Format, Program: "v0.0.1", Created: time.Now(),
	}
	r.check(engine.Checkpoint(r.src.Store))
	r.check(engine.Close())
	return r
}

func (r *rig) service(engine *pebblekv.Store) *account.Service {
	r.t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	r.check(err)
	tokens, err := token.New(account.Issuer(r.secrets.RealmID), "1", token.Key{ID: "1", Private: private})
	r.check(err)
	s, err := account.New(r.t.Context(), &account.Config{Engine: engine, Secrets: r.secrets, Tokens: tokens})
	r.check(err)
	return s
}

func (r *rig) check(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) file(name string) string { return filepath.Join(r.dir, name) }

func pass(string) error { return nil }

// write makes an archive, and returns its name.
func (r *rig) write(name string) string {
	r.t.Helper()
	_, err := Write(r.t.Context(), r.file(name), &r.src, false, pass, nil)
	r.check(err)
	return r.file(name)
}

// put writes text as a file, and returns its name.
func (r *rig) put(name string, text []byte) string {
	r.t.Helper()
	r.check(os.WriteFile(r.file(name), text, 0o600))
	return r.file(name)
}

// holds fails unless these are the names in the rig's folder.
func (r *rig) holds(want ...string) {
	r.t.Helper()
	entries, err := os.ReadDir(r.dir)
	r.check(err)
	var have []string
	for _, e := range entries {
		have = append(have, e.Name())
	}
	slices.Sort(want)
	if !slices.Equal(have, want) {
		r.t.Errorf("the folder holds %q, want %q", have, want)
	}
}

func (r *rig) keys(*Staged) (*account.Secrets, error) { return &r.secrets, nil }

func noKeys(*Staged) (*account.Secrets, error) { return nil, nil }

type discard struct{}

func (discard) Write(b []byte) (int, error) { return len(b), nil }
func (discard) Close() error                { return nil }

// judge reads an archive without unpacking it.
func judge(file string) (*Manifest, Summary, error) {
	return read(context.Background(), file, Readable, func(*File) (io.WriteCloser, error) { return discard{}, nil }, nil)
}
