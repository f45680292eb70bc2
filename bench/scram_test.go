package main

import (
	"encoding/base64"
	"strings"
	"testing"
)

// The example of RFC 7677, section 3.
func TestScram(t *testing.T) {
	s := &scram{user: "user", nonce: "rOprNGfwEbeRWgbNEkqO", stretched: &stretched{password: "pencil"}}
	if got := s.first(); got != "n,,n=user,r=rOprNGfwEbeRWgbNEkqO" {
		t.Errorf("%q", got)
	}
	const first = "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
	for range 2 { // the second time from memory
		got, proof, err := s.final(first)
		if err != nil {
			t.Fatal(err)
		}
		if want := "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="; got != want {
			t.Errorf("%q", got)
		}
		if got := base64.StdEncoding.EncodeToString(proof); got != "6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=" {
			t.Errorf("the server's proof: %q", got)
		}
	}
	for _, bad := range []string{"", "r=other,s=aa==,i=4096", strings.Replace(first, "i=4096", "i=x", 1), strings.Replace(first, "s=W", "s=*", 1)} {
		if _, _, err := s.final(bad); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}

func TestPostgresReason(t *testing.T) {
	if got := pgReason([]byte("SFATAL\x00VFATAL\x00C28000\x00Mnot you\x00Fauth.c\x00\x00")); got != "not you" {
		t.Errorf("%q", got)
	}
}
