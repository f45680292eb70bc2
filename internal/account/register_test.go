package account

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/authsrv/authsrv/credential"
)

const (
	one  = "192.0.2.1"
	two  = "192.0.2.2"
	six  = "2001:db8::1"
	pass = "orbit-lantern-94-quay" // strong enough for the default policy
)

func TestRegister(t *testing.T) {
	r := newRig(t)
	p := r.peer(one)
	if err := p.register("alice", right()); err != nil {
		t.Fatal(err)
	}
	if n := r.keys(); n[spaceSession] != 0 || n[spaceName] != 1 || n[spaceAccount] != 1 {
		t.Errorf("after a registration there are %v", n)
	}
	l := p.mustLogin("alice", right())
	if l.Session.Name != "alice" || l.Session.Account == (ID{}) {
		t.Errorf("session %+v", l.Session)
	}
	wantError(t, r.peer(two).register("alice", wrong()), ErrNameTaken)
	p.mustLogin("alice", right()) // with the record that was there
}

func TestRegisterConcurrently(t *testing.T) {
	r := newRig(t)
	const n = 16
	var won, taken atomic.Int32
	var winner atomic.Pointer[credential.Key]
	candidates := make([]*credential.Key, 2)
	for i := range candidates {
		candidates[i] = keyOf([]string{"right", "wrong"}[i])
	}
	var wg sync.WaitGroup
	for i := range n {
		p, k := r.peer(one), candidates[i%2]
		a, tr := p.beginRegister("alice")
		digest := digestOf("record")
		tr.OpDigest = digest[:]
		wg.Go(func() {
			switch err := r.FinishRegister(t.Context(), a, verifierOf(k), digest, k.ProveNew(tr.Sum())); {
			case err == nil:
				won.Add(1)
				winner.Store(k)
			case errors.Is(err, ErrNameTaken):
				taken.Add(1)
			default:
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if won.Load() != 1 || taken.Load() != n-1 {
		t.Fatalf("%d won, %d were told that the name is taken", won.Load(), taken.Load())
	}
	if k := r.keys(); k[spaceName] != 1 || k[spaceAccount] != 1 || k[spaceAudit] != 1 {
		t.Errorf("left: %v", k)
	}
	r.peer(one).mustLogin("alice", winner.Load())
}

// TestRegisterRefused holds each binding of the signature, and each check of the record, against one fault.
func TestRegisterRefused(t *testing.T) {
	r := newRig(t)
	// Under the identity point, this is a signature of everything.
	identity := [32]byte{1}
	forged := [64]byte{1}
	if !ed25519.Verify(identity[:], []byte("anything"), forged[:]) {
		t.Fatal("not a forgery")
	}
	minusZero := [32]byte{31: 0x80}
	twice := [32]byte{0: 0xee, 31: 0x7f} // p + 1: the identity again
	for i := 1; i < 31; i++ {
		twice[i] = 0xff
	}
	order8 := [32]byte{
		0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98, 0xf0,
		0xd5, 0xdf, 0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53, 0xfc, 0x05,
	}
	type record struct {
		v         Verifier
		tr        credential.Transcript
		digest    [32]byte
		signature *[64]byte
	}
	under := func(a [32]byte) func(*record) {
		return func(c *record) { c.v.PublicKey, c.signature = a, &forged }
	}
	for name, fault := range map[string]func(*record){
		"identity point":     under(identity),
		"all zero":           under([32]byte{}),
		"minus zero":         under(minusZero),
		"not canonical":      under(twice),
		"order 8":            under(order8),
		"other key":          func(c *record) { c.v.PublicKey = wrong().Public() },
		"lower kdf":          func(c *record) { c.v.KDF.Time--; c.v.KDF.MemoryKiB = 47_104 },
		"higher kdf":         func(c *record) { c.v.KDF.Time++ },
		"no kdf":             func(c *record) { c.v.KDF = credential.KDF{} },
		"other handshake":    func(c *record) { c.tr.Handshake[0] ^= 1 },
		"other static":       func(c *record) { c.tr.ClientStatic[0] ^= 1 },
		"other preface":      func(c *record) { c.tr.Preface[5] ^= 1 },
		"other realm":        func(c *record) { c.tr.RealmID[0] ^= 1 },
		"other server nonce": func(c *record) { c.tr.ServerNonce = bytes.Repeat([]byte{1}, 32) },
		"other client nonce": func(c *record) { c.tr.ClientNonce[0] ^= 1 },
		"other name":         func(c *record) { c.tr.LoginName = "bob" },
		"other salt":         func(c *record) { c.tr.Salt = bytes.Repeat([]byte{1}, 16) },
		"other digest":       func(c *record) { c.digest[0] ^= 1 },
		"no digest":          func(c *record) { c.tr.OpDigest = nil },
		"other purpose":      func(c *record) { c.tr.Purpose = credential.PurposeLogin },
		"other method":       func(c *record) { c.tr.Method = credential.MethodCheckedPassword },
		"other label":        func(c *record) { s := right().Prove(c.tr.Sum()); c.signature = &s },
		"no signature":       func(c *record) { c.signature = new([64]byte) },
	} {
		p := r.peer(one)
		a, tr := p.beginRegister("alice")
		c := record{v: verifierOf(right()), tr: tr, digest: digestOf("record")}
		digest := c.digest
		c.tr.OpDigest = digest[:]
		fault(&c)
		if c.signature == nil {
			s := right().ProveNew(c.tr.Sum())
			c.signature = &s
		}
		if err := r.FinishRegister(t.Context(), a, c.v, c.digest, *c.signature); err != ErrRecordRefused {
			t.Errorf("%s: %v", name, err)
		}
		// The nonce is burned: what would have been right is not any more.
		tr.OpDigest = digest[:]
		if err := r.FinishRegister(t.Context(), a, verifierOf(right()), digest, right().ProveNew(tr.Sum())); err != ErrRecordRefused {
			t.Errorf("%s, and then right: %v", name, err)
		}
	}
	if n := r.keys(); len(n) != 1 {
		t.Errorf("left: %v", n)
	}
	if err := r.FinishRegister(t.Context(), nil, verifierOf(right()), [32]byte{}, [64]byte{}); err != ErrRecordRefused {
		t.Errorf("without an attempt: %v", err)
	}
}

func TestRegisterNonceExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		for _, age := range []time.Duration{NonceLife, NonceLife + 1} {
			p := r.peer(one)
			a, tr := p.beginRegister("alice")
			digest := digestOf("record")
			tr.OpDigest = digest[:]
			time.Sleep(age)
			err := r.FinishRegister(t.Context(), a, verifierOf(right()), digest, right().ProveNew(tr.Sum()))
			if want := map[bool]error{true: ErrRecordRefused}[age > NonceLife]; err != want {
				t.Errorf("after %v: %v", age, err)
			}
		}
	})
}

func TestRegisterNames(t *testing.T) {
	r := newRig(t)
	for name, want := range map[string]error{
		"":                      credential.RuleNameLength,
		strings.Repeat("a", 65): credential.RuleNameLength,
		"Alice":                 credential.RuleNameCharacters,
		"ａlice":                 credential.RuleNameCharacters,
		"ali ce":                nil, // any rule
		"-alice":                credential.RuleNameStart,
		"al\x00ice":             nil,
		"al\xffice":             nil,
	} {
		p := r.peer(one)
		_, _, err := r.BeginRegister(t.Context(), &p.ch, p.start(name))
		var rule credential.Rule
		if !errors.As(err, &rule) || rule > credential.RuleNameStart || want != nil && err != want {
			t.Errorf("%q: %v, want %v", name, err, want)
		}
	}
	long := strings.Repeat("a", 64)
	if r.peer(one).account(long).Session.Name != long {
		t.Error("the longest name")
	}
}

func TestRegistrationModes(t *testing.T) {
	for _, c := range []struct {
		mode   Registration
		method uint8
		want   error
	}{
		{RegistrationOpen, credential.MethodPassword, nil},
		{RegistrationOpen, credential.MethodCheckedPassword, ErrRegistrationClosed},
		{RegistrationClosed, credential.MethodPassword, ErrRegistrationClosed},
		{RegistrationClosed, credential.MethodCheckedPassword, ErrRegistrationClosed},
		{RegistrationChecked, credential.MethodPassword, ErrPasswordNeeded},
		{RegistrationChecked, credential.MethodCheckedPassword, nil},
	} {
		r := newRig(t, func(o *Config) { o.Registration = c.mode })
		p := r.peer(one)
		start := p.start("alice")
		start.Method = c.method
		a, _, err := r.BeginRegister(t.Context(), &p.ch, start)
		if err != c.want || (a == nil) != (err != nil) {
			t.Errorf("mode %d, method %d: %v", c.mode, c.method, err)
		}
		if a == nil {
			continue
		}
		// Each kind of attempt can be finished in its own way only.
		if c.method == credential.MethodPassword {
			err = r.FinishRegisterChecked(t.Context(), a, []byte(pass))
		} else {
			err = r.FinishRegister(t.Context(), a, verifierOf(right()), [32]byte{}, [64]byte{})
		}
		if err != ErrRecordRefused || !a.burned {
			t.Errorf("mode %d, method %d, finished as another: %v", c.mode, c.method, err)
		}
	}
}

func (p *peer) beginChecked(name string) *Attempt {
	p.r.t.Helper()
	start := p.start(name)
	start.Method = credential.MethodCheckedPassword
	a, _, err := p.r.BeginRegister(p.r.t.Context(), &p.ch, start)
	if err != nil {
		p.r.t.Fatal(err)
	}
	return a
}

func TestRegisterChecked(t *testing.T) {
	r := newRig(t, func(c *Config) { c.Registration = RegistrationChecked })
	p := r.peer(one)
	for password, want := range map[string]error{
		"short":                    credential.RulePasswordShort,
		"alice.alice":              credential.RulePasswordIsName,
		"password123":              credential.RulePasswordCommon,
		"aaaaaaaaaaaa":             credential.RulePasswordWeak,
		"tab\tin it, long enough":  credential.RulePasswordCharacters,
		strings.Repeat("x1Y", 342): credential.RulePasswordLong,
	} {
		if err := r.FinishRegisterChecked(t.Context(), p.beginChecked("alice.alice"), []byte(password)); err != want {
			t.Errorf("%.20q: %v, want %v", password, err, want)
		}
	}
	a := p.beginChecked("alice")
	password := []byte(pass)
	if err := r.FinishRegisterChecked(t.Context(), a, password); err != nil {
		t.Fatal(err)
	}
	if string(password) != pass {
		t.Error("the caller's password was changed: clearing it is up to the caller")
	}
	if err := r.FinishRegisterChecked(t.Context(), a, password); err != ErrRecordRefused {
		t.Errorf("the nonce a second time: %v", err)
	}
	wantError(t, r.FinishRegisterChecked(t.Context(), p.beginChecked("alice"), password), ErrNameTaken)

	// What the server has derived is what a client derives.
	_, c, err := r.BeginLogin(t.Context(), &p.ch, p.start("alice"))
	if err != nil {
		t.Fatal(err)
	}
	k, err := credential.Derive([]byte(pass), r.RealmID(), "alice", c.Salt, c.KDF)
	if err != nil {
		t.Fatal(err)
	}
	l := p.mustLogin("alice", k)
	_, record, _, err := r.lookup(r.now(t.Context()), "alice")
	if err != nil || record.verifier != verifierOf(k) || l.Session.Name != "alice" {
		t.Errorf("the record is not the client's: %v", err)
	}
}

func TestRegisterCheckedOverload(t *testing.T) {
	r := newRig(t, func(c *Config) { c.Registration, c.MaxStretching = RegistrationChecked, 1 })
	r.stretch <- struct{}{} // somebody stretches
	ctx, cancel := context.WithCancel(t.Context())
	errs := make(chan error)
	for i := range cap(r.waiting) {
		a := r.peer(address(i)).beginChecked("alice")
		go func() { errs <- r.FinishRegisterChecked(ctx, a, []byte(pass)) }()
	}
	for len(r.waiting) < cap(r.waiting) {
		runtime.Gosched() // until all of them wait
	}
	if err := r.FinishRegisterChecked(t.Context(), r.peer(one).beginChecked("bob"), []byte(pass)); err != ErrOverloaded {
		t.Errorf("one too many: %v", err)
	}
	cancel()
	for range cap(r.waiting) {
		wantError(t, <-errs, ErrOverloaded)
	}
	if len(r.waiting) != 0 || len(r.stretch) != 1 {
		t.Errorf("places left: %d, %d", len(r.waiting), len(r.stretch))
	}
	<-r.stretch
	if err := r.FinishRegisterChecked(t.Context(), r.peer(one).beginChecked("bob"), []byte(pass)); err != nil {
		t.Error(err)
	}
}

// TestRegisterCheckedCrowd: one address takes two places at the most, and the others are free.
func TestRegisterCheckedCrowd(t *testing.T) {
	r := newRig(t, func(c *Config) { c.Registration = RegistrationChecked })
	for range cap(r.stretch) {
		r.stretch <- struct{}{}
	}
	errs := make(chan error)
	finish := func(address, name string) {
		a := r.peer(address).beginChecked(name)
		go func() { errs <- r.FinishRegisterChecked(t.Context(), a, []byte(pass)) }()
	}
	finish("2001:db8::1", "alice")
	finish("2001:db8::2", "bob")
	for len(r.waiting) < stretchingPerAddress {
		runtime.Gosched()
	}
	if err := r.FinishRegisterChecked(t.Context(), r.peer("2001:db8::3").beginChecked("carl"), []byte(pass)); err != ErrOverloaded {
		t.Errorf("a third one of a /64: %v", err)
	}
	finish(one, "carl")
	for len(r.waiting) < stretchingPerAddress+1 {
		runtime.Gosched()
	}
	<-r.stretch
	for range 3 {
		wantError(t, <-errs, nil)
	}
	<-r.stretch
	if len(r.crowd.n) != 0 {
		t.Errorf("left: %v", r.crowd.n)
	}
}

// TestRegisterCheckedTaken: a name that is taken needs no place.
func TestRegisterCheckedTaken(t *testing.T) {
	r := newRig(t, func(c *Config) { c.Registration = RegistrationChecked })
	if err := r.FinishRegisterChecked(t.Context(), r.peer(one).beginChecked("alice"), []byte(pass)); err != nil {
		t.Fatal(err)
	}
	for range cap(r.stretch) {
		r.stretch <- struct{}{}
		defer func() { <-r.stretch }()
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	wantError(t, r.FinishRegisterChecked(ctx, r.peer(one).beginChecked("alice"), []byte(pass)), ErrNameTaken)
}

// TestRegistrationsPerMinute: an address prefix has a number of registrations, which come back with time, whatever became of them.
func TestRegistrationsPerMinute(t *testing.T) {
	for perMinute, want := range map[int]int{0: 60, 3: 3} {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t, func(c *Config) { c.RegistrationsPerMinute = perMinute })
			each := time.Minute / time.Duration(want)
			n := 0
			next := func(address string) error {
				n++
				return r.peer(address).register(fmt.Sprint("name", n), right())
			}
			for range want {
				wantError(t, next("2001:db8::1"), nil)
			}
			err := next("2001:db8::2")
			var d *Denied
			if !errors.As(err, &d) || !errors.Is(err, ErrOverloaded) || errors.Is(err, ErrDenied) || d.RetryAfter != each || d.Reason != Throttled {
				t.Errorf("one more: %v, %+v", err, d)
			}
			if n := r.keys()[spaceAccount]; n != want {
				t.Errorf("%d accounts", n)
			}
			wantError(t, next(one), nil)
			time.Sleep(each)
			wantError(t, r.peer("2001:db8::3").register("name1", right()), ErrNameTaken) // which is to be asked as often, and no more
			wantError(t, next("2001:db8::3"), ErrOverloaded)
			time.Sleep(time.Hour)
			for range want {
				wantError(t, next("2001:db8::1"), nil)
			}
			wantError(t, next("2001:db8::1"), ErrOverloaded)
		})
	}
}

// TestPaceForgets: what has been given back is not kept.
func TestPaceForgets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var p pace[netip.Addr]
		p.init(60)
		for i := range 5000 {
			a := netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)})
			wantError(t, p.take(portion[netip.Addr]{a, 1}), nil)
			time.Sleep(time.Second / 10)
		}
		if len(p.full) > 1024 {
			t.Errorf("%d addresses are kept", len(p.full))
		}
	})
}

// TestRegistrationsChecked: they are bounded before the server stretches anything.
func TestRegistrationsChecked(t *testing.T) {
	r := newRig(t, func(c *Config) { c.Registration, c.RegistrationsPerMinute = RegistrationChecked, 1 })
	if err := r.FinishRegisterChecked(t.Context(), r.peer(one).beginChecked("alice"), []byte(pass)); err != nil {
		t.Fatal(err)
	}
	err := r.FinishRegisterChecked(t.Context(), r.peer(one).beginChecked("bob"), []byte(pass))
	if d := new(Denied); !errors.As(err, &d) || !errors.Is(err, ErrOverloaded) || d.RetryAfter == 0 {
		t.Errorf("a second one: %v", err)
	}
}

// TestRegistrationsOfWideNetworks: who has many networks of a wide one registers some times as often, and not as often as there are networks.
func TestRegistrationsOfWideNetworks(t *testing.T) {
	for address, want := range map[string]int{
		"2001:db8:1:42%02x::1": 4 * 3, "2001:db8:1:%x00::1": 16 * 3, "203.0.113.%d": 16 * 3,
	} {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t, func(c *Config) { c.RegistrationsPerMinute = 3 })
			n := 0
			for i := range 100 {
				if r.peer(fmt.Sprintf(address, i+1)).register(fmt.Sprint("user", i), right()) == nil {
					n++
				}
			}
			if n != want {
				t.Errorf("%s: %d, want %d", address, n, want)
			}
			wantError(t, r.peer("2001:db8:2::1").register("elsewhere", right()), nil)
			wantError(t, r.peer("203.0.114.1").register("there", right()), nil)
		})
	}
}
