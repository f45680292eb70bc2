package fuzz

import (
	"encoding/hex"
	"encoding/json"
	"os"
	"testing"

	"github.com/authsrv/authsrv/wire"
)

// bytesFrom returns n bytes that count up, so that a field that is moved shows.
func bytesFrom(first byte, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = first + byte(i)
	}
	return b
}

func b16(first byte) [16]byte { return [16]byte(bytesFrom(first, 16)) }
func b32(first byte) [32]byte { return [32]byte(bytesFrom(first, 32)) }
func b64(first byte) [64]byte { return [64]byte(bytesFrom(first, 64)) }

// examples returns a good message of every type, at least.
func examples() []appender {
	kdf := wire.KDF{Algorithm: 1, Time: 3, MemoryKiB: 65_536, Lanes: 4}
	challenge := wire.Challenge{ServerNonce: b32(1), Salt: b16(40), KDF: kdf, TTL: 20}
	strength := wire.Policy{Kind: 1, MinLength: 8, MaxLength: wire.MaxPassword, MinScore: 3}
	classes := wire.Policy{Kind: 2, MinLength: 8, MaxLength: 64}
	length := wire.Policy{Kind: 3, MinLength: wire.MaxPassword, MaxLength: wire.MaxPassword}
	record := wire.Record{KDF: kdf, PublicKey: b32(50), ServerKey: b32(90)}
	alice, long := []byte("alice"), bytesFrom('0', wire.MaxName)
	token := []byte("eyJhbGciOiJFZERTQSJ9.e30.c2ln")
	return []appender{
		&wire.ServerHello{
			Version: 1, HighestVersion: 1, HighestSuite: 1, RealmID: b16(1), Identity: b32(20), NextIdentity: b32(60),
			Certificate: wire.Certificate{NotBefore: 1_799_996_400, NotAfter: 1_800_518_400, Epoch: 1, Signature: b64(100)},
			Time:        1_800_000_000, Idle: 1800, ConnectionLife: 43_200, SessionLife: 2_592_000, Features: wire.FeatureRegister,
		},
		&wire.AuthStart{Purpose: wire.PurposeLogin, Method: wire.MethodPassword, Offered: []byte{1}, Lifetime: 86_400, Name: alice, ClientNonce: b32(1)},
		&wire.AuthStart{Purpose: wire.PurposeRegister, Method: wire.MethodPassword, Offered: []byte{1}, Name: long, ClientNonce: b32(1)},
		&wire.AuthStart{Purpose: wire.PurposeRegister, Method: wire.MethodChecked, Offered: []byte{1, 2, 3, 4, 5, 6, 7, 8}, Name: alice, ClientNonce: b32(1)},
		&wire.AuthStart{Purpose: wire.PurposeSession, ClientNonce: b32(1), Token: token},
		&wire.AuthStart{Purpose: wire.PurposeSession, ClientNonce: b32(1), Token: make([]byte, wire.MaxToken)},
		&challenge,
		&wire.Proof{Proof: b64(1)},
		&wire.Welcome{Confirm: b32(1), AccountID: b16(40), SessionID: b16(60), Expires: 1_800_086_400, Name: alice, Token: token, ResumeKey: bytesFrom(80, 32)},
		&wire.Welcome{Confirm: b32(1), AccountID: b16(40), SessionID: b16(60), Expires: 1_800_086_400, Name: long},
		&wire.Denied{Code: wire.CodeDenied, RetryAfter: 30},
		&wire.Denied{Code: wire.CodePasswordPolicy, Rule: 21},
		&wire.RegisterParams{Challenge: challenge, Policy: strength},
		&wire.RegisterParams{Challenge: challenge, Policy: length},
		&wire.RegisterFinish{Record: record, Signature: b64(150)},
		&wire.RegisterFinish{Record: record, Signature: b64(150), CodeProof: bytesFrom(9, 64)},
		&wire.RegisterPassword{Password: []byte("correct horse battery staple")},
		&wire.RegisterPassword{Password: bytesFrom(1, wire.MaxPassword)},
		&wire.Registered{},
		&wire.Registered{Confirm: bytesFrom(9, 32)},
		&wire.AuthStart{Purpose: wire.PurposeRegister, Method: wire.MethodPassword, Offered: []byte{1}, Name: alice, ClientNonce: b32(1), Token: bytesFrom(9, 16)},
		&wire.AuthStart{Purpose: wire.PurposeReset, Method: wire.MethodCode, Offered: []byte{4}, Name: alice, ClientNonce: b32(1), Token: bytesFrom(9, 16)},
		&wire.ResetFinish{Record: record, NewProof: b64(150), CodeProof: b64(90)},
		&wire.ResetDone{Confirm: b32(1)},
		&wire.Goodbye{Code: wire.CodeLimit},
		&wire.Plain{Type: wire.TypeBye},
		&wire.Refused{ID: 1, Denied: wire.Denied{Code: wire.CodeNameInvalid, Rule: 3, RetryAfter: 1}},
		&wire.Plain{Type: wire.TypeDone, ID: 1},
		&wire.Plain{Type: wire.TypeWhoAmI, ID: 1<<32 - 1},
		&wire.Account{ID: 1, AccountID: b16(1), Name: alice, Created: 1_800_000_000, SessionID: b16(20), Expires: 1_800_086_400},
		&wire.Plain{Type: wire.TypeList, ID: 1},
		listing(1, "root", "home", "etc", "lib", "media", "mnt"),
		listing(2),
		&wire.ListSessions{ID: 1, After: b16(1)},
		sessionList(1, false),
		sessionList(2, true, wire.Session{ID: b16(1), Created: 1, LastUsed: 2, Expires: 3, Address: []byte("192.0.2.1:49152")},
			wire.Session{ID: b16(2), Created: 4, LastUsed: 5, Expires: 6, Current: true, Address: bytesFrom('0', wire.MaxAddress)}),
		&wire.Plain{Type: wire.TypeLogout, ID: 1},
		&wire.OpStart{ID: 1, Operation: wire.TypeChangePassword, ClientNonce: b32(1)},
		&wire.OpChallenge{ID: 1, ServerNonce: b32(1), Salt: b16(40), KDF: kdf, NewKDF: kdf, TTL: 20, Policy: classes},
		&wire.ChangePassword{ID: 1, Record: record, NewProof: b64(1), Proof: b64(100)},
		&wire.PasswordChanged{ID: 1, SessionID: b16(1), Expires: 1_800_086_400, Token: token, ResumeKey: b32(20)},
		&wire.ProvedOp{Type: wire.TypeDeleteAccount, ID: 1, Proof: b64(1)},
		&wire.ProvedOp{Type: wire.TypeRevokeAll, ID: 1, Proof: b64(1)},
	}
}

func listing(id uint32, names ...string) *wire.Listing {
	m := &wire.Listing{ID: id}
	for _, name := range names {
		m.Add(name)
	}
	return m
}

func sessionList(id uint32, more bool, sessions ...wire.Session) *wire.SessionList {
	m := &wire.SessionList{ID: id, More: more}
	for i := range sessions {
		m.Add(&sessions[i])
	}
	return m
}

// vectorHellos returns a ServerHello with the certificate of each case of identity.json.
func vectorHellos(t testing.TB) (hellos []*wire.ServerHello) {
	t.Helper()
	text, err := os.ReadFile("../docs/vectors/identity.json")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Cases []struct {
			Identity, Signature string
			Next                string `json:"next_identity_hash"`
			Realm               string `json:"realm_id"`
			NotBefore           uint64 `json:"not_before"`
			NotAfter            uint64 `json:"not_after"`
			Epoch               uint32
			Now                 uint64
		}
	}
	if err := json.Unmarshal(text, &file); err != nil {
		t.Fatal(err)
	}
	for _, c := range file.Cases {
		h := &wire.ServerHello{Version: 1, HighestVersion: 1, HighestSuite: 1, Time: c.Now}
		h.Certificate.NotBefore, h.Certificate.NotAfter, h.Certificate.Epoch = c.NotBefore, c.NotAfter, c.Epoch
		for text, field := range map[string][]byte{
			c.Identity: h.Identity[:], c.Next: h.NextIdentity[:], c.Realm: h.RealmID[:], c.Signature: h.Certificate.Signature[:],
		} {
			if b, err := hex.DecodeString(text); err != nil || copy(field, b) != len(field) {
				t.Fatalf("%q is not %d bytes, %v", text, len(field), err)
			}
		}
		hellos = append(hellos, h)
	}
	if len(hellos) == 0 {
		t.Fatal("identity.json has no cases")
	}
	return hellos
}
