package account

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"iter"
	"time"

	"github.com/authsrv/authsrv/kv"
)

// sweepBatch is how many records are removed in one commit: each is a read and a write of kv.MaxOps.
const sweepBatch = 60

// restBatches is how many batches of each kind a deletion removes after its commit.
const restBatches = 4

// removeRest removes sessions and devices of an account that is no more: all that it can have. If there are more, from a store of before
// they were bounded, they are the sweep's.
func (s *Service) removeRest(ctx context.Context, id ID) error {
	_, sessions := s.removePrefix(ctx, sessionPrefix(id), restBatches)
	_, devices := s.removePrefix(ctx, devicePrefix(id), restBatches)
	return errors.Join(sessions, devices)
}

// remove removes entries, provided that none has changed since it was read.
func (s *Service) remove(ctx context.Context, entries []kv.Entry) error {
	reads := make([]kv.Read, len(entries))
	writes := make([]kv.Write, len(entries))
	for i, e := range entries {
		reads[i] = kv.Read{Key: e.Key, Version: e.Version}
		writes[i] = kv.Write{Key: e.Key, Delete: true}
	}
	_, err := s.store.engine.Commit(ctx, reads, writes)
	return err
}

// Sweep removes sessions and devices that are dead, throttle records that have decayed and codes that have expired, and returns how many. They
// have no effect any more: Sweep only makes room. It looks at what is alive in no more than a share of the time, and rests from that, but not from
// what is dead, which it removes as fast as it comes up. A damaged record stays, and is the error in the end.
func (s *Service) Sweep(ctx context.Context, share float64) (removed int, err error) {
	for _, space := range []struct {
		prefix byte
		dead   func(*page, kv.Entry, time.Time) (bool, error)
	}{{spaceSession, s.sessionDead}, {spaceDevice, s.deviceDead}, {spaceThrottle, s.throttleDead}, {spaceCode, s.codeDead}} {
		n, spaceErr := s.sweepSpace(ctx, share, space.prefix, space.dead)
		removed += n
		err = errors.Join(err, spaceErr)
	}
	return removed, err
}

func (s *Service) sweepSpace(ctx context.Context, share float64, prefix byte, dead func(*page, kv.Entry, time.Time) (bool, error)) (removed int, err error) {
	var start []byte
	var damaged error // the first
	for {
		began := time.Now()
		entries, _, err := s.store.engine.Scan(ctx, []byte{prefix}, start, sweepBatch)
		if err != nil {
			return removed, err
		}
		if len(entries) == 0 {
			return removed, damaged
		}
		now := time.Now()
		var batch []kv.Entry
		at := &page{ctx: ctx, service: s}
		for _, e := range entries {
			gone, err := dead(at, e, now)
			switch {
			case errors.Is(err, ErrDamaged):
				damaged = cmp.Or(damaged, err)
			case err != nil:
				return removed, err
			case gone:
				batch = append(batch, e)
			}
		}
		looked := time.Since(began)
		if len(batch) > 0 {
			switch err := s.remove(ctx, batch); {
			case err == nil:
				removed += len(batch)
			case !errors.Is(err, kv.ErrConflict): // those wait for the next sweep
				return removed, err
			}
		}
		start = append(entries[len(entries)-1].Key, 0)
		alive := float64(len(entries)-len(batch)) / float64(len(entries))
		rest := time.NewTimer(time.Duration(float64(looked) * alive * (1/share - 1)))
		select {
		case <-rest.C:
		case <-ctx.Done():
			rest.Stop()
			return removed, ctx.Err()
		}
	}
}

// page is what the records of one scan have in common: those of an account are side by side. An account is read after the records that are judged
// by it, and so is never older than they are: what does not fit to it is of the past.
type page struct {
	ctx     context.Context
	service *Service
	entry   kv.Entry       // of the account that was asked for last
	account *accountRecord // the same, once it was opened
}

// find reads an account, unless it is the last one, and says whether it is there.
func (p *page) find(id ID) (bool, error) {
	if key := accountKey(id); !bytes.Equal(p.entry.Key, key) {
		e, err := p.service.store.engine.Get(p.ctx, key)
		if err != nil {
			return false, err
		}
		p.entry, p.account = e, nil
	}
	return p.entry.Version != 0, nil
}

// open opens the account that was found.
func (p *page) open() (*accountRecord, error) {
	if p.account == nil {
		r := new(accountRecord)
		if err := p.service.store.decode(labelAccount, p.entry.Key, p.entry.Value, r); err != nil {
			return nil, err
		}
		p.account = r
	}
	return p.account, nil
}

func (s *Service) sessionDead(p *page, e kv.Entry, now time.Time) (bool, error) {
	if len(e.Key) != len(sessionKey(ID{}, ID{})) {
		return false, ErrDamaged
	}
	if there, err := p.find(ID(e.Key[1:17])); err != nil || !there {
		return err == nil, err
	}
	r, err := p.open()
	if err != nil {
		return false, err
	}
	var rec sessionRecord
	if err := s.store.decode(labelSession, e.Key, e.Value, &rec); err != nil {
		return false, err
	}
	return judgeSession(r, &rec, now) != nil, nil
}

func (s *Service) throttleDead(_ *page, e kv.Entry, now time.Time) (bool, error) {
	var r throttleRecord
	if len(e.Key) < 2 || e.Key[1] != byte(throttleName) && e.Key[1] != byte(throttleAddress) {
		return false, ErrDamaged
	}
	if err := s.store.decode(labelThrottle, e.Key, e.Value, &r); err != nil {
		return false, err
	}
	return r.row == 0 && r.level(throttleKind(e.Key[1]), now) == 0, nil
}

func (s *Service) codeDead(_ *page, e kv.Entry, now time.Time) (bool, error) {
	var r codeRecord
	if err := s.store.decode(labelCode, e.Key, e.Value, &r); err != nil {
		return false, err
	}
	return uint64(now.Unix()) >= r.expires, nil
}

// Change is an account that has changed, or has lost the Session. The zero Session stands for all of the account, the zero Account
// for all that there are.
type Change struct{ Account, Session ID }

// Changes yields what has changed from when it is called: whoever holds such a session should Check it. It ends with an error, that of
// ctx where it was cancelled.
func (s *Service) Changes(ctx context.Context) iter.Seq2[Change, error] {
	return func(yield func(Change, error) bool) {
		for {
			_, at, err := s.store.engine.Scan(ctx, []byte{spaceMeta}, nil, 1)
			if err != nil {
				yield(Change{}, err)
				return
			}
			if !yield(Change{}, nil) { // whatever happened before this version
				return
			}
			for e, err := range s.store.engine.Watch(ctx, nil, at) {
				if errors.Is(err, kv.ErrCompacted) {
					break
				}
				if err != nil {
					yield(Change{}, err)
					return
				}
				if c, ok := changed(e); ok && !yield(c, nil) {
					return
				}
			}
		}
	}
}

func changed(e kv.Event) (Change, bool) {
	switch {
	case len(e.Key) == len(accountKey(ID{})) && e.Key[0] == spaceAccount:
		return Change{Account: ID(e.Key[1:])}, true
	case len(e.Key) == len(sessionKey(ID{}, ID{})) && e.Key[0] == spaceSession && e.Deleted:
		return Change{ID(e.Key[1:17]), ID(e.Key[17:])}, true
	}
	return Change{}, false
}
