package kvtest

import (
	"strings"

	"github.com/authsrv/authsrv/kv"
)

func (b *bench) wantScan(prefix string, start []byte, limit int, want string) {
	b.Helper()
	if got, _ := b.scan(prefix, start, limit); got != want {
		b.Errorf("scan of %q from %q, %d at most: %q, want %q", prefix, start, limit, got, want)
	}
	if start != nil {
		return
	}
	if n, err := kv.Count(b.ctx, b.e, []byte(prefix), limit); err != nil || n != strings.Count(want, " ") {
		b.Errorf("%d keys with %q, %d at most, %v: want those of %q", n, prefix, limit, err, want)
	}
}

// view reads keys, forwards and backwards, present and absent, and counts between, in one View: it finds what Get and Count do.
func view(b *bench) {
	b.commit(put("a", "1"), put("ab", ""), put("abc", "3"), put("b", "4"), put("\xff\xff", "5"))
	b.commit(del("ab"), put("b", "44"))
	keys := []string{"b", "a", "ab", "abc", "abd", "\xff\xff", "\xff", "a", "a\x00", "zz", "b"}
	prefixes := []string{"", "a", "ab", "\xff", "c"}
	type found struct {
		entries []kv.Entry
		counts  []int
	}
	got, err := kv.View(b.ctx, b.e, func(r kv.Reader) (f found, err error) {
		for i, key := range keys {
			k := []byte(key)
			e, err := r.Get(k)
			if err != nil {
				return f, err
			}
			clear(k) // the engine's entry is its own
			n, err := r.Count([]byte(prefixes[i%len(prefixes)]), 2)
			if err != nil {
				return f, err
			}
			f.entries, f.counts = append(f.entries, e), append(f.counts, n)
		}
		return f, nil
	})
	if err != nil {
		b.Fatalf("View: %v", err)
	}
	for i, key := range keys {
		want := b.get(key)
		if e := got.entries[i]; string(e.Key) != key || e.Version != want.Version || string(e.Value) != string(want.Value) || (e.Value == nil) != (want.Value == nil) {
			b.Errorf("%q in a View: %+v, want %+v", key, e, want)
		}
		prefix := prefixes[i%len(prefixes)]
		if n, err := kv.Count(b.ctx, b.e, []byte(prefix), 2); err != nil || got.counts[i] != n {
			b.Errorf("%d keys with %q in a View, want %d, %v", got.counts[i], prefix, n, err)
		}
	}
	fails := func(look func(kv.Reader) error) error {
		_, err := kv.View(b.ctx, b.e, func(r kv.Reader) (int, error) { return 7, look(r) })
		return err
	}
	b.wantError(fails(func(kv.Reader) error { return errTest }), errTest, "an error of its own")
	b.wantError(fails(func(r kv.Reader) error { _, err := r.Get(nil); return err }), kv.ErrInvalid, "get of an empty key")
	b.wantError(fails(func(r kv.Reader) error { _, err := r.Count(nil, 0); return err }), kv.ErrInvalid, "count of nothing")
}

func scanOrder(b *bench) {
	b.wantScan("", nil, 9, "")
	b.commit(put("b", ""), put("aa", ""), put("a\x00", ""), put("c", ""), put("a", ""), put("B", ""), put("ab", ""))
	b.wantScan("", nil, 9, "B a a\x00 aa ab b c ")
	b.wantScan("a", nil, 9, "a a\x00 aa ab ")
	b.wantScan("aa", nil, 9, "aa ")
	b.wantScan("aaa", nil, 9, "")
	b.commit(del("aa"), put("b", "2"))
	b.wantScan("", nil, 9, "B a a\x00 ab b c ")
}

func scanPages(b *bench) {
	b.commit(put("p1", ""), put("p2", ""), put("p3", ""), put("q", ""), put("o", ""))
	b.wantScan("p", nil, 2, "p1 p2 ")
	b.wantScan("p", []byte("p2"), 2, "p2 p3 ")
	b.wantScan("p", []byte("p2\x00"), 2, "p3 ")
	b.wantScan("p", []byte("p4"), 2, "")
	b.wantScan("p", []byte("a"), 9, "p1 p2 p3 ") // below the prefix: as if from it
	b.wantScan("p", []byte("q"), 9, "")          // above it
	b.wantScan("", []byte("p3"), 9, "p3 q ")
	b.wantScan("p", []byte{}, 1, "p1 ")
}

func scanPrefixEdges(b *bench) {
	b.commit(put("a", ""), put("\xff", ""), put("\xff\x00", ""), put("\xff\xff", ""), put("\xff\xff\xff", ""), put("\xfe\xff", ""),
		put("\x00", ""), put("\x00\xff", ""), put("\x01", ""))
	b.wantScan("\xff", nil, 9, "\xff \xff\x00 \xff\xff \xff\xff\xff ")
	b.wantScan("\xff\xff", nil, 9, "\xff\xff \xff\xff\xff ")
	b.wantScan("\xfe\xff", nil, 9, "\xfe\xff ")
	b.wantScan("\xfe", nil, 9, "\xfe\xff ")
	b.wantScan("\x00", nil, 9, "\x00 \x00\xff ")
	b.wantScan("\x00\xff", nil, 9, "\x00\xff ")
	b.wantScan("", nil, 99, "\x00 \x00\xff \x01 a \xfe\xff \xff \xff\x00 \xff\xff \xff\xff\xff ")
	b.wantScan("", []byte("\xff\xff"), 9, "\xff\xff \xff\xff\xff ")
}

// scanOutsideReadSet changes, within a transaction, what it has scanned.
func scanOutsideReadSet(b *bench) {
	b.commit(put("p1", ""))
	runs := 0
	b.update(func(tx *kv.Tx) error {
		runs++
		b.wantScan("p", nil, 9, "p1 ")
		b.commit(put("p1", "moved"), put("p2", ""))
		tx.Put([]byte("a"), nil)
		return nil
	})
	if runs != 1 {
		b.Errorf("%d runs, want 1", runs)
	}
}

// scanVersion watches from where a scan was taken: between them they miss nothing and double nothing.
func scanVersion(b *bench) {
	b.commit(put("a", "1"))
	two := b.commit(put("a", "2"), put("x", ""))
	entries, v, err := b.e.Scan(b.ctx, []byte("a"), nil, 9)
	if err != nil {
		b.Fatal(err)
	}
	if v != two || len(entries) != 1 || string(entries[0].Value) != "2" || entries[0].Version != two {
		b.Fatalf("scan at %d of %+v, want it at %d", v, entries, two)
	}
	b.commit(put("a", "3"))
	if e := b.events("a", v, 1)[0]; string(e.Value) != "3" {
		b.Fatalf("first event after the scan: %q=%q", e.Key, e.Value)
	}
}
