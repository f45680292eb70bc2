package testkit

import (
	"bytes"
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"filippo.io/edwards25519"
	"github.com/authsrv/authsrv/credential"
	"github.com/authsrv/authsrv/wire"
)

// mode is how a file is run.
type mode int

const (
	exact  mode = iota // what is sent is the file's bytes; what comes is compared with them
	live               // all is computed anew, since the side under test has randomness of its own; what comes is compared by type and code
	record             // as live, with the file's randomness: what is sent and what comes is written into the file
)

// player is the kit's side of one connection.
type player struct {
	f      *transcript
	mode   mode
	conn   net.Conn
	client bool // the kit plays the client: a server is under test
	noise  *shake
	passed int  // frames of the handshake, the preface being one
	open   bool // the handshake is over
	keys   map[string]signer
	queue  chan []byte
	done   chan struct{} // the writer has ended

	t         map[string][]byte // fields of PROTOCOL 6, as far as they are known
	welcome   []byte
	lastProof []byte
	lastID    uint32 // of the last request that came
	lastSent  []byte
	previous  []byte // the server nonce before the last one
}

type signer struct {
	key       ed25519.PrivateKey
	serverKey []byte
}

// transcriptFields are in the order of PROTOCOL 6.
var transcriptFields = strings.Fields("preface h realm-id purpose options method offered name client-static client-nonce " +
	"server-nonce salt kdf op-digest session-id account-id")

var prefaceBytes = []byte{'a', 'u', 't', 'h', 1, 1, 0, 0}

func newPlayer(f *transcript, m mode, conn net.Conn) (*player, error) {
	p := &player{
		f: f, mode: m, conn: conn, client: f.get("side") == "server", keys: make(map[string]signer),
		queue: make(chan []byte, 64), done: make(chan struct{}), t: map[string][]byte{"preface": prefaceBytes},
	}
	own := "server"
	if p.client {
		own = "client"
	}
	e, err := p.pair(own + "-ephemeral")
	if err != nil {
		return nil, err
	}
	s, err := p.pair(own + "-static")
	if err != nil {
		return nil, err
	}
	p.noise = newShake(prefaceBytes, p.client, e, s)
	for _, words := range f.all("key") {
		seed, err := hex.DecodeString(words[1])
		if err != nil {
			return nil, err
		}
		k := signer{key: ed25519.NewKeyFromSeed(seed)}
		if k.serverKey, err = hex.DecodeString(words[2]); err != nil {
			return nil, err
		}
		p.keys[words[0]] = k
	}
	go func() {
		defer close(p.done)
		for b := range p.queue {
			if len(b) == 0 {
				continue
			}
			if _, err := conn.Write(b); err != nil {
				for range p.queue { // it was hung up on
				}
				return
			}
		}
	}()
	return p, nil
}

func (p *player) pair(name string) (pair, error) {
	private, err := hex.DecodeString(p.f.get(name))
	if err != nil {
		return pair{}, err
	}
	var sent []byte
	if text := p.f.get(name + "-sent"); text != "" {
		if sent, err = hex.DecodeString(text); err != nil {
			return pair{}, err
		}
	}
	return newPair(private, sent)
}

// close hangs up.
func (p *player) close() {
	p.conn.Close()
	close(p.queue)
	<-p.done
}

// errQuiet says that nothing came.
var errQuiet = errors.New("nothing comes")

// run plays all frames of the file.
func (p *player) run() error {
	for i, fr := range p.f.frames {
		var err error
		switch fr.kind {
		case wait:
			var seconds int
			if seconds, err = strconv.Atoi(fr.name); err == nil {
				time.Sleep(time.Duration(seconds) * time.Second)
			}
		case send:
			err = p.send(fr)
		default:
			var got *frame
			if got, err = p.receive(time.Second); err == nil {
				err = p.compare(fr, got)
			}
		}
		if err != nil {
			return fmt.Errorf("frame %d, %s %s: %w", i+1, fr.kind, fr.name, err)
		}
	}
	return nil
}

// compare holds what came against the file.
func (p *player) compare(want, got *frame) error {
	switch {
	case p.mode == exact:
		if want.hash != got.hash {
			return fmt.Errorf("got other bytes than in the file: %x", got.wire)
		}
	case want.name != got.name:
		return fmt.Errorf("got %s %x", got.name, got.payload)
	case p.mode == record:
		*want = *got
	case codeOf(want) != codeOf(got):
		return fmt.Errorf("got %s %s, want %s", got.name, codeOf(got), codeOf(want))
	}
	return nil
}

// receive returns the next frame, as one that is awaited. In mode exact it is not opened.
func (p *player) receive(patience time.Duration) (*frame, error) {
	p.conn.SetReadDeadline(time.Now().Add(patience))
	fr := &frame{kind: await}
	head := make([]byte, 2)
	if p.stage() == "preface" {
		head = make([]byte, len(prefaceBytes))
	}
	if n, err := io.ReadFull(p.conn, head); err != nil {
		if errors.Is(err, os.ErrDeadlineExceeded) && n == 0 {
			return nil, errQuiet
		}
		return nil, io.EOF
	}
	if fr.wire = head; len(head) == 2 {
		body := make([]byte, binary.BigEndian.Uint16(head))
		if _, err := io.ReadFull(p.conn, body); err != nil {
			return nil, fmt.Errorf("half a frame: %w", err)
		}
		fr.wire = append(fr.wire, body...)
	}
	fr.hash = hex.EncodeToString(digest(fr.wire))
	if p.mode == exact {
		p.pass()
		return fr, nil
	}
	return fr, p.read(fr)
}

// stage is the next handshake message, or "".
func (p *player) stage() string {
	if p.open {
		return ""
	}
	return handshake[p.passed]
}

// handshake is what comes before the records.
var handshake = [...]string{"preface", "M1", "M2", "M3"}

// pass counts a frame.
func (p *player) pass() {
	if !p.open {
		p.passed++
		p.open = p.passed == len(handshake)
	}
}

// read opens what came, and takes note of it.
func (p *player) read(fr *frame) (err error) {
	body := fr.wire[min(2, len(fr.wire)):]
	if p.client && !p.open && len(body) == wire.RefusalSize {
		fr.name, fr.payload = "refusal", body
		return nil
	}
	switch stage := p.stage(); stage {
	case "preface":
		fr.name, fr.payload = stage, fr.wire
	case "M1":
		fr.name, fr.payload = stage, []byte{}
		err = p.noise.readM1(body)
	case "M2":
		fr.name = "M2 ServerHello"
		fr.payload, err = p.noise.readM2(body)
	case "M3":
		fr.name = "M3 AuthStart"
		if fr.payload, err = p.noise.readM3(body); err == nil {
			p.t["client-static"] = p.noise.rs[:]
		}
	default:
		if fr.payload, err = p.noise.openRecord(body); err == nil {
			fr.name = wire.TypeOf(fr.payload).String()
		}
	}
	if err != nil {
		return err
	}
	p.pass()
	p.note(fr.payload, fr.name)
	return nil
}

// send makes the bytes of a frame, or takes those of the file, and sends them.
func (p *player) send(fr *frame) error {
	if p.mode == exact {
		p.queue <- fr.wire
		p.pass()
		return nil
	}
	b, err := p.build(fr)
	if err != nil {
		return err
	}
	if p.mode == record {
		fr.wire = b
	}
	p.lastSent = b
	p.queue <- b
	return nil
}

// build makes the bytes of a frame.
func (p *player) build(fr *frame) (b []byte, err error) {
	payload := bytes.Clone(fr.payload)
	switch fr.name {
	case "raw":
		return payload, nil
	case "again":
		return p.lastSent, nil
	}
	for _, c := range fr.compute {
		if err := p.computeField(payload, strings.Fields(c)); err != nil {
			return nil, fmt.Errorf("compute: %s: %w", c, err)
		}
	}
	var body []byte
	switch stage := p.stage(); stage {
	case "preface":
		body = payload
	case "M1":
		body = p.noise.writeM1(payload)
	case "M2":
		body = p.noise.writeM2(payload)
	case "M3":
		body = p.noise.writeM3(payload)
		p.t["client-static"] = p.noise.s.sent[:]
	default:
		body = p.noise.sealRecord(payload)
	}
	if b = body; p.stage() != "preface" {
		b = append(binary.BigEndian.AppendUint16(nil, uint16(len(body))), body...)
	}
	p.pass()
	p.note(payload, fr.name)
	if p.mode == record {
		fr.payload = payload
	}
	for _, e := range fr.edits {
		if b, err = edit(b, strings.Fields(e)); err != nil {
			return nil, fmt.Errorf("edit: %s: %w", e, err)
		}
	}
	return b, nil
}

var errWords = errors.New("can't be read")

// edit changes the bytes of a frame, its length included.
func edit(b []byte, words []string) ([]byte, error) {
	if len(words) != 2 && len(words) != 3 {
		return nil, errWords
	}
	argument, err := unpackHex(words[len(words)-1])
	if words[0] == "cut" {
		n, err := strconv.Atoi(words[1])
		if err != nil || n > len(b) {
			return nil, errWords
		}
		return b[:n], nil
	}
	if err != nil {
		return nil, err
	}
	if words[0] == "append" {
		return append(b, argument...), nil
	}
	at, err := strconv.Atoi(words[1])
	if err != nil || at+len(argument) > len(b) {
		return nil, errWords
	}
	switch words[0] {
	case "set":
		copy(b[at:], argument)
	case "xor":
		for i, x := range argument {
			b[at+i] ^= x
		}
	default:
		return nil, errWords
	}
	return b, nil
}

// computeField fills in one field that no file can know, where the side under test has randomness of its own.
func (p *player) computeField(b []byte, words []string) error {
	if len(words) < 2 {
		return errWords
	}
	at, err := strconv.Atoi(words[0])
	if err != nil || at >= len(b) {
		return errWords
	}
	what, rest := words[1], words[2:]
	out := b[at:]
	switch {
	case what == "id" && len(rest) <= 1:
		id := p.lastID
		if len(rest) == 1 {
			n, err := strconv.ParseUint(rest[0], 10, 32)
			if err != nil {
				return err
			}
			id += uint32(n)
		}
		copy(out, binary.BigEndian.AppendUint32(nil, id)) // all of it that there is room for
		return nil
	case what == "xor" && len(rest) == 1:
		_, err := edit(b, []string{"xor", words[0], rest[0]})
		return err
	case what == "add-order" && len(rest) == 0:
		return addOrder(out)
	case what == "last-proof" && len(rest) == 0:
		copy(out, p.lastProof)
		return nil
	case what == "forge" && len(rest) >= 1:
		sum, err := p.sum(b, rest[1:])
		if err != nil {
			return err
		}
		return forge(out, b, at, append(label(rest[0]), sum...))
	case what == "sign" && len(rest) >= 2, what == "confirm" && len(rest) >= 1, what == "resume-confirm" && len(rest) >= 1:
	default:
		return errWords
	}
	k, known := p.keys[rest[0]]
	if !known {
		return fmt.Errorf("no key %s", rest[0])
	}
	switch what {
	case "sign":
		sum, err := p.sum(b, rest[2:])
		if err != nil {
			return err
		}
		copy(out, ed25519.Sign(k.key, append(label(rest[1]), sum...)))
	case "confirm":
		sum, err := p.sum(b, rest[1:])
		if err != nil {
			return err
		}
		copy(out, authenticate(k.serverKey, label("server-confirm"), sum, p.lastProof))
	case "resume-confirm":
		sum, err := p.sum(b, rest[1:])
		if err != nil {
			return err
		}
		copy(out, authenticate(k.serverKey, label("resume-confirm"), sum))
	}
	return nil
}

func label(name string) []byte { return []byte("authsrv v1 " + name + "\x00") }

func authenticate(key []byte, parts ...[]byte) []byte {
	mac := hmac.New(sha256.New, key)
	for _, b := range parts {
		mac.Write(b)
	}
	return mac.Sum(nil)
}

// order is that of the group of Ed25519.
var order, _ = new(big.Int).SetString("7237005577332262213973186563042994240857116359379907606001950938285454250989", 10)

// addOrder makes the second half of a signature another scalar that means the same.
func addOrder(s []byte) error {
	if len(s) < 32 {
		return errWords
	}
	little := bytes.Clone(s[:32])
	slices.Reverse(little)
	sum := new(big.Int).Add(new(big.Int).SetBytes(little), order).FillBytes(little)
	slices.Reverse(sum)
	copy(s, sum)
	return nil
}

// forge makes a signature under A, which stands in a record and is of small order: it needs no private key. With R = r·B − j·A and
// S = r, it is right if the hash comes to j modulo the order of A, for one of some r.
func forge(out, payload []byte, at int, message []byte) error {
	encoded := payload[at-64 : at-32]
	a, err := new(edwards25519.Point).SetBytes(encoded)
	if err != nil {
		return err
	}
	for try := range 1000 {
		wide := make([]byte, 64)
		wide[0], wide[1], wide[40] = byte(try), byte(try>>8), 1
		r, err := edwards25519.NewScalar().SetUniformBytes(wide)
		if err != nil {
			return err
		}
		point := new(edwards25519.Point).ScalarBaseMult(r)
		for range 8 {
			signature := append(point.Bytes(), r.Bytes()...)
			if ed25519.Verify(encoded, message, signature) {
				copy(out, signature)
				return nil
			}
			point.Subtract(point, a)
		}
	}
	return errors.New("A is not of small order")
}

// sum is T for a message, with some fields changed: FIELD=HEX or FIELD^HEX, the latter aligned with its end.
func (p *player) sum(message []byte, changes []string) ([]byte, error) {
	t := make(map[string][]byte)
	for _, name := range transcriptFields {
		t[name] = bytes.Clone(p.t[name])
	}
	t["h"] = bytes.Clone(p.noise.h[:])
	switch wire.TypeOf(message) {
	case wire.TypeRegisterFinish, wire.TypeResetFinish:
		t["op-digest"] = digest(message[:75])
	case wire.TypeChangePassword:
		t["op-digest"] = digest(message[:79])
	case wire.TypeDeleteAccount, wire.TypeRevokeAll:
		t["op-digest"] = digest(message[:5])
	case wire.TypeWelcome:
		if bytes.Equal(t["purpose"], []byte{2}) {
			t["account-id"], t["session-id"] = bytes.Clone(message[33:49]), bytes.Clone(message[49:65])
			t["name"] = bytes.Clone(message[74 : 74+message[73]])
		}
	}
	for _, c := range changes {
		name, value, set := strings.Cut(c, "=")
		if !set {
			name, value, _ = strings.Cut(c, "^")
		}
		b, err := unpackHex(value)
		if c == "server-nonce=previous" {
			b, err = p.previous, nil
		}
		if _, known := t[name]; !known || err != nil {
			return nil, errWords
		}
		if set {
			t[name] = b
			continue
		}
		if len(b) > len(t[name]) {
			return nil, errWords
		}
		for i := range b {
			t[name][len(t[name])-len(b)+i] ^= b[i]
		}
	}
	hash := sha256.New()
	for _, b := range append([][]byte{[]byte("authsrv v1 auth-transcript")}, fieldsOf(t)...) {
		hash.Write(binary.BigEndian.AppendUint32(nil, uint32(len(b))))
		hash.Write(b)
	}
	return hash.Sum(nil), nil
}

func digest(b []byte) []byte {
	sum := sha256.Sum256(b)
	return sum[:]
}

func fieldsOf(t map[string][]byte) (all [][]byte) {
	for _, name := range transcriptFields {
		all = append(all, t[name])
	}
	return all
}

// note takes from a message what later ones are computed with. What is malformed says nothing.
func (p *player) note(b []byte, name string) {
	if name == "preface" {
		return
	}
	switch wire.TypeOf(b) {
	case wire.TypeChallenge, wire.TypeRegisterParams, wire.TypeOpChallenge:
		p.previous = p.t["server-nonce"]
	}
	switch wire.TypeOf(b) {
	case wire.TypeServerHello:
		if len(b) >= 20 {
			p.t["realm-id"] = bytes.Clone(b[4:20])
		}
	case wire.TypeAuthStart:
		m, err := wire.ParseAuthStart(b)
		if err != nil {
			return
		}
		for _, name := range transcriptFields[10:] {
			p.t[name] = nil
		}
		p.t["purpose"], p.t["method"], p.t["offered"] = []byte{byte(m.Purpose)}, []byte{byte(m.Method)}, bytes.Clone(m.Offered)
		p.t["options"], p.t["name"] = binary.BigEndian.AppendUint32(nil, m.Lifetime), bytes.Clone(m.Name)
		p.t["client-nonce"] = bytes.Clone(m.ClientNonce[:])
	case wire.TypeChallenge, wire.TypeRegisterParams:
		if len(b) >= 59 {
			p.t["server-nonce"], p.t["salt"], p.t["kdf"] = bytes.Clone(b[1:33]), bytes.Clone(b[33:49]), bytes.Clone(b[49:59])
		}
	case wire.TypeProof:
		if len(b) >= 65 {
			p.lastProof = bytes.Clone(b[1:65])
		}
	case wire.TypeRegisterFinish:
		if len(b) >= 204 {
			p.lastProof = bytes.Clone(b[140:204])
		}
	case wire.TypeResetFinish:
		if len(b) >= 203 {
			p.lastProof = bytes.Clone(b[139:203])
		}
		p.t["op-digest"] = digest(b[:min(75, len(b))])
	case wire.TypeWelcome:
		if len(b) >= 75 {
			p.welcome = bytes.Clone(b)
		}
	case wire.TypePasswordChanged:
		if len(b) >= 21 && p.welcome != nil {
			copy(p.welcome[49:65], b[5:21])
		}
	case wire.TypeOpStart:
		if len(b) >= 38 && p.welcome != nil {
			p.t["purpose"], p.t["method"], p.t["offered"], p.t["options"] = []byte{4}, []byte{1}, []byte{1}, make([]byte, 4)
			p.t["client-nonce"], p.t["op-digest"] = bytes.Clone(b[6:38]), nil
			p.t["account-id"], p.t["session-id"] = p.welcome[33:49], p.welcome[49:65]
			p.t["name"] = p.welcome[74 : 74+int(p.welcome[73])]
		}
	case wire.TypeOpChallenge:
		if len(b) >= 63 {
			p.t["server-nonce"], p.t["salt"], p.t["kdf"] = bytes.Clone(b[5:37]), bytes.Clone(b[37:53]), bytes.Clone(b[53:63])
		}
	}
	if wire.TypeOf(b) == wire.TypeRegisterFinish {
		p.t["op-digest"] = digest(b[:min(75, len(b))])
	}
	if wire.TypeOf(b) >= wire.TypeGoodbye && len(b) >= 5 {
		p.lastID = binary.BigEndian.Uint32(b[1:])
	}
}

// codeOf is the code in an answer, with its rule if there is one, or "".
func codeOf(fr *frame) string {
	b := fr.payload
	code, rule := 0, 0
	switch {
	case fr.name == "refusal" && len(b) == 8:
		code = int(binary.BigEndian.Uint16(b[6:]))
	case fr.name == "Denied" && len(b) >= 8:
		code, rule = int(binary.BigEndian.Uint16(b[1:])), int(b[3])
	case fr.name == "Refused" && len(b) >= 12:
		code, rule = int(binary.BigEndian.Uint16(b[5:])), int(b[7])
	case fr.name == "Goodbye" && len(b) == 7:
		code = int(binary.BigEndian.Uint16(b[5:]))
	default:
		return ""
	}
	text := wire.Code(code).Name()
	if rule != 0 {
		text += " " + credential.Rule(rule).String()
	}
	return text
}
