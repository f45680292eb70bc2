package fuzz

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/authsrv/authsrv/client/store"
)

var (
	storeFiles = []string{"servers.json", "accounts.json", "sessions.json"}
	aServer    = store.Server{
		Address: "auth.example:7022", RealmID: b16(1), Identity: b32(20), NextIdentity: b32(60), Epoch: 1, Version: 1, Suite: 1,
		ServerTime: now.UTC(), Confirmed: true, FirstSeen: now.UTC(),
	}
	anAccount = store.Account{
		RealmID: b16(1), Name: "alice", DeviceKey: b32(20), KDF: store.KDF{Algorithm: 1, Time: 3, MemoryKiB: 65_536, Lanes: 4}, Salt: b16(60), Method: 1,
	}
	aSession = store.Session{
		Address: "auth.example:7022", Name: "alice", RealmID: b16(1), Identity: b32(20), Token: "eyJhbGciOiJFZERTQSJ9.e30.c2ln",
		ResumeKey: b32(60), SessionID: b16(100), AccountID: b16(120), Expires: now.UTC(),
	}
)

// stored returns the text of a file as a store writes it.
func stored(t testing.TB, name string, put func(*store.Store) error) []byte {
	t.Helper()
	dir := t.TempDir()
	s, err := store.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := put(s); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func storeSeeds(t testing.TB) (all []seed) {
	second := aServer
	second.Address, second.RealmID, second.Confirmed = "[::1]:7022", b16(9), false
	texts := [][]byte{
		stored(t, storeFiles[0], func(s *store.Store) error {
			return errors.Join(s.PutServer(aServer), s.PutServer(second), s.SetDefault(second.Address))
		}),
		stored(t, storeFiles[1], func(s *store.Store) error { return s.PutAccount(anAccount) }),
		stored(t, storeFiles[2], func(s *store.Store) error { return s.PutSession(aSession) }),
	}
	for kind, text := range texts {
		add := func(b string) { all = append(all, seed{uint8(kind), []byte(b)}) }
		good := string(text)
		add(good)
		add(good[:len(good)-3])
		add(good + good)
		first, last := strings.Index(good, "[\n")+1, strings.LastIndex(good, "]")
		add(good[:last] + "," + good[first:]) // each entry twice
		add("")
		add("{}")
		add(`{"version":1,"entries":[]}`)
		add(`{"version":1,"entries":null}`)
		add(`{"version":1,"Entries":[],"entries":[]}`)
		add(`{"version":1,"default":"a:1","entries":[]}`)
		add(strings.ReplaceAll(good, "\n", "\r\n\t"))
		for _, r := range [][2]string{
			{`"version": 1`, `"version": 2`}, {`"version": 1`, `"version": 0`}, {`"version": 1`, `"Version": 1`}, {"{", `{"version": 1,`}, {"01020304", "0102030"},
			{"01020304", "01020304ff"}, {"0a0b0c", "0A0B0C"}, {"01020304", "zz020304"}, {`"entries": [`, `"entries": [null,`}, {"Z\"", "+00:00\""}, {"202", "99"},
			{"auth.example", `auth\u002eexample`}, {"auth.example", "auth example"}, {"alice", "al\\nice"}, {`"epoch": 1`, `"epoch": -1`}, {"2027", "0000"},
		} {
			if changed := strings.Replace(good, r[0], r[1], 1); changed != good {
				add(changed)
			}
		}
		all = append(all, seed{uint8((kind + 1) % len(texts)), text})
	}
	return all
}

// FuzzStore reads any text as each of the client's files: what is accepted reads the same in any white space, and is what a store writes
// that is given its entries.
func FuzzStore(f *testing.F) {
	plant(f)
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, kind uint8, text []byte) {
		name := storeFiles[int(kind)%len(storeFiles)]
		entries, defaultAddress, err := parseFile(name, text)
		if err != nil {
			if line := err.Error(); !errors.Is(err, store.ErrCorrupt) && !errors.Is(err, store.ErrNewer) || len(line) > 200 || strings.ContainsAny(line, "\r\n\x00\x1b") {
				t.Fatalf("%q", line)
			}
			return
		}
		var compact, indented bytes.Buffer
		if err := errors.Join(json.Compact(&compact, text), json.Indent(&indented, text, "\r\n", "\t")); err != nil {
			t.Fatal(err)
		}
		for _, form := range []*bytes.Buffer{&compact, &indented} {
			if again, d, err := parseFile(name, form.Bytes()); !reflect.DeepEqual(again, entries) || d != defaultAddress || err != nil {
				t.Fatalf("%s\nis read as %+v, %q, %v", form, again, d, err)
			}
		}
		again, possible := rewrite(t, dir, name, entries, defaultAddress)
		if possible && !bytes.Equal(again, compact.Bytes()) {
			t.Fatalf("%s\nis written as\n%s", compact.Bytes(), again)
		}
	})
}

// rewrite gives the entries to a new store in dir, and returns what it makes of them. Of a realm, a store holds the same at all
// addresses, so that it is only possible with each realm there once; and not with too many, since each is written safely.
func rewrite(t *testing.T, dir, name string, entries any, defaultAddress string) (compact []byte, possible bool) {
	path := filepath.Join(dir, name)
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	s, err := store.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	put := []error{s.SetDefault(defaultAddress)}
	n := reflect.ValueOf(entries).Len()
	if n > 4 {
		return nil, false
	}
	switch entries := entries.(type) {
	case []store.Server:
		realms := make(map[[16]byte]bool)
		for _, e := range entries {
			realms[e.RealmID] = true
			put = append(put, s.PutServer(e))
		}
		if len(realms) < n {
			return nil, false
		}
	case []store.Account:
		for _, e := range entries {
			put = append(put, s.PutAccount(e))
		}
	case []store.Session:
		for _, e := range entries {
			put = append(put, s.PutSession(e))
		}
	}
	if err := errors.Join(put...); err != nil {
		t.Fatalf("%+v: %v", entries, err)
	}
	text, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) && n == 0 {
		text, err = []byte(`{"version":1,"entries":[]}`), nil
	}
	var b bytes.Buffer
	if err := errors.Join(err, json.Compact(&b, text)); err != nil {
		t.Fatal(err)
	}
	return b.Bytes(), true
}

func parseFile(name string, text []byte) (entries any, defaultAddress string, err error) {
	switch name {
	case "servers.json":
		return wrap(store.ParseServers(text))
	case "accounts.json":
		entries, err = store.ParseAccounts(text)
	default:
		entries, err = store.ParseSessions(text)
	}
	return entries, "", err
}

func wrap(servers []store.Server, defaultAddress string, err error) (any, string, error) {
	return servers, defaultAddress, err
}
