package credential

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"strings"
	"testing"
)

// TestDerive shows that every input counts, and that none is kept or changed.
func TestDerive(t *testing.T) {
	type input struct {
		password string
		realm    [16]byte
		name     string
		salt     [16]byte
		kdf      KDF
	}
	base := input{"correct horse", [16]byte{1}, "alice", [16]byte{2}, KDF{Argon2id, 2, 19_456, 1}}
	inputs := map[string]input{"base": base}
	for name, change := range map[string]func(*input){
		"password": func(i *input) { i.password = "correct horsf" },
		"realm":    func(i *input) { i.realm[15] = 1 },
		"name":     func(i *input) { i.name = "alicf" },
		"salt":     func(i *input) { i.salt[15] = 1 },
		"passes":   func(i *input) { i.kdf.Time++ },
		"memory":   func(i *input) { i.kdf.MemoryKiB += 8 },
		"lanes":    func(i *input) { i.kdf.Lanes++ },
	} {
		changed := base
		change(&changed)
		inputs[name] = changed
	}
	seen := map[[32]byte]string{}
	for name, i := range inputs {
		password := []byte(i.password)
		key, err := Derive(password, i.realm, i.name, i.salt, i.kdf)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if string(password) != i.password {
			t.Errorf("%s: the password was changed", name)
		}
		for _, value := range [][32]byte{key.Public(), key.ServerKey()} {
			if other, ok := seen[value]; ok {
				t.Errorf("%s and %s derive the same", name, other)
			}
			seen[value] = name
		}
	}
	again, err := Derive([]byte(base.password), base.realm, base.name, base.salt, base.kdf)
	if err != nil || seen[again.Public()] != "base" || seen[again.ServerKey()] != "base" {
		t.Errorf("derived again it is another key, %v", err)
	}
}

func TestSalt(t *testing.T) {
	base := Salt([32]byte{1}, [16]byte{2}, "alice")
	for name, other := range map[string][16]byte{
		"key":   Salt([32]byte{1, 1}, [16]byte{2}, "alice"),
		"realm": Salt([32]byte{1}, [16]byte{2, 1}, "alice"),
		"name":  Salt([32]byte{1}, [16]byte{2}, "alicf"),
	} {
		if other == base {
			t.Errorf("the %s does not count", name)
		}
	}
	if Salt([32]byte{1}, [16]byte{2}, "alice") != base {
		t.Error("another salt at the second time")
	}
}

func TestDestroy(t *testing.T) {
	key := testKey(t, 1)
	private := key.private
	key.Destroy()
	if !bytes.Equal(private, make([]byte, len(private))) || key.ServerKey() != [32]byte{} {
		t.Errorf("left after it: %s", hex.EncodeToString(private[:4]))
	}
	defer func() {
		if recover() == nil {
			t.Error("a destroyed key signs")
		}
	}()
	key.Prove([32]byte{})
}

// TestKeyIsNotPrinted by whatever prints what it is in.
func TestKeyIsNotPrinted(t *testing.T) {
	key, err := newKey(bytes.Repeat([]byte{7}, stretchedSize))
	if err != nil {
		t.Fatal(err)
	}
	for _, secret := range [][]byte{key.private[:8], key.serverKey[:8]} {
		shapes := []string{
			string(secret), fmt.Sprintf("%x", secret), fmt.Sprintf("%X", secret), strings.Trim(fmt.Sprint(secret), "[]"),
			strings.Trim(fmt.Sprintf("%#v", secret), "[]byte{}"),
		}
		for _, format := range []string{"%v", "%+v", "%#v", "%s", "%x", "%X", "%q", "%d"} {
			for _, v := range []any{key, *key, struct{ K Key }{*key}, []*Key{key}} {
				for _, shape := range shapes {
					if got := fmt.Sprintf(format, v); strings.Contains(got, shape) {
						t.Errorf("%s shows %s", format, got)
					}
				}
			}
		}
	}
}
