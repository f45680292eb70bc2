package keyfile

import (
	"bytes"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"filippo.io/age"
)

func write(t *testing.T, text []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "keys")
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// line fails unless err is one line that says where and holds nothing of a key.
func line(t *testing.T, err error, path string) {
	t.Helper()
	text := err.Error()
	if strings.Contains(text, "\n") || !strings.Contains(text, path) {
		t.Errorf("not a line about the file: %q", text)
	}
	text = strings.ReplaceAll(text, path, "")
	k := sample(t)
	for _, s := range []Secret{k.Identity, k.NextIdentity, k.SaltKey, k.NameKey, k.AuditKey, k.WrappingKeys[0].Key, k.TokenKeys[0].Seed} {
		for i := 0; i+4 <= len(s); i++ {
			if strings.Contains(strings.ToLower(text), hex.EncodeToString(s[i:i+4])) {
				t.Errorf("a part of a key is in %q", text)
			}
		}
	}
}

func TestCorrupt(t *testing.T) {
	k := sample(t)
	text, err := encode(k)
	if err != nil {
		t.Fatal(err)
	}
	replace := func(old, new string) func() []byte {
		return func() []byte {
			if !bytes.Contains(text, []byte(old)) {
				panic("the file has no " + old)
			}
			return bytes.Replace(text, []byte(old), []byte(new), 1)
		}
	}
	whole := func(s string) func() []byte { return func() []byte { return []byte(s) } }
	hexOf := func(s Secret) string { return hex.EncodeToString(s[:]) }
	zero := strings.Repeat("0", 64)
	const wrapping = `"wrapping_keys": [`
	entry := `{"id": 1, "key": "` + strings.Repeat("1", 64) + `", "created": "2026-11-01T12:00:00Z"},`
	tokens := `"token_keys": [`
	token := `{"id": "` + k.CurrentToken + `", "seed": "` + strings.Repeat("1", 64) + `", "created": "2026-11-01T12:00:00Z"},`

	for _, c := range []struct {
		name   string
		damage func() []byte
		says   string
	}{
		{"empty", whole(""), "not JSON"},
		{"null", whole("null"), "not a key file"},
		{"list", whole("[]"), "wrong kind"},
		{"other file", whole(`{"format": "something", "version": 1}`), "not a key file"},
		{"cut short", func() []byte { return text[:len(text)-20] }, "cut short"},
		{"something behind", func() []byte { return append(bytes.Clone(text), "{}"...) }, "not JSON"},
		{"too large", func() []byte { return append(bytes.Clone(text), bytes.Repeat([]byte(" "), maxSize)...) }, "too large"},
		{"key for a field", replace(`"salt_key": `, `"`+hexOf(k.SaltKey)+`": 1, "salt_key": `), "does not belong"},
		{"key without quotes", replace(`"`+hexOf(k.SaltKey)+`"`, hexOf(k.SaltKey)), "not JSON"},
		{"key as a number", replace(`"`+hexOf(k.SaltKey)+`"`, `12345678`), "wrong kind"},
		{"unknown field", replace(`"epoch"`, `"more": 1, "epoch"`), "does not belong"},
		{"field twice", replace(`"epoch": 1`, `"epoch": 2, "epoch": 1`), "twice"},
		{"field in capitals", replace(`"epoch"`, `"EPOCH"`), "form that is written"},
		{"hex in capitals", replace(hexOf(k.SaltKey), strings.ToUpper(hexOf(k.SaltKey))), "form that is written"},
		{"not hex", replace(hexOf(k.SaltKey), "zz"+hexOf(k.SaltKey)[2:]), "not hex"},
		{"short key", replace(hexOf(k.SaltKey), hexOf(k.SaltKey)[2:]), "salt_key has the wrong length"},
		{"long key", replace(hexOf(k.NameKey), hexOf(k.NameKey)+"00"), "name_key has the wrong length"},
		{"no realm", replace(`"realm_id": "`+hex.EncodeToString(k.RealmID[:])+`",`, ``), "realm_id is missing or zero"},
		{"zero realm", replace(hex.EncodeToString(k.RealmID[:]), zero[:32]), "realm_id is missing or zero"},
		{"no identity", replace(`"identity": "`+hexOf(k.Identity)+`",`, ``), "identity is missing or zero"},
		{"empty identity", replace(hexOf(k.Identity), ``), "identity is missing or zero"},
		{"zero identity", replace(hexOf(k.Identity), zero), "identity is missing or zero"},
		{"zero salt key", replace(hexOf(k.SaltKey), zero), "salt_key is missing or zero"},
		{"zero name key", replace(hexOf(k.NameKey), zero), "name_key is missing or zero"},
		{"zero audit key", replace(hexOf(k.AuditKey), zero), "audit_key is missing or zero"},
		{"zero epoch", replace(`"epoch": 1`, `"epoch": 0`), "epoch is missing or zero"},
		{"negative epoch", replace(`"epoch": 1`, `"epoch": -1`), "wrong kind"},
		{"other successor", replace(hexOf(k.NextIdentity), strings.Repeat("1", 64)), "next_identity_hash is not that"},
		{"zero wrapping key", replace(hexOf(k.WrappingKeys[0].Key), zero), "wrapping key 1 is missing or zero"},
		{"wrapping key twice", replace(wrapping, wrapping+entry), "wrapping key id 1 is there twice"},
		{"wrapping key id 0", replace(`"id": 1`, `"id": 0`), "has no id"},
		{"current wrapping key elsewhere", replace(`"current_wrapping_key": 1`, `"current_wrapping_key": 2`), "current wrapping key is not in the list"},
		{"no time", replace(`"2026-11-01T12:00:00Z"`, `"0001-01-01T00:00:00Z"`), "no time of creation"},
		{"not a time", replace(`"2026-11-01T12:00:00Z"`, `"yesterday"`), "does not belong"},
		{"other time zone", replace(`"2026-11-01T12:00:00Z"`, `"2026-11-01T12:00:00+00:00"`), "form that is written"},
		{"zero token key", replace(hexOf(k.TokenKeys[0].Seed), zero), "token key 1 of the list is missing or zero"},
		{"token key twice", replace(tokens, tokens+token), "has the id of another"},
		{"token key without id", replace(`"id": "`+k.CurrentToken, `"id": "`), "has no valid id"},
		{"token key with a bad id", replace(`"id": "`+k.CurrentToken, `"id": "a b`), "has no valid id"},
		{"current token key elsewhere", replace(`"current_token_key": "`, `"current_token_key": "x`), "current token key is not in the list"},
		{"version 0", replace(`"version": 1`, `"version": 0`), "form that is written"},
	} {
		t.Run(c.name, func(t *testing.T) {
			damaged := c.damage()
			path := write(t, damaged)
			got, err := Open(path, nil)
			if got != nil || !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), c.says) {
				t.Fatalf("error %v", err)
			}
			line(t, err, path)
			if !bytes.Equal(contents(t, path), damaged) {
				t.Error("the file was changed")
			}
		})
	}
}

func TestNewer(t *testing.T) {
	path := write(t, []byte(`{"format": "authsrv-keys", "version": 3, "realm_id": {}, "something": [1]}`))
	_, err := Open(path, nil)
	if !errors.Is(err, ErrNewer) || errors.Is(err, ErrCorrupt) {
		t.Errorf("error %v", err)
	}
	line(t, err, path)
}

func TestNotAFile(t *testing.T) {
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir, nil); !errors.Is(err, ErrCorrupt) {
		t.Errorf("error %v", err)
	}
}

// A plain file that is cut short at any byte is refused.
func TestTruncated(t *testing.T) {
	text, err := encode(sample(t))
	if err != nil {
		t.Fatal(err)
	}
	for n := range len(text) - 1 { // the last byte is the line's end
		if _, err := decode(text[:n]); !errors.Is(err, ErrCorrupt) {
			t.Fatalf("%d bytes: %v", n, err)
		}
	}
}

// A sealed file that is cut short anywhere, or has any byte changed, is refused; only where the sealed key itself was changed can
// that not be told from a wrong passphrase.
func TestSealedDamage(t *testing.T) {
	sealed := contents(t, create(t, sample(t), "secret"))
	refused := func(what string, n int, text []byte) {
		t.Helper()
		path := write(t, text)
		_, err := Open(path, []byte("secret"))
		if !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrWrongPassphrase) {
			t.Fatalf("%s at byte %d: %v", what, n, err)
		}
		line(t, err, path)
	}
	end := len(sealed)
	for n := 0; n < end; n += 1 + n/20 {
		refused("cut", n, sealed[:n])
		changed := bytes.Clone(sealed)
		changed[n] ^= 1
		refused("change", n, changed)
	}
	changed := bytes.Clone(sealed)
	changed[end-1] ^= 1
	if _, err := Open(write(t, changed), []byte("secret")); !errors.Is(err, ErrCorrupt) {
		t.Errorf("a change of the text: %v", err)
	}
	if _, err := Open(write(t, append(bytes.Clone(sealed), 0)), []byte("secret")); !errors.Is(err, ErrCorrupt) {
		t.Errorf("a byte behind: %v", err)
	}
}

// The work that a file asks for is bounded before it is done.
func TestSealedWorkIsBounded(t *testing.T) {
	sealed := contents(t, create(t, sample(t), "secret"))
	changed := bytes.Replace(sealed, []byte(" 10\n"), []byte(" 29\n"), 1)
	if bytes.Equal(sealed, changed) {
		t.Fatal("the work factor was not found")
	}
	if _, err := Open(write(t, changed), []byte("secret")); !errors.Is(err, ErrCorrupt) {
		t.Errorf("error %v", err)
	}
}

func TestSealedWithSomethingElse(t *testing.T) {
	identity, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	path := sealTo(t, identity.Recipient(), []byte("{}"))
	if _, err := Open(path, []byte("secret")); !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), "something else") {
		t.Errorf("error %v", err)
	}
}

// What was sealed by one who knows the passphrase is held to the same rules.
func TestSealedNonsense(t *testing.T) {
	recipient, err := age.NewScryptRecipient("secret")
	if err != nil {
		t.Fatal(err)
	}
	recipient.SetWorkFactor(10)
	if _, err := Open(sealTo(t, recipient, []byte("{}")), []byte("secret")); !errors.Is(err, ErrCorrupt) {
		t.Errorf("error %v", err)
	}
}
