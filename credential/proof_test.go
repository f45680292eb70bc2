package credential

import (
	"bytes"
	"crypto/ed25519"
	"encoding/hex"
	"errors"
	"math/big"
	"math/rand/v2"
	"slices"
	"testing"

	"filippo.io/edwards25519"
)

func testKey(t *testing.T, stretched byte) *Key {
	t.Helper()
	k := make([]byte, stretchedSize)
	k[0] = stretched
	key, err := newKey(k)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func TestProofs(t *testing.T) {
	key, other := testKey(t, 1), testKey(t, 2)
	a, transcript := key.Public(), (&Transcript{LoginName: "alice"}).Sum()
	proof, newProof := key.Prove(transcript), key.ProveNew(transcript)
	if !VerifyProof(a, transcript, proof) || !VerifyNewKey(a, transcript, newProof) {
		t.Fatal("a good proof is refused")
	}
	if VerifyProof(a, transcript, newProof) || VerifyNewKey(a, transcript, proof) {
		t.Error("a proof for one use is good for the other")
	}
	if VerifyProof(other.Public(), transcript, proof) || VerifyNewKey(other.Public(), transcript, newProof) {
		t.Error("a proof is good under another key")
	}
	for i := range transcript {
		changed := transcript
		changed[i] ^= 1
		if VerifyProof(a, changed, proof) || VerifyNewKey(a, changed, newProof) {
			t.Errorf("a proof is good for another transcript, byte %d", i)
		}
	}
	for i := range proof {
		changed, newChanged := proof, newProof
		changed[i] ^= 0x80
		newChanged[i] ^= 0x80
		if VerifyProof(a, transcript, changed) || VerifyNewKey(a, transcript, newChanged) {
			t.Errorf("a changed proof is good, byte %d", i)
		}
	}
	if VerifyProof(a, transcript, [64]byte{}) {
		t.Error("zeros are a proof")
	}
}

func TestConfirms(t *testing.T) {
	key := testKey(t, 1)
	serverKey, transcript := key.ServerKey(), (&Transcript{LoginName: "alice"}).Sum()
	proof := key.Prove(transcript)
	confirm, resume := Confirm(serverKey, transcript, proof), ResumeConfirm(serverKey, transcript)
	if confirm != key.Confirm(transcript, proof) || !key.VerifyConfirm(transcript, proof, confirm) ||
		!VerifyConfirm(serverKey, transcript, proof, confirm) || !VerifyResumeConfirm(serverKey, transcript, resume) {
		t.Fatal("a good confirmation is refused")
	}
	if confirm == resume {
		t.Error("both confirmations are the same")
	}
	changedKey, changedTranscript, changedProof := serverKey, transcript, proof
	changedKey[31] ^= 1
	changedTranscript[31] ^= 1
	changedProof[63] ^= 1
	if VerifyConfirm(changedKey, transcript, proof, confirm) || VerifyConfirm(serverKey, changedTranscript, proof, confirm) ||
		VerifyConfirm(serverKey, transcript, changedProof, confirm) {
		t.Error("a confirmation is good for something else")
	}
	if VerifyResumeConfirm(changedKey, transcript, resume) || VerifyResumeConfirm(serverKey, changedTranscript, resume) {
		t.Error("a resume confirmation is good for something else")
	}
	for i := range confirm {
		changed, changedResume := confirm, resume
		changed[i] ^= 1
		changedResume[i] ^= 1
		if VerifyConfirm(serverKey, transcript, proof, changed) || VerifyResumeConfirm(serverKey, transcript, changedResume) {
			t.Errorf("a changed confirmation is good, byte %d", i)
		}
	}
}

// smallOrderEncodings is each way to encode a point of small order: the five y there are and the two above p that
// stand for 0 and 1, with both signs.
func smallOrderEncodings(t *testing.T) [][]byte {
	t.Helper()
	var encodings [][]byte
	for _, y := range []string{
		"0000000000000000000000000000000000000000000000000000000000000000", // 0: order 4
		"0100000000000000000000000000000000000000000000000000000000000000", // 1: the identity
		"ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f", // -1: order 2
		"26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05", // order 8
		"c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a", // order 8
		"edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f", // p
		"eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f", // p + 1
	} {
		plus, err := hex.DecodeString(y)
		if err != nil {
			t.Fatal(err)
		}
		minus := slices.Clone(plus)
		minus[31] |= 0x80
		encodings = append(encodings, plus, minus)
	}
	return encodings
}

// TestSmallOrderKeys shows for each encoding that crypto/ed25519 accepts a forgery under it, made without a private key,
// and that CheckPublicKey does not let it come so far.
func TestSmallOrderKeys(t *testing.T) {
	identity := edwards25519.NewIdentityPoint()
	points := map[[32]byte]bool{}
	for _, encoding := range smallOrderEncodings(t) {
		point, err := new(edwards25519.Point).SetBytes(encoding)
		if err != nil {
			t.Errorf("%x: no point: %v", encoding, err)
			continue
		}
		if new(edwards25519.Point).MultByCofactor(point).Equal(identity) != 1 {
			t.Errorf("%x: not of small order", encoding)
		}
		points[[32]byte(point.Bytes())] = true
		if !forgeable(encoding) {
			t.Errorf("%x: no forgery was accepted: the test shows nothing", encoding)
		}
		if err := CheckPublicKey(encoding); !errors.Is(err, ErrPublicKey) {
			t.Errorf("%x: not refused: %v", encoding, err)
		}
	}
	if len(points) != 8 {
		t.Errorf("%d points of small order, want all 8", len(points))
	}
}

// forgeable tries a signature that needs no private key: R is the identity, S is 0.
func forgeable(a []byte) bool {
	signature := [ed25519.SignatureSize]byte{0: 1}
	for i := range 500 {
		if ed25519.Verify(a, []byte{byte(i), byte(i >> 8)}, signature[:]) {
			return true
		}
	}
	return false
}

// TestCheckPublicKeyAgainstArithmetic holds the check by tables against what it stands for: one encoding, and no small order.
func TestCheckPublicKeyAgainstArithmetic(t *testing.T) {
	slow := func(a []byte) bool {
		point, err := new(edwards25519.Point).SetBytes(a)
		return err == nil && bytes.Equal(point.Bytes(), a) &&
			new(edwards25519.Point).MultByCofactor(point).Equal(edwards25519.NewIdentityPoint()) == 0
	}
	rng := rand.New(rand.NewPCG(1, 2))
	var all [][]byte
	for _, edge := range smallOrderEncodings(t) {
		for bit := range 256 { // and its neighbours
			near := bytes.Clone(edge)
			near[bit/8] ^= 1 << (bit % 8)
			all = append(all, near)
		}
		all = append(all, edge)
	}
	for range 5000 {
		a := make([]byte, 32)
		for i := range a {
			a[i] = byte(rng.Uint32())
		}
		all = append(all, a)
	}
	good := 0
	for _, a := range all {
		want := slow(a)
		if (CheckPublicKey(a) == nil) != want {
			t.Errorf("%x: the arithmetic says %v", a, want)
		}
		if want {
			good++
		}
	}
	if good < len(all)/4 || good > len(all)*3/4 {
		t.Errorf("%d of %d are good: the test shows little", good, len(all))
	}
}

func TestCheckPublicKey(t *testing.T) {
	key := testKey(t, 1)
	good := key.Public()
	if err := CheckPublicKey(good[:]); err != nil {
		t.Errorf("a good key: %v", err)
	}
	for _, size := range []int{0, 1, 31, 33, 64} {
		if err := CheckPublicKey(make([]byte, size)); !errors.Is(err, ErrPublicKey) {
			t.Errorf("%d bytes: %v", size, err)
		}
	}
	// Every y of 255 bits that is not below p.
	p := new(big.Int).Sub(new(big.Int).Lsh(big.NewInt(1), 255), big.NewInt(19))
	for i := range int64(19) {
		y := new(big.Int).Add(p, big.NewInt(i)).FillBytes(make([]byte, 32))
		slices.Reverse(y)
		for _, sign := range []byte{0, 0x80} {
			y[31] = y[31]&0x7f | sign
			if err := CheckPublicKey(y); !errors.Is(err, ErrPublicKey) {
				t.Errorf("p + %d, sign %x: %v", i, sign, err)
			}
		}
	}
	// y = 2 is on no point.
	if err := CheckPublicKey(append([]byte{2}, make([]byte, 31)...)); !errors.Is(err, ErrPublicKey) {
		t.Errorf("no point: %v", err)
	}
	// What is documented to pass: a good point with one of order 8 added.
	point, _ := new(edwards25519.Point).SetBytes(good[:])
	torsion, _ := new(edwards25519.Point).SetBytes(smallOrderEncodings(t)[6])
	if mixed := point.Add(point, torsion).Bytes(); CheckPublicKey(mixed) != nil || forgeable(mixed) {
		t.Error("a point of mixed order is refused, or forgeable")
	}
}
