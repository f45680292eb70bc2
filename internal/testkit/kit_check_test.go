package testkit

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/authsrv/authsrv/internal/soak"
	"github.com/authsrv/authsrv/wire"
)

// some returns the names of so many files, spread over all of them.
func some(files map[string]*transcript, n int) (names []string) {
	all := slices.Sorted(maps.Keys(files))
	for i := range n {
		names = append(names, all[i*len(all)/n])
	}
	return names
}

// play runs files in a mode, and holds the outcomes against what the files say.
func play(t *testing.T, m mode, files map[string]*transcript, names []string) {
	for _, name := range names {
		t.Run(name, func(t *testing.T) {
			f := files[name]
			want := outcome{f.get("expect"), f.get("end"), f.get("changed")}
			if got := run(t, f, m); got != want {
				t.Errorf("the outcome is %q, and the file says %q", got, want)
			}
		})
	}
}

// TestSoakReplay plays the files as they are, byte by byte, with the randomness that is in them.
func TestSoakReplay(t *testing.T) {
	files := load(t)
	names := some(files, min(soak.Times(t, len(files), len(files)/8), len(files)))
	play(t, exact, files, names)
	t.Logf("%d of %d files", len(names), len(files))
}

// TestSoakLive plays the files as one does whose side under test has randomness of its own: what depends on that is computed anew.
func TestSoakLive(t *testing.T) {
	files := load(t)
	names := some(files, min(soak.Times(t, len(files), len(files)/12), len(files)))
	play(t, live, files, names)
	t.Logf("%d of %d files", len(names), len(files))
}

// TestKit: there are as many files and kinds of fault as there should be, each kind and outcome is in the documentation and each there in a
// file, and every message of the protocol is at fault in some file, sent by who sends it.
func TestKit(t *testing.T) {
	files := load(t)
	readme, err := os.ReadFile(folder + "/README.md")
	if err != nil {
		t.Fatal(err)
	}
	kinds, outcomes, faulty := make(map[string]bool), make(map[string]bool), make(map[string]int)
	count := map[string]int{}
	for name, f := range files {
		side, kind := f.get("side"), f.get("fault")
		kinds[kind] = true
		outcomes[side+" "+strings.Fields(f.get("expect"))[0]] = true
		count[side]++
		if expect := f.get("expect"); expect == "error other" || expect == "silence" {
			t.Errorf("%s: nobody could expect %q", name, expect)
		}
		if kind == "none" {
			continue
		}
		count["faults"]++
		if f.get("expect") == "accepted" && kind != "after-the-end" {
			t.Errorf("%s: a fault is accepted", name)
		}
		for _, departed := range departures(f, files[f.get("control")]) {
			faulty[departed]++
		}
	}
	if n := count["faults"]; n < 200 || len(kinds) < 40 || count["server"] < 100 || count["client"] < 100 {
		t.Errorf("%d faulty files of %d kinds; %d of a server, %d of a client", n, len(kinds), count["server"], count["client"])
	}
	for i := range 256 {
		typ := wire.Type(i)
		name := typ.String()
		if strings.HasPrefix(name, "Type(") {
			continue
		}
		if faulty[name] == 0 && faulty["M2 "+name] == 0 && faulty["M3 "+name] == 0 {
			t.Errorf("no file has a fault in %s", name)
		}
	}
	for _, frame := range []string{"preface", "M1", "M2 ServerHello", "M3 AuthStart"} {
		if faulty[frame] == 0 {
			t.Errorf("no file has a fault in %s", frame)
		}
	}
	documented := make(map[string]bool)
	for _, row := range regexp.MustCompile("(?m)^\\| `([a-z0-9-]+)` \\|").FindAllStringSubmatch(section(t, string(readme), "Kinds of fault"), -1) {
		documented[row[1]] = true
	}
	if !maps.Equal(kinds, documented) {
		t.Errorf("the kinds of fault are not those of the README: %v", difference(kinds, documented))
	}
	t.Logf("%d files (%d of a server, %d of a client), %d with a fault, of %d kinds", len(files), count["server"], count["client"], count["faults"], len(kinds)-1)
}

// section is a part of a text below a heading.
func section(t *testing.T, text, heading string) string {
	t.Helper()
	_, rest, ok := strings.Cut(text, "## "+heading+"\n")
	if !ok {
		t.Fatalf("there is no section %q", heading)
	}
	part, _, _ := strings.Cut(rest, "\n## ")
	return part
}

func difference(a, b map[string]bool) (names []string) {
	for k := range a {
		if !b[k] {
			names = append(names, "+"+k)
		}
	}
	for k := range b {
		if !a[k] {
			names = append(names, "-"+k)
		}
	}
	return names
}

// aboutHead are the lines of a head that a connection does not depend on, or that only say what may be used in it.
var aboutHead = []string{"name", "fault", "about", "control", "expect", "end", "changed", "departs", "random", "key"}

// departures names the places where a file departs from its control: lines of the head, and frames that the kit sends.
func departures(f, control *transcript) (places []string) {
	lines := func(f *transcript) (all []string) {
		for _, h := range f.head {
			if !slices.Contains(aboutHead, h.key) {
				all = append(all, h.key+": "+h.value)
			}
		}
		return all
	}
	ours, theirs := lines(f), lines(control)
	keys := make(map[string]bool)
	for _, l := range ours {
		if !slices.Contains(theirs, l) {
			keys[keyOfLine(l)] = true
		}
	}
	for _, l := range theirs {
		if !slices.Contains(ours, l) {
			keys[keyOfLine(l)] = true
		}
	}
	for k := range keys {
		switch { // which frame it is that is other for it
		case k == "client-ephemeral-sent":
			k = "M1"
		case k == "server-ephemeral-sent":
			k = "M2 ServerHello"
		case k == "client-static-sent":
			k = "M3 AuthStart"
		case k == "server-static-sent": // and so is the certificate, in that frame
			continue
		default:
			k = "head " + k
		}
		places = append(places, k)
	}
	a, b := control.sent(), f.sent()
	for len(a) > 0 && len(b) > 0 && same(a[0], b[0]) {
		a, b = a[1:], b[1:]
	}
	if len(b) == 0 {
		if len(places) == 0 && len(a) > 0 {
			places = append(places, a[0].name) // it does not come
		}
		return places
	}
	name := b[0].name
	if name == "raw" || name == "empty" || name == "again" || strings.HasPrefix(name, "type 0x") {
		if name = "the end"; len(a) > 0 {
			name = a[0].name
		}
	}
	places = append(places, name)
	if prefix(b[1:], a) || len(a) > 0 && (prefix(b[1:], a[1:]) || prefix(b, a[1:])) {
		return places
	}
	return append(places, "and others")
}

func keyOfLine(l string) string { key, _, _ := strings.Cut(l, ":"); return key }

// prefix says whether a list of frames is the beginning of another.
func prefix(b, a []*frame) bool {
	return len(b) <= len(a) && slices.EqualFunc(b, a[:len(b)], same)
}

// same compares what two frames say, but for what is computed.
func same(a, b *frame) bool {
	return a.kind == b.kind && a.name == b.name && slices.Equal(a.compute, b.compute) && slices.Equal(a.edits, b.edits) &&
		bytes.Equal(blank(a), blank(b))
}

// blank is a payload with zeros for what is computed.
func blank(fr *frame) []byte {
	b := bytes.Clone(fr.payload)
	for _, c := range fr.compute {
		words := strings.Fields(c)
		at, err := strconv.Atoi(words[0])
		if err != nil {
			panic(err)
		}
		size := map[string]int{"sign": 64, "forge": 64, "confirm": 32, "resume-confirm": 32, "id": 4}[words[1]]
		for i := at; i < min(at+size, len(b)); i++ {
			b[i] = 0
		}
	}
	return b
}

// TestOneFault: a file departs from its control, which is accepted, in one place. The few whose fault is that something comes too
// often, or behind something else, say so.
func TestOneFault(t *testing.T) {
	files := load(t)
	long := 0
	for name, f := range files {
		control := f.get("control")
		if control == "-" {
			continue
		}
		base := files[control]
		if base == nil || base.get("control") != "-" || base.get("expect") != "accepted" && control != "client-wait" {
			t.Errorf("%s: its control %q is none", name, control)
			continue
		}
		places := departures(f, base)
		if f.get("fault") == "transcript-field" { // of which only the signature or the confirmation is another one
			i := len(f.frames) - 1
			for f.frames[i].kind != send {
				i--
			}
			if !bytes.Equal(blank(f.frames[i]), blank(base.frames[i])) {
				t.Errorf("%s: the message is another one, too", name)
			}
		}
		switch n := len(places); {
		case n == 0:
			t.Errorf("%s: it departs from its control nowhere", name)
		case n > 1 && f.get("departs") == "":
			t.Errorf("%s: it departs from its control in %s", name, strings.Join(places, ", "))
		case n > 1:
			long++
		}
	}
	if long > len(files)/20 {
		t.Errorf("%d files depart in more than one place", long)
	}
	t.Logf("%d of %d files depart in more than one place", long, len(files))
}

// TestDepartures: the comparison finds a second fault.
func TestDepartures(t *testing.T) {
	files := load(t)
	base := files["server-login"]
	twice := &transcript{head: base.head}
	for _, fr := range base.frames {
		twice.frames = append(twice.frames, fr.clone())
	}
	if p := departures(twice, base); len(p) != 0 {
		t.Fatalf("none: %v", p)
	}
	twice.frames[twice.find("M3 AuthStart")].payload[1023] = 1
	if p := departures(twice, base); fmt.Sprint(p) != "[M3 AuthStart]" {
		t.Errorf("one: %v", p)
	}
	twice.frames[twice.find("Bye")].payload[4] = 1
	if p := departures(twice, base); len(p) != 2 {
		t.Errorf("two: %v", p)
	}
}
