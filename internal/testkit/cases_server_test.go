package testkit

import (
	"bytes"
	"crypto/ed25519"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"

	"github.com/authsrv/authsrv/noiseconn"
	"github.com/authsrv/authsrv/token"
	"github.com/authsrv/authsrv/wire"
)

const (
	m3     = "M3 AuthStart"
	closes = "closed"
)

// server makes the name and base of a case.
func atServer(base, name, kind, about, expect string, do change) fault {
	return fault{name: "server-" + base + "-" + name, kind: kind, about: about, base: "server-" + base, do: do, expect: expect}
}

func serverFaults() (cases []fault) {
	for _, list := range [][]fault{
		prefaceFaults(), serverHandshakeFaults(), authStartFaults(), loginFaults(), registerFaults(), codeFaults(), checkedFaults(),
		sessionFaults(), requestFaults(), operationFaults(), limitFaults(), goodSurprises(),
	} {
		cases = append(cases, list...)
	}
	return cases
}

func prefaceFaults() (cases []fault) {
	for _, c := range []struct{ name, kind, bytes, about, expect string }{
		{"magic", "preface-magic", "6175746901010000", "The magic of the preface ends in another letter.", closes},
		{"magic-tls", "preface-magic", "1603010200010001", "The client speaks TLS.", closes},
		{"version-2", "preface-version", "6175746802010000", "The client asks for version 2.", "refusal version"},
		{"version-0", "preface-version", "6175746800010000", "The client asks for version 0.", "refusal version"},
		{"suite-2", "preface-suite", "6175746801020000", "The client asks for the suite that is reserved.", "refusal version"},
		{"suite-0", "preface-suite", "6175746801000000", "The client asks for suite 0.", "refusal version"},
		{"flag-0", "preface-flags", "6175746801010001", "The lowest flag is set.", "refusal version"},
		{"flag-15", "preface-flags", "6175746801018000", "The highest flag is set.", "refusal version"},
	} {
		cases = append(cases, atServer("login", "preface-"+c.name, c.kind, c.about, c.expect, payload("preface", mustHex(c.bytes))))
	}
	return append(cases,
		atServer("login", "preface-half", "frame-truncated", "Half of the preface is sent, and no more.", closes, late(payload("preface", prefaceBytes[:4]))),
	)
}

func serverHandshakeFaults() (cases []fault) {
	for _, p := range lowOrder {
		cases = append(cases,
			atServer("login", "m1-ephemeral-"+p.name, "low-order-ephemeral", "The ephemeral key in M1 is a point of low order: its products are zeros.", closes,
				head("M1", func(f *transcript) { f.set("client-ephemeral-sent", p.u) })),
			atServer("login", "m3-static-"+p.name, "low-order-static", "The client static is a point of low order: its product is zeros, with which M3 is encrypted rightly.", closes,
				head(m3, func(f *transcript) { f.set("client-static-sent", p.u) })))
	}
	return append(cases,
		atServer("login", "m1-empty", "frame-empty", "M1's frame has the length 0.", closes, insert("M1", raw("0000"))),
		atServer("login", "m1-short", "handshake-size", "M1 is a byte short, and its frame's length says so.", closes, edits("M1", "set 0 001f", "cut 33")),
		atServer("login", "m1-long", "handshake-size", "M1 has a payload of one byte.", closes, payload("M1", []byte{0})),
		atServer("login", "m1-over-cap", "frame-over-cap", "M1's frame says that it has 513 bytes.", closes, insert("M1", raw("0201"))),
		atServer("login", "m1-truncated", "frame-truncated", "M1 ends before its length, and nothing follows.", closes, late(edits("M1", "cut 20"))),
		atServer("login", "m3-tag-of-key", "handshake-tag", "A bit of the encrypted client static is another one.", closes, edits(m3, "xor 2 01")),
		atServer("login", "m3-tag-of-payload", "handshake-tag", "The last bit of M3's tag is another one.", closes, edits(m3, "xor 1089 01")),
		atServer("login", "m3-over-cap", "frame-over-cap", "M3's frame says that it has 1,105 bytes.", closes, insert(m3, raw("0451"))),
		atServer("login", "m3-empty", "frame-empty", "M3's frame has the length 0.", closes, insert(m3, raw("0000"))),
		atServer("login", "m3-short", "handshake-size", "M3 has no room for its tags.", closes, insert(m3, raw("0010 00*16"))),
		atServer("login", "m3-truncated", "frame-truncated", "M3 ends before its length, and nothing follows.", closes, late(edits(m3, "cut 500"))),
		atServer("login", "m3-of-another-handshake", "replayed-handshake", "M3 is one that was made for another ephemeral key of the server.", closes,
			insert(m3, raw("0440 "+otherM3()))),
		atServer("login", "m3-size", "message-size", "AuthStart in M3 is a byte short of its size.", closes, shorter(m3, 1)),
		atServer("login", "m3-longer", "message-size", "AuthStart in M3 is a byte longer than its size.", closes, longer(m3, "00")),
		atServer("login", "m3-payload-empty", "message-size", "M3 has no payload.", closes, payload(m3, []byte{})),
		atServer("login", "m3-is-proof", "wrong-state", "The payload of M3 is a Proof.", closes, payload(m3, (&wire.Proof{}).AppendTo(nil))),
		atServer("login", "m3-is-who-am-i", "wrong-state", "The payload of M3 is a WhoAmI.", closes, payload(m3, wire.Plain{Type: wire.TypeWhoAmI, ID: 1}.AppendTo(nil))),
	)
}

// otherM3 is an M3 of the same client for other keys of the server.
func otherM3() string {
	pairOf := func(name string) pair {
		s := secret(name)
		p, err := newPair(s[:], nil)
		if err != nil {
			panic(err)
		}
		return p
	}
	static := pair{}
	var err error
	if static, err = newPair(deviceKey[:], nil); err != nil {
		panic(err)
	}
	c := newShake(prefaceBytes, true, pairOf("client ephemeral"), static)
	s := newShake(prefaceBytes, false, pairOf("another server ephemeral"), pairOf("server-static"))
	if err := s.readM1(c.writeM1(nil)); err != nil {
		panic(err)
	}
	if _, err := c.readM2(s.writeM2(serverHello().AppendTo(nil))); err != nil {
		panic(err)
	}
	return hex.EncodeToString(c.writeM3(startLogin(alice).AppendTo(nil)))
}

// authStartFaults are in M3; the last ones are in a record.
func authStartFaults() (cases []fault) {
	start := func(base, name, kind, about string, m *wire.AuthStart) {
		cases = append(cases, atServer(base, "start-"+name, kind, about, closes, payload(m3, m.AppendTo(nil))))
	}
	with := func(m *wire.AuthStart, do func(m *wire.AuthStart)) *wire.AuthStart {
		do(m)
		return m
	}
	for _, p := range []wire.Purpose{0, 4, 6, 255} {
		start("login", fmt.Sprintf("purpose-%d", p), "purpose-unknown", fmt.Sprintf("AuthStart has the purpose %d.", p),
			with(startLogin(alice), func(m *wire.AuthStart) { m.Purpose = p }))
	}
	for _, c := range []struct {
		base    string
		make    func() *wire.AuthStart
		methods []wire.Method
	}{
		{"login", func() *wire.AuthStart { return startLogin(alice) }, []wire.Method{0, 2, 3, 4, 255}},
		{"register", func() *wire.AuthStart { return startRegister(bob) }, []wire.Method{0, 2, 4}},
		{"reset", func() *wire.AuthStart { return startReset(alice) }, []wire.Method{0, 1, 3}},
	} {
		for _, method := range c.methods {
			offered := []byte{byte(method)}
			if method == 0 {
				offered = []byte{1}
			}
			start(c.base, fmt.Sprintf("method-%d", method), "method-for-purpose",
				fmt.Sprintf("AuthStart has the method %d, which is not one of its purpose; it is offered.", method),
				with(c.make(), func(m *wire.AuthStart) { m.Method, m.Offered = method, offered }))
		}
	}
	start("session", "method-1", "method-for-purpose", "AuthStart of a session has a method.",
		with(startSession(goodToken()), func(m *wire.AuthStart) { m.Method = 1 }))
	for _, c := range []struct {
		name, about string
		offered     []byte
	}{
		{"empty", "nothing is offered", nil},
		{"without-method", "the method is not among those offered", []byte{3}},
		{"descending", "the methods offered are not ascending", []byte{3, 1}},
		{"twice", "a method is offered twice", []byte{1, 1}},
		{"zero", "method 0 is offered", []byte{0, 1}},
		{"nine", "nine methods are offered", []byte{1, 2, 3, 4, 5, 6, 7, 8, 9}},
	} {
		for base, make := range map[string]func() *wire.AuthStart{
			"login": func() *wire.AuthStart { return startLogin(alice) }, "register": func() *wire.AuthStart { return startRegister(bob) },
		} {
			start(base, "offered-"+c.name, "offered-methods", "In AuthStart, "+c.about+".", with(make(), func(m *wire.AuthStart) { m.Offered = c.offered }))
		}
	}
	start("session", "offered", "offered-methods", "AuthStart of a session offers a method.",
		with(startSession(goodToken()), func(m *wire.AuthStart) { m.Offered = []byte{1} }))
	for base, m := range map[string]*wire.AuthStart{
		"register": startRegister(bob), "checked": startChecked(bob), "reset": startReset(alice), "session": startSession(goodToken()),
	} {
		start(base, "lifetime", "lifetime-for-purpose", "AuthStart asks for a lifetime, which is for a login only.", with(m, func(m *wire.AuthStart) { m.Lifetime = 1 }))
	}
	for base, make := range map[string]func() *wire.AuthStart{
		"login": func() *wire.AuthStart { return startLogin(alice) }, "register": func() *wire.AuthStart { return startRegister(bob) },
		"reset": func() *wire.AuthStart { return startReset(alice) }, "checked": func() *wire.AuthStart { return startChecked(bob) },
	} {
		start(base, "name-empty", "name-length", "AuthStart has no name.", with(make(), func(m *wire.AuthStart) { m.Name = nil }))
		start(base, "name-65", "name-length", "AuthStart has a name of 65 bytes.", with(make(), func(m *wire.AuthStart) { m.Name = bytes.Repeat([]byte{'a'}, 65) }))
	}
	start("session", "name", "name-length", "AuthStart of a session has a name.", with(startSession(goodToken()), func(m *wire.AuthStart) { m.Name = []byte(alice) }))
	for _, c := range []struct {
		base, name, about string
		m                 *wire.AuthStart
		token             []byte
	}{
		{"login", "token", "AuthStart of a login has a token.", startLogin(alice), []byte("x")},
		{"login", "token-16", "AuthStart of a login has the id of a code.", startLogin(alice), codeID[:]},
		{"register", "token-15", "The id of an invite has 15 bytes.", startInvited(bob), codeID[:15]},
		{"register", "token-17", "The id of an invite has 17 bytes.", startInvited(bob), append(codeID[:], 0)},
		{"checked", "token-16", "AuthStart of a checked registration has the id of an invite.", startChecked(bob), codeID[:]},
		{"reset", "token-empty", "AuthStart of a reset has no id of a code.", startReset(alice), nil},
		{"reset", "token-15", "The id of a reset has 15 bytes.", startReset(alice), codeID[:15]},
		{"reset", "token-17", "The id of a reset has 17 bytes.", startReset(alice), append(codeID[:], 0)},
		{"session", "token-empty", "AuthStart of a session has no token.", startSession(""), nil},
		{"session", "token-801", "AuthStart of a session has a token of 801 bytes.", startSession(""), bytes.Repeat([]byte{'a'}, 801)},
	} {
		start(c.base, c.name, "token-for-purpose", c.about, with(c.m, func(m *wire.AuthStart) { m.Token = c.token }))
	}
	for _, base := range []string{"login", "register", "checked", "reset", "session"} {
		cases = append(cases, atServer(base, "start-padding-last", "padding-not-zero", "The last byte of AuthStart is not zero.", closes, set(m3, 1023, "01")))
	}
	login := startLogin(alice).AppendTo(nil)
	used := len(bytes.TrimRight(login, "\x00")) + 2 // with the length of the token
	return append(cases,
		atServer("login", "start-padding-first", "padding-not-zero", "The first byte of AuthStart's padding is not zero.", closes, set(m3, used, "01")),
		atServer("login", "start-offered-lies", "length-lies", "The length of the methods offered is 255.", closes, set(m3, 3, "ff")),
		atServer("login", "start-name-lies", "length-lies", "The length of the name says more than AuthStart has room for.", closes, set(m3, 9, "ff")),
		atServer("session", "start-token-lies", "length-lies", "The length of the token says more than AuthStart has.", closes, set(m3, 41, "ffff")),
	)
}

func loginFaults() []fault {
	cases := transcriptFaults("server-login", "Proof", "proof", "denied denied", "server-nonce salt kdf", "1 sign alice client-proof %")
	for _, c := range []struct{ name, kind, about, compute string }{
		{"other-key", "wrong-key", "The proof is made with the key of another password.", "1 sign wrong client-proof"},
		{"label-new-key", "label", "The proof is made under the label of a new-key proof.", "1 sign alice new-key-proof"},
		{"label-code", "label", "The proof is made under the label of a code proof.", "1 sign alice code-proof"},
		{"h-of-zeros", "transcript-field", "The proof does not speak for the connection: h is zeros in its transcript.", "1 sign alice client-proof h=" + hex.EncodeToString(make([]byte, 32))},
	} {
		cases = append(cases, atServer("login", "proof-"+c.name, c.kind, c.about, "denied denied", func(f *transcript) {
			if c.name == "other-key" {
				f.addKey("wrong", keyOf(alice, nextWord))
			}
			computes("Proof", c.compute)(f)
		}))
	}
	start := func(name string) change { return payload(m3, startLogin(name).AppendTo(nil)) }
	whole := func(c change) change { // then the base goes on
		return func(f *transcript) {
			rest := f.frames
			c(f)
			f.frames = append(f.frames, rest[len(f.frames):]...)
			f.until(f.find("Proof"))
		}
	}
	for i, name := range []string{"nobody", "Alice", "-x", "a b", "aliç", "\xff\xfe", "ａｌｉｃｅ"} {
		kind := "name-unknown"
		if i > 0 {
			kind = "name-rules"
		}
		cases = append(cases, atServer("login", fmt.Sprintf("name-%d", i), kind,
			fmt.Sprintf("A login as %q, which is no account's name: nothing tells it from a wrong password.", name), "denied denied", whole(start(name))))
	}
	return append(cases,
		atServer("login", "proof-zeros", "signature-invalid", "The proof is zeros.", "denied denied", computes("Proof")),
		atServer("login", "proof-bit-of-r", "signature-invalid", "A bit of the proof's first half is another one.", "denied denied", also("Proof", "1 xor 01")),
		atServer("login", "proof-bit-of-s", "signature-invalid", "A bit of the proof's second half is another one.", "denied denied", also("Proof", "33 xor 01")),
		atServer("login", "proof-s-plus-order", "signature-malleable", "S of the proof is S + L, which is the same number modulo L.", "denied denied", also("Proof", "33 add-order")),
		atServer("login", "proof-late", "nonce-late", "The proof comes 21 s after its challenge.", "denied denied", pauseBefore("Proof", 21)),
		atServer("login", "proof-size", "message-size", "Proof is a byte short of its size.", closes, shorter("Proof", 1)),
		atServer("login", "proof-longer", "message-size", "Proof is a byte longer than its size.", closes, longer("Proof", "00")),
		atServer("login", "proof-not-padded", "message-size", "Proof is not padded.", closes, shorter("Proof", 512-65)),
		atServer("login", "proof-padding", "padding-not-zero", "The first byte of Proof's padding is not zero.", closes, set("Proof", 65, "01")),
		atServer("login", "proof-padding-last", "padding-not-zero", "The last byte of Proof is not zero.", closes, set("Proof", 511, "80")),
		atServer("login", "proof-record-tag", "record-tag", "The last bit of the record's tag is another one.", closes, edits("Proof", "xor 529 01")),
		atServer("login", "proof-record-cut", "frame-truncated", "The record ends before its length, and nothing follows.", closes, late(edits("Proof", "cut 300"))),
		atServer("login", "proof-record-no-tag", "record-tag", "The record is shorter than a tag.", closes, insert("Proof", raw("000f 00*15"))),
		atServer("login", "proof-record-over-cap", "frame-over-cap", "The record's frame says that it has 1,057 bytes, one more than before login.", closes, insert("Proof", raw("0421"))),
		atServer("login", "proof-record-empty-frame", "frame-empty", "The frame has the length 0.", closes, insert("Proof", raw("0000"))),
		atServer("login", "proof-record-empty", "record-empty", "The record has no plaintext.", closes, payload("Proof", []byte{})),
		atServer("login", "proof-in-clear", "record-tag", "The record is not encrypted.", closes, insert("Proof", raw("0210 04 00*527"))),
		atServer("login", "proof-before-challenge", "wrong-state", "A second AuthStart comes in the place of the proof.", closes, insert("Proof", message(startLogin(alice)))),
		atServer("login", "proof-is-register-finish", "wrong-state", "RegisterFinish comes in the place of the proof.", closes, insert("Proof", message(&wire.RegisterFinish{Record: keyOf(bob, password).record()}))),
		atServer("login", "proof-is-reset-finish", "wrong-state", "ResetFinish comes in the place of the proof.", closes, insert("Proof", message(&wire.ResetFinish{Record: keyOf(bob, password).record()}))),
		atServer("login", "proof-is-who-am-i", "wrong-state", "A request comes in the place of the proof.", closes, insert("Proof", plain(wire.TypeWhoAmI, 1))),
		atServer("login", "proof-is-bye", "wrong-state", "Bye comes in the place of the proof.", closes, insert("Proof", plain(wire.TypeBye, 0))),
		atServer("login", "proof-is-challenge", "wrong-way", "The client sends a Challenge.", closes, insert("Proof", message(challenge()))),
		atServer("login", "proof-is-welcome", "wrong-way", "The client sends a Welcome.", closes, insert("Proof", message(welcome()))),
		atServer("login", "proof-is-denied", "wrong-way", "The client sends a Denied.", closes, insert("Proof", message(&wire.Denied{Code: 1}))),
		atServer("login", "proof-is-server-hello", "wrong-way", "The client sends a ServerHello.", closes, insert("Proof", message(serverHello()))),
		atServer("login", "proof-is-continue", "type-unknown", "The client sends the type that is reserved, 0x06.", closes, set("Proof", 0, "06")),
		atServer("login", "proof-is-type-0", "type-unknown", "The client sends the type 0x00.", closes, set("Proof", 0, "00")),
		atServer("login", "second-proof", "wrong-state", "A proof is sent again, after the server has let the client in.", closes,
			func(f *transcript) { f.frames = append(f.frames[:f.find("Bye")], proofFrame()) }),
		atServer("login", "second-proof-after-denial", "wrong-state", "After a wrong proof, the right one for the same challenge.", closes, func(f *transcript) {
			i := f.find("Proof")
			wrong := f.frames[i].clone()
			wrong.compute = append(wrong.compute, "1 xor 01")
			f.frames = append(f.frames[:i:i], wrong, rx("Denied"), f.frames[i])
		}),
	)
}

// recordFaults are of a message with a record, at offset 1, and a new-key proof at 75.
func recordFaults(base, frameName, name, key, denied string) (cases []fault) {
	rest := func(f *transcript) []string { return f.frames[f.find(frameName)].compute[1:] }
	sign := func(line string) change {
		return func(f *transcript) { computes(frameName, append([]string{line}, rest(f)...)...)(f) }
	}
	kdfOf := func(text string) change {
		return frameOf(frameName, func(fr *frame) { copy(fr.payload[1:], mustHex(text)) })
	}
	cases = append(cases,
		atServer(base, "kdf-other", "kdf-other", "The record has a kdf other than the one that was asked for; it is signed.", denied, kdfOf("010000000300004c0001")),
		atServer(base, "kdf-floor", "kdf-bounds", "The record has a kdf below the floor; it is signed.", denied, kdfOf("010000000100000008 01")),
		atServer(base, "kdf-algorithm", "kdf-bounds", "The record has the algorithm 2; it is signed.", denied, kdfOf("02")),
		atServer(base, "new-key-proof-zeros", "signature-invalid", "The new-key proof is zeros.", denied, sign("75 xor 00")),
		atServer(base, "new-key-proof-by-other-key", "wrong-key", "The new-key proof is made with another key than that of the record's A.", denied, sign("75 sign alice new-key-proof")),
		atServer(base, "new-key-proof-label", "label", "The new-key proof is made under the label of a proof.", denied, sign("75 sign "+key+" client-proof")),
		atServer(base, "new-key-proof-s-plus-order", "signature-malleable", "S of the new-key proof is S + L.", denied,
			func(f *transcript) {
				computes(frameName, append([]string{"75 sign " + key + " new-key-proof", "107 add-order"}, rest(f)...)...)(f)
			}),
		atServer(base, "new-key-proof-late", "nonce-late", "The record comes 21 s after what it was made with.", lateCode(base, denied), pauseBefore(frameName, 21)),
		atServer(base, "finish-padding", "padding-not-zero", "The last byte of the message is not zero.", closes, set(frameName, 511, "01")),
		atServer(base, "finish-size", "message-size", "The message is a byte short of its size.", closes, shorter(frameName, 1)),
		atServer(base, "finish-record-tag", "record-tag", "The last bit of the record's tag is another one.", closes, edits(frameName, "xor 529 80")),
		atServer(base, "finish-is-proof", "wrong-state", "A Proof comes in the place of the record.", closes, insert(frameName, proofFrame())),
		atServer(base, "finish-is-start", "wrong-state", "A second AuthStart comes in the place of the record.", closes, insert(frameName, message(startRegister(name)))),
		atServer(base, "finish-is-register-password", "wrong-state", "A password comes in the place of the record.", closes,
			insert(frameName, raw("0810 00*2064"))),
	)
	for _, a := range smallOrder {
		cases = append(cases, atServer(base, "a-"+a.name, a.kind,
			"A is not one that can be enrolled: under it, the new-key proof is right without a private key.", denied, func(f *transcript) {
				lines := append([]string{"75 forge new-key-proof"}, rest(f)...)
				frameOf(frameName, func(fr *frame) {
					copy(fr.payload[11:], mustHex(a.a))
					fr.compute = lines
				})(f)
			}))
	}
	return append(cases,
		atServer(base, "a-no-point", "public-key-not-a-point", "A is no point of the curve.", denied, frameOf(frameName, func(fr *frame) { copy(fr.payload[11:], mustHex("02 00*31")) })))
}

// lateCode is what a record that comes too late is told: where a code is to be proved, that it was refused.
func lateCode(base, denied string) string {
	if base == "invited" || base == "reset" {
		return "denied code-refused"
	}
	return denied
}

func registerFaults() []fault {
	const refused = "denied record-refused"
	cases := transcriptFaults("server-register", "RegisterFinish", "new-key proof", refused, "server-nonce salt kdf op-digest", "75 sign bob new-key-proof %")
	cases = append(cases, recordFaults("register", "RegisterFinish", bob, bob, refused)...)
	for i, c := range []struct{ name, rule string }{
		{"Bob", "name-characters"}, {".bob", "name-start"}, {"bob smith", "name-characters"}, {"böb", "name-characters"}, {"ｂｏｂ", "name-characters"},
		{"\xff\xfe", "name-characters"}, {"bob\x00", "name-characters"}, {"bob\u200b", "name-characters"},
	} {
		cases = append(cases, atServer("register", fmt.Sprintf("name-%d", i), "name-rules", fmt.Sprintf("The name to be registered is %q.", c.name),
			"denied name-invalid "+c.rule, payload(m3, startRegister(c.name).AppendTo(nil))))
	}
	taken := func(f *transcript) {
		payload(m3, startRegister(alice).AppendTo(nil))(f)
		f.frames = append(f.frames, rx("RegisterParams"), finishFrame(alice))
	}
	for _, c := range []struct{ base, mode, expect, about string }{
		{"register", "closed", "denied registration-closed", "The server takes no registrations."},
		{"register", "checked", "denied password-needed", "The server judges passwords itself, and is not to be sent one."},
		{"register", "invited", "denied invite-needed", "The server asks for an invite, and there is none."},
		{"checked", "open", "denied registration-closed", "A server that does not judge passwords is to be sent one."},
		{"invited", "closed", "denied registration-closed", "The server takes no registrations, with an invite neither."},
	} {
		cases = append(cases, atServer(c.base, "mode-"+c.mode, "registration-mode", c.about, c.expect, head(m3, func(f *transcript) { f.set("registration", c.mode) })))
	}
	return append(cases,
		atServer("register", "name-taken", "name-taken", "The name belongs to an account.", "denied name-taken", taken),
		atServer("register", "code-proof-unasked", "code-proof-unasked", "There is a code proof, and AuthStart had no invite.", "denied code-refused", func(f *transcript) {
			f.addKey("code", codeKey("invite"))
			m := wire.RegisterFinish{Record: keyOf(bob, password).record(), CodeProof: make([]byte, 64)}
			frameOf("RegisterFinish", func(fr *frame) {
				fr.payload, fr.compute = m.AppendTo(nil), []string{"75 sign bob new-key-proof", "140 sign code code-proof"}
			})(f)
		}),
		atServer("register", "code-proof-63", "length-lies", "The length of the code proof is 63.", closes, set("RegisterFinish", 139, "3f")),
		atServer("register", "code-proof-1", "length-lies", "The length of the code proof is 1.", closes, set("RegisterFinish", 139, "01")),
		atServer("register", "code-proof-65", "length-lies", "The length of the code proof is 65.", closes, set("RegisterFinish", 139, "41")),
		atServer("register", "second-finish", "wrong-state", "RegisterFinish is sent again, after the account was made.", closes, appended(finishFrame(bob))),
	)
}

func codeFaults() (cases []fault) {
	const refused = "denied code-refused"
	invitedFields := "server-nonce salt kdf op-digest"
	cases = append(cases, transcriptFaults("server-invited", "RegisterFinish", "code proof", refused, invitedFields, "75 sign bob new-key-proof", "140 sign code code-proof %")...)
	cases = append(cases, transcriptFaults("server-reset", "ResetFinish", "code proof", refused, invitedFields, "75 sign next new-key-proof", "139 sign code code-proof %")...)
	cases = append(cases, recordFaults("reset", "ResetFinish", alice, "next", "denied record-refused")...)
	cases = append(cases, recordFaults("invited", "RegisterFinish", bob, bob, "denied record-refused")...)
	for _, c := range []struct {
		base, frame string
		at          string
		newKey      string
	}{{"invited", "RegisterFinish", "140", bob}, {"reset", "ResetFinish", "139", "next"}} {
		first := "75 sign " + c.newKey + " new-key-proof"
		s, err := strconv.Atoi(c.at)
		if err != nil {
			panic(err)
		}
		cases = append(cases,
			atServer(c.base, "code-proof-zeros", "signature-invalid", "The code proof is zeros.", refused, computes(c.frame, first)),
			atServer(c.base, "code-proof-by-other-key", "wrong-key", "The code proof is made with the key of the account.", refused, computes(c.frame, first, c.at+" sign alice code-proof")),
			atServer(c.base, "code-proof-label", "label", "The code proof is made under the label of a proof.", refused, computes(c.frame, first, c.at+" sign code client-proof")),
			atServer(c.base, "code-proof-label-new-key", "label", "The code proof is made under the label of a new-key proof.", refused, computes(c.frame, first, c.at+" sign code new-key-proof")),
			atServer(c.base, "code-proof-s-plus-order", "signature-malleable", "S of the code proof is S + L.", refused,
				computes(c.frame, first, c.at+" sign code code-proof", strconv.Itoa(s+32)+" add-order")),
		)
		line := func(words ...string) change {
			return func(f *transcript) {
				f.head = without(f.head, "code")
				if words != nil {
					f.add("code", words...)
				}
				f.until(f.find(c.frame))
			}
		}
		kind, of, other := "invite", "-", "reset"
		if c.base == "reset" {
			kind, of, other = "reset", alice, "invite"
		}
		foreign := alice
		if other == "invite" {
			foreign = "-"
		}
		cases = append(cases,
			atServer(c.base, "code-unknown", "code-unknown", "The server knows no code of this id.", refused, line()),
			atServer(c.base, "code-expired", "code-expired", "The code has expired a second ago.", refused, line(codeLine(kind, of, kitTime-1)...)),
			atServer(c.base, "code-expired-now", "code-expired", "The code expires in this second.", refused, line(codeLine(kind, of, kitTime)...)),
			atServer(c.base, "code-of-other-kind", "code-foreign", "The code is for something else.", refused, line(codeLine(other, foreign, expires)...)),
			atServer(c.base, "code-used", "code-used", "The code was used on this connection before.", refused, func(f *transcript) {
				f.frames = append(f.frames, f.frames[f.find(m3)].clone(), rx("RegisterParams"), f.frames[f.find(c.frame)].clone())
				f.frames[len(f.frames)-3].name = "AuthStart"
				f.add("random", "server-nonce", hexOf(secret("second server nonce")))
				if c.base == "invited" {
					id := secret16("second account id")
					f.add("random", "account-id", hexOf(id))
				}
			}),
		)
	}
	return append(cases,
		atServer("invited", "code-proof-missing", "code-proof-missing", "AuthStart had an invite, and there is no code proof.", "denied record-refused",
			frameOf("RegisterFinish", func(fr *frame) {
				fr.payload = (&wire.RegisterFinish{Record: keyOf(bob, password).record()}).AppendTo(nil)
				fr.compute = fr.compute[:1]
			})),
		atServer("reset", "name-unknown", "name-unknown", "The reset is for a name without an account: nothing tells it from another code.", refused, func(f *transcript) {
			f.addKey("nobody", keyOf("nobody", nextWord))
			f.frames[f.find(m3)] = first(message(startReset("nobody")))
			computes("ResetFinish", "75 sign nobody new-key-proof", "139 sign code code-proof")(f)
			copy(f.frames[f.find("ResetFinish")].payload[1:], (&wire.ResetFinish{Record: keyOf("nobody", nextWord).record()}).AppendTo(nil)[1:75])
		}),
		atServer("reset", "name-invalid", "name-rules", "The reset is for a name that no account can have.", "denied name-invalid name-characters",
			payload(m3, startReset("Alice").AppendTo(nil))),
	)
}

func checkedFaults() (cases []fault) {
	say := func(name, kind, about, expect, password string) {
		cases = append(cases, atServer("checked", "password-"+name, kind, about, expect,
			payload("RegisterPassword", (&wire.RegisterPassword{Password: []byte(password)}).AppendTo(nil))))
	}
	for _, c := range []struct{ name, rule, about, password string }{
		{"short", "password-short", "The password has 7 bytes.", "x7#kQ2!"},
		{"control", "password-characters", "The password has a control character.", "correct horse\x07 battery staple"},
		{"not-utf8", "password-characters", "The password is not UTF-8.", "correct horse \xff\xfe battery staple"},
		{"surrogate", "password-characters", "The password has a surrogate, in bytes.", "correct horse \xed\xa0\x80 battery"},
		{"overlong", "password-characters", "The password has an overlong encoding of a letter.", "correct horse \xc1\x81 battery staple"},
		{"is-name", "password-is-name", "The password is the name.", "bobbobbobbob"},
		{"common", "password-common", "The password is in every list of common ones.", "password1"},
		{"weak", "password-weak", "The password is easy to guess.", "bob bob bob bob bob"},
	} {
		if c.name == "is-name" {
			cases = append(cases, atServer("checked", "password-is-name", "password-rules", c.about, "denied password-policy "+c.rule, func(f *transcript) {
				f.frames[f.find(m3)] = first(message(startChecked(c.password)))
				payload("RegisterPassword", (&wire.RegisterPassword{Password: []byte(c.password)}).AppendTo(nil))(f)
			}))
			continue
		}
		say(c.name, "password-rules", c.about, "denied password-policy "+c.rule, c.password)
	}
	say("empty", "length-lies", "The password has no bytes.", closes, "")
	say("1025", "length-lies", "The password has 1,025 bytes.", closes, strings.Repeat("x7#kQ", 205))
	return append(cases,
		atServer("checked", "password-lies", "length-lies", "The length of the password says more than the message has.", closes, set("RegisterPassword", 1, "ffff")),
		atServer("checked", "password-padding", "padding-not-zero", "The byte behind the password is not zero.", closes, set("RegisterPassword", 3+len(password), "01")),
		atServer("checked", "password-padding-last", "padding-not-zero", "The last byte of the message is not zero.", closes, set("RegisterPassword", 2047, "01")),
		atServer("checked", "password-size", "message-size", "The message is a byte short of its size.", closes, shorter("RegisterPassword", 1)),
		atServer("checked", "password-over-cap", "frame-over-cap", "The record's frame says that it has 2,113 bytes.", closes, insert("RegisterPassword", raw("0841"))),
		atServer("checked", "password-record-tag", "record-tag", "The first bit of the record is another one.", closes, edits("RegisterPassword", "xor 2 80")),
		atServer("checked", "is-register-finish", "wrong-state", "A record comes in the place of the password.", closes, insert("RegisterPassword", finishFrame(alice))),
		atServer("checked", "name-taken", "name-taken", "The name belongs to an account.", "denied name-taken", func(f *transcript) {
			f.frames[f.find(m3)] = first(message(startChecked(alice)))
			f.until(f.find("RegisterPassword"))
		}),
		atServer("checked", "name-invalid", "name-rules", "The name to be registered has a capital.", "denied name-invalid name-characters", payload(m3, startChecked("Bob").AppendTo(nil))),
	)
}

func sessionFaults() (cases []fault) {
	const malformed, revoked = "denied session-malformed", "denied session-revoked"
	tokenSeed := secret("token key")
	good := ed25519.NewKeyFromSeed(tokenSeed[:])
	header := `{"alg":"EdDSA","kid":"k1","typ":"session+jwt"}`
	issuer := "urn:authsrv:" + hexOf(realm)
	thumb := token.Thumbprint(noiseconn.StaticFromPrivate(deviceKey).Public)
	other := token.Thumbprint(noiseconn.StaticFromPrivate(secret("another device")).Public)
	values := map[string]string{
		"iss": issuer, "aud": issuer, "sub": hexOf(accountID), "sid": hexOf(sessionID), "jti": hexOf(jti),
		"iat": strconv.Itoa(setupTime), "exp": strconv.Itoa(expires), "jkt": thumb,
	}
	claims := func(changes ...string) string {
		v := make(map[string]string)
		for k, w := range values {
			v[k] = w
		}
		for i := 0; i < len(changes); i += 2 {
			v[changes[i]] = changes[i+1]
		}
		return fmt.Sprintf(`{"iss":"%s","aud":"%s","sub":"%s","sid":"%s","jti":"%s","iat":%s,"exp":%s,"cnf":{"jkt":"%s"}}`,
			v["iss"], v["aud"], v["sub"], v["sid"], v["jti"], v["iat"], v["exp"], v["jkt"])
	}
	text := goodToken()
	parts := strings.Split(text, ".")
	add := func(name, kind, about, expect, text string) {
		cases = append(cases, atServer("session", "token-"+name, kind, about, expect, payload(m3, startSession(text).AppendTo(nil))))
	}
	for _, c := range []struct{ name, kind, about, header string }{
		{"alg-none", "token-algorithm", `The token's alg is "none".`, `{"alg":"none","kid":"k1","typ":"session+jwt"}`},
		{"alg-hs256", "token-algorithm", `The token's alg is "HS256".`, `{"alg":"HS256","kid":"k1","typ":"session+jwt"}`},
		{"alg-ed25519", "token-algorithm", `The token's alg is "Ed25519", the other name of what signed it.`, `{"alg":"Ed25519","kid":"k1","typ":"session+jwt"}`},
		{"alg-case", "token-algorithm", `The token's alg is "EDDSA".`, `{"alg":"EDDSA","kid":"k1","typ":"session+jwt"}`},
		{"alg-missing", "token-algorithm", "The token has no alg.", `{"kid":"k1","typ":"session+jwt"}`},
		{"typ-jwt", "token-header", `The token's typ is "JWT".`, `{"alg":"EdDSA","kid":"k1","typ":"JWT"}`},
		{"typ-missing", "token-header", "The token has no typ.", `{"alg":"EdDSA","kid":"k1"}`},
		{"kid-unknown", "token-key", "The token's kid is no key of the server's.", `{"alg":"EdDSA","kid":"k2","typ":"session+jwt"}`},
		{"kid-missing", "token-key", "The token has no kid.", `{"alg":"EdDSA","typ":"session+jwt"}`},
		{"jwk", "token-header", "The token brings a key of its own.", `{"alg":"EdDSA","jwk":"x","kid":"k1","typ":"session+jwt"}`},
		{"jku", "token-header", "The token says where its key is.", `{"alg":"EdDSA","jku":"https://evil.test/","kid":"k1","typ":"session+jwt"}`},
		{"crit", "token-header", "The token's header has crit.", `{"alg":"EdDSA","crit":["exp"],"kid":"k1","typ":"session+jwt"}`},
		{"member-twice", "token-header", "A member of the token's header is there twice.", `{"alg":"EdDSA","alg":"EdDSA","kid":"k1","typ":"session+jwt"}`},
		{"header-array", "token-header", "The token's header is an array.", `["EdDSA","k1","session+jwt"]`},
	} {
		by := good
		if c.name == "alg-none" {
			by = nil
		}
		add(c.name, c.kind, c.about+" The rest is right.", malformed, forgedToken(c.header, claims(), by))
	}
	for _, c := range []struct{ name, kind, about, expect, claims string }{
		{"iss-other", "token-claims", "The token's issuer is another realm.", malformed, claims("iss", "urn:authsrv:"+strings.Repeat("0", 32))},
		{"aud-other", "token-claims", "The token is for another realm.", malformed, claims("aud", "urn:authsrv:"+strings.Repeat("0", 32))},
		{"realm-in-capitals", "token-claims", "The realm in the token is in capitals.", malformed, claims("iss", "urn:authsrv:"+strings.ToUpper(hexOf(realm)))},
		{"cnf-other", "session-other-device", "The token is bound to another device's key.", malformed, claims("jkt", other)},
		{"cnf-short", "token-claims", "The thumbprint in the token is a character short.", malformed, claims("jkt", thumb[:42])},
		{"sub-other", "session-unknown", "The token is for another account.", revoked, claims("sub", hexOf(secret16("another account")))},
		{"sid-other", "session-unknown", "The token is for another session.", revoked, claims("sid", hexOf(secret16("another session")))},
		{"jti-other", "session-unknown", "The token is not the last one of its session.", revoked, claims("jti", hexOf(secret16("another jti")))},
		{"sid-short", "token-claims", "The session id in the token is two digits short.", malformed, claims("sid", hexOf(sessionID)[:30])},
		{"sid-in-capitals", "token-claims", "The session id in the token is in capitals.", malformed, claims("sid", strings.ToUpper(hexOf(sessionID)))},
		{"expired", "token-expired", "The token expired a second ago.", "denied session-expired", claims("exp", strconv.Itoa(kitTime-1))},
		{"expires-now", "token-expired", "The token expires in this second.", "denied session-expired", claims("exp", strconv.Itoa(kitTime))},
		{"expired-other-device", "session-other-device", "The token has expired, and is bound to another device's key: that it has expired is not told.", malformed,
			claims("exp", strconv.Itoa(kitTime-1), "jkt", other)},
		{"exp-before-iat", "token-claims", "The token expires before it was issued.", malformed, claims("exp", strconv.Itoa(setupTime-1))},
		{"exp-text", "token-claims", "The token's exp is text.", malformed, claims("exp", `"`+strconv.Itoa(expires)+`"`)},
		{"exp-fraction", "token-claims", "The token's exp has a fraction.", malformed, claims("exp", strconv.Itoa(expires)+".5")},
		{"claims-array", "token-claims", "The token's claims are an array.", malformed, "[" + claims() + "]"},
		{"claims-cut", "token-claims", "The token's claims are no JSON.", malformed, claims()[:60]},
	} {
		add(c.name, c.kind, c.about+" It is signed rightly.", c.expect, forgedToken(header, c.claims, good))
	}
	s := []byte(parts[2])
	signature := mustHex(hexOfBase64(parts[2]))
	if err := addOrder(signature[32:]); err != nil {
		panic(err)
	}
	add("other-key", "token-key", "The token is signed by another key under the right kid.", malformed, forgedToken(header, claims(), identityKey("another token key")))
	add("signature-bit", "token-signature", "A bit of the token's signature is another one.", malformed, parts[0]+"."+parts[1]+"."+flip(string(s), 10))
	add("signature-s-plus-order", "signature-malleable", "S of the token's signature is S + L.", malformed, parts[0]+"."+parts[1]+"."+base64Of(signature))
	add("signature-missing", "token-signature", "The token's signature is empty.", malformed, parts[0]+"."+parts[1]+".")
	add("claims-bit", "token-signature", "A bit of the token's claims is another one.", malformed, parts[0]+"."+flip(parts[1], 40)+"."+parts[2])
	add("two-parts", "token-encoding", "The token has two parts.", malformed, parts[0]+"."+parts[1])
	add("four-parts", "token-encoding", "The token has four parts.", malformed, text+".")
	add("padded", "token-encoding", "The token's signature is padded with =.", malformed, text+"==")
	add("line-end", "token-encoding", "There is a line end within the token.", malformed, parts[0]+".\n"+parts[1]+"."+parts[2])
	add("second-encoding", "token-encoding", "The last character of the signature has bits that are not zero behind the last byte.", malformed, secondEncoding(text))
	add("standard-base64", "token-encoding", "The token's last part has a character of the other base64 alphabet.", malformed, parts[0]+"."+parts[1]+".+"+parts[2][1:])
	add("garbage", "token-encoding", "The token is no token.", malformed, "x")
	headed := func(name, kind, about, expect string, do func(f *transcript)) {
		cases = append(cases, atServer("session", name, kind, about, expect, head(m3, do)))
	}
	headed("other-device", "session-other-device", "Another device presents the token: its static key is not the one in cnf.", malformed,
		func(f *transcript) { f.set("client-static", hexOf(secret("another device"))) })
	headed("ended", "session-revoked", "All sessions of the account were ended.", revoked, func(f *transcript) { f.add("ended", alice) })
	headed("disabled", "session-revoked", "The account is disabled.", revoked, func(f *transcript) { f.add("disabled", alice) })
	return cases
}

func requestFaults() (cases []fault) {
	ready := func(name, kind, about, expect string, do change) {
		cases = append(cases, atServer("session", name, kind, about, expect, do))
	}
	for _, c := range []struct {
		base, name string
		fr         string
	}{
		{"session", "who-am-i", "WhoAmI"}, {"session", "list", "List"}, {"session", "list-sessions", "ListSessions"},
		{"logout", "logout", "Logout"}, {"change", "op-start", "OpStart"}, {"change", "change-password", "ChangePassword"},
		{"delete", "delete-account", "DeleteAccount"}, {"revoke", "revoke-all", "RevokeAll"},
	} {
		cases = append(cases,
			atServer(c.base, c.name+"-id-0", "id-zero", "The request has the id 0, which is the server's own.", closes, set(c.fr, 1, "00000000")),
			atServer(c.base, c.name+"-trailing", "trailing-bytes", "A zero byte is left over behind the request.", closes, longer(c.fr, "00")),
			atServer(c.base, c.name+"-short", "message-short", "The request is a byte short.", closes, shorter(c.fr, 1)),
			atServer(c.base, c.name+"-type-only", "message-short", "The request is its type, and nothing else.", closes, payload(c.fr, []byte{byte(typeNamed(c.fr))})),
			atServer(c.base, c.name+"-record-tag", "record-tag", "The last bit of the record's tag is another one.", closes,
				frameOf(c.fr, func(fr *frame) { fr.edits = []string{fmt.Sprintf("xor %d 01", 2+len(fr.payload)+15)} })),
		)
	}
	cases = append(cases,
		atServer("session", "bye-id", "id-zero", "Bye has an id other than 0.", closes, set("Bye", 1, "00000001")),
		atServer("session", "bye-trailing", "trailing-bytes", "A zero byte is left over behind Bye.", closes, longer("Bye", "00")),
		atServer("session", "bye-short", "message-short", "Bye is a byte short.", closes, shorter("Bye", 1)),
	)
	for _, m := range []*frame{
		message(serverHello()), message(challenge()), message(welcome()), message(&wire.Denied{Code: 1}), message(registerParams(bob)), message(wire.Registered{}),
		message(&wire.ResetDone{}), message(wire.Goodbye{Code: wire.CodeBye}), message(&wire.Refused{ID: 9, Denied: wire.Denied{Code: 1}}), plain(wire.TypeDone, 9),
		message(&wire.Account{ID: 9, Name: []byte(alice)}), message(&wire.Listing{ID: 9}), message(&wire.SessionList{ID: 9}),
		message(&wire.OpChallenge{ID: 9, Policy: registerParams(bob).Policy}), message(&wire.PasswordChanged{ID: 9, Token: []byte("x")}),
	} {
		m.compute = nil
		ready("is-"+kebab(m.name), "wrong-way", "After login, the client sends what only a server sends: "+m.name+".", closes, insert("WhoAmI", m))
	}
	for _, m := range []*frame{
		message(startLogin(alice)), message(startSession(goodToken())), message(startRegister(bob)), message(startReset(alice)), message(&wire.Proof{}),
		message(&wire.RegisterFinish{Record: keyOf(bob, password).record()}), message(&wire.RegisterPassword{Password: []byte(password)}),
		message(&wire.ResetFinish{Record: keyOf(bob, password).record()}),
	} {
		name := kebab(m.name)
		if m.name == "AuthStart" {
			name += "-" + strconv.Itoa(int(m.payload[1]))
		}
		ready("late-"+name, "wrong-state", "After login, the client sends what is for before: "+m.name+".", closes, insert("WhoAmI", m))
	}
	for _, b := range []string{"00", "06", "0e", "14", "27", "36", "7f", "ff"} {
		ready("type-"+b, "type-unknown", "The client sends the type 0x"+b+".", closes, insert("WhoAmI", tx("type 0x"+b, mustHex(b+"00000001"))))
	}
	ready("record-empty", "record-empty", "The record has no plaintext.", closes, insert("WhoAmI", tx("empty", nil)))
	ready("record-over-cap", "frame-over-cap", "The record's frame says that it has 16,401 bytes.", closes, insert("WhoAmI", raw("4011")))
	ready("record-longest", "frame-over-cap", "The record's frame says that it has 65,535 bytes.", closes, insert("WhoAmI", raw("ffff")))
	ready("record-empty-frame", "frame-empty", "The frame has the length 0.", closes, insert("WhoAmI", raw("0000")))
	ready("record-no-tag", "record-tag", "The record is shorter than a tag.", closes, insert("WhoAmI", raw("0001 00")))
	ready("record-zeros", "record-tag", "The record is zeros.", closes, insert("WhoAmI", raw("0015 00*21")))
	return append(cases,
		atServer("session", "record-replayed", "record-replayed", "The record of the last request is sent again, byte for byte.", closes, func(f *transcript) {
			i := f.find("List")
			f.frames = append(f.frames[:i], &frame{kind: send, name: "again"})
		}),
		atServer("session", "record-skipped", "record-reordered", "A record is left out: the one that comes is the next but one.", closes, func(f *transcript) {
			f.frames[f.find("WhoAmI")].edits = []string{"cut 0"}
			i := f.find("WhoAmI")
			f.frames = append(f.frames[:i+1:i+1], f.frames[f.find("List")])
		}),
		atServer("logout", "then-request", "after-the-end", "A request stands behind Logout: it is dropped, and the connection ends as it would.", "accepted", func(f *transcript) {
			i := f.find("Logout")
			f.frames = append(f.frames[:i+1:i+1], plain(wire.TypeWhoAmI, 8))
		}),
	)
}

// typeNamed is the type of a message.
func typeNamed(name string) wire.Type {
	for t := range 256 {
		if wire.Type(t).String() == name {
			return wire.Type(t)
		}
	}
	panic("no message " + name)
}

// kebab is a name of a message as it stands in the name of a file.
func kebab(name string) string {
	var b strings.Builder
	for i, r := range name {
		if 'A' <= r && r <= 'Z' {
			if i > 0 {
				b.WriteByte('-')
			}
			r += 'a' - 'A'
		}
		b.WriteRune(r)
	}
	return b.String()
}

func operationFaults() (cases []fault) {
	const denied = "refused denied"
	opFields := "server-nonce salt kdf op-digest session-id account-id"
	cases = append(cases, transcriptFaults("server-change", "ChangePassword", "proof", denied, opFields,
		"79 sign next new-key-proof", "143 sign alice client-proof %")...)
	cases = append(cases, transcriptFaults("server-change", "ChangePassword", "new-key proof", "refused record-refused", opFields,
		"79 sign next new-key-proof %", "143 sign alice client-proof")...)
	cases = append(cases, transcriptFaults("server-delete", "DeleteAccount", "proof", denied, opFields, "5 sign alice client-proof %")...)
	cases = append(cases, transcriptFaults("server-revoke", "RevokeAll", "proof", denied, opFields, "5 sign alice client-proof %")...)
	for _, c := range []struct {
		base, frame, at string
		of              wire.Type
	}{
		{"change", "ChangePassword", "143", wire.TypeChangePassword}, {"delete", "DeleteAccount", "5", wire.TypeDeleteAccount}, {"revoke", "RevokeAll", "5", wire.TypeRevokeAll},
	} {
		first := []string{}
		if c.base == "change" {
			first = []string{"79 sign next new-key-proof"}
		}
		lines := func(l ...string) change { return computes(c.frame, append(first[:len(first):len(first)], l...)...) }
		s, err := strconv.Atoi(c.at)
		if err != nil {
			panic(err)
		}
		other := wire.TypeDeleteAccount
		if c.of == other {
			other = wire.TypeRevokeAll
		}
		cases = append(cases,
			atServer(c.base, "proof-zeros", "signature-invalid", "The proof is zeros.", denied, lines()),
			atServer(c.base, "proof-by-other-key", "wrong-key", "The proof is made with the key of another password.", denied, func(f *transcript) {
				f.addKey("wrong", keyOf(bob, password))
				lines(c.at + " sign wrong client-proof")(f)
			}),
			atServer(c.base, "proof-label", "label", "The proof is made under the label of a new-key proof.", denied, lines(c.at+" sign alice new-key-proof")),
			atServer(c.base, "proof-s-plus-order", "signature-malleable", "S of the proof is S + L.", denied, lines(c.at+" sign alice client-proof", strconv.Itoa(s+32)+" add-order")),
			atServer(c.base, "proof-late", "nonce-late", "The proof comes 21 s after its challenge.", denied, pauseBefore(c.frame, 21)),
			atServer(c.base, "proof-other-id", "operation-other", "The request has another id than its OpStart; what it signs has that, too.", denied, set(c.frame, 1, "00000006")),
			atServer(c.base, "without-nonce", "nonce-missing", "There was no OpStart.", denied, func(f *transcript) {
				i := f.find("OpStart")
				line := f.frames[f.find(c.frame)].clone()
				f.frames = append(f.frames[:i:i], line)
			}),
			atServer(c.base, "of-other-operation", "operation-other", "OpStart was for another operation.", denied, func(f *transcript) {
				f.frames[f.find("OpStart")] = opStart(other)
				f.until(f.find(c.frame))
			}),
			atServer(c.base, "nonce-burned", "nonce-used", "A second OpStart has burned the nonce that the proof is for.", denied, func(f *transcript) {
				i := f.find(c.frame)
				last := f.frames[i].clone()
				for j, l := range last.compute {
					last.compute[j] = l + " server-nonce=previous"
				}
				if c.base == "change" { // whose own signature is judged first, and is right
					last.compute[0] = "79 sign next new-key-proof"
				}
				f.frames = append(f.frames[:i:i], opStart(c.of), rx("OpChallenge"), last)
				f.add("random", "server-nonce", hexOf(secret("second server nonce")))
			}),
			atServer(c.base, "proof-again", "nonce-used", "A wrong proof has burned the nonce; the right one comes behind it.", denied, func(f *transcript) {
				i := f.find(c.frame)
				wrong := f.frames[i].clone()
				wrong.compute = append(wrong.compute, c.at+" xor 01")
				f.frames = append(f.frames[:i:i], wrong, rx("Refused"), f.frames[i])
			}),
		)
	}
	for _, b := range []string{"00", "20", "26", "31", "33", "36", "ff"} {
		cases = append(cases, atServer("change", "op-start-of-"+b, "operation-unknown", "OpStart is for the type 0x"+b+", which is no operation.", closes, set("OpStart", 5, b)))
	}
	record := func(name, kind, about, expect string, at int, text string, compute ...string) {
		cases = append(cases, atServer("change", name, kind, about, expect, frameOf("ChangePassword", func(fr *frame) {
			copy(fr.payload[at:], mustHex(text))
			if compute != nil {
				fr.compute = append(compute, "143 sign alice client-proof")
			}
		})))
	}
	const refused = "refused record-refused"
	record("kdf-other", "kdf-other", "The record has a kdf other than OpChallenge's new one; it is signed.", refused, 5, "010000000300004c0001")
	record("kdf-floor", "kdf-bounds", "The record has a kdf below the floor; it is signed.", refused, 5, "010000000100000008 01")
	record("new-key-proof-zeros", "signature-invalid", "The new-key proof is zeros.", refused, 5, "01", []string{"79 xor 00"}...)
	record("new-key-proof-by-old-key", "wrong-key", "The new-key proof is made with the current key.", refused, 5, "01", []string{"79 sign alice new-key-proof"}...)
	record("new-key-proof-label", "label", "The new-key proof is made under the label of a proof.", refused, 5, "01", []string{"79 sign next client-proof"}...)
	record("new-key-proof-s-plus-order", "signature-malleable", "S of the new-key proof is S + L.", refused, 5, "01", []string{"79 sign next new-key-proof", "111 add-order"}...)
	for _, a := range smallOrder {
		record("a-"+a.name, a.kind, "A is not one that can be enrolled: under it, the new-key proof is right without a private key.", refused, 15, a.a, "79 forge new-key-proof")
	}
	return append(cases, atServer("change", "proofs-swapped", "signature-invalid", "The two proofs stand in each other's place.", refused,
		computes("ChangePassword", "79 sign alice client-proof", "143 sign next new-key-proof")))
}

func limitFaults() (cases []fault) {
	wrong := func() *frame { return message(&wire.Proof{}, "1 sign alice client-proof h^01") }
	return []fault{
		atServer("login", "third-denial", "denied-limit", "Three wrong proofs: the third Denied is the connection's last answer.", "denied denied", func(f *transcript) {
			f.frames = f.frames[:f.find("Proof")]
			for i := range 3 {
				if i > 0 {
					f.frames = append(f.frames, message(startLogin(alice)), rx("Challenge"))
					f.add("random", "server-nonce", hexOf(secret(fmt.Sprint("server nonce ", i))))
				}
				if f.frames = append(f.frames, wrong()); i < 2 {
					f.frames = append(f.frames, rx("Denied"))
				}
			}
		}),
		atServer("register", "fourth-start", "start-limit", "A fourth AuthStart on one connection, after three registrations.", closes, func(f *transcript) {
			f.frames = f.frames[:f.find("RegisterFinish")+2]
			for i, name := range []string{"carol", "dave"} {
				f.addKey(name, keyOf(name, password))
				f.frames = append(f.frames, message(startRegister(name)), rx("RegisterParams"), finishFrame(name), rx("Registered"))
				id, nonce := secret16(name), secret(fmt.Sprint("server nonce ", i))
				f.add("random", "server-nonce", hexOf(nonce))
				f.add("random", "account-id", hexOf(id))
			}
			f.frames = append(f.frames, message(startRegister("erin")))
		}),
		atServer("checked", "too-many-bytes", "byte-limit", "The third password makes it more than 8,192 bytes before login.", closes, func(f *transcript) {
			f.frames[f.find(m3)] = first(message(startChecked(alice)))
			i := f.find("RegisterPassword")
			said := f.frames[i]
			f.frames = f.frames[:i]
			for n := range 3 {
				if n > 0 {
					f.frames = append(f.frames, message(startChecked(alice)), rx("RegisterParams"))
					f.add("random", "server-nonce", hexOf(secret(fmt.Sprint("server nonce ", n))))
				}
				if f.frames = append(f.frames, said.clone()); n < 2 {
					f.frames = append(f.frames, rx("Denied"))
				}
			}
		}),
		atServer("delete", "third-refusal", "refused-limit", "Three wrong proofs after login: behind the third Refused comes Goodbye.", "goodbye limit", func(f *transcript) {
			i := f.find("OpStart")
			f.frames = f.frames[:i]
			for n := range 3 {
				f.frames = append(f.frames, opStart(wire.TypeDeleteAccount), rx("OpChallenge"), message(&wire.ProvedOp{Type: wire.TypeDeleteAccount, ID: opID}))
				if n > 0 {
					f.add("random", "server-nonce", hexOf(secret(fmt.Sprint("server nonce ", n))))
				}
				if n < 2 {
					f.frames = append(f.frames, rx("Refused"))
				}
			}
		}),
	}
}

// goodSurprises are right, though a server that is too strict would not take them.
func goodSurprises() []fault {
	return []fault{
		atServer("login", "good-high-bit", "none", "The ephemeral key in M1 has its highest bit set, which X25519 ignores and the hash does not.", "accepted", func(f *transcript) {
			p, err := newPair(mustHex(f.get("client-ephemeral")), nil)
			if err != nil {
				panic(err)
			}
			p.sent[31] |= 0x80
			f.set("client-ephemeral-sent", hexOf(p.sent))
		}),
		atServer("login", "good-unknown-methods", "none", "The client offers methods that the server does not know.", "accepted", func(f *transcript) {
			m := startLogin(alice)
			m.Offered = []byte{1, 2, 77, 255}
			f.frames[f.find(m3)] = first(message(m))
		}),
		atServer("login", "good-lifetime", "none", "The client asks for a longer session than the server gives, which gives what it gives.", "accepted", func(f *transcript) {
			m := startLogin(alice)
			m.Lifetime = 1<<32 - 1
			f.frames[f.find(m3)] = first(message(m))
		}),
		atServer("login", "good-second-try", "none", "A right proof on a new challenge, after a wrong one.", "accepted", func(f *transcript) {
			i := f.find("Proof")
			wrong := f.frames[i].clone()
			wrong.compute = append(wrong.compute, "1 xor 01")
			f.frames = append(append(f.frames[:i:i], wrong, rx("Denied"), message(startLogin(alice)), rx("Challenge")), f.frames[i:]...)
			// In this order: the second nonce is drawn before the session's key.
			var resume []field
			for _, h := range f.head {
				if strings.HasPrefix(h.value, "resume-key ") {
					resume = append(resume, h)
				}
			}
			f.head = removeRandom(f.head, "resume-key ")
			f.add("random", "server-nonce", hexOf(secret("second server nonce")))
			f.head = append(f.head, resume...)
		}),
		atServer("session", "good-ids", "none", "Ids of requests are any: the highest, and one twice.", "accepted", func(f *transcript) {
			copy(f.frames[f.find("WhoAmI")].payload[1:], mustHex("ffffffff"))
			copy(f.frames[f.find("List")].payload[1:], mustHex("ffffffff"))
		}),
		atServer("session", "good-after", "none", "A page of sessions behind an id that is no session's.", "accepted", func(f *transcript) {
			copy(f.frames[f.find("ListSessions")].payload[5:], bytes.Repeat([]byte{0xff}, 16))
		}),
		atServer("register", "good-name-64", "none", "A name of 64 bytes, with each sign that a name may have.", "accepted", func(f *transcript) {
			name := "0a._+-" + strings.Repeat("z", 58)
			f.head = removeKey(f.head, bob)
			f.addKey(name, keyOf(name, password))
			f.frames[f.find(m3)] = first(message(startRegister(name)))
			f.frames[f.find("RegisterFinish")] = finishFrame(name)
		}),
	}
}

func removeRandom(head []field, prefix string) (rest []field) {
	for _, h := range head {
		if h.key != "random" || !strings.HasPrefix(h.value, prefix) {
			rest = append(rest, h)
		}
	}
	return rest
}

func removeKey(head []field, name string) (rest []field) {
	for _, h := range head {
		if h.key != "key" || !strings.HasPrefix(h.value, name+" ") {
			rest = append(rest, h)
		}
	}
	return rest
}
