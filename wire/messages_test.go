package wire

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"testing"
)

// A gen makes the values of a message's fields.
type gen struct {
	r    *rand.Rand
	edge edge
}

type edge int

const (
	random edge = iota
	lowest      // each number and length
	highest
)

func newGen(e edge, seed uint64) *gen { return &gen{rand.New(rand.NewPCG(seed, 0)), e} }

// number returns a number of lo to hi.
func (g *gen) number(lo, hi uint64) uint64 {
	switch {
	case g.edge == lowest || lo == hi:
		return lo
	case g.edge == highest:
		return hi
	case lo == 0 && hi == 1<<64-1:
		return g.r.Uint64()
	}
	return lo + g.r.Uint64N(hi-lo+1)
}

func (g *gen) u8() uint8   { return uint8(g.number(0, 1<<8-1)) }
func (g *gen) u16() uint16 { return uint16(g.number(0, 1<<16-1)) }
func (g *gen) u32() uint32 { return uint32(g.number(0, 1<<32-1)) }
func (g *gen) u64() uint64 { return g.number(0, 1<<64-1) }
func (g *gen) id() uint32  { return uint32(g.number(1, 1<<32-1)) }

// bytes returns lo to hi bytes.
func (g *gen) bytes(lo, hi int) []byte {
	b := make([]byte, g.number(uint64(lo), uint64(hi)))
	for i := range b {
		b[i] = g.u8()
	}
	return b
}

func (g *gen) b16() (b [16]byte) { copy(b[:], g.bytes(16, 16)); return b }
func (g *gen) b32() (b [32]byte) { copy(b[:], g.bytes(32, 32)); return b }
func (g *gen) b64() (b [64]byte) { copy(b[:], g.bytes(64, 64)); return b }

func (g *gen) kdf() KDF { return KDF{g.u8(), g.u32(), g.u32(), g.u8()} }

func (g *gen) record() Record { return Record{g.kdf(), g.b32(), g.b32()} }

func (g *gen) policy() Policy {
	p := Policy{Kind: uint8(g.number(1, 3)), MinLength: uint16(g.number(8, 1024)), MaxLength: 1024}
	if p.Kind == 1 {
		p.MinScore = uint8(g.number(0, 4))
	}
	return p
}

func (g *gen) challenge() Challenge { return Challenge{g.b32(), g.b16(), g.kdf(), g.u16()} }

func (g *gen) denied() Denied {
	d := Denied{Code: Code(g.number(1, 1<<16-1)), RetryAfter: g.u32()}
	if d.Code == CodeNameInvalid || d.Code == CodePasswordPolicy {
		d.Rule = g.u8()
	}
	return d
}

// authStart makes one with a purpose that is as random as the rest.
func (g *gen) authStart() AuthStart {
	purposes := []Purpose{PurposeLogin, PurposeSession, PurposeRegister, PurposeReset}
	m := AuthStart{Purpose: purposes[g.number(0, 3)], ClientNonce: g.b32(), Offered: []byte{}, Name: []byte{}, Token: []byte{}}
	if m.Purpose == PurposeSession {
		m.Token = g.bytes(1, MaxToken)
		return m
	}
	m.Method, m.Name = MethodPassword, g.bytes(1, MaxName)
	m.Offered = [][]byte{{1}, {1, 3}, {1, 2, 3, 4, 5, 6, 7, 255}}[g.number(0, 2)]
	switch {
	case m.Purpose == PurposeReset:
		m.Method, m.Offered, m.Token = MethodCode, []byte{4}, g.bytes(CodeIDSize, CodeIDSize)
	case m.Purpose == PurposeLogin:
		m.Lifetime = g.u32()
	case len(m.Offered) > 1:
		m.Method = MethodChecked
	case g.number(0, 1) == 1:
		m.Token = g.bytes(CodeIDSize, CodeIDSize)
	}
	return m
}

func (g *gen) serverHello() ServerHello {
	return ServerHello{
		g.u8(), g.u8(), g.u8(), g.b16(), g.b32(), g.b32(), Certificate{g.u64(), g.u64(), g.u32(), g.b64()},
		g.u64(), g.u32(), g.u32(), g.u32(), g.u32(),
	}
}

func (g *gen) welcome() Welcome {
	m := Welcome{g.b32(), g.b16(), g.b16(), g.u64(), g.bytes(1, MaxName), []byte{}, []byte{}}
	if g.number(0, 1) == 1 {
		m.Token, m.ResumeKey = g.bytes(1, MaxToken), g.bytes(32, 32)
	}
	return m
}

func (g *gen) listing() Listing {
	m := Listing{ID: g.id(), names: []byte{}}
	for range g.number(0, 20) {
		m.Add(string(g.bytes(1, 255)))
	}
	return m
}

func (g *gen) sessionList() SessionList {
	m := SessionList{ID: g.id(), More: g.number(0, 1) == 1, sessions: []byte{}}
	for i := range g.number(0, 20) {
		s := Session{g.b16(), g.u64(), g.u64(), g.u64(), g.number(0, 1) == 1, g.bytes(0, MaxAddress)}
		s.ID[0] = byte(i) // ascending
		m.Add(&s)
	}
	return m
}

// A codec is one message, with its struct out of sight.
type codec struct {
	typ    Type
	name   string               // of the message
	set    func(g *gen) []byte  // makes a value, and returns its encoding
	encode func([]byte) []byte  // appends the value
	decode func([]byte) error   // sets the value
	value  func() reflect.Value // the value
	fields func() int           // bytes of the encoding of the value, without the padding
}

// message makes the codec of a message of type M. Size is the sum of its fields' sizes in docs/PROTOCOL.md, with the
// type byte, without what is in fields of variable length; extra is the length of those.
func message[M any, P interface {
	*M
	AppendTo([]byte) []byte
}](typ Type, size int, extra func(*M) int, make func(*gen) M, parse func([]byte) (M, error)) codec {
	m := new(M) // on the heap, once
	return codec{
		typ:    typ,
		name:   typ.String(),
		set:    func(g *gen) []byte { *m = make(g); return P(m).AppendTo(nil) },
		encode: func(dst []byte) []byte { return P(m).AppendTo(dst) },
		decode: func(b []byte) (err error) { *m, err = parse(b); return err },
		value:  func() reflect.Value { return reflect.ValueOf(*m) },
		fields: func() int {
			if extra == nil {
				return size
			}
			return size + extra(m)
		},
	}
}

func plain(typ Type) codec {
	return message(typ, 5, nil, func(g *gen) Plain {
		if typ == TypeBye {
			return Plain{typ, 0}
		}
		return Plain{typ, g.id()}
	}, func(b []byte) (Plain, error) { return ParsePlain(b, typ) })
}

func proved(typ Type) codec {
	return message(typ, 5+64, nil, func(g *gen) ProvedOp { return ProvedOp{typ, g.id(), g.b64()} },
		func(b []byte) (ProvedOp, error) { return ParseProvedOp(b, typ) })
}

// codecs returns a codec for every type of message.
func codecs() []codec {
	return []codec{
		message(TypeServerHello, 4+16+32+32+84+8+4*4, nil, (*gen).serverHello, ParseServerHello),
		message(TypeAuthStart, 3+1+4+1+32+2, func(m *AuthStart) int { return len(m.Offered) + len(m.Name) + len(m.Token) }, (*gen).authStart, ParseAuthStart),
		message(TypeChallenge, 1+32+16+10+2, nil, (*gen).challenge, ParseChallenge),
		message(TypeProof, 1+64, nil, func(g *gen) Proof { return Proof{g.b64()} }, ParseProof),
		message(TypeWelcome, 1+32+16+16+8+1+2+1, func(m *Welcome) int { return len(m.Name) + len(m.Token) + len(m.ResumeKey) }, (*gen).welcome, ParseWelcome),
		message(TypeDenied, 1+2+1+4, nil, (*gen).denied, ParseDenied),
		message(TypeRegisterParams, 1+32+16+10+2+6, nil, func(g *gen) RegisterParams { return RegisterParams{g.challenge(), g.policy()} }, ParseRegisterParams),
		message(TypeRegisterFinish, 1+10+32+32+64+1, func(m *RegisterFinish) int { return len(m.CodeProof) }, func(g *gen) RegisterFinish {
			return RegisterFinish{g.record(), g.b64(), g.bytes(64, 64)[:64*g.number(0, 1)]}
		}, ParseRegisterFinish),
		message(TypeRegisterPassword, 1+2, func(m *RegisterPassword) int { return len(m.Password) }, func(g *gen) RegisterPassword { return RegisterPassword{g.bytes(1, 1024)} }, ParseRegisterPassword),
		message(TypeRegistered, 1+1, func(m *Registered) int { return len(m.Confirm) }, func(g *gen) Registered {
			return Registered{g.bytes(32, 32)[:32*g.number(0, 1)]}
		}, ParseRegistered),
		message(TypeResetFinish, 1+10+32+32+64+64, nil, func(g *gen) ResetFinish { return ResetFinish{g.record(), g.b64(), g.b64()} }, ParseResetFinish),
		message(TypeResetDone, 1+32, nil, func(g *gen) ResetDone { return ResetDone{g.b32()} }, ParseResetDone),
		message(TypeGoodbye, 5+2, nil, func(g *gen) Goodbye { return Goodbye{Code(g.number(1, 1<<16-1))} }, ParseGoodbye),
		plain(TypeBye),
		message(TypeRefused, 5+7, nil, func(g *gen) Refused { return Refused{g.id(), g.denied()} }, ParseRefused),
		plain(TypeDone),
		plain(TypeWhoAmI),
		message(TypeAccount, 5+16+1+8+16+8, func(m *Account) int { return len(m.Name) }, func(g *gen) Account {
			return Account{g.id(), g.b16(), g.bytes(1, MaxName), g.u64(), g.b16(), g.u64()}
		}, ParseAccount),
		plain(TypeList),
		message(TypeListing, 5+2, func(m *Listing) int { return len(m.names) }, (*gen).listing, ParseListing),
		message(TypeListSessions, 5+16, nil, func(g *gen) ListSessions { return ListSessions{g.id(), g.b16()} }, ParseListSessions),
		message(TypeSessionList, 5+1+2, func(m *SessionList) int { return len(m.sessions) }, (*gen).sessionList, ParseSessionList),
		plain(TypeLogout),
		message(TypeOpStart, 5+1+32, nil, func(g *gen) OpStart {
			return OpStart{g.id(), []Type{TypeChangePassword, TypeDeleteAccount, TypeRevokeAll}[g.number(0, 2)], g.b32()}
		}, ParseOpStart),
		message(TypeOpChallenge, 5+32+16+10+10+2+6, nil, func(g *gen) OpChallenge {
			return OpChallenge{g.id(), g.b32(), g.b16(), g.kdf(), g.kdf(), g.u16(), g.policy()}
		}, ParseOpChallenge),
		message(TypeChangePassword, 5+10+32+32+64+64, nil, func(g *gen) ChangePassword {
			return ChangePassword{g.id(), g.record(), g.b64(), g.b64()}
		}, ParseChangePassword),
		message(TypePasswordChanged, 5+16+8+2+1+32, func(m *PasswordChanged) int { return len(m.Token) }, func(g *gen) PasswordChanged {
			return PasswordChanged{g.id(), g.b16(), g.u64(), g.bytes(1, MaxToken), g.b32()}
		}, ParsePasswordChanged),
		proved(TypeDeleteAccount),
		proved(TypeRevokeAll),
	}
}

// samples calls f with each codec, holding the lowest, the highest and random values one after another.
func samples(t *testing.T, randoms int, f func(t *testing.T, c codec, encoded []byte)) {
	for _, c := range codecs() {
		t.Run(c.name, func(t *testing.T) {
			f(t, c, c.set(newGen(lowest, 0)))
			f(t, c, c.set(newGen(highest, 0)))
			for i := range randoms {
				f(t, c, c.set(newGen(random, uint64(i))))
			}
		})
	}
}

func TestEveryTypeHasACodec(t *testing.T) {
	seen := map[Type]bool{}
	for _, c := range codecs() {
		seen[c.typ] = true
	}
	for i, e := range types {
		if e.name != "" && !seen[Type(i)] {
			t.Errorf("%s is not in the tests", e.name)
		}
	}
}

func TestRoundTrip(t *testing.T) {
	samples(t, 200, func(t *testing.T, c codec, b []byte) {
		want := c.value()
		size := c.fields()
		if padded := c.typ.size(); padded != 0 {
			size = padded
		}
		if len(b) != size || TypeOf(b) != c.typ {
			t.Errorf("%d bytes of type %v, want %d of %v", len(b), TypeOf(b), size, c.typ)
		}
		if err := c.decode(b); err != nil {
			t.Fatalf("%+v: %v", want, err)
		}
		if got := c.value(); !reflect.DeepEqual(got.Interface(), want.Interface()) {
			t.Errorf("%+v is read as %+v", want, got)
		}
		const before = "before"
		if got := c.encode([]byte(before)); !bytes.Equal(got, append([]byte(before), b...)) {
			t.Errorf("%x is written as %x", b, got)
		}
	})
}

// malformed says that b is not a message, and that reading it has no other effect.
func malformed(t *testing.T, c codec, b []byte, format string, args ...any) {
	t.Helper()
	if err := c.decode(b); !errors.Is(err, ErrMalformed) {
		t.Errorf("%s: %v", fmt.Sprintf(format, args...), err)
	}
}

func TestTruncated(t *testing.T) {
	samples(t, 3, func(t *testing.T, c codec, b []byte) {
		for n := range b {
			malformed(t, c, b[:n:n], "%d of %d bytes", n, len(b))
		}
	})
}

func TestTrailing(t *testing.T) {
	samples(t, 3, func(t *testing.T, c codec, b []byte) {
		for _, more := range [][]byte{{0}, {1}, make([]byte, 1024)} {
			malformed(t, c, append(b[:len(b):len(b)], more...), "%d bytes more", len(more))
		}
	})
}

func TestPadding(t *testing.T) {
	samples(t, 3, func(t *testing.T, c codec, b []byte) {
		fields := c.fields()
		for i := fields; i < len(b); i++ {
			b[i] = 1 << (i % 8)
			malformed(t, c, b, "byte %d of padding", i)
			b[i] = 0
		}
		if err := c.decode(b); err != nil || c.typ.size() != 0 && fields == len(b) {
			t.Errorf("without a change: %v; %d bytes of %d are fields", err, fields, len(b))
		}
	})
}

func TestOtherType(t *testing.T) {
	samples(t, 0, func(t *testing.T, c codec, b []byte) {
		for typ := range 256 {
			if Type(typ) != c.typ {
				b[0] = byte(typ)
				malformed(t, c, b, "type %#x", typ)
			}
		}
	})
}

// TestRandomBytes has what is read from any bytes be written as the same bytes.
func TestRandomBytes(t *testing.T) {
	g := newGen(random, 1)
	for _, c := range codecs() {
		c.set(newGen(highest, 0))
		size := c.fields()
		for range 100 {
			b := make([]byte, max(c.typ.size(), size))
			copy(b, g.bytes(size, size))
			b[0] = byte(c.typ)
			if c.decode(b) == nil && !bytes.Equal(c.encode(nil), b) {
				t.Fatalf("%s: %x is read as %+v, and written as %x", c.name, b, c.value(), c.encode(nil))
			}
		}
	}
}
