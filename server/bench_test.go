package server_test

import (
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/authsrv/authsrv/internal/authtest"
	"github.com/authsrv/authsrv/server"
	"github.com/authsrv/authsrv/wire"
)

// quiet is a server that does not keep its log.
func quiet(b *testing.B) *authtest.Server {
	return authtest.New(b, authtest.Options{Server: server.Config{Logger: slog.New(slog.NewTextHandler(io.Discard, nil))}})
}

// BenchmarkLogin is a whole login over TCP, of both sides and without Argon2, which is the client's: connect, handshake,
// challenge, proof, a durable session in memory, Welcome.
func BenchmarkLogin(b *testing.B) {
	srv := quiet(b)
	address, alice := tcp(b, srv), enroll(b, srv, "alice")
	for b.Loop() {
		conn := mustDial(address)
		p := &peer{t: b, raw: conn, static: alice.static}
		if err := p.tryLogin(b.Context(), alice); err != nil {
			b.Fatal(err)
		}
		conn.Close()
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "logins/s")
}

// BenchmarkLogins is as many logins at once as there are clients, of an account each.
func BenchmarkLogins(b *testing.B) {
	for _, clients := range []int{8, 64} {
		b.Run(fmt.Sprintf("clients=%d", clients), func(b *testing.B) {
			srv := quiet(b)
			address := tcp(b, srv)
			var users []*user
			for i := range clients {
				users = append(users, enroll(b, srv, fmt.Sprintf("user%d", i)))
			}
			var left atomic.Int64
			left.Store(int64(b.N))
			b.ResetTimer()
			var wg sync.WaitGroup
			for _, u := range users {
				wg.Go(func() {
					for left.Add(-1) >= 0 {
						conn := mustDial(address)
						p := &peer{t: b, raw: conn, static: u.static}
						if err := p.tryLogin(b.Context(), u); err != nil {
							b.Error(err)
						}
						conn.Close()
					}
				})
			}
			wg.Wait()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "logins/s")
		})
	}
}

func mustDial(address string) net.Conn {
	conn, err := net.Dial("tcp", address)
	if err != nil {
		panic(err)
	}
	return conn
}

// BenchmarkResume is a whole resumption over TCP, of both sides.
func BenchmarkResume(b *testing.B) {
	srv := quiet(b)
	address, alice := tcp(b, srv), enroll(b, srv, "alice")
	first := greet(b, mustDial(address))
	first.login(alice)
	start := sessionStart(first.welcome.Token)
	start.ClientNonce = nonce("client")
	for b.Loop() {
		conn := mustDial(address)
		p := &peer{t: b, raw: conn, static: alice.static}
		if err := p.tryGreet(b.Context()); err != nil {
			b.Fatal(err)
		}
		if err := p.trySend(start); err != nil {
			b.Fatal(err)
		}
		p.expect(wire.TypeWelcome)
		conn.Close()
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "resumptions/s")
}

// BenchmarkRequest is a request and its answer on a session, over TCP.
func BenchmarkRequest(b *testing.B) {
	srv := quiet(b)
	p := greet(b, mustDial(tcp(b, srv)))
	p.login(enroll(b, srv, "alice"))
	for b.Loop() {
		p.plain(wire.TypeWhoAmI, wire.TypeAccount)
	}
}
