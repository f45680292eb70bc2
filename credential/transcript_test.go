package credential

import (
	"crypto/sha256"
	"encoding/binary"
	"testing"
)

// taggedHash is TH of PROTOCOL 1, as it is written there.
func taggedHash(label string, fields ...[]byte) [32]byte {
	hash := sha256.New()
	for _, x := range append([][]byte{[]byte(label)}, fields...) {
		var length [4]byte
		binary.BigEndian.PutUint32(length[:], uint32(len(x)))
		hash.Write(length[:])
		hash.Write(x)
	}
	return [32]byte(hash.Sum(nil))
}

func fullTranscript() Transcript {
	return Transcript{
		Preface:        [8]byte{'a', 'u', 't', 'h', 1, 1},
		Handshake:      [32]byte{1},
		RealmID:        [16]byte{2},
		Purpose:        PurposeOperation,
		Options:        0x01020304,
		Method:         MethodPassword,
		OfferedMethods: []byte{1, 3},
		LoginName:      "alice",
		ClientStatic:   [32]byte{3},
		ClientNonce:    [32]byte{4},
		ServerNonce:    append([]byte{5}, make([]byte, 31)...),
		Salt:           append([]byte{6}, make([]byte, 15)...),
		KDF:            DefaultKDF(),
		OpDigest:       append([]byte{7}, make([]byte, 31)...),
		SessionID:      append([]byte{8}, make([]byte, 15)...),
		AccountID:      append([]byte{9}, make([]byte, 15)...),
	}
}

func TestTranscriptSum(t *testing.T) {
	full := fullTranscript()
	want := taggedHash("authsrv v1 auth-transcript", full.Preface[:], full.Handshake[:], full.RealmID[:], []byte{4},
		[]byte{1, 2, 3, 4}, []byte{1}, []byte{1, 3}, []byte("alice"), full.ClientStatic[:], full.ClientNonce[:],
		full.ServerNonce, full.Salt, []byte{1, 0, 0, 0, 3, 0, 1, 0, 0, 4}, full.OpDigest, full.SessionID, full.AccountID)
	if got := full.Sum(); got != want {
		t.Errorf("got %x, want %x", got, want)
	}
	var none Transcript
	want = taggedHash("authsrv v1 auth-transcript", make([]byte, 8), make([]byte, 32), make([]byte, 16), []byte{0},
		make([]byte, 4), []byte{0}, nil, nil, make([]byte, 32), make([]byte, 32), nil, nil, nil, nil, nil, nil)
	if got := none.Sum(); got != want {
		t.Errorf("without its fields: got %x, want %x", got, want)
	}
}

// TestTranscriptFields shows that every field counts, and that none can be taken for another.
func TestTranscriptFields(t *testing.T) {
	sums := map[[32]byte]string{}
	add := func(name string, change func(*Transcript)) {
		transcript := fullTranscript()
		change(&transcript)
		sum := transcript.Sum()
		if other, ok := sums[sum]; ok {
			t.Errorf("%q and %q have the same sum", name, other)
		}
		sums[sum] = name
	}
	add("nothing", func(*Transcript) {})
	add("preface", func(t *Transcript) { t.Preface[5]++ })
	add("handshake", func(t *Transcript) { t.Handshake[31]++ })
	add("realm", func(t *Transcript) { t.RealmID[15]++ })
	add("purpose", func(t *Transcript) { t.Purpose = PurposeLogin })
	add("options", func(t *Transcript) { t.Options++ })
	add("method", func(t *Transcript) { t.Method = MethodCheckedPassword })
	add("offered", func(t *Transcript) { t.OfferedMethods = []byte{1} })
	add("name", func(t *Transcript) { t.LoginName = "alicf" })
	add("static", func(t *Transcript) { t.ClientStatic[31]++ })
	add("client nonce", func(t *Transcript) { t.ClientNonce[31]++ })
	add("server nonce", func(t *Transcript) { t.ServerNonce[31]++ })
	add("salt", func(t *Transcript) { t.Salt[15]++ })
	add("kdf", func(t *Transcript) { t.KDF.Lanes++ })
	add("digest", func(t *Transcript) { t.OpDigest[31]++ })
	add("session", func(t *Transcript) { t.SessionID[15]++ })
	add("account", func(t *Transcript) { t.AccountID[15]++ })
	add("no digest", func(t *Transcript) { t.OpDigest = nil })
	add("no session", func(t *Transcript) { t.SessionID = nil })
	add("no account", func(t *Transcript) { t.AccountID = nil })
	add("no kdf", func(t *Transcript) { t.KDF = KDF{} })
	add("moved", func(t *Transcript) { t.SessionID, t.AccountID = nil, t.SessionID })
	add("joined", func(t *Transcript) { t.OfferedMethods, t.LoginName = []byte{1}, "\x03alice" })
}

func TestTranscriptAllocates(t *testing.T) {
	full := fullTranscript()
	full.OfferedMethods, full.LoginName = make([]byte, 8), string(make([]byte, NameMax))
	if n := testing.AllocsPerRun(100, func() { full.Sum() }); n != 0 {
		t.Errorf("%v allocations: the space on the stack is too small", n)
	}
}
