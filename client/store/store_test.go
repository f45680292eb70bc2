package store_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gofrs/flock"

	"github.com/authsrv/authsrv/client/store"
)

var epoch = time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)

func testServer(address string) store.Server {
	return store.Server{
		Address: address, RealmID: [16]byte{1}, Identity: [32]byte{2}, NextIdentity: [32]byte{3}, Epoch: 4, Version: 1, Suite: 1,
		ServerTime: epoch, Confirmed: true, FirstSeen: epoch,
	}
}

func testAccount(name string) store.Account {
	return store.Account{
		RealmID: [16]byte{1}, Name: name, DeviceKey: store.Secret{5},
		KDF: store.KDF{Algorithm: 1, Time: 3, MemoryKiB: 65536, Lanes: 4}, Salt: [16]byte{6}, Method: 1,
	}
}

func testSession(address string) store.Session {
	return store.Session{
		Address: address, Name: "alice", RealmID: [16]byte{1}, Identity: [32]byte{2}, Token: "a.b.c", ResumeKey: store.Secret{7},
		SessionID: [16]byte{8}, AccountID: [16]byte{9}, Expires: epoch,
	}
}

// folder returns a folder that only its owner can write to, whatever the umask of the test is.
func folder(t *testing.T) string { return filepath.Join(t.TempDir(), "home") }

func open(t *testing.T, dir string) *store.Store {
	t.Helper()
	s, err := store.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// both runs a test on a store in a folder and on one in memory. again returns what a later process finds.
func both(t *testing.T, f func(t *testing.T, s *store.Store, again func() *store.Store)) {
	t.Run("folder", func(t *testing.T) {
		dir := folder(t)
		f(t, open(t, dir), func() *store.Store { return open(t, dir) })
	})
	t.Run("memory", func(t *testing.T) {
		s := store.Memory()
		f(t, s, func() *store.Store { return s })
	})
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestEmpty(t *testing.T) {
	both(t, func(t *testing.T, s *store.Store, _ func() *store.Store) {
		if list, err := s.Servers(); err != nil || len(list) != 0 {
			t.Errorf("Servers: %v, %v", list, err)
		}
		if _, ok, err := s.Server("a:1"); ok || err != nil {
			t.Errorf("Server: %v, %v", ok, err)
		}
		if _, ok, err := s.ServerByRealm([16]byte{1}); ok || err != nil {
			t.Errorf("ServerByRealm: %v, %v", ok, err)
		}
		if a, err := s.Default(); a != "" || err != nil {
			t.Errorf("Default: %q, %v", a, err)
		}
		if ok, err := s.RemoveServer("a:1"); ok || err != nil {
			t.Errorf("RemoveServer: %v, %v", ok, err)
		}
		if _, ok, err := s.Account([16]byte{1}, "alice"); ok || err != nil {
			t.Errorf("Account: %v, %v", ok, err)
		}
		if _, ok, err := s.Session("a:1"); ok || err != nil {
			t.Errorf("Session: %v, %v", ok, err)
		}
	})
}

func TestRemembers(t *testing.T) {
	both(t, func(t *testing.T, s *store.Store, again func() *store.Store) {
		for _, address := range []string{"b:2", "a:1", "c:3"} {
			must(t, s.PutServer(testServer(address)))
		}
		must(t, s.SetDefault("b:2"))
		must(t, s.PutAccount(testAccount("alice")))
		must(t, s.PutAccount(testAccount("bob")))
		must(t, s.PutSession(testSession("a:1")))
		changed := testSession("a:1")
		changed.Token = "d.e.f"
		must(t, s.PutSession(changed))

		s = again()
		list, err := s.Servers()
		if want := []store.Server{testServer("a:1"), testServer("b:2"), testServer("c:3")}; err != nil || !reflect.DeepEqual(list, want) {
			t.Errorf("Servers: %v, %v", list, err)
		}
		if a, err := s.Default(); a != "b:2" || err != nil {
			t.Errorf("Default: %q, %v", a, err)
		}
		if a, ok, err := s.Account([16]byte{1}, "bob"); a != testAccount("bob") || !ok || err != nil {
			t.Errorf("Account: %v, %v, %v", a, ok, err)
		}
		if _, ok, err := s.Account([16]byte{2}, "bob"); ok || err != nil {
			t.Errorf("Account of another realm: %v, %v", ok, err)
		}
		if got, ok, err := s.Session("a:1"); got != changed || !ok || err != nil {
			t.Errorf("Session: %v, %v, %v", got, ok, err)
		}
	})
}

func TestRemove(t *testing.T) {
	both(t, func(t *testing.T, s *store.Store, again func() *store.Store) {
		must(t, s.PutServer(testServer("a:1")))
		must(t, s.PutServer(testServer("b:2")))
		must(t, s.SetDefault("a:1"))
		must(t, s.PutSession(testSession("a:1")))
		must(t, s.PutSession(testSession("b:2")))
		must(t, s.PutAccount(testAccount("alice")))

		if ok, err := s.RemoveServer("a:1"); !ok || err != nil {
			t.Errorf("RemoveServer: %v, %v", ok, err)
		}
		if ok, err := s.RemoveSession("b:2", [16]byte{99}); ok || err != nil {
			t.Errorf("RemoveSession of another session: %v, %v", ok, err)
		}
		if ok, err := s.RemoveAccount([16]byte{1}, "alice"); !ok || err != nil {
			t.Errorf("RemoveAccount: %v, %v", ok, err)
		}
		s = again()
		if _, ok, _ := s.Server("a:1"); ok {
			t.Error("the server is still there")
		}
		if _, ok, _ := s.Session("a:1"); ok {
			t.Error("the session of the removed server is still there")
		}
		if a, _ := s.Default(); a != "" {
			t.Errorf("the default is still %q", a)
		}
		if _, ok, _ := s.Account([16]byte{1}, "alice"); ok {
			t.Error("the account is still there")
		}
		if _, ok, _ := s.Session("b:2"); !ok {
			t.Error("the other session is gone")
		}
		if ok, err := s.RemoveSession("b:2", [16]byte{8}); !ok || err != nil {
			t.Errorf("RemoveSession: %v, %v", ok, err)
		}
		if _, ok, _ := s.Session("b:2"); ok {
			t.Error("the session is still there")
		}
	})
}

// The accounts of a realm go with the last server that was confirmed of it.
func TestRemoveLastOfRealm(t *testing.T) {
	both(t, func(t *testing.T, s *store.Store, again func() *store.Store) {
		there := func(when string, want ...bool) {
			t.Helper()
			for i, want := range want {
				if _, ok, err := again().Account([16]byte{byte(i + 1)}, "alice"); ok != want || err != nil {
					t.Errorf("%s, the account of realm %d is there: %v, %v", when, i+1, ok, err)
				}
			}
		}
		other := testServer("o:1")
		other.RealmID = [16]byte{2}
		must(t, s.PutServer(other))
		claim := testServer("s:1")
		claim.Identity, claim.Confirmed = [32]byte{66}, false
		must(t, s.PutServer(claim)) // an accepted stranger claims realm 1, whose servers come later
		must(t, s.PutServer(testServer("a:1")))
		must(t, s.PutServer(testServer("b:2")))
		for _, realm := range []byte{1, 2} {
			a := testAccount("alice")
			a.RealmID = [16]byte{realm}
			must(t, s.PutAccount(a))
		}
		for _, c := range []struct {
			address string
			first   bool
		}{{"unknown:1", true}, {"a:1", true}, {"b:2", false}} {
			if _, err := s.RemoveServer(c.address); err != nil {
				t.Fatal(err)
			}
			there("without "+c.address, c.first, true)
		}
	})
}

// What was confirmed of a realm only goes up, at all of its addresses.
func TestServerOnlyGoesUp(t *testing.T) {
	both(t, func(t *testing.T, s *store.Store, again func() *store.Store) {
		must(t, s.PutServer(testServer("a:1")))
		lower := testServer("a:1")
		lower.Epoch, lower.Version, lower.Suite = 1, 0, 0
		lower.ServerTime, lower.FirstSeen = epoch.Add(-time.Hour), epoch.Add(time.Hour)
		must(t, s.PutServer(lower))
		if got, _, _ := s.Server("a:1"); got != testServer("a:1") {
			t.Errorf("after lower values: %+v", got)
		}

		soon := testServer("a:1")
		soon.ServerTime = epoch.Add(time.Hour - time.Second)
		must(t, s.PutServer(soon))
		if got, _, _ := s.Server("a:1"); got != testServer("a:1") {
			t.Errorf("after less than an hour: %+v", got)
		}

		higher := testServer("b:2")
		higher.Epoch, higher.Version, higher.Suite, higher.ServerTime = 9, 2, 3, epoch.Add(time.Hour)
		must(t, s.PutServer(higher))
		want := higher
		want.Address, want.FirstSeen = "a:1", epoch
		if got, _, _ := again().Server("a:1"); got != want {
			t.Errorf("after higher values at another address:\n got %+v\nwant %+v", got, want)
		}
		must(t, s.PutServer(testServer("c:3")))
		if got, _, _ := again().Server("c:3"); got.Epoch != 9 || !got.ServerTime.Equal(epoch.Add(time.Hour)) {
			t.Errorf("a new address of the realm starts low: %+v", got)
		}
	})
}

func TestServerIdentity(t *testing.T) {
	successor := [32]byte{42}
	with := func(s store.Server, change func(*store.Server)) store.Server { change(&s); return s }
	pinned := with(testServer("a:1"), func(s *store.Server) { s.NextIdentity = sha256.Sum256(successor[:]) })
	accepted := with(pinned, func(s *store.Server) { s.Confirmed = false })

	for _, c := range []struct {
		name  string
		known store.Server
		put   store.Server
		ok    bool
		after store.Server // at the address of known
	}{
		{"other identity", pinned, with(pinned, func(s *store.Server) { s.Identity[0]++ }), false, pinned},
		{"other realm", pinned, with(pinned, func(s *store.Server) { s.RealmID[0]++ }), false, pinned},
		{"realm under another identity", pinned,
			with(pinned, func(s *store.Server) { s.Address = "b:2"; s.Identity[0]++ }), false, pinned},
		{"realm under another identity, accepted", pinned,
			with(pinned, func(s *store.Server) { s.Address = "b:2"; s.Identity[0]++; s.Confirmed = false }), false, pinned},
		{"other identity where one was accepted", accepted,
			with(pinned, func(s *store.Server) { s.Identity[0]++ }), false, accepted},
		{"accepted never binds its realm elsewhere", accepted,
			with(pinned, func(s *store.Server) { s.Address = "b:2"; s.Identity[0]++ }), true, accepted},
		{"confirmed after accepted", accepted, pinned, true, pinned},
		{"accepted never changes confirmed", pinned,
			with(accepted, func(s *store.Server) { s.Epoch = 99 }), true, pinned},
		{"successor", pinned, with(pinned, func(s *store.Server) { s.Identity = successor; s.NextIdentity = [32]byte{} }), true,
			with(pinned, func(s *store.Server) { s.Identity = successor; s.NextIdentity = [32]byte{} })},
		{"successor at another address", pinned, with(pinned, func(s *store.Server) { s.Address = "b:2"; s.Identity = successor }), true,
			with(pinned, func(s *store.Server) { s.Identity = successor })},
		{"successor, not confirmed", pinned,
			with(pinned, func(s *store.Server) { s.Identity = successor; s.Confirmed = false }), false, pinned},
		{"successor of what is not confirmed", accepted,
			with(pinned, func(s *store.Server) { s.Identity = successor }), false, accepted},
		{"successor with a lower epoch", pinned,
			with(pinned, func(s *store.Server) { s.Identity = successor; s.Epoch = 1 }), true,
			with(pinned, func(s *store.Server) { s.Identity = successor })},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := store.Memory()
			must(t, s.PutServer(c.known))
			err := s.PutServer(c.put)
			if c.ok && err != nil || !c.ok && !errors.Is(err, store.ErrIdentityChanged) {
				t.Errorf("error %v", err)
			}
			if got, _, _ := s.Server(c.known.Address); got != c.after {
				t.Errorf("\n got %+v\nwant %+v", got, c.after)
			}
			if _, found, _ := s.Server("b:2"); found != (c.ok && c.put.Address == "b:2") {
				t.Errorf("the other address is there: %v", found)
			}
		})
	}
}

func TestServerByRealmPrefersConfirmed(t *testing.T) {
	s := store.Memory()
	accepted := testServer("a:1")
	accepted.Confirmed = false
	must(t, s.PutServer(accepted))
	if got, ok, err := s.ServerByRealm([16]byte{1}); got != accepted || !ok || err != nil {
		t.Errorf("got %+v, %v, %v", got, ok, err)
	}
	must(t, s.PutServer(testServer("b:2")))
	if got, ok, err := s.ServerByRealm([16]byte{1}); got != testServer("b:2") || !ok || err != nil {
		t.Errorf("got %+v, %v, %v", got, ok, err)
	}
}

func TestRefusesInvalid(t *testing.T) {
	s := store.Memory()
	server := func(change func(*store.Server)) error { v := testServer("a:1"); change(&v); return s.PutServer(v) }
	account := func(change func(*store.Account)) error { v := testAccount("a"); change(&v); return s.PutAccount(v) }
	session := func(change func(*store.Session)) error { v := testSession("a:1"); change(&v); return s.PutSession(v) }
	for name, err := range map[string]error{
		"empty address":    server(func(v *store.Server) { v.Address = "" }),
		"long address":     server(func(v *store.Server) { v.Address = strings.Repeat("a", 301) }),
		"address of lines": server(func(v *store.Server) { v.Address = "a\nb" }),
		"not UTF-8":        server(func(v *store.Server) { v.Address = "\xff" }),
		"no realm":         server(func(v *store.Server) { v.RealmID = [16]byte{} }),
		"no identity":      server(func(v *store.Server) { v.Identity = [32]byte{} }),
		"year 10000":       server(func(v *store.Server) { v.ServerTime = time.Unix(1<<40, 0) }),
		"long name":        account(func(v *store.Account) { v.Name = strings.Repeat("a", 65) }),
		"no device key":    account(func(v *store.Account) { v.DeviceKey = store.Secret{} }),
		"no account realm": account(func(v *store.Account) { v.RealmID = [16]byte{} }),
		"no token":         session(func(v *store.Session) { v.Token = "" }),
		"long token":       session(func(v *store.Session) { v.Token = store.Token(strings.Repeat("a", 801)) }),
		"no resume key":    session(func(v *store.Session) { v.ResumeKey = store.Secret{} }),
		"end of time":      session(func(v *store.Session) { v.Expires = time.Unix(1<<62, 0) }),
		"default":          s.SetDefault("a b"),
	} {
		if !errors.Is(err, store.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if list, err := s.Servers(); len(list) != 0 || err != nil {
		t.Errorf("something was kept: %v, %v", list, err)
	}
}

func TestPermissions(t *testing.T) {
	if runtime.GOOS == "windows" {
		return // has no such modes
	}
	dir := folder(t)
	s := open(t, dir)
	must(t, s.PutServer(testServer("a:1")))
	must(t, s.PutAccount(testAccount("alice")))
	must(t, s.PutSession(testSession("a:1")))
	info, err := os.Stat(dir)
	must(t, err)
	if info.Mode().Perm() != 0o700 {
		t.Errorf("the folder is %v", info.Mode())
	}
	entries, err := os.ReadDir(dir)
	must(t, err)
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
		if info, err := e.Info(); err != nil || info.Mode() != 0o600 {
			t.Errorf("%s is %v, %v", e.Name(), info.Mode(), err)
		}
	}
	if want := []string{"accounts.json", "lock", "servers.json", "sessions.json"}; !slices.Equal(names, want) {
		t.Errorf("files %v, want %v", names, want)
	}

	must(t, os.Chmod(dir, 0o770))
	if _, err := store.Open(dir); !errors.Is(err, store.ErrPermissions) || !strings.Contains(err.Error(), dir) {
		t.Errorf("a folder that the group can write to: %v", err)
	}
	must(t, os.Chmod(dir, 0o700))
	if os.Geteuid() != 0 {
		return // and can give nothing away
	}
	must(t, os.Chown(dir, 4711, -1))
	if _, err := store.Open(dir); !errors.Is(err, store.ErrPermissions) || !strings.Contains(err.Error(), "4711") {
		t.Errorf("a folder of another user: %v", err)
	}
}

func TestOpenRefuses(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	must(t, os.WriteFile(file, nil, 0o600))
	if _, err := store.Open(file); err == nil {
		t.Error("a file was opened as a folder")
	}
}

// A process that died while it wrote leaves its temporary file; the next one that writes removes it.
func TestRemovesStale(t *testing.T) {
	dir := folder(t)
	s := open(t, dir)
	stale := filepath.Join(dir, "123.sessions.json.tmp")
	must(t, os.WriteFile(stale, []byte("half a tok"), 0o600))
	must(t, s.PutServer(testServer("a:1")))
	if _, err := os.Stat(stale); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("still there: %v", err)
	}
}

func TestFull(t *testing.T) {
	dir := folder(t)
	s := open(t, dir)
	// Most of it is written at once: Puts alone would do the same, slowly.
	text := `{"version": 1, "entries": [`
	for i := range 855 {
		if i > 0 {
			text += ","
		}
		v := testSession(fmt.Sprintf("host%05d:1", i))
		text += fmt.Sprintf(`{"address":%q,"name":"alice","realm_id":"%x","identity":"%x","token":%q,"resume_key":"%064d",`+
			`"session_id":"%x","account_id":"%x","expires":"2026-11-01T12:00:00Z"}`,
			v.Address, v.RealmID, v.Identity, strings.Repeat("t", 750), 7, v.SessionID, v.AccountID)
	}
	text += "]}"
	file := filepath.Join(dir, "sessions.json")
	must(t, os.WriteFile(file, []byte(text), 0o600))
	must(t, s.PutSession(testSession("a:1")))
	var err error
	last := 0
	for last = 0; err == nil && last < 50; last++ {
		v := testSession(fmt.Sprintf("more%05d:%s", last, strings.Repeat("1", 280)))
		v.Token = store.Token(strings.Repeat("t", 800))
		err = s.PutSession(v)
	}
	if !errors.Is(err, store.ErrTooLarge) {
		t.Fatalf("after %d sessions more: %v", last, err)
	}
	if got, ok, err := s.Session("a:1"); got != testSession("a:1") || !ok || err != nil {
		t.Errorf("what was there: %v, %v, %v", got, ok, err)
	}
	if info, err := os.Stat(file); err != nil || info.Size() > 1<<20 {
		t.Errorf("the file has %d bytes, %v", info.Size(), err)
	}
}

func TestConcurrentGoroutines(t *testing.T) {
	both(t, func(t *testing.T, s *store.Store, again func() *store.Store) {
		const workers, each = 4, 10
		var wg sync.WaitGroup
		for w := range workers {
			mine := again()
			if w == 0 {
				mine = s
			}
			wg.Go(func() {
				for i := range each {
					if err := mine.PutAccount(testAccount(fmt.Sprintf("w%d.%d", w, i))); err != nil {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
		for w := range workers {
			for i := range each {
				if _, ok, err := s.Account([16]byte{1}, fmt.Sprintf("w%d.%d", w, i)); !ok || err != nil {
					t.Errorf("account w%d.%d: %v, %v", w, i, ok, err)
				}
			}
		}
	})
}

func TestSecretsAreNotPrinted(t *testing.T) {
	account, session := testAccount("alice"), testSession("a:1")
	account.DeviceKey = store.Secret(bytes.Repeat([]byte{0xab}, 32))
	session.ResumeKey = store.Secret(bytes.Repeat([]byte{0xab}, 32))
	session.Token = "the.secret.token"
	var out bytes.Buffer
	for _, v := range []any{account, &account, session, &session, account.DeviceKey, session.Token, []any{session.Token}} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
			fmt.Fprintf(&out, verb+"\n", v)
		}
		slog.New(slog.NewTextHandler(&out, nil)).Info("m", "v", v)
		slog.New(slog.NewJSONHandler(&out, nil)).Info("m", "v", v)
		text, err := json.Marshal(v)
		must(t, err)
		out.Write(text)
	}
	for _, secret := range []string{"abab", "ABAB", "171 171", "171,171", "0xab, 0xab", "the.secret", "7468652e736563726574"} {
		if strings.Contains(out.String(), secret) {
			t.Errorf("%q was printed", secret)
		}
	}
	if !strings.Contains(out.String(), "alice") || !strings.Contains(out.String(), "[secret]") {
		t.Error("nothing was printed")
	}
}

// TestZero: a Store that was not made keeps nothing, and says so at every call.
func TestZero(t *testing.T) {
	var s store.Store
	_, _, readErr := s.Server("a:1")
	_, removeErr := s.RemoveServer("a:1")
	for _, err := range []error{readErr, removeErr, s.PutServer(testServer("a:1")), s.WithContext(t.Context()).SetDefault("a:1")} {
		if err == nil || !strings.Contains(err.Error(), "neither Memory nor Open") {
			t.Errorf("error %v", err)
		}
	}
}

// TestBusy: where another process keeps the lock, a call waits for its own time or for its context's, whichever is less, also
// behind another goroutine; and where nobody does, a context that has ended is no hindrance.
func TestBusy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := folder(t)
		s := open(t, dir)
		must(t, s.PutServer(testServer("a:1")))
		other := flock.New(filepath.Join(dir, "lock"))
		must(t, other.Lock())
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		var wg sync.WaitGroup
		began := time.Now()
		for _, c := range []struct {
			s    *store.Store
			want time.Duration
			wrap bool
		}{{s, 10 * time.Second, false}, {s.WithContext(ctx), time.Second, true}, {open(t, dir).WithContext(ctx), time.Second, true}, {s, 10 * time.Second, false}} {
			wg.Go(func() {
				err := c.s.PutServer(testServer("b:2"))
				if !errors.Is(err, store.ErrBusy) || errors.Is(err, context.DeadlineExceeded) != c.wrap || !strings.Contains(err.Error(), dir) {
					t.Errorf("error %v", err)
				}
				if took := time.Since(began); took != c.want {
					t.Errorf("it took %v, want %v", took, c.want)
				}
			})
		}
		wg.Wait()
		must(t, other.Unlock())
		if _, found, err := s.WithContext(ctx).Server("a:1"); !found || err != nil {
			t.Errorf("when the lock is free: %v, %v", found, err)
		}
		if _, found, _ := s.Server("b:2"); found {
			t.Error("a call that came to nothing has changed something")
		}
	})
}
