package fuzz

import (
	"net"
	"strconv"
	"strings"
	"testing"

	"github.com/authsrv/authsrv/client"
	"github.com/authsrv/authsrv/client/store"
	"github.com/authsrv/authsrv/noiseconn"
)

func addressSeeds(t testing.TB) (all []seed) {
	add := func(s string) { all = append(all, seed{s}) }
	v := theVectors(t)
	for _, s := range v.of(t, "address") {
		add(s)
		add(s[:len(s)-1])
		add(s + "=")
	}
	for _, s := range v.of(t, "fingerprint") {
		add("auth.example#" + s)
		add("[2001:db8::1]:7022#" + s)
		add("#" + s)
		add("auth.example:7022#" + strings.ToLower(s))
	}
	for _, s := range []string{
		" ", "\x00", "a[b", "a:07022", strings.Repeat("a", 300) + ":1",
		"", "auth.example", "127.0.0.1", "127.0.0.1:7022", "::1", "[::1]", "[::1]:22", "[fe80::1%eth0]:7022",
		"fe80::1%eth0", "localhost:0", "localhost:65535",
		"localhost:65536", "localhost:", ":7022", ":", "[]", "[]:1", "localhost:http", "localhost:+1", "localhost:-1",
		"localhost:1:2", "a#", "a##", "#", "[::1", "::1]",
		"[a]:1", "2001:db8::", "https://auth.example:7022/", "auth.example:7022 ",
	} {
		add(s)
	}
	return all
}

// FuzzAddress has what is accepted be one address in its one form, that can be dialed, remembered and given again.
func FuzzAddress(f *testing.F) {
	plant(f)
	f.Fuzz(func(t *testing.T, s string) {
		address, fingerprint, err := client.ParseAddress(s)
		if err != nil {
			if address != "" || fingerprint != "" || strings.ContainsAny(err.Error(), "\r\n\x00\x1b") {
				t.Fatalf("%q, %q, %v", address, fingerprint, err)
			}
			return
		}
		host, port, err := net.SplitHostPort(address)
		if n, portErr := strconv.Atoi(port); err != nil || portErr != nil || host == "" || n < 1 || n > 65535 || strconv.Itoa(n) != port {
			t.Fatalf("%q gives %q, of the host %q and the port %q: %v", s, address, host, port, err)
		}
		whole := address
		if strings.Contains(s, "#") {
			if err := noiseconn.CheckFingerprint(fingerprint); err != nil {
				t.Fatalf("%q pins %q: %v", s, fingerprint, err)
			}
			whole += "#" + fingerprint
		} else if fingerprint != "" {
			t.Fatalf("%q pins %q", s, fingerprint)
		}
		if a, p, err := client.ParseAddress(whole); a != address || p != fingerprint || err != nil {
			t.Fatalf("%q gives %q, and that %q and %q, %v", s, whole, a, p, err)
		}
		if err := store.Memory().PutServer(store.Server{Address: address, RealmID: b16(1), Identity: b32(1)}); err != nil {
			t.Fatalf("%q gives %q, which cannot be remembered: %v", s, address, err)
		}
	})
}
