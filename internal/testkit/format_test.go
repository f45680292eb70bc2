package testkit

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// folder is where the files are.
const folder = "../../testdata/testkit"

// formatLine is the first line of every file.
const formatLine = "authsrv-testkit: 1"

// What a frame of a file is: one that the kit sends, one that it waits for, or a pause.
const (
	send  = "send"
	await = "await"
	wait  = "wait"
)

// transcript is a file: what stands in its head, and the frames in their order.
type transcript struct {
	head   []field
	frames []*frame
}

type field struct{ key, value string }

// frame is one frame, or the preface. Lines that a frame does not have are empty.
type frame struct {
	kind    string
	name    string // of a wait: seconds
	payload []byte // before what is computed, and before encryption
	compute []string
	edits   []string // of the bytes on the wire
	wire    []byte   // of one that is sent; of one that is awaited, only their hash is in the file
	hash    string
}

func (f *transcript) set(key, value string) {
	for i := range f.head {
		if f.head[i].key == key {
			f.head[i].value = value
			return
		}
	}
	f.head = append(f.head, field{key, value})
}

func (f *transcript) add(key string, values ...string) {
	f.head = append(f.head, field{key, strings.Join(values, " ")})
}

// get returns the value of a line that is there once, or "".
func (f *transcript) get(key string) string {
	for _, h := range f.head {
		if h.key == key {
			return h.value
		}
	}
	return ""
}

// all returns the words of every line of a key.
func (f *transcript) all(key string) (lines [][]string) {
	for _, h := range f.head {
		if h.key == key {
			lines = append(lines, strings.Fields(h.value))
		}
	}
	return lines
}

func (f *transcript) number(t testing.TB, key string) int64 {
	t.Helper()
	n, err := strconv.ParseInt(f.get(key), 10, 64)
	if err != nil {
		t.Fatalf("%s: %s: %v", f.get("name"), key, err)
	}
	return n
}

// sent is what the kit says.
func (f *transcript) sent() (frames []*frame) {
	for _, fr := range f.frames {
		if fr.kind != await {
			frames = append(frames, fr)
		}
	}
	return frames
}

func (fr *frame) clone() *frame {
	c := *fr
	c.payload, c.compute, c.edits, c.wire = bytes.Clone(fr.payload), slices.Clone(fr.compute), slices.Clone(fr.edits), bytes.Clone(fr.wire)
	return &c
}

// text is the file.
func (f *transcript) text() []byte {
	var b bytes.Buffer
	fmt.Fprintln(&b, formatLine)
	for _, h := range f.head {
		fmt.Fprintf(&b, "%s: %s\n", h.key, h.value)
	}
	for _, fr := range f.frames {
		fmt.Fprintf(&b, "\n%s: %s\n", fr.kind, fr.name)
		if fr.payload != nil {
			fmt.Fprintf(&b, "payload: %s\n", packHex(fr.payload))
		}
		for _, c := range fr.compute {
			fmt.Fprintf(&b, "compute: %s\n", c)
		}
		for _, e := range fr.edits {
			fmt.Fprintf(&b, "edit: %s\n", e)
		}
		switch {
		case fr.kind == send:
			fmt.Fprintf(&b, "wire: %s\n", packHex(fr.wire))
		case fr.kind == await:
			fmt.Fprintf(&b, "sha256: %s\n", fr.hash)
		}
	}
	return b.Bytes()
}

// parse reads a file.
func parse(text []byte) (*transcript, error) {
	lines := strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
	if lines[0] != formatLine {
		return nil, fmt.Errorf("line 1 is %q", lines[0])
	}
	f, of := new(transcript), (*frame)(nil)
	for i, line := range lines[1:] {
		if line == "" {
			continue
		}
		key, value, ok := strings.Cut(line, ": ")
		err := error(nil)
		switch {
		case !ok:
			err = fmt.Errorf("no key")
		case key == send || key == await || key == wait:
			of = &frame{kind: key, name: value}
			f.frames = append(f.frames, of)
		case of == nil:
			f.head = append(f.head, field{key, value})
		case key == "payload":
			of.payload, err = unpackHex(value)
		case key == "compute":
			of.compute = append(of.compute, value)
		case key == "edit":
			of.edits = append(of.edits, value)
		case key == "wire":
			of.wire, err = unpackHex(value)
		case key == "sha256":
			of.hash = value
		default:
			err = fmt.Errorf("key %q", key)
		}
		if err != nil {
			return nil, fmt.Errorf("line %d: %v", i+2, err)
		}
	}
	return f, nil
}

// packHex is hex in which a run of at least 16 zero bytes is written as 00*N, between spaces.
func packHex(b []byte) string {
	if len(b) == 0 {
		return "-"
	}
	var words []string
	for len(b) > 0 {
		zeros, at := 0, 0
		for i := 0; i < len(b); {
			n := 0
			for i+n < len(b) && b[i+n] == 0 {
				n++
			}
			if n >= 16 {
				zeros, at = n, i
				break
			}
			i += max(n, 1)
			at = i
		}
		if at > 0 {
			words = append(words, hex.EncodeToString(b[:at]))
		}
		if zeros > 0 {
			words = append(words, fmt.Sprintf("00*%d", zeros))
		}
		b = b[at+zeros:]
	}
	return strings.Join(words, " ")
}

func unpackHex(text string) ([]byte, error) {
	b := []byte{}
	if text == "-" {
		return b, nil
	}
	for _, word := range strings.Fields(text) {
		if count, run := strings.CutPrefix(word, "00*"); run {
			n, err := strconv.ParseUint(count, 10, 16)
			if err != nil {
				return nil, err
			}
			b = append(b, make([]byte, n)...)
			continue
		}
		part, err := hex.DecodeString(word)
		if err != nil {
			return nil, err
		}
		b = append(b, part...)
	}
	return b, nil
}

// load reads all files, by name.
func load(t testing.TB) map[string]*transcript {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(folder, "*.txt"))
	if err != nil {
		t.Fatal(err)
	}
	files := make(map[string]*transcript)
	for _, p := range paths {
		text, err := os.ReadFile(p)
		if err != nil {
			t.Fatal(err)
		}
		f, err := parse(text)
		if err != nil {
			t.Fatalf("%s: %v", p, err)
		}
		if !bytes.Equal(f.text(), text) {
			t.Fatalf("%s: what was read is written in another way", p)
		}
		if f.get("name")+".txt" != filepath.Base(p) {
			t.Fatalf("%s: its name is %q", p, f.get("name"))
		}
		files[f.get("name")] = f
	}
	if len(files) == 0 {
		t.Fatal("there are no files")
	}
	return files
}
