package kvtest

import (
	"errors"
	"fmt"
	"strconv"
	"sync"

	"github.com/authsrv/authsrv/kv"
)

var errTest = errors.New("error of the test's own")

func updateReadsItsWrites(b *bench) {
	b.commit(put("a", "old"), put("b", "old"))
	b.update(func(tx *kv.Tx) error {
		tx.Put([]byte("a"), []byte("new"))
		tx.Delete([]byte("b"))
		tx.Put([]byte("c"), []byte("new"))
		for key, want := range map[string]string{"a": "new", "c": "new"} {
			if got, ok, err := tx.Get([]byte(key)); err != nil || !ok || string(got) != want {
				return fmt.Errorf("%q: %q, %v, %w", key, got, ok, err)
			}
		}
		if got, ok, err := tx.Get([]byte("b")); err != nil || ok || got != nil {
			return fmt.Errorf("deleted: %q, %v, %w", got, ok, err)
		}
		tx.Delete([]byte("c"))
		tx.Put([]byte("b"), []byte("again"))
		return nil
	})
	b.holds("a", "new")
	b.holds("b", "again")
	b.absent("c")
}

// updateRepeatsReads changes a key between two reads of it: the transaction reads the same
// twice, and finds out when it commits.
func updateRepeatsReads(b *bench) {
	b.commit(put("a", "0"))
	runs := 0
	b.update(func(tx *kv.Tx) error {
		runs++
		first, _, err := tx.Get([]byte("a"))
		if err != nil {
			return err
		}
		if runs == 1 {
			b.commit(put("a", "1"))
		}
		second, _, err := tx.Get([]byte("a"))
		if err != nil {
			return err
		}
		if string(first) != string(second) {
			b.Errorf("read %q, then %q", first, second)
		}
		tx.Put([]byte("b"), second)
		return nil
	})
	if runs != 2 {
		b.Errorf("%d runs, want 2", runs)
	}
	b.holds("b", "1")
}

func updateAborts(b *bench) {
	runs := 0
	for _, want := range []error{errTest, kv.ErrConflict} { // the latter is fn's own, and no reason to retry
		err := kv.Update(b.ctx, b.e, func(tx *kv.Tx) error {
			runs++
			tx.Put([]byte("a"), nil)
			return want
		})
		if err != want {
			b.Fatalf("%v, want %v itself", err, want)
		}
	}
	if runs != 2 {
		b.Errorf("%d runs, want 2", runs)
	}
	b.absent("a")

	err := kv.Update(b.ctx, b.e, func(tx *kv.Tx) error {
		tx.Get(nil) // an error that is overlooked
		tx.Put([]byte("a"), nil)
		return nil
	})
	b.wantError(err, kv.ErrInvalid, "overlooked error")
	b.absent("a")
}

// updateRefusesTornErrors keeps a and b equal, and lets both change between the reads of them. The
// error that the first run returns is about a state that never was.
func updateRefusesTornErrors(b *bench) {
	b.commit(put("a", "0"), put("b", "0"))
	runs := 0
	b.update(func(tx *kv.Tx) error {
		runs++
		one, _, err := tx.Get([]byte("a"))
		if err != nil {
			return err
		}
		if runs == 1 {
			b.commit(put("a", "1"), put("b", "1"))
		}
		other, _, err := tx.Get([]byte("b"))
		if err != nil {
			return err
		}
		if string(one) != string(other) {
			return errTest
		}
		return nil
	})
	if runs != 2 {
		b.Errorf("%d runs, want 2", runs)
	}
}

func updateOperations(b *bench) {
	do := func(reads, writes int) error {
		return kv.Update(b.ctx, b.e, func(tx *kv.Tx) error {
			for range 2 { // a key counts once as read and once as written, however often it is used
				for i := range reads {
					if _, _, err := tx.Get(fmt.Appendf(nil, "r%d", i)); err != nil {
						return err
					}
				}
				for i := range writes {
					tx.Put(fmt.Appendf(nil, "w%d", i), nil)
				}
			}
			return nil
		})
	}
	if err := do(kv.MaxOps/2, kv.MaxOps/2); err != nil {
		b.Fatalf("%d operations: %v", kv.MaxOps, err)
	}
	if keys, _ := b.scan("w", nil, kv.MaxOps); len(keys) == 0 {
		b.Fatal("nothing was written")
	}
	b.commit(put("x", "1"))
	b.wantError(do(kv.MaxOps/2, kv.MaxOps/2+1), kv.ErrTooLarge, "one write more")
	b.wantError(do(kv.MaxOps/2+1, kv.MaxOps/2), kv.ErrTooLarge, "one read more")
	b.absent("w64")

	writes := make([]kv.Write, kv.MaxOps)
	for i := range writes {
		writes[i] = put(fmt.Sprintf("c%d", i), "")
	}
	_, err := b.e.Commit(b.ctx, []kv.Read{read("x", 0)}, writes)
	b.wantError(err, kv.ErrTooLarge, "Commit of one more")
	b.commit(writes...)
}

// parallel runs fn on n goroutines and returns their errors.
func parallel(n int, fn func(i int) error) []error {
	errs := make([]error, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { errs[i] = fn(i) })
	}
	wg.Wait()
	return errs
}

func updateCounter(b *bench) {
	const workers, each = 8, 5
	for _, err := range parallel(workers, func(int) error {
		for range each {
			if err := kv.Update(b.ctx, b.e, increment); err != nil {
				return err
			}
		}
		return nil
	}) {
		if err != nil {
			b.Fatal(err)
		}
	}
	b.holds("counter", strconv.Itoa(workers*each))
}

func increment(tx *kv.Tx) error {
	value, ok, err := tx.Get([]byte("counter"))
	if err != nil {
		return err
	}
	n := 0
	if ok {
		if n, err = strconv.Atoi(string(value)); err != nil {
			return err
		}
	}
	tx.Put([]byte("counter"), strconv.AppendInt(nil, int64(n+1), 10))
	return nil
}

func updateUniqueCreate(b *bench) {
	for round := range 4 {
		key := fmt.Appendf(nil, "name%d", round)
		winner := ""
		for i, err := range parallel(8, func(i int) error {
			return kv.Update(b.ctx, b.e, func(tx *kv.Tx) error {
				if _, taken, err := tx.Get(key); err != nil || taken {
					return errors.Join(err, errTest)
				}
				tx.Put(key, []byte{byte('0' + i)})
				return nil
			})
		}) {
			switch {
			case err == nil && winner == "":
				winner = string(rune('0' + i))
			case err == nil:
				b.Fatalf("both %s and %d have created it", winner, i)
			case err.Error() != errTest.Error():
				b.Fatal(err)
			}
		}
		b.holds(string(key), winner)
	}
}

// updateWriteSkew has two doctors go off duty at once, each after a look at whether the other stays.
func updateWriteSkew(b *bench) {
	b.commit(put("duty/1", ""), put("duty/2", ""))
	leave := func(self, other string, meanwhile func()) error {
		return kv.Update(b.ctx, b.e, func(tx *kv.Tx) error {
			_, stays, err := tx.Get([]byte(other))
			if err != nil {
				return err
			}
			meanwhile()
			if !stays {
				return errTest
			}
			tx.Delete([]byte(self))
			return nil
		})
	}
	var inner error
	once := sync.OnceFunc(func() { inner = leave("duty/2", "duty/1", func() {}) })
	outer := leave("duty/1", "duty/2", once)
	if inner != nil || outer != errTest {
		b.Fatalf("inner %v, outer %v, want nil and %v", inner, outer, errTest)
	}
	if keys, _ := b.scan("duty/", nil, 9); keys != "duty/1 " {
		b.Fatalf("on duty: %q", keys)
	}
}
