package account

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/authsrv/authsrv/kv"
)

// Errors of the audit chain.
var (
	ErrAuditBroken   = errors.New("account: the audit chain is broken")
	ErrNothingYet    = errors.New("account: nothing is chained yet")
	ErrNotCheckpoint = errors.New("account: not a checkpoint of this server")
)

// AuditFault is the first thing that is wrong with the audit records.
type AuditFault struct {
	What  string // removed, changed, inserted, reordered, or cut back
	Seq   uint64 // of the link; 0: the head, or an event that is not chained
	Event ID     // zero: the link or the head itself
}

func (f *AuditFault) Error() string {
	switch {
	case f.Event != (ID{}):
		return fmt.Sprintf("an audit record was %s: %x, of %s", f.What, f.Event, f.Event.time().UTC().Format(time.RFC3339))
	case f.Seq != 0:
		return fmt.Sprintf("link %d of the audit chain was %s", f.Seq, f.What)
	}
	return "the head of the audit chain was " + f.What
}

// Is makes every AuditFault an ErrAuditBroken.
func (f *AuditFault) Is(target error) bool { return target == ErrAuditBroken }

// AuditReport is what VerifyAudit has looked at.
type AuditReport struct {
	Links     int
	Events    int       // that are chained
	Unchained int       // that are too new for that
	Floor     time.Time // what is older was removed; zero: nothing was
	Until     time.Time // of the chain; zero: there is none
}

// VerifyAudit walks the chain and the audit records, and returns the first fault as an *AuditFault. Events may be added meanwhile.
func (s *Service) VerifyAudit(ctx context.Context) (AuditReport, error) {
	const tries = 5
	for try := 1; ; try++ {
		e, err := s.store.engine.Get(ctx, headKey)
		if err != nil {
			return AuditReport{}, err
		}
		report, err := s.verifyFrom(ctx, e)
		if !errors.Is(err, ErrAuditBroken) || try == tries {
			return report, err
		}
		// The head may have moved while the records were read.
		if now, getErr := s.store.engine.Get(ctx, e.Key); getErr != nil || now.Version == e.Version {
			return report, err
		}
	}
}

func (s *Service) verifyFrom(ctx context.Context, e kv.Entry) (r AuditReport, err error) {
	var h headRecord
	if e.Version != 0 {
		if s.openHead(kv.Entry{Key: headKey, Value: e.Value}, &h) != nil {
			return r, &AuditFault{What: "changed"}
		}
	}
	if h.tip.seq != 0 {
		r.Until = h.tip.end.time()
	}
	if h.floor.seq != 0 {
		r.Floor = h.floor.end.time()
	}
	at := h.floor
	for at.seq < h.tip.seq {
		n, err := s.verifyLink(ctx, &at)
		r.Events += n
		if err != nil {
			return r, err
		}
		r.Links++
	}
	if at != h.tip {
		return r, &AuditFault{What: "changed"}
	}
	beyond, _, err := s.store.engine.Scan(ctx, []byte{spaceLink}, linkKey(at.seq+1), 1)
	if err != nil {
		return r, err
	}
	if len(beyond) > 0 && e.Version == 0 {
		return r, &AuditFault{What: "removed"}
	}
	if len(beyond) > 0 {
		return r, &AuditFault{What: "changed"} // it was put back
	}
	below, _, err := s.store.engine.Scan(ctx, []byte{spaceLink}, nil, 1)
	if err == nil && len(below) > 0 && bytes.Compare(below[0].Key, linkKey(h.floor.seq)) <= 0 {
		return r, &AuditFault{What: "inserted", Seq: h.floor.seq}
	}
	if err == nil {
		r.Unchained, err = s.verifyUnchained(ctx, h.tip.end)
	}
	return r, err
}

// verifyLink holds the link behind a point against the records, and moves the point behind it.
func (s *Service) verifyLink(ctx context.Context, at *point) (events int, err error) {
	seq := at.seq + 1
	key := linkKey(seq)
	e, err := s.store.engine.Get(ctx, key)
	if err != nil {
		return 0, err
	}
	if e.Version == 0 {
		return 0, &AuditFault{What: "removed", Seq: seq}
	}
	var link linkRecord
	if s.store.decode(labelLink, key, e.Value, &link) != nil {
		return 0, &AuditFault{What: "changed", Seq: seq}
	}
	if mac := s.auditMAC("link", key, link.body()); !hmac.Equal(mac[:], link.mac[:]) {
		return 0, &AuditFault{What: "changed", Seq: seq}
	}
	if link.prev != at.mac || link.from != at.end || link.to.before(link.from) {
		return 0, &AuditFault{What: "reordered", Seq: seq}
	}
	entries, _, err := s.store.engine.Scan(ctx, []byte{spaceAudit}, eventKey(link.from), len(link.events)+1)
	if err != nil {
		return 0, err
	}
	*at = point{seq, link.mac, link.to}
	return len(link.events), s.compareEvents(seq, &link, eventsBefore(entries, link.to))
}

// compareEvents holds the events of a link, in order, against those that there are.
func (s *Service) compareEvents(seq uint64, link *linkRecord, entries []kv.Entry) error {
	for i := range max(len(link.events), len(entries)) {
		if i == len(link.events) {
			var id ID
			copy(id[:], entries[i].Key[1:])
			return &AuditFault{"inserted", seq, id}
		}
		want := &link.events[i]
		if i == len(entries) || !bytes.Equal(entries[i].Key, eventKey(want.id)) {
			if i < len(entries) && bytes.Compare(entries[i].Key, eventKey(want.id)) < 0 {
				var id ID
				copy(id[:], entries[i].Key[1:])
				return &AuditFault{"inserted", seq, id}
			}
			return &AuditFault{"removed", seq, want.id}
		}
		mac, err := s.eventMAC(entries[i])
		if err == nil && hmac.Equal(mac[:], want.mac[:]) {
			continue
		}
		return &AuditFault{"changed", seq, want.id}
	}
	return nil
}

// verifyUnchained opens the events behind the chain.
func (s *Service) verifyUnchained(ctx context.Context, end ID) (n int, err error) {
	start := eventKey(end)
	for {
		entries, _, err := s.store.engine.Scan(ctx, []byte{spaceAudit}, start, eventPage)
		if err != nil {
			return n, err
		}
		for _, e := range entries {
			if _, err := s.eventMAC(e); err != nil {
				var id ID
				copy(id[:], e.Key[1:])
				return n, &AuditFault{What: "changed", Event: id}
			}
			n++
		}
		if len(entries) < eventPage {
			return n, nil
		}
		start = append(entries[eventPage-1].Key, 0)
	}
}

// AuditCheckpoint says how far the chain was at a time, signed by the server's identity. Kept elsewhere, it shows whether the chain was cut
// back since (STORAGE 3.5).
type AuditCheckpoint struct {
	Format    string    `json:"format"`
	Version   int       `json:"version"`
	Realm     string    `json:"realm_id"` // hex, as all that is binary
	Seq       uint64    `json:"seq"`
	Head      string    `json:"head"` // SHA-256 of the MAC of the link seq
	Time      time.Time `json:"time"` // in whole seconds
	Identity  string    `json:"identity"`
	Signature string    `json:"signature"`
}

const checkpointFormat = "authsrv-audit-checkpoint"

// signed is what the signature of a checkpoint is of.
func (c *AuditCheckpoint) signed() []byte {
	realm, _ := hex.DecodeString(c.Realm)
	head, _ := hex.DecodeString(c.Head)
	b := appendLP(appendLP(appendLP(nil, "authsrv v1 audit checkpoint"), realm), head)
	b = binary.BigEndian.AppendUint64(b, c.Seq)
	return binary.BigEndian.AppendUint64(b, uint64(c.Time.Unix()))
}

func chainHead(p *point) string {
	sum := sha256.Sum256(p.mac[:])
	return hex.EncodeToString(sum[:])
}

// AuditCheckpoint signs where the chain is, or returns ErrNothingYet. It does not verify the chain.
func (s *Service) AuditCheckpoint(ctx context.Context, identity ed25519.PrivateKey) (*AuditCheckpoint, error) {
	var h headRecord
	err := kv.Update(ctx, s.store.engine, func(tx *kv.Tx) (err error) { // told only once it is durable
		if h, _, err = s.headIn(tx); err == nil && h.tip.seq == 0 {
			err = ErrNothingYet
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	realm := s.RealmID()
	c := &AuditCheckpoint{
		Format: checkpointFormat, Version: 1, Realm: hex.EncodeToString(realm[:]), Seq: h.tip.seq, Head: chainHead(&h.tip),
		Time: time.Now().UTC().Truncate(time.Second), Identity: hex.EncodeToString(identity.Public().(ed25519.PublicKey)),
	}
	c.Signature = hex.EncodeToString(ed25519.Sign(identity, c.signed()))
	return c, nil
}

// HoldCheckpoint says whether the chain is one that has grown from a checkpoint: nil, an *AuditFault, or ErrNotCheckpoint. Where retention has removed
// the checkpoint's link, only that the chain is longer can be said.
func (s *Service) HoldCheckpoint(ctx context.Context, c *AuditCheckpoint, identity ed25519.PublicKey) error {
	realm := s.RealmID()
	signature, err := hex.DecodeString(c.Signature)
	if err != nil || c.Format != checkpointFormat || c.Version != 1 || c.Realm != hex.EncodeToString(realm[:]) ||
		c.Identity != hex.EncodeToString(identity) || len(c.Head) != 64 || !ed25519.Verify(identity, c.signed(), signature) {
		return ErrNotCheckpoint
	}
	h, _, err := s.head(ctx)
	if errors.Is(err, ErrDamaged) {
		return &AuditFault{What: "changed"}
	}
	switch {
	case err != nil:
		return err
	case h.tip.seq < c.Seq:
		return &AuditFault{What: "cut back", Seq: h.tip.seq + 1}
	case h.floor.seq > c.Seq:
		return nil
	case h.floor.seq == c.Seq:
		return differs(&h.floor, c)
	}
	key := linkKey(c.Seq)
	e, err := s.store.engine.Get(ctx, key)
	if err != nil {
		return err
	}
	var link linkRecord
	if e.Version == 0 || s.store.decode(labelLink, key, e.Value, &link) != nil {
		return &AuditFault{What: "removed", Seq: c.Seq}
	}
	return differs(&point{mac: link.mac}, c)
}

func differs(p *point, c *AuditCheckpoint) error {
	if chainHead(p) != c.Head {
		return &AuditFault{What: "cut back", Seq: c.Seq}
	}
	return nil
}
