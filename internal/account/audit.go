package account

import (
	"context"
	"encoding/binary"
	"fmt"
	"net/netip"
	"time"

	"github.com/authsrv/authsrv/kv"
	"golang.org/x/crypto/cryptobyte"
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
)

var kinds = [...]string{
	KindRegister: "register", KindRegisterChecked: "register-checked", KindLogin: "login", KindLogout: "logout",
	KindChangePassword: "change-password", KindRevokeAll: "logout-all", KindDelete: "delete",
	KindReset: "reset", KindRegisterInvited: "register-invited",
	KindAdminDisable: "admin-disable", KindAdminEnable: "admin-enable", KindAdminUnlock: "admin-unlock",
	KindAdminDelete: "admin-delete", KindAdminRevoke: "admin-revoke", KindAdminRevokeAll: "admin-revoke-all",
	KindAdminReset: "admin-reset", KindAdminInvite: "admin-invite",
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
	Time    time.Time // set when it is written
	Kind    Kind
	Outcome Outcome
	Account ID
	Session ID
	Name    string
	Address netip.Addr
}

func (e *Event) encode() ([]byte, error) {
	b := cryptobyte.NewBuilder(make([]byte, 0, 160))
	b.AddUint8(uint8(e.Kind))
	b.AddUint8(uint8(e.Outcome))
	b.AddBytes(e.Account[:])
	b.AddBytes(e.Session[:])
	addBytes8(b, []byte(e.Name))
	addBytes8(b, e.Address.Unmap().AsSlice())
	return b.Bytes()
}

func (e *Event) decode(record []byte) error {
	s := cryptobyte.String(record)
	var name, address cryptobyte.String
	ok := s.ReadUint8((*uint8)(&e.Kind)) && s.ReadUint8((*uint8)(&e.Outcome)) &&
		s.CopyBytes(e.Account[:]) && s.CopyBytes(e.Session[:]) &&
		s.ReadUint8LengthPrefixed(&name) && s.ReadUint8LengthPrefixed(&address) && s.Empty()
	if !ok {
		return fmt.Errorf("%w: audit", ErrDamaged)
	}
	e.Name = string(name)
	e.Address, ok = netip.AddrFromSlice(address)
	if !ok && len(address) != 0 {
		return fmt.Errorf("%w: audit", ErrDamaged)
	}
	return nil
}

// audit writes an event in the transaction of what it is about. Its key is new, so that
// logins do not contend on it.
func (s *Service) audit(tx *kv.Tx, e Event) error {
	key := binary.BigEndian.AppendUint64([]byte{spaceAudit}, uint64(time.Now().UnixNano()))
	key = append(key, make([]byte, 8)...)
	if err := s.random(key[9:]); err != nil {
		return err
	}
	return s.store.put(tx, labelAudit, key, &e)
}

// Events returns up to limit audit records from a time on, oldest first.
func (s *Service) Events(ctx context.Context, from time.Time, limit int) ([]Event, error) {
	start := []byte{spaceAudit}
	if !from.IsZero() {
		start = binary.BigEndian.AppendUint64(start, uint64(from.UnixNano()))
	}
	entries, _, err := s.store.engine.Scan(ctx, []byte{spaceAudit}, start, limit)
	if err != nil {
		return nil, err
	}
	events := make([]Event, len(entries))
	for i, e := range entries {
		if len(e.Key) != 1+8+8 {
			return nil, ErrDamaged
		}
		if err := s.store.decode(labelAudit, e.Key, e.Value, &events[i]); err != nil {
			return nil, err
		}
		events[i].Time = time.Unix(0, int64(binary.BigEndian.Uint64(e.Key[1:])))
	}
	return events, nil
}
