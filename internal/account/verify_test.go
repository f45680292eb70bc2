package account

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/authsrv/authsrv/kv"
)

// inhabited is a store with a record of every kind.
func inhabited(t *testing.T) (*rig, []*peer, []*Login) {
	t.Helper()
	r := newRig(t)
	var peers []*peer
	var logins []*Login
	for i := range 3 {
		p := r.peer("192.0.2.1")
		peers = append(peers, p)
		logins = append(logins, p.account(fmt.Sprintf("user%d", i)))
	}
	r.peer("192.0.2.2").fail("user0")
	r.invite()
	if err := r.ChainAudit(t.Context(), time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	return r, peers, logins
}

func inspect(t *testing.T, r *rig, s *Secrets) Inspection {
	t.Helper()
	found, err := Inspect(t.Context(), r.spy.Engine, s)
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func TestInspect(t *testing.T) {
	r, _, _ := inhabited(t)
	secrets := r.config.Secrets
	for _, s := range []*Secrets{&secrets, nil} {
		found := inspect(t, r, s)
		if found.Opened != (s != nil) || found.Damaged != 0 || found.First != nil {
			t.Errorf("with secrets %v: %+v", s != nil, found)
		}
		have := r.keys()
		want := Counts{
			have[spaceAccount], have[spaceName], have[spaceSession], have[spaceDevice], have[spaceThrottle], have[spaceCode],
			have[spaceAudit], have[spaceLink] + have[spaceHead],
		}
		if found.Counts != want || want.Accounts != 3 || want.Names != 3 || want.Sessions != 3 || want.Throttles == 0 || want.Codes != 1 || want.Events == 0 {
			t.Errorf("found %+v, the store has %+v", found.Counts, want)
		}
		total := 0
		for space, n := range have {
			if space != spaceMeta {
				total += n
			}
		}
		if found.Total() != total {
			t.Errorf("%d records in all, of %d: a space is not looked at", found.Total(), total)
		}
	}
}

// Every byte of every record matters, and so does its place.
func TestInspectDamage(t *testing.T) {
	r, _, _ := inhabited(t)
	secrets := r.config.Secrets
	seen := make(map[byte]bool)
	for _, e := range r.scan(0) {
		space := e.Key[0]
		if space == spaceMeta || seen[space] {
			continue
		}
		seen[space] = true
		for at := range e.Value {
			changed := slices.Clone(e.Value)
			changed[at] ^= 1
			write(t, r, e.Key, changed)
			found := inspect(t, r, &secrets)
			if found.Damaged != 1 || !errors.Is(found.First, ErrDamaged) {
				t.Fatalf("%c: byte %d changed: %+v", space, at, found)
			}
			if without := inspect(t, r, nil); (without.Damaged == 1) != (at == 0) {
				t.Fatalf("%c: byte %d changed, without secrets: %+v", space, at, without)
			}
		}
		write(t, r, e.Key, e.Value[:sealHeader-1])
		if found := inspect(t, r, nil); found.Damaged != 1 {
			t.Errorf("%c: cut short: %+v", space, found)
		}
		write(t, r, e.Key, e.Value)
	}
	if len(seen) != len(spaces) {
		t.Errorf("records of %d kinds, of %d", len(seen), len(spaces))
	}
	if found := inspect(t, r, &secrets); found.Damaged != 0 {
		t.Errorf("after all was put right: %+v", found)
	}
}

func write(t *testing.T, r *rig, key, value []byte) {
	t.Helper()
	w := kv.Write{Key: key, Value: value, Delete: value == nil}
	if _, err := r.spy.Engine.Commit(t.Context(), nil, []kv.Write{w}); err != nil {
		t.Fatal(err)
	}
}

func TestInspectStrays(t *testing.T) {
	r, _, logins := inhabited(t)
	secrets := r.config.Secrets
	names := r.scan(spaceName)
	for what, change := range map[string]func(){
		"an unknown kind":             func() { write(t, r, []byte("zebra"), []byte{1}) },
		"a key of the wrong length":   func() { write(t, r, []byte{spaceAccount, 1}, names[0].Value) },
		"an account without its name": func() { write(t, r, r.store.nameKey("user1"), nil) },
		"a name without its account":  func() { write(t, r, accountKey(logins[1].Session.Account), nil) },
		"a name of another account": func() {
			key := r.store.nameKey("user1")
			sealed, err := r.store.encode(labelName, key, &idRecord{logins[2].Session.Account})
			if err != nil {
				t.Fatal(err)
			}
			write(t, r, key, sealed)
		},
		"meta cut short": func() { write(t, r, []byte{spaceMeta}, append(r.scan(spaceMeta)[0].Value, 0)) },
	} {
		before := r.scan(0)
		change()
		if found := inspect(t, r, &secrets); found.Damaged != 1 || !errors.Is(found.First, ErrDamaged) {
			t.Errorf("%s: %+v", what, found)
		}
		for _, e := range r.scan(0) {
			write(t, r, e.Key, nil)
		}
		for _, e := range before {
			write(t, r, e.Key, e.Value)
		}
	}
}

func TestInspectRefuses(t *testing.T) {
	r, _, _ := inhabited(t)
	secrets := r.config.Secrets
	other := secrets
	other.RealmID[3] ^= 1
	_, err := Inspect(t.Context(), r.spy.Engine, &other)
	wantError(t, err, ErrOtherRealm)

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = Inspect(ctx, r.spy.Engine, &secrets)
	wantError(t, err, context.Canceled)

	meta := r.scan(spaceMeta)[0]
	write(t, r, meta.Key, append(binary.BigEndian.AppendUint32(nil, Format+1), meta.Value[4:]...))
	_, err = Inspect(t.Context(), r.spy.Engine, nil)
	wantError(t, err, ErrNewerFormat)
	realm, format, err := Identify(t.Context(), r.spy.Engine)
	if realm != secrets.RealmID || format != Format+1 || err != nil {
		t.Errorf("it says %x, format %d, %v", realm, format, err)
	}
	write(t, r, meta.Key, meta.Value[:5])
	_, err = Inspect(t.Context(), r.spy.Engine, nil)
	wantError(t, err, ErrDamaged)
	write(t, r, meta.Key, nil)
	_, err = Inspect(t.Context(), r.spy.Engine, nil)
	wantError(t, err, ErrNoStore)
}

// More records than one page holds.
func TestInspectPages(t *testing.T) {
	r := newRig(t)
	for range verifyPage + 7 {
		err := kv.Update(t.Context(), r.spy.Engine, func(tx *kv.Tx) error {
			return r.audit(tx, Event{Kind: KindLogin, Outcome: Success})
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	secrets := r.config.Secrets
	if found := inspect(t, r, &secrets); found.Events != verifyPage+7 || found.Damaged != 0 {
		t.Errorf("found %+v", found)
	}
}

// TestKeysOfAnotherTime: where many records are under a key that is not there, it is the keys that are wrong; one is damage.
func TestKeysOfAnotherTime(t *testing.T) {
	r, _, _ := inhabited(t)
	before := r.config.Secrets
	after := before
	after.Wrapping, after.Current = map[uint32][32]byte{1: before.Wrapping[1], 2: {9}}, 2
	if err := r.SetWrapping(after.Wrapping, 2); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Rewrap(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	newer := after
	newer.Wrapping, newer.Current = map[uint32][32]byte{3: {9}}, 3
	config := r.config
	for what, c := range map[string]struct {
		secrets *Secrets
		older   bool
	}{"older": {&before, true}, "newer": {&newer, false}} {
		config.Secrets = *c.secrets
		_, newErr := New(t.Context(), &config)
		for where, err := range map[string]error{"a start": newErr, "a verification": inspect(t, r, c.secrets).First} {
			var missing *MissingKeyError
			if !errors.As(err, &missing) || missing.ID != 2 || missing.Older != c.older || !errors.Is(err, ErrDamaged) || strings.Contains(err.Error(), "damaged") {
				t.Errorf("keys that are %s, in %s: %v", what, where, err)
			}
		}
	}

	config.Secrets = after
	sample := r.scan(spaceName)[0]
	lone := slices.Clone(sample.Value)
	lone[4] = 7 // the id of its key
	write(t, r, sample.Key, lone)
	if _, err := New(t.Context(), &config); err != nil {
		t.Errorf("one damaged record keeps a server from starting: %v", err)
	}
	found := inspect(t, r, &after)
	var missing *MissingKeyError
	if found.Damaged != 1 || errors.As(found.First, &missing) || !errors.Is(found.First, ErrDamaged) {
		t.Errorf("one damaged record: %+v", found)
	}
}
