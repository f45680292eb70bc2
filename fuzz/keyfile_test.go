package fuzz

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/authsrv/authsrv/internal/keyfile"
)

// sealedPassphrase opens testdata/sealed.age, which is a key file of goodKeys, sealed with the work factor 2.
const sealedPassphrase = "correct horse battery staple"

// workFactors are those that a sealed file asks for, as exponents of two. A high one costs a gigabyte by design, which is not what is
// looked for here.
var workFactors = regexp.MustCompile(`-> scrypt \S+ (\d+)`)

// goodKeys returns keys that are the same at every call.
func goodKeys(t testing.TB) *keyfile.Keys {
	t.Helper()
	k, err := keyfile.Generate(bytes.NewReader(bytesFrom(1, 16+7*32+8)), now)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// saved returns the text of a key file.
func saved(t testing.TB, k *keyfile.Keys) []byte {
	t.Helper()
	path := filepath.Join(t.TempDir(), "keys")
	if err := keyfile.Create(path, k, nil); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func keyfileSeeds(t testing.TB) (all []seed) {
	sealed, err := os.ReadFile("testdata/sealed.age")
	if err != nil {
		t.Fatal(err)
	}
	good := saved(t, goodKeys(t))
	for _, text := range [][]byte{
		good, sealed, nil, []byte("{}"), []byte("null"), good[:len(good)-3], concat(good, good), []byte("age-encryption.org/v1\n"),
		sealed[:len(sealed)-1], sealed[:100], concat(sealed, []byte{0}), bytes.Replace(sealed, []byte(" 2\n"), []byte(" 3\n"), 1),
	} {
		all = append(all, seed{text, false}, seed{text, true})
	}
	for _, r := range [][2]string{
		{"authsrv-keys", "other-keys"}, {`"version": 1`, `"version": 2`}, {`"epoch": 1`, `"epoch": 0`}, {`"epoch": 1`, `"epoch": 4294967296`}, {"01020304", "0102030"},
		{"0a0b0c", "0A0B0C"}, {"01020304", "zz020304"}, {`"current_wrapping_key": 1`, `"current_wrapping_key": 2`}, {"Z\"", "+00:00\""}, {"2027", "0000"},
		{`"wrapping_keys": [`, `"wrapping_keys": [{},`}, {`"salt_key"`, `"Salt_key"`}, {`"next_identity_hash": "`, `"next_identity_hash": "00`}, {"{", `{"more": 1,`},
	} {
		changed := strings.Replace(string(good), r[0], r[1], 1)
		if changed == string(good) {
			t.Fatalf("a key file has no %s", r[0])
		}
		all = append(all, seed{[]byte(changed), false})
	}
	return all
}

// FuzzKeyfile opens any file as the keys of a server, with a passphrase or without: it is refused in one line that says what is the matter
// and holds nothing of it, or it is what is written for these keys.
func FuzzKeyfile(f *testing.F) {
	plant(f)
	path := filepath.Join(f.TempDir(), "keys")
	f.Fuzz(func(t *testing.T, text []byte, withPassphrase bool) {
		var passphrase []byte
		if withPassphrase {
			passphrase = []byte(sealedPassphrase)
			for _, m := range workFactors.FindAllSubmatch(text, -1) {
				if len(m[1]) > 1 {
					return
				}
			}
		}
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		k, err := keyfile.Open(path, passphrase)
		isSealed, sealedErr := keyfile.Sealed(path)
		if want := bytes.HasPrefix(text, []byte("age-encryption.org/v1\n")); sealedErr != nil || isSealed != want {
			t.Fatalf("sealed is %v, want %v: %v", isSealed, want, sealedErr)
		}
		if err != nil {
			if k != nil {
				t.Fatalf("keys with %v", err)
			}
			keyfileError(t, err, path, isSealed, withPassphrase)
			return
		}
		if isSealed != withPassphrase {
			t.Fatalf("sealed is %v, and a passphrase was given: %v", isSealed, withPassphrase)
		}
		if isSealed {
			if !reflect.DeepEqual(k, goodKeys(t)) {
				t.Fatal("other keys under the same passphrase")
			}
			return
		}
		var want, have bytes.Buffer
		if err := errors.Join(json.Compact(&want, saved(t, k)), json.Compact(&have, text)); err != nil || !bytes.Equal(want.Bytes(), have.Bytes()) {
			t.Fatalf("%s\nis written as\n%s, %v", have.Bytes(), want.Bytes(), err)
		}
	})
}

func keyfileError(t *testing.T, err error, path string, sealed, passphrase bool) {
	t.Helper()
	line := strings.ReplaceAll(err.Error(), path, "")
	if len(line) > 200 || strings.ContainsAny(line, "\r\n\x00\x1b") {
		t.Fatalf("not a line: %q", line)
	}
	switch {
	case errors.Is(err, keyfile.ErrCorrupt), errors.Is(err, keyfile.ErrNewer):
	case errors.Is(err, keyfile.ErrPassphraseNeeded) && sealed && !passphrase:
	case errors.Is(err, keyfile.ErrWrongPassphrase) && sealed && passphrase:
	case errors.Is(err, keyfile.ErrNotSealed) && !sealed && passphrase:
	default:
		t.Fatalf("sealed is %v, with a passphrase is %v: %v", sealed, passphrase, err)
	}
}
