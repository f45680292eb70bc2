package account

import (
	"context"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/authsrv/authsrv/credential"
	"github.com/authsrv/authsrv/kv"
	"github.com/authsrv/authsrv/kv/pebblekv"
)

// An arena is a service on a real store in memory, for operations that run at once. Every call of its store is held up for a
// moment of random length, so that they meet in as many orders as they can.
type arena struct {
	*rig
	jitter  *jitter
	store   kv.Engine
	crashed atomic.Bool // nothing that it does from now on is told
}

func openArena(t testing.TB, fs vfs.FS, m *mutant) *arena {
	t.Helper()
	engine, err := pebblekv.Open("store", &pebblekv.Options{FS: fs})
	if err != nil {
		t.Fatal(err)
	}
	a := &arena{rig: &rig{t: t}, store: engine, jitter: &jitter{Engine: engine}}
	a.config = Config{Secrets: testSecrets(), KDF: cheapKDF, RegistrationsPerMinute: -1, OperationsPerMinute: -1, Engine: a.jitter}
	a.config.Tokens = testTokens(t, a.config.Secrets.RealmID)
	if a.Service, err = New(t.Context(), &a.config); err != nil {
		t.Fatal(err)
	}
	if m != nil {
		a.jitter.mutant = func(ctx context.Context, reads []kv.Read, writes []kv.Write) (kv.Version, error) {
			return m.commit(ctx, a, reads, writes)
		}
	}
	return a
}

func (a *arena) close() {
	a.t.Helper()
	a.jitter.late.Wait()
	a.wantNoFlights()
	if err := a.store.Close(); err != nil {
		a.t.Error(err)
	}
}

// jitter is an engine whose calls take as long as it likes, and whose commits may end in an unknown outcome.
type jitter struct {
	kv.Engine
	unknown int // one commit in so many that writes; 0: none
	mutant  func(ctx context.Context, reads []kv.Read, writes []kv.Write) (kv.Version, error)
	late    sync.WaitGroup // commits that happen after their outcome was told
}

// pause lets others go first: mostly a few, now and then many.
func pause() {
	n := rand.IntN(4)
	if rand.IntN(16) == 0 {
		n = rand.IntN(200)
	}
	for range n {
		runtime.Gosched()
	}
}

func (j *jitter) Get(ctx context.Context, key []byte) (kv.Entry, error) {
	pause()
	defer pause()
	return j.Engine.Get(ctx, key)
}

func (j *jitter) Unmoved(reads []kv.Read) bool {
	pause()
	defer pause()
	w, ok := j.Engine.(kv.Witness)
	return ok && w.Unmoved(reads)
}

func (j *jitter) Commit(ctx context.Context, reads []kv.Read, writes []kv.Write) (kv.Version, error) {
	pause()
	defer pause()
	commit := j.Engine.Commit
	if j.mutant != nil {
		commit = j.mutant
	}
	if j.unknown == 0 || len(writes) == 0 || rand.IntN(j.unknown) != 0 {
		return commit(ctx, reads, writes)
	}
	switch rand.IntN(3) {
	case 0: // it has happened
		if _, err := commit(ctx, reads, writes); errors.Is(err, kv.ErrConflict) {
			return 0, err
		}
	case 1: // it has not
	case 2: // it will
		j.late.Go(func() {
			for range rand.IntN(20) {
				pause()
			}
			_, _ = commit(context.WithoutCancel(ctx), reads, writes)
		})
	}
	return 0, kv.ErrUnknownOutcome
}

// A mutant is a store in which one protection of the service is off.
type mutant struct {
	what    string
	resumes bool // only resumptions are changed
	commit  func(ctx context.Context, a *arena, reads []kv.Read, writes []kv.Write) (kv.Version, error)
}

var mutants = []*mutant{
	// The session is written whatever became of the account since it was read, and for the generation that the account has by then.
	{"a login does not check the generation in its transaction", false, func(ctx context.Context, a *arena, reads []kv.Read, writes []kv.Write) (kv.Version, error) {
		i := -1
		for n, w := range writes {
			if w.Key[0] == spaceAccount {
				return a.store.Commit(ctx, reads, writes) // no login
			}
			if w.Key[0] == spaceSession && !w.Delete {
				i = n
			}
		}
		if i < 0 {
			return a.store.Commit(ctx, reads, writes)
		}
		var others []kv.Read
		for _, r := range reads {
			if r.Key[0] != spaceName && r.Key[0] != spaceAccount {
				others = append(others, r)
			}
		}
		key := writes[i].Key
		var s sessionRecord
		if err := a.Service.store.decode(labelSession, key, writes[i].Value, &s); err != nil {
			return 0, err
		}
		var r accountRecord
		at := accountKey(ID(key[1:17]))
		if e, err := a.store.Get(ctx, at); err != nil {
			return 0, err
		} else if e.Version != 0 {
			if err := a.Service.store.decode(labelAccount, at, e.Value, &r); err != nil {
				return 0, err
			}
			s.generation = r.generation
		}
		var err error
		if writes[i].Value, err = a.Service.store.encode(labelSession, key, &s); err != nil {
			return 0, err
		}
		return a.store.Commit(ctx, others, writes)
	}},
	{"a registration does not check that the name is free", false, func(ctx context.Context, a *arena, reads []kv.Read, writes []kv.Write) (kv.Version, error) {
		if writesTo(writes, spaceName) {
			var others []kv.Read
			for _, r := range reads {
				if r.Key[0] != spaceName || r.Version != 0 {
					others = append(others, r)
				}
			}
			reads = others
		}
		return a.store.Commit(ctx, reads, writes)
	}},
	{"a resumption does not check that the session is still there", true, func(ctx context.Context, a *arena, reads []kv.Read, writes []kv.Write) (kv.Version, error) {
		if len(writes) == 1 && writesTo(writes, spaceSession) && !writes[0].Delete {
			reads = nil
		}
		return a.store.Commit(ctx, reads, writes)
	}},
	{"a change is acknowledged before it is committed", false, func(ctx context.Context, a *arena, reads []kv.Read, writes []kv.Write) (kv.Version, error) {
		if !writesTo(writes, spaceAccount) {
			return a.store.Commit(ctx, reads, writes)
		}
		a.jitter.late.Go(func() {
			pause()
			_, _ = a.store.Commit(context.WithoutCancel(ctx), reads, writes)
		})
		return 0, nil
	}},
}

var addresses atomic.Uint32

// stranger is a connection of a new device from an address of its own, so that failures of one are nobody else's.
func (a *arena) stranger() *peer {
	p := a.peer("")
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], 10<<24|addresses.Add(1)&0xFFFFFF)
	p.ch.Address = netip.AddrFrom4(b)
	return p
}

// What follows is what rig_test.go has, without a word about errors: they are outcomes here.

// step is an attempt whose challenge has come; run sends the proof.
type step struct {
	run func() (*Login, error)
}

func (p *peer) toLogin(ctx context.Context, name string, k *credential.Key) (step, error) {
	start := p.start(name)
	a, c, err := p.r.BeginLogin(ctx, &p.ch, start)
	if err != nil {
		return step{}, err
	}
	tr := p.transcript(credential.PurposeLogin, start, &c)
	proof := k.Prove(tr.Sum())
	return step{func() (*Login, error) { return p.r.FinishLogin(ctx, a, proof) }}, nil
}

func (p *peer) toRegister(ctx context.Context, name string, k *credential.Key) (step, error) {
	start := p.start(name)
	a, c, err := p.r.BeginRegister(ctx, &p.ch, start)
	if err != nil {
		return step{}, err
	}
	tr := p.transcript(credential.PurposeRegister, start, &c)
	digest := digestOf("record")
	tr.OpDigest = digest[:]
	v, proof := verifierOf(k), k.ProveNew(tr.Sum())
	return step{func() (*Login, error) { return nil, p.r.FinishRegister(ctx, a, v, digest, proof) }}, nil
}

// toOperate is for KindChangePassword, which is the one that needs the next key, KindDelete and KindRevokeAll.
func (p *peer) toOperate(ctx context.Context, s *Session, kind Kind, k, next *credential.Key) (step, error) {
	digest := digestOf("operation")
	a, c, err := p.r.BeginOperation(ctx, &p.ch, s, kind, [32]byte{2})
	if err != nil {
		return step{}, err
	}
	start := p.start(s.Name)
	start.ClientNonce = [32]byte{2}
	tr := p.transcript(credential.PurposeOperation, start, &c)
	tr.OpDigest, tr.SessionID, tr.AccountID = digest[:], s.ID[:], s.Account[:]
	sum := tr.Sum()
	proof := k.Prove(sum)
	return step{func() (*Login, error) {
		switch kind {
		case KindDelete:
			return nil, p.r.Delete(ctx, a, digest, proof)
		case KindRevokeAll:
			return nil, p.r.RevokeAll(ctx, a, digest, proof)
		}
		return p.r.ChangePassword(ctx, a, verifierOf(next), digest, next.ProveNew(sum), proof)
	}}, nil
}

func (p *peer) toReset(ctx context.Context, name string, next *credential.Key) (step, error) {
	issued, err := p.r.IssueReset(ctx, name, testServer, 0)
	if err != nil {
		return step{}, err
	}
	start, id := p.start(name), ID(issued.Code.ID)
	start.Code, start.Method, start.Offered = &id, credential.MethodCode, []byte{credential.MethodCode}
	a, c, err := p.r.BeginReset(ctx, &p.ch, start)
	if err != nil {
		return step{}, err
	}
	code, err := issued.Code.Key()
	if err != nil {
		return step{}, err
	}
	digest := digestOf("record")
	tr := p.transcript(credential.PurposeReset, start, &c)
	tr.OpDigest = digest[:]
	sum := tr.Sum()
	return step{func() (*Login, error) {
		_, err := p.r.FinishReset(ctx, a, verifierOf(next), digest, next.ProveNew(sum), code.ProveCode(sum))
		return nil, err
	}}, nil
}

// at runs what was prepared, or its error of then.
func at(s step, err error) (*Login, error) {
	if err != nil {
		return nil, err
	}
	return s.run()
}
