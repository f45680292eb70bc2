package fuzz

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// vectorFiles have to be there; what else is in the folder is used as well.
var vectorFiles = []string{"derivation.json", "identity.json", "recording.json"}

// vectors are all the texts in a vector file.
type vectors struct {
	binary [][]byte            // those that are hex, decoded
	text   map[string][]string // all, by the name of their field
}

// readVectors returns what is in docs/vectors, together.
var readVectors = sync.OnceValues(func() (*vectors, error) {
	const folder = "../docs/vectors"
	files, err := filepath.Glob(folder + "/*.json")
	if err != nil {
		return nil, err
	}
	for _, name := range vectorFiles {
		if path := filepath.Join(folder, name); !slices.Contains(files, path) {
			return nil, &os.PathError{Op: "open", Path: path, Err: os.ErrNotExist}
		}
	}
	v := &vectors{text: make(map[string][]string)}
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		d := json.NewDecoder(bytes.NewReader(b))
		if err := v.collect(d, ""); err != nil {
			return nil, err
		}
	}
	return v, nil
})

// collect takes in the next value of d, in the order of the file.
func (v *vectors) collect(d *json.Decoder, field string) error {
	next, err := d.Token()
	if err != nil {
		return err
	}
	switch next := next.(type) {
	case string:
		v.text[field] = append(v.text[field], next)
		if b, err := hex.DecodeString(next); err == nil && len(b) > 0 {
			v.binary = append(v.binary, b)
		}
	case json.Delim:
		for d.More() {
			inner := field
			if next == '{' {
				key, err := d.Token()
				if err != nil {
					return err
				}
				inner, _ = key.(string)
			}
			if err := v.collect(d, inner); err != nil {
				return err
			}
		}
		_, err = d.Token()
	}
	return err
}

func theVectors(t testing.TB) *vectors {
	t.Helper()
	v, err := readVectors()
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// of returns the texts of a field, of which there have to be some.
func (v *vectors) of(t testing.TB, field string) []string {
	t.Helper()
	if len(v.text[field]) == 0 {
		t.Fatalf("no vector has a %s", field)
	}
	return v.text[field]
}

// golden returns the messages that a hand wrote.
func golden(t testing.TB) (messages [][]byte) {
	t.Helper()
	text, err := os.ReadFile("testdata/golden.txt")
	if err != nil {
		t.Fatal(err)
	}
	for lines := bufio.NewScanner(bytes.NewReader(text)); lines.Scan(); {
		line := lines.Text()
		if strings.HasPrefix(line, "#") {
			continue
		}
		parts := strings.Split(line, " | ")
		if len(parts) != 3 {
			t.Fatalf("not name | size | hex: %s", line)
		}
		size, err := strconv.Atoi(parts[1])
		if err != nil {
			t.Fatal(err)
		}
		b, err := hex.DecodeString(parts[2])
		if err != nil || len(b) > size {
			t.Fatalf("%s: %d bytes of %d, %v", parts[0], len(b), size, err)
		}
		messages = append(messages, append(b, make([]byte, size-len(b))...))
	}
	if len(messages) == 0 {
		t.Fatal("testdata/golden.txt is empty")
	}
	return messages
}

// A recordedConnection is a connection of recording.json: what each side sent, and what was in it.
type recordedConnection struct {
	toServer, toClient []byte
	plaintexts         [][]byte
}

func recordedConnections(t testing.TB) (all []recordedConnection) {
	t.Helper()
	var file struct {
		Connections []struct {
			Frames []struct{ Way, Wire, Plaintext string }
		}
	}
	text, err := os.ReadFile("../docs/vectors/recording.json")
	if err == nil {
		err = json.Unmarshal(text, &file)
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range file.Connections {
		var r recordedConnection
		for _, f := range c.Frames {
			b, err := hex.DecodeString(f.Wire)
			if err != nil || len(b) == 0 {
				t.Fatalf("a frame of %d bytes, %v", len(b), err)
			}
			if f.Way == "C→S" {
				r.toServer = append(r.toServer, b...)
			} else {
				r.toClient = append(r.toClient, b...)
			}
			if b, err := hex.DecodeString(f.Plaintext); err == nil && len(b) > 0 {
				r.plaintexts = append(r.plaintexts, b)
			}
		}
		if len(r.toServer) == 0 || len(r.toClient) == 0 || len(r.plaintexts) == 0 {
			t.Fatal("recording.json has a connection without frames one way, or without plaintexts")
		}
		all = append(all, r)
	}
	if len(all) == 0 {
		t.Fatal("recording.json has no connections")
	}
	return all
}
