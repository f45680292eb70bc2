package account

import (
	"context"
	"slices"
	"time"

	"github.com/authsrv/authsrv/credential"
	"github.com/authsrv/authsrv/kv"
)

// BeginOperation returns a challenge for one operation of a session: KindChangePassword, KindDelete or KindRevokeAll.
func (s *Service) BeginOperation(ctx context.Context, ch *Channel, session *Session, kind Kind, clientNonce [32]byte) (*Attempt, Challenge, error) {
	r, _, _, err := s.live(ctx, session.Account, session.ID, time.Now())
	if err != nil {
		return nil, Challenge{}, err
	}
	a, err := s.begin(kind, ch, session.Name, credential.PurposeOperation, clientNonce)
	if err != nil {
		return nil, Challenge{}, err
	}
	a.account, a.session = session.Account, session
	a.transcript.Method = credential.MethodPassword
	a.transcript.OfferedMethods = []byte{credential.MethodPassword}
	a.transcript.SessionID, a.transcript.AccountID = session.ID[:], session.Account[:]
	a.setKDF(r.verifier.KDF)
	return a, s.challenge(a), nil
}

// operate proves an operation and runs change, provided that the session it is asked in is still live in that same transaction. That comes
// first: of two changes of a password at once, the later one is not a wrong password. Only right proofs count for how many operations an
// account has, so that who has a session and no password takes none of them; one too many is a *Denied that is ErrOverloaded.
func (s *Service) operate(ctx context.Context, a *Attempt, alive bool, digest [32]byte, proof [64]byte, change func(*kv.Tx, ID, *accountRecord) (ID, error)) error {
	a.transcript.OpDigest = digest[:]
	counted, mine := false, portion[ID]{a.session.Account, 1}
	err := s.prove(ctx, a, alive, a.transcript.Sum(), proof, func(tx *kv.Tx, id ID, r *accountRecord) error {
		var rec sessionRecord
		there, err := s.store.get(tx, labelSession, sessionKey(a.session.Account, a.session.ID), &rec)
		if err != nil {
			return err
		}
		if !there || id != a.session.Account {
			return ErrSessionRevoked
		}
		return judgeSession(r, &rec, time.Now())
	}, func(tx *kv.Tx, id ID, r *accountRecord) (ID, error) {
		if !counted { // it may be run again
			if err := s.operations.take(mine); err != nil {
				return ID{}, err
			}
			counted = true
		}
		return change(tx, id, r)
	})
	if err != nil && counted {
		s.operations.giveBack(mine)
	}
	return err
}

// ChangePassword puts a new record in the place of the old one. All sessions end, and the one in which it was asked for is
// succeeded by the one that is returned, with the same end.
func (s *Service) ChangePassword(ctx context.Context, a *Attempt, v Verifier, digest [32]byte, newProof, proof [64]byte) (*Login, error) {
	alive, err := a.burn(KindChangePassword)
	if err != nil {
		return nil, err
	}
	if alive {
		if err := a.checkRecord(v, digest, newProof); err != nil {
			return nil, err
		}
	}
	var l Login
	var last *kv.Tx
	err = s.operate(ctx, a, alive, digest, proof, func(tx *kv.Tx, id ID, r *accountRecord) (ID, error) {
		last = tx
		r.verifier = v
		r.generation++
		r.changed = uint64(time.Now().Unix())
		if err := s.store.put(tx, labelAccount, accountKey(id), r); err != nil {
			return ID{}, err
		}
		tx.Delete(sessionKey(id, a.session.ID))
		l = Login{}
		return s.openSession(tx, &l, id, r, a.channel, a.session.Expires)
	})
	if err != nil {
		return nil, err
	}
	l.Session.opened(last)
	return &l, nil
}

// RevokeAll ends all sessions of the account.
func (s *Service) RevokeAll(ctx context.Context, a *Attempt, digest [32]byte, proof [64]byte) error {
	alive, err := a.burn(KindRevokeAll)
	if err != nil {
		return err
	}
	return s.operate(ctx, a, alive, digest, proof, func(tx *kv.Tx, id ID, r *accountRecord) (ID, error) {
		tx.Delete(sessionKey(id, a.session.ID))
		return a.session.ID, s.endSessions(tx, id, r)
	})
}

// endSessions writes an account back such that every session that it has is dead.
func (s *Service) endSessions(tx *kv.Tx, id ID, r *accountRecord) error {
	r.generation++
	return s.store.put(tx, labelAccount, accountKey(id), r)
}

// Delete removes the account and all that is of it. On return nothing is left but the audit record, unless ctx has ended meanwhile: then
// what is left is dead, and the sweep's.
func (s *Service) Delete(ctx context.Context, a *Attempt, digest [32]byte, proof [64]byte) error {
	alive, err := a.burn(KindDelete)
	if err != nil {
		return err
	}
	err = s.operate(ctx, a, alive, digest, proof, func(tx *kv.Tx, id ID, r *accountRecord) (ID, error) {
		return a.session.ID, s.erase(ctx, tx, id, r)
	})
	if err != nil {
		return err
	}
	// The account is gone for good, and so nothing that happens from here on is an error of the deletion. Its
	// sessions and devices are dead; those that a failure of the store leaves here are the sweep's.
	_ = s.removeRest(ctx, a.session.Account)
	return nil
}

// erase removes an account, its name and the failures of that, its devices, and as many of its sessions as have room beside them.
func (s *Service) erase(ctx context.Context, tx *kv.Tx, id ID, r *accountRecord) error {
	sessions, _, err := s.store.engine.Scan(ctx, sessionPrefix(id), nil, sweepBatch)
	if err != nil {
		return err
	}
	if err := s.clearFailures(tx, r.name); err != nil {
		return err
	}
	tx.Delete(s.store.nameKey(r.name))
	tx.Delete(accountKey(id))
	devices, _, err := s.store.engine.Scan(ctx, devicePrefix(id), nil, scanDevices)
	if err != nil {
		return err
	}
	for _, e := range slices.Concat(sessions, devices) {
		tx.Delete(e.Key)
	}
	return nil
}
