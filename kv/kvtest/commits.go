package kvtest

import (
	"bytes"
	"context"
	"fmt"
	"strings"

	"github.com/authsrv/authsrv/kv"
)

func versions(b *bench) {
	b.absent("a")
	first := b.commit(put("a", "1"), put("b", "1"))
	if first == 0 {
		b.Fatal("a commit has version 0")
	}
	if va, vb := b.holds("a", "1"), b.holds("b", "1"); va != first || vb != first {
		b.Fatalf("versions %d and %d of keys written at %d", va, vb, first)
	}
	second := b.commit(put("a", "2"))
	if second <= first {
		b.Fatalf("version %d after %d", second, first)
	}
	if va, vb := b.holds("a", "2"), b.holds("b", "1"); va != second || vb != first {
		b.Fatalf("versions %d and %d, want %d and %d", va, vb, second, first)
	}
	if same := b.commit(put("a", "2")); same <= second {
		b.Fatalf("version %d after %d, by a commit of the same value", same, second)
	}
}

func versionsAfterDelete(b *bench) {
	seen := kv.Version(0)
	for range 3 {
		v := b.commit(put("a", "1"))
		if v <= seen {
			b.Fatalf("created at %d, though %d was there before", v, seen)
		}
		d := b.commit(del("a"))
		if d <= v {
			b.Fatalf("deleted at %d, created at %d", d, v)
		}
		b.absent("a")
		seen = d
	}
}

func commitChecksReads(b *bench) {
	old := b.commit(put("a", "1"), put("b", "1"))
	if _, err := b.e.Commit(b.ctx, []kv.Read{read("a", old), read("b", old)}, []kv.Write{put("a", "2"), put("c", "2")}); err != nil {
		b.Fatalf("reads that have not moved: %v", err)
	}
	for what, r := range map[string]kv.Read{
		"a key that moved":        read("a", old),
		"a key that never was":    read("d", old),
		"a version yet to come":   read("b", old+1<<30),
		"a present key as absent": read("b", 0),
	} {
		// The read that fails comes last, and nothing is written even so.
		_, err := b.e.Commit(b.ctx, []kv.Read{read("b", old), r}, []kv.Write{put("a", "3"), put("d", "3"), del("b")})
		b.wantError(err, kv.ErrConflict, what)
	}
	b.holds("a", "2")
	b.holds("b", "1")
	b.holds("c", "2")
	b.absent("d")

	v := b.holds("a", "2")
	b.commit(del("a"))
	_, err := b.e.Commit(b.ctx, []kv.Read{read("a", v)}, []kv.Write{put("d", "3")})
	b.wantError(err, kv.ErrConflict, "a key deleted since")
	b.commit(put("a", "2"))
	_, err = b.e.Commit(b.ctx, []kv.Read{read("a", v)}, []kv.Write{put("d", "3")})
	b.wantError(err, kv.ErrConflict, "a key created again with the same value")
	b.absent("d")
}

func commitChecksAbsence(b *bench) {
	create := func(key string) error {
		_, err := b.e.Commit(b.ctx, []kv.Read{read(key, 0)}, []kv.Write{put(key, "mine")})
		return err
	}
	if err := create("a"); err != nil {
		b.Fatalf("create: %v", err)
	}
	b.wantError(create("a"), kv.ErrConflict, "create what is there")
	b.commit(del("a"))
	if err := create("a"); err != nil {
		b.Fatalf("create after delete: %v", err)
	}
}

func commitOfReads(b *bench) {
	a := b.commit(put("a", "1"))
	other := b.commit(put("b", "1"))
	v, err := b.e.Commit(b.ctx, []kv.Read{read("a", a), read("c", 0)}, nil)
	if err != nil {
		b.Fatalf("reads that hold: %v", err)
	}
	if _, at := b.scan("", nil, 1); v != other || at != other {
		b.Fatalf("reads checked at %d, scanned at %d, want the latest commit %d", v, at, other)
	}
	_, err = b.e.Commit(b.ctx, []kv.Read{read("a", a), read("b", 0)}, nil)
	b.wantError(err, kv.ErrConflict, "reads that don't hold")
	if v, err := b.e.Commit(b.ctx, nil, nil); err != nil || v != other {
		b.Fatalf("empty commit: %d, %v, want %d", v, err, other)
	}
}

func commitRefusesBadArguments(b *bench) {
	_, err := b.e.Commit(b.ctx, nil, []kv.Write{put("a", "1"), put("", "1")})
	b.wantError(err, kv.ErrInvalid, "write of an empty key")
	_, err = b.e.Commit(b.ctx, []kv.Read{read("", 0)}, []kv.Write{put("a", "1")})
	b.wantError(err, kv.ErrInvalid, "read of an empty key")
	_, err = b.e.Commit(b.ctx, nil, []kv.Write{put("a", "1"), put("b", "1"), del("a")})
	b.wantError(err, kv.ErrInvalid, "a key twice")
	_, err = b.e.Get(b.ctx, nil)
	b.wantError(err, kv.ErrInvalid, "get of an empty key")
	_, _, err = b.e.Scan(b.ctx, nil, nil, 0)
	b.wantError(err, kv.ErrInvalid, "scan of nothing")
	_, err = kv.Count(b.ctx, b.e, nil, 0)
	b.wantError(err, kv.ErrInvalid, "count of nothing")
	b.absent("a")
}

func deleteOfAbsent(b *bench) {
	start := b.commit(put("a", "1"))
	b.commit(del("x"), put("b", "1"))
	b.absent("x")
	b.holds("b", "1")
	b.commit(del("x"))
	b.commit(put("c", "1"))
	keys := ""
	for _, e := range b.events("", start, 2) {
		keys += string(e.Key)
	}
	if keys != "bc" {
		b.Fatalf("events of %q, want b and c: deleting what is absent changes nothing", keys)
	}
}

func emptyIsNotAbsent(b *bench) {
	v := b.commit(put("a", ""), kv.Write{Key: []byte("b")})
	for _, key := range []string{"a", "b"} {
		if e := b.get(key); e.Version != v || e.Value == nil || len(e.Value) != 0 {
			b.Fatalf("%q: %#v at %d, want an empty value at %d", key, e.Value, e.Version, v)
		}
	}
	if keys, _ := b.scan("", nil, 9); keys != "a b " {
		b.Fatalf("scan: %q", keys)
	}
	if e := b.events("a", 0, 1)[0]; e.Deleted || e.Value == nil {
		b.Fatalf("event of an empty value: %+v", e)
	}
	b.update(func(tx *kv.Tx) error {
		if value, ok, err := tx.Get([]byte("a")); err != nil || !ok || value == nil {
			return fmt.Errorf("empty: %#v, %v, %w", value, ok, err)
		}
		if value, ok, err := tx.Get([]byte("c")); err != nil || ok || value != nil {
			return fmt.Errorf("absent: %#v, %v, %w", value, ok, err)
		}
		return nil
	})
}

func limits(b *bench) {
	longest := strings.Repeat("k", kv.MaxKey)
	biggest := strings.Repeat("v", kv.MaxValue)
	b.commit(put(longest, biggest))
	b.holds(longest, biggest)
	b.absent(longest[1:] + "x")

	_, err := b.e.Commit(b.ctx, nil, []kv.Write{put("a", "1"), put(longest+"k", "1")})
	b.wantError(err, kv.ErrTooLarge, "key")
	_, err = b.e.Commit(b.ctx, nil, []kv.Write{put("a", "1"), put("b", biggest+"v")})
	b.wantError(err, kv.ErrTooLarge, "value")
	_, err = b.e.Get(b.ctx, []byte(longest+"k"))
	b.wantError(err, kv.ErrTooLarge, "get")

	// MaxBytes in values that are as large as can be, with room for the keys in the last one.
	var writes []kv.Write
	n := kv.MaxBytes / kv.MaxValue
	for i := range n {
		writes = append(writes, put(string(rune('a'+i)), biggest))
	}
	writes[n-1].Value = writes[n-1].Value[:kv.MaxValue-n]
	b.commit(writes...)
	writes[n-1].Value = append(writes[n-1].Value, 'v')
	_, err = b.e.Commit(b.ctx, nil, append(writes[1:], put("A", "")))
	if err != nil {
		b.Fatalf("%d bytes less: %v", kv.MaxValue, err)
	}
	_, err = b.e.Commit(b.ctx, nil, writes)
	b.wantError(err, kv.ErrTooLarge, "sum of bytes")
	b.absent("B")
}

// aliasing overwrites whatever was passed or returned, and looks whether the store noticed.
func aliasing(b *bench) {
	spoil := func(slices ...[]byte) {
		for _, s := range slices {
			for i := range s {
				s[i] = '!'
			}
		}
	}
	w, r := put("key", "value"), read("other", 0)
	v, err := b.e.Commit(b.ctx, []kv.Read{r}, []kv.Write{w})
	if err != nil {
		b.Fatal(err)
	}
	spoil(w.Key, w.Value, r.Key)
	b.holds("key", "value")

	key := []byte("key")
	e, err := b.e.Get(b.ctx, key)
	if err != nil {
		b.Fatal(err)
	}
	spoil(key, e.Key, e.Value)
	prefix, start := []byte("k"), []byte("ke")
	entries, _, err := b.e.Scan(b.ctx, prefix, start, 1)
	if err != nil {
		b.Fatal(err)
	}
	spoil(prefix, start, entries[0].Key, entries[0].Value)
	prefix = []byte("k")
	feed := b.e.Watch(b.ctx, prefix, 0)
	spoil(prefix)
	for range 2 { // the second round must not see what was done to the first one's events
		for e, err := range feed {
			if err != nil || string(e.Key) != "key" || string(e.Value) != "value" || e.Version != v {
				b.Fatalf("event %q=%q, %v", e.Key, e.Value, err)
			}
			spoil(e.Key, e.Value)
			break
		}
	}
	b.holds("key", "value")

	key, value := []byte("tx"), []byte("value")
	b.update(func(tx *kv.Tx) error {
		copy(key, "tx")
		copy(value, "value")
		tx.Put(key, value)
		spoil(key, value)
		for range 2 { // its own write, then what it read
			for _, k := range []string{"tx", "key"} {
				got, ok, err := tx.Get([]byte(k))
				if err != nil || !ok || !bytes.Equal(got, []byte("value")) {
					return fmt.Errorf("in the transaction: %q=%q, %v, %w", k, got, ok, err)
				}
				spoil(got)
			}
		}
		return nil
	})
	b.holds("tx", "value")
}

func cancelled(b *bench) {
	ctx, cancel := context.WithCancel(b.ctx)
	cancel()
	_, err := b.e.Get(ctx, []byte("a"))
	b.wantError(err, context.Canceled, "Get")
	_, _, err = b.e.Scan(ctx, nil, nil, 1)
	b.wantError(err, context.Canceled, "Scan")
	_, err = kv.Count(ctx, b.e, nil, 1)
	b.wantError(err, context.Canceled, "Count")
	_, err = kv.View(ctx, b.e, func(r kv.Reader) (kv.Entry, error) { return r.Get([]byte("a")) })
	b.wantError(err, context.Canceled, "View")
	_, err = b.e.Commit(ctx, nil, []kv.Write{put("a", "1")})
	b.wantError(err, context.Canceled, "Commit")
	b.wantError(b.watchError(ctx, 0), context.Canceled, "Watch")
	err = kv.Update(ctx, b.e, func(tx *kv.Tx) error { tx.Put([]byte("a"), nil); return nil })
	b.wantError(err, context.Canceled, "Update")
	b.absent("a")
}

func closed(b *bench) {
	b.commit(put("a", "1"))
	feed := b.e.Watch(b.ctx, nil, 0)
	for i := range 2 {
		if err := b.e.Close(); err != nil {
			b.Fatalf("Close, call %d: %v", i+1, err)
		}
	}
	_, err := b.e.Get(b.ctx, []byte("a"))
	b.wantError(err, kv.ErrClosed, "Get")
	_, _, err = b.e.Scan(b.ctx, nil, nil, 1)
	b.wantError(err, kv.ErrClosed, "Scan")
	_, err = kv.Count(b.ctx, b.e, nil, 1)
	b.wantError(err, kv.ErrClosed, "Count")
	_, err = kv.View(b.ctx, b.e, func(r kv.Reader) (kv.Entry, error) { return r.Get([]byte("a")) })
	b.wantError(err, kv.ErrClosed, "View")
	_, err = b.e.Commit(b.ctx, nil, []kv.Write{put("a", "2")})
	b.wantError(err, kv.ErrClosed, "Commit")
	b.wantError(b.watchError(b.ctx, 0), kv.ErrClosed, "Watch")
	for _, err := range feed {
		b.wantError(err, kv.ErrClosed, "Watch from before")
	}
}
