package token

import (
	"crypto/ed25519"
	"encoding/hex"
	"encoding/json"
	"errors"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// The key of RFC 8037, appendix A.1 and A.2, and the signature of A.4.
const (
	rfc8037D         = "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A"
	rfc8037X         = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"
	rfc8037Payload   = "Example of Ed25519 signing"
	rfc8037Signature = "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc." +
		"hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg"
)

func rfc8037Key(t *testing.T) ed25519.PrivateKey {
	t.Helper()
	seed, err := base64url.DecodeString(rfc8037D)
	if err != nil {
		t.Fatal(err)
	}
	private := ed25519.NewKeyFromSeed(seed)
	if x := base64url.EncodeToString(private[32:]); x != rfc8037X {
		t.Fatalf("the public key is %s", x)
	}
	return private
}

// TestRFC8037Signature is appendix A.4 and A.5, with the signer and the verifier that a keyset uses.
func TestRFC8037Signature(t *testing.T) {
	private := rfc8037Key(t)
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: algorithm, Key: private}, nil)
	if err != nil {
		t.Fatal(err)
	}
	signed, err := signer.Sign([]byte(rfc8037Payload))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := signed.CompactSerialize(); got != rfc8037Signature || err != nil {
		t.Errorf("signed: %s, %v", got, err)
	}
	object, err := jose.ParseSignedCompact(rfc8037Signature, []jose.SignatureAlgorithm{algorithm})
	if err != nil {
		t.Fatal(err)
	}
	if payload, err := object.Verify(private.Public()); string(payload) != rfc8037Payload || err != nil {
		t.Errorf("verified: %q, %v", payload, err)
	}
	// It has neither a type nor a key ID, so it is no session token, whatever key is known.
	s, err := New(testIssuer, "a", Key{"a", private})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Verify(rfc8037Signature, time.Unix(1, 0)); !errors.Is(err, ErrMalformed) {
		t.Errorf("as a session token: %v", err)
	}
}

// TestRFC8037PublicKey is appendix A.2, as the JWKS has it.
func TestRFC8037PublicKey(t *testing.T) {
	s, err := New(testIssuer, "a", Key{"a", rfc8037Key(t)})
	if err != nil {
		t.Fatal(err)
	}
	var set struct{ Keys []map[string]string }
	if err := json.Unmarshal(s.JWKS(), &set); err != nil {
		t.Fatal(err)
	}
	if len(set.Keys) != 1 || set.Keys[0]["kty"] != "OKP" || set.Keys[0]["crv"] != "Ed25519" || set.Keys[0]["x"] != rfc8037X {
		t.Errorf("got %v", set.Keys)
	}
}

// TestRFC8037Thumbprint is appendix A.3, and the same for the X25519 key of A.6 (Bob's of RFC 7748, 6.1), whose
// thumbprint was computed with another program.
func TestRFC8037Thumbprint(t *testing.T) {
	const ed25519Want = "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"
	if got := thumbprint("Ed25519", rfc8037Key(t)[32:]); got != ed25519Want {
		t.Errorf("A.3: got %s, want %s", got, ed25519Want)
	}
	bob, err := hex.DecodeString("de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f")
	if err != nil {
		t.Fatal(err)
	}
	const x25519Want = "giQqigT_IKcuzHl0FVJ3k5ts3_TWNAxvsC08UZsfcM8"
	if got := Thumbprint([32]byte(bob)); got != x25519Want {
		t.Errorf("X25519: got %s, want %s", got, x25519Want)
	}
	if thumbprint("Ed25519", bob) == x25519Want {
		t.Error("the curve does not count")
	}
}
