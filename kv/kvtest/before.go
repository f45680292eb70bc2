package kvtest

import (
	"errors"
	"fmt"
	"math/rand/v2"

	"github.com/authsrv/authsrv/kv"
)

// updateFromRead: what was read before is not read again, and After is what the commit has left.
func updateFromRead(b *bench) {
	b.commit(put("a", "1"))
	before := []kv.Entry{b.get("a"), b.get("b")}
	runs := 0
	var last *kv.Tx
	err := kv.UpdateFrom(b.ctx, b.e, before, func(tx *kv.Tx) error {
		runs++
		last = tx
		value, ok, err := tx.Get([]byte("a"))
		if err != nil || !ok {
			return fmt.Errorf("a is there: %v, %w", ok, err)
		}
		if _, ok, err := tx.Get([]byte("b")); err != nil || ok {
			return fmt.Errorf("b is there: %v, %w", ok, err)
		}
		value[0]++ // the caller's copy
		tx.Put([]byte("c"), value)
		tx.Delete([]byte("d"))
		return nil
	})
	if err != nil || runs != 1 {
		b.Fatalf("%d runs: %v", runs, err)
	}
	b.holds("c", "2")
	b.holds("a", "1")
	for _, key := range []string{"a", "b", "c", "d"} {
		if after, e := last.After([]byte(key)), b.get(key); after.Version != e.Version || string(after.Key) != key {
			b.Errorf("after the commit %q is at %d, and was to be at %d", key, e.Version, after.Version)
		}
	}
}

// updateFromStale: what has moved since it was read costs a second run, which reads for itself.
func updateFromStale(b *bench) {
	b.commit(put("a", "old"))
	for _, change := range []kv.Write{put("a", "new"), del("a")} {
		before := []kv.Entry{b.get("a")}
		b.commit(change)
		var saw []string
		err := kv.UpdateFrom(b.ctx, b.e, before, func(tx *kv.Tx) error {
			value, _, err := tx.Get([]byte("a"))
			saw = append(saw, string(value))
			tx.Put([]byte("b"), value)
			return err
		})
		if err != nil || len(saw) != 2 || saw[0] != string(before[0].Value) || saw[1] != string(change.Value) {
			b.Errorf("saw %q: %v", saw, err)
		}
		b.holds("b", string(change.Value))
	}
}

// updateFromError: no error comes of what was read before.
func updateFromError(b *bench) {
	b.commit(put("a", "old"))
	before := []kv.Entry{b.get("a")}
	b.commit(put("a", "new"))
	fails := func(on string) func(*kv.Tx) error {
		return func(tx *kv.Tx) error {
			value, _, err := tx.Get([]byte("a"))
			if string(value) == on {
				return errTest
			}
			return err
		}
	}
	if err := kv.UpdateFrom(b.ctx, b.e, before, fails("old")); err != nil {
		b.Errorf("an error of what was out of date: %v", err)
	}
	if err := kv.UpdateFrom(b.ctx, b.e, before, fails("new")); !errors.Is(err, errTest) {
		b.Errorf("an error of what is: %v", err)
	}
}

// witness makes many commits, and asks again and again of reads of any age whether they still hold. An engine that
// is no Witness has nothing to show.
func witness(b *bench) {
	w, ok := b.e.(kv.Witness)
	if !ok {
		return
	}
	b.commit(put("a", "1"))
	first := b.get("a")
	reads := []kv.Read{{Key: first.Key, Version: first.Version, At: first.At}}
	if !w.Unmoved(reads) || !w.Unmoved(nil) {
		b.Error("what was just read has moved")
	}
	b.commit(put("a", "1"))
	if w.Unmoved(reads) {
		b.Error("what was written since it was read has not moved")
	}
	rng := rand.New(rand.NewPCG(1, 2))
	name := func(i int) string { return fmt.Sprintf("k%d", i) }
	held := make([]kv.Read, 100)
	certain := 0
	for range 600 {
		writes := make([]kv.Write, 0, kv.MaxOps)
		for i := range cap(writes) - 2 { // so many that an engine forgets the first ones
			writes = append(writes, put(fmt.Sprintf("other%d", rng.IntN(1<<20)*kv.MaxOps+i), ""))
		}
		key := name(rng.IntN(len(held)))
		if rng.IntN(3) == 0 {
			writes = append(writes, del(key))
		} else {
			writes = append(writes, put(key, ""))
		}
		b.commit(writes...)
		i := rng.IntN(len(held))
		if held[i].Key != nil {
			now := b.get(name(i))
			if w.Unmoved(held[i : i+1]) {
				certain++
				if now.Version != held[i].Version {
					b.Fatalf("%q moved from %d to %d, and the engine is certain that it did not", now.Key, held[i].Version, now.Version)
				}
			}
			if _, err := b.e.Commit(b.ctx, held[i:i+1], nil); (err == nil) != (now.Version == held[i].Version) {
				b.Fatalf("%q was read at %d and is at %d: %v", now.Key, held[i].Version, now.Version, err)
			}
		}
		e := b.get(name(i))
		held[i] = kv.Read{Key: e.Key, Version: e.Version, At: e.At}
	}
	if certain == 0 {
		b.Error("the engine is never certain")
	}
}
