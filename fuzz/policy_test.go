package fuzz

import (
	"errors"
	"fmt"
	"testing"

	"github.com/authsrv/authsrv/credential"
	"github.com/authsrv/authsrv/wire"
)

// TestPolicies holds that package credential and package wire, which know nothing of each other, take the same policies for good: there are
// few enough to try all kinds and scores, with the lengths beside each limit.
func TestPolicies(t *testing.T) {
	lengths := []uint16{0, 1, 7, 8, 9, 1023, 1024, 1025, 65535}
	good := 0
	for kind := range 256 {
		for score := range 256 {
			for _, least := range lengths {
				for _, most := range lengths {
					p := credential.Policy{Kind: credential.PolicyKind(kind), MinLength: least, MaxLength: most, MinScore: uint8(score)}
					params := wire.RegisterParams{Policy: wire.Policy{Kind: uint8(kind), MinLength: least, MaxLength: most, MinScore: uint8(score)}}
					_, onWire := wire.ParseRegisterParams(params.AppendTo(nil))
					err := p.Valid()
					if (err == nil) != (onWire == nil) || err != nil && !errors.Is(err, credential.ErrPolicy) {
						t.Fatalf("%+v: %v, and on the wire %v", p, err, onWire)
					}
					if err == nil {
						good++
					}
				}
			}
		}
	}
	if good == 0 {
		t.Error("no policy is good")
	}
}

// TestPolicyTexts reads texts as policies: what is read is written as the same text.
func TestPolicyTexts(t *testing.T) {
	texts := []string{"strength", "classes", "length:08", "length:+8", "length:", "length", "", "Strength", "length:8 ", " length:8", "length:8\x00", "policy-4"}
	for n := range 70_000 {
		texts = append(texts, fmt.Sprintf("length:%d", n))
	}
	good := 0
	for _, text := range texts {
		p, err := credential.ParsePolicy(text)
		if err != nil {
			if !errors.Is(err, credential.ErrPolicy) || p != (credential.Policy{}) {
				t.Fatalf("%q: %+v, %v", text, p, err)
			}
			continue
		}
		if good++; p.String() != text || p.Valid() != nil {
			t.Fatalf("%q is written as %q: %v", text, p, p.Valid())
		}
	}
	if want := 2 + 1024 - 7; good != want {
		t.Errorf("%d texts are policies, want %d", good, want)
	}
}
