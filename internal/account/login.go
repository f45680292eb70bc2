package account

import (
	"context"
	"time"

	"github.com/authsrv/authsrv/credential"
	"github.com/authsrv/authsrv/kv"
)

// Login is a connection that was let in.
type Login struct {
	Session   *Session
	Confirm   [32]byte // or the resume confirm
	Token     string   // empty after a session token
	ResumeKey [32]byte // zero after a session token
}

// BeginLogin returns a challenge for a name, whether or not it has an account.
func (s *Service) BeginLogin(ctx context.Context, ch *Channel, start *Start) (*Attempt, Challenge, error) {
	var before []kv.Entry
	var o opened
	id, r, _, err := s.lookupAgain(s.keeping(ctx, &before), start.Name, &o)
	if err != nil {
		return nil, Challenge{}, err
	}
	a, err := s.begin(KindLogin, ch, start.Name, credential.PurposeLogin, start.ClientNonce)
	if err != nil {
		return nil, Challenge{}, err
	}
	a.account, a.lifetime = id, start.Lifetime
	a.before, a.opened = before, o
	a.transcript.Options = uint32(start.Lifetime / time.Second)
	a.transcript.Method = start.Method
	a.transcript.OfferedMethods = append([]byte(nil), start.Offered...)
	a.setKDF(r.verifier.KDF)
	return a, s.challenge(a), nil
}

// FinishLogin burns the nonce and checks the proof. Any refusal is a *Denied.
func (s *Service) FinishLogin(ctx context.Context, a *Attempt, proof [64]byte) (*Login, error) {
	alive, err := a.burn(KindLogin)
	if err != nil {
		return nil, err
	}
	var l Login
	var last *kv.Tx
	sum := a.transcript.Sum()
	err = s.prove(ctx, a, alive, sum, proof, nil, func(tx *kv.Tx, id ID, r *accountRecord) (ID, error) {
		last = tx
		l = Login{Confirm: credential.Confirm(r.verifier.ServerKey, sum, proof)}
		if err := s.makeSessionRoom(ctx, tx, id, r); err != nil {
			return ID{}, err
		}
		return s.openSession(tx, &l, id, r, a.channel, time.Now().Add(s.lifetime(a.lifetime)))
	})
	if err != nil {
		return nil, err
	}
	l.Session.opened(last)
	return &l, nil
}

// lifetime bounds what a client asked for.
func (s *Service) lifetime(asked time.Duration) time.Duration {
	rules := s.rules.Load()
	if asked == 0 {
		return rules.SessionLife
	}
	return min(asked, rules.MaxSessionLife)
}
