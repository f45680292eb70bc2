package server_test

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"fmt"
	"net"

	"github.com/authsrv/authsrv/client"
	"github.com/authsrv/authsrv/internal/account"
	"github.com/authsrv/authsrv/internal/authtest"
	"github.com/authsrv/authsrv/server"
	"github.com/authsrv/authsrv/token"
)

// How a program puts a server together, as cmd/authsrv does, with a store and keys that last.
func Example() {
	ctx := context.Background()
	engine, err := authtest.OpenEngine()
	if err != nil {
		fmt.Println(err)
		return
	}
	defer engine.Close()
	key := func(what string) [32]byte { return sha256.Sum256([]byte("an example's " + what)) } // yours are random
	identitySeed, tokenSeed := key("identity"), key("tokens")
	identity := ed25519.NewKeyFromSeed(identitySeed[:])
	realm := [16]byte{1}
	tokens, err := token.New(account.Issuer(realm), "t1", token.Key{ID: "t1", Private: ed25519.NewKeyFromSeed(tokenSeed[:])})
	if err != nil {
		fmt.Println(err)
		return
	}
	accounts, err := account.New(ctx, &account.Config{
		Engine: engine, Tokens: tokens,
		Secrets: account.Secrets{
			RealmID: realm, SaltKey: key("salts"), NameKey: key("names"), AuditKey: key("audit"),
			Wrapping: map[uint32][32]byte{1: key("records")}, Current: 1,
		},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	srv, err := server.New(&server.Config{Accounts: accounts, Identity: identity})
	if err != nil {
		fmt.Println(err)
		return
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Println(err)
		return
	}
	served := make(chan error)
	go func() { served <- srv.Serve(l) }()

	_, err = client.Dial(ctx, l.Addr().String(), &client.Config{AcceptNew: true})
	fmt.Println("dialed:", err == nil)
	fmt.Println("stopped:", srv.Shutdown(ctx) == nil, <-served)

	// Output:
	// dialed: true
	// stopped: true server: closed
}
