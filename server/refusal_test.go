package server_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/authsrv/authsrv/internal/account"
	"github.com/authsrv/authsrv/internal/authtest"
	"github.com/authsrv/authsrv/wire"
)

// connectFrom is connect from an address of one's own, for which no failures count.
func connectFrom(t testing.TB, srv *authtest.Server, n int) *peer {
	t.Helper()
	from := netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 51, byte(n >> 8), byte(n)}), 40000)
	conn, err := srv.ConnectFrom(t.Context(), from)
	if err != nil {
		t.Fatal(err)
	}
	return greet(t, conn)
}

// TestOneRefusal holds what is told of a login against each other, byte for byte, whatever was wrong.
func TestOneRefusal(t *testing.T) {
	bubble(t, func(t *testing.T, srv *authtest.Server, alice *user) {
		disabled := enroll(t, srv, "disabled")
		if err := srv.Accounts.SetDisabled(t.Context(), "disabled", true); err != nil {
			t.Fatal(err)
		}
		moved := enroll(t, srv, "moved")
		n := 0
		refusal := func(u *user, how func(*peer)) []byte {
			n++
			p := connectFrom(t, srv, n)
			p.ask(u)
			how(p)
			return append([]byte(nil), p.expect(wire.TypeDenied)...)
		}
		wrong := func(p *peer) { p.send(&wire.Proof{}) }
		want := refusal(alice, wrong)
		for what, got := range map[string][]byte{
			"unknown name":          refusal(newUser("nobody"), wrong),
			"unknown, with a proof": refusal(newUser("nobody"), func(p *peer) { p.send(p.proof(newUser("nobody"))) }),
			"disabled":              refusal(disabled, func(p *peer) { p.send(p.proof(disabled)) }),
			"disabled and wrong":    refusal(disabled, wrong),
			"expired":               refusal(alice, func(p *peer) { time.Sleep(21 * time.Second); p.send(p.proof(alice)) }),
			"expired, unknown":      refusal(newUser("nobody"), func(p *peer) { time.Sleep(21 * time.Second); wrong(p) }),
			"not a name":            refusal(newUser("Not A Name!"), wrong),
			"changed meanwhile": refusal(moved, func(p *peer) {
				other := connectFrom(t, srv, 1000)
				other.login(moved)
				id, c := other.operation(wire.TypeChangePassword)
				other.send(other.change(moved, newUser("next"), id, &c))
				other.expect(wire.TypePasswordChanged)
				p.send(p.proof(moved))
			}),
		} {
			if !bytes.Equal(got, want) {
				t.Errorf("%s: refused with %x, want %x", what, bytes.TrimRight(got, "\x00"), bytes.TrimRight(want, "\x00"))
			}
		}
		if d, err := wire.ParseDenied(want); err != nil || d != (wire.Denied{Code: wire.CodeDenied}) {
			t.Errorf("refused with %+v, %v", d, err)
		}
	})
}

// TestOneThrottle makes as many failures for a name that exists, for one that does not and for a disabled one, at the same
// times, and holds what is told of them against each other; then it lets their owners in, or not.
func TestOneThrottle(t *testing.T) {
	bubble(t, func(t *testing.T, srv *authtest.Server, alice *user) {
		disabled := enroll(t, srv, "disabled")
		if err := srv.Accounts.SetDisabled(t.Context(), "disabled", true); err != nil {
			t.Fatal(err)
		}
		n, throttled := 0, 0
		var waits []uint32
		try := func(u *user, proof func(*peer) *wire.Proof) []byte {
			n++
			p := connectFrom(t, srv, n)
			p.ask(u)
			p.send(proof(p))
			return append([]byte(nil), p.expect(wire.TypeDenied)...)
		}
		for i := range 9 {
			want := try(alice, func(*peer) *wire.Proof { return &wire.Proof{} })
			for _, u := range []*user{newUser("nobody"), disabled} {
				if got := try(u, func(p *peer) *wire.Proof { return p.proof(u) }); !bytes.Equal(got, want) {
					t.Errorf("failure %d of %s: %x, want %x", i+1, u.name, bytes.TrimRight(got, "\x00"), bytes.TrimRight(want, "\x00"))
				}
			}
			d, err := wire.ParseDenied(want)
			if err != nil || d.Code != wire.CodeDenied {
				t.Fatalf("%+v, %v", d, err)
			}
			waits = append(waits, d.RetryAfter)
			if i < 5 && d.RetryAfter != 0 {
				t.Errorf("failure %d costs %d s", i+1, d.RetryAfter)
			}
			if d.RetryAfter > 0 {
				// Who is throttled is told the rest of the wait, right or wrong.
				right := try(alice, func(p *peer) *wire.Proof { return p.proof(alice) })
				if !bytes.Equal(right, want) {
					t.Errorf("throttled: %x, want %x", bytes.TrimRight(right, "\x00"), bytes.TrimRight(want, "\x00"))
				}
				throttled++
				time.Sleep(time.Duration(d.RetryAfter) * time.Second)
			}
		}
		if throttled < 3 {
			t.Errorf("throttled %d times: waits were %v", throttled, waits)
		}
		p := connectFrom(t, srv, 2000)
		p.login(alice)
	})
}

// TestChallengeForNobody holds the challenge for a name that does not exist against that for one that does.
func TestChallengeForNobody(t *testing.T) {
	bubble(t, func(t *testing.T, srv *authtest.Server, alice *user) {
		var salts [][16]byte
		for range 2 {
			var kdf []wire.KDF
			for _, u := range []*user{alice, newUser("nobody"), newUser("Not A Name!")} {
				p := connect(t, srv)
				p.ask(u)
				kdf = append(kdf, p.challenge.KDF)
				salts = append(salts, p.challenge.Salt)
				if p.challenge.TTL != 20 || p.challenge.ServerNonce == [32]byte{} {
					t.Errorf("%s: %+v", u.name, p.challenge)
				}
				p.raw.Close()
			}
			if kdf[0] != kdf[1] || kdf[0] != kdf[2] {
				t.Errorf("kdf: %v", kdf)
			}
		}
		for i := range 3 {
			if salts[i] != salts[i+3] || salts[i] == salts[(i+1)%3] {
				t.Errorf("salts: %x", salts)
			}
		}
	})
}

// sniffer counts the sizes of the frames that a client is sent.
type sniffer struct {
	net.Conn
	mu   sync.Mutex
	seen []byte
}

func (s *sniffer) Read(b []byte) (int, error) {
	n, err := s.Conn.Read(b)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seen = append(s.seen, b[:n]...)
	return n, err
}

// last returns the size of the last frame's body.
func (s *sniffer) last() (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for b := s.seen; len(b) >= 2; b = b[2+n:] {
		n = int(binary.BigEndian.Uint16(b))
	}
	return n
}

// TestAnswersHaveOneSize holds the sizes of all answers before login against those of PROTOCOL 7.
func TestAnswersHaveOneSize(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t)
		alice := enroll(t, s.open, "a")
		long := enroll(t, s.open, fmt.Sprintf("%064d", 0))
		sniff := func(srv *authtest.Server) (*peer, *sniffer) {
			conn, err := srv.Connect(t.Context(), "", "")
			if err != nil {
				t.Fatal(err)
			}
			sn := &sniffer{Conn: conn}
			return greet(t, sn), sn
		}
		check := func(what string, sn *sniffer, want int) {
			if got := sn.last(); got != want+16 {
				t.Errorf("%s: a record of %d bytes, want %d", what, got, want+16)
			}
		}
		for _, u := range []*user{alice, long, newUser("nobody")} {
			p, sn := sniff(s.open)
			check(u.name+" M2", sn, 448-16)
			p.ask(u)
			check(u.name+" Challenge", sn, 512)
			p.send(&wire.Proof{})
			p.expectDenied(wire.CodeDenied)
			check(u.name+" Denied", sn, 1024)
			if u.name != "nobody" {
				p.login(u)
				check(u.name+" Welcome", sn, 1024)
				token := p.welcome.Token
				p, sn = sniff(s.open)
				p.static = u.static
				p.sendStart(sessionStart(token))
				p.takeWelcome()
				check(u.name+" resumed", sn, 1024)
			}
		}
		p, sn := sniff(s.open)
		bob := newUser("bob")
		p.takeParams(bob)
		check("RegisterParams", sn, 512)
		p.send(p.finish(bob))
		p.expect(wire.TypeRegistered)
		check("Registered", sn, 1024)
		p.sendStart(registerStart("-"))
		p.expectDenied(wire.CodeNameInvalid)
		check("Denied", sn, 1024)
		p, sn = sniff(s.checked)
		p.sendStart(checkedStart("bob"))
		p.expect(wire.TypeRegisterParams)
		check("RegisterParams", sn, 512)
		p.send(&wire.RegisterPassword{Password: []byte("password")})
		p.expectDenied(wire.CodePasswordPolicy)
		check("Denied", sn, 1024)
	})
}

// TestRegistrationModes says which of the two ways to register a server takes, and what it calls the other.
func TestRegistrationModes(t *testing.T) {
	for mode, want := range map[account.Registration]struct {
		features           uint32
		unchecked, checked wire.Code
	}{
		account.RegistrationOpen:    {wire.FeatureRegister, 0, wire.CodeRegistrationClosed},
		account.RegistrationClosed:  {0, wire.CodeRegistrationClosed, wire.CodeRegistrationClosed},
		account.RegistrationChecked: {wire.FeatureRegisterChecked, wire.CodePasswordNeeded, 0},
	} {
		synctest.Test(t, func(t *testing.T) {
			srv := authtest.New(t, authtest.Options{Account: account.Config{Registration: mode}})
			for start, code := range map[*wire.AuthStart]wire.Code{registerStart("bob"): want.unchecked, checkedStart("bob"): want.checked} {
				p := connect(t, srv)
				if p.hello.Features != want.features {
					t.Errorf("mode %d: features %b", mode, p.hello.Features)
				}
				p.sendStart(start)
				if code == 0 {
					p.expect(wire.TypeRegisterParams)
				} else {
					p.expectDenied(code)
				}
			}
		})
	}
}
