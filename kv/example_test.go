package kv_test

import (
	"context"
	"errors"
	"fmt"
	"log"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/authsrv/authsrv/kv"
	"github.com/authsrv/authsrv/kv/pebblekv"
)

// A name is taken by the first who asks. The feed tells everybody else.
func ExampleUpdate() {
	ctx := context.Background()
	engine, err := pebblekv.Open("example", &pebblekv.Options{FS: vfs.NewMem()})
	if err != nil {
		log.Fatal(err)
	}
	defer engine.Close()

	errTaken := errors.New("name is taken")
	take := func(name, owner string) error {
		return kv.Update(ctx, engine, func(tx *kv.Tx) error {
			_, taken, err := tx.Get([]byte(name))
			if err != nil {
				return err
			}
			if taken {
				return errTaken
			}
			tx.Put([]byte(name), []byte(owner))
			return nil
		})
	}
	fmt.Println(take("name/alice", "1"))
	fmt.Println(take("name/alice", "2"))

	for e, err := range engine.Watch(ctx, []byte("name/"), 0) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Printf("%s belongs to %s\n", e.Key, e.Value)
		break
	}
	// Output:
	// <nil>
	// name is taken
	// name/alice belongs to 1
}
