package account

import (
	"cmp"
	"context"
	"crypto/subtle"
	"errors"
	"slices"
	"sync/atomic"
	"time"

	"github.com/authsrv/authsrv/credential"
	"github.com/authsrv/authsrv/kv"
	"github.com/authsrv/authsrv/token"
)

const (
	// maxSessions is how many sessions an account has (STORAGE 3.3).
	maxSessions = 100
	// scanSessions is how many are looked at when there is to be one more: logins at once can each add one to those that are allowed.
	scanSessions = 128
	// lookAt is how many are looked at for a page of them that has any.
	lookAt = 1024
)

// touchAfter is the least time between two writes of when a session was used.
const touchAfter = time.Minute

// Session is who a connection is logged in as. It does not change once it was handed out, but for what Check remembers.
type Session struct {
	Account ID
	ID      ID
	Name    string
	Created time.Time // the account
	Expires time.Time // the session

	generation uint64
	good       atomic.Pointer[witness]
}

// witness is the records that a session was last found good by. While neither has moved, only time can end it.
type witness struct{ reads [2]kv.Read } // the account's and the session's

// opened has a session remember what the transaction that opened it has left, so that the next Check need not read it.
func (s *Session) opened(tx *kv.Tx) {
	s.good.Store(&witness{[2]kv.Read{tx.After(accountKey(s.Account)), tx.After(sessionKey(s.Account, s.ID))}})
}

// SessionInfo is what the owner of an account is shown of one of its sessions.
type SessionInfo struct {
	ID                         ID
	Created, LastUsed, Expires time.Time
	Address                    string
}

func unix(sec uint64) time.Time { return time.Unix(int64(sec), 0) }

// openSession writes a new session into tx and fills in l.
func (s *Service) openSession(tx *kv.Tx, l *Login, id ID, r *accountRecord, ch *Channel, expires time.Time) (ID, error) {
	now := time.Now()
	rec := sessionRecord{
		generation: r.generation,
		created:    uint64(now.Unix()),
		lastUsed:   uint64(now.Unix()),
		expires:    uint64(expires.Unix()),
	}
	if ch.Address.IsValid() {
		rec.address = ch.Address.Unmap().String()
	}
	var sid ID
	for _, b := range [][]byte{sid[:], rec.jti[:], rec.resumeKey[:]} {
		if err := s.random(b); err != nil {
			return sid, err
		}
	}
	rec.thumbprint = token.ThumbprintSum(ch.Static)
	issuer := Issuer(s.c.Secrets.RealmID)
	text, err := s.tokens.Load().Sign(token.Claims{
		Issuer: issuer, Audience: issuer,
		Subject: id, SessionID: sid, ID: rec.jti,
		IssuedAt: unix(rec.created), Expires: unix(rec.expires), Thumbprint: token.Thumbprint(ch.Static),
	})
	if err != nil {
		return sid, err
	}
	if err := s.store.put(tx, labelSession, sessionKey(id, sid), &rec); err != nil {
		return sid, err
	}
	l.Token, l.ResumeKey = text, rec.resumeKey
	l.Session = &Session{
		Account: id, ID: sid, Name: r.name, Created: unix(r.created),
		Expires: unix(rec.expires), generation: r.generation,
	}
	return sid, nil
}

// makeSessionRoom removes sessions of an account so that there is a place for one more: dead ones, and then those that were not used for
// longest. Where there are many more than are allowed, further logins remove the rest.
func (s *Service) makeSessionRoom(ctx context.Context, tx *kv.Tx, id ID, r *accountRecord) error {
	if n, err := kv.Count(ctx, s.store.engine, sessionPrefix(id), maxSessions); err != nil || n < maxSessions {
		return err
	}
	entries, _, err := s.store.engine.Scan(ctx, sessionPrefix(id), nil, scanSessions)
	if err != nil || len(entries) < maxSessions {
		return err
	}
	type used struct {
		key  []byte
		when uint64 // 0: it is dead
	}
	var list []used
	now := time.Now()
	for _, e := range entries {
		var rec sessionRecord
		if err := s.store.decode(labelSession, e.Key, e.Value, &rec); errors.Is(err, ErrDamaged) {
			continue // it stays for who looks for the cause
		} else if err != nil {
			return err
		}
		if judgeSession(r, &rec, now) != nil {
			rec.lastUsed = 0
		}
		list = append(list, used{e.Key, rec.lastUsed})
	}
	slices.SortStableFunc(list, func(a, b used) int { return cmp.Compare(a.when, b.when) })
	for _, u := range list[:min(len(list), len(entries)-maxSessions+1)] {
		tx.Delete(u.key)
	}
	return nil
}

// Resume lets a connection in by a session token whose key its handshake has proved.
func (s *Service) Resume(ctx context.Context, ch *Channel, clientNonce [32]byte, text string) (*Login, error) {
	now := time.Now()
	claims, err := s.tokens.Load().Verify(text, now)
	expired := errors.Is(err, token.ErrExpired)
	if err != nil && !expired {
		return nil, ErrSessionMalformed
	}
	if subtle.ConstantTimeCompare([]byte(claims.Thumbprint), []byte(token.Thumbprint(ch.Static))) != 1 {
		return nil, ErrSessionMalformed
	}
	if expired {
		return nil, ErrSessionExpired
	}
	id, sid := ID(claims.Subject), ID(claims.SessionID)
	r, rec, good, err := s.live(ctx, id, sid, now)
	if err != nil {
		return nil, err
	}
	if rec.jti != ID(claims.ID) {
		return nil, ErrSessionRevoked
	}
	if err := s.touch(ctx, rec, good.reads[1], ch, now); err != nil {
		return nil, err
	}
	t := s.transcript(ch, r.name, credential.PurposeSession, clientNonce)
	t.SessionID, t.AccountID = sid[:], id[:]
	return &Login{
		Session: &Session{
			Account: id, ID: sid, Name: r.name, Created: unix(r.created),
			Expires: unix(rec.expires), generation: rec.generation,
		},
		Confirm: credential.ResumeConfirm(rec.resumeKey, t.Sum()),
	}, nil
}

// live reads a session and its account, and says why it is not one to log in with.
func (s *Service) live(ctx context.Context, id, sid ID, now time.Time) (r accountRecord, rec sessionRecord, good witness, err error) {
	for i, at := range []struct {
		label string
		key   []byte
		into  record
	}{{labelAccount, accountKey(id), &r}, {labelSession, sessionKey(id, sid), &rec}} {
		e, err := s.store.engine.Get(ctx, at.key)
		if err != nil {
			return r, rec, good, err
		}
		if e.Version == 0 {
			return r, rec, good, ErrSessionRevoked
		}
		if err := s.store.decode(at.label, at.key, e.Value, at.into); err != nil {
			return r, rec, good, err
		}
		good.reads[i] = kv.Read{Key: at.key, Version: e.Version, At: e.At}
	}
	return r, rec, good, judgeSession(&r, &rec, now)
}

func judgeSession(r *accountRecord, rec *sessionRecord, now time.Time) error {
	switch {
	case rec.generation != r.generation || r.flags&flagDisabled != 0:
		return ErrSessionRevoked
	case uint64(now.Unix()) >= rec.expires:
		return ErrSessionExpired
	}
	return nil
}

// touch writes down that a session was used. It gives way to whatever else happens to the session.
func (s *Service) touch(ctx context.Context, rec sessionRecord, read kv.Read, ch *Channel, now time.Time) error {
	if now.Sub(unix(rec.lastUsed)) < touchAfter {
		return nil
	}
	rec.lastUsed = uint64(now.Unix())
	if ch.Address.IsValid() {
		rec.address = ch.Address.Unmap().String()
	}
	sealed, err := s.store.encode(labelSession, read.Key, &rec)
	if err != nil {
		return err
	}
	_, err = s.store.engine.Commit(ctx, []kv.Read{read}, []kv.Write{{Key: read.Key, Value: sealed}})
	if errors.Is(err, kv.ErrConflict) {
		return nil
	}
	return err
}

// Check says whether a session is still one: nil, ErrSessionExpired or ErrSessionRevoked, or a failure of the store.
func (s *Service) Check(ctx context.Context, session *Session) error {
	now := time.Now()
	if good := session.good.Load(); good != nil && s.store.unmoved(good.reads[:]) {
		if now.Unix() >= session.Expires.Unix() {
			return ErrSessionExpired
		}
		return nil
	}
	_, _, good, err := s.live(ctx, session.Account, session.ID, now)
	if err == nil {
		session.good.Store(&good)
	}
	return err
}

// Sessions returns up to limit live sessions of the account behind the id after, by ascending id, and
// whether there may be more.
func (s *Service) Sessions(ctx context.Context, session *Session, after ID, limit int) (list []SessionInfo, more bool, err error) {
	r, _, _, err := s.live(ctx, session.Account, session.ID, time.Now())
	if err != nil {
		return nil, false, err
	}
	return s.sessionsOf(ctx, session.Account, &r, after, limit)
}

// sessionsOf is Sessions of an account that was read. One that is damaged is nobody's any more, and is left out: it must not keep the
// others from being seen, or ended.
func (s *Service) sessionsOf(ctx context.Context, id ID, r *accountRecord, after ID, limit int) (list []SessionInfo, more bool, err error) {
	now := time.Now()
	prefix := sessionPrefix(id)
	start := append(sessionKey(id, after), 0)
	if after == (ID{}) {
		start = nil
	}
	for looked := 0; ; looked += limit {
		if looked >= lookAt && len(list) > 0 {
			return list, true, nil
		}
		entries, _, err := s.store.engine.Scan(ctx, prefix, start, limit+1)
		if err != nil {
			return nil, false, err
		}
		for _, e := range entries {
			var rec sessionRecord
			if err := s.store.decode(labelSession, e.Key, e.Value, &rec); errors.Is(err, ErrDamaged) {
				continue
			} else if err != nil {
				return nil, false, err
			}
			if judgeSession(r, &rec, now) != nil {
				continue
			}
			if len(list) == limit {
				return list, true, nil
			}
			list = append(list, SessionInfo{
				ID: ID(e.Key[len(prefix):]), Created: unix(rec.created), LastUsed: unix(rec.lastUsed),
				Expires: unix(rec.expires), Address: rec.address,
			})
		}
		if len(entries) <= limit {
			return list, false, nil
		}
		start = append(entries[limit].Key, 0)
	}
}

// Logout ends a session.
func (s *Service) Logout(ctx context.Context, session *Session, ch *Channel) error {
	return kv.Update(ctx, s.store.engine, func(tx *kv.Tx) error {
		key := sessionKey(session.Account, session.ID)
		if _, ok, err := tx.Get(key); err != nil || !ok {
			return err // ended meanwhile, which is what was asked for
		}
		tx.Delete(key)
		return s.audit(tx, Event{
			Kind: KindLogout, Outcome: Success, Account: session.Account, Session: session.ID,
			Name: session.Name, Address: ch.Address,
		})
	})
}
