package noiseconn_test

import (
	"context"
	"crypto/ed25519"
	"fmt"
	"log"
	"net"
	"time"

	"github.com/authsrv/authsrv/noiseconn"
	"github.com/authsrv/authsrv/wire"
)

// A client and a server shake hands over a pipe, and the client sends one record.
func Example() {
	c, s := net.Pipe()
	go serve(s)

	ctx := context.Background()
	handshake := noiseconn.Client(c, nil)
	hello, static, err := handshake.Hello(ctx)
	if err != nil {
		log.Fatal(err)
	}
	if err := noiseconn.VerifyCertificate(&hello, static, time.Now()); err != nil {
		log.Fatal(err)
	}
	fmt.Println("server is", noiseconn.Fingerprint(hello.Identity))

	device, err := noiseconn.NewStaticKey(nil)
	if err != nil {
		log.Fatal(err)
	}
	conn, err := handshake.Finish(ctx, device, []byte("first"))
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Close()
	if err := conn.WriteMessage([]byte("hello")); err != nil {
		log.Fatal(err)
	}
	answer, err := conn.ReadMessage(wire.MaxSessionFrame)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("server says %q\n", answer)
	// Output:
	// server is SHA256:E545QOZLVJFyIIjZoNdBYo/IJuCUddNBp4Cs3jxLgHA
	// server says "first, hello"
}

func serve(c net.Conn) {
	defer c.Close()
	identity := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize)) // not this one
	node, err := noiseconn.NewStaticKey(nil)
	if err != nil {
		log.Fatal(err)
	}
	now := time.Now()
	hello := wire.ServerHello{Version: wire.Version, HighestVersion: wire.Version, HighestSuite: wire.Suite}
	hello.Identity = [32]byte(identity.Public().(ed25519.PublicKey))
	hello.Certificate = noiseconn.Certify(identity, hello.RealmID, node.Public, now, now.Add(24*time.Hour), 1)

	ctx := context.Background()
	handshake := noiseconn.Server(c, nil)
	if err := handshake.Start(ctx); err != nil {
		log.Fatal(err)
	}
	if err := handshake.Hello(ctx, node, hello.AppendTo(nil)); err != nil {
		log.Fatal(err)
	}
	payload, conn, err := handshake.Finish(ctx)
	if err != nil {
		log.Fatal(err)
	}
	message, err := conn.ReadMessage(wire.MaxSessionFrame)
	if err != nil {
		log.Fatal(err)
	}
	if err := conn.WriteMessage(fmt.Appendf(nil, "%s, %s", payload, message)); err != nil {
		log.Fatal(err)
	}
}
