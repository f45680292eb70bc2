package account

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"io"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"github.com/authsrv/authsrv/kv"
)

// Prefixes of keys (STORAGE 3).
const (
	spaceMeta     = 'm'
	spaceName     = 'n'
	spaceAccount  = 'a'
	spaceSession  = 's'
	spaceThrottle = 't'
	spaceCode     = 'c'
	spaceAudit    = 'u'
	spaceDevice   = 'd'
	spaceLink     = 'l'
	spaceHead     = 'h'
)

// Format is the number of the format of the store that this program writes.
const Format = 1

// Errors of a store that is not this program's or this realm's.
var (
	ErrNewerFormat = errors.New("account: the store was written by a newer version")
	ErrOtherRealm  = errors.New("account: the store belongs to another key file")
)

// store maps records to keys, and seals them.
type store struct {
	engine kv.Engine
	rand   io.Reader
	realm  [16]byte
	seals  *seals
	names  *macs // under K_name
	audits *macs // under K_audit
}

// newStore makes a store whose commits take records under the current wrapping key alone.
func newStore(engine kv.Engine, rand io.Reader, secrets *Secrets) (store, error) {
	w, err := newWrapping(secrets.Wrapping, secrets.Current)
	if err != nil {
		return store{}, err
	}
	s := &seals{}
	s.now.Store(w)
	return store{
		engine: &guard{Engine: engine, seals: s}, rand: rand, realm: secrets.RealmID, seals: s,
		names: newMACs(secrets.NameKey), audits: newMACs(secrets.AuditKey),
	}, nil
}

// macs makes HMACs with a key that is taken in once for many.
type macs struct{ sync.Pool }

func newMACs(key [32]byte) *macs {
	return &macs{sync.Pool{New: func() any { return hmac.New(sha256.New, key[:]) }}}
}

// sum appends the MAC of a message.
func (m *macs) sum(dst, message []byte) []byte {
	mac := m.Get().(hash.Hash)
	defer m.Put(mac)
	mac.Reset()
	mac.Write(message)
	return mac.Sum(dst)
}

// seals is the wrapping keys, which change while others work with them.
type seals struct {
	now atomic.Pointer[wrapping]
	mu  sync.RWMutex // held by each commit, and by who changes now
}

// swap puts others in the place of the keys. On return every commit that the engine has yet to be given is under the new ones.
func (s *seals) swap(next *wrapping) {
	s.mu.Lock()
	defer s.mu.Unlock()
	was := s.now.Load()
	next.former, next.formerUntil = maps.Clone(was.keys), time.Now().Add(formerTime)
	s.now.Store(next)
}

// guard is an engine that refuses, as a conflict, what was sealed before the wrapping key was changed and comes to be committed
// after it. So no record can appear under a key that is about to be removed, and who meets with the conflict seals anew.
type guard struct {
	kv.Engine
	seals *seals
}

func (g *guard) Commit(ctx context.Context, reads []kv.Read, writes []kv.Write) (kv.Version, error) {
	g.seals.mu.RLock()
	defer g.seals.mu.RUnlock()
	current := g.seals.now.Load().current
	for i := range writes {
		if w := &writes[i]; !w.Delete && w.Key[0] != spaceMeta {
			if id, ok := sealedUnder(w.Value); ok && id != current {
				return 0, fmt.Errorf("%w: the wrapping key has changed", kv.ErrConflict)
			}
		}
	}
	return g.Engine.Commit(ctx, reads, writes)
}

// Unmoved implements kv.Witness as far as the engine does.
func (g *guard) Unmoved(reads []kv.Read) bool {
	w, ok := g.Engine.(kv.Witness)
	return ok && w.Unmoved(reads)
}

// View implements kv.Viewer as far as the engine does.
func (g *guard) View(ctx context.Context, look func(kv.Reader) (any, error)) (any, error) {
	return kv.View(ctx, g.Engine, look)
}

// Count implements kv.Counter.
func (g *guard) Count(ctx context.Context, prefix []byte, limit int) (int, error) {
	return kv.Count(ctx, g.Engine, prefix, limit)
}

// init writes the record that says whose store it is, or checks it.
func (s *store) init(ctx context.Context, mustExist bool) error {
	return kv.Update(ctx, s.engine, func(tx *kv.Tx) error {
		key := []byte{spaceMeta}
		value, ok, err := tx.Get(key)
		if err != nil {
			return err
		}
		if !ok && mustExist {
			return ErrNoStore
		}
		if !ok {
			tx.Put(key, append(binary.BigEndian.AppendUint32(nil, Format), s.realm[:]...))
			return nil
		}
		if len(value) < 4 {
			return fmt.Errorf("%w: meta", ErrDamaged)
		}
		if binary.BigEndian.Uint32(value) > Format {
			return ErrNewerFormat
		}
		if binary.BigEndian.Uint32(value) < Format {
			return ErrOlderFormat
		}
		if len(value) != 4+len(s.realm) {
			return fmt.Errorf("%w: meta", ErrDamaged)
		}
		if string(value[4:]) != string(s.realm[:]) {
			return ErrOtherRealm
		}
		return nil
	})
}

// checkKeys finds out whether the wrapping keys are those of another time, by the first record of each kind: a rotation ends with all records under
// the new key. With an old key file a server would make another key of the same id, and what is under the one could not be told from the other.
func (s *store) checkKeys(ctx context.Context) error {
	w := s.seals.now.Load()
	total, under := 0, make(map[uint32]int)
	for space := range spaces {
		entries, _, err := s.engine.Scan(ctx, []byte{space}, nil, 1)
		if err != nil {
			return err
		}
		for _, e := range entries {
			total++
			if id, ok := sealedUnder(e.Value); ok && w.keys[id] == nil {
				under[id]++
			}
		}
	}
	return w.mostMissing(under, total)
}

func (s *store) nameKey(name string) []byte {
	return s.names.sum(append(make([]byte, 0, 1+32), spaceName), labelled("login name", name))
}

// madeUpID is the id of a name without an account. Nothing is ever stored of it.
func (s *store) madeUpID(name string) ID {
	return ID(s.names.sum(nil, labelled("made-up account", name))[:16])
}

func (s *store) throttleKey(kind throttleKind, subject string) []byte {
	return s.names.sum([]byte{spaceThrottle, byte(kind)}, labelled("throttle", string([]byte{byte(kind)}), subject))[:2+16]
}

func accountKey(id ID) []byte { return append([]byte{spaceAccount}, id[:]...) }

func sessionPrefix(account ID) []byte { return append([]byte{spaceSession}, account[:]...) }

func sessionKey(account, session ID) []byte { return append(sessionPrefix(account), session[:]...) }

// record is what a sealed value holds. What it decodes, it copies.
type record interface {
	encode() ([]byte, error)
	decode([]byte) error
}

// get reads and opens the record at key, and says whether there is one.
func (s *store) get(tx *kv.Tx, label string, key []byte, r record) (bool, error) {
	sealed, ok, err := tx.Peek(key)
	if err != nil || !ok {
		return false, err
	}
	return true, s.decode(label, key, sealed, r)
}

func (s *store) decode(label string, key, sealed []byte, r record) error {
	room := scratches.Get().(*scratch)
	defer scratches.Put(room)
	plain, err := s.appendOpened(room[:0], label, key, sealed)
	defer clear(plain) // resume keys are in there
	if err != nil {
		return err
	}
	return r.decode(plain)
}

// unmoved says whether it is certain that nothing has changed since these reads.
func (s *store) unmoved(reads []kv.Read) bool {
	w, ok := s.engine.(kv.Witness)
	return ok && w.Unmoved(reads)
}

// put seals the record and writes it at key.
func (s *store) put(tx *kv.Tx, label string, key []byte, r record) error {
	room := scratches.Get().(*scratch)
	defer scratches.Put(room)
	sealed, err := s.appendEncoded(room[:0], label, key, r)
	if err != nil {
		return err
	}
	tx.Put(key, sealed) // a copy
	return nil
}

func (s *store) encode(label string, key []byte, r record) ([]byte, error) {
	return s.appendEncoded(nil, label, key, r)
}

func (s *store) appendEncoded(dst []byte, label string, key []byte, r record) ([]byte, error) {
	plain, err := r.encode()
	if err != nil {
		return nil, err
	}
	return s.appendSealed(dst, label, key, plain)
}
