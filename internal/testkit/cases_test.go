package testkit

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"strings"
)

// A change is what a case does to its base.
type change func(f *transcript)

// find returns the place of a frame that the kit sends: the last of a name, or the first with "#1" behind it.
func (f *transcript) find(name string) int {
	name, isFirst := strings.CutSuffix(name, "#1")
	found := -1
	for i, fr := range f.frames {
		if fr.kind == send && (fr.name == name || strings.HasSuffix(fr.name, " "+name)) {
			if found = i; isFirst {
				break
			}
		}
	}
	if found < 0 {
		panic("no frame " + name)
	}
	return found
}

// until cuts what comes behind a frame, but for what the base waits for in between.
func (f *transcript) until(i int) { f.frames = f.frames[:i+1] }

// frameOf changes one frame, and cuts what is behind it.
func frameOf(name string, do func(fr *frame)) change {
	return func(f *transcript) {
		i := f.find(name)
		f.frames[i] = f.frames[i].clone()
		do(f.frames[i])
		f.until(i)
	}
}

func mustHex(text string) []byte {
	b, err := unpackHex(text)
	if err != nil {
		panic(err)
	}
	return b
}

// set writes bytes into a payload.
func set(name string, at int, text string) change {
	return frameOf(name, func(fr *frame) { copy(fr.payload[at:], mustHex(text)) })
}

// payload puts another payload in the place of one. Nothing of it is computed.
func payload(name string, b []byte) change {
	return frameOf(name, func(fr *frame) { fr.payload, fr.compute = b, nil })
}

// keepComputing puts another payload in the place of one, of which the same fields are computed.
func keepComputing(name string, b []byte) change {
	return frameOf(name, func(fr *frame) { fr.payload = b })
}

// longer appends bytes to a payload.
func longer(name, text string) change {
	return frameOf(name, func(fr *frame) { fr.payload = append(fr.payload, mustHex(text)...) })
}

// shorter cuts bytes off a payload.
func shorter(name string, n int) change {
	return frameOf(name, func(fr *frame) { fr.payload = fr.payload[:len(fr.payload)-n] })
}

// edits changes the bytes on the wire.
func edits(name string, lines ...string) change {
	return frameOf(name, func(fr *frame) { fr.edits = lines })
}

// computes changes what is computed.
func computes(name string, lines ...string) change {
	return frameOf(name, func(fr *frame) { fr.compute = lines })
}

// also appends to what is computed.
func also(name string, lines ...string) change {
	return frameOf(name, func(fr *frame) { fr.compute = append(fr.compute, lines...) })
}

// insert says something before a frame that the kit sends; the rest is cut.
func insert(name string, fr *frame) change {
	return func(f *transcript) {
		i := f.find(name)
		f.frames = append(f.frames[:i:i], fr)
	}
}

// appended says something at the end.
func appended(frames ...*frame) change {
	return func(f *transcript) { f.frames = append(f.frames, frames...) }
}

// head changes the head, and cuts what is behind a frame.
func head(name string, do func(f *transcript)) change {
	return func(f *transcript) {
		do(f)
		f.until(f.find(name))
	}
}

// late is for a side that waits for more, up to its deadline.
func late(c change) change {
	return func(f *transcript) {
		c(f)
		f.set("end", "late")
	}
}

// raw is bytes that nobody encrypts.
func raw(text string) *frame { return tx("raw", mustHex(text)) }

func pause(seconds int) *frame { return &frame{kind: wait, name: fmt.Sprint(seconds)} }

// pauseBefore waits before a frame.
func pauseBefore(name string, seconds int) change {
	return func(f *transcript) {
		i := f.find(name)
		rest := append([]*frame{pause(seconds)}, f.frames[i])
		f.frames = append(f.frames[:i:i], rest...)
	}
}

// lowOrder are the u-coordinates of X25519 whose multiples are zero: all eight, of which the last three are not canonical.
var lowOrder = []struct{ name, u string }{
	{"zero", "0000000000000000000000000000000000000000000000000000000000000000"},
	{"one", "0100000000000000000000000000000000000000000000000000000000000000"},
	{"order-8a", "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"},
	{"order-8b", "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157"},
	{"minus-one", "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"},
	{"p", "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"},
	{"p-plus-one", "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"},
}

// smallOrder are points of Ed25519 whose multiples by 8 are the identity; the last ones are second encodings.
var smallOrder = []struct{ name, kind, a string }{
	{"identity", "public-key-small-order", "0100000000000000000000000000000000000000000000000000000000000000"},
	{"zeros", "public-key-small-order", "0000000000000000000000000000000000000000000000000000000000000000"},
	{"order-2", "public-key-small-order", "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"},
	{"order-8", "public-key-small-order", "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa"},
	{"p-plus-one", "public-key-not-canonical", "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"},
	{"minus-zero", "public-key-not-canonical", "0100000000000000000000000000000000000000000000000000000000000080"},
}

// alter is one way to change each field of a transcript, so that what is made of it is about another one.
func alter(field string, present map[string]bool) string {
	switch field {
	case "preface": // as one would be that asked for another suite
		return "preface=6175746801020000"
	case "options":
		return "options^01"
	case "offered":
		return "offered=0103"
	case "name":
		return "name=" + hex.EncodeToString([]byte("alicf"))
	case "purpose", "method":
		return field + "^06"
	}
	if !present[field] { // it stands for nothing, and is now something
		size := map[string]int{"server-nonce": 32, "salt": 16, "kdf": 10, "op-digest": 32, "session-id": 16, "account-id": 16}[field]
		return field + "=" + hex.EncodeToString(bytes.Repeat([]byte{7}, size))
	}
	return field + "^01"
}

// presentIn says which fields of PROTOCOL 6's table a purpose has, of those that can be empty.
func presentIn(fields string) map[string]bool {
	present := map[string]bool{"h": true, "realm-id": true, "client-static": true, "client-nonce": true}
	for _, f := range strings.Fields(fields) {
		present[f] = true
	}
	return present
}

// transcriptFaults makes a case of each field of the transcript. Lines have the change put in the place of "%".
func transcriptFaults(base, frameName, what, expect, present string, lines ...string) (cases []fault) {
	for _, field := range transcriptFields {
		change := alter(field, presentIn(present))
		var computed []string
		for _, l := range lines {
			computed = append(computed, strings.Replace(l, "%", change, 1))
		}
		cases = append(cases, fault{
			name: base + "-" + strings.ToLower(strings.ReplaceAll(what, " ", "-")) + "-over-other-" + field, kind: "transcript-field", base: base,
			about:  fmt.Sprintf("The %s is made over a transcript in which %s is another one.", what, field),
			do:     computes(frameName, computed...),
			expect: expect,
		})
	}
	return cases
}

// departs says of a case why it departs from its control in more than one place.
var departs = map[string]string{
	"server-checked-too-many-bytes":   "it is about what is done too often",
	"server-register-fourth-start":    "it is about what is done too often",
	"server-login-third-denial":       "it is about what is done too often",
	"server-delete-third-refusal":     "it is about what is done too often",
	"server-invited-code-used":        "it is about what is done twice",
	"server-reset-code-used":          "it is about what is done twice",
	"server-change-nonce-burned":      "there is a second OpStart before the fault",
	"server-delete-nonce-burned":      "there is a second OpStart before the fault",
	"server-revoke-nonce-burned":      "there is a second OpStart before the fault",
	"server-checked-password-is-name": "the name is another one, too, so that it can be the password",
	"server-reset-name-unknown":       "the name is another one, and the record is that of the name",
	"server-register-name-taken":      "the name is another one, and the record is that of the name",
	"server-register-good-name-64":    "the name is another one, and the record is that of the name",
	"server-session-good-ids":         "it has no fault",
	"server-login-good-second-try":    "it has no fault",
	"client-checked-not-pinned":       "where there is no pin, a person has to have accepted the server",
}
