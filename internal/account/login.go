package account

import (
	"bytes"
	"context"
	"slices"
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
	seen, err := s.see(ctx, start.Name, ch.Static)
	if err != nil {
		return nil, Challenge{}, err
	}
	a, err := s.begin(KindLogin, ch, start.Name, credential.PurposeLogin, start.ClientNonce)
	if err != nil {
		return nil, Challenge{}, err
	}
	a.account, a.lifetime, a.seen = seen.id, start.Lifetime, seen
	a.transcript.Options = uint32(start.Lifetime / time.Second)
	a.transcript.Method = start.Method
	a.transcript.OfferedMethods = append([]byte(nil), start.Offered...)
	a.setKDF(seen.opened.account.verifier.KDF)
	return a, s.challenge(a), nil
}

// A sight is what was read of a name before anything was judged.
type sight struct {
	id      ID         // of its account, or a made-up one
	opened  opened     // the records of both
	entries []kv.Entry // all that was read
	roomy   bool       // its sessions were counted, and are few
}

// Where an account had fewer than fewSessions, they are not counted again for a proof that comes within roomyTime.
const (
	fewSessions = maxSessions / 2
	roomyTime   = time.Second
)

// see reads the account of a name and the device that is used, and where the account knows that device, what else its login looks at, all in one go. Of a
// stranger's login the rest is read behind the proof: before it, it would tell by its time that there are sessions, or that the owner was here in between.
func (s *Service) see(ctx context.Context, name string, static [32]byte) (sight, error) {
	return kv.View(ctx, s.store.engine, func(from kv.Reader) (v sight, err error) {
		v.entries = make([]kv.Entry, 0, 5)
		get := keeping(from.Get, &v.entries)
		if _, _, err := get(headKey); err != nil { // for the audit
			return v, err
		}
		if v.id, _, _, err = s.lookupAgain(get, name, &v.opened); err != nil {
			return v, err
		}
		_, known, err := get(deviceKey(v.id, static))
		if err != nil || !known {
			return v, err
		}
		if _, _, err := get(s.store.throttleKey(throttleName, name)); err != nil {
			return v, err
		}
		n, err := from.Count(sessionPrefix(v.id), fewSessions)
		v.roomy = n < fewSessions
		return v, err
	})
}

// entry returns that of a key, if it was read and has certainly not moved since.
func (v *sight) entry(s *store, key []byte) (e kv.Entry, ok bool) {
	i := slices.IndexFunc(v.entries, func(e kv.Entry) bool { return bytes.Equal(e.Key, key) })
	if i < 0 {
		return e, false
	}
	e = v.entries[i]
	return e, s.unmoved([]kv.Read{{Key: e.Key, Version: e.Version, At: e.At}})
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
		if !a.seen.roomy || time.Since(a.issued) > roomyTime {
			if err := s.makeSessionRoom(ctx, tx, id, r); err != nil {
				return ID{}, err
			}
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
