package fuzz

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/authsrv/authsrv/internal/attack/walk"
	"github.com/authsrv/authsrv/internal/authtest"
	"github.com/authsrv/authsrv/noiseconn"
	"github.com/authsrv/authsrv/wire"
)

// line is a real connection.
type line struct {
	raw    net.Conn
	shake  *noiseconn.ClientHandshake
	conn   *noiseconn.Conn // after M3
	static noiseconn.StaticKey
}

func (l *line) Say(message []byte) (err error) {
	if l.conn == nil {
		l.conn, err = l.shake.Finish(background, l.static, message)
		return err
	}
	return l.conn.WriteMessage(message)
}

func (l *line) Hear() ([]byte, error) {
	if l.conn == nil {
		return nil, errors.New("the connection has not come so far")
	}
	return l.conn.ReadMessage(wire.MaxSessionFrame)
}

func (l *line) Handshake() [32]byte { return l.conn.HandshakeHash() }
func (l *line) Static() [32]byte    { return l.static.Public }
func (l *line) Wakes()              {}

// theServer is one for all inputs of a process: each has an account and an address of its own.
var (
	theServer = sync.OnceValues(func() (*authtest.Server, error) { return authtest.Start(authtest.Options{}) })
	inputs    atomic.Uint64
)

func dialServer(t *testing.T, srv *authtest.Server, n uint64) *line {
	from := netip.AddrPortFrom(netip.AddrFrom4([4]byte{byte(n), byte(n >> 8), byte(n >> 16), 1}), 40000)
	conn, err := srv.ConnectFrom(t.Context(), from)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	l := &line{raw: conn, shake: noiseconn.Client(conn, nil)}
	if l.static, err = noiseconn.NewStaticKey(nil); err != nil {
		t.Fatal(err)
	}
	if _, _, err := l.shake.Hello(t.Context()); err != nil {
		t.Fatal(err)
	}
	return l
}

// program is the events that bytes stand for, one each.
func program(b []byte) (events []*walk.Event) {
	all := walk.Events(false)
	for _, c := range b[:min(len(b), 24)] {
		events = append(events, all[int(c)%len(all)])
	}
	return events
}

// sessionSeeds is one program for each pair of events behind a login, and some longer ones.
func sessionSeeds(t testing.TB) (all []seed) {
	number := make(map[string]byte)
	events := walk.Events(false)
	for i, e := range events {
		number[e.Name] = byte(i)
	}
	add := func(names ...string) {
		var b []byte
		for _, name := range names {
			n, there := number[name]
			if !there {
				t.Fatalf("there is no event %q", name)
			}
			b = append(b, n)
		}
		all = append(all, seed{b})
	}
	for _, e := range events {
		add(e.Name)
		add("login", e.Name, e.Name)
		add("login", "proof", e.Name, "who-am-i")
		add("resume", e.Name, e.Name)
	}
	add("login", "proof", "start-change", "change", "start-delete", "delete")
	add("login", "proof-wrong", "login", "proof-wrong", "login", "proof-wrong")
	add("login", "proof-wrong", "register", "register-finish", "login", "proof", "start-revoke", "revoke")
	add("reset", "reset-finish", "login", "proof", "start-change", "change-wrong", "start-change", "change-wrong", "start-change", "change-wrong")
	add("login", "proof", "start-change", "revoked-elsewhere", "change")
	add("login", "made-anew-elsewhere", "proof", "login", "proof")
	add("login", "proof", "start-change", "start-delete", "change", "delete", "start-delete", "delete")
	return all
}

// FuzzSession takes bytes for a program of events, and holds what the server does against the state table of PROTOCOL 9.
func FuzzSession(f *testing.F) {
	plant(f)
	srv, err := theServer()
	if err != nil {
		f.Fatal(err)
	}
	table := walk.ReadTable(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		events := program(b)
		n := inputs.Add(1)
		if steps, err := walk.Run(t.Context(), srv, table, dialServer(t, srv, n), fmt.Sprintf("u%d", n), events); err != nil {
			t.Fatalf("%s: %v", walk.Names(events[:steps]), err)
		}
	})
}
