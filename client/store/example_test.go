package store_test

import (
	"errors"
	"fmt"
	"time"

	"github.com/authsrv/authsrv/client/store"
)

func Example() {
	s := store.Memory() // or store.Open(dir), to find it again
	pinned := store.Server{
		Address:    "auth.example:7022",
		RealmID:    [16]byte{1},
		Identity:   [32]byte{2},
		Epoch:      3,
		Confirmed:  true,
		ServerTime: time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC),
	}
	if err := s.PutServer(pinned); err != nil {
		fmt.Println(err)
		return
	}

	// What was confirmed only goes up.
	earlier := pinned
	earlier.Epoch = 2
	fmt.Println(s.PutServer(earlier))
	known, found, err := s.Server("auth.example:7022")
	fmt.Println(known.Epoch, found, err)

	// Another identity does not take the place of the pinned one.
	impostor := pinned
	impostor.Identity = [32]byte{66}
	fmt.Println(errors.Is(s.PutServer(impostor), store.ErrIdentityChanged))

	// Secrets are not printed.
	fmt.Println(store.Account{Name: "alice", DeviceKey: store.Secret{1}}.DeviceKey)
	// Output:
	// <nil>
	// 3 true <nil>
	// true
	// [secret]
}
