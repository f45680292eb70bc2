package main

import (
	"encoding/xml"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/google/pprof/profile"
)

// sampleProfile has the stacks that it is given, as outer/inner, of 10 ms each.
func sampleProfile(stacks ...string) *profile.Profile {
	p := &profile.Profile{}
	for _, text := range stacks {
		s := &profile.Sample{Value: []int64{1, 10_000_000}}
		for _, name := range strings.Split(text, " ") {
			s.Location = append([]*profile.Location{{Line: []profile.Line{{Function: &profile.Function{Name: name}}}}}, s.Location...)
		}
		p.Sample = append(p.Sample, s)
	}
	return p
}

func TestParts(t *testing.T) {
	p := sampleProfile(
		"main.main github.com/authsrv/authsrv/noiseconn.x github.com/cloudflare/circl/dh/x25519.Shared",
		"main.main github.com/authsrv/authsrv/noiseconn.x runtime.mallocgc runtime.memclr",
		"main.main github.com/cockroachdb/pebble.x github.com/authsrv/authsrv/kv.y",
		"main.main github.com/cockroachdb/pebble.x syscall.Fdatasync",
		"runtime.goexit something.<else>",
	)
	text := partTable(p, 10)
	for _, want := range []string{"curve arithmetic (X25519, Ed25519)", "allocation and", "our own code", "system calls", elsewhere, "20 %", "1.00 ms", "5.00 ms"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not in\n%s", want, text)
		}
	}
	if strings.Contains(text, "Pebble") {
		t.Errorf("what Pebble calls was taken for Pebble:\n%s", text)
	}
}

func TestFlame(t *testing.T) {
	text := flame(sampleProfile("a b c", "a b d", "a <e>", "a b c"))
	d := xml.NewDecoder(strings.NewReader(text))
	widths := make(map[string]string)
	title := ""
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("%v in\n%s", err, text)
		}
		switch token := token.(type) {
		case xml.StartElement:
			if token.Name.Local == "rect" {
				for _, a := range token.Attr {
					if a.Name.Local == "width" {
						widths[title] = a.Value
					}
				}
			}
		case xml.CharData:
			if strings.Contains(string(token), "%") {
				title, _, _ = strings.Cut(string(token), ":")
			}
		}
	}
	for name, want := range map[string]string{"authsrv": "1400.0", "a": "1400.0", "b": "1050.0", "c": "700.0", "d": "350.0", "<e>": "350.0"} {
		if widths[name] != want {
			t.Errorf("%s is %s wide, not %s", name, widths[name], want)
		}
	}
}
