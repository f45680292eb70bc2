package noiseconn

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"testing"
	"time"

	"github.com/authsrv/authsrv/wire"
)

var update = flag.Bool("update", false, "write docs/vectors/identity.json anew")

const identityFile = "../docs/vectors/identity.json"

// identityVector is a case of docs/vectors/identity.json: what a client sees of a server's identity, and what it makes of it.
type identityVector struct {
	Name             string   `json:"name"`
	IdentitySeed     hexBytes `json:"identity_seed"`
	Identity         hexBytes `json:"identity"`
	NextIdentitySeed hexBytes `json:"next_identity_seed"`
	NextIdentity     hexBytes `json:"next_identity"`
	NextIdentityHash hexBytes `json:"next_identity_hash"`
	Fingerprint      string   `json:"fingerprint"`
	Address          string   `json:"address"`
	RealmID          hexBytes `json:"realm_id"`
	Static           hexBytes `json:"static"`
	NotBefore        uint64   `json:"not_before"`
	NotAfter         uint64   `json:"not_after"`
	Epoch            uint32   `json:"epoch"`
	SignedBytes      hexBytes `json:"signed_bytes"`
	Signature        hexBytes `json:"signature"`
	Certificate      hexBytes `json:"certificate"`
	Now              uint64   `json:"now"`
	Outcome          string   `json:"outcome"`
}

// outcomes are what an identityVector can expect of VerifyCertificate.
var outcomes = map[string]error{
	"valid": nil, "invalid": ErrCertificate, "expired": ErrCertificateExpired, "not-yet-valid": ErrCertificateNotYetValid,
}

// identityVectors makes the cases: the first is good, and each other differs from it in what its name says.
func identityVectors() []identityVector {
	const now = 1_800_000_000
	change := func(name, outcome string, sign, then func(*identityVector)) identityVector {
		v := identityVector{
			Name:             name,
			IdentitySeed:     sequence(0x00, 32),
			NextIdentitySeed: sequence(0x20, 32),
			RealmID:          sequence(0x40, 16),
			Static:           sequence(0x60, 32), // of this private key, until complete
			NotBefore:        now - 3600,
			NotAfter:         now + 6*day,
			Epoch:            1,
			Now:              now,
			Outcome:          outcome,
		}
		if sign != nil {
			sign(&v)
		}
		v.complete()
		if then != nil {
			then(&v)
			v.look()
		}
		return v
	}
	return []identityVector{
		change("valid", "valid", nil, nil),
		change("valid, no successor", "valid", func(v *identityVector) { v.NextIdentitySeed = nil }, nil),
		change("valid, 7 days, highest epoch", "valid", func(v *identityVector) { v.NotAfter, v.Epoch = v.NotBefore+7*day, 1<<32-1 }, nil),
		change("valid, ends now", "valid", func(v *identityVector) { v.NotAfter = now }, nil),
		change("valid, begins in 24 h", "valid", func(v *identityVector) { v.NotBefore = now + day }, nil),
		change("ended a second ago", "expired", func(v *identityVector) { v.NotAfter = now - 1 }, nil),
		change("begins in 24 h and a second", "not-yet-valid", func(v *identityVector) { v.NotBefore = now + day + 1 }, nil),
		change("7 days and a second", "invalid", func(v *identityVector) { v.NotAfter = v.NotBefore + 7*day + 1 }, nil),
		change("ends as it begins", "invalid", func(v *identityVector) { v.NotAfter = v.NotBefore }, nil),
		change("ends before it begins", "invalid", func(v *identityVector) { v.NotBefore, v.NotAfter = now, now-1 }, nil),
		change("epoch 0", "invalid", func(v *identityVector) { v.Epoch = 0 }, nil),
		change("signed for another realm", "invalid", nil, func(v *identityVector) { v.RealmID[0] ^= 1 }),
		change("signed for another static key", "invalid", nil, func(v *identityVector) { v.Static[0] ^= 1 }),
		change("signed with another not before", "invalid", nil, func(v *identityVector) { v.NotBefore++ }),
		change("signed with another not after", "invalid", nil, func(v *identityVector) { v.NotAfter-- }),
		change("signed with another epoch", "invalid", nil, func(v *identityVector) { v.Epoch++ }),
		change("signed by the next identity", "invalid", nil, func(v *identityVector) {
			v.Signature = ed25519.Sign(ed25519.NewKeyFromSeed(v.NextIdentitySeed), v.SignedBytes)
		}),
		change("one bit of the signature", "invalid", nil, func(v *identityVector) { v.Signature[63] ^= 1 }),
		change("signed without the context", "invalid", nil, func(v *identityVector) {
			v.Signature = ed25519.Sign(ed25519.NewKeyFromSeed(v.IdentitySeed), v.SignedBytes[len(wire.NodeContext):])
		}),
	}
}

// sequence returns n bytes that count up from first.
func sequence(first byte, n int) hexBytes {
	b := make(hexBytes, n)
	for i := range b {
		b[i] = first + byte(i)
	}
	return b
}

// complete derives the keys and signs.
func (v *identityVector) complete() {
	key := ed25519.NewKeyFromSeed(v.IdentitySeed)
	static := StaticFromPrivate([32]byte(v.Static))
	c := Certify(key, [16]byte(v.RealmID), static.Public, time.Unix(int64(v.NotBefore), 0), time.Unix(int64(v.NotAfter), 0), v.Epoch)
	v.Identity = hexBytes(key.Public().(ed25519.PublicKey))
	v.Static = static.Public[:]
	v.Signature = c.Signature[:]
	v.NextIdentityHash = make(hexBytes, 32)
	if v.NextIdentitySeed != nil {
		v.NextIdentity = hexBytes(ed25519.NewKeyFromSeed(v.NextIdentitySeed).Public().(ed25519.PublicKey))
		sum := sha256.Sum256(v.NextIdentity)
		v.NextIdentityHash = sum[:]
	}
	v.Fingerprint = Fingerprint([32]byte(v.Identity))
	v.Address = "auth.example:7022#" + v.Fingerprint
	v.look()
}

// look sets what a client makes of the fields: the bytes that it verifies, and the certificate.
func (v *identityVector) look() {
	hello := v.hello()
	v.SignedBytes = hello.Certificate.SignedBytes(nil, hello.RealmID, [32]byte(v.Static))
	const offset = 1 + 3 + 16 + 32 + 32 // PROTOCOL 7.1
	v.Certificate = hello.AppendTo(nil)[offset : offset+84]
}

func (v *identityVector) hello() wire.ServerHello {
	return wire.ServerHello{
		Version:      wire.Version,
		RealmID:      [16]byte(v.RealmID),
		Identity:     [32]byte(v.Identity),
		NextIdentity: [32]byte(v.NextIdentityHash),
		Certificate:  wire.Certificate{NotBefore: v.NotBefore, NotAfter: v.NotAfter, Epoch: v.Epoch, Signature: [64]byte(v.Signature)},
	}
}

// TestIdentityVectors holds the code against docs/vectors/identity.json, both ways: what it makes is the file, and
// what it makes of the file is what the file expects.
func TestIdentityVectors(t *testing.T) {
	made, err := json.MarshalIndent(struct {
		About string           `json:"about"`
		Cases []identityVector `json:"cases"`
	}{"Identities and certificates, PROTOCOL 4. The outcome is what a client that judges against now makes of the certificate.", identityVectors()}, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	made = append(made, '\n')
	if *update {
		if err := os.WriteFile(identityFile, made, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	file, err := os.ReadFile(identityFile)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(file, made) {
		t.Errorf("%s is not what the code makes: run with -update, and see what changed", identityFile)
	}
	var read struct{ Cases []identityVector }
	if err := json.Unmarshal(file, &read); err != nil {
		t.Fatal(err)
	}
	seen := map[string]int{}
	for _, v := range read.Cases {
		t.Run(v.Name, v.check)
		seen[v.Outcome]++
	}
	for outcome := range outcomes {
		if seen[outcome] == 0 {
			t.Errorf("no case is %s", outcome)
		}
	}
}

func (v identityVector) check(t *testing.T) {
	want, known := outcomes[v.Outcome]
	if !known {
		t.Fatalf("outcome %q is unknown", v.Outcome)
	}
	hello := v.hello()
	if err := VerifyCertificate(&hello, [32]byte(v.Static), time.Unix(int64(v.Now), 0)); !errors.Is(err, want) {
		t.Errorf("%v, want %v", err, want)
	}
	if got := hello.Certificate.SignedBytes(nil, hello.RealmID, [32]byte(v.Static)); !bytes.Equal(got, v.SignedBytes) {
		t.Errorf("signed bytes are %x, want %x", got, v.SignedBytes)
	}
	if got := Fingerprint([32]byte(v.Identity)); got != v.Fingerprint || v.Address != "auth.example:7022#"+got {
		t.Errorf("fingerprint is %q, want %q, and address %q", got, v.Fingerprint, v.Address)
	}
}
