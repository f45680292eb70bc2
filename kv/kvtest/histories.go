package kvtest

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/authsrv/authsrv/kv"
)

// historyOfOne makes random commits and holds every answer against a map.
func historyOfOne(b *bench) {
	for seed := range uint64(3) {
		if !(&history{bench: b, rng: rand.New(rand.NewPCG(seed, 0)), model: map[string]kv.Entry{}}).run(60) {
			b.Fatalf("seed %d", seed)
		}
	}
}

type history struct {
	*bench
	rng   *rand.Rand
	model map[string]kv.Entry // what is present
	first kv.Version
	last  kv.Version
	log   []string // the events that are due
}

func (h *history) run(steps int) bool {
	entries, v, err := h.e.Scan(h.ctx, nil, nil, kv.MaxOps)
	if err != nil {
		h.Fatal(err)
	}
	for _, e := range entries { // left by the run before
		h.model[string(e.Key)] = e
	}
	h.first, h.last = v, v
	for range steps {
		h.step()
		h.compare()
	}
	h.wantEvents("", h.first, h.log...)
	return !h.Failed()
}

// key returns one of 12, some of which are prefixes of others.
func (h *history) key() string {
	return []string{"a", "b", "\xff"}[h.rng.IntN(3)] + strings.Repeat("\xff", h.rng.IntN(4))
}

func (h *history) step() {
	var reads []kv.Read
	conflict := false
	for range h.rng.IntN(3) {
		key := h.key()
		version := h.model[key].Version
		if h.rng.IntN(4) == 0 {
			version = kv.Version(h.rng.Uint64N(uint64(h.last) + 1))
		}
		conflict = conflict || version != h.model[key].Version
		reads = append(reads, read(key, version))
	}
	writes := map[string]kv.Write{}
	for range h.rng.IntN(4) {
		key := h.key()
		writes[key] = put(key, fmt.Sprint(h.rng.Uint32()))
		if h.rng.IntN(3) == 0 {
			writes[key] = del(key)
		}
	}
	v, err := h.e.Commit(h.ctx, reads, slices.Collect(maps.Values(writes)))
	if conflict != errors.Is(err, kv.ErrConflict) || !conflict && err != nil {
		h.Fatalf("commit: %v, conflict due: %v", err, conflict)
	}
	if !conflict {
		h.apply(writes, v)
	}
}

func (h *history) apply(writes map[string]kv.Write, v kv.Version) {
	changed := false
	for _, key := range slices.Sorted(maps.Keys(writes)) {
		w := writes[key]
		if _, present := h.model[key]; w.Delete && !present {
			continue
		}
		changed = true
		delete(h.model, key)
		if !w.Delete {
			h.model[key] = kv.Entry{Key: w.Key, Value: w.Value, Version: v}
		}
		h.log = append(h.log, line(kv.Event{Key: w.Key, Value: w.Value, Version: v, Deleted: w.Delete}))
	}
	if changed != (v > h.last) {
		h.Fatalf("version %d after %d, something changed: %v", v, h.last, changed)
	}
	h.last = v
}

func (h *history) compare() {
	entries, v, err := h.e.Scan(h.ctx, nil, nil, kv.MaxOps)
	if err != nil || v != h.last || len(entries) != len(h.model) {
		h.Fatalf("scan: %d entries at %d, %v, want %d at %d", len(entries), v, err, len(h.model), h.last)
	}
	for _, e := range entries {
		m := h.model[string(e.Key)]
		if !bytes.Equal(e.Value, m.Value) || e.Version != m.Version {
			h.Fatalf("scan: %q=%q at %d, want %q at %d", e.Key, e.Value, e.Version, m.Value, m.Version)
		}
	}
	key := h.key()
	if e := h.get(key); e.Version != h.model[key].Version || !bytes.Equal(e.Value, h.model[key].Value) {
		h.Fatalf("get: %q=%q at %d, want %+v", key, e.Value, e.Version, h.model[key])
	}
}

// historyOfMany has several goroutines move amounts between accounts. In every state that anybody
// could see, the sum is the same; the states are replayed from the feed.
func historyOfMany(b *bench) {
	const accounts, workers, each = 4, 6, 6
	var setup []kv.Write
	for i := range accounts {
		setup = append(setup, kv.Write{Key: account(i), Value: []byte{100}})
	}
	start := b.commit(setup...)
	for _, err := range parallel(workers, func(i int) error {
		rng := rand.New(rand.NewPCG(uint64(i), 1))
		for range each {
			from := rng.IntN(accounts)
			to := (from + 1 + rng.IntN(accounts-1)) % accounts
			if err := kv.Update(b.ctx, b.e, func(tx *kv.Tx) error { return move(tx, from, to) }); err != nil {
				return err
			}
			if err := kv.Update(b.ctx, b.e, checkSum(accounts)); err != nil {
				return err
			}
		}
		return nil
	}) {
		if err != nil {
			b.Fatal(err)
		}
	}
	state := map[string]byte{}
	events := b.events("", start-1, accounts+2*workers*each)
	for i, e := range events {
		state[string(e.Key)] = e.Value[0]
		if i+1 < len(events) && events[i+1].Version == e.Version {
			continue // more of the same commit
		}
		sum := 0
		for _, n := range state {
			sum += int(n)
		}
		if sum != 100*accounts {
			b.Fatalf("sum %d at version %d", sum, e.Version)
		}
	}
	for key, n := range state {
		b.holds(key, string([]byte{n}))
	}
}

func account(i int) []byte { return fmt.Appendf(nil, "account/%d", i) }

func move(tx *kv.Tx, from, to int) error {
	a, _, err := tx.Get(account(from))
	if err != nil {
		return err
	}
	z, _, err := tx.Get(account(to))
	if err != nil {
		return err
	}
	tx.Put(account(from), []byte{a[0] - 1})
	tx.Put(account(to), []byte{z[0] + 1})
	return nil
}

// checkSum fails on a torn view, which Update must not let through.
func checkSum(accounts int) func(*kv.Tx) error {
	return func(tx *kv.Tx) error {
		sum := 0
		for i := range accounts {
			v, _, err := tx.Get(account(i))
			if err != nil {
				return err
			}
			sum += int(v[0])
		}
		if sum != 100*accounts {
			return fmt.Errorf("sum %d", sum)
		}
		return nil
	}
}
