package authtest

import (
	"bytes"
	"crypto/ed25519"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/authsrv/authsrv/client"
	"github.com/authsrv/authsrv/client/store"
	"github.com/authsrv/authsrv/credential"
	"github.com/authsrv/authsrv/internal/account"
	"github.com/authsrv/authsrv/server"
	"github.com/authsrv/authsrv/wire"
	"golang.org/x/crypto/argon2"
)

var update = flag.Bool("update", false, "write docs/vectors/recording.json anew")

const (
	recordingFile  = "../../docs/vectors/recording.json"
	recordingAbout = "Whole connections between this server and this client with fixed randomness (PROTOCOL 14). Binary values are lower-case hex; " +
		"x25519 keys and the seeds of ed25519 keys are private ones. In frames, wire is every byte as sent, with the frame's length, and plaintext the " +
		"payload of a handshake message or the message in a record. In proofs is what PROTOCOL 6 makes of a purpose: T, what is signed " +
		"with which of the keys, and what the server answers. connections are in the order in which they were made; keys in the order of their passwords."
)

type hexBytes []byte

func (h hexBytes) MarshalText() ([]byte, error) { return hex.AppendEncode(nil, h), nil }

// recording is the file.
type recording struct {
	About string `json:"about"`
	Realm struct {
		RealmID      hexBytes `json:"realm_id"`
		IdentitySeed hexBytes `json:"identity_seed"`
		Identity     hexBytes `json:"identity"`
		SaltKey      hexBytes `json:"k_salt"`
		TokenKeyID   string   `json:"token_kid"`
		TokenSeed    hexBytes `json:"token_seed"`
	} `json:"realm"`
	LoginName   string          `json:"login_name"`
	Keys        []keyRecord     `json:"keys"`
	Connections []connectionRec `json:"connections"`
}

// keyRecord is PROTOCOL 5 for one password.
type keyRecord struct {
	ID        string   `json:"id"`
	Password  string   `json:"password"`
	Salt      hexBytes `json:"salt"`
	KDF       hexBytes `json:"kdf"`
	S         hexBytes `json:"S"`
	K         hexBytes `json:"K"`
	Seed      hexBytes `json:"seed"`
	A         hexBytes `json:"A"`
	ServerKey hexBytes `json:"k_srv"`
}

type connectionRec struct {
	ID              string     `json:"id"`
	Time            int64      `json:"time"`
	ClientEphemeral hexBytes   `json:"client_ephemeral"`
	ClientStatic    hexBytes   `json:"client_static"`
	ServerEphemeral hexBytes   `json:"server_ephemeral"`
	ServerStatic    hexBytes   `json:"server_static"`
	H               hexBytes   `json:"h"`
	Proofs          []proofRec `json:"proofs"`
	Frames          []frameRec `json:"frames"`
}

type proofRec struct {
	Purpose       uint8    `json:"purpose"`
	ClientNonce   hexBytes `json:"client_nonce"`
	ServerNonce   hexBytes `json:"server_nonce,omitempty"`
	OpDigest      hexBytes `json:"op_digest,omitempty"`
	SessionID     hexBytes `json:"session_id,omitempty"`
	AccountID     hexBytes `json:"account_id,omitempty"`
	T             hexBytes `json:"T"`
	Key           string   `json:"key,omitempty"`
	Proof         hexBytes `json:"proof,omitempty"`
	NewKey        string   `json:"new_key,omitempty"`
	NewKeyProof   hexBytes `json:"new_key_proof,omitempty"`
	Confirm       hexBytes `json:"confirm,omitempty"`
	ResumeKey     hexBytes `json:"resume_key,omitempty"`
	ResumeConfirm hexBytes `json:"resume_confirm,omitempty"`
}

type frameRec struct {
	Way       string   `json:"way"`
	Name      string   `json:"name"`
	Wire      hexBytes `json:"wire"`
	Plaintext hexBytes `json:"plaintext,omitempty"`
}

const (
	recordedName = "alice"
	firstWord    = "correct horse battery staple"
	secondWord   = "eigenvalue trombone 9"
	wrongWord    = "incorrect horse battery staple"
)

// recorder runs connections one after the other and writes them down.
type recorder struct {
	t       *testing.T
	server  *Server
	entropy *stream // of the server
	store   *store.Store
	keys    map[[32]byte]*keyRecord // by A
	out     recording
}

func TestRecording(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &recorder{t: t, entropy: newStream("server"), store: store.Memory(), keys: make(map[[32]byte]*keyRecord)}
		r.server = New(t, Options{
			Account: account.Config{Rand: newStream("accounts")},
			Server:  server.Config{Rand: r.entropy},
		})
		r.realm()
		ctx := t.Context()
		r.connection("registration", func(c *client.Client) error { return c.Register(ctx, recordedName, firstWord, nil) })
		r.connection("denied login", func(c *client.Client) error {
			if _, err := c.Login(ctx, recordedName, wrongWord, nil); !errors.Is(err, client.ErrDenied) {
				return errors.Join(errors.New("not denied"), err)
			}
			return nil
		})
		r.connection("login", func(c *client.Client) error {
			s, err := c.Login(ctx, recordedName, firstWord, &client.LoginOptions{Lifetime: 30 * 24 * time.Hour})
			if err != nil {
				return err
			}
			if _, err := s.WhoAmI(ctx); err != nil {
				return err
			}
			return s.Close()
		})
		r.connection("resumption", func(c *client.Client) error {
			s, err := c.Resume(ctx)
			if err != nil {
				return err
			}
			if _, err := s.List(ctx); err != nil {
				return err
			}
			return s.Close()
		})
		r.connection("changed password", func(c *client.Client) error {
			s, err := c.Resume(ctx)
			if err != nil {
				return err
			}
			if err := s.ChangePassword(ctx, firstWord, secondWord); err != nil {
				return err
			}
			return s.Logout(ctx)
		})
		r.compare()
	})
}

func (r *recorder) realm() {
	secrets, _, err := secrets(0)
	if err != nil {
		r.t.Fatal(err)
	}
	identity, tokenSeed := Identity(0), key("token", 0)
	m := &r.out.Realm
	r.out.About, r.out.LoginName = recordingAbout, recordedName
	m.RealmID, m.SaltKey = secrets.RealmID[:], secrets.SaltKey[:]
	m.IdentitySeed, m.Identity = hexBytes(identity.Seed()), hexBytes(identity[32:])
	m.TokenKeyID, m.TokenSeed = TokenID, tokenSeed[:]
	salt := credential.Salt(secrets.SaltKey, secrets.RealmID, recordedName)
	r.derive("first", firstWord, salt)
	r.derive("wrong", wrongWord, salt)
	r.derive("second", secondWord, salt)
}

// derive follows PROTOCOL 5 step by step, beside package credential.
func (r *recorder) derive(id, password string, salt [16]byte) {
	realm := r.server.Accounts.RealmID()
	kdf := CheapKDF
	s := sha256.Sum256(lp("authsrv v1 kdf-salt", string(realm[:]), recordedName, string(salt[:])))
	k := argon2.IDKey([]byte(password), s[:], kdf.Time, kdf.MemoryKiB, kdf.Lanes, 32)
	seed, err1 := hkdf.Expand(sha256.New, k, "authsrv v1 client-auth ed25519 seed", 32)
	serverKey, err2 := hkdf.Expand(sha256.New, k, "authsrv v1 server-confirm key", 32)
	if err := errors.Join(err1, err2); err != nil {
		r.t.Fatal(err)
	}
	a := ed25519.NewKeyFromSeed(seed)[32:]
	r.out.Keys = append(r.out.Keys, keyRecord{
		id, password, salt[:], kdf.AppendTo(nil), s[:], k, seed, hexBytes(a), serverKey,
	})
}

func (r *recorder) keyOf(id string) *keyRecord {
	for i := range r.out.Keys {
		if r.out.Keys[i].ID == id {
			return &r.out.Keys[i]
		}
	}
	r.t.Fatalf("no key %q", id)
	return nil
}

func lp(fields ...string) (b []byte) {
	for _, f := range fields {
		b = append(b, 0, 0, byte(len(f)>>8), byte(len(f)))
		b = append(b, f...)
	}
	return b
}

// connection runs what is done on one connection.
func (r *recorder) connection(id string, do func(*client.Client) error) {
	t := r.t
	time.Sleep(time.Minute + time.Second) // in the bubble; on the minute, what a login would be beside is the audit chain
	p, entropy := &tap{}, newStream("client: "+id)
	c, err := client.Dial(t.Context(), Address, &client.Config{Store: r.store, AcceptNew: true, Dialer: p.connect(r.server), Rand: entropy})
	if err != nil {
		t.Fatalf("%s: %v", id, err)
	}
	if err := do(c); err != nil {
		t.Fatalf("%s: %v", id, err)
	}
	c.Close()
	synctest.Wait()

	rec := connectionRec{ID: id, Time: time.Now().Unix()}
	keys := secretKeys{
		clientEphemeral: entropy.key(t, 0),
		serverStatic:    r.entropy.key(t, 0),
		serverEphemeral: r.entropy.key(t, len(r.entropy.taken)-1),
	}
	if memory, known, err := r.store.Account(r.server.Accounts.RealmID(), recordedName); err != nil {
		t.Fatal(err)
	} else if known {
		keys.clientStatic = memory.DeviceKey
	} else {
		keys.clientStatic = entropy.key(t, 2) // behind the nonce
	}
	rec.ClientEphemeral, rec.ClientStatic = keys.clientEphemeral[:], keys.clientStatic[:]
	rec.ServerEphemeral, rec.ServerStatic = keys.serverEphemeral[:], keys.serverStatic[:]
	frames, h := p.open(t, keys)
	rec.H = h[:]
	for i, f := range frames {
		name := [4]string{"preface", "M1", "M2 ServerHello", "M3 AuthStart"}[min(i, 3)]
		if i > 3 {
			name = wire.TypeOf(f.plaintext).String()
		}
		way := "S→C"
		if f.toServer {
			way = "C→S"
		}
		rec.Frames = append(rec.Frames, frameRec{way, name, f.bytes, f.plaintext})
	}
	rec.Proofs = r.proofs(&rec, frames, keys)
	r.out.Connections = append(r.out.Connections, rec)
}

// compare holds the recording against the file, byte for byte.
func (r *recorder) compare() {
	r.t.Helper()
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(&r.out); err != nil {
		r.t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile(recordingFile, b.Bytes(), 0o644); err != nil {
			r.t.Fatal(err)
		}
	}
	want, err := os.ReadFile(recordingFile)
	if err != nil {
		r.t.Fatal(err)
	}
	if !bytes.Equal(b.Bytes(), want) {
		got, lines := bytes.Split(b.Bytes(), []byte("\n")), bytes.Split(want, []byte("\n"))
		for i := range min(len(got), len(lines)) {
			if !bytes.Equal(got[i], lines[i]) {
				r.t.Fatalf("line %d of the recording is\n%.200s\nand in the file\n%.200s\nwrite it anew with -update if that is meant", i+1, got[i], lines[i])
			}
		}
		r.t.Fatal("the recording has another length than the file")
	}
}
