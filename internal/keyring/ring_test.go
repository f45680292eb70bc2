package keyring

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"filippo.io/age"

	"github.com/authsrv/authsrv/client/store"
	"github.com/authsrv/authsrv/internal/account"
	"github.com/authsrv/authsrv/internal/authtest"
	"github.com/authsrv/authsrv/internal/keyfile"
	"github.com/authsrv/authsrv/kv"
	"github.com/authsrv/authsrv/server"
)

const password = "correct-horse-battery-staple"

// keysOf are the keys that authtest makes, as a file would hold them.
func keysOf(now time.Time) *keyfile.Keys {
	key := func(what string) keyfile.Secret { return sha256.Sum256(append([]byte("authtest "+what), 0)) }
	realm, next := key("realm"), keyfile.Secret(authtest.Identity(1).Seed())
	return &keyfile.Keys{
		RealmID: [16]byte(realm[:]), Epoch: 1, Identity: key("identity"),
		NextIdentity: next, NextIdentityHash: sha256.Sum256(authtest.Identity(1)[32:]),
		SaltKey: key("salt"), NameKey: key("name"), AuditKey: key("audit"),
		WrappingKeys: []keyfile.WrappingKey{{ID: 1, Key: key("wrapping"), Created: now}}, CurrentWrapping: 1,
		TokenKeys: []keyfile.TokenKey{{ID: authtest.TokenID, Seed: key("token"), Created: now}}, CurrentToken: authtest.TokenID,
	}
}

// breakable is an engine whose commits can be made to fail, or be looked at.
type breakable struct {
	kv.Engine
	mu     sync.Mutex
	before func() error
}

func (e *breakable) set(before func() error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.before = before
}

func (e *breakable) Commit(ctx context.Context, reads []kv.Read, writes []kv.Write) (kv.Version, error) {
	e.mu.Lock()
	before := e.before
	e.mu.Unlock()
	if before != nil {
		if err := before(); err != nil {
			return 0, err
		}
	}
	return e.Engine.Commit(ctx, reads, writes)
}

// bench is a server with its key file.
type bench struct {
	*Ring
	t      *testing.T
	server *authtest.Server
	engine *breakable
	path   string
	log    *authtest.Log
}

func newBench(t *testing.T, passphrase string) *bench {
	t.Helper()
	b := &bench{t: t, engine: &breakable{Engine: authtest.Engine(t)}, path: filepath.Join(t.TempDir(), "keys"), log: &authtest.Log{}}
	b.server = authtest.New(t, authtest.Options{Engine: b.engine, Server: server.Config{NextIdentity: sha256.Sum256(authtest.Identity(1)[32:])}})
	k := keysOf(time.Now().UTC().Truncate(time.Second))
	if err := keyfile.Create(b.path, k, nil); err != nil {
		t.Fatal(err)
	}
	if passphrase != "" {
		seal(t, b.path, passphrase)
	}
	b.Ring = b.ring(k)
	return b
}

// seal does it as the age command would, with less work.
func seal(t *testing.T, path, passphrase string) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	recipient, err := age.NewScryptRecipient(passphrase)
	if err != nil {
		t.Fatal(err)
	}
	recipient.SetWorkFactor(1)
	var sealed bytes.Buffer
	w, err := age.Encrypt(&sealed, recipient)
	if err == nil {
		_, err = w.Write(text)
		err = errors.Join(err, w.Close(), os.WriteFile(path, sealed.Bytes(), 0o600))
	}
	if err != nil {
		t.Fatal(err)
	}
}

func (b *bench) ring(k *keyfile.Keys) *Ring {
	return New(&Config{
		Path: b.path, Keys: k, Accounts: b.server.Accounts, Logger: slog.New(slog.NewTextHandler(b.log, nil)),
		Adopt: func(k *keyfile.Keys) error {
			return b.server.SetIdentity(server.Identity{Key: Identity(k), Next: k.NextIdentityHash, Epoch: k.Epoch})
		},
	})
}

// until waits for what other goroutines do.
func (b *bench) until(done func() bool) {
	b.t.Helper()
	for end := time.Now().Add(time.Minute); !done(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			b.t.Fatal("it does not come")
		}
	}
}

func (b *bench) rotate(kind string, o Options) *Rotated {
	b.t.Helper()
	done, err := b.Rotate(b.t.Context(), kind, o, nil)
	if err != nil {
		b.t.Fatalf("%s: %v", kind, err)
	}
	return done
}

func (b *bench) file(passphrase string) *keyfile.Keys {
	b.t.Helper()
	k, err := keyfile.Open(b.path, []byte(passphrase))
	if err != nil {
		b.t.Fatal(err)
	}
	return k
}

// wantWhole fails unless the keys that are in the file open every record.
func (b *bench) wantWhole() {
	b.t.Helper()
	secrets := Secrets(b.file(""))
	found, err := account.Inspect(b.t.Context(), b.engine.Engine, &secrets)
	if err != nil || found.Damaged != 0 || found.Total() == 0 {
		b.t.Errorf("%+v, %v: not all records open with the keys in the file", found, err)
	}
}

func (b *bench) audited(kind account.Kind) int {
	b.t.Helper()
	events, _, err := b.accounts.Events(b.t.Context(), account.EventQuery{Kind: kind}, account.ID{}, 1000)
	if err != nil {
		b.t.Fatal(err)
	}
	return len(events)
}

// crowd writes n records more.
func (b *bench) crowd(n int) {
	b.t.Helper()
	at := time.Now()
	for i := range n {
		if _, err := b.accounts.NoteRotation(b.t.Context(), account.KindLogin, fmt.Sprint(i), at); err != nil {
			b.t.Fatal(err)
		}
	}
}

func (b *bench) list() (lines []string) {
	b.t.Helper()
	list, err := b.List(b.t.Context())
	if err != nil {
		b.t.Fatal(err)
	}
	for _, e := range list {
		id := e.ID
		if strings.HasPrefix(id, "SHA256:") || len(id) == 16 {
			id = "-"
		}
		line := e.Kind + " " + e.State + " " + id
		if e.Sessions != nil {
			line += fmt.Sprintf(" %d sessions", *e.Sessions)
		}
		if e.Offline {
			line += " offline"
		}
		lines = append(lines, line)
	}
	return lines
}

func TestRotate(t *testing.T) {
	b := newBench(t, "")
	b.server.Register("alice", password)
	st := store.Memory()
	live := b.server.Login(st, "alice", password)
	b.server.Invite()
	next := b.Keys().NextIdentityHash
	wrapping, tokens := b.rotate(keyfile.KindWrapping, Options{}), b.rotate(keyfile.KindToken, Options{})
	epoch, identity := b.rotate(keyfile.KindEpoch, Options{}), b.rotate(keyfile.KindIdentity, Options{})
	if wrapping.ID != "2" || *wrapping.Records == 0 || wrapping.Finished || tokens.ID != b.file("").CurrentToken || epoch.ID != "2" ||
		identity.ID != hashText(next) || *identity.Codes != 1 {
		t.Errorf("%+v %+v %+v %+v", wrapping, tokens, epoch, identity)
	}
	b.wantWhole()
	want := []string{
		"identity current -", "identity next -", "identity former -", "epoch current 2", "token kept k1 1 sessions", "token current -",
		"wrapping current 2", "salt fixed ", "names fixed ", "audit fixed ",
	}
	if got := b.list(); !slices.Equal(got, want) {
		t.Errorf("%q\nwant %q", got, want)
	}
	for _, kind := range []account.Kind{account.KindRotateToken, account.KindRotateWrapping, account.KindRotateIdentity, account.KindRotateEpoch} {
		if n := b.audited(kind); n != 1 {
			t.Errorf("%d records of %v", n, kind)
		}
	}
	if _, err := live.WhoAmI(t.Context()); err != nil {
		t.Error(err)
	}
	resumed, err := b.server.Dial(st).Resume(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	resumed.Close()
	if k, _, _ := st.Server(authtest.Address); k.Epoch != 2 || sha256.Sum256(k.Identity[:]) != next {
		t.Errorf("the client knows %+v", k)
	}
	if done := b.rotate(keyfile.KindToken, Options{EndSessions: true}); *done.Sessions != 1 || len(b.file("").TokenKeys) != 1 {
		t.Errorf("%+v", done)
	}
	if _, err := b.server.Dial(st).Resume(t.Context()); err == nil {
		t.Error("a session that was ended was resumed")
	}
	if _, err := b.Rotate(t.Context(), "salt", Options{}, nil); !errors.Is(err, ErrKind) {
		t.Error(err)
	}
}

// TestCutShort: whichever commit of a rotation is the last that happens, the keys in the file open everything, a restart finishes
// the rotation, and it is recorded once.
func TestCutShort(t *testing.T) {
	for n := range 9 {
		b := newBench(t, "")
		b.crowd(250)
		broken, left := errors.New("the machine is gone"), n
		b.engine.set(func() error {
			if left--; left < 0 {
				return broken
			}
			b.wantWhole() // and so it is at every moment before
			return nil
		})
		_, err := b.Rotate(t.Context(), keyfile.KindWrapping, Options{}, nil)
		if whole := n > 5; whole != (err == nil) {
			t.Fatalf("%d commits: %v", n, err)
		}
		b.engine.set(nil)
		b.wantWhole()
		keys := b.file("")
		if want := 1; err == nil && len(keys.WrappingKeys) != want || err != nil && len(keys.WrappingKeys) != 2 {
			t.Errorf("%d commits: %d keys in the file", n, len(keys.WrappingKeys))
		}
		b.Ring = b.ring(keys)
		if err := b.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() { b.Run(ctx) })
		b.until(func() bool { return len(b.Keys().WrappingKeys) == 1 })
		cancel()
		wg.Wait()
		b.wantWhole()
		if k := b.file(""); len(k.WrappingKeys) != 1 || k.CurrentWrapping != 2 || b.audited(account.KindRotateWrapping) != 1 {
			t.Errorf("%d commits: %d keys, %d records of it", n, len(k.WrappingKeys), b.audited(account.KindRotateWrapping))
		}
	}
}

// TestFinishedByHand: on a stopped folder the same command finishes what was cut short, and makes no key of its own.
func TestFinishedByHand(t *testing.T) {
	b := newBench(t, "")
	b.crowd(100)
	ctx, cancel := context.WithCancel(t.Context())
	commits := 0
	b.engine.set(func() error {
		if commits++; commits == 2 {
			cancel()
		}
		return nil
	})
	if _, err := b.Rotate(ctx, keyfile.KindWrapping, Options{}, nil); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	b.engine.set(nil)
	if n := len(b.file("").WrappingKeys); n != 2 {
		t.Fatalf("%d keys", n)
	}
	if done := b.rotate(keyfile.KindWrapping, Options{}); !done.Finished || done.ID != "2" {
		t.Errorf("%+v", done)
	}
	if done := b.rotate(keyfile.KindWrapping, Options{}); done.Finished || done.ID != "3" {
		t.Errorf("%+v", done)
	}
	b.wantWhole()
}

// TestTwoAtOnce: a second rewrapping is refused, another rotation is not; and who asked for it may leave.
func TestTwoAtOnce(t *testing.T) {
	b := newBench(t, "")
	b.crowd(100)
	run, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { b.Run(run) })
	b.until(b.runs)
	under, goOn := make(chan struct{}), make(chan struct{})
	first := sync.OnceFunc(func() {
		close(under)
		<-goOn
	})
	b.engine.set(func() error { first(); return nil })
	asked, leave := context.WithCancel(t.Context())
	left := make(chan struct{})
	wg.Go(func() {
		defer close(left)
		if _, err := b.Rotate(asked, keyfile.KindWrapping, Options{}, nil); !errors.Is(err, context.Canceled) {
			t.Errorf("who has left: %v", err)
		}
	})
	<-under
	if _, err := b.Rotate(t.Context(), keyfile.KindWrapping, Options{}, nil); !errors.Is(err, ErrBusy) || strings.Contains(err.Error(), "\n") {
		t.Errorf("a second one: %v", err)
	}
	leave()
	<-left // while it waits: behind its end, who has left might be told of that
	close(goOn)
	b.rotate(keyfile.KindEpoch, Options{})
	b.until(func() bool { return b.wrapping.try() == nil })
	b.wrapping.give()
	stop()
	wg.Wait()
	if k := b.file(""); len(k.WrappingKeys) != 1 || k.CurrentWrapping != 2 || k.Epoch != 2 {
		t.Errorf("%+v", k)
	}
	b.wantWhole()
}

func TestRefused(t *testing.T) {
	b := newBench(t, "secret")
	before, err := os.ReadFile(b.path)
	if err != nil {
		t.Fatal(err)
	}
	for _, kind := range []string{keyfile.KindWrapping, keyfile.KindToken} {
		if _, err := b.Rotate(t.Context(), kind, Options{}, nil); !errors.Is(err, keyfile.ErrPassphraseNeeded) {
			t.Errorf("%s: %v", kind, err)
		}
	}
	if _, err := b.Rotate(t.Context(), keyfile.KindWrapping, Options{Passphrase: []byte("wrong")}, nil); !errors.Is(err, keyfile.ErrWrongPassphrase) {
		t.Error(err)
	}
	if after, _ := os.ReadFile(b.path); !bytes.Equal(before, after) {
		t.Error("the file was changed")
	}
	other, err := keyfile.Generate(rand.Reader, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if err := keyfile.Save(b.path, other, nil); err != nil {
		t.Fatal(err)
	}
	for _, kind := range []string{keyfile.KindWrapping, keyfile.KindToken, keyfile.KindIdentity, keyfile.KindEpoch} {
		if _, err := b.Rotate(t.Context(), kind, Options{}, nil); !errors.Is(err, ErrChanged) {
			t.Errorf("%s: %v", kind, err)
		}
	}
	if b.audited(account.KindRotateToken) != 0 || b.Keys().CurrentWrapping != 1 {
		t.Error("something was rotated")
	}
}

// TestTokenKeysAreDropped when the last session that they have signed for has ended, and not before.
func TestTokenKeysAreDropped(t *testing.T) {
	for _, passphrase := range []string{"", "secret"} {
		synctest.Test(t, func(t *testing.T) {
			b := newBench(t, passphrase)
			b.server.Register("alice", password)
			st := store.Memory()
			b.server.Login(st, "alice", password).Close()
			ctx, stop := context.WithCancel(t.Context())
			var wg sync.WaitGroup
			wg.Go(func() { b.Run(ctx) })
			synctest.Wait()
			time.Sleep(2 * time.Hour)
			b.rotate(keyfile.KindToken, Options{Passphrase: []byte(passphrase)})
			time.Sleep(21*time.Hour + 59*time.Minute)
			session, err := b.server.Dial(st).Resume(t.Context())
			if err != nil {
				t.Fatalf("before the session ends: %v", err)
			}
			session.Close()
			time.Sleep(12 * time.Minute)
			synctest.Wait()
			tokens, err := tokensBut(b.Keys(), b.dropped)
			if err != nil || strings.Count(string(tokens.JWKS()), `"kid"`) != 1 {
				t.Errorf("the old key is verified with: %s, %v", tokens.JWKS(), err)
			}
			want := 1
			if passphrase != "" {
				want = 2 // nobody can write the file
			}
			inFile := b.file(passphrase)
			if n := len(inFile.TokenKeys); n != want {
				t.Errorf("passphrase %q: %d token keys in the file, want %d", passphrase, n, want)
			}
			stop()
			wg.Wait()
			if passphrase != "" { // the next start can
				again := b.ring(inFile)
				again.passphrase = []byte(passphrase)
				again.dropTokens(t.Context())
				if n := len(again.Keys().TokenKeys); n != 1 {
					t.Errorf("after the next start: %d token keys in the file", n)
				}
				again.forget()
				if again.startPassphrase() != nil {
					t.Error("the passphrase is kept")
				}
			}
			if strings.Contains(b.log.String(), "ERROR") {
				t.Error(b.log.String())
			}
		})
	}
}
