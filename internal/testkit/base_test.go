package testkit

import (
	"crypto/ed25519"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/authsrv/authsrv/credential"
	"github.com/authsrv/authsrv/noiseconn"
	"github.com/authsrv/authsrv/token"
	"github.com/authsrv/authsrv/wire"
	"golang.org/x/crypto/argon2"
)

// What all files have in common. The time is one that no client's release is behind.
const (
	kitTime   = 2208988800 // 2040-01-01
	setupTime = kitTime - 90
	expires   = setupTime + 86400

	alice, bob = "alice", "bob"
	password   = "correct horse battery staple"
	nextWord   = "eigenvalue trombone 9"
	tokenKey   = "k1"
)

var cheap = credential.KDF{Algorithm: 1, Time: 2, MemoryKiB: 19456, Lanes: 1}

// secret is a value of the kit: the same in every file.
func secret(what string) [32]byte { return sha256.Sum256([]byte("authsrv testkit: " + what)) }

func secret16(what string) [16]byte {
	s := secret(what)
	return [16]byte(s[:16])
}

func hexOf[T [16]byte | [32]byte](b T) string {
	return fmt.Sprintf("%x", b)
}

var (
	realm      = secret16("realm")
	saltKey    = secret("salt key")
	accountID  = secret16("account id")
	sessionID  = secret16("session id")
	jti        = secret16("jti")
	resumeKey  = secret("resume key")
	deviceKey  = secret("client static")
	codeID     = secret16("code id")
	codeSecret = secret16("code secret")
	reqNonce   = secret("client nonce")
	opNonce    = secret("operation nonce")
)

func identityKey(what string) ed25519.PrivateKey {
	s := secret(what)
	return ed25519.NewKeyFromSeed(s[:])
}

// stretched is a key of PROTOCOL 5.
type stretched struct{ seed, serverKey []byte }

// keyOf derives the key of a name and a password.
var keyOf = func() func(name, word string) stretched {
	var mu sync.Mutex
	made := make(map[string]stretched)
	return func(name, word string) stretched {
		mu.Lock()
		defer mu.Unlock()
		k, ok := made[name+" "+word]
		if !ok {
			salt := credential.Salt(saltKey, realm, name)
			s := sha256.Sum256(lp("authsrv v1 kdf-salt", string(realm[:]), name, string(salt[:])))
			k = expandKeys(argon2.IDKey([]byte(word), s[:], cheap.Time, cheap.MemoryKiB, cheap.Lanes, 32), "client-auth ed25519 seed", "server-confirm key")
			made[name+" "+word] = k
		}
		return k
	}
}()

func expandKeys(prk []byte, seedLabel, serverLabel string) stretched {
	seed, err := hkdf.Expand(sha256.New, prk, "authsrv v1 "+seedLabel, 32)
	if err != nil {
		panic(err)
	}
	serverKey, err := hkdf.Expand(sha256.New, prk, "authsrv v1 "+serverLabel, 32)
	if err != nil {
		panic(err)
	}
	return stretched{seed, serverKey}
}

// codeKey derives the key of a code (PROTOCOL 5.1).
func codeKey(kind string) stretched {
	identity := identityKey("identity")
	f := sha256.Sum256(identity[32:])
	salt := sha256.Sum256(lp("authsrv v1 code", kind, string(codeID[:]), string(f[:])))
	prk, err := hkdf.Extract(sha256.New, codeSecret[:], salt[:])
	if err != nil {
		panic(err)
	}
	return expandKeys(prk, "code ed25519 seed", "code server-confirm key")
}

func lp(fields ...string) (b []byte) {
	for _, f := range fields {
		b = append(b, 0, 0, byte(len(f)>>8), byte(len(f)))
		b = append(b, f...)
	}
	return b
}

func (k stretched) public() [32]byte {
	return [32]byte(ed25519.NewKeyFromSeed(k.seed)[32:])
}

func (k stretched) record() wire.Record {
	return wire.Record{KDF: wire.KDF(cheap), PublicKey: k.public(), ServerKey: [32]byte(k.serverKey)}
}

func (f *transcript) addKey(name string, k stretched) {
	f.add("key", name, hex.EncodeToString(k.seed), hex.EncodeToString(k.serverKey))
}

func tx(name string, payload []byte, compute ...string) *frame {
	if payload == nil {
		payload = []byte{}
	}
	return &frame{kind: send, name: name, payload: payload, compute: compute}
}

func rx(name string) *frame { return &frame{kind: await, name: name} }

// message makes a frame of a message.
func message(m interface{ AppendTo([]byte) []byte }, compute ...string) *frame {
	b := m.AppendTo(nil)
	return tx(wire.TypeOf(b).String(), b, compute...)
}

// common begins the head of a file.
func common(side string) *transcript {
	f := &transcript{}
	for _, key := range []string{"name", "side", "fault", "about", "control", "expect", "end", "changed"} {
		f.set(key, "-")
	}
	f.set("side", side)
	identity, tokenSeed := identityKey("identity"), secret("token key")
	f.set("time", strconv.Itoa(kitTime))
	if side == "server" {
		f.set("setup-time", strconv.Itoa(setupTime))
		f.set("registration", "open")
	}
	f.set("realm", hexOf(realm))
	f.set("identity", hex.EncodeToString(identity.Seed()))
	f.set("salt-key", hexOf(saltKey))
	f.set("kdf", hex.EncodeToString(cheap.AppendTo(nil)))
	if side == "server" {
		f.add("token-key", tokenKey, hexOf(tokenSeed))
	}
	return f
}

// serverHead is the head of a file whose side under test is a server with one account.
func serverHead() *transcript {
	f := common("server")
	f.set("client-ephemeral", hexOf(secret("client ephemeral")))
	f.set("client-static", hexOf(deviceKey))
	f.addKey(alice, keyOf(alice, password))
	f.add("account", alice, hexOf(accountID), alice)
	for _, r := range []string{"server-static", "server-ephemeral", "server-nonce"} {
		f.add("random", r, hexOf(secret(r)))
	}
	return f
}

func (f *transcript) withSession() {
	static := noiseconn.StaticFromPrivate(deviceKey).Public
	f.add("session", alice, alice, hexOf(sessionID), hexOf(jti), hexOf(resumeKey), strconv.Itoa(expires), hexOf(static))
}

func (f *transcript) withRandom(names ...string) {
	for _, name := range names {
		switch s := secret("drawn " + name); name {
		case "session-id", "jti", "account-id":
			f.add("random", name, hexOf([16]byte(s[:16])))
		default:
			f.add("random", name, hexOf(s))
		}
	}
}

func codeLine(kind, of string, ends int) []string {
	return []string{kind, of, hexOf(codeID), hexOf(codeSecret), strconv.Itoa(ends)}
}

// hello is what every connection to a server begins with.
func hello() []*frame {
	return []*frame{tx("preface", prefaceBytes), tx("M1", nil), rx("M2 ServerHello")}
}

// first makes M3 of a frame.
func first(fr *frame) *frame {
	fr.name = "M3 " + fr.name
	return fr
}

func startLogin(name string) *wire.AuthStart {
	return &wire.AuthStart{Purpose: wire.PurposeLogin, Method: 1, Offered: []byte{1}, Name: []byte(name), ClientNonce: reqNonce}
}

func startRegister(name string) *wire.AuthStart {
	return &wire.AuthStart{Purpose: wire.PurposeRegister, Method: 1, Offered: []byte{1}, Name: []byte(name), ClientNonce: reqNonce}
}

func startInvited(name string) *wire.AuthStart {
	m := startRegister(name)
	m.Token = codeID[:]
	return m
}

func startChecked(name string) *wire.AuthStart {
	return &wire.AuthStart{Purpose: wire.PurposeRegister, Method: 3, Offered: []byte{3}, Name: []byte(name), ClientNonce: reqNonce}
}

func startReset(name string) *wire.AuthStart {
	return &wire.AuthStart{Purpose: wire.PurposeReset, Method: 4, Offered: []byte{4}, Name: []byte(name), ClientNonce: reqNonce, Token: codeID[:]}
}

func startSession(text string) *wire.AuthStart {
	return &wire.AuthStart{Purpose: wire.PurposeSession, ClientNonce: reqNonce, Token: []byte(text)}
}

// goodToken is the token of the session of a file.
func goodToken() string {
	seed := secret("token key")
	keys, err := token.New("urn:authsrv:"+hexOf(realm), tokenKey, token.Key{ID: tokenKey, Private: ed25519.NewKeyFromSeed(seed[:])})
	if err != nil {
		panic(err)
	}
	text, err := keys.Sign(token.Claims{
		Subject: accountID, SessionID: sessionID, ID: jti, IssuedAt: time.Unix(setupTime, 0), Expires: time.Unix(expires, 0),
		Thumbprint: token.Thumbprint(noiseconn.StaticFromPrivate(deviceKey).Public),
	})
	if err != nil {
		panic(err)
	}
	return text
}

// forgedToken makes a token of any header and claims, with a right signature by a key.
func forgedToken(header, claims string, by ed25519.PrivateKey) string {
	text := base64.RawURLEncoding.EncodeToString([]byte(header)) + "." + base64.RawURLEncoding.EncodeToString([]byte(claims))
	if by == nil {
		return text + "."
	}
	return text + "." + base64.RawURLEncoding.EncodeToString(ed25519.Sign(by, []byte(text)))
}

func proofFrame() *frame { return message(&wire.Proof{}, "1 sign alice client-proof") }

func plain(t wire.Type, id uint32) *frame { return message(wire.Plain{Type: t, ID: id}) }

func bye() []*frame { return []*frame{plain(wire.TypeBye, 0), rx("Goodbye")} }

func finishFrame(name string) *frame {
	return message(&wire.RegisterFinish{Record: keyOf(name, password).record()}, "75 sign "+name+" new-key-proof")
}

// serverBases are whole connections with a server under test, without a fault. Every faulty file departs from one of them.
var serverBases = map[string]func() *transcript{
	"server-login": func() *transcript {
		f := serverHead()
		f.withRandom("resume-key", "session-id", "jti")
		f.frames = append(hello(), first(message(startLogin(alice))), rx("Challenge"), proofFrame(), rx("Welcome"))
		f.frames = append(f.frames, bye()...)
		return f
	},
	"server-register": func() *transcript {
		f := serverHead()
		f.addKey(bob, keyOf(bob, password))
		f.withRandom("account-id")
		f.frames = append(hello(), first(message(startRegister(bob))), rx("RegisterParams"), finishFrame(bob), rx("Registered"))
		return f
	},
	"server-invited": func() *transcript {
		f := serverHead()
		f.set("registration", "invited")
		f.addKey(bob, keyOf(bob, password))
		f.addKey("code", codeKey("invite"))
		f.add("code", codeLine("invite", "-", expires)...)
		f.withRandom("account-id")
		finish := message(&wire.RegisterFinish{Record: keyOf(bob, password).record(), CodeProof: make([]byte, 64)},
			"75 sign bob new-key-proof", "140 sign code code-proof")
		f.frames = append(hello(), first(message(startInvited(bob))), rx("RegisterParams"), finish, rx("Registered"))
		return f
	},
	"server-checked": func() *transcript {
		f := serverHead()
		f.set("registration", "checked")
		f.withRandom("account-id")
		f.frames = append(hello(), first(message(startChecked(bob))), rx("RegisterParams"),
			message(&wire.RegisterPassword{Password: []byte(password)}), rx("Registered"))
		return f
	},
	"server-reset": func() *transcript {
		f := serverHead()
		f.addKey("next", keyOf(alice, nextWord))
		f.addKey("code", codeKey("reset"))
		f.add("code", codeLine("reset", alice, expires)...)
		finish := message(&wire.ResetFinish{Record: keyOf(alice, nextWord).record()}, "75 sign next new-key-proof", "139 sign code code-proof")
		f.frames = append(hello(), first(message(startReset(alice))), rx("RegisterParams"), finish, rx("ResetDone"))
		return f
	},
	"server-session": func() *transcript {
		f := sessionHead()
		f.frames = append(f.frames, plain(wire.TypeWhoAmI, 1), rx("Account"), plain(wire.TypeList, 2), rx("Listing"),
			message(&wire.ListSessions{ID: 3}), rx("SessionList"))
		f.frames = append(f.frames, bye()...)
		return f
	},
	"server-logout": func() *transcript {
		f := sessionHead()
		f.frames = append(f.frames, plain(wire.TypeLogout, 7), rx("Done"), rx("Goodbye"))
		return f
	},
	"server-change": func() *transcript {
		f := sessionHead()
		f.addKey("next", keyOf(alice, nextWord))
		f.withRandom("resume-key", "session-id", "jti")
		f.frames = append(f.frames, opStart(wire.TypeChangePassword), rx("OpChallenge"), changeFrame(), rx("PasswordChanged"),
			plain(wire.TypeWhoAmI, 6), rx("Account"))
		return f
	},
	"server-delete": func() *transcript {
		f := sessionHead()
		f.frames = append(f.frames, opStart(wire.TypeDeleteAccount), rx("OpChallenge"), provedFrame(wire.TypeDeleteAccount), rx("Done"), rx("Goodbye"))
		return f
	},
	"server-revoke": func() *transcript {
		f := sessionHead()
		f.frames = append(f.frames, opStart(wire.TypeRevokeAll), rx("OpChallenge"), provedFrame(wire.TypeRevokeAll), rx("Done"), rx("Goodbye"))
		return f
	},
}

func sessionHead() *transcript {
	f := serverHead()
	f.withSession()
	f.frames = append(hello(), first(message(startSession(goodToken()))), rx("Welcome"))
	return f
}

const opID = 5

func opStart(of wire.Type) *frame {
	return message(&wire.OpStart{ID: opID, Operation: of, ClientNonce: opNonce})
}

func changeFrame() *frame {
	return message(&wire.ChangePassword{ID: opID, Record: keyOf(alice, nextWord).record()},
		"79 sign next new-key-proof", "143 sign alice client-proof")
}

func provedFrame(of wire.Type) *frame {
	return message(&wire.ProvedOp{Type: of, ID: opID}, "5 sign alice client-proof")
}

// serverHello is the ServerHello of a kit that plays the server.
func serverHello() *wire.ServerHello {
	identity := identityKey("identity")
	m := &wire.ServerHello{
		Version: 1, HighestVersion: 1, HighestSuite: 1, RealmID: realm, Identity: [32]byte(identity[32:]), NextIdentity: nextHash(),
		Time: kitTime, Idle: 1800, ConnectionLife: 43200, SessionLife: 2592000, Features: wire.FeatureRegister | wire.FeatureRegisterChecked,
	}
	certify(m, identity, kitTime-3600, kitTime+86400, 3)
	return m
}

func nextHash() [32]byte {
	next := identityKey("next identity")
	return sha256.Sum256(next[32:])
}

func certify(m *wire.ServerHello, by ed25519.PrivateKey, from, to int64, epoch uint32) {
	static := noiseconn.StaticFromPrivate(secret("server-static")).Public
	m.Certificate = noiseconn.Certify(by, m.RealmID, static, time.Unix(from, 0), time.Unix(to, 0), epoch)
}

// clientHead is the head of a file whose side under test is a client that knows the server.
func clientHead(do ...string) *transcript {
	f := common("client")
	identity := identityKey("identity")
	f.set("server-static", hexOf(secret("server-static")))
	f.set("server-ephemeral", hexOf(secret("server-ephemeral")))
	f.addKey(alice, keyOf(alice, password))
	f.add("pin", hexOf(realm), hex.EncodeToString(identity[32:]), hexOf(nextHash()), "3", "1", "1", strconv.Itoa(kitTime), "confirmed")
	f.set("login-name", alice)
	f.set("password", password)
	for _, d := range do {
		f.add("do", d)
	}
	f.add("random", "client-ephemeral", hexOf(secret("client ephemeral")))
	f.add("random", "client-nonce", hexOf(reqNonce))
	return f
}

func (f *transcript) remember() {
	salt := credential.Salt(saltKey, realm, alice)
	f.add("remembers", hexOf(realm), alice, hex.EncodeToString(cheap.AppendTo(nil)), hexOf(salt), hexOf(deviceKey))
}

// newDevice is for a client that has no key for the account yet.
func (f *transcript) newDevice() { f.add("random", "client-static", hexOf(deviceKey)) }

const savedToken = "a.session.token"

func resumed(do ...string) *transcript {
	f := clientHead(append([]string{"resume"}, do...)...)
	identity := identityKey("identity")
	f.remember()
	f.add("saved-session", hexOf(realm), hex.EncodeToString(identity[32:]), alice, savedToken, hexOf(resumeKey),
		hexOf(sessionID), hexOf(accountID), strconv.Itoa(expires))
	f.add("key", "resume", hexOf(secret("unused")), hexOf(resumeKey))
	f.frames = append(greeting(), rx("M3 AuthStart"), resumedWelcome())
	return f
}

func greeting() []*frame {
	m := message(serverHello())
	m.name = "M2 ServerHello"
	return []*frame{rx("preface"), rx("M1"), m}
}

func resumedWelcome() *frame {
	return message(&wire.Welcome{AccountID: accountID, SessionID: sessionID, Expires: expires, Name: []byte(alice)}, "1 resume-confirm resume")
}

func challenge() *wire.Challenge {
	return &wire.Challenge{ServerNonce: secret("server-nonce"), Salt: credential.Salt(saltKey, realm, alice), KDF: wire.KDF(cheap), TTL: 20}
}

func registerParams(name string) *wire.RegisterParams {
	c := challenge()
	c.Salt = credential.Salt(saltKey, realm, name)
	return &wire.RegisterParams{Challenge: *c, Policy: wire.Policy{Kind: 1, MinLength: 8, MaxLength: 1024, MinScore: 3}}
}

func welcome() *wire.Welcome {
	return &wire.Welcome{
		AccountID: accountID, SessionID: sessionID, Expires: expires, Name: []byte(alice), Token: []byte(savedToken), ResumeKey: resumeKey[:],
	}
}

func opChallenge() *frame {
	c := challenge()
	return message(&wire.OpChallenge{
		ServerNonce: c.ServerNonce, Salt: c.Salt, KDF: c.KDF, NewKDF: c.KDF, TTL: 20, Policy: registerParams(alice).Policy,
	}, "1 id")
}

func answer(m interface{ AppendTo([]byte) []byte }) *frame { return message(m, "1 id") }

func listing(names ...string) *wire.Listing {
	m := &wire.Listing{}
	for _, n := range names {
		m.Add(n)
	}
	return m
}

func sessionList(n int) *wire.SessionList {
	m := &wire.SessionList{}
	for i := range n {
		m.Add(&wire.Session{ID: [16]byte{15: byte(i + 1)}, Created: setupTime, LastUsed: setupTime, Expires: expires, Current: i == 0, Address: []byte("192.0.2.2")})
	}
	return m
}

func accountAnswer() *wire.Account {
	return &wire.Account{AccountID: accountID, Name: []byte(alice), Created: setupTime, SessionID: sessionID, Expires: expires}
}

func codeText(kind credential.CodeKind) string {
	identity := identityKey("identity")
	random := newDrawn()
	random.give(codeID[:], codeSecret[:])
	code, err := credential.NewCode(random, kind, sha256.Sum256(identity[32:]))
	if err != nil {
		panic(err)
	}
	return code.Text()
}

// clientBases are whole connections with a client under test, without a fault.
var clientBases = map[string]func() *transcript{
	"client-login": func() *transcript {
		f := clientHead("login")
		f.remember()
		f.frames = append(greeting(), rx("M3 AuthStart"), message(challenge()), rx("Proof"), message(welcome(), "1 confirm alice"))
		return f
	},
	"client-first-login": func() *transcript { // first contact
		f := clientHead("login")
		f.head = without(f.head, "pin")
		f.set("accept-new", "yes")
		f.newDevice()
		f.frames = append(greeting(), rx("M3 AuthStart"), message(challenge()), rx("Proof"), message(welcome(), "1 confirm alice"))
		return f
	},
	"client-register": func() *transcript {
		f := clientHead("register")
		f.set("login-name", bob)
		f.newDevice()
		f.frames = append(greeting(), rx("M3 AuthStart"), message(registerParams(bob)), rx("RegisterFinish"), message(wire.Registered{}))
		return f
	},
	"client-invited": func() *transcript {
		f := clientHead("register-invited")
		f.head = without(f.head, "pin") // the code is one
		f.set("login-name", bob)
		f.set("code-text", codeText(credential.CodeInvite))
		f.set("accept-new", "yes")
		f.addKey("code", codeKey("invite"))
		f.newDevice()
		f.frames = append(greeting(), rx("M3 AuthStart"), message(registerParams(bob)), rx("RegisterFinish"),
			message(wire.Registered{Confirm: make([]byte, 32)}, "2 confirm code"))
		return f
	},
	"client-checked": func() *transcript {
		f := clientHead("register-checked")
		f.set("login-name", bob)
		f.newDevice()
		f.frames = append(greeting(), rx("M3 AuthStart"), message(registerParams(bob)), rx("RegisterPassword"), message(wire.Registered{}))
		return f
	},
	"client-reset": func() *transcript {
		f := clientHead("reset")
		f.head = without(f.head, "pin")
		f.set("code-text", codeText(credential.CodeReset))
		f.set("new-password", nextWord)
		f.set("accept-new", "yes")
		f.addKey("code", codeKey("reset"))
		f.newDevice()
		f.frames = append(greeting(), rx("M3 AuthStart"), message(registerParams(alice)), rx("ResetFinish"),
			message(&wire.ResetDone{}, "1 confirm code"))
		return f
	},
	"client-session": func() *transcript {
		f := resumed("who-am-i", "list", "list-sessions")
		f.frames = append(f.frames, rx("WhoAmI"), answer(accountAnswer()), rx("List"), answer(listing("root", "home")),
			rx("ListSessions"), answer(sessionList(3)))
		return f
	},
	"client-wait": func() *transcript {
		f := resumed("wait")
		f.frames = append(f.frames, message(wire.Goodbye{Code: wire.CodeShuttingDown}))
		return f
	},
	"client-logout": func() *transcript {
		f := resumed("logout")
		f.frames = append(f.frames, rx("Logout"), answer(wire.Plain{Type: wire.TypeDone}))
		return f
	},
	"client-change": func() *transcript {
		f := resumed("change-password")
		f.set("new-password", nextWord)
		f.addKey("next", keyOf(alice, nextWord))
		f.add("random", "operation-nonce", hexOf(opNonce))
		f.frames = append(f.frames, rx("OpStart"), opChallenge(), rx("ChangePassword"),
			answer(&wire.PasswordChanged{SessionID: secret16("next session"), Expires: expires, Token: []byte("the.next.token"), ResumeKey: secret("next resume key")}))
		return f
	},
	"client-delete": func() *transcript {
		f := resumed("delete")
		f.add("random", "operation-nonce", hexOf(opNonce))
		f.frames = append(f.frames, rx("OpStart"), opChallenge(), rx("DeleteAccount"), answer(wire.Plain{Type: wire.TypeDone}))
		return f
	},
	"client-logout-all": func() *transcript {
		f := resumed("logout-all")
		f.add("random", "operation-nonce", hexOf(opNonce))
		f.frames = append(f.frames, rx("OpStart"), opChallenge(), rx("RevokeAll"), answer(wire.Plain{Type: wire.TypeDone}))
		return f
	},
}

func without(head []field, key string) (rest []field) {
	for _, h := range head {
		if h.key != key {
			rest = append(rest, h)
		}
	}
	return rest
}

func base64Of(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

func hexOfBase64(text string) string {
	b, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil {
		panic(err)
	}
	return hex.EncodeToString(b)
}

// flip changes one character of base64 into another one.
func flip(text string, at int) string {
	other := byte('A')
	if text[at] == other {
		other = 'B'
	}
	return text[:at] + string(other) + text[at+1:]
}

// secondEncoding is a text in base64 whose last character has another bit that stands for nothing.
func secondEncoding(text string) string {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	last := len(text) - 1
	for i := range len(alphabet) {
		if alphabet[i] == text[last] {
			return text[:last] + string(alphabet[i^1])
		}
	}
	panic("not base64")
}
