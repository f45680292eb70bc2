package noiseconn

import (
	"crypto/ed25519"
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/authsrv/authsrv/wire"
)

const day = 86_400

// TestVerifyCertificate has a certificate that is good, and others that differ from it in one thing.
func TestVerifyCertificate(t *testing.T) {
	const now = 1_800_000_000
	type certified struct {
		before, after uint64
		epoch         uint32
		hello         wire.ServerHello // after it was signed
		static        [32]byte
	}
	tests := []struct {
		name string
		sign func(*certified) // before it is signed
		then func(*certified) // after
		want error
	}{
		{"good", nil, nil, nil},
		{"other identity", nil, func(c *certified) { c.hello.Identity[0] ^= 1 }, ErrCertificate},
		{"identity of zeros", nil, func(c *certified) { c.hello.Identity = [32]byte{} }, ErrCertificate},
		{"other realm", nil, func(c *certified) { c.hello.RealmID[15] ^= 1 }, ErrCertificate},
		{"other static key", nil, func(c *certified) { c.static[0] ^= 1 }, ErrCertificate},
		{"other not before", nil, func(c *certified) { c.hello.Certificate.NotBefore++ }, ErrCertificate},
		{"other not after", nil, func(c *certified) { c.hello.Certificate.NotAfter++ }, ErrCertificate},
		{"other epoch", nil, func(c *certified) { c.hello.Certificate.Epoch++ }, ErrCertificate},
		{"other signature, R", nil, func(c *certified) { c.hello.Certificate.Signature[0] ^= 1 }, ErrCertificate},
		{"other signature, S", nil, func(c *certified) { c.hello.Certificate.Signature[32] ^= 1 }, ErrCertificate},
		{"no signature", nil, func(c *certified) { c.hello.Certificate.Signature = [64]byte{} }, ErrCertificate},
		{"epoch 0", func(c *certified) { c.epoch = 0 }, nil, ErrCertificate},
		{"highest epoch", func(c *certified) { c.epoch = math.MaxUint32 }, nil, nil},
		{"ends as it begins", func(c *certified) { c.after = c.before }, nil, ErrCertificate},
		{"ends before it begins", func(c *certified) { c.after = c.before - 1 }, nil, ErrCertificate},
		{"7 days", func(c *certified) { c.after = c.before + 7*day }, nil, nil},
		{"7 days and a second", func(c *certified) { c.after = c.before + 7*day + 1 }, nil, ErrCertificate},
		{"all of time", func(c *certified) { c.before, c.after = 0, math.MaxInt64 }, nil, ErrCertificate},
		{"ends now", func(c *certified) { c.after = now }, nil, nil},
		{"ended a second ago", func(c *certified) { c.after = now - 1 }, nil, ErrCertificateExpired},
		{"ended long ago", func(c *certified) { c.before, c.after = 0, 1 }, nil, ErrCertificateExpired},
		{"begins in a day", func(c *certified) { c.before, c.after = now+day, now+2*day }, nil, nil},
		{"begins in a day and a second", func(c *certified) { c.before, c.after = now+day+1, now+2*day }, nil, ErrCertificateNotYetValid},
		{"begins at the end of time", func(c *certified) { c.before, c.after = math.MaxInt64-1, math.MaxInt64 }, nil, ErrCertificateNotYetValid},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			c := certified{before: now - 3600, after: now + 3600, epoch: 1, static: serverStatic.Public}
			if test.sign != nil {
				test.sign(&c)
			}
			c.hello = testHello(serverStatic, time.Unix(now, 0))
			c.hello.Certificate = Certify(identity, realm, serverStatic.Public, time.Unix(int64(c.before), 0), time.Unix(int64(c.after), 0), c.epoch)
			if test.then != nil {
				test.then(&c)
			}
			err := VerifyCertificate(&c.hello, c.static, time.Unix(now, 999_999_999))
			if !errors.Is(err, test.want) {
				t.Errorf("%v, want %v", err, test.want)
			}
		})
	}
}

// TestClockBefore1970 has a clock, and a node's, that time.Time cannot say in Unix seconds of 64 bits without sign.
func TestClockBefore1970(t *testing.T) {
	hello := testHello(serverStatic, time.Unix(1_800_000_000, 0))
	for _, now := range []time.Time{{}, time.Unix(-1, 0)} {
		if err := VerifyCertificate(&hello, serverStatic.Public, now); err != ErrCertificateNotYetValid {
			t.Errorf("at %v: %v", now, err)
		}
	}
	c := Certify(identity, realm, serverStatic.Public, time.Time{}, time.Unix(1, 0), 1)
	if c.NotBefore != 0 || c.NotAfter != 1 {
		t.Errorf("certificate is from %d to %d", c.NotBefore, c.NotAfter)
	}
}

func TestFingerprint(t *testing.T) {
	const zeros = "SHA256:Zmh6rfhivXdsj8GLjp+OIAiXFIVu4jOzkCpZHQ1fKSU" // of 32 zero bytes
	if got := Fingerprint([32]byte{}); got != zeros {
		t.Errorf("fingerprint of zeros is %q, want %q", got, zeros)
	}
	if got := Fingerprint([32]byte(identity.Public().(ed25519.PublicKey))); len(got) != 50 || CheckFingerprint(got) != nil {
		t.Errorf("fingerprint is %q: %v", got, CheckFingerprint(got))
	}
	if err := CheckFingerprint(zeros); err != nil {
		t.Error(err)
	}
	for name, s := range map[string]string{
		"empty":               "",
		"no prefix":           zeros[7:],
		"prefix only":         "SHA256:",
		"other prefix":        "MD5:" + zeros[7:],
		"prefix in lower":     "sha256:" + zeros[7:],
		"prefix twice":        "SHA256:" + zeros,
		"short":               zeros[:49],
		"long":                zeros + "A",
		"padded":              zeros + "=",
		"space before":        " " + zeros,
		"newline behind":      zeros + "\n",
		"newline within":      zeros[:20] + "\n" + zeros[20:],
		"newline in place":    zeros[:20] + "\n" + zeros[21:],
		"URL alphabet":        strings.Replace(zeros, "+", "-", 1),
		"bits that count not": zeros[:49] + "V",
		"hex":                 "SHA256:" + strings.Repeat("0", 64),
	} {
		if err := CheckFingerprint(s); err != errFingerprint {
			t.Errorf("%s: %q: %v", name, s, err)
		}
	}
}

func TestStaticKey(t *testing.T) {
	k, err := NewStaticKey(fixed(9))
	if err != nil || k != fixedStatic(9) {
		t.Errorf("%x, %v", k, err)
	}
	a, err1 := NewStaticKey(nil)
	b, err2 := NewStaticKey(nil)
	if errors.Join(err1, err2) != nil || a == b || a.Public == [32]byte{} {
		t.Errorf("two keys are %x and %x: %v, %v", a.Public, b.Public, err1, err2)
	}
}
