package account

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/authsrv/authsrv/credential"
	"github.com/authsrv/authsrv/kv"
	"golang.org/x/crypto/cryptobyte"
)

// How long codes live (PROTOCOL 5.1).
const (
	InviteLife  = 7 * 24 * time.Hour // by default
	ResetLife   = 24 * time.Hour     // by default
	MinCodeLife = time.Minute
	MaxCodeLife = 30 * 24 * time.Hour
)

// ErrCodeLife says that a code was to live for too short or too long.
var ErrCodeLife = fmt.Errorf("account: a code lives from %v to %v", MinCodeLife, MaxCodeLife)

// codeRecord is what is kept of a code (STORAGE 3.2): its secret is not. Times are Unix seconds.
type codeRecord struct {
	kind             credential.CodeKind
	publicKey        [32]byte // C
	serverKey        [32]byte // C_srv
	created, expires uint64
	account          ID     // of a reset; zero: an invite
	generation       uint64 // of that account; another one ends the code
}

func (r *codeRecord) encode() ([]byte, error) {
	b := cryptobyte.NewBuilder(make([]byte, 0, 128))
	b.AddUint8(uint8(r.kind))
	b.AddBytes(r.publicKey[:])
	b.AddBytes(r.serverKey[:])
	b.AddUint64(r.created)
	b.AddUint64(r.expires)
	b.AddBytes(r.account[:])
	b.AddUint64(r.generation)
	return b.Bytes()
}

func (r *codeRecord) decode(record []byte) error {
	s := cryptobyte.String(record)
	ok := s.ReadUint8((*uint8)(&r.kind)) && s.CopyBytes(r.publicKey[:]) && s.CopyBytes(r.serverKey[:]) &&
		s.ReadUint64(&r.created) && s.ReadUint64(&r.expires) && s.CopyBytes(r.account[:]) && s.ReadUint64(&r.generation) && s.Empty()
	if !ok || r.kind.String() == "" {
		return fmt.Errorf("%w: code", ErrDamaged)
	}
	if err := credential.CheckPublicKey(r.publicKey[:]); err != nil {
		return fmt.Errorf("%w: code: %v", ErrDamaged, err)
	}
	return nil
}

func codeKey(id ID) []byte { return append([]byte{spaceCode}, id[:]...) }

// Issued is a code for a person.
type Issued struct {
	Code    credential.Code
	Expires time.Time
	Name    string // the account that it is for; "": an invite
}

// IssueInvite makes a code with which one account can be registered. The server is the SHA-256 of its identity; no life: InviteLife.
func (s *Service) IssueInvite(ctx context.Context, server [32]byte, life time.Duration) (issued Issued, err error) {
	if life, err = codeLife(life, InviteLife); err != nil {
		return issued, err
	}
	err = kv.Update(ctx, s.store.engine, func(tx *kv.Tx) error {
		if issued, err = s.issue(tx, credential.CodeInvite, server, life, codeRecord{}); err != nil {
			return err
		}
		return s.audit(tx, Event{Kind: KindAdminInvite, Outcome: Success})
	})
	return issued, err
}

// IssueReset makes a code that sets a new password for a name's account, or returns ErrNoAccount. No life: ResetLife.
func (s *Service) IssueReset(ctx context.Context, name string, server [32]byte, life time.Duration) (issued Issued, err error) {
	if life, err = codeLife(life, ResetLife); err != nil {
		return issued, err
	}
	err = s.administer(ctx, KindAdminReset, name, func(tx *kv.Tx, id ID, r *accountRecord) (ID, bool, error) {
		issued, err = s.issue(tx, credential.CodeReset, server, life, codeRecord{account: id, generation: r.generation})
		issued.Name = r.name
		return ID{}, true, err
	})
	return issued, err
}

func codeLife(life, fallback time.Duration) (time.Duration, error) {
	if life == 0 {
		return fallback, nil
	}
	if life < MinCodeLife || life > MaxCodeLife {
		return 0, ErrCodeLife
	}
	return life, nil
}

// issue makes a code and writes its record, which comes with whose it is.
func (s *Service) issue(tx *kv.Tx, kind credential.CodeKind, server [32]byte, life time.Duration, r codeRecord) (Issued, error) {
	code, err := credential.NewCode(s.c.Rand, kind, server)
	if err != nil {
		return Issued{}, err
	}
	key, err := code.Key()
	if err != nil {
		return Issued{}, err
	}
	defer key.Destroy()
	now := time.Now()
	r.kind, r.publicKey, r.serverKey = kind, key.Public(), key.ServerKey()
	r.created, r.expires = uint64(now.Unix()), uint64(now.Add(life).Unix())
	return Issued{Code: code, Expires: unix(r.expires)}, s.store.put(tx, labelCode, codeKey(code.ID), &r)
}

// lookupCode reads a code by way of get. For an id without one it reads, opens and returns as much, made up, and real is false.
func (s *Service) lookupCode(get func([]byte) ([]byte, bool, error), id ID) (r codeRecord, real bool, err error) {
	key := codeKey(id)
	sealed, real, err := get(key)
	if err != nil {
		return r, false, err
	}
	if made := s.dummy.Load(); !real {
		key, sealed = made.codeKey, made.code
	}
	return r, real, s.store.decode(labelCode, key, sealed, &r)
}

// judge says whether a code is one for an account in this state; zero: for an invite.
func (r *codeRecord) judge(kind credential.CodeKind, real, good, alive bool, account ID, generation uint64) Outcome {
	switch {
	case !real:
		return UnknownCode
	case !good:
		return WrongCode
	case !alive:
		return NonceExpired
	case r.kind != kind || r.account != account || r.generation != generation:
		return ForeignCode
	case uint64(time.Now().Unix()) >= r.expires:
		return ExpiredCode
	}
	return Success
}

// burnCode is burn, with the refusal of a code.
func (a *Attempt) burnCode(kind Kind) (alive bool, err error) {
	if alive, err = a.burn(kind); err != nil {
		err = &Denied{Reason: NonceExpired, ByCode: true}
	}
	return alive, err
}

// FinishInvited makes the account as FinishRegister does, for a code proof that uses an invite up. It returns what shows that the
// server knows the code. Whatever is wrong with the code is a *Denied.
func (s *Service) FinishInvited(ctx context.Context, a *Attempt, v Verifier, digest [32]byte, signature, codeProof [64]byte) (confirm [32]byte, err error) {
	alive, err := a.burnCode(KindRegisterInvited)
	if err != nil {
		return confirm, err
	}
	if err := a.checkRecord(v, digest, signature); alive && err != nil {
		return confirm, err
	}
	id, r, err := s.newAccount(a, v)
	if err != nil {
		return confirm, err
	}
	sum := a.transcript.Sum()
	err = s.decide(ctx, a, func(tx *kv.Tx) (Outcome, error) {
		code, real, err := s.lookupCode(tx.Get, a.code)
		good := credential.VerifyCode(code.publicKey, sum, codeProof)
		confirm = credential.Confirm(code.serverKey, sum, codeProof)
		return code.judge(credential.CodeInvite, real, good, alive, ID{}, 0), err
	}, func(tx *kv.Tx) (ID, ID, error) {
		tx.Delete(codeKey(a.code))
		return id, ID{}, s.enroll(tx, id, &r)
	})
	if err != nil {
		return [32]byte{}, err
	}
	return confirm, nil
}

// BeginReset returns what a new record is to be made with. It says nothing of the name or the code, and does not look at them.
func (s *Service) BeginReset(_ context.Context, ch *Channel, start *Start) (*Attempt, Challenge, error) {
	if start.Code == nil {
		return nil, Challenge{}, errors.New("account: a reset without a code")
	}
	name, err := credential.PrepareName(start.Name)
	if err != nil {
		return nil, Challenge{}, err
	}
	if name != start.Name { // on the wire is the prepared form
		return nil, Challenge{}, credential.RuleNameCharacters
	}
	a, err := s.begin(KindReset, ch, name, credential.PurposeReset, start.ClientNonce)
	if err != nil {
		return nil, Challenge{}, err
	}
	a.transcript.Method = start.Method
	a.transcript.OfferedMethods = append([]byte(nil), start.Offered...)
	a.code, a.byCode = *start.Code, true
	a.setKDF(s.c.KDF)
	return a, s.challenge(a), nil
}

// FinishReset puts a new record in the place of the account's, for a code proof that uses a reset up. All sessions end, what else the
// account has stays. It returns what shows that the server knows the code. Whatever is wrong with code or name is a *Denied.
func (s *Service) FinishReset(ctx context.Context, a *Attempt, v Verifier, digest [32]byte, newProof, codeProof [64]byte) (confirm [32]byte, err error) {
	alive, err := a.burnCode(KindReset)
	if err != nil {
		return confirm, err
	}
	if err := a.checkRecord(v, digest, newProof); alive && err != nil {
		return confirm, err
	}
	sum := a.transcript.Sum()
	var id ID
	var r accountRecord
	err = s.decide(ctx, a, func(tx *kv.Tx) (Outcome, error) {
		var known bool
		var err error
		if id, r, known, err = s.lookup(tx.Peek, a.name); err != nil {
			return 0, err
		}
		code, real, err := s.lookupCode(tx.Get, a.code)
		good := credential.VerifyCode(code.publicKey, sum, codeProof)
		confirm = credential.Confirm(code.serverKey, sum, codeProof)
		outcome := code.judge(credential.CodeReset, real, good, alive, id, r.generation)
		if !known {
			outcome = UnknownName
		}
		return outcome, err
	}, func(tx *kv.Tx) (ID, ID, error) {
		if err := s.greet(ctx, tx, a, id); err != nil { // who forgot a password has failed on this device
			return id, ID{}, err
		}
		tx.Delete(codeKey(a.code))
		r.verifier, r.changed = v, uint64(time.Now().Unix())
		return id, ID{}, s.endSessions(tx, id, &r)
	})
	if err != nil {
		return [32]byte{}, err
	}
	return confirm, nil
}
