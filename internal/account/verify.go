package account

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/authsrv/authsrv/kv"
)

// ErrNoStore says that a store is empty: no server has ever run on it.
var ErrNoStore = errors.New("account: the store is empty")

// verifyPage is how many records are held in memory at once.
const verifyPage = 1024

// Identify returns what a store says of itself, without any keys. A format that is newer than this program's is not an error here.
func Identify(ctx context.Context, engine kv.Engine) (realmID [16]byte, format uint32, err error) {
	e, err := engine.Get(ctx, []byte{spaceMeta})
	if err != nil {
		return realmID, 0, err
	}
	if e.Version == 0 {
		return realmID, 0, ErrNoStore
	}
	if len(e.Value) < 4+len(realmID) {
		return realmID, 0, fmt.Errorf("%w: meta", ErrDamaged)
	}
	return [16]byte(e.Value[4:]), binary.BigEndian.Uint32(e.Value), nil
}

// Counts are the records of a store.
type Counts struct {
	Accounts, Names, Sessions, Devices, Throttles, Codes, Events, Links int
}

// Total is the number of all of them.
func (c Counts) Total() int {
	return c.Accounts + c.Names + c.Sessions + c.Devices + c.Throttles + c.Codes + c.Events + c.Links
}

// Inspection is what Inspect has found.
type Inspection struct {
	Counts
	Opened  bool  // the records were opened; otherwise only their form was looked at
	Damaged int   // records that are not what they should be
	First   error // the first of them, an ErrDamaged; a *MissingKeyError only where the secrets are those of another time
}

// space is one kind of records.
type space struct {
	label string
	key   int // the length of its keys
	count func(*Counts) *int
	empty func() record
}

// spaces are by the first byte of their keys.
var spaces = map[byte]space{
	spaceName:     {labelName, 1 + 32, func(c *Counts) *int { return &c.Names }, func() record { return new(idRecord) }},
	spaceAccount:  {labelAccount, 1 + 16, func(c *Counts) *int { return &c.Accounts }, func() record { return new(accountRecord) }},
	spaceSession:  {labelSession, 1 + 16 + 16, func(c *Counts) *int { return &c.Sessions }, func() record { return new(sessionRecord) }},
	spaceDevice:   {labelDevice, 1 + 16 + 16, func(c *Counts) *int { return &c.Devices }, func() record { return new(deviceRecord) }},
	spaceThrottle: {labelThrottle, 2 + 16, func(c *Counts) *int { return &c.Throttles }, func() record { return new(throttleRecord) }},
	spaceCode:     {labelCode, 1 + 16, func(c *Counts) *int { return &c.Codes }, func() record { return new(codeRecord) }},
	spaceLink:     {labelLink, 1 + 8, func(c *Counts) *int { return &c.Links }, func() record { return new(linkRecord) }},
	spaceHead:     {labelHead, 1, func(c *Counts) *int { return &c.Links }, func() record { return new(headRecord) }},
	spaceAudit:    {labelAudit, 1 + 8 + 8, func(c *Counts) *int { return &c.Events }, func() record { return new(Event) }},
}

// Inspect reads every record of a store that nobody writes to. With secrets each is opened and decoded, and names are held against
// accounts; without (nil), or where the format is an older one, only its form is looked at. Damaged records are counted; an error means that not all could be
// read, or that the store is of another realm or a newer format.
func Inspect(ctx context.Context, engine kv.Engine, secrets *Secrets) (Inspection, error) {
	realm, format, err := Identify(ctx, engine)
	switch {
	case err != nil:
		return Inspection{}, err
	case format > Format:
		return Inspection{}, ErrNewerFormat
	case secrets != nil && secrets.RealmID != realm:
		return Inspection{}, ErrOtherRealm
	}
	if format < Format {
		secrets = nil
	}
	in := inspector{Inspection: Inspection{Opened: secrets != nil}, missing: make(map[uint32]int)}
	if secrets == nil {
		secrets = new(Secrets) // which nothing is opened with
	}
	if in.store, err = newStore(engine, nil, secrets); err != nil {
		return in.Inspection, err
	}
	var start []byte
	for {
		entries, _, err := engine.Scan(ctx, nil, start, verifyPage)
		if err != nil {
			return in.Inspection, err
		}
		for _, e := range entries {
			if err := in.entry(ctx, e); errors.Is(err, ErrDamaged) {
				in.Damaged++
				var missing *MissingKeyError
				if errors.As(err, &missing) {
					in.missing[missing.ID]++
					err = fmt.Errorf("%w: %s sealed under wrapping key %d, which is not in the key file", ErrDamaged, missing.What, missing.ID)
				}
				if in.First == nil {
					in.First = err
				}
			} else if err != nil {
				return in.Inspection, err
			}
		}
		if len(entries) < verifyPage {
			break
		}
		start = append(entries[len(entries)-1].Key, 0)
	}
	in.compareNames()
	in.First = cmp.Or(in.store.seals.now.Load().mostMissing(in.missing, in.Total()), in.First)
	return in.Inspection, nil
}

type inspector struct {
	Inspection
	store   store
	missing map[uint32]int // records, by the keys that are not there
}

func (in *inspector) entry(ctx context.Context, e kv.Entry) error {
	if bytes.Equal(e.Key, []byte{spaceMeta}) {
		if len(e.Value) != 4+16 {
			return fmt.Errorf("%w: meta", ErrDamaged)
		}
		return nil
	}
	sp, known := spaces[e.Key[0]]
	if !known {
		return fmt.Errorf("%w: a record of an unknown kind", ErrDamaged)
	}
	*sp.count(&in.Counts)++
	if len(e.Key) != sp.key {
		return fmt.Errorf("%w: %s: a key of the wrong length", ErrDamaged, sp.label)
	}
	if !in.Opened {
		if len(e.Value) < sealHeader || e.Value[0] != sealVersion {
			return fmt.Errorf("%w: %s", ErrDamaged, sp.label)
		}
		return nil
	}
	r := sp.empty()
	if err := in.store.decode(sp.label, e.Key, e.Value, r); err != nil {
		return err
	}
	if a, ok := r.(*accountRecord); ok {
		return in.nameOf(ctx, e.Key, a)
	}
	return nil
}

// nameOf holds an account against the name that leads to it: they are written and removed together.
func (in *inspector) nameOf(ctx context.Context, key []byte, a *accountRecord) error {
	name := in.store.nameKey(a.name)
	e, err := in.store.engine.Get(ctx, name)
	if err != nil {
		return err
	}
	var id idRecord
	if e.Version == 0 {
		return fmt.Errorf("%w: an account without its name", ErrDamaged)
	}
	if in.store.decode(labelName, name, e.Value, &id) != nil {
		return nil // it is counted as itself
	}
	if !bytes.Equal(accountKey(id.id), key) {
		return fmt.Errorf("%w: an account whose name belongs to another", ErrDamaged)
	}
	return nil
}

// compareNames finds names without an account: every account has a name of its own.
func (in *inspector) compareNames() {
	if lone := in.Names - in.Accounts; in.Damaged == 0 && lone > 0 {
		in.Damaged = lone
		in.First = fmt.Errorf("%w: a name without its account", ErrDamaged)
	}
}
