package noiseconn

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"strings"
	"testing"

	"github.com/c2sp/wycheproof"
	"github.com/flynn/noise"
	"golang.org/x/crypto/chacha20poly1305"
)

// hexBytes is binary data that stands in JSON as hex.
type hexBytes []byte

func (h *hexBytes) UnmarshalText(text []byte) (err error) {
	*h, err = hex.DecodeString(string(text))
	return err
}

func (h hexBytes) MarshalText() ([]byte, error) { return []byte(hex.EncodeToString(h)), nil }

// cacophonyVector is one handshake with its transport messages, in the format of the cacophony project.
type cacophonyVector struct {
	ProtocolName  string   `json:"protocol_name"`
	InitPrologue  hexBytes `json:"init_prologue"`
	InitStatic    hexBytes `json:"init_static"`
	InitEphemeral hexBytes `json:"init_ephemeral"`
	RespPrologue  hexBytes `json:"resp_prologue"`
	RespStatic    hexBytes `json:"resp_static"`
	RespEphemeral hexBytes `json:"resp_ephemeral"`
	HandshakeHash hexBytes `json:"handshake_hash"`
	Messages      []struct {
		Payload    hexBytes `json:"payload"`
		Ciphertext hexBytes `json:"ciphertext"`
	} `json:"messages"`
}

const cacophonyEnv = "AUTHSRV_CACOPHONY"

// TestCacophonyNoiseXX25519 runs vectors that another implementation made, in every suite with our curve, and in
// the suite of the protocol with our cipher too.
func TestCacophonyNoiseXX25519(t *testing.T) {
	path := os.Getenv(cacophonyEnv)
	if path == "" {
		t.Skip(cacophonyEnv + " does not name the file with cacophony's vectors for Noise_XX_25519")
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var file struct{ Vectors []cacophonyVector }
	if err := json.Unmarshal(b, &file); err != nil {
		t.Fatal(err)
	}
	ours := "Noise_XX_" + string(suite.Name())
	ran := map[string]bool{}
	for _, v := range file.Vectors {
		if len(v.Messages) < 4 {
			t.Errorf("%s has %d messages, so no transport message", v.ProtocolName, len(v.Messages))
		}
		t.Run(v.ProtocolName, v.run)
		ran[v.ProtocolName] = true
	}
	if len(ran) < 8 || !ran[ours] {
		t.Errorf("ran %d vectors, want 8, with %s among them", len(ran), ours)
	}
}

func (v *cacophonyVector) run(t *testing.T) {
	s := v.suite(t)
	initiator := v.state(t, s, true)
	responder := v.state(t, s, false)
	var first, second [2]*noise.CipherState // of initiator and responder
	for i, m := range v.Messages {
		from, to := initiator, responder
		if i%2 == 1 {
			from, to = to, from
		}
		var sent, got []byte
		var err, err2 error
		switch {
		case i < 3:
			sent, first[0], second[0], err = from.WriteMessage(nil, m.Payload)
			got, first[1], second[1], err2 = to.ReadMessage(nil, sent)
		case i%2 == 0:
			sent, err = first[0].Encrypt(nil, nil, m.Payload)
			got, err2 = first[1].Decrypt(nil, nil, sent)
		default:
			sent, err = second[0].Encrypt(nil, nil, m.Payload)
			got, err2 = second[1].Decrypt(nil, nil, sent)
		}
		if err := errors.Join(err, err2); err != nil {
			t.Fatalf("message %d: %v", i, err)
		}
		if !bytes.Equal(sent, m.Ciphertext) || !bytes.Equal(got, m.Payload) {
			t.Errorf("message %d is %x with payload %x, want %x with %x", i, sent, got, m.Ciphertext, m.Payload)
		}
	}
	for _, state := range []*noise.HandshakeState{initiator, responder} {
		if !bytes.Equal(state.ChannelBinding(), v.HandshakeHash) {
			t.Errorf("handshake hash is %x, want %x", state.ChannelBinding(), v.HandshakeHash)
		}
	}
}

func (v *cacophonyVector) suite(t *testing.T) noise.CipherSuite {
	part := strings.Split(v.ProtocolName, "_")
	if len(part) != 5 || strings.Join(part[:3], "_") != "Noise_XX_25519" {
		t.Fatalf("%q is not a Noise_XX_25519", v.ProtocolName)
	}
	ciphers := map[string]noise.CipherFunc{"ChaChaPoly": chachaPoly{}, "AESGCM": noise.CipherAESGCM}
	hashes := map[string]noise.HashFunc{
		"SHA256": noise.HashSHA256, "SHA512": noise.HashSHA512, "BLAKE2s": noise.HashBLAKE2s, "BLAKE2b": noise.HashBLAKE2b,
	}
	c, h := ciphers[part[3]], hashes[part[4]]
	if c == nil || h == nil {
		t.Fatalf("%q has an unknown cipher or hash", v.ProtocolName)
	}
	return noise.NewCipherSuite(dh25519{}, c, h)
}

func (v *cacophonyVector) state(t *testing.T, s noise.CipherSuite, initiator bool) *noise.HandshakeState {
	prologue, private, ephemeral := v.InitPrologue, v.InitStatic, v.InitEphemeral
	if !initiator {
		prologue, private, ephemeral = v.RespPrologue, v.RespStatic, v.RespEphemeral
	}
	static := StaticFromPrivate([32]byte(private))
	state, err := noise.NewHandshakeState(noise.Config{
		CipherSuite:   s,
		Random:        bytes.NewReader(ephemeral),
		Pattern:       noise.HandshakeXX,
		Initiator:     initiator,
		Prologue:      prologue,
		StaticKeypair: noise.DHKey{Private: static.Private[:], Public: static.Public[:]},
	})
	if err != nil {
		t.Fatal(err)
	}
	return state
}

// wycheproofGroups reads one of the project's files.
func wycheproofGroups[Group any](t *testing.T, name string) []Group {
	b, err := fs.ReadFile(wycheproof.TestVectors, name)
	if err != nil {
		t.Fatal(err)
	}
	var file struct{ TestGroups []Group }
	if err := json.Unmarshal(b, &file); err != nil {
		t.Fatal(err)
	}
	return file.TestGroups
}

func TestWycheproofX25519(t *testing.T) {
	type group struct {
		Tests []struct {
			ID                      int `json:"tcId"`
			Public, Private, Shared hexBytes
			Result                  string
		}
	}
	agreed, refused := 0, 0
	for _, g := range wycheproofGroups[group](t, "x25519_test.json") {
		for _, v := range g.Tests {
			// Every vector is "valid" or "acceptable"; of the latter, only zero results are not for us.
			shared, err := dh25519{}.DH(v.Private, v.Public)
			if bytes.Equal(v.Shared, make([]byte, 32)) {
				if !errors.Is(err, ErrLowOrder) || shared != nil {
					t.Errorf("vector %d: shared secret of zeros gives %x, %v", v.ID, shared, err)
				}
				refused++
				continue
			}
			if err != nil || !bytes.Equal(shared, v.Shared) || v.Result == "invalid" {
				t.Errorf("vector %d (%s): %x, %v, want %x", v.ID, v.Result, shared, err, v.Shared)
			}
			agreed++
		}
	}
	if agreed == 0 || refused == 0 {
		t.Errorf("ran %d vectors with a shared secret and %d without, want some of both", agreed, refused)
	}
}

func TestWycheproofChaCha20Poly1305(t *testing.T) {
	type group struct {
		IVSize int
		Tests  []struct {
			ID                         int `json:"tcId"`
			Key, IV, AAD, Msg, CT, Tag hexBytes
			Result                     string
		}
	}
	sealed, refused := 0, 0
	for _, g := range wycheproofGroups[group](t, "chacha20_poly1305_test.json") {
		for _, v := range g.Tests {
			if g.IVSize != 8*chacha20poly1305.NonceSize {
				if v.Result != "invalid" {
					t.Errorf("vector %d: a nonce of %d bits is %s", v.ID, g.IVSize, v.Result)
				}
				continue // the type of the nonce in chachaPolyCipher does not let it happen
			}
			c := chachaPoly{}.Cipher([32]byte(v.Key)).(*chachaPolyCipher)
			copy(c.nonce[:4], v.IV[:4]) // stays zero otherwise
			n := binary.LittleEndian.Uint64(v.IV[4:])
			ciphertext := append(v.CT, v.Tag...)
			msg, err := c.Decrypt(nil, n, v.AAD, ciphertext)
			if v.Result == "invalid" {
				if err == nil {
					t.Errorf("vector %d opens", v.ID)
				}
				refused++
				continue
			}
			if err != nil || !bytes.Equal(msg, v.Msg) {
				t.Errorf("vector %d: opens as %x, %v, want %x", v.ID, msg, err, v.Msg)
			}
			if got := c.Encrypt(nil, n, v.AAD, v.Msg); !bytes.Equal(got, ciphertext) {
				t.Errorf("vector %d: seals as %x, want %x", v.ID, got, ciphertext)
			}
			sealed++
		}
	}
	if sealed == 0 || refused == 0 {
		t.Errorf("ran %d good and %d bad vectors, want some of both", sealed, refused)
	}
}

// TestDefaultSuite holds our suite against flynn/noise's own curve and cipher, over a whole handshake.
func TestDefaultSuite(t *testing.T) {
	ours := record(t, suite)
	theirs := record(t, noise.NewCipherSuite(noise.DH25519, noise.CipherChaChaPoly, noise.HashSHA256))
	if !bytes.Equal(ours.toServer, theirs.toServer) || !bytes.Equal(ours.toClient, theirs.toClient) {
		t.Error("the two suites put other bytes on the wire")
	}
}

// TestPlainNoise is a client of PROTOCOL 2 and 3 with nothing but a Noise library, and puts the same on the wire.
func TestPlainNoise(t *testing.T) {
	r := record(t, suite)
	preface := []byte{0x61, 0x75, 0x74, 0x68, 1, 1, 0, 0}
	state, err := noise.NewHandshakeState(noise.Config{
		CipherSuite:   noise.NewCipherSuite(noise.DH25519, noise.CipherChaChaPoly, noise.HashSHA256),
		Random:        fixed(1),
		Pattern:       noise.HandshakeXX,
		Initiator:     true,
		Prologue:      preface,
		StaticKeypair: noise.DHKey{Private: clientStatic.Private[:], Public: clientStatic.Public[:]},
	})
	if err != nil {
		t.Fatal(err)
	}
	m1, _, _, err := state.WriteMessage(nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	hello, _, _, err := state.ReadMessage(nil, r.toClient[2:])
	if err != nil || len(hello) != 352 {
		t.Fatalf("M2 has a payload of %d bytes, %v", len(hello), err)
	}
	m3, toServer, toClient, err := state.WriteMessage(nil, startPayload)
	if err != nil {
		t.Fatal(err)
	}
	want := append(append(preface, 0, 32), m1...)
	want = append(append(want, 0x04, 0x40), m3...) // 1,088
	if !bytes.Equal(r.toServer, want) {
		t.Errorf("the client sends\n%x, want\n%x", r.toServer, want)
	}
	if h := r.client.HandshakeHash(); !bytes.Equal(h[:], state.ChannelBinding()) || h != r.server.HandshakeHash() {
		t.Errorf("handshake hash is %x, want %x", h, state.ChannelBinding())
	}
	for _, way := range []struct {
		from   *Conn
		cipher *noise.CipherState
	}{{r.client, toServer}, {r.server, toClient}} {
		sent := new(sink)
		way.from.conn = sent
		for _, message := range []string{"first", "second"} {
			if err := way.from.WriteMessage([]byte(message)); err != nil {
				t.Fatal(err)
			}
			record, err := way.cipher.Encrypt(nil, nil, []byte(message))
			if err != nil || !bytes.Equal(sent.Next(sent.Len()), append([]byte{0, byte(len(record))}, record...)) {
				t.Errorf("record %q is not %x: %v", message, record, err)
			}
		}
	}
}
