package attack_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/authsrv/authsrv/credential"
	"github.com/authsrv/authsrv/internal/soak"
	"github.com/authsrv/authsrv/noiseconn"
	"github.com/authsrv/authsrv/wire"
)

// The limits that the server has to keep under attack.
const (
	memoryLimit     = 256 << 20
	handshakeLimit  = 5 * time.Second // after which who has not shaken hands is closed
	lobbyLimit      = 1024 + 128      // connections that are not logged in: max_handshakes, and who is on the way out
	successLimit    = 0.99
	latencyLimit    = time.Second // of 99 of 100 honest logins, where times are judged
	returnTolerance = 25          // goroutines or descriptors: more than the store keeps for its next reads
)

// connectFrom connects from an address of its own: all of 127.0.0.0/8 is this machine's.
func connectFrom(address, to string) (net.Conn, error) {
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(address)}, Timeout: patience}
	return d.Dial("tcp", to)
}

// abandon closes a connection such that nothing of it is left.
func abandon(conn net.Conn) {
	_ = conn.(*net.TCPConn).SetLinger(0)
	_ = conn.Close()
}

// owner is an account whose key was not stretched from a password, which a server can't tell.
type owner struct {
	name   string
	key    ed25519.PrivateKey
	static noiseconn.StaticKey
}

func newOwner(name string) *owner {
	return &owner{
		name: name, key: ed25519.NewKeyFromSeed(sum("seed " + name)),
		static: noiseconn.StaticFromPrivate([32]byte(sum("static " + name))),
	}
}

func sum(text string) []byte { s := sha256.Sum256([]byte(text)); return s[:] }

// talk is an owner's connection up to M3 and behind it.
type talk struct {
	*owner
	raw   net.Conn
	conn  *noiseconn.Conn
	hello wire.ServerHello
	start *wire.AuthStart

	welcome wire.Welcome // of who is logged in
	lastID  uint32       // of a request
}

// begin connects, shakes hands, and sends the start of an attempt.
func (o *owner) begin(from, to string, purpose wire.Purpose) (*talk, error) {
	m := &wire.AuthStart{Purpose: purpose, Method: wire.MethodPassword, Offered: []byte{1}, Name: []byte(o.name)}
	rand.Read(m.ClientNonce[:])
	return o.beginWith(from, to, m)
}

func (o *owner) beginWith(from, to string, m *wire.AuthStart) (*talk, error) {
	raw, err := connectFrom(from, to)
	if err != nil {
		return nil, err
	}
	_ = raw.SetDeadline(time.Now().Add(patience))
	k := &talk{owner: o, raw: raw, start: m}
	shake := noiseconn.Client(raw, nil)
	if k.hello, _, err = shake.Hello(context.Background()); err == nil {
		k.conn, err = shake.Finish(context.Background(), o.static, m.AppendTo(nil))
	}
	if err != nil {
		raw.Close()
		return nil, err
	}
	return k, nil
}

// prove signs the transcript under a label of PROTOCOL 6.
func (k *talk) prove(label string, c *wire.Challenge, digest []byte) [64]byte {
	t := (&credential.Transcript{
		Preface: wire.Preface{Version: 1, Suite: 1}.Bytes(), Handshake: k.conn.HandshakeHash(), RealmID: k.hello.RealmID,
		Purpose: uint8(k.start.Purpose), Method: 1, OfferedMethods: k.start.Offered, LoginName: k.name,
		ClientStatic: k.static.Public, ClientNonce: k.start.ClientNonce,
		ServerNonce: c.ServerNonce[:], Salt: c.Salt[:], KDF: credential.KDF(c.KDF), OpDigest: digest,
	}).Sum()
	return [64]byte(ed25519.Sign(k.key, append([]byte("authsrv v1 "+label+"\x00"), t[:]...)))
}

// ask sends a message, if there is one, and takes the answer, which is to be of a type.
func (k *talk) ask(m interface{ AppendTo([]byte) []byte }, want wire.Type) ([]byte, error) {
	if m != nil {
		if err := k.conn.WriteMessage(m.AppendTo(nil)); err != nil {
			return nil, err
		}
	}
	b, err := k.conn.ReadMessage(wire.MaxSessionFrame)
	if err == nil && wire.TypeOf(b) != want {
		err = unexpected(b, want)
	}
	return b, err
}

// answered is an answer that was not the one that is due.
type answered struct {
	got, want wire.Type
	code      wire.Code // of a refusal or a goodbye
}

func (a *answered) Error() string {
	return fmt.Sprintf("got %v %v, want %v", a.got, a.code.Name(), a.want)
}

func unexpected(b []byte, want wire.Type) *answered {
	a := &answered{got: wire.TypeOf(b), want: want}
	switch a.got {
	case wire.TypeDenied:
		m, _ := wire.ParseDenied(b)
		a.code = m.Code
	case wire.TypeRefused:
		m, _ := wire.ParseRefused(b)
		a.code = m.Code
	case wire.TypeGoodbye:
		m, _ := wire.ParseGoodbye(b)
		a.code = m.Code
	}
	return a
}

func (o *owner) register(from, to string) error {
	k, err := o.begin(from, to, wire.PurposeRegister)
	if err != nil {
		return err
	}
	defer k.raw.Close()
	b, err := k.ask(nil, wire.TypeRegisterParams)
	if err != nil {
		return err
	}
	params, err := wire.ParseRegisterParams(b)
	if err != nil {
		return err
	}
	m := &wire.RegisterFinish{Record: wire.Record{
		KDF: params.KDF, PublicKey: [32]byte(o.key.Public().(ed25519.PublicKey)), ServerKey: [32]byte(sum("server key " + o.name)),
	}}
	digest := sha256.Sum256(m.AppendSigned(nil))
	m.Signature = k.prove("new-key-proof", &params.Challenge, digest[:])
	_, err = k.ask(m, wire.TypeRegistered)
	return err
}

func (o *owner) login(from, to string) (*talk, error) {
	k, err := o.begin(from, to, wire.PurposeLogin)
	if err != nil {
		return nil, err
	}
	b, err := k.ask(nil, wire.TypeChallenge)
	if err == nil {
		var c wire.Challenge
		if c, err = wire.ParseChallenge(b); err == nil {
			b, err = k.ask(&wire.Proof{Proof: k.prove("client-proof", &c, nil)}, wire.TypeWelcome)
		}
	}
	if err == nil {
		err = k.takeWelcome(b)
	}
	if err != nil {
		k.raw.Close()
		return nil, err
	}
	return k, nil
}

// takeWelcome keeps what a Welcome says.
func (k *talk) takeWelcome(b []byte) (err error) {
	k.welcome, err = wire.ParseWelcome(b)
	k.welcome.Name, k.welcome.Token, k.welcome.ResumeKey = nil, bytes.Clone(k.welcome.Token), nil
	return err
}

// isThere asks something that only who is logged in is answered.
func (k *talk) isThere() error {
	_ = k.raw.SetDeadline(time.Now().Add(patience))
	_, err := k.ask(wire.Plain{Type: wire.TypeWhoAmI, ID: 1}, wire.TypeAccount)
	return err
}

// flood is what is done to a server.
type flood struct {
	idle     int // connections that are logged in, and say nothing
	slow     int // connections that send a byte a second
	garbage  int // handshakes a second
	duration time.Duration
	honest   int // who log in one after the other, all the time
}

// outcome is what came of it.
type outcome struct {
	sent               int64 // garbage
	rate               float64
	honest, honestWell int
	firstFailure       error
	latencies          []time.Duration
	idle, idleLost     int
	slow, overdue      int // that were closed; of those, later than the deadline
	atDeadline         float64
	cut, failed        float64 // connections of networks that were cut off; handshakes that were looked at
	lobby              float64 // the most that were not logged in at once
	idleMemory, memory int64   // with all idle ones and nothing else; the most
	goroutines, after  float64
	files, filesAfter  int
	evictions          float64
	took               time.Duration
	cpu                float64 // seconds of the server, during the attack
}

// faults are the promises that were not kept.
func (o *outcome) faults(f *flood, judged bool) (faults []string) {
	fault := func(format string, args ...any) { faults = append(faults, fmt.Sprintf(format, args...)) }
	if o.honest < f.honest || float64(o.honestWell) < successLimit*float64(o.honest) {
		fault("logins: %d of %d honest ones, the first that failed with %v", o.honestWell, o.honest, o.firstFailure)
	}
	if p := o.percentile(99); judged && p >= latencyLimit {
		fault("latency: 99 of 100 honest logins take up to %v", p)
	}
	if o.memory >= memoryLimit {
		fault("memory: %d MiB", o.memory>>20)
	}
	if o.idleLost > 0 {
		fault("idle: %d of %d who were logged in are not there any more", o.idleLost, o.idle)
	}
	if o.overdue > 0 || o.slow < f.slow || o.atDeadline == 0 {
		fault("slow: %d of %d were not closed at the deadline, and %.0f at it", o.overdue, o.slow, o.atDeadline)
	}
	if o.lobby > lobbyLimit {
		fault("lobby: %.0f connections that are not logged in", o.lobby)
	}
	if o.cut < float64(o.sent)/4 {
		fault("penalties: of %d that send garbage %.0f were cut off", o.sent, o.cut)
	}
	if o.after > o.goroutines+returnTolerance {
		fault("goroutines: %.0f before and %.0f after", o.goroutines, o.after)
	}
	if o.filesAfter > o.files+returnTolerance {
		fault("descriptors: %d before and %d after", o.files, o.filesAfter)
	}
	return faults
}

func (o *outcome) percentile(n int) time.Duration {
	if len(o.latencies) == 0 {
		return 0
	}
	slices.Sort(o.latencies)
	return o.latencies[(len(o.latencies)-1)*n/100]
}

func (o *outcome) String() string {
	return fmt.Sprintf("%d garbage handshakes (%.0f a second), of which %.0f were cut off and %.0f looked at; %d slow connections closed, %.0f at the deadline, "+
		"%d later; %.0f evicted; at most %.0f not logged in; %d of %d honest logins, half within %v, 99 of 100 within %v; %d idle ones, %d lost; "+
		"%d MiB with these, %d MiB at most; goroutines %.0f before, %.0f after; descriptors %d and %d; %.1f s of the processor in %v",
		o.sent, o.rate, o.cut, o.failed, o.slow, o.atDeadline, o.overdue, o.evictions, o.lobby, o.honestWell, o.honest,
		o.percentile(50).Round(time.Millisecond), o.percentile(99).Round(time.Millisecond), o.idle, o.idleLost,
		o.idleMemory>>20, o.memory>>20, o.goroutines, o.after, o.files, o.filesAfter, o.cpu, o.took.Round(time.Second))
}

const perAccount = 60 // idle connections, of the 64 that there may be

// run does all of it to a server, and returns what came of it.
func (f *flood) run(t *testing.T, srv *process) *outcome {
	o := &outcome{}
	idlers := make([]*owner, (f.idle+perAccount-1)/perAccount)
	honest := make([]*owner, f.honest)
	for i := range idlers {
		idlers[i] = newOwner(fmt.Sprintf("idle%d", i))
	}
	for i := range honest {
		honest[i] = newOwner(fmt.Sprintf("honest%d", i))
	}
	var all sync.WaitGroup
	places := make(chan struct{}, 16)
	for i, u := range slices.Concat(idlers, honest) {
		places <- struct{}{}
		all.Go(func() {
			defer func() { <-places }()
			if err := u.register(fmt.Sprintf("127.240.%d.%d", i/250, i%250+1), srv.address); err != nil {
				t.Errorf("%s registers: %v", u.name, err)
			}
		})
	}
	all.Wait()
	if t.Failed() {
		t.FailNow()
	}
	before := f.settled(t, srv, nil)
	o.goroutines, o.files = before["go_goroutines"], srv.files()

	idle := make([]*talk, f.idle)
	for i := range idle {
		places <- struct{}{}
		all.Go(func() {
			defer func() { <-places }()
			var err error
			if idle[i], err = idlers[i/perAccount].login(fmt.Sprintf("127.241.%d.%d", i/250, i%250+1), srv.address); err != nil {
				t.Errorf("idle connection %d: %v", i, err)
			}
		})
	}
	all.Wait()
	if t.Failed() {
		t.FailNow()
	}
	o.idle = len(idle)
	o.idleMemory, _ = srv.memory()

	cpu := f.metrics(t, srv)["process_cpu_seconds_total"]
	f.attack(t, srv, honest, o)
	o.cpu = f.metrics(t, srv)["process_cpu_seconds_total"] - cpu

	for _, k := range idle {
		if err := k.isThere(); err != nil {
			o.idleLost++
		}
	}
	for _, k := range idle {
		abandon(k.raw)
	}
	_, o.memory = srv.memory()
	after := f.settled(t, srv, func(m map[string]float64) bool {
		return m["go_goroutines"] <= o.goroutines+returnTolerance && srv.files() <= o.files+returnTolerance
	})
	o.after, o.filesAfter = after["go_goroutines"], srv.files()
	o.cut, o.failed = after["authsrv_connections_cut_off_total"], after[`authsrv_handshakes_total{outcome="failed"}`]
	o.atDeadline = after[`authsrv_handshakes_total{outcome="timeout"}`]
	o.evictions = after["authsrv_lobby_evictions_total"]
	return o
}

func (f *flood) metrics(t *testing.T, srv *process) map[string]float64 {
	t.Helper()
	m, err := srv.metrics()
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// settled waits until there is no connection and good says so as well, but not for ever, and returns the last metrics.
func (f *flood) settled(t *testing.T, srv *process, good func(map[string]float64) bool) map[string]float64 {
	for end := time.Now().Add(patience); ; time.Sleep(50 * time.Millisecond) {
		m := f.metrics(t, srv)
		if m["authsrv_connections"] == 0 && (good == nil || good(m)) || time.Now().After(end) {
			return m
		}
	}
}

// attack is the garbage, the slow connections and the honest ones, all at the same time.
func (f *flood) attack(t *testing.T, srv *process, honest []*owner, o *outcome) {
	began := time.Now()
	stop := began.Add(f.duration)
	var all, watch sync.WaitGroup
	var mu sync.Mutex // guards o

	var sent atomic.Int64
	for range 64 {
		all.Go(func() {
			for {
				n := sent.Add(1) - 1
				at := began.Add(time.Duration(n) * time.Second / time.Duration(f.garbage))
				if at.After(stop) || time.Now().After(stop) {
					sent.Add(-1)
					return
				}
				time.Sleep(time.Until(at))
				f.sendGarbage(srv.address, int(n))
			}
		})
	}
	for i := range f.slow {
		all.Go(func() {
			time.Sleep(time.Duration(i) * time.Second / time.Duration(f.slow)) // not all in the same moment
			for time.Now().Before(stop) {
				lived, err := sendSlowly(srv.address, fmt.Sprintf("127.%d.%d.%d", 100+i%8, i/8%250, i/2000+1))
				mu.Lock()
				if o.slow++; err != nil || lived > 2*handshakeLimit {
					o.overdue++
				}
				mu.Unlock()
				time.Sleep(min(handshakeLimit, time.Until(stop)))
			}
		})
	}
	for i, u := range honest {
		all.Go(func() {
			for n := 0; time.Now().Before(stop); n++ {
				at := time.Now()
				k, err := u.login(fmt.Sprintf("127.242.%d.%d", i, n%250+1), srv.address)
				if err == nil {
					err = k.isThere()
					abandon(k.raw)
				}
				took := time.Since(at)
				mu.Lock()
				o.honest++
				if err == nil {
					o.honestWell++
					o.latencies = append(o.latencies, took)
				} else if o.firstFailure == nil {
					o.firstFailure = err
				}
				mu.Unlock()
				time.Sleep(100 * time.Millisecond)
			}
		})
	}
	watching := make(chan struct{})
	watch.Go(func() {
		for {
			if m, err := srv.metrics(); err == nil {
				mu.Lock()
				o.lobby = max(o.lobby, m["authsrv_connections"]-m["authsrv_connections_logged_in"])
				mu.Unlock()
			}
			select {
			case <-watching:
				return
			case <-time.After(250 * time.Millisecond):
			}
		}
	})
	all.Wait()
	close(watching)
	watch.Wait()
	o.took = time.Since(began)
	o.sent, o.rate = sent.Load(), float64(sent.Load())/f.duration.Seconds()
}

// rubbish is what is sent in place of a handshake: a request of another protocol, a point of low order, a handshake that
// ends behind M2, and, most expensive for the server, one whose M3 is not right.
var rubbish = func() (all [4][]byte) {
	preface := []byte("auth\x01\x01\x00\x00\x00\x20")
	m1 := slices.Concat(preface, bytes.Repeat([]byte{9}, 32))
	all[0] = []byte("GET / HTTP/1.1\r\nHost: auth.example.org\r\n\r\n")
	all[1] = append(slices.Clone(preface), make([]byte, 32)...)
	all[2] = m1
	all[3] = slices.Concat(m1, []byte{0, 96}, make([]byte, 96))
	return all
}()

// sendGarbage is the n-th of its handshakes. Every other one comes from one of a few addresses, ten of a /24, which are soon cut off; the
// rest come from addresses that are as good as new, each in a network of its own, so that the server has to look at what they send.
func (f *flood) sendGarbage(to string, n int) {
	i := n / 2
	few := f.garbage/15 + 1
	from := fmt.Sprintf("127.%d.%d.1", 2+i/250%90, i%250)
	if n%2 == 0 {
		from = fmt.Sprintf("127.1.%d.%d", i%few/10, i%few%10+1)
	}
	conn, err := connectFrom(from, to)
	if err != nil {
		return
	}
	defer abandon(conn)
	kind := i % len(rubbish)
	_ = conn.SetDeadline(time.Now().Add(2 * time.Second))
	if _, err := conn.Write(rubbish[kind]); err != nil {
		return
	}
	b := make([]byte, 1024)
	for {
		if _, err := conn.Read(b); err != nil || kind == 2 { // M2 has come, or the end
			return
		}
	}
}

// sendSlowly sends a byte a second until the server closes the connection, and returns how long that took. An error is that it did not.
func sendSlowly(to, from string) (time.Duration, error) {
	conn, err := connectFrom(from, to)
	if err != nil {
		return 0, nil // it is closed
	}
	defer abandon(conn)
	began := time.Now()
	for _, b := range rubbish[3] {
		if _, err := conn.Write([]byte{b}); err != nil {
			return time.Since(began), nil
		}
		_ = conn.SetReadDeadline(time.Now().Add(time.Second))
		if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
			return time.Since(began), nil
		}
		if time.Since(began) > 4*handshakeLimit {
			break
		}
	}
	return time.Since(began), errors.New("the server did not close it")
}

// TestSoakFlood: the real server, as a process, is flooded from many addresses, and serves who is honest.
func TestSoakFlood(t *testing.T) {
	f := &flood{
		idle: soak.Times(t, 5000, 100), slow: soak.Times(t, 2000, 40), garbage: soak.Times(t, 3000, 60),
		duration: 4 * time.Second, honest: 10,
	}
	if soak.Full(t) { // more of it is a longer flood, not a larger one
		f.idle, f.slow, f.garbage = 5000, 2000, 3000
		f.duration = min(time.Duration(soak.Times(t, 30, 30))*time.Second, 10*time.Minute)
	}
	need := uint64(f.idle + f.slow + 2000)
	var files syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files); err != nil || files.Cur < need { // Go has raised it to the hard limit
		t.Skipf("%d file descriptors are too few: it takes %d, %v", files.Cur, need, err)
	}
	program := build(t)
	flags := []string{"--registration-limit", "0", "--penalty-exempt", "none"}
	o := f.run(t, run(t, program, flags...))
	t.Log(o)
	for _, fault := range o.faults(f, soak.Judged(t)) {
		t.Error(fault)
	}

	// The mutant: nobody is cut off, and the lobby holds whoever comes.
	if f.duration = min(f.duration, 8*time.Second); !soak.Full(t) {
		f.duration, f.slow = 2*time.Second, 0
	}
	o = f.run(t, run(t, program, append(flags, "--penalties", "off", "--max-handshakes", "1000000")...))
	faults := o.faults(f, false)
	t.Logf("mutant: %v: %q", o, faults)
	want := []string{"penalties: "}
	if soak.Full(t) {
		want = append(want, "lobby: ")
	}
	for _, w := range want {
		if !slices.ContainsFunc(faults, func(f string) bool { return len(f) > len(w) && f[:len(w)] == w }) {
			t.Errorf("without protection the check does not say %q", w)
		}
	}
}
