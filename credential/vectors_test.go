package credential

import (
	"bytes"
	"crypto/ed25519"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"io/fs"
	"os"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the vectors of docs/vectors anew")

const (
	vectorFile  = "../docs/vectors/derivation.json"
	vectorAbout = "Derivations (PROTOCOL 5) and transcripts (PROTOCOL 6), case by case. Binary values are lower-case hex. " +
		"typed_name and typed_password are what a person types, login_name and password the prepared forms; password_utf8 is the bytes of password. " +
		"A code's kind, public_id, secret and identity_hash (F) give its text, and what it is proved with. " +
		"In a transcript, key and new_key name the derivation that signs, code the code that does, each of the fields is the bytes that are hashed (login_name is text), " +
		"and signed_plaintext is what op_digest is the SHA-256 of. What a purpose does not have is left out."
)

// derivationVector is PROTOCOL 5 for one account.
type derivationVector struct {
	ID            string    `json:"id"`
	TypedName     string    `json:"typed_name"`
	TypedPassword string    `json:"typed_password"`
	LoginName     string    `json:"login_name"`
	Password      string    `json:"password"`
	PasswordUTF8  string    `json:"password_utf8"`
	RealmID       string    `json:"realm_id"`
	SaltKey       string    `json:"k_salt"`
	Salt          string    `json:"salt"`
	S             string    `json:"S"`
	KDF           kdfVector `json:"kdf"`
	K             string    `json:"K"`
	Seed          string    `json:"seed"`
	A             string    `json:"A"`
	ServerKey     string    `json:"k_srv"`
}

type kdfVector struct {
	Algorithm uint8  `json:"algorithm"`
	Time      uint32 `json:"t"`
	MemoryKiB uint32 `json:"m"`
	Lanes     uint8  `json:"p"`
	Encoded   string `json:"encoded"`
}

// transcriptVector is PROTOCOL 6 for one authentication.
type transcriptVector struct {
	ID              string       `json:"id"`
	Key             string       `json:"key,omitempty"`
	NewKey          string       `json:"new_key,omitempty"`
	Code            string       `json:"code,omitempty"`
	SignedPlaintext string       `json:"signed_plaintext,omitempty"`
	Fields          fieldsVector `json:"fields"`
	T               string       `json:"T"`
	Proof           string       `json:"proof,omitempty"`
	NewKeyProof     string       `json:"new_key_proof,omitempty"`
	CodeProof       string       `json:"code_proof,omitempty"`
	Confirm         string       `json:"confirm,omitempty"`
	CodeConfirm     string       `json:"code_confirm,omitempty"`
	ResumeKey       string       `json:"resume_key,omitempty"`
	ResumeConfirm   string       `json:"resume_confirm,omitempty"`
}

type fieldsVector struct {
	Preface        string `json:"preface"`
	Handshake      string `json:"h"`
	RealmID        string `json:"realm_id"`
	Purpose        string `json:"purpose"`
	Options        string `json:"options"`
	Method         string `json:"method"`
	OfferedMethods string `json:"offered_methods"`
	LoginName      string `json:"login_name"`
	ClientStatic   string `json:"client_static"`
	ClientNonce    string `json:"client_nonce"`
	ServerNonce    string `json:"server_nonce"`
	Salt           string `json:"salt"`
	KDF            string `json:"kdf"`
	OpDigest       string `json:"op_digest"`
	SessionID      string `json:"session_id"`
	AccountID      string `json:"account_id"`
}

// fixed is bytes that look random and are the same in every run.
func fixed(what string) [32]byte { return sha256.Sum256([]byte("authsrv derivation vectors: " + what)) }

func fixed16(what string) [16]byte { sum := fixed(what); return [16]byte(sum[:16]) }

func encode(b []byte) string { return hex.EncodeToString(b) }

// vectorCase is what a derivationVector is made from, and the key that came out.
type vectorCase struct {
	id, typedName, typedPassword, realm string
	kdf                                 KDF

	name string
	salt [16]byte
	key  *Key
}

func vectorCases() []*vectorCase {
	return []*vectorCase{
		{id: "default parameters", typedName: "alice", typedPassword: "correct horse battery staple", realm: "one", kdf: DefaultKDF()},
		{id: "floor with two passes", typedName: "bob", typedPassword: "tr0ub4dor & three", realm: "one", kdf: KDF{Argon2id, 2, 19_456, 1}},
		{id: "floor with one pass", typedName: "carol.smith+7", typedPassword: "x!7Kq2#bVz", realm: "one", kdf: KDF{Argon2id, 1, 47_104, 1}},
		{id: "prepared", typedName: "ＤＡＶＥ_99", typedPassword: "Pa\u0308sswo\u0308rd\u00a0mit\u3000\u212b \U0001f511", realm: "one", kdf: KDF{Argon2id, 2, 19_456, 2}},
		{id: "longest", typedName: strings.Repeat("abcdefg-", 8), typedPassword: strings.Repeat("0123456789abcde ", 64), realm: "one", kdf: KDF{Argon2id, 3, 19_456, 8}},
		{id: "shortest", typedName: "Z", typedPassword: "pa55word", realm: "one", kdf: KDF{Argon2id, 2, 32_768, 4}},
		{id: "another realm", typedName: "bob", typedPassword: "tr0ub4dor & three", realm: "two", kdf: KDF{Argon2id, 2, 19_456, 1}},
		{id: "changed password", typedName: "bob", typedPassword: "eigenvalue trombone 9", realm: "one", kdf: KDF{Argon2id, 2, 32_768, 2}},
	}
}

// derive fills the case, step by step so that the steps can be recorded.
func (c *vectorCase) derive(t *testing.T) derivationVector {
	t.Helper()
	name, err := PrepareName(c.typedName)
	if err != nil {
		t.Fatalf("%s: %v", c.id, err)
	}
	password, err := PreparePassword(c.typedPassword)
	if err != nil {
		t.Fatalf("%s: %v", c.id, err)
	}
	if err := c.kdf.Check(); err != nil {
		t.Fatalf("%s: %v", c.id, err)
	}
	realm, saltKey := fixed16("realm "+c.realm), fixed("k_salt "+c.realm)
	c.name, c.salt = name, Salt(saltKey, realm, name)
	s := kdfSalt(realm, name, c.salt)
	stretched := stretch(password, s, c.kdf)
	seed, err := hkdf.Expand(sha256.New, stretched, "authsrv v1 client-auth ed25519 seed", ed25519.SeedSize)
	if err != nil {
		t.Fatal(err)
	}
	if c.key, err = newKey(stretched); err != nil {
		t.Fatal(err)
	}
	public, serverKey := c.key.Public(), c.key.ServerKey()
	if err := CheckPublicKey(public[:]); err != nil {
		t.Errorf("%s: %v", c.id, err)
	}
	return derivationVector{
		ID: c.id, TypedName: c.typedName, TypedPassword: c.typedPassword, LoginName: name,
		Password: string(password), PasswordUTF8: encode(password),
		RealmID: encode(realm[:]), SaltKey: encode(saltKey[:]), Salt: encode(c.salt[:]), S: encode(s[:]),
		KDF: kdfVector{c.kdf.Algorithm, c.kdf.Time, c.kdf.MemoryKiB, c.kdf.Lanes, encode(c.kdf.AppendTo(nil))},
		K:   encode(stretched), Seed: encode(seed), A: encode(public[:]), ServerKey: encode(serverKey[:]),
	}
}

// transcriptCase is what a transcriptVector is made from.
type transcriptCase struct {
	id        string
	purpose   uint8
	options   uint32
	offered   []byte
	key       *vectorCase
	newKey    *vectorCase
	code      *codeCase
	plaintext []byte // up to the first signature
}

func transcriptCases(cases []*vectorCase, codes []*codeCase) []transcriptCase {
	alice, bob, carol, changed := cases[0], cases[1], cases[2], cases[7]
	record := func(message []byte, c *vectorCase) []byte {
		public, serverKey := c.key.Public(), c.key.ServerKey()
		return append(append(c.kdf.AppendTo(message), public[:]...), serverKey[:]...)
	}
	request := func(kind byte, id uint32) []byte {
		return binary.BigEndian.AppendUint32([]byte{kind}, id)
	}
	return []transcriptCase{
		{id: "login", purpose: PurposeLogin, options: 86_400, offered: []byte{1}, key: alice},
		{id: "login, default lifetime", purpose: PurposeLogin, offered: []byte{1}, key: cases[3]},
		{id: "register", purpose: PurposeRegister, offered: []byte{1, 3}, newKey: carol, plaintext: record([]byte{0x09}, carol)},
		{id: "session", purpose: PurposeSession, key: alice},
		{id: "change password", purpose: PurposeOperation, offered: []byte{1}, key: bob, newKey: changed, plaintext: record(request(0x32, 7), changed)},
		{id: "delete account", purpose: PurposeOperation, offered: []byte{1}, key: bob, plaintext: request(0x34, 1)},
		{id: "revoke all", purpose: PurposeOperation, offered: []byte{1}, key: bob, plaintext: request(0x35, 0x01020304)},
		{id: "register with an invite", purpose: PurposeRegister, offered: []byte{1}, newKey: carol, code: codes[0], plaintext: record([]byte{0x09}, carol)},
		{id: "reset", purpose: PurposeReset, offered: []byte{4}, newKey: changed, code: codes[1], plaintext: record([]byte{0x0c}, changed)},
	}
}

func (c transcriptCase) transcript() Transcript {
	account := c.key
	if account == nil {
		account = c.newKey
	}
	t := Transcript{
		Preface:        [8]byte{'a', 'u', 't', 'h', 1, 1, 0, 0},
		Handshake:      fixed(c.id + " h"),
		RealmID:        fixed16("realm " + account.realm),
		Purpose:        c.purpose,
		Options:        c.options,
		Method:         MethodPassword,
		OfferedMethods: c.offered,
		LoginName:      account.name,
		ClientStatic:   fixed("client static " + account.name),
		ClientNonce:    fixed(c.id + " client nonce"),
	}
	if c.purpose == PurposeReset {
		t.Method = MethodCode
	}
	if c.purpose == PurposeSession {
		t.Method = MethodNone
	} else {
		nonce := fixed(c.id + " server nonce")
		t.ServerNonce, t.Salt, t.KDF = nonce[:], account.salt[:], account.kdf
	}
	if c.plaintext != nil {
		digest := sha256.Sum256(c.plaintext)
		t.OpDigest = digest[:]
	}
	if c.purpose == PurposeSession || c.purpose == PurposeOperation {
		session, id := fixed16("session "+account.name), fixed16("account "+account.name)
		t.SessionID, t.AccountID = session[:], id[:]
	}
	return t
}

func (c transcriptCase) vector(t *testing.T) transcriptVector {
	t.Helper()
	transcript := c.transcript()
	sum := transcript.Sum()
	v := transcriptVector{ID: c.id, SignedPlaintext: encode(c.plaintext), Fields: fieldsOf(transcript), T: encode(sum[:])}
	if c.key != nil {
		v.Key = c.key.id
	}
	if c.newKey != nil {
		v.NewKey = c.newKey.id
		proof := c.newKey.key.ProveNew(sum)
		if !VerifyNewKey(c.newKey.key.Public(), sum, proof) {
			t.Errorf("%s: the new-key proof is refused", c.id)
		}
		v.NewKeyProof = encode(proof[:])
	}
	if c.code != nil {
		c.code.prove(t, &v, sum)
	}
	switch {
	case c.purpose == PurposeSession:
		resumeKey := fixed("resume key")
		confirm := ResumeConfirm(resumeKey, sum)
		v.ResumeKey, v.ResumeConfirm = encode(resumeKey[:]), encode(confirm[:])
	case c.key != nil:
		proof := c.key.key.Prove(sum)
		if !VerifyProof(c.key.key.Public(), sum, proof) {
			t.Errorf("%s: the proof is refused", c.id)
		}
		v.Proof = encode(proof[:])
		if c.purpose == PurposeLogin {
			confirm := c.key.key.Confirm(sum, proof)
			v.Confirm = encode(confirm[:])
		}
	}
	return v
}

func fieldsOf(t Transcript) fieldsVector {
	var kdf []byte
	if t.KDF != (KDF{}) {
		kdf = t.KDF.AppendTo(nil)
	}
	return fieldsVector{
		Preface: encode(t.Preface[:]), Handshake: encode(t.Handshake[:]), RealmID: encode(t.RealmID[:]),
		Purpose: encode([]byte{t.Purpose}), Options: encode(binary.BigEndian.AppendUint32(nil, t.Options)), Method: encode([]byte{t.Method}),
		OfferedMethods: encode(t.OfferedMethods), LoginName: t.LoginName, ClientStatic: encode(t.ClientStatic[:]),
		ClientNonce: encode(t.ClientNonce[:]), ServerNonce: encode(t.ServerNonce), Salt: encode(t.Salt), KDF: encode(kdf),
		OpDigest: encode(t.OpDigest), SessionID: encode(t.SessionID), AccountID: encode(t.AccountID),
	}
}

// TestVectorsDerivation holds the code against docs/vectors/derivation.json. With -update it writes the sections about, derivations,
// codes and transcripts of the file, and leaves others as they are.
func TestVectorsDerivation(t *testing.T) {
	cases := vectorCases()
	var derivations []derivationVector
	for _, c := range cases {
		derivations = append(derivations, c.derive(t))
	}
	var transcripts []transcriptVector
	purposes := map[uint8]bool{}
	codes := codeCases()
	var codeVectors []codeVector
	for _, c := range codes {
		codeVectors = append(codeVectors, c.derive(t))
	}
	for _, c := range transcriptCases(cases, codes) {
		transcripts = append(transcripts, c.vector(t))
		purposes[c.purpose] = true
	}
	if len(derivations) < 6 || len(purposes) != 5 {
		t.Fatalf("%d derivations, %d purposes: too few", len(derivations), len(purposes))
	}
	sections := map[string]any{"about": vectorAbout, "derivations": derivations, "codes": codeVectors, "transcripts": transcripts}
	if *update {
		updateVectors(t, sections)
	}
	file := readVectors(t)
	for name, section := range sections {
		want, err := json.Marshal(section)
		if err != nil {
			t.Fatal(err)
		}
		var got bytes.Buffer
		if err := json.Compact(&got, file[name]); err != nil {
			t.Fatalf("%s: section %q: %v", vectorFile, name, err)
		}
		if !bytes.Equal(unescaped(t, want), unescaped(t, got.Bytes())) {
			t.Errorf("%s: section %q is not what the code computes: if that is right, run with -update", vectorFile, name)
		}
	}
}

// TestVectorsDerive shows that Derive takes the steps that are recorded.
func TestVectorsDerive(t *testing.T) {
	var derivations []derivationVector
	if err := json.Unmarshal(readVectors(t)["derivations"], &derivations); err != nil {
		t.Fatal(err)
	}
	compared := 0
	for _, v := range derivations {
		kdf := KDF{v.KDF.Algorithm, v.KDF.Time, v.KDF.MemoryKiB, v.KDF.Lanes}
		if kdf.MemoryKiB > 20_000 { // the others are in TestVectorsDerivation
			continue
		}
		key, err := Derive([]byte(v.Password), [16]byte(decodeHex(t, v.RealmID)), v.LoginName, [16]byte(decodeHex(t, v.Salt)), kdf)
		if err != nil {
			t.Fatalf("%s: %v", v.ID, err)
		}
		public, serverKey := key.Public(), key.ServerKey()
		if encode(public[:]) != v.A || encode(serverKey[:]) != v.ServerKey {
			t.Errorf("%s: another key", v.ID)
		}
		compared++
	}
	if compared == 0 {
		t.Error("compared no vector")
	}
}

func decodeHex(t *testing.T, text string) []byte {
	t.Helper()
	b, err := hex.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// unescaped is a JSON value with one form for each character, so that a tool may have written it.
func unescaped(t *testing.T, value []byte) []byte {
	t.Helper()
	var decoded any
	if err := json.Unmarshal(value, &decoded); err != nil {
		t.Fatal(err)
	}
	encoded, err := json.Marshal(decoded)
	if err != nil {
		t.Fatal(err)
	}
	return encoded
}

func readVectors(t *testing.T) map[string]json.RawMessage {
	t.Helper()
	file := map[string]json.RawMessage{}
	text, err := os.ReadFile(vectorFile)
	if errors.Is(err, fs.ErrNotExist) && *update {
		return file
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &file); err != nil {
		t.Fatalf("%s: %v", vectorFile, err)
	}
	return file
}

func updateVectors(t *testing.T, sections map[string]any) {
	t.Helper()
	merged := map[string]any{}
	for name, section := range readVectors(t) {
		merged[name] = section
	}
	for name, section := range sections {
		merged[name] = section
	}
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(merged); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(vectorFile, text.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
}
