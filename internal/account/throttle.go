package account

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/authsrv/authsrv/kv"
)

type throttleKind uint8

const (
	throttleName    throttleKind = 1
	throttleAddress throttleKind = 2
)

// freeFailures is how many failures cost no wait (STORAGE 3.4).
const freeFailures = 5

// limits are the longest wait of a kind, and the time in which it forgets one failure.
var limits = [...]struct{ most, decay time.Duration }{
	throttleName:    {15 * time.Minute, 15 * time.Minute},
	throttleAddress: {time.Minute, time.Minute},
}

// level is how many failures still count at a time.
func (r *throttleRecord) level(kind throttleKind, now time.Time) int {
	forgotten := max(0, now.Sub(r.lastTime())) / limits[kind].decay
	return max(0, int(r.failures)-int(forgotten))
}

func (r *throttleRecord) lastTime() time.Time { return time.UnixMilli(int64(r.last)) }

// wait is how long nothing can succeed from a time on.
func (r *throttleRecord) wait(kind throttleKind, now time.Time) time.Duration {
	n := r.level(kind, now) - freeFailures - 1
	if n < 0 {
		return 0
	}
	w := limits[kind].most
	if n < 10 {
		w = min(w, time.Second<<n)
	}
	return max(0, w-max(0, now.Sub(r.lastTime())))
}

// admits says whether one more attempt may be checked beside others that might all fail.
func (r *throttleRecord) admits(kind throttleKind, now time.Time, others int) bool {
	if r.level(kind, now)+others <= freeFailures {
		return true
	}
	return others == 0 && r.wait(kind, now) == 0
}

// addressPrefix is what of an address a throttle looks at: who has one IPv6 address has 2^64.
func addressPrefix(a netip.Addr) string {
	a = a.Unmap()
	if !a.Is6() {
		return string(a.AsSlice())
	}
	b := a.As16()
	return string(b[:8])
}

// throttle counts the attempts whose proof is being checked, by database key of their record.
type throttle struct {
	mu      sync.Mutex
	flights map[string]*flight
}

// flight is the attempts of one name or address. It is guarded by the throttle's mutex.
type flight struct {
	n       int
	waiters []chan struct{} // each is closed when it is its turn to try again
}

func (t *throttle) init() { t.flights = make(map[string]*flight) }

// enter takes a place, and returns how many others there are.
func (t *throttle) enter(key string) int {
	t.mu.Lock()
	defer t.mu.Unlock()
	f := t.flights[key]
	if f == nil {
		f = &flight{}
		t.flights[key] = f
	}
	f.n++
	return f.n - 1
}

// leave gives a place back and lets one waiter try.
func (t *throttle) leave(key string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	f := t.flights[key]
	f.n--
	t.wakeLocked(key, f)
}

// wakeLocked lets one waiter try, and forgets a flight without anybody. A waiter that was woken may come here with a
// flight that was forgotten meanwhile, and whose key has another one.
func (t *throttle) wakeLocked(key string, f *flight) {
	if len(f.waiters) > 0 {
		close(f.waiters[0])
		f.waiters = f.waiters[1:]
	} else if f.n == 0 && t.flights[key] == f {
		delete(t.flights, key)
	}
}

// await gives a place back without waking anybody, and waits until another one is given back. If the
// others left meanwhile, it does not wait.
func (t *throttle) await(ctx context.Context, key string) error {
	t.mu.Lock()
	f := t.flights[key]
	f.n--
	if err := ctx.Err(); err != nil {
		t.wakeLocked(key, f)
		t.mu.Unlock()
		return err
	}
	if f.n == 0 {
		t.mu.Unlock()
		return nil
	}
	turn := make(chan struct{})
	f.waiters = append(f.waiters, turn)
	t.mu.Unlock()
	select {
	case <-turn:
		return nil
	case <-ctx.Done():
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if i := slices.Index(f.waiters, turn); i >= 0 {
		f.waiters = slices.Delete(f.waiters, i, i+1)
	} else {
		t.wakeLocked(key, f) // it was woken: pass it on
	}
	return ctx.Err()
}

// A debit is an attempt that is counted as if it had failed, until it is settled.
type debit struct {
	throttle *throttle
	keys     [][]byte // those entered
}

// settle gives the debit back. It may be called again.
func (d *debit) settle() {
	for _, k := range d.keys {
		d.throttle.leave(string(k))
	}
	d.keys = nil
}

// debit counts an attempt for its name and its address before its proof is looked at, so that proofs in
// parallel can't all find the same failures. It waits for attempts before it whose outcome decides, and
// returns a *Denied where it is not time for another attempt.
func (s *Service) debit(ctx context.Context, a *Attempt) (*debit, error) {
	d := &debit{throttle: &s.throttle}
	for _, b := range s.buckets(a) {
		if err := s.debitOne(ctx, b.kind, b.key); err != nil {
			d.settle()
			if errors.Is(err, errThrottled) {
				err = s.throttled(ctx, a)
			}
			return nil, err
		}
		d.keys = append(d.keys, b.key)
	}
	return d, nil
}

type bucket struct {
	kind throttleKind
	key  []byte
}

func (s *Service) buckets(a *Attempt) [2]bucket {
	return [2]bucket{
		{throttleName, s.store.throttleKey(throttleName, a.name)},
		{throttleAddress, s.store.throttleKey(throttleAddress, addressPrefix(a.channel.Address))},
	}
}

var errThrottled = errors.New("account: throttled")

// throttled is the refusal of an attempt that comes too early for its name or its address: it says when it
// is time for both.
func (s *Service) throttled(ctx context.Context, a *Attempt) error {
	d := &Denied{Reason: Throttled, ByCode: a.byCode}
	for _, b := range s.buckets(a) {
		r, err := s.failures(ctx, b.key)
		if err != nil {
			return err
		}
		d.RetryAfter = max(d.RetryAfter, r.wait(b.kind, time.Now()))
	}
	return d
}

// failures reads a throttle record, outside of any transaction.
func (s *Service) failures(ctx context.Context, key []byte) (r throttleRecord, err error) {
	e, err := s.store.engine.Get(ctx, key)
	if err != nil || e.Version == 0 {
		return r, err
	}
	return r, s.store.decode(labelThrottle, key, e.Value, &r)
}

func (s *Service) debitOne(ctx context.Context, kind throttleKind, key []byte) error {
	for {
		// The place is taken before the record is read, and a failure is written before its place is
		// given back: so every earlier attempt is seen in one of the two.
		others := s.throttle.enter(string(key))
		r, err := s.failures(ctx, key)
		now := time.Now()
		switch {
		case err != nil:
			s.throttle.leave(string(key))
			return err
		case r.admits(kind, now, others):
			return nil
		case others == 0:
			s.throttle.leave(string(key))
			return errThrottled
		}
		if err := s.throttle.await(ctx, string(key)); err != nil {
			return err
		}
	}
}

// addFailure counts a failure for both buckets, and returns how long to wait.
func (s *Service) addFailure(tx *kv.Tx, a *Attempt) (time.Duration, error) {
	var wait time.Duration
	now := time.Now()
	for _, b := range s.buckets(a) {
		var r throttleRecord
		if _, err := s.store.get(tx, labelThrottle, b.key, &r); err != nil {
			return 0, err
		}
		r.failures = uint32(r.level(b.kind, now)) + 1
		r.last = uint64(now.UnixMilli())
		if err := s.store.put(tx, labelThrottle, b.key, &r); err != nil {
			return 0, err
		}
		wait = max(wait, r.wait(b.kind, now))
	}
	return wait, nil
}

// clearFailures forgets the failures of a name whose owner has come. Those of an address stay, or else who
// owns an account could wipe away the guesses at others.
func (s *Service) clearFailures(tx *kv.Tx, name string) error {
	key := s.store.throttleKey(throttleName, name)
	_, ok, err := tx.Get(key)
	if ok {
		tx.Delete(key)
	}
	return err
}
