package account

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/authsrv/authsrv/kv"
	"github.com/authsrv/authsrv/token"
)

const (
	// rewrapBatch is how many records are sealed anew in one commit: each is a read and a write of kv.MaxOps.
	rewrapBatch = 60
	// rewrapBytes bounds the sealed records of one commit: links are long.
	rewrapBytes = kv.MaxBytes / 2
	// scanPage is how many records a walk over the whole store reads at once.
	scanPage = 256
)

// SetTokens puts another keyset in the place of the one that signs and verifies tokens. On an error the old one stays.
func (s *Service) SetTokens(tokens *token.Keyset) error {
	if err := signsFor(tokens, Issuer(s.c.Secrets.RealmID)); err != nil {
		return fmt.Errorf("account: Tokens can't be this realm's: %w", err)
	}
	s.tokens.Store(tokens)
	return nil
}

// SetWrapping puts other keys in the place of the wrapping keys. From then on no commit brings a record under another than the current
// one. Keys that are not among them any more open records for a minute, so that nobody fails who has read one before. On an error the
// old ones stay.
func (s *Service) SetWrapping(keys map[uint32][32]byte, current uint32) error {
	next, err := newWrapping(keys, current)
	if err != nil {
		return err
	}
	if _, there := next.keys[current]; !there {
		return fmt.Errorf("account: wrapping key %d is not in the key file", current)
	}
	s.store.seals.swap(next)
	return s.makeDummy()
}

// walk calls do with every sealed record.
func (s *Service) walk(ctx context.Context, do func(kv.Entry) error) error {
	var start []byte
	for {
		entries, _, err := s.store.engine.Scan(ctx, nil, start, scanPage)
		if err != nil {
			return err
		}
		for _, e := range entries {
			if e.Key[0] == spaceMeta {
				continue
			}
			if err := do(e); err != nil {
				return err
			}
		}
		if len(entries) < scanPage {
			return nil
		}
		start = append(entries[len(entries)-1].Key, 0)
	}
}

// SealedUnder counts the records under each wrapping key. It opens none.
func (s *Service) SealedUnder(ctx context.Context) (map[uint32]int, error) {
	under := make(map[uint32]int)
	return under, s.walk(ctx, func(e kv.Entry) error {
		if id, ok := sealedUnder(e.Value); ok { // what has no such form is nobody's
			under[id]++
		}
		return nil
	})
}

// Rewrapped is what Rewrap has done.
type Rewrapped struct {
	Records int            // that were sealed anew
	Left    map[uint32]int // records that do not open, by the wrapping key that they are under
	Damaged error          // the first of those, an ErrDamaged
}

// Rewrap seals every record under the current wrapping key that is under another one, batch by batch, while others work with them: a record that
// is changed meanwhile is under the current key by that. It ends when it has walked over the whole store and found none any more, but
// for those that do not open. Where it is cut short, what it has done stays done, and it may be run again. How far it has come is told
// after each batch; total is what there was to be done in the beginning.
func (s *Service) Rewrap(ctx context.Context, progress func(done, total int)) (r Rewrapped, err error) {
	under, err := s.SealedUnder(ctx)
	if err != nil {
		return r, err
	}
	p := rewrapping{service: s, current: s.store.seals.now.Load().current, tell: progress}
	for id, n := range under {
		if id != p.current {
			p.total += n
		}
	}
	for {
		before := p.done
		p.left, p.damaged, p.missed = make(map[uint32]int), nil, false
		err := s.walk(ctx, func(e kv.Entry) error { return p.add(ctx, e) })
		if err == nil {
			err = p.flush(ctx)
		}
		r = Rewrapped{p.done, p.left, p.damaged}
		if err != nil || p.done == before && !p.missed {
			return r, err
		}
	}
}

// rewrapping is one run of Rewrap.
type rewrapping struct {
	service     *Service
	current     uint32
	tell        func(done, total int)
	done, total int

	// of one walk over the store
	left    map[uint32]int
	damaged error
	missed  bool // one was changed by others meanwhile, again and again

	batch []kv.Entry // as they were read
	bytes int
}

// add takes in a record, and seals a batch where that is full.
func (p *rewrapping) add(ctx context.Context, e kv.Entry) error {
	id, ok := sealedUnder(e.Value)
	if !ok || id == p.current {
		return nil
	}
	if len(p.batch) == rewrapBatch || p.bytes+len(e.Value) > rewrapBytes {
		if err := p.flush(ctx); err != nil {
			return err
		}
	}
	p.batch, p.bytes = append(p.batch, e), p.bytes+len(e.Value)
	return nil
}

// flush commits the batch as one, or, where others have changed a part of it, one by one.
func (p *rewrapping) flush(ctx context.Context) error {
	batch := p.batch
	p.batch, p.bytes = nil, 0
	if len(batch) == 0 {
		return nil
	}
	err := p.commit(ctx, batch)
	if errors.Is(err, kv.ErrConflict) {
		for _, e := range batch {
			if err = p.one(ctx, e.Key); err != nil {
				break
			}
		}
	}
	if err == nil && p.tell != nil {
		p.tell(p.done, max(p.done, p.total))
	}
	return err
}

// one is for a record of a batch that others have changed: most likely it needs nothing any more, or is gone.
func (p *rewrapping) one(ctx context.Context, key []byte) error {
	e, err := p.service.store.engine.Get(ctx, key)
	if err != nil {
		return err
	}
	if id, ok := sealedUnder(e.Value); e.Version == 0 || !ok || id == p.current {
		return nil
	}
	if err = p.commit(ctx, []kv.Entry{e}); errors.Is(err, kv.ErrConflict) {
		p.missed = true // the next walk finds it
		return nil
	}
	return err
}

// commit seals records anew, provided that none has changed since it was read. Those that do not open it counts, and leaves.
func (p *rewrapping) commit(ctx context.Context, batch []kv.Entry) error {
	reads := make([]kv.Read, 0, len(batch))
	writes := make([]kv.Write, 0, len(batch))
	var left []uint32
	var damaged error
	for _, e := range batch {
		sealed, err := p.reseal(e)
		if errors.Is(err, ErrDamaged) {
			id, _ := sealedUnder(e.Value)
			left, damaged = append(left, id), cmp.Or(damaged, err)
			continue
		} else if err != nil {
			return err
		}
		reads = append(reads, kv.Read{Key: e.Key, Version: e.Version})
		writes = append(writes, kv.Write{Key: e.Key, Value: sealed})
	}
	if len(writes) > 0 {
		if _, err := p.service.store.engine.Commit(ctx, reads, writes); err != nil {
			return err
		}
	}
	for _, id := range left {
		p.left[id]++
	}
	p.done, p.damaged = p.done+len(writes), cmp.Or(p.damaged, damaged)
	return nil
}

// reseal returns the record of an entry under the current key. What it says is not looked at: only that it opens.
func (p *rewrapping) reseal(e kv.Entry) ([]byte, error) {
	sp, known := spaces[e.Key[0]]
	if !known {
		return nil, fmt.Errorf("%w: a record of an unknown kind", ErrDamaged)
	}
	own := p.service.storeBeside()
	plain, err := own.open(sp.label, e.Key, e.Value)
	if err != nil {
		return nil, err
	}
	return own.seal(sp.label, e.Key, plain)
}

// Period is a time in which sessions were made.
type Period struct{ From, Until time.Time }

// Use is the live sessions of a period: how many there are, and when the last one of them ends.
type Use struct {
	Sessions int
	Last     time.Time
}

// SessionsMade returns the live sessions of each period. It opens every session.
func (s *Service) SessionsMade(ctx context.Context, in []Period) ([]Use, error) {
	uses := make([]Use, len(in))
	var start []byte
	for {
		entries, _, err := s.store.engine.Scan(ctx, []byte{spaceSession}, start, scanPage)
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			if len(e.Key) != len(sessionKey(ID{}, ID{})) {
				continue // it is nobody's: verification tells
			}
			_, rec, _, err := s.live(ctx, ID(e.Key[1:17]), ID(e.Key[17:]), time.Now())
			switch {
			case errors.Is(err, ErrSessionRevoked), errors.Is(err, ErrSessionExpired), errors.Is(err, ErrDamaged):
				continue
			case err != nil:
				return nil, err
			}
			made, expires := unix(rec.created), unix(rec.expires)
			for i, p := range in {
				if made.Before(p.From) || !made.Before(p.Until) {
					continue
				}
				if uses[i].Sessions++; expires.After(uses[i].Last) {
					uses[i].Last = expires
				}
			}
		}
		if len(entries) < scanPage {
			return uses, nil
		}
		start = append(entries[len(entries)-1].Key, 0)
	}
}

// NoteRotation records that a key was rotated, at a time, if that is not recorded yet: the id of the record follows from what it is of, so
// that who finds a rotation in the key file may note it again. Where the chain has passed that time, nothing is recorded, and noted is false.
func (s *Service) NoteRotation(ctx context.Context, kind Kind, key string, at time.Time) (noted bool, err error) {
	id := idAt(at)
	copy(id[8:], s.store.names.sum(nil, labelled("rotation", string([]byte{byte(kind)}), key)))
	err = kv.Update(ctx, s.store.engine, func(tx *kv.Tx) error {
		h, there, err := s.headIn(tx)
		damaged := errors.Is(err, ErrDamaged) // which verification tells
		if err != nil && !damaged {
			return err
		}
		if noted = !id.before(h.tip.end); !noted {
			return nil
		}
		if _, noted, err := tx.Get(eventKey(id)); err != nil || noted {
			return err
		}
		if there && !damaged { // its time may be one that is being chained: then that begins anew
			head, err := s.moveHead(h)
			if err != nil {
				return err
			}
			tx.Put(head.Key, head.Value)
		}
		e := Event{Kind: kind, Outcome: Success, Time: at, Last: at, Count: 1}
		return s.store.put(tx, labelAudit, eventKey(id), &e)
	})
	return noted && err == nil, err
}

// EndCodes ends every invite and reset, and returns how many there were: they hold the hash of an identity that is no more.
func (s *Service) EndCodes(ctx context.Context) (int, error) { return s.removeSpace(ctx, spaceCode) }

// EndSessions ends every session of every account, and leaves an audit record of no account. It returns how many it has ended. Where it
// is cut short, what it has ended stays ended. A login meanwhile may stay or end.
func (s *Service) EndSessions(ctx context.Context) (ended int, err error) {
	return s.endAllSessions(ctx, KindRevokeAll)
}

func (s *Service) endAllSessions(ctx context.Context, kind Kind) (ended int, err error) {
	if ended, err = s.removeSpace(ctx, spaceSession); err != nil {
		return ended, err
	}
	return ended, kv.Update(ctx, s.store.engine, func(tx *kv.Tx) error {
		return s.audit(tx, Event{Kind: kind, Outcome: Success})
	})
}
