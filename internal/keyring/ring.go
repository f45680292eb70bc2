package keyring

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"log/slog"
	"reflect"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/authsrv/authsrv/internal/account"
	"github.com/authsrv/authsrv/internal/keyfile"
	"github.com/authsrv/authsrv/token"
)

// Errors of a rotation. Those of package keyfile come as they are.
var (
	ErrBusy    = errors.New("another rotation of keys is under way: see authsrv key list")
	ErrChanged = errors.New("the key file is not the one that the server was started with: restart the server first")
	ErrKind    = errors.New("there is no such kind of keys")
)

const (
	// keptAtLeast is how long a token key verifies after it was rotated, whatever the sessions say: a login may be under way, and clocks differ.
	keptAtLeast = time.Hour
	// every is the time between two looks at the token keys that are kept.
	every = 10 * time.Minute
	// tellEvery is how often at the most, and heard how often at the least, a rewrapping tells how far it has come.
	tellEvery = 250 * time.Millisecond
	heard     = 10 * time.Second
)

// Config configures a Ring. Path, Keys and Accounts are needed.
type Config struct {
	Path       string
	Keys       *keyfile.Keys
	Passphrase []byte // what the file was opened with. It is kept until what was begun is finished, and no longer
	Accounts   *account.Service
	Adopt      func(*keyfile.Keys) error // tells who else works with the keys; nil: nobody
	Logger     *slog.Logger              // nil: none
}

// A Ring is the keys that a process works with. It is safe for concurrent use.
type Ring struct {
	path     string
	accounts *account.Service
	adopt    func(*keyfile.Keys) error
	log      *slog.Logger

	wrapping place // of who rewraps, which takes long
	rotating place // of who rotates anything else
	changing place // of who changes the key file
	jobs     sync.WaitGroup

	mu         sync.Mutex // guards what follows
	keys       *keyfile.Keys
	passphrase []byte
	base       context.Context // of Run, while that runs
	dropped    map[string]bool // token keys that are in the file still, which could not be written
}

// New starts no goroutine.
func New(c *Config) *Ring {
	r := &Ring{
		path: c.Path, keys: c.Keys.Clone(), passphrase: bytes.Clone(c.Passphrase), accounts: c.Accounts, adopt: c.Adopt, log: c.Logger,
		wrapping: make(place, 1), rotating: make(place, 1), changing: make(place, 1), dropped: make(map[string]bool),
	}
	if r.adopt == nil {
		r.adopt = func(*keyfile.Keys) error { return nil }
	}
	if r.log == nil {
		r.log = slog.New(slog.DiscardHandler)
	}
	return r
}

// Keys returns the keys of now, which are not to be changed.
func (r *Ring) Keys() *keyfile.Keys {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.keys
}

// Identity returns the server's identity.
func (r *Ring) Identity() ed25519.PrivateKey { return Identity(r.Keys()) }

// Identity returns the identity among some keys.
func Identity(k *keyfile.Keys) ed25519.PrivateKey { return ed25519.NewKeyFromSeed(k.Identity[:]) }

// Secrets returns what the accounts need of some keys.
func Secrets(k *keyfile.Keys) account.Secrets {
	return account.Secrets{
		RealmID: k.RealmID, SaltKey: k.SaltKey, NameKey: k.NameKey, AuditKey: k.AuditKey,
		Wrapping: wrappingOf(k), Current: k.CurrentWrapping,
	}
}

func wrappingOf(k *keyfile.Keys) map[uint32][32]byte {
	keys := make(map[uint32][32]byte, len(k.WrappingKeys))
	for _, w := range k.WrappingKeys {
		keys[w.ID] = w.Key
	}
	return keys
}

// Tokens returns what signs and verifies tokens.
func Tokens(k *keyfile.Keys) (*token.Keyset, error) { return tokensBut(k, nil) }

func tokensBut(k *keyfile.Keys, dropped map[string]bool) (*token.Keyset, error) {
	var keys []token.Key
	for _, t := range k.TokenKeys {
		if !dropped[t.ID] {
			keys = append(keys, token.Key{ID: t.ID, Private: ed25519.NewKeyFromSeed(t.Seed[:])})
		}
	}
	return token.New(account.Issuer(k.RealmID), k.CurrentToken, keys...)
}

// place is what only one can have.
type place chan struct{}

// try takes it, if it is free.
func (p place) try() error {
	select {
	case p <- struct{}{}:
		return nil
	default:
		return ErrBusy
	}
}

func (p place) take() { p <- struct{}{} }
func (p place) give() { <-p }

// check says whether a passphrase opens the file, and whether that is what is worked with.
func (r *Ring) check(passphrase []byte) error {
	opened, err := keyfile.Open(r.path, passphrase)
	if err == nil && !reflect.DeepEqual(opened, r.Keys()) {
		err = ErrChanged
	}
	return err
}

// change edits the key file, and then the keys that are worked with. Who calls it has the place for that.
func (r *Ring) change(passphrase []byte, edit func(*keyfile.Keys) error) error {
	if err := r.check(passphrase); err != nil {
		return err
	}
	before := r.Keys()
	next := before.Clone()
	if err := edit(next); err != nil {
		return err
	}
	if err := keyfile.Save(r.path, next, passphrase); err != nil {
		return err
	}
	return r.use(before, next)
}

// use puts keys that are in the file in the place of those that are worked with.
func (r *Ring) use(before, next *keyfile.Keys) error {
	r.mu.Lock()
	r.keys = next
	for id := range r.dropped {
		if !slices.ContainsFunc(next.TokenKeys, func(t keyfile.TokenKey) bool { return t.ID == id }) {
			delete(r.dropped, id)
		}
	}
	tokens, err := tokensBut(next, r.dropped)
	r.mu.Unlock()
	if err == nil {
		err = r.accounts.SetTokens(tokens)
	}
	if err == nil && !reflect.DeepEqual(before.WrappingKeys, next.WrappingKeys) {
		err = r.accounts.SetWrapping(wrappingOf(next), next.CurrentWrapping)
	}
	if err == nil {
		err = r.adopt(next)
	}
	return err
}

// Options are what a rotation may need.
type Options struct {
	Passphrase  []byte         // of a key file that is sealed
	Next        keyfile.Secret // identity: the successor, where the file does not have it; else zero
	EndSessions bool           // token: drop the old keys at once, and end all sessions
}

// Rotated is what a rotation has done.
type Rotated struct {
	Kind     string    `json:"kind"`
	ID       string    `json:"id"` // of what is current now, as in a list
	Time     time.Time `json:"time"`
	Finished bool      `json:"finished,omitzero"` // there is no new key: one that was begun before is finished
	Next     string    `json:"next,omitempty"`    // identity: the fingerprint of the one after it
	Records  *int      `json:"records,omitempty"` // wrapping: sealed anew
	Damaged  int       `json:"damaged,omitempty"` // wrapping: they do not open, and the old key is kept for them
	Sessions *int      `json:"sessions_ended,omitempty"`
	Codes    *int      `json:"codes_ended,omitempty"`
}

var kinds = map[string]account.Kind{
	keyfile.KindToken: account.KindRotateToken, keyfile.KindWrapping: account.KindRotateWrapping,
	keyfile.KindIdentity: account.KindRotateIdentity, keyfile.KindEpoch: account.KindRotateEpoch,
}

// Rotate puts a new key in the place of the current one of a kind. How far a rewrapping has come is told by progress; it goes on when ctx ends,
// where Run runs.
func (r *Ring) Rotate(ctx context.Context, kind string, o Options, progress func(done, total int)) (*Rotated, error) {
	if _, known := kinds[kind]; !known {
		return nil, ErrKind
	}
	if len(o.Passphrase) == 0 && !r.runs() {
		o.Passphrase = r.startPassphrase() // who has just opened the file has typed it
	}
	if kind == keyfile.KindWrapping {
		return r.rotateWrapping(ctx, o.Passphrase, progress)
	}
	if err := r.rotating.try(); err != nil {
		return nil, err
	}
	defer r.rotating.give()
	r.changing.take() // from a rewrapping, which has it for a moment only
	defer r.changing.give()
	ctx = context.WithoutCancel(ctx) // it is short, and half of one is none
	now := time.Now()
	err := r.change(o.Passphrase, func(k *keyfile.Keys) error {
		switch kind {
		case keyfile.KindToken:
			return k.RotateToken(rand.Reader, now, o.EndSessions)
		case keyfile.KindIdentity:
			return k.RotateIdentity(rand.Reader, now, o.Next)
		default:
			return k.RaiseEpoch(now)
		}
	})
	if err != nil {
		return nil, err
	}
	done := r.rotated(kind)
	switch {
	case kind == keyfile.KindIdentity:
		n, err := r.accounts.EndCodes(ctx)
		done.Codes = &n
		if err != nil {
			return nil, err
		}
	case o.EndSessions:
		n, err := r.accounts.EndSessions(ctx)
		done.Sessions = &n
		if err != nil {
			return nil, err
		}
	}
	return done, r.note(ctx, kind)
}

// rotated says what is current of a kind.
func (r *Ring) rotated(kind string) *Rotated {
	k := r.Keys()
	done := &Rotated{Kind: kind, Time: since(k, kind)}
	switch kind {
	case keyfile.KindToken:
		done.ID = k.CurrentToken
	case keyfile.KindWrapping:
		done.ID = strconv.FormatUint(uint64(k.CurrentWrapping), 10)
	case keyfile.KindIdentity:
		done.ID, done.Next = fingerprint(k.PublicKey()), hashText(k.NextIdentityHash)
	case keyfile.KindEpoch:
		done.ID = strconv.FormatUint(uint64(k.Epoch), 10)
	}
	return done
}

// note records and logs the last rotation of a kind.
func (r *Ring) note(ctx context.Context, kind string) error {
	last, known := r.Keys().Last(kind)
	if !known {
		return nil
	}
	r.log.Info("key rotated", "kind", kind, "key", last.Key)
	noted, err := r.accounts.NoteRotation(ctx, kinds[kind], last.Key, last.Time)
	if err == nil && !noted { // the disk took longer than the chain waits
		_, err = r.accounts.NoteRotation(ctx, kinds[kind], last.Key, time.Now())
	}
	return err
}

// Start notes what a crash has kept from being noted. It comes before anything is served.
func (r *Ring) Start(ctx context.Context) error {
	for _, at := range r.Keys().Rotations {
		if _, err := r.accounts.NoteRotation(ctx, kinds[at.Kind], at.Key, at.Time); err != nil {
			return err
		}
	}
	return nil
}

// Run finishes what was begun before, and drops token keys when they are needed no more, until ctx ends.
func (r *Ring) Run(ctx context.Context) {
	r.mu.Lock()
	r.base = ctx
	r.mu.Unlock()
	r.resume(ctx)
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		r.dropTokens(ctx)
		r.forget()
		select {
		case <-ticker.C:
		case <-ctx.Done():
			r.mu.Lock()
			r.base = nil
			r.mu.Unlock()
			r.jobs.Wait()
			return
		}
	}
}

// forget lets go of the passphrase that the file was opened with.
func (r *Ring) forget() {
	r.mu.Lock()
	defer r.mu.Unlock()
	clear(r.passphrase)
	r.passphrase = nil
}

func (r *Ring) runs() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.base != nil
}

func (r *Ring) startPassphrase() []byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	return bytes.Clone(r.passphrase)
}
