package account

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/authsrv/authsrv/credential"
	"github.com/authsrv/authsrv/kv"
)

// This file is what an administrator of the machine does. Nothing here asks for a proof: whoever calls it has the data folder,
// or was let in by who has it.

// What an administrator's operation can be refused for.
var (
	ErrNoAccount = errors.New("account: no such account")
	ErrNoSession = errors.New("account: no such session")
)

// maxCounted is how many live sessions User counts at the most.
const maxCounted = 1000

// UserInfo is what an administrator is shown of an account.
type UserInfo struct {
	ID               ID
	Name             string
	Created, Changed time.Time // Changed: the password
	Disabled         bool
	Generation       uint64

	Failures int           // that count against the name, and from User against its known devices
	Wait     time.Duration // until another attempt for the name can succeed
	Locked   bool          // whatever the wait: too many failures in a row, of the name, or from User of one of its devices

	Sessions     int  // live ones; only from User
	MoreSessions bool // than those counted
}

// Users returns up to limit accounts, at least 1, behind the id after, by ascending id, and whether there are more. It does not
// count sessions. What it costs depends on the limit alone.
func (s *Service) Users(ctx context.Context, after ID, limit int) (list []UserInfo, more bool, err error) {
	start := append(accountKey(after), 0)
	if after == (ID{}) {
		start = nil
	}
	entries, _, err := s.store.engine.Scan(ctx, []byte{spaceAccount}, start, limit+1)
	if err != nil {
		return nil, false, err
	}
	if more = len(entries) > limit; more {
		entries = entries[:limit]
	}
	list = make([]UserInfo, len(entries))
	for i, e := range entries {
		if len(e.Key) != len(accountKey(ID{})) {
			return nil, false, fmt.Errorf("%w: key of an account", ErrDamaged)
		}
		id := ID(e.Key[1:])
		var r accountRecord
		if err := s.store.decode(labelAccount, e.Key, e.Value, &r); err != nil {
			return nil, false, fmt.Errorf("account %x: %w", id, err)
		}
		if list[i], err = s.userInfo(ctx, id, &r); err != nil {
			return nil, false, err
		}
	}
	return list, more, nil
}

// User returns the account of a name, or ErrNoAccount.
func (s *Service) User(ctx context.Context, name string) (UserInfo, error) {
	id, r, err := s.find(s.now(ctx), name)
	if err != nil {
		return UserInfo{}, err
	}
	u, err := s.userInfo(ctx, id, &r)
	if err != nil {
		return UserInfo{}, err
	}
	sessions, more, err := s.sessionsOf(ctx, id, &r, ID{}, maxCounted)
	u.Sessions, u.MoreSessions = len(sessions), more
	if err != nil {
		return u, err
	}
	devices, err := s.devices(ctx, id)
	for _, d := range devices {
		u.Failures += d.level(throttleDevice, time.Now())
		u.Locked = u.Locked || d.locked()
	}
	return u, err
}

// userInfo reads what counts against a name besides, but not the sessions.
func (s *Service) userInfo(ctx context.Context, id ID, r *accountRecord) (UserInfo, error) {
	u := UserInfo{
		ID: id, Name: r.name, Created: unix(r.created), Changed: unix(r.changed),
		Disabled: r.flags&flagDisabled != 0, Generation: r.generation,
	}
	t, err := s.failures(ctx, bucket{throttleName, s.store.throttleKey(throttleName, r.name)})
	now := time.Now()
	u.Failures, u.Wait, u.Locked = t.level(throttleName, now), t.wait(throttleName, now), t.locked()
	return u, err
}

// find reads the account of a name that somebody typed, by way of get.
func (s *Service) find(get func([]byte) ([]byte, bool, error), name string) (ID, accountRecord, error) {
	if prepared, err := credential.PrepareName(name); err == nil {
		name = prepared
	} // else it has an account only if the rules were others once
	id, r, real, err := s.lookup(get, name)
	if err == nil && !real {
		err = ErrNoAccount
	}
	return id, r, err
}

// administer runs change on the account of a name in one transaction, with an audit record. Where change says that it is as it
// should be already, nothing is written.
func (s *Service) administer(ctx context.Context, kind Kind, name string, change func(*kv.Tx, ID, *accountRecord) (session ID, done bool, err error)) error {
	return kv.Update(ctx, s.store.engine, func(tx *kv.Tx) error {
		id, r, err := s.find(tx.Get, name)
		if err != nil {
			return err
		}
		session, done, err := change(tx, id, &r)
		if err != nil || !done {
			return err
		}
		return s.audit(tx, Event{Kind: kind, Outcome: Success, Account: id, Session: session, Name: r.name})
	})
}

// SetDisabled shuts an account, which ends all of its sessions, or opens it again, which brings none of them back.
func (s *Service) SetDisabled(ctx context.Context, name string, disabled bool) error {
	kind := KindAdminEnable
	if disabled {
		kind = KindAdminDisable
	}
	return s.administer(ctx, kind, name, func(tx *kv.Tx, id ID, r *accountRecord) (ID, bool, error) {
		if (r.flags&flagDisabled != 0) == disabled {
			return ID{}, false, nil
		}
		r.flags ^= flagDisabled
		if disabled {
			return ID{}, true, s.endSessions(tx, id, r)
		}
		return ID{}, true, s.store.put(tx, labelAccount, accountKey(id), r)
	})
}

// Unlock forgets the failures of a name and of its known devices, so that its owner need not wait. Those of addresses stay.
func (s *Service) Unlock(ctx context.Context, name string) error {
	return s.administer(ctx, KindAdminUnlock, name, func(tx *kv.Tx, id ID, r *accountRecord) (ID, bool, error) {
		_, there, err := tx.Get(s.store.throttleKey(throttleName, r.name))
		if err != nil {
			return ID{}, false, err
		}
		cleared, err := s.clearDevices(ctx, tx, id)
		if err != nil || !there && !cleared {
			return ID{}, false, err
		}
		return ID{}, true, s.clearFailures(tx, r.name)
	})
}

// Remove removes an account and all that is of it, as its owner's Delete does.
func (s *Service) Remove(ctx context.Context, name string) error {
	var gone ID
	err := s.administer(ctx, KindAdminDelete, name, func(tx *kv.Tx, id ID, r *accountRecord) (ID, bool, error) {
		gone = id
		return ID{}, true, s.erase(ctx, tx, id, r)
	})
	if err != nil {
		return err
	}
	_ = s.removeRest(ctx, gone) // as in Delete
	return nil
}

// SessionsOf returns up to limit live sessions of a name's account, as Sessions does for its owner.
func (s *Service) SessionsOf(ctx context.Context, name string, after ID, limit int) (list []SessionInfo, more bool, err error) {
	id, r, err := s.find(s.now(ctx), name)
	if err != nil {
		return nil, false, err
	}
	return s.sessionsOf(ctx, id, &r, after, limit)
}

// RevokeSession ends one session of a name's account, or returns ErrNoSession.
func (s *Service) RevokeSession(ctx context.Context, name string, sid ID) error {
	return s.administer(ctx, KindAdminRevoke, name, func(tx *kv.Tx, id ID, r *accountRecord) (ID, bool, error) {
		var rec sessionRecord
		key := sessionKey(id, sid)
		there, err := s.store.get(tx, labelSession, key, &rec)
		if err != nil {
			return ID{}, false, err
		}
		if !there || judgeSession(r, &rec, time.Now()) != nil { // a dead one is the sweep's
			return ID{}, false, ErrNoSession
		}
		tx.Delete(key)
		return sid, true, nil
	})
}

// RevokeAllOf ends all sessions of a name's account, and returns how many were alive. One of a login meanwhile may not be counted.
func (s *Service) RevokeAllOf(ctx context.Context, name string) (ended int, err error) {
	err = s.administer(ctx, KindAdminRevokeAll, name, func(tx *kv.Tx, id ID, r *accountRecord) (ID, bool, error) {
		alive, _, err := s.sessionsOf(ctx, id, r, ID{}, maxCounted)
		if err != nil {
			return ID{}, false, err
		}
		ended = len(alive)
		return ID{}, true, s.endSessions(tx, id, r)
	})
	if err != nil {
		return 0, err
	}
	return ended, nil
}
