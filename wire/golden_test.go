package wire

import (
	"bytes"
	"encoding/hex"
	"strings"
	"testing"
)

// count returns n bytes that count up from first, so that a field that is moved shows.
func count(first byte, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = first + byte(i)
	}
	return b
}

func count16(first byte) [16]byte { return [16]byte(count(first, 16)) }
func count32(first byte) [32]byte { return [32]byte(count(first, 32)) }
func count64(first byte) [64]byte { return [64]byte(count(first, 64)) }

// Fields as a hand wrote them down.
const (
	hex16 = "00010203 04050607 08090a0b 0c0d0e0f"
	hex32 = "10111213 14151617 18191a1b 1c1d1e1f 20212223 24252627 28292a2b 2c2d2e2f"
	next2 = "30313233 34353637 38393a3b 3c3d3e3f 40414243 44454647 48494a4b 4c4d4e4f"
	hex64 = "80818283 84858687 88898a8b 8c8d8e8f 90919293 94959697 98999a9b 9c9d9e9f" +
		"a0a1a2a3 a4a5a6a7 a8a9aaab acadaeaf b0b1b2b3 b4b5b6b7 b8b9babb bcbdbebf"
	kdf   = "01 00000003 00010000 04"
	alice = "05 616c696365"
)

// golden is a message as the spec has it: written by hand from docs/PROTOCOL.md, not by the code.
type golden struct {
	name string
	hex  string // up to the padding
	size int    // with it
	got  []byte
}

func (g golden) check(t *testing.T) {
	want, err := hex.DecodeString(strings.Join(strings.Fields(g.hex), ""))
	if err != nil {
		t.Fatal(err)
	}
	want = append(want, make([]byte, g.size-len(want))...)
	if !bytes.Equal(g.got, want) {
		t.Errorf("%s is\n%x, want\n%x", g.name, g.got, want)
	}
}

func TestGoldenBeforeLogin(t *testing.T) {
	preface := Preface{Version: 1, Suite: 1, Flags: 0}.Bytes()
	challenge := Challenge{ServerNonce: count32(0x10), Salt: count16(0), KDF: KDF{1, 3, 65_536, 4}, TTL: 20}
	record := Record{KDF{1, 3, 65_536, 4}, count32(0x10), count32(0x30)}
	hello := ServerHello{
		Version: 1, HighestVersion: 2, HighestSuite: 3, RealmID: count16(0), Identity: count32(0x10), NextIdentity: count32(0x30),
		Certificate: Certificate{NotBefore: 0x1112131415161718, NotAfter: 0x2122232425262728, Epoch: 0x31323334, Signature: count64(0x80)},
		Time:        0x4142434445464748, Idle: 1800, ConnectionLife: 43_200, SessionLife: 2_592_000, Features: 3,
	}
	login := AuthStart{Purpose: PurposeLogin, Method: 1, Offered: []byte{1, 3}, Lifetime: 86_400, Name: []byte("alice"), ClientNonce: count32(0x10)}
	session := AuthStart{Purpose: PurposeSession, ClientNonce: count32(0x10), Token: []byte("abc")}
	reset := AuthStart{Purpose: PurposeReset, Method: MethodCode, Offered: []byte{4}, Name: []byte("alice"), ClientNonce: count32(0x10), Token: count(0, 16)}
	welcome := Welcome{
		Confirm: count32(0x10), AccountID: count16(0), SessionID: count16(0), Expires: 0x4142434445464748,
		Name: []byte("alice"), Token: []byte("abc"), ResumeKey: count(0x30, 32),
	}
	params := RegisterParams{challenge, Policy{Kind: 1, MinLength: 8, MaxLength: 1024, MinScore: 3}}
	for _, g := range []golden{
		{"preface", "61757468 01 01 0000", 8, preface[:]},
		{"refusal", "61757468 01 01 000b", 8, Refusal{1, 1, CodeOverloaded}.AppendTo(nil)},
		{"ServerHello", "01 01 02 03" + hex16 + hex32 + next2 + "1112131415161718 2122232425262728 31323334" + hex64 +
			"4142434445464748 00000708 0000a8c0 00278d00 00000003", 352, hello.AppendTo(nil)},
		{"signed bytes", "617574687372762076 31206e6f64652d6365727469666963617465 00" + hex16 + next2 + "1112131415161718 2122232425262728 31323334",
			28 + 16 + 32 + 20, hello.Certificate.SignedBytes(nil, hello.RealmID, count32(0x30))},
		{"AuthStart of a login", "02 01 01 02 01 03 00015180" + alice + hex32 + "0000", 1024, login.AppendTo(nil)},
		{"AuthStart of a session", "02 02 00 00 00000000 00" + hex32 + "0003 616263", 1024, session.AppendTo(nil)},
		{"Challenge", "03" + hex32 + hex16 + kdf + "0014", 512, challenge.AppendTo(nil)},
		{"Proof", "04" + hex64, 512, (&Proof{count64(0x80)}).AppendTo(nil)},
		{"Welcome", "05" + hex32 + hex16 + hex16 + "4142434445464748" + alice + "0003 616263 20" + next2, 1024, welcome.AppendTo(nil)},
		{"Denied", "07 0008 11 0000012c", 1024, (&Denied{CodePasswordPolicy, 17, 300}).AppendTo(nil)},
		{"RegisterParams", "08" + hex32 + hex16 + kdf + "0014 01 0008 0400 03", 512, params.AppendTo(nil)},
		{"RegisterFinish", "09" + kdf + hex32 + next2 + hex64, 512, (&RegisterFinish{record, count64(0x80), nil}).AppendTo(nil)},
		{"RegisterFinish with an invite", "09" + kdf + hex32 + next2 + hex64 + "40" + hex64, 512,
			(&RegisterFinish{record, count64(0x80), count(0x80, 64)}).AppendTo(nil)},
		{"RegisterFinish, signed", "09" + kdf + hex32 + next2, 75, (&RegisterFinish{record, count64(0x80), nil}).AppendSigned(nil)},
		{"RegisterPassword", "0a 0003 616263", 2048, (&RegisterPassword{[]byte("abc")}).AppendTo(nil)},
		{"Registered", "0b", 1024, Registered{}.AppendTo(nil)},
		{"Registered with an invite", "0b 20" + hex32, 1024, Registered{count(0x10, 32)}.AppendTo(nil)},
		{"AuthStart of a reset", "02 05 04 01 04 00000000" + alice + hex32 + "0010" + hex16, 1024, reset.AppendTo(nil)},
		{"ResetFinish", "0c" + kdf + hex32 + next2 + hex64 + hex64, 512, (&ResetFinish{record, count64(0x80), count64(0x80)}).AppendTo(nil)},
		{"ResetFinish, signed", "0c" + kdf + hex32 + next2, 75, (&ResetFinish{record, count64(0x80), count64(0x80)}).AppendSigned(nil)},
		{"ResetDone", "0d" + hex32, 1024, (&ResetDone{count32(0x10)}).AppendTo(nil)},
	} {
		g.check(t)
	}
}

func TestGoldenAfterLogin(t *testing.T) {
	const id, four = 0x01020304, "01020304"
	record := Record{KDF{1, 3, 65_536, 4}, count32(0x10), count32(0x30)}
	change := ChangePassword{id, record, count64(0x80), count64(0x80)}
	challenge := OpChallenge{
		id, count32(0x10), count16(0), KDF{1, 3, 65_536, 4}, KDF{1, 5, 131_072, 1}, 20, Policy{Kind: 2, MinLength: 8, MaxLength: 64},
	}
	listing := Listing{ID: id}
	listing.Add("root")
	listing.Add("etc")
	sessions := SessionList{ID: id, More: true}
	sessions.Add(&Session{count16(0), 0x11, 0x22, 0x33, false, nil})
	sessions.Add(&Session{count16(1), 0x44, 0x55, 0x66, true, []byte("[::1]:9")})
	const seconds = "00000000 000000"
	for _, g := range []golden{
		{"Goodbye", "10 00000000 000d", 7, Goodbye{CodeIdle}.AppendTo(nil)},
		{"Bye", "11 00000000", 5, Plain{TypeBye, 0}.AppendTo(nil)},
		{"Refused", "12" + four + "0001 00 0000001e", 12, (&Refused{id, Denied{CodeDenied, 0, 30}}).AppendTo(nil)},
		{"Done", "13" + four, 5, Plain{TypeDone, id}.AppendTo(nil)},
		{"WhoAmI", "20" + four, 5, Plain{TypeWhoAmI, id}.AppendTo(nil)},
		{"Account", "21" + four + hex16 + alice + "4142434445464748" + hex16 + "5152535455565758", 59,
			(&Account{id, count16(0), []byte("alice"), 0x4142434445464748, count16(0), 0x5152535455565758}).AppendTo(nil)},
		{"List", "22" + four, 5, Plain{TypeList, id}.AppendTo(nil)},
		{"Listing", "23" + four + "0002 04 726f6f74 03 657463", 16, listing.AppendTo(nil)},
		{"ListSessions", "24" + four + hex16, 21, (&ListSessions{id, count16(0)}).AppendTo(nil)},
		{"SessionList", "25" + four + "01 0002" + hex16 + seconds + "11" + seconds + "22" + seconds + "33 00 00" +
			"01020304 05060708 090a0b0c 0d0e0f10" + seconds + "44" + seconds + "55" + seconds + "66 01 07 5b3a3a315d3a39", 99, sessions.AppendTo(nil)},
		{"Logout", "26" + four, 5, Plain{TypeLogout, id}.AppendTo(nil)},
		{"OpStart", "30" + four + "34" + hex32, 38, (&OpStart{id, TypeDeleteAccount, count32(0x10)}).AppendTo(nil)},
		{"OpChallenge", "31" + four + hex32 + hex16 + kdf + "01 00000005 00020000 01 0014 02 0008 0040 00", 81, challenge.AppendTo(nil)},
		{"ChangePassword", "32" + four + kdf + hex32 + next2 + hex64 + hex64, 207, change.AppendTo(nil)},
		{"ChangePassword, signed", "32" + four + kdf + hex32 + next2, 79, change.AppendSigned(nil)},
		{"PasswordChanged", "33" + four + hex16 + "4142434445464748 0003 616263 20" + next2, 67,
			(&PasswordChanged{id, count16(0), 0x4142434445464748, []byte("abc"), count32(0x30)}).AppendTo(nil)},
		{"DeleteAccount", "34" + four + hex64, 69, (&ProvedOp{TypeDeleteAccount, id, count64(0x80)}).AppendTo(nil)},
		{"RevokeAll", "35" + four + hex64, 69, (&ProvedOp{TypeRevokeAll, id, count64(0x80)}).AppendTo(nil)},
		{"RevokeAll, signed", "35" + four, 5, (&ProvedOp{TypeRevokeAll, id, count64(0x80)}).AppendSigned(nil)},
	} {
		g.check(t)
	}
}

// TestLists reads what Add wrote, and stops where the reader does.
func TestLists(t *testing.T) {
	listing := Listing{ID: 1}
	for _, name := range []string{"root", "etc", "lib"} {
		listing.Add(name)
	}
	read, err := ParseListing(listing.AppendTo(nil))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for name := range read.All() {
		if names = append(names, string(name)); len(names) == 2 {
			break
		}
	}
	if strings.Join(names, " ") != "root etc" || read.Count != 3 {
		t.Errorf("%q of %d", names, read.Count)
	}
	sessions := SessionList{ID: 1}
	want := []Session{{ID: count16(0), Expires: 1, Address: []byte("a")}, {ID: count16(1), Current: true, Address: []byte{}}, {ID: count16(2)}}
	for i := range want {
		sessions.Add(&want[i])
	}
	page, err := ParseSessionList(sessions.AppendTo(nil))
	if err != nil {
		t.Fatal(err)
	}
	i := 0
	for s := range page.All() {
		if s.ID != want[i].ID || s.Expires != want[i].Expires || s.Current != want[i].Current || !bytes.Equal(s.Address, want[i].Address) {
			t.Errorf("session %d is %+v, want %+v", i, s, want[i])
		}
		if i++; i == 2 {
			break
		}
	}
}
