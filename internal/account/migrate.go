package account

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/authsrv/authsrv/kv"
)

// ErrOlderFormat says that a store must be migrated before it is used.
var ErrOlderFormat = errors.New("account: the store was written by an older version")

// migrator raises stores to a format, one format at a time.
type migrator struct {
	format uint32 // that of this program
	// steps raise a store from the format that is their key to the next. One that was cut short is run again from its beginning.
	steps map[uint32]func(context.Context, *store) error
}

// migrations has no steps yet: format 1 is the first.
var migrations = migrator{format: Format}

// Migrate raises a store of an older format to this program's, if it is one. Before the first change it calls before with the
// format that the store has: to back it up. A store that is empty or of this format is left as it is.
func Migrate(ctx context.Context, engine kv.Engine, secrets *Secrets, before func(format uint32) error) error {
	return migrations.run(ctx, engine, secrets, before)
}

func (m *migrator) run(ctx context.Context, engine kv.Engine, secrets *Secrets, before func(format uint32) error) error {
	realm, format, err := Identify(ctx, engine)
	switch {
	case errors.Is(err, ErrNoStore):
		return nil
	case err != nil:
		return err
	case format > m.format:
		return ErrNewerFormat
	case realm != secrets.RealmID:
		return ErrOtherRealm
	case format == m.format:
		return nil
	}
	for from := format; from < m.format; from++ {
		if m.steps[from] == nil {
			return fmt.Errorf("%w: format %d, which no version has written", ErrDamaged, from)
		}
	}
	if err := before(format); err != nil {
		return err
	}
	s, err := newStore(engine, rand.Reader, secrets)
	if err != nil {
		return err
	}
	for ; format < m.format; format++ {
		if err := m.steps[format](ctx, &s); err != nil {
			return err
		}
		meta := append(binary.BigEndian.AppendUint32(nil, format+1), realm[:]...)
		if _, err := engine.Commit(ctx, nil, []kv.Write{{Key: []byte{spaceMeta}, Value: meta}}); err != nil {
			return err
		}
	}
	return nil
}
