package credential

import (
	"bytes"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io/fs"
	"testing"

	"github.com/c2sp/wycheproof"
)

// hexBytes is a member of a Wycheproof file.
type hexBytes []byte

func (h *hexBytes) UnmarshalText(text []byte) (err error) {
	*h, err = hex.DecodeString(string(text))
	return err
}

func readWycheproof(t *testing.T, name string, into any) {
	t.Helper()
	text, err := fs.ReadFile(wycheproof.TestVectors, name)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, into); err != nil {
		t.Fatal(err)
	}
}

// executed fails a run that left vectors out.
func executed(t *testing.T, valid, invalid, announced int) {
	t.Helper()
	t.Logf("%d valid and %d invalid vectors", valid, invalid)
	if valid == 0 || invalid == 0 || valid+invalid != announced {
		t.Errorf("executed %d valid and %d invalid vectors of %d", valid, invalid, announced)
	}
}

func TestWycheproofEd25519(t *testing.T) {
	var file struct {
		NumberOfTests int
		TestGroups    []struct {
			PublicKey struct{ PK hexBytes }
			Tests     []struct {
				TCID     int
				Comment  string
				Msg, Sig hexBytes
				Result   string
			}
		}
	}
	readWycheproof(t, "ed25519_test.json", &file)
	var valid, invalid int
	for _, group := range file.TestGroups {
		if err := CheckPublicKey(group.PublicKey.PK); err != nil {
			t.Errorf("key %x: %v", group.PublicKey.PK, err)
		}
		for _, test := range group.Tests {
			want := test.Result == "valid"
			if want {
				valid++
			} else {
				invalid++
			}
			if got := verifySignature(group.PublicKey.PK, test.Msg, test.Sig); got != want {
				t.Errorf("%d (%s): verified is %v, want %s", test.TCID, test.Comment, got, test.Result)
			}
		}
	}
	executed(t, valid, invalid, file.NumberOfTests)
}

func TestWycheproofHKDF(t *testing.T) {
	var file struct {
		NumberOfTests int
		TestGroups    []struct {
			Tests []struct {
				TCID                 int
				Comment              string
				IKM, Salt, Info, OKM hexBytes
				Size                 int
				Result               string
			}
		}
	}
	readWycheproof(t, "hkdf_sha256_test.json", &file)
	var valid, invalid int
	for _, group := range file.TestGroups {
		for _, test := range group.Tests {
			prk, err := hkdf.Extract(sha256.New, test.IKM, test.Salt)
			if err != nil {
				t.Errorf("%d (%s): %v", test.TCID, test.Comment, err)
				continue
			}
			okm, err := hkdf.Expand(sha256.New, prk, string(test.Info), test.Size)
			if test.Result != "valid" {
				invalid++
				if err == nil {
					t.Errorf("%d (%s): expanded to %d bytes", test.TCID, test.Comment, test.Size)
				}
				continue
			}
			valid++
			if err != nil || !bytes.Equal(okm, test.OKM) {
				t.Errorf("%d (%s): got %x, %v", test.TCID, test.Comment, okm, err)
			}
		}
	}
	executed(t, valid, invalid, file.NumberOfTests)
}
