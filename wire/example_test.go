package wire_test

import (
	"bytes"
	"errors"
	"fmt"
	"log"

	"github.com/authsrv/authsrv/wire"
)

// A message is written into a frame, and read out of it again.
func Example() {
	account := wire.Account{ID: 7, Name: []byte("alice"), Created: 1_800_000_000}
	frame := account.AppendTo(wire.BeginFrame(nil))
	if err := wire.EndFrame(frame, 0); err != nil {
		log.Fatal(err)
	}

	frames := wire.NewFrameReader(bytes.NewReader(frame))
	body, err := frames.Next(wire.MaxSessionFrame) // a real frame's body is an encrypted record
	if err != nil {
		log.Fatal(err)
	}
	read, err := wire.ParseAccount(body)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%v %d: %s\n", wire.TypeOf(body), read.ID, read.Name)

	_, err = wire.ParseAccount(body[:len(body)-1])
	fmt.Println(errors.Is(err, wire.ErrMalformed))
	// Output:
	// Account 7: alice
	// true
}

// A code is an error, with a name for programs and a text for people.
func ExampleCode() {
	err := fmt.Errorf("log in: %w", wire.CodeDenied)
	fmt.Println(err)
	fmt.Println(errors.Is(err, wire.CodeDenied), wire.CodeDenied.Name())
	// Output:
	// log in: wrong name or password
	// true denied
}
