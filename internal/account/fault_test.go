package account

import (
	"errors"
	"fmt"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/authsrv/authsrv/kv"
	"github.com/authsrv/authsrv/kv/pebblekv"
)

var errBroken = errors.New("broken")

// TestStorageFails lets each call to the engine fail, one at a time, in everything that is finished by a proof.
// It is an error, no refusal; it lets nobody in; and it leaves no debit behind.
func TestStorageFails(t *testing.T) {
	steps := map[string]func(p *peer, l *Login) (*Login, error){
		"right": func(p *peer, _ *Login) (*Login, error) { return p.login("alice", right()) },
		"wrong": func(p *peer, _ *Login) (*Login, error) { return p.r.peer(one).login("alice", wrong()) },
		"known": func(p *peer, _ *Login) (*Login, error) { return p.login("alice", wrong()) },
		"unknown": func(p *peer, _ *Login) (*Login, error) {
			return p.login("nobody", wrong())
		},
		"change": func(p *peer, l *Login) (*Login, error) { return p.changePassword(l.Session, right(), right()) },
		"revoke": func(p *peer, l *Login) (*Login, error) { return nil, p.revokeAll(l.Session, right()) },
		"delete": func(p *peer, l *Login) (*Login, error) { return nil, p.delete(l.Session, right()) },
	}
	for name, step := range steps {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t)
			p := r.peer(one)
			if err := p.register("alice", right()); err != nil {
				t.Fatal(err)
			}
			for _, fault := range []error{errBroken, kv.ErrUnknownOutcome} {
				for at := 1; ; at++ {
					r.clearAddresses()
					if n := r.keys(); n[spaceAccount] == 0 { // deleted, with an unknown outcome
						if err := p.register("alice", right()); err != nil {
							t.Fatal(err)
						}
					}
					l := p.mustLogin("alice", right())
					calls, hit := 0, false
					fail := func() error {
						if calls++; calls == at {
							hit = true
							return fault
						}
						return nil
					}
					if fault == errBroken {
						r.spy.get = func([]byte) error { return fail() }
					}
					r.spy.commit = func([]kv.Write) error { return fail() }
					got, err := stepRecovering(p, l, step)
					r.spy.get, r.spy.commit = nil, nil
					r.wantNoFlights()
					if !hit {
						break
					}
					denied := errors.Is(err, ErrDenied)
					if fault == errBroken && !errors.Is(err, errBroken) && !denied || err == nil && name != "delete" || got != nil {
						t.Errorf("%s, %v at call %d: %+v, %v", name, fault, at, got, err)
					}
					// A refusal is only given where the failure was written: the check of the reads behind it may fail.
					written := len(r.scan(spaceThrottle)) == 2
					if name == "known" {
						devices, _ := r.devices(t.Context(), l.Session.Account)
						written = devices[0].row == 1
					}
					if denied && !written {
						t.Errorf("%s, %v at call %d: refused, with %d records of failures", name, fault, at, len(r.scan(spaceThrottle)))
					}
				}
			}
		})
	}
}

// stepRecovering turns the rig's fatal errors at the beginning of a step into its outcome.
func stepRecovering(p *peer, l *Login, step func(*peer, *Login) (*Login, error)) (got *Login, err error) {
	defer func() {
		if e := recover(); e != nil {
			err = fmt.Errorf("begin: %w", e.(error))
		}
	}()
	old := p.r.t
	p.r.t = quietTB{old}
	defer func() { p.r.t = old }()
	return step(p, l)
}

type quietTB struct{ testing.TB }

func (q quietTB) Fatal(args ...any) { panic(args[0]) }

// TestDiskFails: with a log that can't be synced, nobody is let in, and what was acknowledged before is there.
func TestDiskFails(t *testing.T) {
	var broken atomic.Bool
	mem := vfs.NewCrashableMem()
	fs := errorfs.Wrap(mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
		switch op.Kind {
		case errorfs.OpFileSync, errorfs.OpFileSyncData, errorfs.OpFileSyncTo:
			if broken.Load() {
				return syscall.EIO
			}
		}
		return nil
	}))
	r := openRig(t, "store", fs)
	p := r.peer(one)
	before := p.account("alice")
	a, tr := p.beginLogin(p.start("alice"))
	broken.Store(true)
	l, err := r.FinishLogin(t.Context(), a, right().Prove(tr.Sum()))
	if l != nil || !errors.Is(err, pebblekv.ErrFailed) || errors.Is(err, ErrDenied) {
		t.Errorf("%+v, %v", l, err)
	}
	if err := r.FinishRegister(t.Context(), nil, Verifier{}, [32]byte{}, [64]byte{}); err != ErrRecordRefused {
		t.Error(err)
	}
	if _, err := r.Resume(t.Context(), &p.ch, [32]byte{}, before.Token); !errors.Is(err, pebblekv.ErrFailed) {
		t.Errorf("resume: %v", err)
	}
	r.broken = pebblekv.ErrFailed
	after := openRig(t, "store", mem.CrashClone(vfs.CrashCloneCfg{}))
	q := after.peer(one)
	q.ch = p.ch
	if _, err := q.resume(before.Token); err != nil {
		t.Errorf("the session of before: %v", err)
	}
	if n := after.keys(); n[spaceSession] != 1 {
		t.Errorf("left: %v", n)
	}
}
