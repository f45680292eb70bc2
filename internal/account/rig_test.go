package account

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/authsrv/authsrv/credential"
	"github.com/authsrv/authsrv/kv"
	"github.com/authsrv/authsrv/kv/pebblekv"
	"github.com/authsrv/authsrv/token"
)

// cheapKDF is the least that a server takes.
var cheapKDF = credential.KDF{Algorithm: credential.Argon2id, Time: 2, MemoryKiB: 19_456, Lanes: 1}

var stretched sync.Map

// keyOf is what a password stretches to. A server can't tell which name a key was made for, so that one
// serves under every name here, and each password is stretched once.
func keyOf(password string) *credential.Key {
	once, _ := stretched.LoadOrStore(password, sync.OnceValue(func() *credential.Key {
		k, err := credential.Derive([]byte(password), [16]byte{}, "a", [16]byte{}, cheapKDF)
		if err != nil {
			panic(err)
		}
		return k
	}))
	return once.(func() *credential.Key)()
}

func right() *credential.Key { return keyOf("right") }
func wrong() *credential.Key { return keyOf("wrong") }

func testSecrets() Secrets {
	return Secrets{
		RealmID: [16]byte{0: 7, 15: 9}, SaltKey: [32]byte{1}, NameKey: [32]byte{2}, AuditKey: [32]byte{4},
		Wrapping: map[uint32][32]byte{1: {3}}, Current: 1,
	}
}

func testTokens(t testing.TB, realm [16]byte) *token.Keyset {
	t.Helper()
	seed := sha256.Sum256([]byte("tokens"))
	tokens, err := token.New(Issuer(realm), "1", token.Key{ID: "1", Private: ed25519.NewKeyFromSeed(seed[:])})
	if err != nil {
		t.Fatal(err)
	}
	return tokens
}

// A rig is a service on a real store, and what is needed to open it again.
type rig struct {
	*Service
	t      testing.TB
	dir    string
	fs     vfs.FS // nil: the disk
	spy    *spy
	engine *pebblekv.Store // behind the spy
	config Config
	feed   int   // the length of the engine's feed
	broken error // what Close returns
	wrap   func(kv.Engine) kv.Engine
}

// newRig opens a store in memory. It is closed with the test, and no attempt may be in flight then.
func newRig(t testing.TB, change ...func(*Config)) *rig {
	t.Helper()
	return openRig(t, "store", vfs.NewMem(), change...)
}

func openRig(t testing.TB, dir string, fs vfs.FS, change ...func(*Config)) *rig {
	t.Helper()
	r := rigOf(t, dir, fs, change...)
	r.open()
	t.Cleanup(r.close)
	return r
}

// rigOf is a rig that is still to be opened, and closed.
func rigOf(t testing.TB, dir string, fs vfs.FS, change ...func(*Config)) *rig {
	t.Helper()
	r := &rig{t: t, dir: dir, fs: fs}
	r.config = Config{Secrets: testSecrets(), KDF: cheapKDF, RegistrationsPerMinute: -1, OperationsPerMinute: -1}
	for _, f := range change {
		f(&r.config)
	}
	r.config.Tokens = testTokens(t, r.config.Secrets.RealmID)
	return r
}

func (r *rig) open() {
	r.t.Helper()
	engine, err := pebblekv.Open(r.dir, &pebblekv.Options{FS: r.fs, FeedLength: r.feed})
	if err != nil {
		r.t.Fatal(err)
	}
	r.engine, r.spy = engine, &spy{Engine: engine}
	if r.wrap != nil {
		r.spy.Engine = r.wrap(engine)
	}
	r.config.Engine = r.spy
	if r.Service, err = New(r.t.Context(), &r.config); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) close() {
	r.wantNoFlights()
	if err := r.spy.Close(); !errors.Is(err, r.broken) {
		r.t.Error(err)
	}
}

func (r *rig) reopen() {
	r.t.Helper()
	r.close()
	r.open()
}

func (r *rig) wantNoFlights() {
	r.t.Helper()
	r.throttle.mu.Lock()
	defer r.throttle.mu.Unlock()
	for key, f := range r.throttle.flights {
		r.t.Errorf("flight %x was left behind: %d attempts, %d waiters", key, f.n, len(f.waiters))
	}
}

// keys returns the number of keys of each space.
func (r *rig) keys() map[byte]int {
	r.t.Helper()
	spaces := make(map[byte]int)
	for _, e := range r.scan(0) {
		spaces[e.Key[0]]++
	}
	return spaces
}

// scan returns the entries of a space; 0: of all.
func (r *rig) scan(space byte) []kv.Entry {
	r.t.Helper()
	var prefix []byte
	if space != 0 {
		prefix = []byte{space}
	}
	entries, _, err := r.spy.Engine.Scan(r.t.Context(), prefix, nil, 100_000)
	if err != nil {
		r.t.Fatal(err)
	}
	return entries
}

// edit changes the record of an account behind the service's back.
func (r *rig) edit(id ID, change func(*accountRecord)) {
	r.t.Helper()
	err := kv.Update(r.t.Context(), r.spy.Engine, func(tx *kv.Tx) error {
		var a accountRecord
		if there, err := r.store.get(tx, labelAccount, accountKey(id), &a); err != nil || !there {
			return fmt.Errorf("account there: %v, %w", there, err)
		}
		change(&a)
		return r.store.put(tx, labelAccount, accountKey(id), &a)
	})
	if err != nil {
		r.t.Fatal(err)
	}
}

// A spy is an engine that writes down what is asked of it, and can be made to fail.
type spy struct {
	kv.Engine
	get    func(key []byte) error
	commit func(writes []kv.Write) error // ErrUnknownOutcome: after the commit, anything else: in its place

	deaf    bool // it writes down nothing
	witness bool // it is one, as its engine is

	mu  sync.Mutex
	log []string
}

func (s *spy) note(format string, args ...any) {
	if s.deaf {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.log = append(s.log, fmt.Sprintf(format, args...))
}

// take returns the log and empties it.
func (s *spy) take() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer func() { s.log = nil }()
	return s.log
}

func (s *spy) Get(ctx context.Context, key []byte) (kv.Entry, error) {
	s.note("get %c %d", key[0], len(key))
	if s.get != nil {
		if err := s.get(key); err != nil {
			return kv.Entry{}, err
		}
	}
	return s.Engine.Get(ctx, key)
}

func (s *spy) Unmoved(reads []kv.Read) bool {
	w, ok := s.Engine.(kv.Witness)
	return s.witness && ok && w.Unmoved(reads)
}

func (s *spy) Commit(ctx context.Context, reads []kv.Read, writes []kv.Write) (kv.Version, error) {
	line := "commit"
	for _, r := range reads {
		line += fmt.Sprintf(" read %c %d", r.Key[0], len(r.Key))
	}
	for _, w := range writes {
		line += fmt.Sprintf(" write %c %d %d %v", w.Key[0], len(w.Key), len(w.Value), w.Delete)
	}
	s.note("%s", line)
	if s.commit == nil {
		return s.Engine.Commit(ctx, reads, writes)
	}
	err := s.commit(writes)
	if err == nil || errors.Is(err, kv.ErrUnknownOutcome) {
		v, commitErr := s.Engine.Commit(ctx, reads, writes)
		if err != nil {
			return 0, err
		}
		return v, commitErr
	}
	return 0, err
}

func writesTo(writes []kv.Write, space byte) bool {
	return slices.ContainsFunc(writes, func(w kv.Write) bool { return w.Key[0] == space })
}

// A peer is a connection of a client, which computes for itself what it signs.
type peer struct {
	r  *rig
	ch Channel
}

var connections atomic.Uint64

func (r *rig) peer(address string) *peer {
	p := &peer{r: r}
	n := connections.Add(1)
	binary.BigEndian.PutUint64(p.ch.Handshake[:], n)
	binary.BigEndian.PutUint64(p.ch.Static[:], n)
	p.ch.Preface = [8]byte{'a', 'u', 't', 'h', 1, 1}
	if address != "" {
		p.ch.Address = netip.MustParseAddr(address)
	}
	return p
}

// again is another connection of the same device.
func (p *peer) again() *peer {
	next := p.r.peer("")
	next.ch.Static, next.ch.Address = p.ch.Static, p.ch.Address
	return next
}

func (p *peer) start(name string) *Start {
	return &Start{Name: name, Method: credential.MethodPassword, Offered: []byte{credential.MethodPassword}, ClientNonce: [32]byte{1}}
}

// transcript is what a client makes of a challenge (PROTOCOL 6).
func (p *peer) transcript(purpose uint8, start *Start, c *Challenge) credential.Transcript {
	return credential.Transcript{
		Preface: p.ch.Preface, Handshake: p.ch.Handshake, RealmID: p.r.config.Secrets.RealmID, Purpose: purpose,
		Options: uint32(start.Lifetime / time.Second), Method: start.Method, OfferedMethods: start.Offered,
		LoginName: start.Name, ClientStatic: p.ch.Static, ClientNonce: start.ClientNonce,
		ServerNonce: c.ServerNonce[:], Salt: c.Salt[:], KDF: c.KDF,
	}
}

func (p *peer) beginLogin(start *Start) (*Attempt, credential.Transcript) {
	p.r.t.Helper()
	a, c, err := p.r.BeginLogin(p.r.t.Context(), &p.ch, start)
	if err != nil {
		p.r.t.Fatal(err)
	}
	return a, p.transcript(credential.PurposeLogin, start, &c)
}

func (p *peer) login(name string, k *credential.Key) (*Login, error) {
	p.r.t.Helper()
	a, tr := p.beginLogin(p.start(name))
	return p.r.FinishLogin(p.r.t.Context(), a, k.Prove(tr.Sum()))
}

func (p *peer) mustLogin(name string, k *credential.Key) *Login {
	p.r.t.Helper()
	l, err := p.login(name, k)
	if err != nil {
		p.r.t.Fatal(err)
	}
	return l
}

// fail tries a wrong password, and returns the refusal.
func (p *peer) fail(name string) *Denied {
	p.r.t.Helper()
	_, err := p.login(name, wrong())
	return wantDenied(p.r.t, err)
}

func wantDenied(t testing.TB, err error) *Denied {
	t.Helper()
	d := new(Denied)
	if !errors.As(err, &d) || !errors.Is(err, ErrDenied) {
		t.Fatalf("error is %v, want a Denied", err)
	}
	return d
}

func wantError(t testing.TB, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("error is %v, want %v", err, want)
	}
}

func verifierOf(k *credential.Key) Verifier {
	return Verifier{KDF: cheapKDF, PublicKey: k.Public(), ServerKey: k.ServerKey()}
}

// digestOf stands for the digest of a message.
func digestOf(text string) [32]byte { return sha256.Sum256([]byte(text)) }

func (p *peer) beginRegister(name string) (*Attempt, credential.Transcript) {
	p.r.t.Helper()
	start := p.start(name)
	a, c, err := p.r.BeginRegister(p.r.t.Context(), &p.ch, start)
	if err != nil {
		p.r.t.Fatal(err)
	}
	return a, p.transcript(credential.PurposeRegister, start, &c)
}

func (p *peer) register(name string, k *credential.Key) error {
	p.r.t.Helper()
	a, tr := p.beginRegister(name)
	digest := digestOf("record")
	tr.OpDigest = digest[:]
	return p.r.FinishRegister(p.r.t.Context(), a, verifierOf(k), digest, k.ProveNew(tr.Sum()))
}

// account registers a name with the right password, and logs in.
func (p *peer) account(name string) *Login {
	p.r.t.Helper()
	if err := p.register(name, right()); err != nil {
		p.r.t.Fatal(err)
	}
	return p.mustLogin(name, right())
}

func (p *peer) resume(text string) (*Login, error) {
	p.r.t.Helper()
	return p.r.Resume(p.r.t.Context(), &p.ch, [32]byte{1}, text)
}

// beginOperation returns an attempt and what is to be signed for it.
func (p *peer) beginOperation(s *Session, kind Kind, digest [32]byte) (*Attempt, [32]byte) {
	p.r.t.Helper()
	a, c, err := p.r.BeginOperation(p.r.t.Context(), &p.ch, s, kind, [32]byte{2})
	if err != nil {
		p.r.t.Fatal(err)
	}
	start := p.start(s.Name)
	start.ClientNonce = [32]byte{2}
	tr := p.transcript(credential.PurposeOperation, start, &c)
	tr.OpDigest, tr.SessionID, tr.AccountID = digest[:], s.ID[:], s.Account[:]
	return a, tr.Sum()
}

func (p *peer) changePassword(s *Session, from, to *credential.Key) (*Login, error) {
	p.r.t.Helper()
	digest := digestOf("change")
	a, sum := p.beginOperation(s, KindChangePassword, digest)
	return p.r.ChangePassword(p.r.t.Context(), a, verifierOf(to), digest, to.ProveNew(sum), from.Prove(sum))
}

func (p *peer) delete(s *Session, k *credential.Key) error {
	p.r.t.Helper()
	digest := digestOf("delete")
	a, sum := p.beginOperation(s, KindDelete, digest)
	return p.r.Delete(p.r.t.Context(), a, digest, k.Prove(sum))
}

func (p *peer) revokeAll(s *Session, k *credential.Key) error {
	p.r.t.Helper()
	digest := digestOf("revoke")
	a, sum := p.beginOperation(s, KindRevokeAll, digest)
	return p.r.RevokeAll(p.r.t.Context(), a, digest, k.Prove(sum))
}

func otherTokenKey() ed25519.PrivateKey {
	seed := sha256.Sum256([]byte("others"))
	return ed25519.NewKeyFromSeed(seed[:])
}
