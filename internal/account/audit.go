package account

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"net/netip"
	"time"

	"github.com/authsrv/authsrv/credential"
	"github.com/authsrv/authsrv/kv"
	"golang.org/x/crypto/cryptobyte"
)

const (
	// window is the time in which repetitions of a failure are counted in one record.
	window = time.Minute
	// eventPage is how many events are read at once.
	eventPage = 256
)

// Kind is what was attempted. Its numbers are in audit records, and are never given to another kind.
type Kind uint8

// The kinds of attempts.
const (
	KindRegister        Kind = 1
	KindRegisterChecked Kind = 2
	KindLogin           Kind = 3
	KindLogout          Kind = 4
	KindChangePassword  Kind = 5
	KindRevokeAll       Kind = 6
	KindDelete          Kind = 7
	KindReset           Kind = 8
	KindRegisterInvited Kind = 9

	// From here on it was an administrator of the machine.
	KindAdminDisable   Kind = 16
	KindAdminEnable    Kind = 17
	KindAdminUnlock    Kind = 18
	KindAdminDelete    Kind = 19
	KindAdminRevoke    Kind = 20 // one session
	KindAdminRevokeAll Kind = 21
	KindAdminReset     Kind = 22 // a code was issued, as for an invite
	KindAdminInvite    Kind = 23

	KindRotateToken    Kind = 24 // of keys: NoteRotation
	KindRotateWrapping Kind = 25
	KindRotateIdentity Kind = 26
	KindRotateEpoch    Kind = 27

	KindRestore Kind = 28 // of a backup: RevokeEverything
)

var kinds = [...]string{
	KindRegister: "register", KindRegisterChecked: "register-checked", KindLogin: "login", KindLogout: "logout",
	KindChangePassword: "change-password", KindRevokeAll: "logout-all", KindDelete: "delete",
	KindReset: "reset", KindRegisterInvited: "register-invited",
	KindAdminDisable: "admin-disable", KindAdminEnable: "admin-enable", KindAdminUnlock: "admin-unlock",
	KindAdminDelete: "admin-delete", KindAdminRevoke: "admin-revoke", KindAdminRevokeAll: "admin-revoke-all",
	KindAdminReset: "admin-reset", KindAdminInvite: "admin-invite",
	KindRotateToken: "rotate-token", KindRotateWrapping: "rotate-wrapping", KindRotateIdentity: "rotate-identity",
	KindRotateEpoch: "rotate-epoch", KindRestore: "restore",
}

func (k Kind) String() string {
	if int(k) < len(kinds) && kinds[k] != "" {
		return kinds[k]
	}
	return fmt.Sprintf("kind-%d", uint8(k))
}

// Outcome is how an attempt ended. Its numbers are in audit records, as those of Kind.
type Outcome uint8

// The outcomes. Throttled attempts are not audited: they change nothing, and cost nothing.
const (
	Success       Outcome = 1
	WrongPassword Outcome = 2
	UnknownName   Outcome = 3
	NonceExpired  Outcome = 4
	Disabled      Outcome = 5
	Throttled     Outcome = 6
	UnknownCode   Outcome = 7 // or used, or swept
	WrongCode     Outcome = 8
	ExpiredCode   Outcome = 9
	ForeignCode   Outcome = 10 // of another kind or account, or ended by what happened to the account
)

var outcomes = [...]string{
	Success: "success", WrongPassword: "wrong-password", UnknownName: "unknown-name",
	NonceExpired: "nonce-expired", Disabled: "disabled", Throttled: "throttled",
	UnknownCode: "unknown-code", WrongCode: "wrong-code", ExpiredCode: "expired-code", ForeignCode: "foreign-code",
}

func (o Outcome) String() string {
	if int(o) < len(outcomes) && outcomes[o] != "" {
		return outcomes[o]
	}
	return fmt.Sprintf("outcome-%d", uint8(o))
}

// Event is one audit record. Account and Session are zero where there is none.
type Event struct {
	ID      ID // of the record; ascending by the minute
	Time    time.Time
	Last    time.Time // of a failure that was repeated within a minute; else as Time
	Count   uint32    // how often it happened, from 1
	Kind    Kind
	Outcome Outcome
	Account ID
	Session ID
	Name    string // empty where there was no account of that name
	Address netip.Addr
}

func (e *Event) encode() ([]byte, error) {
	b := cryptobyte.NewBuilder(make([]byte, 0, 192))
	b.AddUint8(uint8(e.Kind))
	b.AddUint8(uint8(e.Outcome))
	b.AddBytes(e.Account[:])
	b.AddBytes(e.Session[:])
	addBytes8(b, []byte(e.Name))
	addBytes8(b, e.Address.Unmap().AsSlice())
	b.AddUint32(e.Count)
	b.AddUint64(uint64(e.Time.UnixNano()))
	b.AddUint64(uint64(e.Last.UnixNano()))
	return b.Bytes()
}

func (e *Event) decode(record []byte) error {
	s := cryptobyte.String(record)
	var name, address cryptobyte.String
	var first, last uint64
	ok := s.ReadUint8((*uint8)(&e.Kind)) && s.ReadUint8((*uint8)(&e.Outcome)) &&
		s.CopyBytes(e.Account[:]) && s.CopyBytes(e.Session[:]) &&
		s.ReadUint8LengthPrefixed(&name) && s.ReadUint8LengthPrefixed(&address) &&
		s.ReadUint32(&e.Count) && s.ReadUint64(&first) && s.ReadUint64(&last) && s.Empty()
	if !ok {
		return fmt.Errorf("%w: audit", ErrDamaged)
	}
	e.Name, e.Time, e.Last = string(name), time.Unix(0, int64(first)), time.Unix(0, int64(last))
	e.Address, ok = netip.AddrFromSlice(address)
	if !ok && len(address) != 0 {
		return fmt.Errorf("%w: audit", ErrDamaged)
	}
	return nil
}

// eventKey is the database key of an event: its id is a time and eight more bytes.
func eventKey(id ID) []byte { return append([]byte{spaceAudit}, id[:]...) }

// idAt is the least id of a time.
func idAt(t time.Time) (id ID) {
	binary.BigEndian.PutUint64(id[:], uint64(max(0, t.UnixNano())))
	return id
}

func (id ID) time() time.Time { return time.Unix(0, int64(binary.BigEndian.Uint64(id[:]))) }

func (id ID) before(other ID) bool { return bytes.Compare(id[:], other[:]) < 0 }

// auditTime is the time for a new event: never one that the chain has passed, should a clock have been put back. The transaction has read the chain's head
// before: so if that is closed or goes on before its commit, it runs again, with another time.
func (s *Service) auditTime(tx *kv.Tx) (time.Time, error) {
	if _, _, err := tx.Peek(headKey); err != nil {
		return time.Time{}, err
	}
	now, chained := time.Now(), time.Unix(0, s.chained.Load())
	if now.Before(chained) {
		return chained, nil
	}
	return now, nil
}

// audit writes an event in the transaction of what it is about. Its key is new, so that
// logins do not contend on it.
func (s *Service) audit(tx *kv.Tx, e Event) error {
	now, err := s.auditTime(tx)
	if err != nil {
		return err
	}
	id := idAt(now)
	if err := s.random(id[8:]); err != nil {
		return err
	}
	e.Time, e.Last, e.Count = now, now, 1
	return s.store.put(tx, labelAudit, eventKey(id), &e)
}

// auditFailure is audit for what may be repeated at will: within a minute, repetitions with one name, whether or not the event has it, are counted
// in one record (STORAGE 3.5).
func (s *Service) auditFailure(tx *kv.Tx, name string, e Event) error {
	now, err := s.auditTime(tx)
	if err != nil {
		return err
	}
	id := idAt(now.Truncate(window))
	copy(id[8:], s.store.names.sum(nil, labelled("audit", string([]byte{byte(e.Kind), byte(e.Outcome)}), name, string(e.Address.Unmap().AsSlice()))))
	key := eventKey(id)
	var old Event
	there, err := s.store.get(tx, labelAudit, key, &old)
	switch {
	case err != nil:
		return err
	case !there:
		e.Time, e.Last, e.Count = now, now, 1
		return s.store.put(tx, labelAudit, key, &e)
	case old.Kind != e.Kind || old.Outcome != e.Outcome || old.Name != e.Name || old.Address != e.Address.Unmap():
		return s.audit(tx, e) // the index of another one is the same, by a chance of 2^-64
	}
	old.Last, old.Count = now, old.Count+1
	return s.store.put(tx, labelAudit, key, &old)
}

// EventQuery says which events are wanted. The zero value: all.
type EventQuery struct {
	Name        string    // of the attempt, prepared or not
	Kind        Kind      // 0: any
	From, Until time.Time // From is in it, Until is not; zero: no bound
}

func (q *EventQuery) wants(e *Event) bool {
	return (q.Name == "" || q.Name == e.Name) && (q.Kind == 0 || q.Kind == e.Kind) &&
		!e.Last.Before(q.From) && (q.Until.IsZero() || e.Time.Before(q.Until))
}

// Events returns up to limit events behind the id after, by ascending id, and whether there may be more. Of one minute, repeated failures
// come first: their ids are those of the minute.
func (s *Service) Events(ctx context.Context, q EventQuery, after ID, limit int) (list []Event, more bool, err error) {
	if prepared, err := credential.PrepareName(q.Name); err == nil {
		q.Name = prepared
	}
	start := eventKey(idAt(q.From.Truncate(window)))
	if q.From.IsZero() {
		start = eventKey(ID{})
	}
	if after != (ID{}) && bytes.Compare(start, eventKey(after)) <= 0 {
		start = append(eventKey(after), 0)
	}
	for {
		entries, _, err := s.store.engine.Scan(ctx, []byte{spaceAudit}, start, eventPage)
		if err != nil {
			return nil, false, err
		}
		for _, e := range entries {
			if len(e.Key) != len(eventKey(ID{})) {
				return nil, false, fmt.Errorf("%w: key of an event", ErrDamaged)
			}
			event := Event{ID: ID(e.Key[1:])}
			if !q.Until.IsZero() && !event.ID.before(idAt(q.Until)) {
				return list, false, nil
			}
			if err := s.store.decode(labelAudit, e.Key, e.Value, &event); err != nil {
				return nil, false, fmt.Errorf("event %x: %w", event.ID, err)
			}
			if !q.wants(&event) {
				continue
			}
			if len(list) == limit {
				return list, true, nil
			}
			list = append(list, event)
		}
		if len(entries) < eventPage {
			return list, false, nil
		}
		start = append(entries[eventPage-1].Key, 0)
	}
}

// ParseKind returns the kind of a name, or 0.
func ParseKind(name string) Kind {
	for k, n := range kinds {
		if n == name && n != "" {
			return Kind(k)
		}
	}
	return 0
}
