package store_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/authsrv/authsrv/client/store"
)

// files returns the text of the three files of a store that holds one of each.
func files(t *testing.T) (dir string, text map[string][]byte) {
	t.Helper()
	dir = folder(t)
	s := open(t, dir)
	must(t, s.PutServer(testServer("a:1")))
	must(t, s.PutServer(testServer("b:2")))
	must(t, s.SetDefault("a:1"))
	must(t, s.PutAccount(testAccount("alice")))
	must(t, s.PutSession(testSession("a:1")))
	text = make(map[string][]byte)
	for _, name := range []string{"servers.json", "accounts.json", "sessions.json"} {
		b, err := os.ReadFile(filepath.Join(dir, name))
		must(t, err)
		text[name] = b
	}
	return dir, text
}

func parse(name string, text []byte) (err error) {
	switch name {
	case "servers.json":
		_, _, err = store.ParseServers(text)
	case "accounts.json":
		_, err = store.ParseAccounts(text)
	case "sessions.json":
		_, err = store.ParseSessions(text)
	}
	return err
}

func TestParse(t *testing.T) {
	_, text := files(t)
	servers, def, err := store.ParseServers(text["servers.json"])
	if len(servers) != 2 || servers[0] != testServer("a:1") || servers[1] != testServer("b:2") || def != "a:1" || err != nil {
		t.Errorf("servers: %v, %q, %v", servers, def, err)
	}
	accounts, err := store.ParseAccounts(text["accounts.json"])
	if len(accounts) != 1 || accounts[0] != testAccount("alice") || err != nil {
		t.Errorf("accounts: %v, %v", accounts, err)
	}
	sessions, err := store.ParseSessions(text["sessions.json"])
	if len(sessions) != 1 || sessions[0] != testSession("a:1") || err != nil {
		t.Errorf("sessions: %v, %v", sessions, err)
	}
	for name, b := range text {
		if err := parse(name, bytes.ReplaceAll(b, []byte("\n"), []byte("\r\n  "))); err != nil {
			t.Errorf("%s with other white space: %v", name, err)
		}
	}
}

// A damaged file is named, never quoted, and stays as it is.
func TestCorrupt(t *testing.T) {
	replace := func(old, new string) func([]byte) []byte {
		return func(b []byte) []byte {
			if !bytes.Contains(b, []byte(old)) {
				panic("the file has no " + old)
			}
			return bytes.Replace(b, []byte(old), []byte(new), 1)
		}
	}
	const id = "01000000000000000000000000000000"
	for _, c := range []struct {
		name, file string
		damage     func([]byte) []byte
		want       error
	}{
		{"empty", "servers.json", func([]byte) []byte { return nil }, store.ErrCorrupt},
		{"null", "servers.json", func([]byte) []byte { return []byte("null") }, store.ErrCorrupt},
		{"list", "servers.json", func([]byte) []byte { return []byte("[]") }, store.ErrCorrupt},
		{"cut short", "servers.json", func(b []byte) []byte { return b[:len(b)/2] }, store.ErrCorrupt},
		{"something behind", "servers.json", func(b []byte) []byte { return append(b, "{}"...) }, store.ErrCorrupt},
		{"too large", "servers.json", func(b []byte) []byte { return append(b, bytes.Repeat([]byte(" "), 1<<20)...) }, store.ErrCorrupt},
		{"unknown field", "servers.json", replace(`"epoch"`, `"epoch2"`), store.ErrCorrupt},
		{"other letters", "servers.json", replace(`"epoch"`, `"Epoch"`), store.ErrCorrupt},
		{"field twice", "servers.json", replace(`"epoch": 4`, `"epoch": 5, "epoch": 4`), store.ErrCorrupt},
		{"server twice", "servers.json", replace(`"b:2"`, `"a:1"`), store.ErrCorrupt},
		{"out of order", "servers.json", replace(`"b:2"`, `"Z:2"`), store.ErrCorrupt},
		{"number for text", "servers.json", replace(`"a:1"`, `1`), store.ErrCorrupt},
		{"negative epoch", "servers.json", replace(`"epoch": 4`, `"epoch": -4`), store.ErrCorrupt},
		{"capitals in hex", "servers.json", replace(id, strings.Replace(id, "01", "AB", 1)), store.ErrCorrupt},
		{"short id", "servers.json", replace(id, id[2:]), store.ErrCorrupt},
		{"not hex", "servers.json", replace(id, "zz"+id[2:]), store.ErrCorrupt},
		{"zero id", "servers.json", replace(id, strings.Repeat("0", 32)), store.ErrCorrupt},
		{"other time zone", "servers.json", replace("12:00:00Z", "13:00:00+01:00"), store.ErrCorrupt},
		{"parts of seconds", "servers.json", replace("12:00:00Z", "12:00:00.5Z"), store.ErrCorrupt},
		{"address in lines", "servers.json", replace(`"b:2"`, `"b\n:2"`), store.ErrCorrupt},
		{"no version", "servers.json", replace(`"version": 1,`, ``), store.ErrCorrupt},
		{"version 0", "servers.json", replace(`"version": 1`, `"version": 0`), store.ErrCorrupt},
		{"newer", "servers.json", replace(`"version": 1`, `"version": 2, "something": [1]`), store.ErrNewer},
		{"no device key", "accounts.json", replace(`"device_key"`, `"device"`), store.ErrCorrupt},
		{"default", "accounts.json", replace(`"version": 1`, `"version": 1, "default": "a:1"`), store.ErrCorrupt},
		{"newer", "accounts.json", replace(`"version": 1`, `"version": 7`), store.ErrNewer},
		{"no token", "sessions.json", replace(`"a.b.c"`, `""`), store.ErrCorrupt},
		{"token of the wrong kind", "sessions.json", replace(`"a.b.c"`, `["a.b.c"]`), store.ErrCorrupt},
		{"token not quoted", "sessions.json", replace(`"a.b.c"`, `a.b.c`), store.ErrCorrupt},
		{"server in it", "sessions.json", replace(`"token"`, `"epoch": 1, "token"`), store.ErrCorrupt},
	} {
		t.Run(c.file+" "+c.name, func(t *testing.T) {
			dir, text := files(t)
			path := filepath.Join(dir, c.file)
			damaged := c.damage(bytes.Clone(text[c.file]))
			must(t, os.WriteFile(path, damaged, 0o600))

			if err := parse(c.file, damaged); !errors.Is(err, c.want) {
				t.Errorf("parse: %v", err)
			}
			s := open(t, dir)
			for what, err := range use(s, c.file) {
				if !errors.Is(err, c.want) || !strings.Contains(err.Error(), path) || strings.Contains(err.Error(), "\n") {
					t.Errorf("%s: %v", what, err)
				}
				if err != nil && (strings.Contains(err.Error(), "a.b.c") || strings.Contains(err.Error(), id)) {
					t.Errorf("%s quotes the file: %v", what, err)
				}
			}
			for name, b := range text {
				if name == c.file {
					b = damaged
				}
				if now, err := os.ReadFile(filepath.Join(dir, name)); err != nil || !bytes.Equal(now, b) {
					t.Errorf("%s was changed (%v)", name, err)
				}
			}
		})
	}
}

// use calls every method that needs a file.
func use(s *store.Store, file string) map[string]error {
	switch file {
	case "servers.json":
		_, list := s.Servers()
		_, _, get := s.Server("a:1")
		_, _, realm := s.ServerByRealm([16]byte{1})
		_, def := s.Default()
		return map[string]error{"list": list, "get": get, "realm": realm, "default": def,
			"put": s.PutServer(testServer("z:1")), "set default": s.SetDefault("")}
	case "accounts.json":
		_, _, get := s.Account([16]byte{1}, "alice")
		_, remove := s.RemoveAccount([16]byte{1}, "alice")
		return map[string]error{"get": get, "put": s.PutAccount(testAccount("zoe")), "remove": remove}
	default:
		_, _, get := s.Session("a:1")
		_, remove := s.RemoveSession("a:1", [16]byte{8})
		_, server := s.RemoveServer("a:1")
		return map[string]error{"get": get, "put": s.PutSession(testSession("z:1")), "remove": remove, "remove server": server}
	}
}
