package client_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"math"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/authsrv/authsrv/client"
	"github.com/authsrv/authsrv/client/store"
	"github.com/authsrv/authsrv/internal/authtest"
	"github.com/authsrv/authsrv/noiseconn"
	"github.com/authsrv/authsrv/wire"
)

// nothing checks that only preface and M1 were sent, on each of n connections.
func (f *fake) nothing(n int) {
	f.t.Helper()
	if heard := f.heard(); !slices.Equal(heard, slices.Repeat([]int{helloSize}, n)) {
		f.t.Errorf("the client sent %d bytes, want %d on %d connections", heard, helloSize, n)
	}
}

func TestUnknownServer(t *testing.T) {
	f := newFake(t, 1)
	st := store.Memory()
	_, err := client.Dial(t.Context(), authtest.Address, f.config(st))
	var unknown *client.UnknownServerError
	if !errors.As(err, &unknown) || unknown.Fingerprint != f.fingerprint() || unknown.Address != authtest.Address {
		t.Fatalf("Dial: %v", err)
	}
	f.nothing(1)
	if servers, _ := st.Servers(); len(servers) != 0 {
		t.Errorf("it was remembered: %v", servers)
	}

	// Accepted: remembered, though not as confirmed.
	c := f.config(st)
	c.Identity = unknown.Fingerprint
	if conn, err := client.Dial(t.Context(), authtest.Address, c); err != nil {
		t.Fatal(err)
	} else {
		conn.Close()
	}
	if s, ok, err := st.Server(authtest.Address); !ok || err != nil || s.Confirmed || s.Identity != f.public() {
		t.Errorf("remembered: %+v, %v, %v", s, ok, err)
	}
	if conn, err := client.Dial(t.Context(), authtest.Address, f.config(st)); err != nil {
		t.Errorf("known by now: %v", err)
	} else {
		conn.Close()
	}
	f.nothing(3)

	// Another one at the address is a changed identity, even to who accepts everything.
	other := newFake(t, 2)
	for _, c := range []*client.Config{other.config(st), {Store: st, Dialer: other.dial, AcceptNew: true}, {Store: st, Dialer: other.dial, Identity: other.fingerprint()}} {
		other.changed(c, authtest.Address, f.fingerprint())
	}
	other.nothing(3)
}

// changed checks that the fake is taken for a changed identity.
func (f *fake) changed(c *client.Config, address, known string) {
	f.t.Helper()
	_, err := client.Dial(f.t.Context(), address, c)
	var changed *client.IdentityChangedError
	if !errors.As(err, &changed) || changed.Known != known || changed.Got != f.fingerprint() {
		f.t.Errorf("Dial: %v, want a changed identity from %s", err, known)
		return
	}
	if given := c.Identity == f.fingerprint() || strings.HasSuffix(address, f.fingerprint()); changed.Given != given {
		f.t.Errorf("Dial: %+v, given is %v", changed, given)
	}
	if expected := strings.Contains(err.Error(), "not the one that was expected"); expected != (changed.KnownAt == "") {
		f.t.Errorf("Dial: %v", err)
	}
}

func (f *fake) welcome(c *client.Config, address string) {
	f.t.Helper()
	conn, err := client.Dial(f.t.Context(), address, c)
	if err != nil {
		f.t.Errorf("Dial: %v", err)
		return
	}
	if conn.Fingerprint() != f.fingerprint() {
		f.t.Errorf("the fingerprint is %s", conn.Fingerprint())
	}
	conn.Close()
}

func TestPinInAddress(t *testing.T) {
	f, other := newFake(t, 1), newFake(t, 2)
	f.welcome(f.config(nil), authtest.Address+"#"+f.fingerprint())
	other.changed(other.config(nil), authtest.Address+"#"+f.fingerprint(), f.fingerprint())
	// The pin does not overrule what is known.
	other.changed(other.config(f.pinned()), authtest.Address+"#"+other.fingerprint(), f.fingerprint())
	c := f.config(nil)
	c.Identity = other.fingerprint()
	f.changed(c, authtest.Address, other.fingerprint())
	c.Identity = "SHA256:short"
	if _, err := client.Dial(t.Context(), authtest.Address, c); err == nil {
		t.Error("a fingerprint that is none")
	}
	f.nothing(2)
	other.nothing(2)
}

// TestStranger: what speaks another protocol is said to be no server, and nothing of its insides.
func TestStranger(t *testing.T) {
	for _, says := range []string{"HTTP/1.1 400 Bad Request\r\n\r\n", "SSH-2.0-OpenSSH_9.9\r\n", "\x00\x00\x00\x00"} {
		c := &client.Config{AcceptNew: true, Dialer: func(context.Context, string, string) (net.Conn, error) {
			here, there := net.Pipe()
			go func() {
				defer there.Close()
				there.Read(make([]byte, 256))
				there.Write([]byte(says))
			}()
			return here, nil
		}}
		_, err := client.Dial(t.Context(), authtest.Address, c)
		if !errors.Is(err, client.ErrProtocol) || err.Error() != "what answers at "+authtest.Address+" is not an authsrv server" {
			t.Errorf("%q: %v", says, err)
		}
	}
}

func TestChangedIdentity(t *testing.T) {
	f, other := newFake(t, 1), newFake(t, 2)
	st := f.pinned()
	f.welcome(f.config(st), authtest.Address)
	other.changed(other.config(st), authtest.Address, f.fingerprint()) // another realm and identity
	other.realm = f.realm
	other.changed(other.config(st), authtest.Address, f.fingerprint())
	other.changed(other.config(st), "elsewhere.test:7022", f.fingerprint()) // a known realm under another identity
	f.realm = [16]byte{9}
	f.changed(f.config(st), authtest.Address, f.fingerprint()) // another realm under the known identity
	other.nothing(3)
	f.nothing(2)
	if s, _, _ := st.Server(authtest.Address); s.Identity != f.public() || s.RealmID == f.realm {
		t.Errorf("the pin has moved: %+v", s)
	}
}

func TestKnownRealmElsewhere(t *testing.T) {
	f := newFake(t, 1)
	st := f.pinned()
	var unknown *client.UnknownServerError
	if _, err := client.Dial(t.Context(), "second.test:7022", f.config(st)); !errors.As(err, &unknown) {
		t.Errorf("a new address of a known realm: %v", err)
	}
	c := f.config(st)
	c.AcceptNew = true
	f.welcome(c, "second.test:7022")
	f.epoch = 0 // which no certificate has
	if _, err := client.Dial(t.Context(), "second.test:7022", f.config(st)); !errors.Is(err, client.ErrCertificate) {
		t.Errorf("epoch 0: %v", err)
	}
}

// TestClaimedRealm: a stranger that was accepted, and claims a realm, keeps nobody from the server whose realm it is; once that
// has confirmed, the stranger is a changed identity, and gets nothing of what is kept for the realm.
func TestClaimedRealm(t *testing.T) {
	stranger, f := newFake(t, 2), newFake(t, 1)
	stranger.realm = f.realm
	st := store.Memory()
	c := stranger.config(st)
	c.AcceptNew = true
	stranger.welcome(c, "stranger.test:7022")
	f.answer = func(k *talk) { k.say(k.login(password)); k.read() }
	s, err := f.login(st)
	if err != nil {
		t.Fatalf("Login where a stranger has claimed the realm: %v", err)
	}
	s.Close()
	stranger.changed(c, "stranger.test:7022", f.fingerprint())
	stranger.nothing(2)
}

func TestSuccessor(t *testing.T) {
	f, next, other := newFake(t, 1), newFake(t, 2), newFake(t, 3)
	next.realm, other.realm = f.realm, f.realm
	f.next = sha256.Sum256(next.identity[32:])
	st := f.pinned()
	next.welcome(next.config(st), authtest.Address)
	other.changed(other.config(st), authtest.Address, f.fingerprint())
	if s, _, _ := st.Server(authtest.Address); s.Identity != f.public() {
		t.Error("the successor is pinned before it has confirmed")
	}
	next.realm = [16]byte{9}
	next.changed(next.config(st), authtest.Address, f.fingerprint()) // a successor is one of its realm only

	// A commitment that was not confirmed commits to nothing.
	next.realm = f.realm
	unconfirmed := store.Memory()
	c := f.config(unconfirmed)
	c.AcceptNew = true
	f.welcome(c, authtest.Address)
	next.changed(next.config(unconfirmed), authtest.Address, f.fingerprint())
}

// TestSuccessorIsPinned once it has confirmed.
func TestSuccessorIsPinned(t *testing.T) {
	f, next := newFake(t, 1), newFake(t, 2)
	next.realm = f.realm
	f.next = sha256.Sum256(next.identity[32:])
	st := f.pinned()
	next.answer = func(k *talk) { k.say(k.login(password)); k.read() }
	c, err := client.Dial(t.Context(), authtest.Address, next.config(st))
	if err != nil {
		t.Fatal(err)
	}
	s, err := c.Login(t.Context(), "alice", password, nil)
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
	f.changed(f.config(st), authtest.Address, next.fingerprint())
}

func TestCertificates(t *testing.T) {
	const day = 24 * time.Hour
	for name, c := range map[string]struct {
		set  func(*fake, *store.Store)
		want error // nil: accepted
	}{
		"good":                {func(*fake, *store.Store) {}, nil},
		"epoch lower":         {func(f *fake, _ *store.Store) { f.epoch = 4 }, client.ErrCertificate},
		"epoch higher":        {func(f *fake, _ *store.Store) { f.epoch = 6 }, nil},
		"expired":             {func(f *fake, _ *store.Store) { f.from, f.to = -2*day, -time.Minute }, noiseconn.ErrCertificateExpired},
		"not yet valid":       {func(f *fake, _ *store.Store) { f.from, f.to = day+time.Minute, 2*day }, noiseconn.ErrCertificateNotYetValid},
		"not yet, but nearly": {func(f *fake, _ *store.Store) { f.from, f.to = day-time.Minute, 2*day }, nil},
		"too long":            {func(f *fake, _ *store.Store) { f.to = 8 * day }, client.ErrCertificate},
		"of another realm":    {func(f *fake, _ *store.Store) { f.adjust = func(m *wire.ServerHello) { m.Certificate.Epoch++ } }, client.ErrCertificate},
		"signature": {func(f *fake, _ *store.Store) {
			f.adjust = func(m *wire.ServerHello) { m.Certificate.Signature[3] ^= 1 }
		}, client.ErrCertificate},
		"server time confirmed": {func(f *fake, st *store.Store) { ahead(st, 2*day) }, noiseconn.ErrCertificateExpired},
		"version lower":         {func(_ *fake, st *store.Store) { knows(st, 2, 1) }, client.ErrDowngrade},
		"suite lower":           {func(_ *fake, st *store.Store) { knows(st, 1, 2) }, client.ErrDowngrade},
		"version higher": {func(f *fake, _ *store.Store) {
			f.adjust = func(m *wire.ServerHello) { m.HighestVersion, m.HighestSuite = 9, 9 }
		}, nil},
		"server time early": {func(f *fake, _ *store.Store) {
			f.says(func(c *wire.Certificate) uint64 { return c.NotBefore - 86_400 })
		}, nil},
		"server time too early": {func(f *fake, _ *store.Store) {
			f.says(func(c *wire.Certificate) uint64 { return c.NotBefore - 86_401 })
		}, client.ErrCertificate},
		"server time late":     {func(f *fake, _ *store.Store) { f.says(func(c *wire.Certificate) uint64 { return c.NotAfter }) }, nil},
		"server time too late": {func(f *fake, _ *store.Store) { f.says(func(c *wire.Certificate) uint64 { return c.NotAfter + 1 }) }, client.ErrCertificate},
		"server time last":     {func(f *fake, _ *store.Store) { f.says(func(*wire.Certificate) uint64 { return math.MaxUint64 }) }, client.ErrCertificate},
		"another version":      {func(f *fake, _ *store.Store) { f.adjust = func(m *wire.ServerHello) { m.Version = 2 } }, client.ErrProtocol},
		"refused for version":  {func(f *fake, _ *store.Store) { f.refusal = wire.CodeVersion }, client.ErrVersion},
		"refused for overload": {func(f *fake, _ *store.Store) { f.refusal = wire.CodeOverloaded }, client.ErrOverloaded},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFake(t, 1)
			f.epoch = 5
			st := f.pinned()
			c.set(f, st)
			conn, err := client.Dial(t.Context(), authtest.Address, f.config(st))
			if !errors.Is(err, c.want) || (err == nil) != (c.want == nil) {
				t.Errorf("Dial: %v, want %v", err, c.want)
			}
			if err == nil {
				conn.Close()
			} else if errors.Is(err, noiseconn.ErrCertificateExpired) && !errors.Is(err, client.ErrCertificate) {
				t.Errorf("Dial: %v, which is no ErrCertificate", err)
			}
			f.nothing(1)
		})
	}
}

// says makes the fake say another time than it is.
func (f *fake) says(time func(*wire.Certificate) uint64) {
	f.adjust = func(m *wire.ServerHello) { m.Time = time(&m.Certificate) }
}

// TestPromisesAreNotHeldAgainst a server that can't be held to them: it once named versions that this client does not speak.
func TestPromisesAreNotHeldAgainst(t *testing.T) {
	f := newFake(t, 1)
	f.answer = func(k *talk) { k.say(k.login(password)); k.read() }
	f.adjust = func(m *wire.ServerHello) { m.HighestVersion, m.HighestSuite = 9, 9 }
	st := store.Memory()
	s, err := f.login(st)
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
	if k, _, _ := st.Server(authtest.Address); k.Version != wire.Version || k.Suite != wire.Suite || !k.Confirmed {
		t.Errorf("remembered: %+v", k)
	}
	f.adjust = nil
	f.welcome(f.config(st), authtest.Address)
}

func change(st *store.Store, f func(*store.Server)) {
	s, _, _ := st.Server(authtest.Address)
	f(&s)
	if err := st.PutServer(s); err != nil {
		panic(err)
	}
}

func ahead(st *store.Store, by time.Duration) {
	change(st, func(s *store.Server) { s.ServerTime = time.Now().Add(by) })
}

func knows(st *store.Store, version, suite uint8) {
	change(st, func(s *store.Server) { s.Version, s.Suite = version, suite })
}

func TestAddresses(t *testing.T) {
	const pin = "SHA256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU"
	for in, want := range map[string][2]string{
		"auth.test":                {"auth.test:7022", ""},
		"auth.test:1":              {"auth.test:1", ""},
		"auth.test:65535":          {"auth.test:65535", ""},
		"127.0.0.1":                {"127.0.0.1:7022", ""},
		"::1":                      {"[::1]:7022", ""},
		"[::1]":                    {"[::1]:7022", ""},
		"[::1]:7023":               {"[::1]:7023", ""},
		"fe80::1%lo":               {"[fe80::1%lo]:7022", ""},
		"[fe80::1%lo]":             {"[fe80::1%lo]:7022", ""},
		"[fe80::1%lo]:7023":        {"[fe80::1%lo]:7023", ""},
		"fe80::1%lo:7022":          {}, // a port behind a zone needs brackets
		"[fe80::1%]":               {},
		"a::b::c%lo":               {},
		"auth.test:7022#" + pin:    {"auth.test:7022", pin},
		"auth.test#" + pin:         {"auth.test:7022", pin},
		"auth.test:07022":          {"auth.test:7022", ""}, // one address, one pin
		"":                         {},
		":7022":                    {},
		"auth.test:0":              {},
		"auth.test:65536":          {},
		"auth.test:":               {},
		"auth.test:http":           {},
		"a:b:c":                    {},
		"auth.test#":               {},
		"auth.test#SHA256:abc":     {},
		"auth.test:1#" + pin + "=": {},
	} {
		address, fingerprint, err := client.ParseAddress(in)
		if address != want[0] || fingerprint != want[1] || (err == nil) != (want[0] != "") {
			t.Errorf("%q is %q, %q, %v, want %q", in, address, fingerprint, err, want)
		}
	}
}
