package account

import (
	"bytes"
	"cmp"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/authsrv/authsrv/kv"
	"golang.org/x/crypto/cryptobyte"
)

const (
	// maxLinkEvents is how many events a link has at the most: 48 bytes each.
	maxLinkEvents = 1000
	// chainAge is how long nothing can change an event any more before it is chained (STORAGE 3.5).
	chainAge = time.Minute
)

// point is a place in the chain: behind a link, or with zeros before the first one.
type point struct {
	seq uint64
	mac [32]byte // of the link
	end ID       // of the events behind which the link ends
}

func (p *point) addTo(b *cryptobyte.Builder) {
	b.AddUint64(p.seq)
	b.AddBytes(p.mac[:])
	b.AddBytes(p.end[:])
}

func (p *point) read(s *cryptobyte.String) bool {
	return s.ReadUint64(&p.seq) && s.CopyBytes(p.mac[:]) && s.CopyBytes(p.end[:])
}

// headRecord says what of the chain there is: the links behind floor, up to tip.
type headRecord struct {
	floor, tip point
	mac        [32]byte
}

func (r *headRecord) body() []byte {
	b := cryptobyte.NewBuilder(make([]byte, 0, 160))
	r.floor.addTo(b)
	r.tip.addTo(b)
	return b.BytesOrPanic()
}

func (r *headRecord) encode() ([]byte, error) { return append(r.body(), r.mac[:]...), nil }

func (r *headRecord) decode(record []byte) error {
	s := cryptobyte.String(record)
	if !r.floor.read(&s) || !r.tip.read(&s) || !s.CopyBytes(r.mac[:]) || !s.Empty() {
		return fmt.Errorf("%w: head", ErrDamaged)
	}
	return nil
}

// linkRecord is one link of the chain. Its sequence number is in its key.
type linkRecord struct {
	prev     [32]byte // the MAC of the link before
	from, to ID       // it has all events that are not before from, and before to
	events   []linkEvent
	mac      [32]byte
}

type linkEvent struct {
	id  ID
	mac [32]byte
}

func (r *linkRecord) body() []byte {
	b := make([]byte, 0, 32+16+16+2+48*len(r.events)+32)
	b = append(append(append(b, r.prev[:]...), r.from[:]...), r.to[:]...)
	b = binary.BigEndian.AppendUint16(b, uint16(len(r.events)))
	for _, e := range r.events {
		b = append(append(b, e.id[:]...), e.mac[:]...)
	}
	return b
}

func (r *linkRecord) encode() ([]byte, error) { return append(r.body(), r.mac[:]...), nil }

func (r *linkRecord) decode(record []byte) error {
	s := cryptobyte.String(record)
	var n uint16
	ok := s.CopyBytes(r.prev[:]) && s.CopyBytes(r.from[:]) && s.CopyBytes(r.to[:]) && s.ReadUint16(&n)
	r.events = make([]linkEvent, n)
	for i := range r.events {
		ok = ok && s.CopyBytes(r.events[i].id[:]) && s.CopyBytes(r.events[i].mac[:])
	}
	if !ok || !s.CopyBytes(r.mac[:]) || !s.Empty() {
		return fmt.Errorf("%w: link", ErrDamaged)
	}
	return nil
}

func linkKey(seq uint64) []byte { return binary.BigEndian.AppendUint64([]byte{spaceLink}, seq) }

// auditMAC is the chain's MAC of something for a database key.
func (s *Service) auditMAC(what string, key, text []byte) (sum [32]byte) {
	message := make([]byte, 0, 64+len(key)+len(text))
	message = append(appendLP(appendLP(message, "authsrv v1 audit "+what), key), text...)
	return [32]byte(s.store.audits.sum(nil, message))
}

// eventMAC is that of a stored event, which must open.
func (s *Service) eventMAC(e kv.Entry) (sum [32]byte, err error) {
	if len(e.Key) != len(eventKey(ID{})) {
		return sum, fmt.Errorf("%w: key of an event", ErrDamaged)
	}
	plain, err := s.store.open(labelAudit, e.Key, e.Value)
	return s.auditMAC("event", e.Key, plain), err
}

var headKey = []byte{spaceHead}

// head reads the chain's head. Before the chain is closed for the first time there is none, and its version is 0.
func (s *Service) head(ctx context.Context) (h headRecord, version kv.Version, err error) {
	e, err := s.store.engine.Get(ctx, headKey)
	if err != nil || e.Version == 0 {
		return h, 0, err
	}
	return h, e.Version, s.openHead(e, &h)
}

// headIn is head in a transaction, and says whether there is one.
func (s *Service) headIn(tx *kv.Tx) (h headRecord, there bool, err error) {
	value, there, err := tx.Peek(headKey)
	if err == nil && there {
		err = s.openHead(kv.Entry{Key: headKey, Value: value}, &h)
	}
	return h, there, err
}

func (s *Service) openHead(e kv.Entry, h *headRecord) error {
	err := s.store.decode(labelHead, e.Key, e.Value, h)
	if want := s.auditMAC("head", e.Key, h.body()); err == nil && !hmac.Equal(want[:], h.mac[:]) {
		err = fmt.Errorf("%w: head of the audit chain", ErrDamaged)
	}
	return err
}

// storeBeside is the store with the system's randomness, for what runs beside logins: what a test gives them is theirs alone, and comes in one order.
func (s *Service) storeBeside() *store {
	own := s.store
	own.rand = rand.Reader
	return &own
}

// moveHead is the write of a head.
func (s *Service) moveHead(h headRecord) (kv.Write, error) {
	h.mac = s.auditMAC("head", headKey, h.body())
	sealed, err := s.storeBeside().encode(labelHead, headKey, &h)
	return kv.Write{Key: headKey, Value: sealed}, err
}

// KeepAudit chains the audit records as they become old enough, and removes those that are too old, until ctx ends. What fails is
// passed to failed, and tried again a minute later. Of several nodes that do this one wins each time.
func (s *Service) KeepAudit(ctx context.Context, failed func(error)) {
	for {
		now := time.Now()
		err := errors.Join(s.ChainAudit(ctx, now.Add(-chainAge)), s.expireAudit(ctx, now.Add(-s.c.AuditRetention)))
		if err != nil && ctx.Err() == nil {
			failed(err)
		}
		next := time.NewTimer(now.Truncate(window).Add(window).Sub(now))
		select {
		case <-next.C:
		case <-ctx.Done():
			next.Stop()
			return
		}
	}
}

// ChainAudit chains the events of all minutes that were over at a time. From then on, new events get later times.
func (s *Service) ChainAudit(ctx context.Context, over time.Time) error {
	cut := idAt(over.Truncate(window))
	if some, err := s.closeChain(ctx, cut); !some {
		return err
	}
	var damaged error // the first
	for {
		more, err := s.appendLink(ctx, cut)
		if errors.Is(err, errSkipped) {
			damaged = cmp.Or(damaged, err)
		} else if err != nil {
			return err
		}
		if !more {
			return damaged
		}
	}
}

var errSkipped = errors.New("account: an audit record is left out of the chain")

// unchained reads the head, and up to limit events behind the chain and before cut.
func (s *Service) unchained(ctx context.Context, cut ID, limit int) (h headRecord, version kv.Version, entries []kv.Entry, err error) {
	if h, version, err = s.head(ctx); err != nil {
		return h, version, nil, err
	}
	s.passed(h.tip.end)
	if h.tip.end.before(cut) {
		entries, _, err = s.store.engine.Scan(ctx, []byte{spaceAudit}, eventKey(h.tip.end), limit)
	}
	return h, version, eventsBefore(entries, cut), err
}

// closeChain writes the head anew where there is something to chain before cut, and says whether it has. Every event is written beside the head that
// its transaction has read: so one that is on its way, and has waited for that long, no longer comes before cut.
func (s *Service) closeChain(ctx context.Context, cut ID) (some bool, err error) {
	h, version, next, err := s.unchained(ctx, cut, 1)
	if err != nil || len(next) == 0 {
		return false, err
	}
	beyond, _, err := s.store.engine.Scan(ctx, []byte{spaceLink}, linkKey(h.tip.seq+1), 1)
	if err != nil {
		return false, err
	}
	if len(beyond) > 0 {
		if _, now, err := s.head(ctx); err != nil || now != version {
			return false, err // of another node
		}
		return false, fmt.Errorf("%w: the audit chain has links behind its head", ErrDamaged)
	}
	head, err := s.moveHead(h)
	if err != nil {
		return false, err
	}
	_, err = s.store.engine.Commit(ctx, []kv.Read{{Key: headKey, Version: version}}, []kv.Write{head})
	if errors.Is(err, kv.ErrConflict) {
		return false, nil // of another node, or of a rotation's record: a minute later
	}
	return err == nil, err
}

// appendLink makes a link of the events behind the chain and before cut, or of as many as a link has, and says whether there are more.
func (s *Service) appendLink(ctx context.Context, cut ID) (more bool, err error) {
	h, version, entries, err := s.unchained(ctx, cut, maxLinkEvents+1)
	if err != nil || len(entries) == 0 {
		return false, err
	}
	link := linkRecord{prev: h.tip.mac, from: h.tip.end, to: cut}
	if more = len(entries) > maxLinkEvents; more {
		copy(link.to[:], entries[maxLinkEvents].Key[1:])
		entries = entries[:maxLinkEvents]
	}
	var skipped error
	for _, e := range entries {
		mac, err := s.eventMAC(e)
		if err != nil { // verification reports it for good
			skipped = fmt.Errorf("%w: %w", errSkipped, err)
			continue
		}
		link.events = append(link.events, linkEvent{ID(e.Key[1:]), mac})
	}
	if err := s.commitLink(ctx, h, version, &link); err != nil {
		return false, err
	}
	return more, skipped
}

// eventsBefore returns those of a scan that are before an id.
func eventsBefore(entries []kv.Entry, end ID) []kv.Entry {
	key := eventKey(end)
	if i := slices.IndexFunc(entries, func(e kv.Entry) bool { return bytes.Compare(e.Key, key) >= 0 }); i >= 0 {
		return entries[:i]
	}
	return entries
}

// commitLink puts a link behind the head that it was made for. If another node was first, that is as well.
func (s *Service) commitLink(ctx context.Context, h headRecord, version kv.Version, link *linkRecord) error {
	key := linkKey(h.tip.seq + 1)
	link.mac = s.auditMAC("link", key, link.body())
	sealed, err := s.storeBeside().encode(labelLink, key, link)
	if err != nil {
		return err
	}
	h.tip = point{h.tip.seq + 1, link.mac, link.to}
	head, err := s.moveHead(h)
	if err != nil {
		return err
	}
	reads := []kv.Read{{Key: head.Key, Version: version}, {Key: key}}
	_, err = s.store.engine.Commit(ctx, reads, []kv.Write{head, {Key: key, Value: sealed}})
	if errors.Is(err, kv.ErrConflict) {
		return nil
	}
	if err == nil {
		s.passed(link.to)
	}
	return err
}

// passed remembers up to where events are chained, so that no later one gets a time before.
func (s *Service) passed(end ID) {
	t := end.time().Add(window - 1).Truncate(window).UnixNano()
	if end == (ID{}) {
		return
	}
	for old := s.chained.Load(); old < t && !s.chained.CompareAndSwap(old, t); old = s.chained.Load() {
	}
}

// expireAudit removes the links whose events are all before a time, and those events. The floor of the chain moves first, so that
// events without a link below it are no gap.
func (s *Service) expireAudit(ctx context.Context, before time.Time) error {
	h, version, err := s.head(ctx)
	if err != nil || version == 0 {
		return err
	}
	var writes []kv.Write
	for h.floor.seq < h.tip.seq && len(writes) < sweepBatch {
		key := linkKey(h.floor.seq + 1)
		e, err := s.store.engine.Get(ctx, key)
		if err != nil {
			return err
		}
		var link linkRecord
		if e.Version == 0 {
			return fmt.Errorf("%w: link %d of the audit chain is missing", ErrDamaged, h.floor.seq+1)
		}
		if err := s.store.decode(labelLink, key, e.Value, &link); err != nil {
			return err
		}
		if idAt(before).before(link.to) {
			break
		}
		h.floor = point{h.floor.seq + 1, link.mac, link.to}
		writes = append(writes, kv.Write{Key: key, Delete: true})
	}
	if len(writes) > 0 {
		head, err := s.moveHead(h)
		if err != nil {
			return err
		}
		_, err = s.store.engine.Commit(ctx, []kv.Read{{Key: head.Key, Version: version}}, append(writes, head))
		if errors.Is(err, kv.ErrConflict) {
			return nil // another node has done it, or something is new: a minute later
		}
		if err != nil {
			return err
		}
	}
	if h.floor.seq == 0 {
		return nil
	}
	return s.removeEvents(ctx, h.floor.end)
}

// removeEvents removes all events before an id.
func (s *Service) removeEvents(ctx context.Context, end ID) error {
	for {
		entries, _, err := s.store.engine.Scan(ctx, []byte{spaceAudit}, nil, sweepBatch)
		if err != nil {
			return err
		}
		if entries = eventsBefore(entries, end); len(entries) == 0 {
			return nil
		}
		if err := s.remove(ctx, entries); err != nil && !errors.Is(err, kv.ErrConflict) {
			return err
		}
	}
}
