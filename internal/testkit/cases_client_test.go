package testkit

import (
	"bytes"
	"crypto/ed25519"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"

	"github.com/authsrv/authsrv/noiseconn"
	"github.com/authsrv/authsrv/wire"
)

const (
	m2       = "M2 ServerHello"
	protocol = "error protocol"
	unknown  = "error outcome-unknown"
)

// atClient makes the name and base of a case.
func atClient(base, name, kind, about, expect string, do change) fault {
	return fault{name: "client-" + base + "-" + name, kind: kind, about: about, base: "client-" + base, do: do, expect: expect}
}

func clientFaults() (cases []fault) {
	for _, list := range [][]fault{
		refusalFaults(), clientHandshakeFaults(), certificateFaults(), challengeFaults(), welcomeFaults(), paramsFaults(), confirmFaults(),
		answerFaults(), goodbyeFaults(), changedFaults(),
	} {
		cases = append(cases, list...)
	}
	return cases
}

func refusalFaults() (cases []fault) {
	for _, c := range []struct{ name, kind, about, body, expect string }{
		{"version", "refused-in-clear", "The server refuses in clear: it speaks another version. Nothing is concluded from that.", "617574680201000a", "refused version"},
		{"overloaded", "refused-in-clear", "The server refuses in clear: it is overloaded.", "617574680101000b", "refused overloaded"},
		{"denied", "refusal-code", "The refusal in clear has a code that is not for it.", "6175746801010001", protocol},
		{"code-0", "refusal-code", "The refusal in clear has the code 0.", "6175746801010000", protocol},
		{"magic", "refusal-magic", "The refusal in clear has another magic.", "617574690101000b", protocol},
	} {
		cases = append(cases, atClient("login", "refusal-"+c.name, c.kind, c.about, c.expect, insert(m2, raw("0008"+c.body))))
	}
	return cases
}

func clientHandshakeFaults() (cases []fault) {
	for _, p := range lowOrder {
		cases = append(cases,
			atClient("login", "m2-ephemeral-"+p.name, "low-order-ephemeral", "The ephemeral key in M2 is a point of low order: its products are zeros.", protocol,
				head(m2, func(f *transcript) { f.set("server-ephemeral-sent", p.u) })),
			atClient("login", "m2-static-"+p.name, "low-order-static", "The server's static key is a point of low order; it is certified, and M2 is encrypted rightly.", protocol,
				func(f *transcript) {
					f.set("server-static-sent", p.u)
					m := serverHello()
					m.Certificate.Signature = [64]byte(ed25519.Sign(identityKey("identity"), m.Certificate.SignedBytes(nil, realm, [32]byte(mustHex(p.u)))))
					payload(m2, m.AppendTo(nil))(f)
				}))
	}
	hello := func(name, kind, about, expect string, do func(m *wire.ServerHello)) {
		m := serverHello()
		do(m)
		cases = append(cases, atClient("login", "hello-"+name, kind, about, expect, payload(m2, m.AppendTo(nil))))
	}
	for _, v := range []uint8{0, 2, 255} {
		hello(fmt.Sprintf("version-%d", v), "version-other", fmt.Sprintf("ServerHello says that the connection speaks version %d.", v), protocol,
			func(m *wire.ServerHello) { m.Version = v; m.HighestVersion = max(v, 1) })
	}
	hello("highest-version-0", "version-lower", "The server's highest version is lower than the one that is spoken.", protocol, func(m *wire.ServerHello) { m.HighestVersion = 0 })
	hello("highest-suite-0", "version-lower", "The server's highest suite is lower than the one that is spoken.", protocol, func(m *wire.ServerHello) { m.HighestSuite = 0 })
	tail := func(name, kind, about string, c change) {
		cases = append(cases, atClient("login", name, kind, about, protocol, c))
	}
	tail("m2-empty", "frame-empty", "M2's frame has the length 0.", insert(m2, raw("0000")))
	tail("m2-over-cap", "frame-over-cap", "M2's frame says that it has 513 bytes.", insert(m2, raw("0201")))
	tail("m2-short", "handshake-size", "M2 has no room for its tags.", insert(m2, raw("0020 00*32")))
	tail("m2-nine-bytes", "handshake-size", "M2 has nine bytes, and is no refusal.", insert(m2, raw("0009 617574680101000b00")))
	tail("m2-tag-of-key", "handshake-tag", "A bit of the encrypted static key is another one.", edits(m2, "xor 34 01"))
	tail("m2-tag-of-payload", "handshake-tag", "The last bit of M2's tag is another one.", edits(m2, "xor 449 01"))
	tail("m2-ephemeral-bit", "handshake-tag", "A bit of the ephemeral key is another one than what M2 was made with.", edits(m2, "xor 2 01"))
	tail("hello-size", "message-size", "ServerHello is a byte short of its size.", shorter(m2, 1))
	tail("hello-longer", "message-size", "ServerHello is a byte longer than its size.", longer(m2, "00"))
	tail("hello-padding", "padding-not-zero", "The first byte of ServerHello's padding is not zero.", set(m2, 224, "01"))
	tail("hello-padding-last", "padding-not-zero", "The last byte of ServerHello is not zero.", set(m2, 351, "01"))
	tail("hello-type", "wrong-state", "M2 carries a Challenge's type.", set(m2, 0, "03"))
	tail("hello-empty", "message-size", "M2 has no payload.", payload(m2, []byte{}))
	return append(cases, atClient("login", "m2-truncated", "frame-truncated", "M2 ends before its length, and nothing follows.", "error connection", edits(m2, "cut 200")))
}

func certificateFaults() (cases []fault) {
	const bad = "error certificate"
	identity := identityKey("identity")
	add := func(name, kind, about, expect string, do func(m *wire.ServerHello)) {
		m := serverHello()
		do(m)
		cases = append(cases, atClient("login", "certificate-"+name, kind, about, expect, payload(m2, m.AppendTo(nil))))
	}
	signed := func(m *wire.ServerHello, b []byte) { m.Certificate.Signature = [64]byte(ed25519.Sign(identity, b)) }
	static := noiseconn.StaticFromPrivate(secret("server-static")).Public
	for i := range 64 {
		if i%16 != 0 && i != 63 {
			continue
		}
		add(fmt.Sprintf("signature-byte-%d", i), "certificate-signature", fmt.Sprintf("A bit of byte %d of the certificate's signature is another one.", i), bad,
			func(m *wire.ServerHello) { m.Certificate.Signature[i] ^= 1 })
	}
	add("signature-zeros", "certificate-signature", "The certificate's signature is zeros.", bad, func(m *wire.ServerHello) { m.Certificate.Signature = [64]byte{} })
	add("signature-s-plus-order", "signature-malleable", "S of the certificate's signature is S + L.", bad, func(m *wire.ServerHello) {
		if err := addOrder(m.Certificate.Signature[32:]); err != nil {
			panic(err)
		}
	})
	add("by-next-identity", "certificate-signature", "The certificate is signed by the next identity.", bad, func(m *wire.ServerHello) { certify(m, identityKey("next identity"), kitTime-3600, kitTime+86400, 3) })
	add("of-other-realm", "certificate-realm", "The certificate was signed for another realm.", bad, func(m *wire.ServerHello) {
		signed(m, m.Certificate.SignedBytes(nil, secret16("another realm"), static))
	})
	add("of-other-static", "certificate-static", "The certificate was signed for another static key.", bad, func(m *wire.ServerHello) {
		signed(m, m.Certificate.SignedBytes(nil, realm, noiseconn.StaticFromPrivate(secret("another static")).Public))
	})
	add("label", "label", "The certificate was signed without its label.", bad, func(m *wire.ServerHello) {
		signed(m, m.Certificate.SignedBytes(nil, realm, static)[len(wire.NodeContext):])
	})
	terms := func(name, kind, about, expect string, from, to int64, epoch uint32) {
		add(name, kind, about+" It is signed.", expect, func(m *wire.ServerHello) { certify(m, identity, from, to, epoch) })
	}
	const day = 86400
	terms("expired", "certificate-expired", "The certificate expired a second ago.", bad, kitTime-day, kitTime-1, 3)
	terms("not-yet", "certificate-not-yet", "The certificate begins a second more than a day from now.", bad, kitTime+day+1, kitTime+2*day, 3)
	terms("too-long", "certificate-lifetime", "The certificate lives a second longer than 7 days.", bad, kitTime-day, kitTime+6*day+1, 3)
	terms("empty", "certificate-lifetime", "The certificate ends when it begins.", bad, kitTime, kitTime, 3)
	terms("reversed", "certificate-lifetime", "The certificate ends before it begins.", bad, kitTime+day, kitTime, 3)
	terms("epoch-0", "certificate-epoch", "The certificate's epoch is 0.", bad, kitTime-3600, kitTime+day, 0)
	terms("epoch-lower", "certificate-epoch", "The certificate's epoch is lower than the one that the client keeps.", bad, kitTime-3600, kitTime+day, 2)
	add("overflow", "certificate-lifetime", "The certificate's times overflow: it would end 7 days after it begins, modulo 2^64. It is signed.", bad, func(m *wire.ServerHello) {
		m.Certificate.NotBefore, m.Certificate.NotAfter = 1<<64-1, 604799
		signed(m, m.Certificate.SignedBytes(nil, realm, static))
	})
	add("not-before-changed", "certificate-terms", "The certificate's not before is not the one that was signed.", bad, func(m *wire.ServerHello) { m.Certificate.NotBefore-- })
	add("not-after-changed", "certificate-terms", "The certificate's not after is not the one that was signed.", bad, func(m *wire.ServerHello) { m.Certificate.NotAfter++ })
	add("epoch-changed", "certificate-terms", "The certificate's epoch is not the one that was signed.", bad, func(m *wire.ServerHello) { m.Certificate.Epoch++ })
	add("server-time-after", "server-time", "The server's clock is past the certificate.", bad, func(m *wire.ServerHello) { m.Time = kitTime + day + 1 })
	add("server-time-before", "server-time", "The server's clock is a second more than a day before the certificate.", bad, func(m *wire.ServerHello) { m.Time = kitTime - 3600 - day - 1 })
	const changed = "error identity-changed"
	add("other-identity", "identity-changed", "Another identity for a server that is pinned; its certificate is right.", changed, func(m *wire.ServerHello) {
		other := identityKey("another identity")
		m.Identity = [32]byte(other[32:])
		certify(m, other, kitTime-3600, kitTime+day, 3)
	})
	add("other-realm", "identity-changed", "The pinned identity has another realm; its certificate is right.", changed, func(m *wire.ServerHello) {
		m.RealmID = secret16("another realm")
		certify(m, identity, kitTime-3600, kitTime+day, 3)
	})
	pin := func(name, kind, about, expect string, words ...string) {
		cases = append(cases, atClient("login", "pin-"+name, kind, about, expect, head(m2, func(f *transcript) {
			f.head = without(f.head, "pin")
			if words != nil {
				f.add("pin", words...)
			}
		})))
	}
	public, other := hex.EncodeToString(identity[32:]), identityKey("another identity")
	now := strconv.Itoa(kitTime)
	pin("other", "identity-changed", "The client has pinned another identity for the address, with no successor.", changed, hexOf(realm), hex.EncodeToString(other[32:]), strings.Repeat("0", 64), "3", "1", "1", now, "confirmed")
	pin("other-successor", "identity-changed", "The client has pinned another identity, whose successor is a third one.", changed, hexOf(realm), hex.EncodeToString(other[32:]), hexOf(nextHash()), "3", "1", "1", now, "confirmed")
	pin("accepted-only", "identity-changed", "A person has accepted another identity, which was not confirmed yet; it has no successor's right.", changed,
		hexOf(realm), hex.EncodeToString(other[32:]), hex.EncodeToString(digest(identity[32:])), "3", "1", "1", now, "accepted")
	pin("suite-2", "version-lower", "The client has confirmed suite 2 of this server before.", "error downgrade", hexOf(realm), public, hexOf(nextHash()), "3", "1", "2", now, "confirmed")
	pin("version-2", "version-lower", "The client has confirmed version 2 of this server before.", "error downgrade", hexOf(realm), public, hexOf(nextHash()), "3", "2", "1", now, "confirmed")
	pin("epoch-4", "certificate-epoch", "The client has confirmed a higher epoch of this server before.", bad, hexOf(realm), public, hexOf(nextHash()), "4", "1", "1", now, "confirmed")
	pin("server-time", "certificate-expired", "The client's own clock is behind: the last server time that it confirmed is past the certificate.", bad,
		hexOf(realm), public, hexOf(nextHash()), "3", "1", "1", strconv.Itoa(kitTime+day+1), "confirmed")
	pin("none", "identity-unknown", "The client knows nothing of the server, and nobody has accepted its identity.", "error identity-unknown")
	cases = append(cases,
		atClient("first-login", "other-fingerprint", "identity-changed", "The address carries the fingerprint of another identity.", changed, head(m2, func(f *transcript) {
			f.set("fingerprint", noiseconn.Fingerprint([32]byte(other[32:])))
		})),
		atClient("login", "good-successor", "none", "The pinned identity has given way to the one that it had committed to.", "accepted", func(f *transcript) {
			f.head = without(f.head, "pin")
			f.add("pin", hexOf(realm), hex.EncodeToString(other[32:]), hex.EncodeToString(digest(identity[32:])), "3", "1", "1", now, "confirmed")
		}),
		atClient("login", "good-7-days", "none", "The certificate lives for 7 days, and ends now.", "accepted", func(f *transcript) {
			m := serverHello()
			certify(m, identity, kitTime-7*day, kitTime, 3)
			f.frames[f.find(m2)].payload = m.AppendTo(nil)
		}),
		atClient("login", "good-features", "none", "ServerHello has features that nobody knows.", "accepted", func(f *transcript) {
			m := serverHello()
			m.Features = 1<<32 - 1
			f.frames[f.find(m2)].payload = m.AppendTo(nil)
		}),
		atClient("login", "good-higher-version", "none", "The server speaks higher versions and suites, too.", "accepted", func(f *transcript) {
			m := serverHello()
			m.HighestVersion, m.HighestSuite = 9, 9
			f.frames[f.find(m2)].payload = m.AppendTo(nil)
		}))
	return cases
}

// badKDFs are what a client must not compute.
var badKDFs = []struct{ name, kind, about, kdf, expect string }{
	{"algorithm-0", "kdf-bounds", "The algorithm is 0.", "000000000200004c0001", "error kdf"},
	{"algorithm-2", "kdf-bounds", "The algorithm is 2.", "020000000200004c0001", "error kdf"},
	{"t-0", "kdf-bounds", "There are no passes.", "010000000000010000 04", "error kdf"},
	{"t-1", "kdf-bounds", "There is one pass over less than 47,104 KiB.", "01000000010000b7ff01", "error kdf"},
	{"m-floor", "kdf-bounds", "The memory is a KiB below the floor.", "010000000200004bff01", "error kdf"},
	{"m-ceiling", "kdf-bounds", "The memory is a KiB above the ceiling.", "01000000020010000101", "error kdf"},
	{"m-highest", "kdf-bounds", "The memory is 4 TiB.", "0100000002ffffffff01", "error kdf"},
	{"t-ceiling", "kdf-bounds", "There are 9 passes.", "010000000900004c0001", "error kdf"},
	{"t-highest", "kdf-bounds", "There are 2^32 - 1 passes.", "01ffffffff00004c0001", "error kdf"},
	{"p-0", "kdf-bounds", "There are no lanes.", "010000000200004c0000", "error kdf"},
	{"p-9", "kdf-bounds", "There are 9 lanes.", "010000000200004c0009", "error kdf"},
	{"zeros", "kdf-bounds", "The kdf is zeros.", "00*10", "error kdf"},
}

func challengeFaults() (cases []fault) {
	for _, k := range badKDFs {
		cases = append(cases, atClient("login", "kdf-"+k.name, k.kind, "In the Challenge: "+k.about, k.expect, set("Challenge", 49, k.kdf)))
	}
	remembered := func(kdf string) change {
		return head("Challenge", func(f *transcript) {
			for i, h := range f.head {
				if h.key == "remembers" {
					f.head[i].value = strings.Replace(h.value, hex.EncodeToString(cheap.AppendTo(nil)), kdf, 1)
				}
			}
		})
	}
	add := func(name, kind, about, expect string, c change) {
		cases = append(cases, atClient("login", name, kind, about, expect, c))
	}
	add("kdf-less-time", "kdf-lower", "The account was stretched with more passes last time.", "error downgrade", remembered("010000000300004c0001"))
	add("kdf-less-memory", "kdf-lower", "The account was stretched with more memory last time.", "error downgrade", remembered("010000000200004c0101"))
	add("kdf-fewer-lanes", "kdf-lower", "The account was stretched with more lanes last time.", "error downgrade", remembered("010000000200004c0002"))
	add("salt-changed", "salt-changed", "The salt is not the one that the account had last time.", "error downgrade",
		frameOf("Challenge", func(fr *frame) { fr.payload[33] ^= 1 }))
	add("challenge-size", "message-size", "Challenge is a byte short of its size.", protocol, shorter("Challenge", 1))
	add("challenge-longer", "message-size", "Challenge is a byte longer than its size.", protocol, longer("Challenge", "00"))
	add("challenge-padding", "padding-not-zero", "The first byte of Challenge's padding is not zero.", protocol, set("Challenge", 61, "01"))
	add("challenge-padding-last", "padding-not-zero", "The last byte of Challenge is not zero.", protocol, set("Challenge", 511, "01"))
	add("challenge-record-tag", "record-tag", "The last bit of the record's tag is another one.", protocol, edits("Challenge", "xor 529 01"))
	add("challenge-record-cut", "frame-truncated", "The record ends before its length, and nothing follows.", "error connection", edits("Challenge", "cut 300"))
	add("challenge-over-cap", "frame-over-cap", "The record's frame says that it has 1,057 bytes.", protocol, insert("Challenge", raw("0421")))
	add("challenge-empty-frame", "frame-empty", "The frame has the length 0.", protocol, insert("Challenge", raw("0000")))
	add("challenge-no-tag", "record-tag", "The record is shorter than a tag.", protocol, insert("Challenge", raw("000f 00*15")))
	add("challenge-empty", "record-empty", "The record has no plaintext.", protocol, payload("Challenge", []byte{}))
	add("early-welcome", "early-welcome", "Welcome comes in the place of Challenge: the password is not proved.", protocol, insert("Challenge", message(welcome())))
	for _, m := range []*frame{
		message(serverHello()), message(registerParams(alice)), message(wire.Registered{}), message(&wire.ResetDone{}), message(wire.Goodbye{Code: wire.CodeBye}),
		message(&wire.Refused{ID: 1, Denied: wire.Denied{Code: 1}}), plain(wire.TypeDone, 1), message(&wire.Account{ID: 1, Name: []byte(alice)}),
	} {
		add("challenge-is-"+kebab(m.name), "wrong-state", m.name+" comes in the place of Challenge.", protocol, insert("Challenge", m))
	}
	for _, m := range []*frame{
		message(startLogin(alice)), message(&wire.Proof{}), message(&wire.RegisterFinish{}), message(&wire.ResetFinish{}), plain(wire.TypeBye, 0), plain(wire.TypeWhoAmI, 1),
	} {
		m.compute = nil
		add("challenge-is-"+kebab(m.name), "wrong-way", "The server sends what only a client sends: "+m.name+".", protocol, insert("Challenge", m))
	}
	for _, b := range []string{"00", "06", "0e", "ff"} {
		add("challenge-type-"+b, "type-unknown", "The answer has the type 0x"+b+".", protocol, set("Challenge", 0, b))
	}
	denied := func(m wire.Denied) *frame { return message(&m) }
	add("denied-code-0", "code-zero", "Denied has the code 0.", protocol, insert("Challenge", denied(wire.Denied{})))
	add("denied-rule", "rule-for-code", "Denied has a rule with a code that has none.", protocol, insert("Challenge", denied(wire.Denied{Code: wire.CodeDenied, Rule: 1})))
	add("denied-padding", "padding-not-zero", "The last byte of Denied is not zero.", protocol, func(f *transcript) {
		m := denied(wire.Denied{Code: wire.CodeDenied})
		m.payload[1023] = 1
		insert("Challenge", m)(f)
	})
	add("denied-size", "message-size", "Denied is a byte short of its size.", protocol, func(f *transcript) {
		m := denied(wire.Denied{Code: wire.CodeDenied})
		m.payload = m.payload[:1023]
		insert("Challenge", m)(f)
	})
	add("good-denied", "none", "The server denies the login before a challenge, with a code that nobody knows.", "refused code-77", insert("Challenge", denied(wire.Denied{Code: 77})))
	return cases
}

func welcomeFaults() (cases []fault) {
	const not = "error not-confirmed"
	// A Welcome's confirm speaks for the login's transcript; session id and account id are not in it.
	cases = append(cases, transcriptFaults("client-login", "Welcome", "confirm", not, "server-nonce salt kdf", "1 confirm alice %")...)
	add := func(name, kind, about, expect string, c change) {
		cases = append(cases, atClient("login", name, kind, about, expect, c))
	}
	say := func(name, kind, about, expect string, do func(m *wire.Welcome)) {
		m := welcome()
		do(m)
		add("welcome-"+name, kind, about, expect, keepComputing("Welcome", m.AppendTo(nil)))
	}
	add("confirm-zeros", "confirm-missing", "Confirm is zeros: the server does not show that it knows the account.", not, computes("Welcome"))
	add("confirm-bit", "confirm-wrong", "A bit of confirm is another one.", not, also("Welcome", "1 xor 01"))
	add("confirm-last-bit", "confirm-wrong", "The last bit of confirm is another one.", not, also("Welcome", "32 xor 80"))
	add("confirm-by-other-key", "wrong-key", "Confirm is made with the k_srv of another password.", not, func(f *transcript) {
		f.addKey("other", keyOf(alice, nextWord))
		computes("Welcome", "1 confirm other")(f)
	})
	add("confirm-label", "label", "Confirm is made as the resume confirm of a session.", not, computes("Welcome", "1 resume-confirm alice"))
	add("welcome-is-challenge", "duplicate-message", "A second Challenge comes in the place of Welcome.", protocol, insert("Welcome", message(challenge())))
	add("welcome-is-registered", "wrong-state", "Registered comes in the place of Welcome.", protocol, insert("Welcome", message(wire.Registered{})))
	add("welcome-is-account", "wrong-state", "The answer to a request comes in the place of Welcome.", protocol, insert("Welcome", message(&wire.Account{ID: 1, Name: []byte(alice)})))
	add("welcome-is-goodbye", "wrong-state", "Goodbye comes in the place of Welcome: before login there is none.", protocol, insert("Welcome", message(wire.Goodbye{Code: wire.CodeShuttingDown})))
	say("other-name", "name-other", "The name in Welcome is another one.", not, func(m *wire.Welcome) { m.Name = []byte(bob) })
	say("name-in-capitals", "name-other", "The name in Welcome has a capital.", not, func(m *wire.Welcome) { m.Name = []byte("Alice") })
	say("no-name", "name-length", "There is no name in Welcome.", protocol, func(m *wire.Welcome) { m.Name = nil })
	say("name-65", "name-length", "The name in Welcome has 65 bytes.", protocol, func(m *wire.Welcome) { m.Name = bytes.Repeat([]byte{'a'}, 65) })
	say("no-token", "token-missing", "There is neither a token nor a resume key in the Welcome of a login.", not, func(m *wire.Welcome) { m.Token, m.ResumeKey = nil, nil })
	say("token-only", "token-missing", "There is a token without a resume key.", protocol, func(m *wire.Welcome) { m.ResumeKey = nil })
	say("resume-key-only", "token-missing", "There is a resume key without a token.", protocol, func(m *wire.Welcome) { m.Token = nil })
	say("token-801", "token-length", "The token has 801 bytes.", protocol, func(m *wire.Welcome) { m.Token = bytes.Repeat([]byte{'a'}, 801) })
	say("resume-key-31", "length-lies", "The resume key has 31 bytes.", protocol, func(m *wire.Welcome) { m.ResumeKey = m.ResumeKey[:31] })
	say("resume-key-33", "length-lies", "The resume key has 33 bytes.", protocol, func(m *wire.Welcome) { m.ResumeKey = append(bytes.Clone(m.ResumeKey), 1) })
	add("welcome-token-lies", "length-lies", "The length of the token says more than Welcome has.", protocol, set("Welcome", 79, "ffff"))
	add("welcome-name-lies", "length-lies", "The length of the name is 255.", protocol, set("Welcome", 73, "ff"))
	add("welcome-padding", "padding-not-zero", "The last byte of Welcome is not zero.", protocol, set("Welcome", 1023, "01"))
	add("welcome-size", "message-size", "Welcome is a byte short of its size.", protocol, shorter("Welcome", 1))
	add("welcome-longer", "message-size", "Welcome is a byte longer than its size.", protocol, longer("Welcome", "00"))
	add("welcome-record-tag", "record-tag", "A bit of the record is another one.", protocol, edits("Welcome", "xor 500 01"))
	add("welcome-replayed-record", "record-replayed", "The record of Challenge is sent again in the place of Welcome.", protocol, insert("Welcome", &frame{kind: send, name: "again"}))
	add("welcome-missing", "connection-cut", "The connection ends in the place of Welcome.", "error connection", func(f *transcript) { f.frames = f.frames[:f.find("Welcome")] })
	cases = append(cases,
		atClient("first-login", "confirm-zeros", "confirm-missing", "At first contact, the server lets the client in without knowing the account.", not, computes("Welcome")),
		atClient("first-login", "denied", "denied-at-first-contact", "At first contact, an impostor answers Denied: it is not pinned.", "refused denied", insert("Welcome", message(&wire.Denied{Code: wire.CodeDenied}))))
	// Resumed.
	cases = append(cases, transcriptFaults("client-session", "Welcome", "resume confirm", not, "session-id account-id", "1 resume-confirm resume %")...)
	session := func(name, kind, about, expect string, c change) {
		cases = append(cases, atClient("session", name, kind, about, expect, c))
	}
	again := func(name, kind, about, expect string, do func(m *wire.Welcome)) {
		m := &wire.Welcome{AccountID: accountID, SessionID: sessionID, Expires: expires, Name: []byte(alice)}
		do(m)
		session("welcome-"+name, kind, about, expect, keepComputing("Welcome", m.AppendTo(nil)))
	}
	session("confirm-zeros", "confirm-missing", "The resume confirm is zeros.", not, computes("Welcome"))
	session("confirm-bit", "confirm-wrong", "A bit of the resume confirm is another one.", not, also("Welcome", "1 xor 01"))
	session("confirm-by-other-key", "wrong-key", "The resume confirm is made with k_srv.", not, computes("Welcome", "1 resume-confirm alice"))
	session("confirm-label", "label", "The resume confirm is made under the label of a login's, of no proof.", not, computes("Welcome", "1 confirm resume"))
	again("other-account", "ids-other", "The account id is not the session's. The confirm speaks for it.", not, func(m *wire.Welcome) { m.AccountID[0] ^= 1 })
	again("other-session", "ids-other", "The session id is not the session's. The confirm speaks for it.", not, func(m *wire.Welcome) { m.SessionID[15] ^= 1 })
	again("other-name", "name-other", "The name is not the session's. The confirm speaks for it.", not, func(m *wire.Welcome) { m.Name = []byte(bob) })
	again("token", "field-for-purpose", "A resumed session is given a token and a resume key, which are a login's.", protocol, func(m *wire.Welcome) {
		m.Token, m.ResumeKey = []byte("another.session.token"), bytes.Repeat([]byte{9}, 32)
	})
	session("challenge", "wrong-state", "Challenge comes in the place of Welcome: no password is asked for to resume.", protocol, insert("Welcome", message(challenge())))
	session("register-params", "wrong-state", "RegisterParams comes in the place of Welcome.", protocol, insert("Welcome", message(registerParams(alice))))
	for _, c := range []wire.Code{wire.CodeSessionExpired, wire.CodeSessionRevoked, wire.CodeSessionMalformed} {
		session("good-"+c.Name(), "none", "The session has ended, by code "+c.Name()+": the client is to log in again.", "refused "+c.Name(), insert("Welcome", message(&wire.Denied{Code: c})))
	}
	return cases
}

func paramsFaults() (cases []fault) {
	for _, base := range []string{"register", "reset", "checked"} {
		for i, k := range badKDFs {
			if base != "register" && i%3 != 0 {
				continue
			}
			cases = append(cases, atClient(base, "kdf-"+k.name, k.kind, "In RegisterParams: "+k.about, k.expect, set("RegisterParams", 49, k.kdf)))
		}
		add := func(name, kind, about string, c change) {
			cases = append(cases, atClient(base, name, kind, about, protocol, c))
		}
		policy := func(name, about, text string) {
			add("policy-"+name, "policy-out-of-range", about, set("RegisterParams", 61, text))
		}
		policy("kind-0", "The policy's kind is 0.", "000008040003")
		policy("kind-4", "The policy's kind is 4.", "040008040000")
		if base == "register" {
			policy("min-7", "The policy's least length is 7.", "010007040003")
			policy("max-1025", "The policy's greatest length is 1,025.", "010008040103")
			policy("reversed", "The policy's least length is above its greatest.", "010400000803")
			policy("score-5", "The policy's score is 5.", "010008040005")
			policy("score-for-kind", "The policy has a score with the kind that has none.", "030008040003")
		}
		add("params-padding", "padding-not-zero", "The last byte of RegisterParams is not zero.", set("RegisterParams", 511, "01"))
		add("params-size", "message-size", "RegisterParams is a byte short of its size.", shorter("RegisterParams", 1))
		add("params-is-challenge", "wrong-state", "Challenge comes in the place of RegisterParams.", insert("RegisterParams", message(challenge())))
		add("params-is-registered", "wrong-state", "Registered comes in the place of RegisterParams.", insert("RegisterParams", message(wire.Registered{})))
		add("params-record-tag", "record-tag", "The last bit of the record's tag is another one.", edits("RegisterParams", "xor 529 01"))
	}
	cases = append(cases,
		atClient("register", "policy-longer", "password-rules", "The server asks for more bytes than the password has: nothing is sent.", "error password-rules", set("RegisterParams", 62, "0030")),
		atClient("reset", "policy-longer", "password-rules", "The server asks for more bytes than the password has: nothing is sent.", "error password-rules", set("RegisterParams", 62, "0030")))
	for _, c := range []struct {
		code wire.Code
		rule uint8
	}{{wire.CodeNameTaken, 0}, {wire.CodeNameInvalid, 2}, {wire.CodeRegistrationClosed, 0}, {wire.CodePasswordNeeded, 0}, {wire.CodeInviteNeeded, 0}, {wire.CodeOverloaded, 0}} {
		expect := strings.TrimSpace("refused " + c.code.Name() + " " + ruleName(clientRule(c.rule)))
		cases = append(cases, atClient("register", "good-"+c.code.Name(), "none", "The server denies the registration, by code "+c.code.Name()+".", expect,
			insert("RegisterParams", message(&wire.Denied{Code: c.code, Rule: c.rule}))))
	}
	return append(cases,
		atClient("checked", "not-offered", "password-unsent", "The server does not judge passwords: it is sent none.", "error password-unsent", func(f *transcript) {
			m := serverHello()
			m.Features = wire.FeatureRegister
			payload(m2, m.AppendTo(nil))(f)
		}),
		atClient("checked", "not-pinned", "password-unsent", "The server is not pinned: it is sent no password.", "error not-pinned", head(m2, func(f *transcript) {
			f.head = without(f.head, "pin")
			f.set("accept-new", "yes")
		})))
}

func confirmFaults() (cases []fault) {
	const not = "error not-confirmed"
	fields := "server-nonce salt kdf op-digest"
	cases = append(cases, transcriptFaults("client-reset", "ResetDone", "code confirm", not, fields, "1 confirm code %")...)
	for _, c := range []struct{ base, frame, at string }{{"invited", "Registered", "2"}, {"reset", "ResetDone", "1"}} {
		add := func(name, kind, about, expect string, do change) {
			cases = append(cases, atClient(c.base, name, kind, about, expect, do))
		}
		add("confirm-zeros", "confirm-missing", "The code confirm is zeros.", not, computes(c.frame))
		add("confirm-bit", "confirm-wrong", "A bit of the code confirm is another one.", not, also(c.frame, c.at+" xor 01"))
		add("confirm-by-other-key", "wrong-key", "The code confirm is made with an account's k_srv.", not, computes(c.frame, c.at+" confirm alice"))
		add("confirm-over-other-h", "transcript-field", "The code confirm is made over a transcript in which h is another one.", not, computes(c.frame, c.at+" confirm code h^01"))
		add("done-padding", "padding-not-zero", "The last byte of the answer is not zero.", unknown, set(c.frame, 1023, "01"))
		add("done-size", "message-size", "The answer is a byte short of its size.", unknown, shorter(c.frame, 1))
		add("done-record-tag", "record-tag", "A bit of the answer's record is another one.", unknown, edits(c.frame, "xor 500 01"))
		add("done-is-welcome", "wrong-state", "Welcome comes in the place of the answer.", unknown, insert(c.frame, message(welcome())))
		add("done-missing", "connection-cut", "The connection ends in the place of the answer: what became of it is not known.", unknown, func(f *transcript) { f.frames = f.frames[:f.find(c.frame)] })
		add("other-server", "identity-changed", "The code is for another server than the one that answers: nothing is sent.", "error identity-changed", func(f *transcript) {
			other := identityKey("another identity")
			m := serverHello()
			m.Identity = [32]byte(other[32:])
			certify(m, other, kitTime-3600, kitTime+86400, 3)
			payload(m2, m.AppendTo(nil))(f)
		})
		add("good-refused", "none", "The server refuses the code.", "refused code-refused", insert(c.frame, message(&wire.Denied{Code: wire.CodeCodeRefused})))
	}
	add := func(base, name, kind, about, expect string, do change) {
		cases = append(cases, atClient(base, name, kind, about, expect, do))
	}
	add("invited", "confirm-empty", "confirm-missing", "Registered has no code confirm, though there was a code proof.", not, payload("Registered", wire.Registered{}.AppendTo(nil)))
	add("invited", "confirm-31", "length-lies", "The length of the code confirm is 31.", unknown, set("Registered", 1, "1f"))
	for _, base := range []string{"register", "checked"} {
		add(base, "confirm", "field-for-purpose", "Registered has a code confirm, though there was no code proof.", unknown,
			payload("Registered", wire.Registered{Confirm: bytes.Repeat([]byte{7}, 32)}.AppendTo(nil)))
		add(base, "registered-padding", "padding-not-zero", "The last byte of Registered is not zero.", unknown, set("Registered", 1023, "01"))
		add(base, "registered-is-welcome", "wrong-state", "Welcome comes in the place of Registered.", unknown, insert("Registered", message(welcome())))
		add(base, "registered-is-params", "duplicate-message", "A second RegisterParams comes in the place of Registered.", unknown, insert("Registered", message(registerParams(bob))))
		add(base, "registered-missing", "connection-cut", "The connection ends in the place of Registered: what became of it is not known.", unknown,
			func(f *transcript) { f.frames = f.frames[:f.find("Registered")] })
	}
	return cases
}

func answerFaults() (cases []fault) {
	for _, c := range []struct{ base, frame, expect string }{
		{"session", "Account", protocol}, {"session", "Listing", protocol}, {"session", "SessionList", protocol}, {"logout", "Done", protocol},
		{"change", "OpChallenge", protocol}, {"change", "PasswordChanged", unknown}, {"delete", "Done", unknown}, {"logout-all", "Done", unknown},
	} {
		prefix := kebab(c.frame) + "-"
		add := func(name, kind, about, expect string, do change) {
			cases = append(cases, atClient(c.base, prefix+name, kind, about, expect, do))
		}
		add("other-id", "wrong-id", "The answer has another id than its request.", c.expect, also(c.frame, "1 id 1"))
		add("id-0", "id-zero", "The answer has the id 0.", c.expect, frameOf(c.frame, func(fr *frame) { fr.compute = nil }))
		if c.frame != "PasswordChanged" && c.frame != "Done" {
			add("trailing", "trailing-bytes", "A zero byte is left over behind the answer.", protocol, longer(c.frame, "00"))
			add("short", "message-short", "The answer is a byte short.", protocol, shorter(c.frame, 1))
			add("refused", "code-zero", "Refused, with the code 0.", protocol, insert(c.frame, message(&wire.Refused{}, "1 id")))
			add("refused-rule", "rule-for-code", "Refused, with a rule for a code that has none.", protocol, insert(c.frame, message(&wire.Refused{Denied: wire.Denied{Code: 15, Rule: 3}}, "1 id")))
			add("good-refused", "none", "The server refuses the request, by code internal.", "refused internal", insert(c.frame, message(&wire.Refused{Denied: wire.Denied{Code: wire.CodeInternal}}, "1 id")))
		}
		add("record-tag", "record-tag", "The last bit of the record's tag is another one.", c.expect,
			frameOf(c.frame, func(fr *frame) { fr.edits = []string{fmt.Sprintf("xor %d 01", 2+len(fr.payload)+15)} }))
		wrong := answer(listing("x"))
		if c.frame == "Listing" {
			wrong = answer(accountAnswer())
		}
		add("is-other-answer", "wrong-state", wrong.name+" comes as the answer.", c.expect, insert(c.frame, wrong))
		add("is-request", "wrong-way", "A request of the same id comes as the answer.", c.expect, insert(c.frame, message(wire.Plain{Type: wire.TypeWhoAmI}, "1 id")))
		add("over-cap", "frame-over-cap", "The answer's frame says that it has 16,401 bytes.", c.expect, insert(c.frame, raw("4011")))
		add("empty-frame", "frame-empty", "The frame has the length 0.", c.expect, insert(c.frame, raw("0000")))
		add("empty", "record-empty", "The record has no plaintext.", c.expect, payload(c.frame, []byte{}))
		add("missing", "connection-cut", "The connection ends in the place of the answer.",
			strings.Replace(c.expect, "protocol", "connection", 1), func(f *transcript) { f.frames = f.frames[:f.find(c.frame)] })
	}
	add := func(name, kind, about string, do change) {
		cases = append(cases, atClient("session", name, kind, about, protocol, do))
	}
	built := func(frame string, b []byte) change { return keepComputing(frame, b) }
	account := accountAnswer()
	account.Name = nil
	add("account-no-name", "name-length", "There is no name in Account.", built("Account", account.AppendTo(nil)))
	account = accountAnswer()
	account.Name = bytes.Repeat([]byte{'a'}, 65)
	add("account-name-65", "name-length", "The name in Account has 65 bytes.", built("Account", account.AppendTo(nil)))
	add("account-name-lies", "length-lies", "The length of the name in Account is 64.", set("Account", 21, "40"))
	add("listing-count-high", "count-lies", "The count in Listing is one too high.", set("Listing", 5, "0003"))
	add("listing-count-low", "count-lies", "The count in Listing is one too low.", set("Listing", 5, "0001"))
	add("listing-count-most", "count-lies", "The count in Listing is 65,535.", set("Listing", 5, "ffff"))
	add("listing-name-empty", "length-lies", "A name in Listing is empty, and the rest stands as it would.", built("Listing", mustHex("2300000000 0003 04726f6f74 00 04686f6d65")))
	add("session-list-more", "flag-value", "The flag for another page is 2.", set("SessionList", 5, "02"))
	add("session-list-current", "flag-value", "The flag for the current session is 2.", set("SessionList", 8+16+24, "02"))
	add("session-list-count-high", "count-lies", "The count in SessionList is one too high.", set("SessionList", 6, "0004"))
	add("session-list-count-low", "count-lies", "The count in SessionList is one too low.", set("SessionList", 6, "0002"))
	order := func(ids ...byte) []byte {
		m := &wire.SessionList{}
		for _, id := range ids {
			m.Add(&wire.Session{ID: [16]byte{15: id}, Created: setupTime, LastUsed: setupTime, Expires: expires, Address: []byte("192.0.2.2")})
		}
		return m.AppendTo(nil)
	}
	add("session-list-descending", "list-order", "The sessions are not ascending.", built("SessionList", order(2, 1)))
	add("session-list-twice", "list-order", "A session is listed twice.", built("SessionList", order(1, 1)))
	add("session-list-101", "count-over-limit", "A page has 101 sessions.", built("SessionList", sessionList(101).AppendTo(nil)))
	long := &wire.SessionList{}
	long.Add(&wire.Session{ID: [16]byte{1}, Address: bytes.Repeat([]byte{'a'}, 65)})
	add("session-list-address-65", "length-lies", "An address in SessionList has 65 bytes.", built("SessionList", long.AppendTo(nil)))
	add("session-list-zero-id", "list-order", "A session has the id that stands before all: a page behind it would begin anew.", built("SessionList", order(0)))
	for _, p := range []struct{ name, text string }{{"kind-0", "000008040003"}, {"min-7", "010007040003"}, {"max-1025", "010008040103"}, {"score-5", "010008040005"}} {
		cases = append(cases, atClient("change", "op-challenge-policy-"+p.name, "policy-out-of-range", "The policy in OpChallenge is out of its range.", protocol, set("OpChallenge", 75, p.text)))
	}
	for i, k := range badKDFs {
		if i%2 == 0 {
			cases = append(cases, atClient("change", "op-challenge-kdf-"+k.name, k.kind, "Of the current kdf in OpChallenge: "+k.about, k.expect, set("OpChallenge", 53, k.kdf)))
		} else {
			cases = append(cases, atClient("change", "op-challenge-new-kdf-"+k.name, k.kind, "Of the new kdf in OpChallenge: "+k.about, k.expect, set("OpChallenge", 63, k.kdf)))
		}
	}
	for _, base := range []string{"change", "delete", "logout-all"} {
		cases = append(cases, atClient(base, "op-challenge-salt", "salt-changed", "The salt in OpChallenge is not the one that the account had last time.", "error downgrade",
			frameOf("OpChallenge", func(fr *frame) { fr.payload[37] ^= 1 })))
	}
	return cases
}

func goodbyeFaults() (cases []fault) {
	add := func(name, kind, about, expect string, do change) {
		cases = append(cases, atClient("wait", name, kind, about, expect, do))
	}
	add("goodbye-id", "id-zero", "Goodbye has an id other than 0.", protocol, set("Goodbye", 1, "00000001"))
	add("goodbye-code-0", "code-zero", "Goodbye has the code 0.", protocol, set("Goodbye", 5, "0000"))
	add("goodbye-short", "message-short", "Goodbye is a byte short.", protocol, shorter("Goodbye", 1))
	add("goodbye-trailing", "trailing-bytes", "A zero byte is left over behind Goodbye.", protocol, longer("Goodbye", "00"))
	add("goodbye-record-tag", "record-tag", "The last bit of the record's tag is another one.", protocol, edits("Goodbye", "xor 24 01"))
	add("no-goodbye", "connection-cut", "The connection ends without Goodbye.", "error connection", func(f *transcript) { f.frames = f.frames[:f.find("Goodbye")] })
	for _, m := range []*frame{
		plain(wire.TypeDone, 1), message(&wire.Account{ID: 1, Name: []byte(alice)}), message(&wire.Listing{ID: 1}), message(&wire.SessionList{ID: 1}),
		message(&wire.Refused{ID: 1, Denied: wire.Denied{Code: wire.CodeInternal}}), message(&wire.PasswordChanged{ID: 1, Token: []byte("x")}), message(welcome()), message(challenge()),
		message(&wire.Denied{Code: wire.CodeDenied}), message(serverHello()), message(wire.Registered{}), message(registerParams(bob)), message(&wire.ResetDone{}),
	} {
		m.compute = nil
		add("unasked-"+kebab(m.name), "unsolicited-answer", m.name+" comes, which nobody asked for.", protocol, insert("Goodbye", m))
	}
	for _, b := range []string{"06", "14", "36", "ff"} {
		add("type-"+b, "type-unknown", "A message has the type 0x"+b+".", protocol, insert("Goodbye", tx("type 0x"+b, mustHex(b+"00000001"))))
	}
	add("goodbye-then-more", "after-the-end", "A record stands behind Goodbye: it is not looked at.", "goodbye shutting-down", appended(plain(wire.TypeDone, 1)))
	return cases
}

func changedFaults() (cases []fault) {
	say := func(name, kind, about string, do func(m *wire.PasswordChanged)) {
		m := &wire.PasswordChanged{SessionID: secret16("next session"), Expires: expires, Token: []byte("the.next.token"), ResumeKey: secret("next resume key")}
		do(m)
		cases = append(cases, atClient("change", "password-changed-"+name, kind, about, unknown, keepComputing("PasswordChanged", m.AppendTo(nil))))
	}
	say("no-token", "token-missing", "There is no token in PasswordChanged.", func(m *wire.PasswordChanged) { m.Token = nil })
	say("token-801", "token-length", "The token in PasswordChanged has 801 bytes.", func(m *wire.PasswordChanged) { m.Token = bytes.Repeat([]byte{'a'}, 801) })
	for _, c := range []struct {
		name, kind, about string
		do                change
	}{
		{"resume-key-31", "length-lies", "The length of the resume key is 31.", set("PasswordChanged", 45, "1f")},
		{"trailing", "trailing-bytes", "A zero byte is left over behind PasswordChanged.", longer("PasswordChanged", "00")},
		{"short", "message-short", "PasswordChanged is a byte short.", shorter("PasswordChanged", 1)},
	} {
		cases = append(cases, atClient("change", "password-changed-"+c.name, c.kind, c.about, unknown, c.do))
	}
	for base, expect := range map[string]string{"logout": protocol, "delete": unknown, "logout-all": unknown} {
		cases = append(cases,
			atClient(base, "done-trailing", "trailing-bytes", "A zero byte is left over behind Done.", expect, longer("Done", "00")),
			atClient(base, "done-short", "message-short", "Done is a byte short.", expect, shorter("Done", 1)))
	}
	return cases
}
