package account

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/authsrv/authsrv/credential"
	"github.com/authsrv/authsrv/kv"
)

// Channel is what makes one connection different from every other.
type Channel struct {
	Preface   [8]byte
	Handshake [32]byte // the Noise handshake hash
	Static    [32]byte // the client's X25519 static key
	Address   netip.Addr
}

// Start is what a client says at the beginning of an attempt.
type Start struct {
	Name        string
	Method      uint8
	Offered     []byte
	Lifetime    time.Duration // of the session asked for; 0: the default
	ClientNonce [32]byte
	Code        *ID // the public id of a code, if there is one
}

// An Attempt is one challenge and what it was given for. It lives in the memory of its connection,
// and is good for one proof, right or wrong, within NonceLife. It is not safe for concurrent use.
type Attempt struct {
	kind       Kind
	name       string
	account    ID // of the name when it began, or a made-up one
	channel    *Channel
	session    *Session // of an operation
	code       ID       // that is proved, if any is
	byCode     bool
	lifetime   time.Duration
	transcript credential.Transcript
	nonce      [32]byte
	salt       [16]byte
	kdf        credential.KDF
	newKDF     credential.KDF // of a new record
	issued     time.Time
	burned     bool

	seen sight // when it began
}

// Challenge is what the peer is told of an Attempt.
type Challenge struct {
	ServerNonce [32]byte
	Salt        [16]byte
	KDF         credential.KDF // of the current record, or of the new one at a registration
	NewKDF      credential.KDF // of a new record
	Life        time.Duration
	Policy      credential.Policy
}

// begin makes an Attempt with a fresh nonce.
func (s *Service) begin(kind Kind, ch *Channel, name string, purpose uint8, clientNonce [32]byte) (*Attempt, error) {
	a := &Attempt{
		kind: kind, name: name, channel: ch, newKDF: s.c.KDF, issued: time.Now(),
		salt:       credential.Salt(s.c.Secrets.SaltKey, s.c.Secrets.RealmID, name),
		transcript: s.transcript(ch, name, purpose, clientNonce),
	}
	if err := s.random(a.nonce[:]); err != nil {
		return nil, err
	}
	a.transcript.ServerNonce = a.nonce[:]
	a.transcript.Salt = a.salt[:]
	return a, nil
}

// transcript returns the fields that every transcript has.
func (s *Service) transcript(ch *Channel, name string, purpose uint8, clientNonce [32]byte) credential.Transcript {
	return credential.Transcript{
		Preface: ch.Preface, Handshake: ch.Handshake, RealmID: s.c.Secrets.RealmID,
		Purpose: purpose, LoginName: name, ClientStatic: ch.Static, ClientNonce: clientNonce,
	}
}

func (a *Attempt) setKDF(k credential.KDF) {
	a.kdf, a.transcript.KDF = k, k
}

func (s *Service) challenge(a *Attempt) Challenge {
	return Challenge{a.nonce, a.salt, a.kdf, a.newKDF, NonceLife, s.rules.Load().Policy}
}

// burn uses the nonce up, and says whether it was still alive. Without a nonce for this kind of
// attempt there is nothing to check a proof against: that is an error.
func (a *Attempt) burn(kind Kind) (alive bool, err error) {
	if a == nil {
		return false, &Denied{Reason: NonceExpired}
	}
	burned := a.burned
	a.burned = true
	if burned || a.kind != kind {
		return false, &Denied{Reason: NonceExpired}
	}
	return time.Since(a.issued) <= NonceLife, nil
}

// dummy stands in for what an unknown name does not have: records that open and parse as real ones
// do, with a public key whose private half nobody has. It does not change: another one takes its place with the wrapping key.
type dummy struct {
	nameKey    []byte
	accountKey []byte
	name       []byte                         // sealed
	account    [credential.NameMax + 1][]byte // sealed, by the length of the name
	codeKey    []byte
	code       []byte // sealed
}

func (s *Service) makeDummy() error {
	var seed, serverKey [32]byte
	var id ID
	for _, b := range [][]byte{seed[:], id[:], serverKey[:]} {
		if err := s.random(b); err != nil {
			return err
		}
	}
	r := accountRecord{method: credential.MethodPassword, generation: 1}
	r.verifier.KDF = s.c.KDF
	r.verifier.ServerKey = serverKey
	copy(r.verifier.PublicKey[:], ed25519.NewKeyFromSeed(seed[:]).Public().(ed25519.PublicKey))
	d := new(dummy)
	var err error
	d.nameKey = s.store.nameKey("") // which is nobody's
	if d.name, err = s.store.encode(labelName, d.nameKey, &idRecord{id}); err != nil {
		return err
	}
	code := codeRecord{kind: credential.CodeReset, publicKey: r.verifier.PublicKey, serverKey: serverKey}
	d.codeKey = codeKey(id)
	if d.code, err = s.store.encode(labelCode, d.codeKey, &code); err != nil {
		return err
	}
	d.accountKey = accountKey(id)
	for n := range d.account {
		r.name = strings.Repeat("-", n)
		if d.account[n], err = s.store.encode(labelAccount, d.accountKey, &r); err != nil {
			return err
		}
	}
	s.dummy.Store(d)
	return nil
}

// lookup reads the account of a name by way of get. For a name without an account it reads, opens and
// returns as much, made up, and real is false. What it reads for one is at a place of that name alone, as an account's is: a key
// that all such names share would be in the cache.
func (s *Service) lookup(get func([]byte) ([]byte, bool, error), name string) (id ID, r accountRecord, real bool, err error) {
	return s.lookupAgain(get, name, new(opened))
}

// opened is what a lookup has computed and opened, for the next one of the same name: records that are still the same bytes at the same
// place are not opened twice.
type opened struct {
	nameKey                   []byte // of the name
	madeUp                    ID     // for the name
	sealedName, sealedAccount []byte
	key                       []byte // of the account
	index                     idRecord
	account                   accountRecord
}

// lookupAgain is lookup, behind another one.
func (s *Service) lookupAgain(get func([]byte) ([]byte, bool, error), name string, o *opened) (id ID, r accountRecord, real bool, err error) {
	if o.nameKey == nil {
		o.nameKey, o.madeUp = s.store.nameKey(name), s.store.madeUpID(name)
	}
	key := o.nameKey
	sealed, real, err := get(key)
	if err != nil {
		return id, r, false, err
	}
	made := s.dummy.Load()
	if !real {
		key, sealed = made.nameKey, made.name
	}
	if o.sealedName == nil || !bytes.Equal(sealed, o.sealedName) {
		if err := s.store.decode(labelName, key, sealed, &o.index); err != nil {
			return id, r, false, err
		}
		o.sealedName = sealed
	}
	if id = o.madeUp; real {
		id = o.index.id
	}
	key = accountKey(id)
	sealed, there, err := get(key)
	if err != nil {
		return id, r, false, err
	}
	real = real && there
	if !real {
		key, sealed = made.accountKey, made.account[min(len(name), credential.NameMax)]
	}
	if o.sealedAccount == nil || !bytes.Equal(sealed, o.sealedAccount) || !bytes.Equal(key, o.key) {
		if err := s.store.decode(labelAccount, key, sealed, &o.account); err != nil {
			return id, r, false, err
		}
		o.sealedAccount, o.key = sealed, key
	}
	r = o.account
	if real && r.name != name {
		return id, r, false, fmt.Errorf("%w: account under another name", ErrDamaged)
	}
	return id, r, real, nil
}

// now reads a key outside of any transaction.
func (s *Service) now(ctx context.Context) func([]byte) ([]byte, bool, error) {
	return func(key []byte) ([]byte, bool, error) {
		e, err := s.store.engine.Get(ctx, key)
		return e.Value, e.Version != 0, err
	}
}

// keeping reads by get, and keeps what it reads.
func keeping(get func([]byte) (kv.Entry, error), kept *[]kv.Entry) func([]byte) ([]byte, bool, error) {
	return func(key []byte) ([]byte, bool, error) {
		e, err := get(key)
		*kept = append(*kept, e)
		return e.Value, e.Version != 0, err
	}
}

var errNotProved = errors.New("account: not proved")

// prove debits the throttle, checks the proof of an attempt that was burned, and runs change in the same
// transaction as that check. Whatever is wrong ends in one *Denied, by one path for every name. What admit refuses, if there is one, is not
// looked at, and is no failure. Sum is that of the attempt's transcript.
func (s *Service) prove(ctx context.Context, a *Attempt, alive bool, sum [32]byte, proof [64]byte, admit func(*kv.Tx, ID, *accountRecord) error, change func(*kv.Tx, ID, *accountRecord) (ID, error)) error {
	var id ID
	var r accountRecord
	var judged *[32]byte // the key that the proof was last checked with
	var good bool
	return s.decide(ctx, a, func(tx *kv.Tx) (Outcome, error) {
		var real bool
		var err error
		if id, r, real, err = s.lookupAgain(tx.Peek, a.name, &a.seen.opened); err != nil {
			return 0, err
		}
		if admit != nil {
			if err := admit(tx, id, &r); err != nil {
				return 0, err
			}
		}
		if key := r.verifier.PublicKey; judged == nil || *judged != key {
			good, judged = credential.VerifyProof(key, sum, proof), &key
		}
		same := id == a.account // and not one that was registered anew meanwhile, perhaps with the same password and so the same key
		return judge(a, alive && same, real, good, &r), nil
	}, func(tx *kv.Tx) (ID, ID, error) {
		if err := s.greet(ctx, tx, a, id); err != nil {
			return id, ID{}, err
		}
		session, err := change(tx, id, &r)
		return id, session, err
	})
}

// decide debits the throttle, and in one transaction runs check and, if that comes to Success, change, which returns whose account
// and what session it was about. Any other outcome ends in one *Denied, by one path.
func (s *Service) decide(ctx context.Context, a *Attempt, check func(*kv.Tx) (Outcome, error), change func(*kv.Tx) (account, session ID, err error)) error {
	debit, err := s.debit(ctx, a)
	if err != nil {
		return err
	}
	defer debit.settle()
	if err := ctx.Err(); err != nil {
		return err // nothing was looked at
	}
	var reason, looked Outcome // of this run, and of any
	err = kv.UpdateFrom(ctx, s.store.engine, slices.Concat(debit.read, a.seen.entries), func(tx *kv.Tx) error {
		reason = 0
		outcome, err := check(tx)
		if err != nil {
			return err
		}
		if reason, looked = outcome, outcome; reason != Success {
			return errNotProved
		}
		debit.settle()
		forget := s.clearFailures
		if debit.known() {
			forget = s.clearRow
		}
		if err := forget(tx, a.name); err != nil {
			return err
		}
		id, session, err := change(tx)
		if err != nil {
			return err
		}
		return s.audit(tx, Event{Kind: a.kind, Outcome: Success, Account: id, Session: session, Name: a.name, Address: a.channel.Address})
	})
	if err != nil && reason == 0 && ctx.Err() != nil {
		reason = looked // a refusal that was not yet to be told, and never will be
	}
	if reason != 0 && reason != Success {
		return s.refuse(ctx, a, debit, reason)
	}
	return err
}

func judge(a *Attempt, alive, real, good bool, r *accountRecord) Outcome {
	switch {
	case !real:
		return UnknownName
	case !good:
		return WrongPassword
	case !alive:
		return NonceExpired
	case r.flags&flagDisabled != 0:
		return Disabled
	}
	return Success
}

// refuse counts a failure before it is told. Nobody gets out of this by leaving: it is counted, and its debit stands for it until then, whatever
// becomes of the connection. Only the answer is not waited for then, so that a store that hangs holds nobody.
func (s *Service) refuse(ctx context.Context, a *Attempt, d *debit, reason Outcome) error {
	d = d.move()
	told := make(chan error, 1)
	go func() {
		err := s.fail(context.WithoutCancel(ctx), a, d.buckets, reason)
		d.settle() // before anybody is told
		told <- err
	}()
	select {
	case err := <-told:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// fail counts a failure durably.
func (s *Service) fail(ctx context.Context, a *Attempt, buckets []bucket, reason Outcome) error {
	name := a.name
	if reason == UnknownName {
		name = "" // it is often a password in the wrong field, and records are kept
	}
	var wait time.Duration
	err := kv.Update(ctx, s.store.engine, func(tx *kv.Tx) error {
		var err error
		if wait, err = s.addFailure(tx, a, buckets); err != nil {
			return err
		}
		return s.auditFailure(tx, a.name, Event{Kind: a.kind, Outcome: reason, Name: name, Address: a.channel.Address})
	})
	if err != nil {
		return err
	}
	return &Denied{RetryAfter: wait, Reason: reason, ByCode: a.byCode}
}

// Name returns the login name that the attempt is for.
func (a *Attempt) Name() string { return a.name }
