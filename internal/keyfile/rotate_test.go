package keyfile

import (
	"bytes"
	"crypto/rand"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"
)

var later = created.Add(36 * time.Hour)

// rotated is the sample after one rotation of each kind.
func rotated(t *testing.T) *Keys {
	t.Helper()
	k, random := sample(t), new(counting)
	for _, rotate := range []func() error{
		func() error { return k.RotateWrapping(random, later) },
		func() error { return k.RotateToken(random, later, false) },
		func() error { return k.RotateIdentity(random, later, Secret{}) },
		func() error { return k.RaiseEpoch(later) },
	} {
		if err := rotate(); err != nil {
			t.Fatal(err)
		}
	}
	return k
}

func TestRotate(t *testing.T) {
	before, k := sample(t), sample(t)
	next := before.NextIdentity
	if err := k.RotateWrapping(rand.Reader, later); err != nil || k.CurrentWrapping != 2 || len(k.WrappingKeys) != 2 || !k.WrappingKeys[1].Created.Equal(later) {
		t.Errorf("wrapping: %+v, %v", k, err)
	}
	k.WrappingKeys = k.WrappingKeys[1:]
	if err := k.RotateWrapping(rand.Reader, later); err != nil || k.CurrentWrapping != 3 {
		t.Errorf("wrapping: %+v, %v", k, err)
	}
	k.WrappingKeys, k.CurrentWrapping = before.WrappingKeys, 1 // put back by hand
	if err := k.RotateWrapping(rand.Reader, later); err != nil || k.CurrentWrapping != 4 {
		t.Errorf("an id was used twice: %+v, %v", k, err)
	}
	if err := k.RotateToken(rand.Reader, later, false); err != nil || len(k.TokenKeys) != 2 || k.TokenKeys[1].ID != k.CurrentToken {
		t.Errorf("token: %+v, %v", k, err)
	}
	if err := k.RotateToken(rand.Reader, later, true); err != nil || len(k.TokenKeys) != 1 || k.TokenKeys[0].ID != k.CurrentToken {
		t.Errorf("token alone: %+v, %v", k, err)
	}
	if err := k.RotateIdentity(rand.Reader, later, Secret{}); err != nil || k.Identity != next || k.NextIdentity == next || k.NextIdentityHash != publicHash(k.NextIdentity) {
		t.Errorf("identity: %+v, %v", k, err)
	}
	if f := k.FormerIdentities; len(f) != 1 || f[0] != (FormerIdentity{before.PublicKey(), later}) {
		t.Errorf("former identities: %+v", f)
	}
	err := k.RaiseEpoch(later)
	if last, known := k.Last(KindEpoch); err != nil || k.Epoch != 2 || !known || !last.Time.Equal(later) {
		t.Errorf("epoch: %+v, %v", k, err)
	}
	if !reflect.DeepEqual(before, sample(t)) {
		t.Error("the keys that were rotated share something with others")
	}
	for range 2 * maxHistory {
		if err := errors.Join(k.RaiseEpoch(later), k.RotateIdentity(rand.Reader, later, Secret{})); err != nil {
			t.Fatal(err)
		}
	}
	if len(k.Rotations) != maxHistory || len(k.FormerIdentities) != maxHistory {
		t.Errorf("%d rotations, %d former identities", len(k.Rotations), len(k.FormerIdentities))
	}
	for what, none := range map[string]*bytes.Reader{"none": bytes.NewReader(nil), "few": bytes.NewReader(make([]byte, 33))} {
		if k.RotateToken(none, later, false) == nil || k.RotateWrapping(none, later) == nil && what == "none" {
			t.Errorf("%s random bytes were enough", what)
		}
	}
	k.Epoch = 1<<32 - 1
	if err := k.RaiseEpoch(later); !errors.Is(err, ErrLastEpoch) {
		t.Error(err)
	}
}

// The next identity may be kept elsewhere.
func TestRotateIdentityOffline(t *testing.T) {
	k := sample(t)
	next := k.NextIdentity
	k.NextIdentity = Secret{}
	before := k.Clone()
	for _, c := range []struct {
		successor Secret
		want      error
	}{{Secret{}, ErrNextElsewhere}, {Secret{1}, ErrOtherSuccessor}} {
		if err := k.RotateIdentity(rand.Reader, later, c.successor); !errors.Is(err, c.want) || !reflect.DeepEqual(k, before) {
			t.Errorf("%v, want %v; %+v", err, c.want, k)
		}
	}
	if err := k.RotateIdentity(rand.Reader, later, next); err != nil || k.Identity != next {
		t.Errorf("%+v, %v", k, err)
	}
	k.NextIdentity, k.NextIdentityHash = Secret{}, [32]byte{}
	if err := k.RotateIdentity(rand.Reader, later, Secret{}); !errors.Is(err, ErrNoSuccessor) {
		t.Error(err)
	}
}

// A file with a history is version 2, in the one form that the documentation gives.
func TestHistoryFormat(t *testing.T) {
	k := rotated(t)
	want := contents(t, filepath.Join("testdata", "rotated.json"))
	path := create(t, k, "")
	if got := contents(t, path); !bytes.Equal(got, want) {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
	if got, err := Open(path, nil); err != nil || !reflect.DeepEqual(got, k) {
		t.Errorf("other keys: %v", err)
	}
	for what, change := range map[string][2]string{
		"an older version":         {`"version": 2`, `"version": 1`},
		"a kind that is none":      {`"kind": "epoch"`, `"kind": "other"`},
		"a key that is none":       {`"key": "2"`, `"key": "a b"`},
		"a rotation without time":  {`"time": "2026-11-03`, `"time": "0001-01-01`},
		"a former identity's time": {`"until": "2026-11-03`, `"until": "yesterday`},
		"a short former identity":  {`"public_key": "`, `"public_key": "00`},
	} {
		text := bytes.Replace(want, []byte(change[0]), []byte(change[1]), 1)
		if what == "a rotation without time" {
			text = bytes.Replace(want, []byte(`"time": "2026-11-03T00:00:00Z"`), []byte(`"time": "0001-01-01T00:00:00Z"`), 1)
		}
		if bytes.Equal(text, want) {
			t.Fatalf("%s: nothing was changed", what)
		}
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(path, nil); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: %v", what, err)
		}
	}
}
