package attack_test

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/authsrv/authsrv/credential"
	"github.com/authsrv/authsrv/noiseconn"
	"github.com/authsrv/authsrv/wire"
)

// This file is people who do everything that there is to a server over the network, and know at each moment what they were promised: for
// the tests that end the server, or let its disk refuse to write. What it knows of the server is what the server says.

// condition is all that there is of one name.
type condition struct {
	there    bool
	key      int
	sessions [][16]byte // live ones; zero: one whose id nobody was told
}

// isOf says whether c, which a server shows, is the condition that was meant.
func (c *condition) isOf(meant *condition) bool {
	for _, id := range meant.sessions {
		if id != ([16]byte{}) && !slices.Contains(c.sessions, id) {
			return false
		}
	}
	return c.there == meant.there && c.key == meant.key && len(c.sessions) == len(meant.sessions)
}

func (c condition) String() string {
	if !c.there {
		return "no account"
	}
	return fmt.Sprintf("key %d and sessions %.3x", c.key, c.sessions)
}

// A person is a name, and one goroutine that does things to it, one after the other.
type person struct {
	name, from string
	static     noiseconn.StaticKey
	keys       int // that the name has had
	tokens     map[[16]byte][]byte
	dead       [][]byte // tokens of sessions that have ended, or were never there

	// Of each step what it leads to; up to acked it was said to have happened. There is one step behind it at the most.
	steps []condition
	acked int
	// asked and told are how many successes there are to be in the audit records, by their kind: not more, and not fewer.
	asked, told map[string]int
	denied      int // proofs that were refused: each may cost the name a wait in the end
}

const (
	crowdWorkers = 6
	crowdPeople  = 3 // of each worker
	fewSessions  = 4 // of a person
	mostDenied   = 3 // of a person: then another one takes the place, before the server lets the name wait
)

// crowd is people, each of one worker.
type crowd struct {
	random  *mathrand.Rand
	address string // of the server
	people  []*person
	retired []*person // whose names were refused too often; what they have stays
	born    int

	effects  int // that were promised, and looked for
	open     int // that were under way when the server ended; happened: of these
	happened int
	resumed  int // sessions that were to live
	refused  int // sessions that were to be dead
	acks     atomic.Int64
}

func newCrowd(seed uint64) *crowd {
	c := &crowd{random: mathrand.New(mathrand.NewPCG(seed, 0))}
	for range crowdWorkers * crowdPeople {
		c.people = append(c.people, c.newPerson())
	}
	return c
}

func (c *crowd) newPerson() *person {
	c.born++
	return &person{
		name: fmt.Sprintf("person%d", c.born), from: fmt.Sprintf("127.%d.%d.1", 1+c.born/250, c.born%250),
		static: noiseconn.StaticFromPrivate(sha256.Sum256(fmt.Appendf(nil, "static key of person %d", c.born))),
		tokens: map[[16]byte][]byte{}, steps: []condition{{}}, asked: map[string]int{}, told: map[string]int{},
	}
}

// owner is the person with one of the keys that the name has had.
func (p *person) owner(key int) *owner {
	return &owner{name: p.name, key: ed25519.NewKeyFromSeed(sum(fmt.Sprint("key ", key, " of ", p.name))), static: p.static}
}

// work is people who do things until ctx ends, or the server has.
type work struct {
	*crowd
	ctx  context.Context
	fine func(error) bool // a failure that may be
	wg   sync.WaitGroup
	mu   sync.Mutex
	bad  []string
}

// start has all people do things at random. What fails ends the worker; unless it is fine it is a fault.
func (c *crowd) start(ctx context.Context, fine func(error) bool) *work {
	w := &work{crowd: c, ctx: ctx, fine: fine}
	for i := range crowdWorkers {
		own := c.people[i*crowdPeople : (i+1)*crowdPeople]
		random := mathrand.New(mathrand.NewPCG(c.random.Uint64(), 1))
		w.wg.Go(func() {
			for ctx.Err() == nil {
				p := own[random.IntN(len(own))]
				if err := w.advance(p, random); err != nil {
					if !fine(err) {
						w.mu.Lock()
						w.bad = append(w.bad, fmt.Sprintf("%s: %v", p.name, err))
						w.mu.Unlock()
					}
					return
				}
			}
		})
	}
	return w
}

// wait waits until all have ended, and returns the faults.
func (w *work) wait() []string {
	w.wg.Wait()
	return w.bad
}

// session is one that somebody was told of.
type session struct {
	id    [16]byte
	token []byte
}

// advance does something at random to a person that is possible and must succeed.
func (c *crowd) advance(p *person, random *mathrand.Rand) error {
	now := p.steps[len(p.steps)-1]
	now.sessions = slices.Clone(now.sessions)
	var known [][16]byte
	for _, id := range now.sessions {
		if p.tokens[id] != nil {
			known = append(known, id)
		}
	}
	o := p.owner(now.key)
	dice := random.IntN(100)
	if now.there && (len(known) == 0 || dice < 30 && len(now.sessions) < fewSessions) {
		now.sessions = append(now.sessions, [16]byte{})
		return c.step(p, "login", now, func() (*session, error) {
			k, err := o.login(p.from, c.address)
			if err != nil {
				return nil, err
			}
			defer k.raw.Close()
			return &session{k.welcome.SessionID, k.welcome.Token}, nil
		})
	}
	if !now.there {
		p.keys++
		return c.step(p, "register", condition{there: true, key: p.keys}, func() (*session, error) {
			return nil, p.owner(p.keys).register(p.from, c.address)
		})
	}
	from := known[random.IntN(len(known))]
	k, err := o.resume(p.from, c.address, p.tokens[from])
	if err != nil {
		return fmt.Errorf("resume: %w", err)
	}
	defer k.raw.Close()
	if k.welcome.SessionID != from {
		return fmt.Errorf("resumed session %.3x, and is in %.3x", from, k.welcome.SessionID)
	}
	switch {
	case dice < 60:
		p.keys++
		next := p.owner(p.keys)
		now.key, now.sessions = p.keys, [][16]byte{{}}
		return c.step(p, "change-password", now, func() (*session, error) { return k.changePassword(next) })
	case dice < 72:
		now.sessions = nil
		return c.step(p, "logout-all", now, func() (*session, error) { return nil, k.end(wire.TypeRevokeAll) })
	case dice < 84:
		now.sessions = slices.DeleteFunc(now.sessions, func(id [16]byte) bool { return id == from })
		return c.step(p, "logout", now, func() (*session, error) { return nil, k.logout() })
	case dice < 92:
		return c.step(p, "delete", condition{}, func() (*session, error) { return nil, k.end(wire.TypeDeleteAccount) })
	default: // that was a resumption
		c.acks.Add(1)
		return nil
	}
}

// step does what leads to a condition, with which it may begin a session, and writes down that it was said to have happened.
func (c *crowd) step(p *person, kind string, to condition, do func() (*session, error)) error {
	p.steps = append(p.steps, to)
	p.asked[kind]++
	s, err := do()
	if err != nil {
		return fmt.Errorf("%s: %w", kind, err)
	}
	p.told[kind]++
	if s != nil {
		to.sessions[len(to.sessions)-1] = s.id
		p.tokens[s.id] = s.token
	}
	p.settle(to)
	c.acks.Add(1)
	return nil
}

// settle makes a condition the one that is known to be.
func (p *person) settle(now condition) {
	p.steps, p.acked = []condition{now}, 0
	for id, token := range p.tokens {
		if !slices.Contains(now.sessions, id) {
			p.dead = append(p.dead, token)
			delete(p.tokens, id)
		}
	}
}

// check holds what a server shows against what its predecessor has promised, and returns what is lost, or half there, or alive and should not be.
func (c *crowd) check() (faults []string) {
	var mu sync.Mutex
	var wg sync.WaitGroup
	for i := range crowdWorkers {
		random := mathrand.New(mathrand.NewPCG(c.random.Uint64(), 2))
		wg.Go(func() {
			for _, p := range c.people[i*crowdPeople : (i+1)*crowdPeople] {
				found := &finding{person: p, address: c.address, random: random}
				found.look()
				mu.Lock()
				faults = append(faults, found.faults...)
				c.effects, c.open, c.happened = c.effects+found.effects, c.open+found.open, c.happened+found.happened
				c.resumed, c.refused = c.resumed+found.resumed, c.refused+found.refused
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	for i, p := range c.people {
		if p.denied >= mostDenied {
			c.retired = append(c.retired, p)
			c.people[i] = c.newPerson()
		}
	}
	return faults
}

// checkRetired looks once more at those who were left alone since.
func (c *crowd) checkRetired() (faults []string) {
	for _, p := range c.retired {
		if now := &p.steps[0]; now.there { // one more denial of the others might have to wait
			found := &finding{person: p, address: c.address, random: c.random}
			found.look()
			faults = append(faults, found.faults...)
			c.resumed, c.refused = c.resumed+found.resumed, c.refused+found.refused
		}
	}
	return faults
}

// finding is what is found of a person.
type finding struct {
	*person
	address string
	random  *mathrand.Rand
	faults  []string

	effects, open, happened, resumed, refused int
}

func (f *finding) fault(format string, args ...any) {
	f.faults = append(f.faults, f.name+": "+fmt.Sprintf(format, args...))
}

// deniedWith says whether an error is a refusal with a code.
func deniedWith(err error, code wire.Code) bool {
	var a *answered
	return errors.As(err, &a) && a.got == wire.TypeDenied && a.code == code
}

func (f *finding) look() {
	meant := f.steps[f.acked:]
	got, ok := f.observe(meant)
	if !ok {
		return
	}
	f.effects++
	f.open += len(meant) - 1
	at := slices.IndexFunc(meant, func(m condition) bool { return got.isOf(&m) })
	if at < 0 {
		f.fault("was promised %v, has asked for %v, and has %v", meant[0], meant[1:], got)
	}
	if len(meant) > 1 && at == 1 {
		f.happened++
	}
	f.settle(*got)
	for id, token := range f.tokens {
		k, err := f.owner(got.key).resume(f.from, f.address, token)
		if err != nil {
			f.fault("session %.3x: %v", id, err)
			continue
		}
		f.resumed++
		if k.welcome.SessionID != id {
			f.fault("session %.3x is another one", id)
		}
		k.raw.Close()
	}
	dead := f.dead // the latest, and some older ones
	if n := len(dead); n > 4 {
		dead = append(slices.Clone(dead[n-3:]), dead[f.random.IntN(n-3)], dead[f.random.IntN(n-3)])
	}
	for _, token := range dead {
		k, err := f.owner(max(1, got.key)).resume(f.from, f.address, token)
		if err == nil {
			f.fault("session %.3x, which has ended, is resumed", k.welcome.SessionID)
			k.raw.Close()
		} else if !deniedWith(err, wire.CodeSessionRevoked) {
			f.fault("a session that has ended: %v", err)
		}
		f.refused++
	}
	if !got.there && f.denied < mostDenied { // the name is free, as a whole
		f.keys++
		f.asked["register"]++
		if err := f.owner(f.keys).register(f.from, f.address); err != nil {
			f.fault("there is no account, and none can be made: %v", err)
			return
		}
		f.told["register"]++
		f.settle(condition{there: true, key: f.keys})
	}
}

// observe finds out what there is of a name.
func (f *finding) observe(meant []condition) (got *condition, ok bool) {
	var keys []int // the latest first
	for _, m := range slices.Backward(meant) {
		if m.there && !slices.Contains(keys, m.key) {
			keys = append(keys, m.key)
		}
	}
	if len(keys) == 0 && f.keys > 0 {
		keys = []int{f.keys}
	}
	got = &condition{}
	for _, key := range keys {
		k, err := f.owner(key).login(f.from, f.address)
		switch {
		case deniedWith(err, wire.CodeDenied):
			f.denied++
			continue
		case err != nil:
			f.fault("login: %v", err)
			return nil, false
		case got.there:
			f.fault("two keys are let in")
			k.raw.Close()
			continue
		}
		f.asked["login"]++
		f.told["login"]++
		got.there, got.key = true, key
		if got.sessions, err = k.others(); err == nil {
			f.asked["logout"]++
			if err = k.logout(); err == nil {
				f.told["logout"]++
				f.dead = append(f.dead, k.welcome.Token)
			}
		}
		k.raw.Close()
		if err != nil {
			f.fault("sessions: %v", err)
			return nil, false
		}
	}
	return got, true
}

// resume goes on with a session on a connection of its own.
func (o *owner) resume(from, to string, token []byte) (*talk, error) {
	k, err := o.beginWith(from, to, &wire.AuthStart{Purpose: wire.PurposeSession, Token: token})
	if err != nil {
		return nil, err
	}
	b, err := k.ask(nil, wire.TypeWelcome)
	if err == nil {
		err = k.takeWelcome(b)
	}
	if err != nil {
		k.raw.Close()
		return nil, err
	}
	return k, nil
}

// others are the other sessions of who is logged in.
func (k *talk) others() (ids [][16]byte, err error) {
	k.lastID++
	b, err := k.ask(&wire.ListSessions{ID: k.lastID}, wire.TypeSessionList)
	if err != nil {
		return nil, err
	}
	list, err := wire.ParseSessionList(b)
	if list.More {
		return nil, errors.New("there are more sessions than anybody has made")
	}
	for s := range list.All() {
		if !s.Current {
			ids = append(ids, s.ID)
		}
	}
	return ids, err
}

func (k *talk) logout() error {
	k.lastID++
	_, err := k.ask(wire.Plain{Type: wire.TypeLogout, ID: k.lastID}, wire.TypeDone)
	return err
}

// operation begins an operation. Its proofs are of sum, which is given what the request has to be signed.
func (k *talk) operation(of wire.Type) (c wire.OpChallenge, sum func(signed []byte) [32]byte, err error) {
	k.lastID++
	m := &wire.OpStart{ID: k.lastID, Operation: of}
	rand.Read(m.ClientNonce[:])
	b, err := k.ask(m, wire.TypeOpChallenge)
	if err != nil {
		return c, nil, err
	}
	c, err = wire.ParseOpChallenge(b)
	return c, func(signed []byte) [32]byte {
		digest := sha256.Sum256(signed)
		return (&credential.Transcript{
			Preface: wire.Preface{Version: 1, Suite: 1}.Bytes(), Handshake: k.conn.HandshakeHash(), RealmID: k.hello.RealmID,
			Purpose: 4, Method: 1, OfferedMethods: []byte{1}, LoginName: k.name, ClientStatic: k.static.Public, ClientNonce: m.ClientNonce,
			ServerNonce: c.ServerNonce[:], Salt: c.Salt[:], KDF: credential.KDF(c.KDF), OpDigest: digest[:],
			SessionID: k.welcome.SessionID[:], AccountID: k.welcome.AccountID[:],
		}).Sum()
	}, err
}

// sign signs a transcript under a label of PROTOCOL 6.
func (o *owner) sign(label string, transcript [32]byte) [64]byte {
	return [64]byte(ed25519.Sign(o.key, append([]byte("authsrv v1 "+label+"\x00"), transcript[:]...)))
}

// changePassword gives the account the key of another owner, and returns the session that begins.
func (k *talk) changePassword(next *owner) (*session, error) {
	c, sumOf, err := k.operation(wire.TypeChangePassword)
	if err != nil {
		return nil, err
	}
	m := &wire.ChangePassword{ID: c.ID, Record: wire.Record{
		KDF: c.NewKDF, PublicKey: [32]byte(next.key.Public().(ed25519.PublicKey)), ServerKey: [32]byte(sum("server key " + k.name)),
	}}
	s := sumOf(m.AppendSigned(nil))
	m.NewProof, m.Proof = next.sign("new-key-proof", s), k.sign("client-proof", s)
	b, err := k.ask(m, wire.TypePasswordChanged)
	if err != nil {
		return nil, err
	}
	changed, err := wire.ParsePasswordChanged(b)
	return &session{changed.SessionID, slices.Clone(changed.Token)}, err
}

// end is an operation that ends the session.
func (k *talk) end(of wire.Type) error {
	c, sumOf, err := k.operation(of)
	if err != nil {
		return err
	}
	m := &wire.ProvedOp{Type: of, ID: c.ID}
	m.Proof = k.sign("client-proof", sumOf(m.AppendSigned(nil)))
	_, err = k.ask(m, wire.TypeDone)
	return err
}

// holdAudit holds the audit records against what everybody was told, by the successes of each kind and name.
func (c *crowd) holdAudit(found map[string]map[string]int) (events int, faults []string) {
	for _, p := range slices.Concat(c.people, c.retired) {
		for kind, most := range p.asked {
			n := found[p.name][kind]
			events += n
			if n < p.told[kind] || n > most {
				faults = append(faults, fmt.Sprintf("%s: %d records of %s, was told of %d and has asked for %d", p.name, n, kind, p.told[kind], most))
			}
		}
	}
	return events, faults
}

// first is a few of many faults.
func first(faults []string) string { return strings.Join(faults[:min(len(faults), 5)], "\n") }
