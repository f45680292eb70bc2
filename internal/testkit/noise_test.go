package testkit

import (
	"bytes"
	"crypto/cipher"
	"crypto/ecdh"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/binary"
	"errors"

	"golang.org/x/crypto/chacha20poly1305"
)

// shake is one side of Noise_XX_25519_ChaChaPoly_SHA256, beside the library that the product uses: this one also sends public keys that
// no private key belongs to.
type shake struct {
	ck, h       [32]byte
	key         []byte // nil: none yet
	n           uint64
	e, s        pair
	re, rs      [32]byte
	out, in     cipher.AEAD // after the handshake
	nOut, nIn   uint64
	afterClient bool // this side is the initiator
}

// pair is a key, and the public key that is sent for it.
type pair struct {
	private *ecdh.PrivateKey
	sent    [32]byte
}

// newPair makes a pair. A sent key is that of PROTOCOL's X25519 if it is empty.
func newPair(private, sent []byte) (p pair, err error) {
	if p.private, err = ecdh.X25519().NewPrivateKey(private); err != nil {
		return p, err
	}
	p.sent = [32]byte(p.private.PublicKey().Bytes())
	if sent != nil {
		p.sent = [32]byte(sent)
	}
	return p, nil
}

// dh is X25519. With a low-order point, or for a key that was not the one sent, it is zeros: what the other side computes.
func (p *pair) dh(public [32]byte) []byte {
	masked := p.sent
	masked[31] &= 0x7f
	other, err := ecdh.X25519().NewPublicKey(public[:])
	if err != nil || !bytes.Equal(masked[:], p.private.PublicKey().Bytes()) {
		return make([]byte, 32)
	}
	shared, err := p.private.ECDH(other)
	if err != nil {
		return make([]byte, 32)
	}
	return shared
}

func newShake(prologue []byte, initiator bool, e, s pair) *shake {
	x := &shake{e: e, s: s, afterClient: initiator}
	x.h = [32]byte([]byte("Noise_XX_25519_ChaChaPoly_SHA256")) // 32 bytes: it is its own hash
	x.ck = x.h
	x.mixHash(prologue)
	return x
}

func (x *shake) mixHash(b []byte) { x.h = sha256.Sum256(append(x.h[:], b...)) }

func (x *shake) mixKey(secret []byte) {
	out := expand(x.ck[:], secret)
	x.ck, x.key, x.n = [32]byte(out[:32]), out[32:], 0
}

// expand is HKDF of Noise with two outputs.
func expand(ck, secret []byte) []byte {
	prk, err := hkdf.Extract(sha256.New, secret, ck)
	if err != nil {
		panic(err)
	}
	out, err := hkdf.Expand(sha256.New, prk, "", 64)
	if err != nil {
		panic(err)
	}
	return out
}

func nonceOf(n uint64) []byte {
	return binary.LittleEndian.AppendUint64(make([]byte, 4), n)
}

func aead(key []byte) cipher.AEAD {
	a, err := chacha20poly1305.New(key)
	if err != nil {
		panic(err)
	}
	return a
}

func (x *shake) seal(b []byte) []byte {
	if x.key != nil {
		b = aead(x.key).Seal(nil, nonceOf(x.n), b, x.h[:])
		x.n++
	}
	x.mixHash(b)
	return b
}

func (x *shake) open(b []byte) ([]byte, error) {
	plain := b
	if x.key != nil {
		var err error
		if plain, err = aead(x.key).Open(nil, nonceOf(x.n), b, x.h[:]); err != nil {
			return nil, err
		}
		x.n++
	}
	x.mixHash(b)
	return plain, nil
}

var errShort = errors.New("a handshake message that is too short")

func (x *shake) writeM1(payload []byte) []byte {
	x.mixHash(x.e.sent[:])
	return append(bytes.Clone(x.e.sent[:]), x.seal(payload)...)
}

func (x *shake) readM1(b []byte) error {
	if len(b) < 32 {
		return errShort
	}
	x.re = [32]byte(b)
	x.mixHash(b[:32])
	_, err := x.open(b[32:])
	return err
}

func (x *shake) writeM2(payload []byte) []byte {
	b := bytes.Clone(x.e.sent[:])
	x.mixHash(b)
	x.mixKey(x.e.dh(x.re))
	b = append(b, x.seal(x.s.sent[:])...)
	x.mixKey(x.s.dh(x.re))
	return append(b, x.seal(payload)...)
}

func (x *shake) readM2(b []byte) (payload []byte, err error) {
	if len(b) < 32+48+16 {
		return nil, errShort
	}
	x.re = [32]byte(b)
	x.mixHash(b[:32])
	x.mixKey(x.e.dh(x.re))
	static, err := x.open(b[32:80])
	if err != nil {
		return nil, err
	}
	x.rs = [32]byte(static)
	x.mixKey(x.e.dh(x.rs))
	return x.open(b[80:])
}

func (x *shake) writeM3(payload []byte) []byte {
	b := x.seal(x.s.sent[:])
	x.mixKey(x.s.dh(x.re))
	b = append(b, x.seal(payload)...)
	x.split()
	return b
}

func (x *shake) readM3(b []byte) (payload []byte, err error) {
	if len(b) < 48+16 {
		return nil, errShort
	}
	static, err := x.open(b[:48])
	if err != nil {
		return nil, err
	}
	x.rs = [32]byte(static)
	x.mixKey(x.e.dh(x.rs))
	if payload, err = x.open(b[48:]); err == nil {
		x.split()
	}
	return payload, err
}

func (x *shake) split() {
	out := expand(x.ck[:], nil)
	x.out, x.in = aead(out[:32]), aead(out[32:])
	if !x.afterClient {
		x.out, x.in = x.in, x.out
	}
}

func (x *shake) sealRecord(b []byte) []byte {
	x.nOut++
	return x.out.Seal(nil, nonceOf(x.nOut-1), b, nil)
}

func (x *shake) openRecord(b []byte) ([]byte, error) {
	plain, err := x.in.Open(nil, nonceOf(x.nIn), b, nil)
	if err == nil {
		x.nIn++
	}
	return plain, err
}
