package testkit

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	mathrand "math/rand/v2"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/authsrv/authsrv/credential"
	"github.com/authsrv/authsrv/internal/account"
	"github.com/authsrv/authsrv/internal/authtest"
	"github.com/authsrv/authsrv/kv"
	"github.com/authsrv/authsrv/server"
	"github.com/authsrv/authsrv/token"
)

// drawn is a source of randomness of which some draws are given, in their order, by their length. The others are of no account
// on the wire.
type drawn struct {
	mu    sync.Mutex
	given map[int][][]byte
	other io.Reader
}

func newDrawn() *drawn {
	return &drawn{given: make(map[int][][]byte), other: mathrand.NewChaCha8([32]byte{1})}
}

func (d *drawn) give(b ...[]byte) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, b := range b {
		d.given[len(b)] = append(d.given[len(b)], b)
	}
}

// left counts what was given and not drawn.
func (d *drawn) left() (n int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, list := range d.given {
		n += len(list)
	}
	return n
}

func (d *drawn) Read(p []byte) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if list := d.given[len(p)]; len(list) > 0 {
		d.given[len(p)] = list[1:]
		return copy(p, list[0]), nil
	}
	return d.other.Read(p)
}

// hall is a listener whose connections are pipes.
type hall struct {
	conns chan net.Conn
	once  sync.Once
	done  chan struct{}
}

func (h *hall) Accept() (net.Conn, error) {
	select {
	case c := <-h.conns:
		return c, nil
	case <-h.done:
		return nil, net.ErrClosed
	}
}

func (h *hall) Close() error {
	h.once.Do(func() { close(h.done) })
	return nil
}

func (h *hall) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 7022} }

// from is a connection with the address of a peer.
type from struct {
	net.Conn
	addr net.Addr
}

func (f from) RemoteAddr() net.Addr { return f.addr }

// ours is the server under test, as a file describes it.
type ours struct {
	accounts *account.Service
	engine   kv.Engine
	hall     *hall
	srv      *server.Server
	served   chan error
	random   *drawn // of accounts
	shaking  *drawn // of the server
}

var modes = map[string]account.Registration{
	"open": account.RegistrationOpen, "closed": account.RegistrationClosed,
	"checked": account.RegistrationChecked, "invited": account.RegistrationInvited,
}

func unhex(t testing.TB, text string) []byte {
	t.Helper()
	b, err := hex.DecodeString(text)
	if err != nil {
		t.Fatalf("%q: %v", text, err)
	}
	return b
}

// startServer makes the server that a file describes. It sleeps, in a bubble, up to the file's time.
func startServer(t *testing.T, f *transcript, m mode) *ours {
	t.Helper()
	o := &ours{hall: &hall{conns: make(chan net.Conn), done: make(chan struct{})}, served: make(chan error, 1), random: newDrawn(), shaking: newDrawn()}
	at := time.Unix(f.number(t, "setup-time"), 0)
	time.Sleep(time.Until(at))
	var err error
	if o.engine, err = authtest.OpenEngine(); err != nil {
		t.Fatal(err)
	}
	signing := f.all("token-key")[0]
	secrets := account.Secrets{
		RealmID: [16]byte(unhex(t, f.get("realm"))), SaltKey: [32]byte(unhex(t, f.get("salt-key"))),
		NameKey: [32]byte{1}, AuditKey: [32]byte{2}, Wrapping: map[uint32][32]byte{1: {3}}, Current: 1,
	}
	tokens, err := token.New(account.Issuer(secrets.RealmID), signing[0],
		token.Key{ID: signing[0], Private: ed25519.NewKeyFromSeed(unhex(t, signing[1]))})
	if err != nil {
		t.Fatal(err)
	}
	kdf, err := parseKDF(f.get("kdf"))
	if err != nil {
		t.Fatal(err)
	}
	o.accounts, err = account.New(t.Context(), &account.Config{
		Engine: o.engine, Secrets: secrets, Tokens: tokens, KDF: kdf, Registration: account.RegistrationOpen, Rand: o.random,
	})
	if err != nil {
		t.Fatal(err)
	}
	o.setUp(t, f)
	if err := o.accounts.SetRules(account.Rules{Registration: modes[f.get("registration")]}); err != nil {
		t.Fatal(err)
	}
	given := func(ofServer bool) {
		for _, words := range f.all("random") {
			b, shakes := unhex(t, words[1]), words[0] == "server-static" || words[0] == "server-ephemeral"
			switch {
			case shakes && ofServer:
				o.shaking.give(b)
			case !shakes && !ofServer:
				o.random.give(b)
			}
		}
	}
	if m == live {
		o.shaking.other = rand.Reader
	} else {
		given(true)
	}
	o.srv, err = server.New(&server.Config{
		Accounts: o.accounts, Identity: ed25519.NewKeyFromSeed(unhex(t, f.get("identity"))), Rand: o.shaking,
	})
	if err != nil {
		t.Fatal(err)
	}
	go func() { o.served <- o.srv.Serve(o.hall) }()
	synctest.Wait() // it has swept, and found nothing: what is to have expired does so from now on
	time.Sleep(time.Until(time.Unix(f.number(t, "time"), 0)))
	synctest.Wait() // the audit chain goes on at each full minute: what commits beside it may be run again, and draw once more
	if m == live {
		o.random.other = rand.Reader
	} else {
		given(false)
	}
	return o
}

func parseKDF(text string) (k credential.KDF, err error) {
	b, err := hex.DecodeString(text)
	if err != nil || len(b) != credential.KDFSize {
		return k, fmt.Errorf("kdf %q", text)
	}
	number := func(b []byte) uint32 { return uint32(b[0])<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3]) }
	return credential.KDF{Algorithm: b[0], Time: number(b[1:]), MemoryKiB: number(b[5:]), Lanes: b[9]}, nil
}

func (o *ours) stop(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := errors.Join(o.srv.Shutdown(ctx), o.engine.Close()); err != nil {
		t.Error(err)
	}
	if err := <-o.served; err != server.ErrClosed {
		t.Error(err)
	}
}

// setUp makes the accounts, sessions and codes of a file.
func (o *ours) setUp(t *testing.T, f *transcript) {
	t.Helper()
	keys := make(map[string]signer)
	for _, words := range f.all("key") {
		keys[words[0]] = signer{ed25519.NewKeyFromSeed(unhex(t, words[1])), unhex(t, words[2])}
	}
	ctx, sign := t.Context(), func(k signer, name string, tr *credential.Transcript) [64]byte {
		sum := tr.Sum()
		return [64]byte(ed25519.Sign(k.key, append(label(name), sum[:]...)))
	}
	channel := func(static []byte) *account.Channel {
		return &account.Channel{Static: [32]byte(static)}
	}
	transcriptOf := func(purpose uint8, name string, static []byte, c *account.Challenge, op []byte) *credential.Transcript {
		return &credential.Transcript{
			RealmID: o.accounts.RealmID(), Purpose: purpose, Method: 1, OfferedMethods: []byte{1}, LoginName: name, ClientStatic: [32]byte(static),
			ServerNonce: c.ServerNonce[:], Salt: c.Salt[:], KDF: c.KDF, OpDigest: op,
		}
	}
	for _, words := range f.all("account") { // name, id, key
		name, k, static := words[0], keys[words[2]], make([]byte, 32)
		o.random.give(make([]byte, 32), unhex(t, words[1]))
		a, c, err := o.accounts.BeginRegister(ctx, channel(static), &account.Start{Name: name, Method: 1, Offered: []byte{1}})
		if err != nil {
			t.Fatal(err)
		}
		v := account.Verifier{KDF: c.NewKDF, PublicKey: [32]byte(k.key[32:]), ServerKey: [32]byte(k.serverKey)}
		op := sha256.Sum256([]byte(name))
		if err := o.accounts.FinishRegister(ctx, a, v, op, sign(k, "new-key-proof", transcriptOf(3, name, static, &c, op[:]))); err != nil {
			t.Fatal(err)
		}
	}
	for _, words := range f.all("session") { // account, key, session id, jti, resume key, expires, client static
		name, k, static := words[0], keys[words[1]], unhex(t, words[6])
		expires, err := strconv.ParseInt(words[5], 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		o.random.give(make([]byte, 32), unhex(t, words[2]), unhex(t, words[3]), unhex(t, words[4]))
		life := time.Until(time.Unix(expires, 0))
		a, c, err := o.accounts.BeginLogin(ctx, channel(static), &account.Start{Name: name, Method: 1, Offered: []byte{1}, Lifetime: life})
		if err != nil {
			t.Fatal(err)
		}
		tr := transcriptOf(1, name, static, &c, nil)
		tr.Options = uint32(life / time.Second)
		if _, err := o.accounts.FinishLogin(ctx, a, sign(k, "client-proof", tr)); err != nil {
			t.Fatal(err)
		}
	}
	for _, words := range f.all("code") { // kind, account or -, id, secret, expires
		expires, err := strconv.ParseInt(words[4], 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		life := time.Until(time.Unix(expires, 0))
		o.random.give(unhex(t, words[2]), unhex(t, words[3]))
		identity := ed25519.NewKeyFromSeed(unhex(t, f.get("identity")))
		if hash := sha256.Sum256(identity[32:]); words[0] == "invite" {
			_, err = o.accounts.IssueInvite(ctx, hash, life)
		} else {
			_, err = o.accounts.IssueReset(ctx, words[1], hash, life)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, words := range f.all("ended") { // account: its sessions
		if _, err := o.accounts.RevokeAllOf(ctx, words[0]); err != nil {
			t.Fatal(err)
		}
	}
	for _, words := range f.all("disabled") {
		if err := o.accounts.SetDisabled(ctx, words[0], true); err != nil {
			t.Fatal(err)
		}
	}
	if n := o.random.left(); n != 0 {
		t.Fatalf("%d draws were not made", n)
	}
}

// spent holds the random values of a file against those that were drawn. In mode record, the file keeps only these.
func spent(t *testing.T, f *transcript, m mode, sources ...*drawn) {
	t.Helper()
	for _, d := range sources {
		for _, list := range d.given {
			for _, b := range list {
				if m == record {
					f.head = slices.DeleteFunc(f.head, func(h field) bool {
						return h.key == "random" && strings.HasSuffix(h.value, " "+hex.EncodeToString(b))
					})
				} else if m == exact {
					t.Errorf("%s: the random value %x was not drawn", f.get("name"), b)
				}
			}
		}
	}
}

// state is what stands in the store: names, accounts with their records, and the ids of sessions and codes.
func (o *ours) state(t *testing.T) map[string]string {
	t.Helper()
	state := make(map[string]string)
	for _, space := range []byte("nasc") {
		entries, _, err := o.engine.Scan(t.Context(), []byte{space}, nil, 1000)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			if state[string(e.Key)] = ""; space == 'a' {
				state[string(e.Key)] = string(e.Value)
			}
		}
	}
	return state
}

// connect returns the kit's end of a connection.
func (o *ours) connect() net.Conn {
	here, there := net.Pipe()
	o.hall.conns <- from{there, &net.TCPAddr{IP: net.IPv4(192, 0, 2, 2), Port: 50000}}
	return here
}

// outcome is how a file came out.
type outcome struct {
	expect, end, changed string
}

// runServer plays a file against our server. In mode record, it fills in the file.
func runServer(t *testing.T, f *transcript, m mode) (got outcome) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		o := startServer(t, f, m)
		defer o.stop(t)
		before := o.state(t)
		p, err := newPlayer(f, m, o.connect())
		if err != nil {
			t.Fatal(err)
		}
		defer p.close()
		if err := p.run(); err != nil {
			t.Errorf("%s: %v", f.get("name"), err)
			return
		}
		got = p.finish(t)
		synctest.Wait()
		if got.changed = "nothing"; !equal(before, o.state(t)) {
			got.changed = "store"
		}
		spent(t, f, m, o.random, o.shaking)
	})
	return got
}

func equal(a, b map[string]string) bool {
	for k, v := range a {
		if w, there := b[k]; !there || w != v {
			return false
		}
	}
	return len(a) == len(b)
}

// finish takes what still comes from a server, and says how it ended.
func (p *player) finish(t *testing.T) (got outcome) {
	t.Helper()
	for {
		fr, err := p.receive(time.Second)
		if err == nil {
			if p.mode != record {
				t.Errorf("%s: at the end the server said %s %x", p.f.get("name"), fr.name, fr.wire)
				return got
			}
			p.f.frames = append(p.f.frames, fr)
			continue
		}
		switch {
		case errors.Is(err, io.EOF):
			got.end = "closed"
		case errors.Is(err, errQuiet):
			got.end = "open"
		default:
			t.Errorf("%s: at the end: %v", p.f.get("name"), err)
			return got
		}
		break
	}
	if p.f.get("end") == "late" { // it waits for more, up to its deadline
		if got.end != "open" {
			t.Errorf("%s: the server closed at once", p.f.get("name"))
		}
		if _, err := p.receive(time.Minute); !errors.Is(err, io.EOF) {
			t.Errorf("%s: waiting for its deadline: %v", p.f.get("name"), err)
		}
		got.end = "late"
	}
	got.expect = p.expectation(got.end)
	return got
}

// expectation is the word for how a server took the last of what it was sent.
func (p *player) expectation(end string) string {
	frames := p.f.frames
	last := frames[len(frames)-1]
	switch {
	case last.kind != await && end == "open":
		return "silence"
	case last.kind != await:
		return "closed"
	}
	switch last.name {
	case "Denied", "Refused", "Goodbye", "refusal":
		if code := codeOf(last); code == "bye" || code == "logged-out" || code == "account-deleted" {
			return "accepted"
		}
		name := map[string]string{"Denied": "denied", "Refused": "refused", "Goodbye": "goodbye", "refusal": "refusal"}[last.name]
		return name + " " + codeOf(last)
	}
	return "accepted"
}
