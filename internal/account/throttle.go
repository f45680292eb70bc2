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
	throttleDevice  throttleKind = 3 // only in memory: it is in the record of the device
)

// freeFailures is how many failures cost no wait (STORAGE 3.4).
const freeFailures = 5

// maxRow is how many failures in a row lock a name or a device (NIST SP 800-63B, 3.2.2).
const maxRow = 100

// maxSkew is how far apart the clocks of nodes may be (STORAGE 3.5).
const maxSkew = time.Minute

// limits are the longest wait of a kind, and the time in which it forgets one failure.
var limits = [...]struct{ most, decay time.Duration }{
	throttleName:    {15 * time.Minute, 15 * time.Minute},
	throttleAddress: {time.Minute, time.Minute},
	throttleDevice:  {15 * time.Minute, 15 * time.Minute},
}

// level is how many failures still count at a time.
func (r *throttleRecord) level(kind throttleKind, now time.Time) int {
	forgotten := max(0, now.Sub(r.lastTime())) / limits[kind].decay
	return max(0, int(r.failures)-int(forgotten))
}

// locked says whether nothing can succeed, however long one waits.
func (r *throttleRecord) locked() bool { return r.row >= maxRow }

// fail counts one more failure.
func (r *throttleRecord) fail(kind throttleKind, now time.Time) {
	r.failures = uint32(r.level(kind, now)) + 1
	r.last = uint64(now.UnixMilli())
	if kind != throttleAddress {
		r.row++
	}
}

func (r *throttleRecord) lastTime() time.Time { return time.UnixMilli(int64(r.last)) }

// wait is how long nothing can succeed from a time on.
func (r *throttleRecord) wait(kind throttleKind, now time.Time) time.Duration {
	if r.locked() {
		return limits[kind].most // a number like others: it tells nobody how many guesses there were
	}
	n := r.level(kind, now) - freeFailures - 1
	if n < 0 {
		return 0
	}
	w := limits[kind].most
	if n < 10 {
		w = min(w, time.Second<<n)
	}
	ago := now.Sub(r.lastTime())
	if ago < -maxSkew {
		return 0 // the clock was put back: nobody knows how long ago it was, and the next failure is of now
	}
	return max(0, w-max(0, ago))
}

// admits says whether one more attempt may be checked beside others that might all fail.
func (r *throttleRecord) admits(kind throttleKind, now time.Time, others int) bool {
	if int(r.row)+others >= maxRow {
		return false
	}
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
	buckets  []bucket   // that a failure counts for
	keys     [][]byte   // those entered
	read     []kv.Entry // of the buckets, for the transaction that follows
}

// known says whether the attempt comes from a known device.
func (d *debit) known() bool { return d.buckets[0].kind == throttleDevice }

// settle gives the debit back. It may be called again.
func (d *debit) settle() {
	for _, k := range d.keys {
		d.throttle.leave(string(k))
	}
	d.keys = nil
}

// move returns the debit for somebody else to settle.
func (d *debit) move() *debit {
	moved := *d
	d.keys = nil
	return &moved
}

// debit counts an attempt for its name and its address, or its known device, before its proof is looked at, so that proofs in
// parallel can't all find the same failures. It waits for attempts before it whose outcome decides, and
// returns a *Denied where it is not time for another attempt.
func (s *Service) debit(ctx context.Context, a *Attempt) (*debit, error) {
	d := &debit{throttle: &s.throttle, buckets: s.buckets(a, !a.byCode)}
	known, err := s.debitAll(ctx, a, d)
	if err == nil && !known {
		d.buckets = s.buckets(a, false)
		_, err = s.debitAll(ctx, a, d)
	}
	if err != nil {
		d.settle()
		if errors.Is(err, errThrottled) {
			err = s.throttled(ctx, a, d.buckets)
		}
		return nil, err
	}
	return d, nil
}

// debitAll debits the buckets. It says whether they were there: the device of an attempt may be none that has logged in to the
// account before. For a name without an account it is the device of a made-up one.
func (s *Service) debitAll(ctx context.Context, a *Attempt, d *debit) (known bool, err error) {
	for _, b := range d.buckets {
		e, err := s.debitOne(ctx, a, b)
		if err != nil {
			return false, err
		}
		d.read = append(d.read, e)
		d.keys = append(d.keys, b.key)
		if b.kind == throttleDevice && e.Version == 0 {
			d.settle()
			return false, nil
		}
	}
	return true, nil
}

type bucket struct {
	kind throttleKind
	key  []byte
}

// buckets are what an attempt is counted for: by a known device that alone, so that nobody else can make it wait; by a code the address alone, since
// nobody guesses one, and who fails at the name must not bar its owner's way back.
func (s *Service) buckets(a *Attempt, known bool) []bucket {
	if known {
		return []bucket{{throttleDevice, deviceKey(a.account, a.channel.Static)}}
	}
	address := bucket{throttleAddress, s.store.throttleKey(throttleAddress, addressPrefix(a.channel.Address))}
	if a.byCode {
		return []bucket{address}
	}
	return []bucket{{throttleName, s.store.throttleKey(throttleName, a.name)}, address}
}

var errThrottled = errors.New("account: throttled")

// throttled is the refusal of an attempt that comes too early for one of its buckets: it says when it
// is time for all.
func (s *Service) throttled(ctx context.Context, a *Attempt, buckets []bucket) error {
	d := &Denied{Reason: Throttled, ByCode: a.byCode}
	for _, b := range buckets {
		r, err := s.failures(ctx, b)
		if err != nil {
			return err
		}
		d.RetryAfter = max(d.RetryAfter, r.wait(b.kind, time.Now()))
	}
	return d
}

// failures reads those of a bucket, outside of any transaction.
func (s *Service) failures(ctx context.Context, b bucket) (throttleRecord, error) {
	e, err := s.store.engine.Get(ctx, b.key)
	if err != nil {
		return throttleRecord{}, err
	}
	return s.failuresIn(e, b)
}

// failuresIn opens the entry of a bucket.
func (s *Service) failuresIn(e kv.Entry, b bucket) (r throttleRecord, err error) {
	if e.Version == 0 {
		return r, nil
	}
	if b.kind == throttleDevice {
		var d deviceRecord
		err := s.store.decode(labelDevice, b.key, e.Value, &d)
		return d.throttleRecord, err
	}
	return r, s.store.decode(labelThrottle, b.key, e.Value, &r)
}

// debitOne waits for its turn, and returns the record that it was given by.
func (s *Service) debitOne(ctx context.Context, a *Attempt, b bucket) (kv.Entry, error) {
	key := string(b.key)
	for {
		// The place is taken before the record is read, or is found not to have moved since it was, and a failure is written before its place is
		// given back: so every earlier attempt is seen in one of the two.
		others := s.throttle.enter(key)
		e, err := s.entryOf(ctx, a, b)
		var r throttleRecord
		if err == nil {
			r, err = s.failuresIn(e, b)
		}
		now := time.Now()
		switch {
		case err != nil:
			s.throttle.leave(key)
			return e, err
		case r.admits(b.kind, now, others):
			return e, nil
		case others == 0:
			s.throttle.leave(key)
			return e, errThrottled
		}
		if err := s.throttle.await(ctx, key); err != nil {
			return e, err
		}
	}
}

// entryOf returns the entry of a bucket as it is now.
func (s *Service) entryOf(ctx context.Context, a *Attempt, b bucket) (kv.Entry, error) {
	if e, ok := a.seen.entry(&s.store, b.key); ok {
		return e, nil
	}
	return s.store.engine.Get(ctx, b.key)
}

// addFailure counts a failure for all buckets, and returns how long to wait.
func (s *Service) addFailure(tx *kv.Tx, a *Attempt, buckets []bucket) (time.Duration, error) {
	var wait time.Duration
	now := time.Now()
	if b := buckets[0]; b.kind == throttleDevice {
		var d deviceRecord
		there, err := s.store.get(tx, labelDevice, b.key, &d)
		if err != nil {
			return 0, err
		}
		if there {
			d.fail(b.kind, now)
			return d.wait(b.kind, now), s.store.put(tx, labelDevice, b.key, &d)
		}
		buckets = s.buckets(a, false) // it is not known any more
	}
	for _, b := range buckets {
		var r throttleRecord
		if _, err := s.store.get(tx, labelThrottle, b.key, &r); err != nil {
			return 0, err
		}
		r.fail(b.kind, now)
		if err := s.store.put(tx, labelThrottle, b.key, &r); err != nil {
			return 0, err
		}
		wait = max(wait, r.wait(b.kind, now))
	}
	return wait, nil
}

// clearRow opens the lock of a name whose owner has come by a known device. The guesses of others still make them wait: or else each
// login of the owner would give them a new budget, and show them that there is an owner.
func (s *Service) clearRow(tx *kv.Tx, name string) error {
	key := s.store.throttleKey(throttleName, name)
	var r throttleRecord
	there, err := s.store.get(tx, labelThrottle, key, &r)
	if err != nil || !there || r.row == 0 {
		return err
	}
	r.row = 0
	return s.store.put(tx, labelThrottle, key, &r)
}

// clearFailures forgets the failures of a name whose owner has come by a way that waits as strangers do. Those of an address stay, or else who
// owns an account could wipe away the guesses at others.
func (s *Service) clearFailures(tx *kv.Tx, name string) error {
	key := s.store.throttleKey(throttleName, name)
	_, ok, err := tx.Get(key)
	if ok {
		tx.Delete(key)
	}
	return err
}
