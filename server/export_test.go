package server

import (
	"crypto/ed25519"
	"net/netip"
	"testing"
	"time"

	"github.com/authsrv/authsrv/wire"
)

// Row is one row of the state table, by the words of PROTOCOL 9.
type Row struct{ State, Event, Then, Refused string }

// Rows returns the state table.
func Rows() (rows []Row) {
	for s, events := range transitions {
		for e, t := range events {
			rows = append(rows, Row{s.String(), e.String(), t.then.String(), t.other.String()})
		}
	}
	return rows
}

// String is the event by the words of PROTOCOL 9.
func (e event) String() string {
	if e.Type != wire.TypeAuthStart {
		return e.Type.String()
	}
	purpose := map[wire.Purpose]string{
		wire.PurposeLogin: " login", wire.PurposeSession: " session", wire.PurposeRegister: " register",
		wire.PurposeReset: " reset",
	}[e.purpose]
	if e.method == wire.MethodChecked {
		purpose += " checked"
	}
	return e.Type.String() + purpose
}

// Limits returns the limits that are this package's, by the words of PROTOCOL 11.
func Limits() map[string]int {
	seconds := func(d time.Duration) int { return int(d / time.Second) }
	return map[string]int{
		"handshake, from accept to M3":               seconds(handshakeTime),
		"login, from accept to Welcome":              seconds(loginTime),
		"frames before login, from the client":       maxLoginFrames,
		"AuthStart on a connection":                  maxStarts,
		"bytes before login, from the client":        maxLoginBytes,
		"Denied on a connection":                     maxDenied,
		"logged-in connections of an account":        DefaultMaxPerAccount,
		"idle after login":                           seconds(idleTime),
		"connection life":                            seconds(connectionLife),
		"server's write of one answer":               seconds(writeTime),
		"records before login, both ways":            frameCap[start],
		"record in state Checking, client to server": frameCap[checking],
		"records after login, both ways":             frameCap[ready],
	}
}

// NewNode returns what gives a server its static key and certificate at a time, for the realm of zeros.
func NewNode(identity ed25519.PrivateKey) func(*testing.T, time.Time) ([32]byte, wire.Certificate) {
	n := &node{identity: Identity{Key: identity, Epoch: 1}}
	return func(t *testing.T, now time.Time) ([32]byte, wire.Certificate) {
		t.Helper()
		c, err := n.current(now)
		if err != nil {
			t.Fatal(err)
		}
		return c.static.Public, c.certificate
	}
}

// Check says whether the penalties can be a server's.
func (p Penalties) Check() error { return p.check() }

// NewPenalties returns penalties with room for as many networks: what counts an offence, what says whether an address is cut off, and
// how many networks are remembered.
func NewPenalties(rules Penalties, room int) (charge func(netip.Addr, Offence), cut func(netip.Addr) bool, size func() int) {
	var p penalties
	p.init()
	p.max = room
	p.set(rules)
	return func(a netip.Addr, o Offence) { p.charge(a, o) }, func(a netip.Addr) bool { c, _ := p.cutOff(a); return c }, func() int { return len(p.of) }
}
