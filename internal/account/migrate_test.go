package account

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"slices"
	"testing"
)

// later is what a version with two more formats would have. Its steps mark the store, and can be made to fail.
type later struct {
	migrator
	ran  []uint32
	fail uint32
	err  error
}

func newLater() *later {
	l := &later{err: errors.New("cut short")}
	l.format = Format + 2
	l.steps = make(map[uint32]func(context.Context, *store) error)
	for _, from := range []uint32{Format, Format + 1} {
		l.steps[from] = func(context.Context, *store) error {
			l.ran = append(l.ran, from)
			if l.fail == from {
				return l.err
			}
			return nil
		}
	}
	return l
}

func (r *rig) format() uint32 {
	r.t.Helper()
	_, format, err := Identify(r.t.Context(), r.spy.Engine)
	if err != nil {
		r.t.Fatal(err)
	}
	return format
}

func TestMigrate(t *testing.T) {
	r, _, _ := inhabited(t)
	secrets := r.config.Secrets
	l := newLater()
	var backedUp []uint32
	before := func(format uint32) error {
		if len(l.ran) > 0 || r.format() != format {
			t.Error("something was changed before the backup")
		}
		backedUp = append(backedUp, format)
		return nil
	}
	content := r.scan(spaceAccount)
	if err := l.run(t.Context(), r.spy.Engine, &secrets, before); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(backedUp, []uint32{Format}) || !slices.Equal(l.ran, []uint32{Format, Format + 1}) || r.format() != Format+2 {
		t.Errorf("backed up %v, ran %v, has format %d", backedUp, l.ran, r.format())
	}
	if !bytes.Equal(content[0].Value, r.scan(spaceAccount)[0].Value) {
		t.Error("an account has changed")
	}
	if err := l.run(t.Context(), r.spy.Engine, &secrets, before); err != nil || len(l.ran) != 2 || len(backedUp) != 1 {
		t.Errorf("again: ran %v, backed up %v: %v", l.ran, backedUp, err)
	}
	wantError(t, Migrate(t.Context(), r.spy.Engine, &secrets, before), ErrNewerFormat)
	if _, err := New(t.Context(), &r.config); !errors.Is(err, ErrNewerFormat) {
		t.Errorf("this version opens it: %v", err)
	}
}

// A migration that was cut short goes on where it was, behind another backup.
func TestMigrateCutShort(t *testing.T) {
	r, _, _ := inhabited(t)
	secrets := r.config.Secrets
	l := newLater()
	backups := 0
	before := func(uint32) error { backups++; return nil }
	refuse := errors.New("no room")
	wantError(t, l.run(t.Context(), r.spy.Engine, &secrets, func(uint32) error { return refuse }), refuse)
	if len(l.ran) != 0 || r.format() != Format {
		t.Errorf("without a backup it ran %v, and has format %d", l.ran, r.format())
	}
	l.fail = Format + 1
	wantError(t, l.run(t.Context(), r.spy.Engine, &secrets, before), l.err)
	if r.format() != Format+1 {
		t.Errorf("it has format %d", r.format())
	}
	l.fail = 0
	if err := l.run(t.Context(), r.spy.Engine, &secrets, before); err != nil {
		t.Fatal(err)
	}
	if backups != 2 || r.format() != Format+2 || !slices.Equal(l.ran, []uint32{Format, Format + 1, Format + 1}) {
		t.Errorf("%d backups, ran %v, has format %d", backups, l.ran, r.format())
	}
}

// There is nothing to do for the formats there are.
func TestMigrateNothing(t *testing.T) {
	r, _, _ := inhabited(t)
	secrets := r.config.Secrets
	never := func(uint32) error { t.Error("a backup is made"); return nil }
	if err := Migrate(t.Context(), r.spy.Engine, &secrets, never); err != nil {
		t.Error(err)
	}
	other := secrets
	other.RealmID[0]++
	wantError(t, Migrate(t.Context(), r.spy.Engine, &other, never), ErrOtherRealm)
	meta := r.scan(spaceMeta)[0]
	write(t, r, meta.Key, append(binary.BigEndian.AppendUint32(nil, Format-1), meta.Value[4:]...))
	wantError(t, Migrate(t.Context(), r.spy.Engine, &secrets, never), ErrDamaged)
	_, err := New(t.Context(), &r.config)
	wantError(t, err, ErrOlderFormat)
	if found := inspect(t, r, &secrets); found.Opened {
		t.Error("records of an older format are opened")
	}
	write(t, r, meta.Key, nil)
	if err := Migrate(t.Context(), r.spy.Engine, &secrets, never); err != nil {
		t.Error(err)
	}
}
