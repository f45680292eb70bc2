package wire

import (
	"strconv"
	"strings"
	"testing"

	"github.com/authsrv/authsrv/internal/spec"
)

func number(t *testing.T, s string) int {
	t.Helper()
	n, err := strconv.ParseUint(s, 0, 64)
	if err != nil {
		t.Fatal(err)
	}
	return int(n)
}

// TestTypesAreThoseOfTheSpec holds the types against the table of section 7, both ways.
func TestTypesAreThoseOfTheSpec(t *testing.T) {
	want := map[Type]string{}
	for i, e := range types {
		if e.name == "" {
			continue
		}
		way, size := "S→C", "—"
		if e.fromClient {
			way = "C→S"
		}
		if e.size != 0 {
			size = strconv.Itoa(e.size)
		}
		want[Type(i)] = e.name + " " + way + " " + size
	}
	got := map[Type]string{}
	for _, row := range spec.Table(t, "PROTOCOL.md", "type", "name", "way", "size") {
		typ := Type(number(t, row[0]))
		if got[typ] != "" {
			t.Errorf("the spec has type %#x twice", uint8(typ))
		}
		got[typ] = strings.Join(row[1:], " ")
		if want[typ] != got[typ] {
			t.Errorf("type %#x: the spec has %q, the code %q", uint8(typ), got[typ], want[typ])
		}
	}
	for typ, s := range want {
		if got[typ] == "" {
			t.Errorf("type %#x: the spec has nothing, the code %q", uint8(typ), s)
		}
	}
}

// TestFieldsHaveTheirTypes holds the table of section 8 against the types from 0x10 on, both ways, and the headings of
// section 7 against those before.
func TestFieldsHaveTheirTypes(t *testing.T) {
	seen := map[Type]bool{}
	last := Type(0)
	for _, row := range spec.Table(t, "PROTOCOL.md", "message", "fields after type and id") {
		name, value, _ := strings.Cut(row[0], " ")
		typ := Type(number(t, value))
		if typ.String() != name || typ <= last {
			t.Errorf("row %q: the type is %v, behind %v", row[0], typ, last)
		}
		last, seen[typ] = typ, true
	}
	text := spec.Text(t, "PROTOCOL.md")
	for i, e := range types {
		typ := Type(i)
		heading := e.name + " (0x" + strconv.FormatUint(uint64(0x100+i), 16)[1:] + ")"
		if e.name != "" && typ >= TypeGoodbye && !seen[typ] {
			t.Errorf("section 8 has no row for %v", typ)
		}
		if e.name != "" && typ < TypeGoodbye && !strings.Contains(text, heading) {
			t.Errorf("section 7 has no heading for %s", heading)
		}
	}
}

// TestCodesAreThoseOfTheSpec holds the codes against the table of section 12, both ways.
func TestCodesAreThoseOfTheSpec(t *testing.T) {
	seen := map[Code]bool{}
	for _, row := range spec.Table(t, "PROTOCOL.md", "code", "name", "message") {
		code := Code(number(t, row[0]))
		if seen[code] || !code.known() || code.Name() != row[1] || code.Error() != row[2] {
			t.Errorf("the spec has %q, the code %d, %q, %q", row, code, code.Name(), code.Error())
		}
		seen[code] = true
	}
	for i := range codes {
		if Code(i).known() && !seen[Code(i)] {
			t.Errorf("the spec does not have code %d", i)
		}
	}
}

func TestUnknownCodes(t *testing.T) {
	for _, c := range []Code{0, Code(len(codes)), 0xffff} {
		if n := strconv.Itoa(int(c)); c.Name() != "code-"+n || !strings.Contains(c.Error(), n) {
			t.Errorf("code %d is %q, %q", uint16(c), c.Name(), c.Error())
		}
	}
	for typ, want := range map[Type]string{0: "Type(0x00)", 0x06: "Type(0x06)", 0xff: "Type(0xff)", TypeProof: "Proof"} {
		if typ.String() != want {
			t.Errorf("type %#x is %q", uint8(typ), typ.String())
		}
	}
}

// TestLimitsAreThoseOfTheSpec holds the limits that are this package's against the table of section 11, both ways.
func TestLimitsAreThoseOfTheSpec(t *testing.T) {
	ours := map[string]int{
		"M1, M2":                          MaxHandshakeFrame,
		"M3":                              MaxStartFrame,
		"records before login, both ways": MaxLoginFrame,
		"record in state Checking, client to server": MaxCheckingFrame,
		"records after login, both ways":             MaxSessionFrame,
		"token":                                      MaxToken,
		"name":                                       MaxName,
		"password":                                   MaxPassword,
	}
	for _, row := range spec.Table(t, "PROTOCOL.md", "limit", "value", "unit") {
		limit, known := ours[row[0]]
		if !known && row[2] == "bytes a frame" {
			t.Errorf("the code does not have the limit of %q", row[0])
		}
		if known && limit != number(t, row[1]) {
			t.Errorf("%s: the spec has %s, the code %d", row[0], row[1], limit)
		}
		delete(ours, row[0])
	}
	for name := range ours {
		t.Errorf("the spec does not have the limit of %q", name)
	}
	if want := `"authsrv v1 node-certificate\0"`; !strings.Contains(spec.Text(t, "PROTOCOL.md"), want) || NodeContext != "authsrv v1 node-certificate\x00" {
		t.Errorf("the spec does not have %s, or the code has %q", want, NodeContext)
	}
}

// TestMessagesFit holds the sizes of padded messages against the caps of the frames that they are in.
func TestMessagesFit(t *testing.T) {
	const tag, key = 16, 32
	for i, e := range types {
		limit := MaxLoginFrame - tag
		switch Type(i) {
		case TypeServerHello:
			limit = MaxHandshakeFrame - key - (key + tag) - tag
		case TypeAuthStart:
			limit = min(limit, MaxStartFrame-(key+tag)-tag)
		case TypeRegisterPassword:
			limit = MaxCheckingFrame - tag
		}
		if e.size > limit {
			t.Errorf("%s of %d bytes is over the cap by %d", e.name, e.size, e.size-limit)
		}
	}
}
