package keyfile_test

import (
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/authsrv/authsrv/internal/keyfile"
)

func Example() {
	dir, err := os.MkdirTemp("", "keyfile")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "keys")

	keys, err := keyfile.Generate(rand.Reader, time.Now())
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(keyfile.Create(path, keys, nil)) // nil: not sealed with a passphrase
	fmt.Println(errors.Is(keyfile.Create(path, keys, nil), keyfile.ErrExists))

	again, err := keyfile.Open(path, nil)
	fmt.Println(again.SaltKey == keys.SaltKey, again.SaltKey, err)
	// Output:
	// <nil>
	// true
	// true [secret] <nil>
}
