package account

import (
	"context"
	"net/netip"
	"sync"
	"time"

	"github.com/authsrv/authsrv/credential"
	"github.com/authsrv/authsrv/internal/network"
	"github.com/authsrv/authsrv/kv"
)

// BeginRegister returns what a new record is to be made with. It refuses who may not register, and
// names that break a rule.
func (s *Service) BeginRegister(ctx context.Context, ch *Channel, start *Start) (*Attempt, Challenge, error) {
	kind := KindRegister
	switch mode, checked := s.Registration(), start.Method == credential.MethodCheckedPassword; {
	case mode == RegistrationClosed:
		return nil, Challenge{}, ErrRegistrationClosed
	case mode == RegistrationChecked && !checked:
		return nil, Challenge{}, ErrPasswordNeeded
	case mode != RegistrationChecked && checked:
		return nil, Challenge{}, ErrRegistrationClosed
	case mode == RegistrationInvited && start.Code == nil:
		return nil, Challenge{}, ErrInviteNeeded
	case checked:
		kind = KindRegisterChecked
	case start.Code != nil:
		kind = KindRegisterInvited
	}
	name, err := credential.PrepareName(start.Name)
	if err != nil {
		return nil, Challenge{}, err
	}
	if name != start.Name { // on the wire is the prepared form
		return nil, Challenge{}, credential.RuleNameCharacters
	}
	a, err := s.begin(kind, ch, name, credential.PurposeRegister, start.ClientNonce)
	if err != nil {
		return nil, Challenge{}, err
	}
	a.transcript.Method = start.Method
	a.transcript.OfferedMethods = append([]byte(nil), start.Offered...)
	if kind == KindRegisterInvited {
		a.code, a.byCode = *start.Code, true
	}
	a.setKDF(s.c.KDF)
	return a, s.challenge(a), nil
}

// FinishRegister makes the account, with a record that the new key has signed. It does not log in. Too many of one address are told
// by a *Denied that is ErrOverloaded.
func (s *Service) FinishRegister(ctx context.Context, a *Attempt, v Verifier, digest [32]byte, signature [64]byte) error {
	if alive, err := a.burn(KindRegister); err != nil || !alive {
		return ErrRecordRefused
	}
	if err := a.checkRecord(v, digest, signature); err != nil {
		return err
	}
	if err := s.takeRegistration(a.channel.Address); err != nil {
		return err
	}
	return s.create(ctx, a, v)
}

// checkRecord puts what was sent of a new record into the transcript, where a proof behind it needs it, and says whether the record is as it was asked for and
// signed by its own key.
func (a *Attempt) checkRecord(v Verifier, digest [32]byte, signature [64]byte) error {
	a.transcript.OpDigest = digest[:]
	if v.KDF != a.newKDF || credential.CheckPublicKey(v.PublicKey[:]) != nil ||
		!credential.VerifyNewKey(v.PublicKey, a.transcript.Sum(), signature) {
		return ErrRecordRefused
	}
	return nil
}

// FinishRegisterChecked judges the password, makes the record and then the account. The password
// is not kept; the caller clears it.
func (s *Service) FinishRegisterChecked(ctx context.Context, a *Attempt, password []byte) error {
	if alive, err := a.burn(KindRegisterChecked); err != nil || !alive {
		return ErrRecordRefused
	}
	prepared, err := credential.PreparePassword(string(password))
	if err != nil {
		return err
	}
	defer clear(prepared)
	if err := s.takeRegistration(a.channel.Address); err != nil {
		return err
	}
	// A name that is taken is refused without the work; create finds out for certain.
	if _, taken, err := s.now(ctx)(s.store.nameKey(a.name)); err != nil {
		return err
	} else if taken {
		return ErrNameTaken
	}
	v, err := s.judgeAndStretch(ctx, a, prepared)
	if err != nil {
		return err
	}
	return s.create(ctx, a, v)
}

// judgeAndStretch is the one place where the server computes with a password. It takes as long as a
// client does and as much memory, so that few may be in here at once, and a few more wait. Of one address there are fewer still, so that
// it can't hold registration shut for the others.
func (s *Service) judgeAndStretch(ctx context.Context, a *Attempt, password []byte) (v Verifier, err error) {
	prefix := addressPrefix(a.channel.Address)
	if !s.crowd.enter(prefix) {
		return v, ErrOverloaded
	}
	defer s.crowd.leave(prefix)
	select {
	case s.waiting <- struct{}{}:
		defer func() { <-s.waiting }()
	default:
		return v, ErrOverloaded
	}
	select {
	case s.stretch <- struct{}{}:
		defer func() { <-s.stretch }()
	case <-ctx.Done():
		return v, ErrOverloaded
	}
	if err := s.rules.Load().Policy.Check(a.name, password); err != nil {
		return v, err
	}
	key, err := credential.Derive(password, s.c.Secrets.RealmID, a.name, a.salt, a.newKDF)
	if err != nil {
		return v, err
	}
	defer key.Destroy()
	return Verifier{KDF: a.newKDF, PublicKey: key.Public(), ServerKey: key.ServerKey()}, nil
}

// stretchingPerAddress is how many passwords of one address prefix are stretched, or wait to be, at once.
const stretchingPerAddress = 2

// crowd counts who stretches or waits to, by address prefix.
type crowd struct {
	mu sync.Mutex
	n  map[string]int
}

func (c *crowd) enter(prefix string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.n[prefix] >= stretchingPerAddress {
		return false
	}
	if c.n == nil {
		c.n = make(map[string]int)
	}
	c.n[prefix]++
	return true
}

func (c *crowd) leave(prefix string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.n[prefix]--; c.n[prefix] == 0 {
		delete(c.n, prefix)
	}
}

// takeRegistration counts a registration for the networks of an address, or returns a *Denied that is ErrOverloaded.
func (s *Service) takeRegistration(a netip.Addr) error {
	portions := make([]portion[netip.Prefix], 0, network.Levels)
	for level, prefix := range network.Of(a) {
		if prefix.IsValid() || level == int(network.Own) {
			portions = append(portions, portion[netip.Prefix]{prefix, network.Level(level).Share()})
		}
	}
	return s.registrations.take(portions...)
}

// create writes the account if its name is free.
func (s *Service) create(ctx context.Context, a *Attempt, v Verifier) error {
	id, r, err := s.newAccount(a, v)
	if err != nil {
		return err
	}
	return kv.Update(ctx, s.store.engine, func(tx *kv.Tx) error {
		if err := s.enroll(tx, id, &r); err != nil {
			return err
		}
		return s.audit(tx, Event{Kind: a.kind, Outcome: Success, Account: id, Name: a.name, Address: a.channel.Address})
	})
}

// newAccount is an account that is still to be written.
func (s *Service) newAccount(a *Attempt, v Verifier) (id ID, r accountRecord, err error) {
	now := uint64(time.Now().Unix())
	r = accountRecord{
		name: a.name, method: credential.MethodPassword, verifier: v,
		generation: 1, created: now, changed: now,
	}
	err = s.random(id[:])
	return id, r, err
}

// enroll writes an account if its name is free.
func (s *Service) enroll(tx *kv.Tx, id ID, r *accountRecord) error {
	key := s.store.nameKey(r.name)
	if _, taken, err := tx.Get(key); err != nil {
		return err
	} else if taken {
		return ErrNameTaken
	}
	if err := s.store.put(tx, labelName, key, &idRecord{id}); err != nil {
		return err
	}
	return s.store.put(tx, labelAccount, accountKey(id), r)
}
