package pebblekv_test

import (
	"context"
	"fmt"
	"log"
	"os"

	"github.com/authsrv/authsrv/kv"
	"github.com/authsrv/authsrv/kv/pebblekv"
)

func Example() {
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)

	store, err := pebblekv.Open(dir, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer store.Close()
	go func() {
		<-store.Failed() // never, in this example
		log.Fatal(store.Err())
	}()

	ctx := context.Background()
	err = kv.Update(ctx, store, func(tx *kv.Tx) error {
		tx.Put([]byte("fruit/apple"), []byte("red"))
		tx.Put([]byte("fruit/lemon"), []byte("yellow"))
		return nil
	})
	if err != nil {
		log.Fatal(err)
	}
	entries, _, err := store.Scan(ctx, []byte("fruit/"), nil, 10)
	if err != nil {
		log.Fatal(err)
	}
	for _, e := range entries {
		fmt.Printf("%s is %s\n", e.Key, e.Value)
	}
	// Output:
	// fruit/apple is red
	// fruit/lemon is yellow
}
