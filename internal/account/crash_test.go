package account

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/authsrv/authsrv/internal/soak"
	"github.com/authsrv/authsrv/kv"
)

// The stages of an account in crash tests. What a crash leaves is the stage that was acknowledged last, or the next.
const (
	absent = iota
	registered
	renewed // has the password next
	deleted
)

// advance takes an account one stage further.
func advance(p *peer, name string, stage int) error {
	switch stage {
	case registered:
		return p.register(name, right())
	case renewed:
		l, err := p.login(name, right())
		if err == nil {
			_, err = p.changePassword(l.Session, right(), keyOf("next"))
		}
		return err
	default:
		l, err := p.login(name, keyOf("next"))
		if err == nil {
			err = p.delete(l.Session, keyOf("next"))
		}
		return err
	}
}

// stageOf finds out where an account is, by its record.
func (r *rig) stageOf(name string) int {
	r.t.Helper()
	_, a, real, err := r.lookup(r.now(r.t.Context()), name)
	switch {
	case err != nil:
		r.t.Errorf("%s: %v", name, err)
	case !real:
		return absent
	case a.verifier == verifierOf(keyOf("next")) && a.generation == 2:
		return renewed
	case a.verifier == verifierOf(right()) && a.generation == 1:
		return registered
	}
	r.t.Errorf("%s has a record of no stage", name)
	return absent
}

// wantAcknowledged holds what a crash has left against what was acknowledged by name, and looks for halves.
func (r *rig) wantAcknowledged(acked map[string]int) {
	r.t.Helper()
	for name, stage := range acked {
		got := r.stageOf(name)
		if got != stage%deleted && got != (stage+1)%deleted || stage == deleted && got != absent {
			r.t.Errorf("%s was acknowledged at stage %d, and is at %d", name, stage, got)
		}
	}
	if _, err := r.Sweep(r.t.Context(), 1); err != nil {
		r.t.Error(err)
	}
	n := r.keys()
	if n[spaceName] != n[spaceAccount] {
		r.t.Errorf("halves: %v", n)
	}
	ids := map[ID]bool{}
	for _, e := range r.scan(spaceAccount) {
		ids[ID(e.Key[1:])] = true
	}
	for _, e := range r.scan(spaceSession) {
		if !ids[ID(e.Key[1:17])] {
			r.t.Errorf("a session without an account")
		}
	}
	made, gone := r.audited(KindRegister), r.audited(KindDelete)
	for name, stage := range acked {
		if stage >= registered && !made[name] || stage == deleted && !gone[name] {
			r.t.Errorf("%s is at stage %d, which the audit does not know", name, stage)
		}
	}
}

// audited returns the names of which something is recorded.
func (r *rig) audited(kind Kind) map[string]bool {
	r.t.Helper()
	events, _, err := r.Events(r.t.Context(), EventQuery{}, ID{}, 100_000)
	if err != nil {
		r.t.Error(err)
	}
	names := make(map[string]bool)
	for _, e := range events {
		names[e.Name] = names[e.Name] || e.Kind == kind
	}
	return names
}

// crashAt is how many file-system operations of a load there are at the most from one crash to the next, and crashesEach how many crashes a
// store lives through before there is a new one.
const (
	crashAt     = 40
	crashesEach = 25
)

// crashes has a load run on a disk, and looks at what a crash leaves of it, at random moments in the midst of operations of the file system, if it keeps
// none, half or all of what was not synced. It returns what was not as promised. Every second store is one that has crashed before.
func crashes(t *testing.T, seed uint64, points int, disk func(vfs.FS) vfs.FS, wrap func(kv.Engine) kv.Engine) (faults []string) {
	t.Helper()
	var left *vfs.MemFS
	for round := 0; points > 0 && len(faults) == 0; round++ {
		mem := left
		if mem == nil {
			mem = vfs.NewCrashableMem()
		}
		n := min(points, crashesEach)
		points -= n
		left, faults = crashRound(t, mem, fmt.Sprintf("r%d", round), seed+uint64(round)<<32, n, disk, wrap)
		if round%2 == 1 {
			left = nil
		}
	}
	return faults
}

func crashRound(t *testing.T, mem *vfs.MemFS, tag string, seed uint64, points int, disk func(vfs.FS) vfs.FS, wrap func(kv.Engine) kv.Engine) (left *vfs.MemFS, faults []string) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	random := rand.New(rand.NewPCG(seed, 0))
	var l *load
	var mu sync.Mutex // held in an operation in whose midst it crashes: the load waits
	next := -1        // operations until then; negative: never
	point := func() {
		m := l.acknowledged()
		var clones [3]*vfs.MemFS
		for i := range clones {
			clones[i] = mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 50 * i, RNG: random})
		}
		l.asked(m)
		if points--; points == 0 {
			left = clones[1].CrashClone(vfs.CrashCloneCfg{})
		}
		var found [3][]string
		var wg sync.WaitGroup
		for i, clone := range clones {
			wg.Go(func() { found[i] = m.broken(t, clone) })
		}
		wg.Wait()
		for i, f := range found {
			for _, text := range f {
				faults = append(faults, fmt.Sprintf("%s, %d points to go, with %d %% kept: %s", tag, points, 50*i, text))
			}
		}
	}
	fs := errorfs.Wrap(mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind.ReadOrWrite() != errorfs.OpIsWrite {
			return nil
		}
		mu.Lock()
		defer mu.Unlock()
		if next--; next == 0 {
			point()
			next = 1 + random.IntN(crashAt)
			if points == 0 || len(faults) > 0 {
				next = -1
				cancel()
			}
		}
		return nil
	}))
	rec := &recorder{TB: t}
	r := rigOf(rec, "store", disk(fs))
	r.wrap = wrap
	err := recovered(func() error {
		r.open()
		r.spy.deaf = true
		func() {
			mu.Lock()
			defer mu.Unlock()
			l = startLoad(ctx, r, tag, seed, func(err error) {
				rec.Errorf("%s: %v", tag, err)
				cancel()
			})
			next = 1 + random.IntN(crashAt)
		}()
		l.wg.Wait()
		r.close()
		return nil
	})
	if err != nil {
		rec.Errorf("%s: %v", tag, err)
	}
	return left, append(faults, rec.faults...)
}

// sound is a disk as it is, and plain an engine.
func sound(fs vfs.FS) vfs.FS      { return fs }
func plain(e kv.Engine) kv.Engine { return e }

// TestSoakCrash crashes a store at random moments under a mixed load, and holds what is left against what was acknowledged.
func TestSoakCrash(t *testing.T) {
	seed, points := soak.Seed(t), soak.Times(t, 2000, 40)
	for _, fault := range crashes(t, seed, points, sound, plain) {
		t.Error(fault)
	}
	t.Logf("%d points, each with 0, 50 and 100 %% of unsynced data kept", points)
}

// TestCrashMutants: TestSoakCrash finds a store that acknowledges before the disk has it, and one that does half of a commit.
func TestCrashMutants(t *testing.T) {
	for name, mutant := range map[string]struct {
		disk func(vfs.FS) vfs.FS
		wrap func(kv.Engine) kv.Engine
	}{
		"acknowledged before the sync": {func(fs vfs.FS) vfs.FS { return hasty{fs} }, plain},
		"commits in two parts":         {sound, func(e kv.Engine) kv.Engine { return halving{e} }},
	} {
		faults := crashes(t, soak.Seed(t), 40, mutant.disk, mutant.wrap)
		if len(faults) == 0 {
			t.Errorf("%s: not found", name)
			continue
		}
		t.Logf("%s: %s", name, faults[0])
	}
}

// hasty is a disk that says of the log that it is synced, and syncs it only when the next write comes.
type hasty struct{ vfs.FS }

func (h hasty) Unwrap() vfs.FS { return h.FS }

func (h hasty) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := h.FS.Create(name, c)
	return h.file(name, f), err
}

func (h hasty) ReuseForWrite(from, to string, c vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := h.FS.ReuseForWrite(from, to, c)
	return h.file(to, f), err
}

func (h hasty) file(name string, f vfs.File) vfs.File {
	if f == nil || !strings.HasSuffix(name, ".log") {
		return f
	}
	return &hastyFile{File: f}
}

type hastyFile struct {
	vfs.File
	due atomic.Bool
}

func (f *hastyFile) Write(b []byte) (int, error) {
	if f.due.Swap(false) {
		if err := f.File.Sync(); err != nil {
			return 0, err
		}
	}
	return f.File.Write(b)
}

func (f *hastyFile) Sync() error                { f.due.Store(true); return nil }
func (f *hastyFile) SyncData() error            { return f.Sync() }
func (f *hastyFile) SyncTo(int64) (bool, error) { return true, f.Sync() }

// halving is an engine whose commits are two, one behind the other.
type halving struct{ kv.Engine }

func (h halving) Commit(ctx context.Context, reads []kv.Read, writes []kv.Write) (kv.Version, error) {
	half := len(writes) / 2
	v, err := h.Engine.Commit(ctx, reads, writes[:half])
	if err == nil && half < len(writes) {
		v, err = h.Engine.Commit(ctx, nil, writes[half:])
	}
	return v, err
}

// childFolder makes the test binary a process that is there to be killed.
const childFolder = "AUTHSRV_TEST_ACCOUNT_CHILD"

func TestMain(m *testing.M) {
	if dir := os.Getenv(childFolder); dir != "" {
		os.Exit(child(dir))
	}
	os.Exit(m.Run())
}

type childTB struct {
	testing.TB
}

func (childTB) Helper()                  {}
func (childTB) Cleanup(func())           {}
func (childTB) Context() context.Context { return context.Background() }
func (childTB) Fatal(args ...any)        { panic(fmt.Sprint(args...)) }

// child works on accounts and says so, one line each, until it is killed.
func child(dir string) int {
	r := openRig(childTB{}, dir, nil)
	var mu sync.Mutex
	var wg sync.WaitGroup
	for w := range 4 {
		p := r.peer(address(w))
		wg.Go(func() {
			for i := range 10_000 {
				name := fmt.Sprintf("w%d.%d", w, i)
				for stage := registered; stage <= deleted-(i+w)%3; stage++ {
					if err := advance(p, name, stage); err != nil {
						panic(err)
					}
					mu.Lock()
					fmt.Println(name, stage)
					mu.Unlock()
				}
			}
		})
	}
	wg.Wait()
	return 0
}

// TestKill kills a process in the midst of its work, and looks whether what it said is so.
func TestKill(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), exe)
	cmd.Env = append(os.Environ(), childFolder+"="+dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	acked := map[string]int{}
	killAt := 30 + rand.IntN(60)
	lines, n := bufio.NewScanner(out), 0
	for lines.Scan() { // past the kill, to the end of what it had said
		var name string
		var stage int
		if _, err := fmt.Sscan(lines.Text(), &name, &stage); err != nil {
			break // cut
		}
		acked[name] = stage
		if n++; n == killAt {
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
		}
	}
	_ = cmd.Wait() // it was killed
	if n < killAt {
		t.Fatalf("it ended after %d lines", n)
	}
	r := openRig(t, dir, nil)
	r.wantAcknowledged(acked)
	r.clearAddresses()
	for name, stage := range acked {
		p := r.peer(one)
		switch r.stageOf(name) {
		case registered:
			p.mustLogin(name, right())
		case renewed:
			p.mustLogin(name, keyOf("next"))
		case absent:
			if err := p.register(name, right()); err != nil {
				t.Errorf("%s, deleted at stage %d: %v", name, stage, err)
			}
		}
	}
}

// TestNothingInClear looks for names, addresses and secrets in every file of the folder.
func TestNothingInClear(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	r := openRig(t, dir, nil)
	addresses := []string{"203.0.113.77", "2001:db8:beef:77:1234:5678:9abc:def0"}
	names := []string{"clara.in-the-clear", "nobody.of-that-name", "passing.by"}
	p, q := r.peer(addresses[0]), r.peer(addresses[1])
	l := p.account(names[0])
	m := q.account(names[2])
	k := keyOf("next")
	if _, err := q.changePassword(m.Session, right(), k); err != nil {
		t.Fatal(err)
	}
	if err := q.delete(q.mustLogin(names[2], k).Session, k); err != nil {
		t.Fatal(err)
	}
	for range 8 {
		q.fail(names[0])
		p.fail(names[1])
	}
	claims, err := r.config.Tokens.Verify(l.Token, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	secret := right().ServerKey()
	public := right().Public()
	secrets := testSecrets()
	salt := r.mustChallenge(p, names[0]).Salt
	needles := map[string][]byte{
		"token": []byte(l.Token), "token's signature": []byte(l.Token[len(l.Token)-86:]), "jti": claims.ID[:],
		"resume key": l.ResumeKey[:], "other resume key": m.ResumeKey[:], "k_srv": secret[:], "A": public[:],
		"salt": salt[:], "client static": p.ch.Static[:], "K_salt": secrets.SaltKey[:], "K_name": secrets.NameKey[:],
	}
	for _, name := range names {
		needles[name] = []byte(name)
	}
	for _, text := range addresses {
		needles[text] = []byte(text)
		needles[text+" in bytes"] = []byte(addressPrefix(netip.MustParseAddr(text)))
	}
	look := func(when string) {
		t.Helper()
		realm, files := false, 0
		err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			content, err := os.ReadFile(path)
			if errors.Is(err, fs.ErrNotExist) {
				return nil // a store that was just opened removes in the background what it needs no more
			}
			if err != nil {
				return err
			}
			files++
			realm = realm || bytes.Contains(content, secrets.RealmID[:]) // which is in clear: the search finds something
			for what, needle := range needles {
				if bytes.Contains(content, needle) || strings.Contains(path, string(needle)) {
					t.Errorf("%s: %s is in clear in %s", when, what, filepath.Base(path))
				}
			}
			return nil
		})
		if err != nil || !realm || files < 3 {
			t.Errorf("%s: %d files, the realm's id is there: %v, %v", when, files, realm, err)
		}
	}
	look("in use")
	r.reopen() // the log has become a table
	look("closed and opened again")
}

func (r *rig) mustChallenge(p *peer, name string) Challenge {
	r.t.Helper()
	_, c, err := r.BeginLogin(r.t.Context(), &p.ch, p.start(name))
	if err != nil {
		r.t.Fatal(err)
	}
	return c
}
