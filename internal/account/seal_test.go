package account

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net/netip"
	"reflect"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/authsrv/authsrv/credential"
	"github.com/authsrv/authsrv/kv"
	"github.com/authsrv/authsrv/token"
)

// TestDamage damages each record of an account in each way, and looks at everything that reads it: it is
// damage, never an account that is not there.
func TestDamage(t *testing.T) {
	r := newRig(t)
	p := r.peer(one)
	q := r.peer(one)
	alice, bob := p.account("alice"), q.account("bob")
	p.again().fail("alice")
	r.peer(one).fail("alice")
	r.peer(two).fail("bob")
	statics := map[*Login]*Channel{alice: &p.ch, bob: &q.ch}
	keyOf := func(l *Login) map[string][]byte {
		s := l.Session
		address := map[*Login]string{alice: one, bob: two}[l]
		return map[string][]byte{
			labelName: r.store.nameKey(s.Name), labelAccount: accountKey(s.Account), labelSession: sessionKey(s.Account, s.ID),
			labelDevice:                deviceKey(s.Account, statics[l].Static),
			"name " + labelThrottle:    r.store.throttleKey(throttleName, s.Name),
			"address " + labelThrottle: r.store.throttleKey(throttleAddress, addressPrefix(netip.MustParseAddr(address))),
		}
	}
	get := func(key []byte) []byte {
		t.Helper()
		e, err := r.spy.Engine.Get(t.Context(), key)
		if err != nil || e.Version == 0 {
			t.Fatalf("%q: %v", key, err)
		}
		return e.Value
	}
	others := keyOf(bob)
	for what, key := range keyOf(alice) {
		good := get(key)
		other := map[string][]byte{
			labelName: others[labelAccount], labelAccount: others[labelName], labelSession: others[labelAccount],
		}[what]
		if other == nil {
			other = others[labelSession]
		}
		kinds := map[string][]byte{"moved": get(others[what]), "of another kind": get(other), "empty": {}, "longer": append(bytes.Clone(good), 0)}
		for _, n := range []int{1, 5, 28, 29, 40, len(good) - 1} {
			kinds["cut"] = good[:n]
			damage(t, r, p, alice, what, key, kinds)
		}
		for i := range good {
			if i > 40 && i%7 != 0 {
				continue
			}
			flipped := bytes.Clone(good)
			flipped[i] ^= 1 << (i % 8)
			damage(t, r, p, alice, what, key, map[string][]byte{"flipped": flipped})
		}
		r.put(key, good)
	}
	if l, err := p.again().resume(alice.Token); err != nil {
		t.Error("mended, but", l, err)
	}
}

func (r *rig) put(key, value []byte) {
	r.t.Helper()
	if _, err := r.spy.Engine.Commit(r.t.Context(), nil, []kv.Write{{Key: key, Value: value}}); err != nil {
		r.t.Fatal(err)
	}
}

func damage(t *testing.T, r *rig, p *peer, l *Login, what string, key []byte, kinds map[string][]byte) {
	t.Helper()
	for kind, value := range kinds {
		r.put(key, value)
		results := map[string]error{}
		if what == labelSession {
			_, results["resume"] = p.again().resume(l.Token)
			_, _, results["sessions"] = r.Sessions(t.Context(), l.Session, ID{}, 100)
			_, results["sweep"] = r.Sweep(t.Context(), 1)
		} else if what == labelName || what == labelAccount {
			_, _, results["begin"] = r.BeginLogin(t.Context(), &p.ch, p.start("alice"))
		} else if what == labelDevice {
			_, results["login"] = p.login("alice", right())
		} else {
			_, results["login"] = r.peer(one).login("alice", right())
		}
		if what == labelAccount {
			_, results["resume"] = p.again().resume(l.Token)
			results["check"] = r.Check(t.Context(), l.Session)
		}
		for step, err := range results {
			if !errors.Is(err, ErrDamaged) || errors.Is(err, ErrDenied) || errors.Is(err, ErrSessionRevoked) {
				t.Errorf("%s of %s: %s: %v", kind, what, step, err)
			}
		}
		r.wantNoFlights()
	}
}

// TestLabels: a record opens under its own label, key and wrapping key only, and no two seals are the same.
func TestLabels(t *testing.T) {
	r := newRig(t)
	key := []byte("key")
	sealed, err := r.store.seal(labelName, key, []byte("record"))
	if err != nil {
		t.Fatal(err)
	}
	if again, _ := r.store.seal(labelName, key, []byte("record")); bytes.Equal(again, sealed) {
		t.Error("sealed twice, it is the same")
	}
	if got, err := r.store.open(labelName, key, sealed); err != nil || string(got) != "record" {
		t.Errorf("%q, %v", got, err)
	}
	renamed := bytes.Clone(sealed)
	binary.BigEndian.PutUint32(renamed[1:], 2)
	under := func(keys map[uint32][32]byte) *store {
		s, err := newStore(r.spy, nil, &Secrets{Wrapping: keys, Current: 1})
		if err != nil {
			t.Fatal(err)
		}
		return &s
	}
	two := under(map[uint32][32]byte{1: {3}, 2: {3}}) // the same key under another id
	other := under(map[uint32][32]byte{1: {4}})
	for what, open := range map[string]func() ([]byte, error){
		"label":        func() ([]byte, error) { return r.store.open(labelAudit, key, sealed) },
		"key":          func() ([]byte, error) { return r.store.open(labelName, []byte("kez"), sealed) },
		"key id":       func() ([]byte, error) { return two.open(labelName, key, renamed) },
		"no such key":  func() ([]byte, error) { return r.store.open(labelName, key, renamed) },
		"wrapping key": func() ([]byte, error) { return other.open(labelName, key, sealed) },
	} {
		if got, err := open(); !errors.Is(err, ErrDamaged) || got != nil {
			t.Errorf("other %s: %q, %v", what, got, err)
		}
	}
}

func TestWrappingKeyRolls(t *testing.T) {
	fs := vfs.NewMem()
	r := openRig(t, "store", fs)
	p := r.peer(one)
	alice := p.account("alice")
	r.config.Secrets.Wrapping = map[uint32][32]byte{1: {3}, 2: {4}}
	r.config.Secrets.Current = 2
	r.reopen()
	if _, err := p.again().resume(alice.Token); err != nil {
		t.Errorf("sealed with the old key: %v", err)
	}
	p.account("bob")
	ids := map[uint32]int{}
	for _, e := range r.scan(0) {
		if e.Key[0] != spaceMeta {
			ids[binary.BigEndian.Uint32(e.Value[1:])]++
		}
	}
	if len(ids) != 2 || ids[1] == 0 || ids[2] == 0 {
		t.Errorf("records by wrapping key: %v", ids)
	}
	r.config.Secrets.Current = 3
	if _, err := New(t.Context(), &r.config); err == nil {
		t.Error("a current wrapping key that is not there was taken")
	}
}

func TestStoreOfOthers(t *testing.T) {
	r := newRig(t)
	meta := r.scan(spaceMeta)[0]
	for what, c := range map[string]struct {
		value []byte
		want  error
	}{
		"newer":            {append([]byte{0, 0, 0, 2}, meta.Value[4:]...), ErrNewerFormat},
		"newer and longer": {append([]byte{0, 0, 0, 2}, make([]byte, 99)...), ErrNewerFormat},
		"other realm":      {append([]byte{0, 0, 0, 1}, make([]byte, 16)...), ErrOtherRealm},
		"cut":              {meta.Value[:19], ErrDamaged},
		"empty":            {[]byte{}, ErrDamaged},
		"good":             {meta.Value, nil},
	} {
		r.put(meta.Key, c.value)
		_, err := New(t.Context(), &r.config)
		if !errors.Is(err, c.want) {
			t.Errorf("%s: %v", what, err)
		}
		if now := r.scan(spaceMeta)[0]; !bytes.Equal(now.Value, c.value) {
			t.Errorf("%s: it was written over", what)
		}
	}
}

func TestConfig(t *testing.T) {
	r := newRig(t)
	for what, fault := range map[string]func(*Config){
		"no engine":         func(c *Config) { c.Engine = nil },
		"no tokens":         func(c *Config) { c.Tokens = nil },
		"others' tokens":    func(c *Config) { c.Tokens = testTokens(t, [16]byte{1}) },
		"weak kdf":          func(c *Config) { c.KDF.MemoryKiB = 1024 },
		"no such policy":    func(c *Config) { c.Policy.Kind = 9 },
		"negative life":     func(c *Config) { c.SessionLife = -1 },
		"longer than most":  func(c *Config) { c.MaxSessionLife = 1 },
		"negative bound":    func(c *Config) { c.MaxStretching = -1 },
		"randomness is out": func(c *Config) { c.Rand = bytes.NewReader(nil) },
	} {
		c := r.config
		fault(&c)
		if _, err := New(t.Context(), &c); err == nil {
			t.Errorf("%s: taken", what)
		}
	}
	c := r.config
	c.KDF = credential.KDF{}
	s, err := New(t.Context(), &c)
	if err != nil || s.c.KDF != credential.DefaultKDF() || s.rules.Load().Policy != credential.DefaultPolicy() || s.Registration() != RegistrationOpen {
		t.Errorf("defaults: %v", err)
	}
	c.Secrets.Wrapping[2] = [32]byte{}
	if len(s.c.Secrets.Wrapping) != 1 {
		t.Error("the service's keys are the caller's")
	}
}

// TestRecords: a record is read as a whole.
func TestRecords(t *testing.T) {
	events := []record{
		&Event{Time: time.Unix(7, 8), Last: time.Unix(9, 1), Count: 3, Kind: KindLogin, Outcome: Success, Account: ID{1}, Session: ID{2}, Name: "alice", Address: netip.MustParseAddr(six)},
		&Event{Time: time.Unix(0, 0), Last: time.Unix(0, 1), Kind: KindDelete, Outcome: Disabled},
	}
	id := idRecord{ID{1, 2}}
	for _, r := range append(events,
		&headRecord{floor: point{1, [32]byte{2}, ID{3}}, tip: point{4, [32]byte{5}, ID{6}}, mac: [32]byte{7}},
		&linkRecord{prev: [32]byte{1}, from: ID{2}, to: ID{3}, events: []linkEvent{{ID{4}, [32]byte{5}}, {ID{6}, [32]byte{7}}}, mac: [32]byte{8}},
		&deviceRecord{seen: 1, throttleRecord: throttleRecord{failures: 2, last: 3, row: 4}},
		&id,
		&accountRecord{
			name: "alice", method: credential.MethodPassword, verifier: verifierOf(right()),
			generation: 1 << 60, flags: 3, created: 4, changed: 5,
		},
		&sessionRecord{
			generation: 1, created: 2, lastUsed: 3, expires: 4, thumbprint: [32]byte{5}, jti: ID{6}, resumeKey: [32]byte{7}, address: six,
		},
		&throttleRecord{failures: 1 << 31, last: 1 << 50},
	) {
		b, err := r.encode()
		if err != nil {
			t.Fatal(err)
		}
		fresh := func() record { return reflect.New(reflect.TypeOf(r).Elem()).Interface().(record) }
		got := fresh()
		if err := got.decode(b); err != nil || !reflect.DeepEqual(got, r) {
			t.Errorf("%+v was read as %+v, %v", r, got, err)
		}
		for n := range b {
			if err := fresh().decode(b[:n]); !errors.Is(err, ErrDamaged) {
				t.Errorf("%T of %d bytes, cut to %d: %v", r, len(b), n, err)
			}
		}
		if err := fresh().decode(append(bytes.Clone(b), 0)); !errors.Is(err, ErrDamaged) {
			t.Errorf("%T with a byte more: %v", r, err)
		}
	}
	for what, fault := range map[string]func(*accountRecord){
		"method 0":       func(r *accountRecord) { r.method = 0 },
		"method 3":       func(r *accountRecord) { r.method = credential.MethodCheckedPassword },
		"all zero A":     func(r *accountRecord) { r.verifier.PublicKey = [32]byte{} },
		"identity point": func(r *accountRecord) { r.verifier.PublicKey = [32]byte{1} },
	} {
		r := accountRecord{name: "alice", method: credential.MethodPassword, verifier: verifierOf(right())}
		fault(&r)
		if b, err := r.encode(); err != nil || !errors.Is(new(accountRecord).decode(b), ErrDamaged) {
			t.Errorf("%s was taken", what)
		}
	}
	if len(token.Thumbprint([32]byte{})) != 43 { // 32 bytes, as in a session's record
		t.Error("a thumbprint is not 32 bytes")
	}
}
