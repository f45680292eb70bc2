package account

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
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
	if _, err := r.Sweep(r.t.Context()); err != nil {
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

func TestCrash(t *testing.T) {
	const workers, clones = 4, 4
	mem := vfs.NewCrashableMem()
	r := openRig(t, "store", mem)
	var mu sync.Mutex
	acked := map[string]int{}
	done := make(chan struct{}, 1000)
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for w := range workers {
		p := r.peer(address(w))
		wg.Go(func() {
			for i := 0; ctx.Err() == nil && i < 1000; i++ {
				name := fmt.Sprintf("w%d.%d", w, i)
				for stage := registered; stage <= deleted-(i+w)%3; stage++ {
					if err := advance(p, name, stage); err != nil {
						t.Errorf("%s to stage %d: %v", name, stage, err)
						return
					}
					mu.Lock()
					acked[name] = stage
					mu.Unlock()
					select {
					case done <- struct{}{}:
					default:
					}
				}
			}
		})
	}
	for i := range clones {
		for range 25 {
			<-done
		}
		mu.Lock()
		known := map[string]int{}
		for name, stage := range acked {
			known[name] = stage
		}
		mu.Unlock()
		clone := mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 50 * (i % 3), RNG: rand.New(rand.NewPCG(1, uint64(i)))})
		after := openRig(t, "store", clone)
		// Between the two moments they have gone on: a later stage is as good, and a deletion if the audit knows of it.
		gone := after.audited(KindDelete)
		for name, stage := range known {
			if got := after.stageOf(name); got != absent && got < stage || got == absent && !gone[name] {
				t.Errorf("clone %d: %s was acknowledged at stage %d, and is at %d", i, name, stage, got)
			}
		}
		after.wantAcknowledged(nil)
	}
	cancel()
	wg.Wait()
	r.wantAcknowledged(acked)
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
