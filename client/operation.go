package client

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/authsrv/authsrv/client/store"
	"github.com/authsrv/authsrv/credential"
	"github.com/authsrv/authsrv/wire"
)

// operation is a challenge for one request that needs the password again.
type operation struct {
	id         uint32
	challenge  wire.OpChallenge
	transcript credential.Transcript
	key        *credential.Key // of the current password
}

// operate asks for a challenge and stretches the current password. The caller destroys the key.
func (s *Session) operate(ctx context.Context, t wire.Type, password string) (*operation, error) {
	prepared, err := preparePassword(password)
	if err != nil {
		return nil, err
	}
	defer clear(prepared)
	c := s.client
	start := wire.OpStart{Operation: t}
	if _, err := io.ReadFull(c.c.Rand, start.ClientNonce[:]); err != nil {
		return nil, err
	}
	b, err := s.call(ctx, 0, wire.TypeOpChallenge, func(id uint32) []byte {
		start.ID = id
		return start.AppendTo(nil)
	})
	if err != nil {
		return nil, err
	}
	op := &operation{id: start.ID}
	if op.challenge, err = wire.ParseOpChallenge(b); err != nil {
		return nil, s.malformed(err)
	}
	ch := &op.challenge
	for _, kdf := range []wire.KDF{ch.KDF, ch.NewKDF} {
		if err := c.checkParameters(ctx, s.name, kdf, ch.Salt); err != nil {
			return nil, err
		}
	}
	if op.key, err = c.stretch(ctx, prepared, s.name, ch.Salt, ch.KDF); err != nil {
		return nil, err
	}
	s.mu.Lock()
	sid, aid := s.id, s.accountID
	s.mu.Unlock()
	op.transcript = c.transcript(&wire.AuthStart{
		Purpose: credential.PurposeOperation, Method: wire.MethodPassword, Offered: []byte{byte(wire.MethodPassword)},
		ClientNonce: start.ClientNonce,
	}, s.name)
	sum := &op.transcript
	sum.ServerNonce, sum.Salt, sum.KDF = ch.ServerNonce[:], ch.Salt[:], credential.KDF(ch.KDF)
	sum.SessionID, sum.AccountID = sid[:], aid[:]
	return op, nil
}

// sum is T for a request whose signed part is given.
func (op *operation) sum(signed []byte) [32]byte {
	digest := sha256.Sum256(signed)
	op.transcript.OpDigest = digest[:]
	return op.transcript.Sum()
}

// ChangePassword puts a new password in the place of the current one. The old one is good for nothing from then on, and all
// other sessions of the account have ended; this one goes on.
func (s *Session) ChangePassword(ctx context.Context, current, next string) error {
	if err := s.changing.take(ctx); err != nil {
		return err
	}
	defer s.changing.pass()
	prepared, err := preparePassword(next)
	if err != nil {
		return err
	}
	defer clear(prepared)
	op, err := s.operate(ctx, wire.TypeChangePassword, current)
	if err != nil {
		return err
	}
	defer op.key.Destroy()
	ch := &op.challenge
	if err := checkPassword(ch.Policy, s.name, prepared); err != nil {
		return err
	}
	key, err := s.client.stretch(ctx, prepared, s.name, ch.Salt, ch.NewKDF)
	if err != nil {
		return err
	}
	defer key.Destroy()
	m := wire.ChangePassword{ID: op.id, Record: recordOf(ch.NewKDF, key)}
	sum := op.sum(m.AppendSigned(nil))
	m.NewProof, m.Proof = key.ProveNew(sum), op.key.Prove(sum)
	var changed wire.PasswordChanged
	err = s.last(ctx, op.id, wire.TypePasswordChanged, m.AppendTo(nil), func(b []byte) (err error) {
		changed, err = wire.ParsePasswordChanged(b)
		return err
	})
	if errors.Is(err, ErrOutcomeUnknown) {
		if s.alive(ctx) { // and next may be the password of before
			return errNotMade
		}
		if err := s.client.settle(ctx, s.name, next, err); err != nil {
			return err
		}
		return remembered(s.forget()) // what takes its place was in the answer
	}
	if err != nil {
		return err
	}
	s.mu.Lock()
	before := s.id
	s.id, s.expires = changed.SessionID, time.Unix(int64(changed.Expires), 0)
	s.mu.Unlock()
	kept := s.client.keep(s.name, ch.NewKDF, ch.Salt)
	if _, err := s.client.c.Store.ReplaceSession(before, s.record(store.Token(changed.Token), changed.ResumeKey)); err != nil {
		return remembered(err)
	}
	return remembered(kept)
}

// Delete removes the account for good, and all that is of it. The connection ends. If that was lost before the answer came, and
// the session is not good any more, the outcome stays unknown: to be denied a login is no proof that the account is gone.
func (s *Session) Delete(ctx context.Context, password string) error {
	err := s.prove(ctx, wire.TypeDeleteAccount, password)
	if errors.Is(err, ErrOutcomeUnknown) && s.alive(ctx) {
		return errNotMade
	}
	if err != nil {
		return err
	}
	_, removed := s.client.c.Store.RemoveAccount(s.client.hello.Load().RealmID, s.name)
	if err := s.forget(); err != nil {
		return remembered(err)
	}
	return remembered(removed)
}

// LogoutAll ends all sessions of the account, this one too. The connection ends.
func (s *Session) LogoutAll(ctx context.Context, password string) error {
	if err := s.prove(ctx, wire.TypeRevokeAll, password); err != nil {
		return err
	}
	return remembered(s.forget())
}

// prove makes a request that holds nothing but a proof.
func (s *Session) prove(ctx context.Context, t wire.Type, password string) error {
	if err := s.changing.take(ctx); err != nil {
		return err
	}
	defer s.changing.pass()
	op, err := s.operate(ctx, t, password)
	if err != nil {
		return err
	}
	defer op.key.Destroy()
	m := wire.ProvedOp{Type: t, ID: op.id}
	m.Proof = op.key.Prove(op.sum(m.AppendSigned(nil)))
	return s.last(ctx, op.id, wire.TypeDone, m.AppendTo(nil), func(b []byte) error {
		_, err := wire.ParsePlain(b, wire.TypeDone)
		return err
	})
}

// last sends the last message of an operation, unless ctx has ended, and parses its answer. Where that is lost, or is none, so is the
// connection: ctx ends a write, too, that does not get on.
func (s *Session) last(ctx context.Context, id uint32, want wire.Type, request []byte, parse func([]byte) error) error {
	ctx, cancel := context.WithTimeout(ctx, requestTime)
	defer cancel()
	answer := make(chan []byte, 1)
	written, err := s.send(ctx, id, answer, true, func(uint32) []byte { return request })
	if !written {
		return err
	}
	if err != nil {
		return lost(err)
	}
	b, err := s.await(ctx, answer, want)
	if err == nil {
		if err = parse(b); err != nil {
			err = s.malformed(err)
		}
	}
	if err = lost(err); errors.Is(err, ErrOutcomeUnknown) {
		s.end(fmt.Errorf("%w: an answer did not come", ErrConnection))
	}
	return err
}
