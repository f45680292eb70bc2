package client_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/authsrv/authsrv/client"
	"github.com/authsrv/authsrv/credential"
	"github.com/authsrv/authsrv/internal/account"
	"github.com/authsrv/authsrv/internal/authtest"
	"github.com/authsrv/authsrv/noiseconn"
	"github.com/authsrv/authsrv/wire"
	"github.com/flynn/noise"
	"golang.org/x/crypto/chacha20poly1305"
)

// cheapKey is a key that is made of a password in no time, for those that need many: it is as good as a stretched one to both sides.
func cheapKey(password []byte, realm [16]byte, name string, salt [16]byte, _ credential.KDF) (*credential.Key, error) {
	sum := sha256.Sum256(fmt.Appendf(nil, "%x %x %s %s", realm, salt, name, password))
	return (&credential.Code{Kind: credential.CodeReset, ID: [16]byte(sum[:])}).Key()
}

// enroll makes an account with a cheap key, without a connection.
func enroll(t testing.TB, srv *authtest.Server, name, password string) {
	t.Helper()
	ctx := t.Context()
	a, c, err := srv.Accounts.BeginRegister(ctx, &account.Channel{}, &account.Start{Name: name, Method: 1, Offered: []byte{1}})
	if err != nil {
		t.Fatal(err)
	}
	key, err := cheapKey([]byte(password), srv.Accounts.RealmID(), name, c.Salt, c.KDF)
	if err != nil {
		t.Fatal(err)
	}
	digest := sha256.Sum256([]byte(name))
	sum := (&credential.Transcript{
		RealmID: srv.Accounts.RealmID(), Purpose: 3, Method: 1, OfferedMethods: []byte{1}, LoginName: name,
		ServerNonce: c.ServerNonce[:], Salt: c.Salt[:], KDF: c.KDF, OpDigest: digest[:],
	}).Sum()
	v := account.Verifier{KDF: c.KDF, PublicKey: key.Public(), ServerKey: key.ServerKey()}
	if err := srv.Accounts.FinishRegister(ctx, a, v, digest, key.ProveNew(sum)); err != nil {
		t.Fatal(err)
	}
}

// Ways of frames.
const (
	toServer = 0
	toClient = 1
)

// fault is what happens to one byte of one frame: one of its bits is flipped, or the connection is cut before it.
type fault struct {
	way   int
	frame int // of its way; the preface is the first one to the server
	at    int // the byte
	bit   int // 0 to 7, or cut
}

const cutHere = 8

func (f fault) String() string {
	what := fmt.Sprintf("bit %d of byte %d", f.bit, f.at)
	if f.bit == cutHere {
		what = fmt.Sprintf("cut at byte %d", f.at)
	}
	return fmt.Sprintf("%s, %s", frameName(f.way, f.frame), what)
}

// middle is a man in the middle, as the client's end of a connection: he passes frames on whole, in both directions, but for one fault. With
// forges he has the keys of both sides, and gives a record that he changed a tag that is good: that is what a cipher would be that checks none.
type middle struct {
	net.Conn
	fault  *fault
	forges func(m2 []byte) [2]chacha
	puts   func(m *middle, frame []byte) []byte // at the fault: what is passed on in the place of a frame; nil: the frame itself, without a fault
	made   atomic.Bool                          // the fault
	cut    atomic.Bool

	keys   [2]chacha
	rest   []byte      // of what the client is to read
	mu     sync.Mutex  // guards what follows
	frames [2][][]byte // as they came
}

// chacha is the key of the records of one way.
type chacha [32]byte

func (m *middle) Write(b []byte) (int, error) {
	for rest := b; len(rest) > 0; {
		n := wire.PrefaceSize
		if m.begun() {
			n = wire.FrameHeaderSize + int(binary.BigEndian.Uint16(rest))
		}
		if _, err := m.Conn.Write(m.pass(toServer, rest[:n])); err != nil {
			return 0, err
		}
		if m.cut.Load() {
			m.Conn.Close()
			return len(b), nil // who writes finds out later
		}
		rest = rest[n:]
	}
	return len(b), nil
}

func (m *middle) Read(p []byte) (int, error) {
	if len(m.rest) == 0 {
		if m.cut.Load() {
			m.Conn.Close()
			return 0, io.EOF
		}
		var header [wire.FrameHeaderSize]byte
		if _, err := io.ReadFull(m.Conn, header[:]); err != nil {
			return 0, m.end(err)
		}
		frame := append(header[:], make([]byte, binary.BigEndian.Uint16(header[:]))...)
		if _, err := io.ReadFull(m.Conn, frame[wire.FrameHeaderSize:]); err != nil {
			return 0, m.end(err)
		}
		m.rest = m.pass(toClient, frame)
		if len(m.rest) == 0 {
			return m.Read(p)
		}
	}
	n := copy(p, m.rest)
	m.rest = m.rest[n:]
	return n, nil
}

// begun says whether the preface has passed.
func (m *middle) begun() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.frames[toServer]) > 0
}

// end is what a reader sees of an end of the connection: who cut it did so on both sides.
func (m *middle) end(err error) error {
	if m.cut.Load() {
		return io.EOF
	}
	return err
}

// pass returns what becomes of a frame.
func (m *middle) pass(way int, frame []byte) []byte {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := len(m.frames[way])
	m.frames[way] = append(m.frames[way], bytes.Clone(frame))
	if m.forges != nil && way == toClient && n == 0 {
		m.keys = m.forges(frame[wire.FrameHeaderSize:])
	}
	if f := m.fault; f == nil || f.way != way || f.frame != n || f.at >= len(frame) {
		return frame
	}
	if m.puts != nil {
		put := m.puts(m, frame)
		if put == nil {
			return frame
		}
		m.made.Store(true)
		return put
	}
	m.made.Store(true)
	if m.fault.bit == cutHere {
		m.cut.Store(true)
		return frame[:m.fault.at]
	}
	frame = bytes.Clone(frame)
	if m.forges == nil {
		frame[m.fault.at] ^= 1 << m.fault.bit
		return frame
	}
	return m.forge(way, n, frame)
}

// firstRecord is the first frame of each way that is a record: behind preface, M1 and M3, and behind M2.
var firstRecord = [2]int{toServer: 3, toClient: 1}

// forge makes the fault in a record such that it authenticates. A flipped bit of its tag changes nothing then.
func (m *middle) forge(way, n int, frame []byte) []byte {
	aead, err := chacha20poly1305.New(m.keys[way][:])
	if err != nil {
		panic(err)
	}
	var nonce [chacha20poly1305.NonceSize]byte
	binary.LittleEndian.PutUint64(nonce[4:], uint64(n-firstRecord[way]))
	plaintext, err := aead.Open(nil, nonce[:], frame[wire.FrameHeaderSize:], nil)
	if err != nil {
		panic(err)
	}
	if at := m.fault.at - wire.FrameHeaderSize; at < len(plaintext) {
		plaintext[at] ^= 1 << m.fault.bit
	}
	return aead.Seal(frame[:wire.FrameHeaderSize], nonce[:], plaintext, nil)
}

// keysOf are the keys of the records of a handshake, which depend on its keys alone, for who has the client's.
func keysOf(ephemeral, static [32]byte, m2 []byte) (keys [2]chacha) {
	own := noiseconn.StaticFromPrivate(static)
	state, err := noise.NewHandshakeState(noise.Config{
		CipherSuite: noise.NewCipherSuite(noise.DH25519, noise.CipherChaChaPoly, noise.HashSHA256), Pattern: noise.HandshakeXX, Initiator: true,
		Random: bytes.NewReader(ephemeral[:]), StaticKeypair: noise.DHKey{Private: own.Private[:], Public: own.Public[:]},
		Prologue: []byte("auth\x01\x01\x00\x00"),
	})
	if err == nil {
		_, _, _, err = state.WriteMessage(nil, nil)
	}
	if err == nil {
		_, _, _, err = state.ReadMessage(nil, m2)
	}
	if err != nil {
		panic(err)
	}
	_, up, down, err := state.WriteMessage(nil, nil)
	if err != nil {
		panic(err)
	}
	return [2]chacha{toServer: up.UnsafeKey(), toClient: down.UnsafeKey()}
}

// through is a configuration whose first connection goes through the man in the middle.
func (m *middle) through(srv *authtest.Server, from netip.AddrPort) *client.Config {
	c := srv.Config(nil)
	c.Dialer = func(ctx context.Context, _, _ string) (net.Conn, error) {
		conn, err := srv.ConnectFrom(ctx, from)
		if m.Conn != nil || err != nil {
			return conn, err
		}
		m.Conn = conn
		return m, nil
	}
	return c
}
