package credential

import (
	"encoding/hex"
	"errors"
	"testing"
)

func TestKDFCheck(t *testing.T) {
	for kdf, good := range map[KDF]bool{
		DefaultKDF():                   true,
		{Argon2id, 2, 19_456, 1}:       true, // the floors
		{Argon2id, 1, 47_104, 1}:       true,
		{Argon2id, 8, 1_048_576, 8}:    true, // the ceiling
		{Argon2id, 8, 19_456, 8}:       true,
		{}:                             false,
		{0, 3, 65_536, 4}:              false,
		{2, 3, 65_536, 4}:              false,
		{Argon2id, 0, 65_536, 4}:       false,
		{Argon2id, 9, 65_536, 4}:       false,
		{Argon2id, 1 << 31, 65_536, 4}: false,
		{Argon2id, 3, 65_536, 0}:       false,
		{Argon2id, 3, 65_536, 9}:       false,
		{Argon2id, 3, 1_048_577, 4}:    false,
		{Argon2id, 3, 1<<32 - 1, 4}:    false,
		{Argon2id, 2, 19_455, 1}:       false,
		{Argon2id, 8, 19_455, 8}:       false,
		{Argon2id, 1, 47_103, 1}:       false,
		{Argon2id, 1, 19_456, 8}:       false,
		{Argon2id, 3, 0, 1}:            false,
	} {
		if err := kdf.Check(); (err == nil) != good || err != nil && !errors.Is(err, ErrKDF) {
			t.Errorf("%+v: %v", kdf, err)
		}
		if good {
			continue
		}
		// Derive must refuse before it computes: some of these would take all memory.
		if _, err := Derive([]byte("password"), [16]byte{}, "alice", [16]byte{}, kdf); !errors.Is(err, ErrKDF) {
			t.Errorf("%+v: derived: %v", kdf, err)
		}
	}
}

func TestKDFBelow(t *testing.T) {
	was := KDF{Argon2id, 3, 65_536, 4}
	for kdf, below := range map[KDF]bool{
		was:                         false,
		{Argon2id, 4, 65_536, 4}:    false,
		{Argon2id, 8, 1_048_576, 8}: false,
		{Argon2id, 2, 65_536, 4}:    true,
		{Argon2id, 3, 65_535, 4}:    true,
		{Argon2id, 3, 65_536, 3}:    true,
		{Argon2id, 2, 1_048_576, 8}: true, // more of another parameter does not make up for it
		{Argon2id, 8, 65_535, 8}:    true,
		{0, 8, 1_048_576, 8}:        true,
	} {
		if kdf.Below(was) != below {
			t.Errorf("%+v: below is %v", kdf, !below)
		}
	}
}

func TestKDFEncoding(t *testing.T) {
	got := KDF{1, 0x02030405, 0x06070809, 10}.AppendTo([]byte{0xff})
	if want := "ff0102030405060708090a"; hex.EncodeToString(got) != want {
		t.Errorf("got %x, want %s", got, want)
	}
	if len(DefaultKDF().AppendTo(nil)) != KDFSize {
		t.Error("another size")
	}
}
