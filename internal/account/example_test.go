package account_test

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"fmt"
	"log"
	"net/netip"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/authsrv/authsrv/credential"
	"github.com/authsrv/authsrv/internal/account"
	"github.com/authsrv/authsrv/kv/pebblekv"
	"github.com/authsrv/authsrv/token"
)

// Both sides of a registration and a login, without the connection between them.
func Example() {
	ctx := context.Background()
	must := func(err error) {
		if err != nil {
			log.Fatal(err)
		}
	}
	engine, err := pebblekv.Open("example", &pebblekv.Options{FS: vfs.NewMem()})
	must(err)
	defer engine.Close()
	realm := [16]byte{1}
	tokens, err := token.New(account.Issuer(realm), "1", token.Key{ID: "1", Private: ed25519.NewKeyFromSeed(make([]byte, 32))})
	must(err)
	accounts, err := account.New(ctx, &account.Config{
		Engine: engine, Tokens: tokens,
		KDF:     credential.KDF{Algorithm: credential.Argon2id, Time: 2, MemoryKiB: 19_456, Lanes: 1},
		Secrets: account.Secrets{RealmID: realm, Wrapping: map[uint32][32]byte{1: {1}}, Current: 1},
	})
	must(err)

	// What the handshake and AuthStart have said, and what the client makes of the challenge.
	channel := &account.Channel{Handshake: [32]byte{2}, Static: [32]byte{3}, Address: netip.MustParseAddr("192.0.2.1")}
	start := &account.Start{Name: "alice", Method: credential.MethodPassword, Offered: []byte{credential.MethodPassword}}
	transcript := func(purpose uint8, c account.Challenge) *credential.Transcript {
		return &credential.Transcript{
			Handshake: channel.Handshake, RealmID: realm, Purpose: purpose, Method: start.Method, OfferedMethods: start.Offered,
			LoginName: start.Name, ClientStatic: channel.Static, ServerNonce: c.ServerNonce[:], Salt: c.Salt[:], KDF: c.KDF,
		}
	}

	attempt, challenge, err := accounts.BeginRegister(ctx, channel, start)
	must(err)
	key, err := credential.Derive([]byte("correct horse battery staple"), realm, "alice", challenge.Salt, challenge.KDF)
	must(err)
	t := transcript(credential.PurposeRegister, challenge)
	digest := sha256.Sum256([]byte("the message that carries the record"))
	t.OpDigest = digest[:]
	record := account.Verifier{KDF: challenge.KDF, PublicKey: key.Public(), ServerKey: key.ServerKey()}
	must(accounts.FinishRegister(ctx, attempt, record, digest, key.ProveNew(t.Sum())))

	attempt, challenge, err = accounts.BeginLogin(ctx, channel, start)
	must(err)
	sum := transcript(credential.PurposeLogin, challenge).Sum()
	proof := key.Prove(sum)
	login, err := accounts.FinishLogin(ctx, attempt, proof)
	must(err)
	fmt.Println(login.Session.Name, key.VerifyConfirm(sum, proof, login.Confirm))

	_, err = accounts.FinishLogin(ctx, attempt, proof)
	fmt.Println(err)
	// Output:
	// alice true
	// account: denied: nonce-expired
}
