package token_test

import (
	"crypto/ed25519"
	"fmt"
	"time"

	"github.com/authsrv/authsrv/token"
)

func Example() {
	seed := make([]byte, ed25519.SeedSize) // from the file of keys
	keys, err := token.New("urn:example:accounts", "2026-11", token.Key{ID: "2026-11", Private: ed25519.NewKeyFromSeed(seed)})
	if err != nil {
		fmt.Println(err)
		return
	}
	device := [32]byte{1} // the X25519 public key of the device, as it has shown it
	now := time.Unix(1_800_000_000, 0)
	signed, err := keys.Sign(token.Claims{
		Subject:    [16]byte{2},
		SessionID:  [16]byte{3},
		ID:         [16]byte{4},
		IssuedAt:   now,
		Expires:    now.Add(24 * time.Hour),
		Thumbprint: token.Thumbprint(device),
	})
	if err != nil {
		fmt.Println(err)
		return
	}

	claims, err := keys.Verify(signed, now.Add(time.Hour))
	fmt.Println("good for an hour:", err == nil && claims.Thumbprint == token.Thumbprint(device))
	_, err = keys.Verify(signed, now.Add(25*time.Hour))
	fmt.Println("after a day:", err)
	// Output:
	// good for an hour: true
	// after a day: token: expired
}
