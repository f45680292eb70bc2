package server_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/authsrv/authsrv/client"
	"github.com/authsrv/authsrv/internal/authtest"
	"github.com/authsrv/authsrv/server"
	"github.com/authsrv/authsrv/wire"
)

func from(t testing.TB, srv *authtest.Server, address string) net.Conn {
	t.Helper()
	conn, err := srv.ConnectFrom(t.Context(), netip.AddrPortFrom(netip.MustParseAddr(address), 40000))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// TestLobbyIsFull: whoever crowds the lobby keeps nobody out, from wherever they come.
func TestLobbyIsFull(t *testing.T) {
	const (
		each   = 4 // of each room
		places = 3 * each
	)
	for name, address := range map[string]func(int) string{
		"from one address":    func(int) string { return "203.0.113.1" },
		"from one network":    func(i int) string { return fmt.Sprintf("2001:db8::%x", i+1) },
		"from many addresses": func(i int) string { return fmt.Sprintf("203.0.113.%d", i+1) },
		"from the same one":   func(int) string { return "198.51.100.1" },
	} {
		for _, shake := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, hands shaken %v", name, shake), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					srv := authtest.New(t, authtest.Options{Server: server.Config{MaxHandshakes: places}})
					alice := enroll(t, srv, "alice")
					crowd := func(n int) {
						for i := range n {
							conn := from(t, srv, address(i))
							if shake {
								p := greet(t, conn)
								p.ask(newUser("mallory"))
							} else {
								go io.Copy(io.Discard, conn)
							}
							synctest.Wait()
						}
					}
					crowd(3 * places)
					p := greet(t, from(t, srv, "198.51.100.1"))
					crowd(each - 1) // fewer than a room holds
					p.ask(alice)
					crowd(each - 1) // fewer than a room holds
					p.send(p.proof(alice))
					p.takeWelcome()
					crowd(3 * places)
					p.plain(wire.TypeWhoAmI, wire.TypeAccount) // who is logged in is not in the lobby
				})
			})
		}
	}
}

// TestEvictedIsTold: who has to go before its first word is told that the server is overloaded.
func TestEvictedIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := authtest.New(t, authtest.Options{Server: server.Config{MaxHandshakes: 1}})
		conn := dial(t, srv)
		synctest.Wait()
		connect(t, srv)
		if said, _ := io.ReadAll(conn); string(said) != "\x00\x08auth\x01\x01\x00\x0b" {
			t.Errorf("the server said %q", said)
		}
	})
}

func TestMaxConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		// More than there may be are there only where the rules were tightened.
		srv := authtest.New(t, authtest.Options{Server: server.Config{MaxPerAccount: 1000}})
		alice := enroll(t, srv, "alice")
		users := []*user{alice, enroll(t, srv, "bob")} // neither has more than the 100 sessions of an account
		var peers []*peer
		for i := range 135 {
			p := connect(t, srv)
			p.login(users[i%2])
			peers = append(peers, p)
		}
		if err := srv.SetRules(server.Rules{MaxConnections: 2}); err != nil {
			t.Fatal(err)
		}
		_, err := client.Dial(t.Context(), authtest.Address, srv.Config(nil))
		var refused *client.Error
		if !errors.As(err, &refused) || !errors.Is(err, client.ErrOverloaded) {
			t.Errorf("another connection: %v", err)
		}
		peers[0].expectGoodbye(wire.CodeLimit) // one for each who comes
		for _, p := range peers[1:10] {
			p.raw.Close()
		}
		synctest.Wait()
		connect(t, srv).login(alice)
	})
}

// tcp serves on loopback as well.
func tcp(t testing.TB, srv *authtest.Server) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go srv.Serve(l)
	return l.Addr().String()
}

func dialTCP(t testing.TB, address string) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	conn.SetDeadline(time.Now().Add(30 * time.Second))
	t.Cleanup(func() { conn.Close() })
	return conn
}

// TestManyAtOnce: logins of different accounts, and of one, all at the same time over TCP.
func TestManyAtOnce(t *testing.T) {
	srv := authtest.New(t, authtest.Options{})
	address := tcp(t, srv)
	var users []*user
	for i := range 64 {
		users = append(users, enroll(t, srv, fmt.Sprintf("user%d", i)))
	}
	for range 50 {
		users = append(users, users[0])
	}
	var wg sync.WaitGroup
	begin := make(chan struct{})
	for _, u := range users {
		conn := dialTCP(t, address)
		wg.Go(func() {
			<-begin
			if err := attempt(t, conn, u); err != nil {
				t.Errorf("%s: %v", u.name, err)
			}
		})
	}
	close(begin)
	wg.Wait()
}

// attempt logs in and asks who it is, for goroutines that may not stop the test.
func attempt(t testing.TB, conn net.Conn, u *user) error {
	p := &peer{t: t, raw: conn, static: u.static}
	if err := p.tryLogin(t.Context(), u); err != nil {
		return err
	}
	if err := p.conn.WriteMessage(wire.Plain{Type: wire.TypeWhoAmI, ID: 1}.AppendTo(nil)); err != nil {
		return err
	}
	b, err := p.conn.ReadMessage(wire.MaxSessionFrame)
	if err != nil {
		return err
	}
	if m, err := wire.ParseAccount(b); err != nil || string(m.Name) != u.name {
		return fmt.Errorf("it is %q, %w", m.Name, err)
	}
	return nil
}

// TestDeafClientsDelayNobody: clients that ask and never read what they are answered.
func TestDeafClientsDelayNobody(t *testing.T) {
	bubble(t, func(t *testing.T, srv *authtest.Server, alice *user) {
		for range 20 {
			p := connect(t, srv)
			p.login(alice)
			p.send(wire.Plain{Type: wire.TypeList, ID: 1})
		}
		for range 20 {
			connect(t, srv).send(loginStart("alice"))
		}
		began := time.Now()
		p := connect(t, srv)
		p.login(alice)
		p.plain(wire.TypeWhoAmI, wire.TypeAccount)
		if waited := time.Since(began); waited != 0 {
			t.Errorf("it took %v", waited)
		}
	})
}

// TestDeafClientOverTCP pipelines requests until both directions are full, and is cut off when a write takes too long;
// others are served meanwhile.
func TestDeafClientOverTCP(t *testing.T) {
	srv := authtest.New(t, authtest.Options{})
	alice := enroll(t, srv, "alice")
	address := tcp(t, srv)
	p := greet(t, dialTCP(t, address))
	p.login(alice)
	p.raw.SetWriteDeadline(time.Now().Add(300 * time.Millisecond))
	var err error
	for err == nil {
		err = p.conn.WriteMessage(wire.Plain{Type: wire.TypeList, ID: 1}.AppendTo(nil))
	}
	if !strings.Contains(err.Error(), "timeout") {
		t.Fatal(err)
	}
	if err := attempt(t, dialTCP(t, address), alice); err != nil {
		t.Error(err)
	}
	p.raw.Close()
}

// TestPipelining: requests that were sent before any answer was read are answered in their order.
func TestPipelining(t *testing.T) {
	bubble(t, func(t *testing.T, srv *authtest.Server, alice *user) {
		p := connect(t, srv)
		p.login(alice)
		go func() {
			for id := range uint32(100) {
				typ := wire.TypeWhoAmI
				if id%2 == 1 {
					typ = wire.TypeList
				}
				if p.conn.WriteMessage(wire.Plain{Type: typ, ID: id + 1}.AppendTo(nil)) != nil {
					return
				}
			}
		}()
		for id := range uint32(100) {
			want := wire.TypeAccount
			if id%2 == 1 {
				want = wire.TypeListing
			}
			if got, err := wire.RequestID(p.expect(want)); got != id+1 || err != nil {
				t.Fatalf("answer %d, %v, want %d", got, err, id+1)
			}
		}
	})
}

// stutter is a connection whose large writes pause in the middle of a frame.
type stutter struct{ net.Conn }

func (s stutter) Write(b []byte) (int, error) {
	const first = 100
	if len(b) < 100*first {
		return s.Conn.Write(b)
	}
	if n, err := s.Conn.Write(b[:first]); err != nil {
		return n, err
	}
	time.Sleep(time.Minute)
	n, err := s.Conn.Write(b[first:])
	return first + n, err
}

// TestPipeliningLate: the time to send answers begins when they are sent, and not with those of long before, also where so many come together that
// some are sent while others are made.
func TestPipeliningLate(t *testing.T) {
	bubble(t, func(t *testing.T, srv *authtest.Server, alice *user) {
		conn, err := srv.Connect(t.Context(), "", "")
		if err != nil {
			t.Fatal(err)
		}
		p := greet(t, stutter{conn})
		p.login(alice)
		const n = 600 // that go with one write, and whose answers do not
		go func() {
			for id := range uint32(n) {
				if p.conn.QueueMessage(wire.Plain{Type: wire.TypeWhoAmI, ID: id + 1}.AppendTo(nil)) != nil {
					return
				}
			}
			p.conn.Flush()
		}()
		for id := range uint32(n) {
			if got, err := wire.RequestID(p.expect(wire.TypeAccount)); got != id+1 || err != nil {
				t.Fatalf("answer %d, %v, want %d", got, err, id+1)
			}
		}
	})
}

// TestLastWordsAreHeard: what was sent behind a Logout is dropped, and takes nothing of what was said before with it, also to a peer that reads only
// when the server has done with the connection.
func TestLastWordsAreHeard(t *testing.T) {
	srv := authtest.New(t, authtest.Options{})
	alice := enroll(t, srv, "alice")
	address := tcp(t, srv)
	for _, end := range []string{"a logout", "a message that is none of a client's", "what is no frame"} {
		p := greet(t, dialTCP(t, address))
		p.login(alice)
		const n = 3000 // more than the server reads at once
		ask := func() {
			for id := range uint32(n) {
				p.queue(wire.Plain{Type: wire.TypeWhoAmI, ID: id + 1})
			}
		}
		ask()
		switch end {
		case "a logout":
			p.queue(wire.Plain{Type: wire.TypeLogout, ID: 1})
		case "what is no frame":
			p.conn.Flush()
			p.raw.Write(make([]byte, wire.FrameHeaderSize))
		default:
			p.queue(wire.Plain{Type: wire.TypeWelcome, ID: 1})
		}
		ask()
		if err := errors.Join(p.conn.Flush(), p.raw.(*net.TCPConn).CloseWrite()); err != nil {
			t.Fatal(err)
		}
		for srv.Connections() > 0 {
			runtime.Gosched()
		}
		for id := range uint32(n) {
			if got, err := wire.RequestID(p.expect(wire.TypeAccount)); got != id+1 || err != nil {
				t.Fatalf("%s: answer %d, %v, want %d", end, got, err, id+1)
			}
		}
		if end == "a logout" {
			p.expect(wire.TypeDone)
			p.expect(wire.TypeGoodbye)
		}
		p.expectClosed()
	}
}

// queue keeps a message until those behind it are sent.
func (p *peer) queue(m message) {
	p.t.Helper()
	if err := p.conn.QueueMessage(m.AppendTo(nil)); err != nil {
		p.t.Fatal(err)
	}
}

// TestMemoryOfIdleConnections bounds what a connection costs that is logged in and says nothing.
func TestMemoryOfIdleConnections(t *testing.T) {
	if raceEnabled {
		t.Log("the race detector's own memory is not measured")
		return
	}
	srv := authtest.New(t, authtest.Options{Server: server.Config{MaxPerAccount: 2000}})
	alice := enroll(t, srv, "alice")
	measure := func() uint64 {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapInuse + m.StackInuse
	}
	const n = 1000
	peers := make([]*peer, 0, n)
	connectOne := func() {
		p := connect(t, srv)
		p.login(alice)
		p.plain(wire.TypeWhoAmI, wire.TypeAccount)
		peers = append(peers, p)
	}
	for range 50 {
		connectOne()
	}
	before := measure()
	for range n {
		connectOne()
	}
	each := (int64(measure()) - int64(before)) / n
	t.Logf("%d bytes for both ends of a connection", each)
	if each > 64<<10 {
		t.Errorf("%d bytes for both ends of a connection", each)
	}
	runtime.KeepAlive(peers)
}

// tryLogin is login without a test to stop.
func (p *peer) tryLogin(ctx context.Context, u *user) error {
	if err := p.tryGreet(ctx); err != nil {
		return err
	}
	p.start = loginStart(u.name)
	p.start.ClientNonce = nonce("client")
	if err := p.trySend(p.start); err != nil {
		return err
	}
	b, err := p.conn.ReadMessage(wire.MaxLoginFrame)
	if err != nil {
		return err
	}
	if p.challenge, err = wire.ParseChallenge(b); err != nil {
		return err
	}
	if err := p.trySend(p.proof(u)); err != nil {
		return err
	}
	if b, err = p.conn.ReadMessage(wire.MaxLoginFrame); err != nil {
		return err
	}
	if p.welcome, err = wire.ParseWelcome(b); err != nil {
		return fmt.Errorf("%v: %w", wire.TypeOf(b), err)
	}
	return nil
}
