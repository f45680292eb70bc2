package credential

import (
	"fmt"
	"testing"
)

func benchKey(b *testing.B) (*Key, [32]byte, [64]byte) {
	b.Helper()
	key, err := newKey(make([]byte, stretchedSize))
	if err != nil {
		b.Fatal(err)
	}
	transcript := new(Transcript).Sum()
	return key, transcript, key.Prove(transcript)
}

// BenchmarkVerifyProof is what a login costs the server in arithmetic, besides the handshake.
func BenchmarkVerifyProof(b *testing.B) {
	key, transcript, proof := benchKey(b)
	b.ReportAllocs()
	for b.Loop() {
		if !VerifyProof(key.public, transcript, proof) {
			b.Fatal("refused")
		}
	}
}

func BenchmarkCheckPublicKey(b *testing.B) {
	key, _, _ := benchKey(b)
	b.ReportAllocs()
	for b.Loop() {
		if err := CheckPublicKey(key.public[:]); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkConfirm(b *testing.B) {
	key, transcript, proof := benchKey(b)
	b.ReportAllocs()
	for b.Loop() {
		Confirm(key.serverKey, transcript, proof)
	}
}

func BenchmarkTranscriptSum(b *testing.B) {
	transcript := Transcript{LoginName: "alice", OfferedMethods: []byte{1}, KDF: DefaultKDF(), ServerNonce: make([]byte, 32), Salt: make([]byte, 16)}
	b.ReportAllocs()
	for b.Loop() {
		transcript.Sum()
	}
}

func BenchmarkSalt(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		Salt([32]byte{1}, [16]byte{2}, "alice")
	}
}

func BenchmarkDerive(b *testing.B) {
	for _, kdf := range []KDF{DefaultKDF(), {Argon2id, 2, 19_456, 1}} {
		b.Run(fmt.Sprintf("m=%d,t=%d,p=%d", kdf.MemoryKiB, kdf.Time, kdf.Lanes), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := Derive([]byte("correct horse battery staple"), [16]byte{1}, "alice", [16]byte{2}, kdf); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkPolicyCheck(b *testing.B) {
	for name, password := range map[string]string{
		"passphrase": "correct horse battery staple",
		"hostile":    "4@8({[<3691!|0$5+7%2passwordpasswordpasswordpassword",
		"common":     "password1",
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_ = DefaultPolicy().Check("alice", []byte(password))
			}
		})
	}
}
