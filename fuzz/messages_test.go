package fuzz

import (
	"bytes"
	"errors"
	"math"
	"runtime"
	"testing"

	"github.com/authsrv/authsrv/wire"
)

// appender is what every message is.
type appender interface{ AppendTo(dst []byte) []byte }

// A message is one type of them.
type message struct {
	typ   wire.Type
	limit int                              // cap on the frame that it comes in
	check func(b []byte) error             // parses and keeps nothing
	parse func(b []byte) (appender, error) // the struct
	blank func() appender                  // an empty struct
}

func of[M any, P interface {
	*M
	appender
}](typ wire.Type, limit int, parse func([]byte) (M, error)) message {
	return message{
		typ:   typ,
		limit: limit,
		check: func(b []byte) error { _, err := parse(b); return err },
		parse: func(b []byte) (appender, error) { m, err := parse(b); return P(&m), err },
		blank: func() appender { return P(new(M)) },
	}
}

func plain(typ wire.Type) message {
	return of(typ, wire.MaxSessionFrame, func(b []byte) (wire.Plain, error) { return wire.ParsePlain(b, typ) })
}

func proved(typ wire.Type) message {
	return of(typ, wire.MaxSessionFrame, func(b []byte) (wire.ProvedOp, error) { return wire.ParseProvedOp(b, typ) })
}

// messages is the table of PROTOCOL 7, which TestEveryType holds against package wire.
var messages = []message{
	of(wire.TypeServerHello, wire.MaxHandshakeFrame, wire.ParseServerHello),
	of(wire.TypeAuthStart, wire.MaxStartFrame, wire.ParseAuthStart),
	of(wire.TypeChallenge, wire.MaxLoginFrame, wire.ParseChallenge),
	of(wire.TypeProof, wire.MaxLoginFrame, wire.ParseProof),
	of(wire.TypeWelcome, wire.MaxLoginFrame, wire.ParseWelcome),
	of(wire.TypeDenied, wire.MaxLoginFrame, wire.ParseDenied),
	of(wire.TypeRegisterParams, wire.MaxLoginFrame, wire.ParseRegisterParams),
	of(wire.TypeRegisterFinish, wire.MaxLoginFrame, wire.ParseRegisterFinish),
	of(wire.TypeRegisterPassword, wire.MaxCheckingFrame, wire.ParseRegisterPassword),
	of(wire.TypeRegistered, wire.MaxLoginFrame, wire.ParseRegistered),
	of(wire.TypeResetFinish, wire.MaxLoginFrame, wire.ParseResetFinish),
	of(wire.TypeResetDone, wire.MaxLoginFrame, wire.ParseResetDone),
	of(wire.TypeGoodbye, wire.MaxSessionFrame, wire.ParseGoodbye),
	plain(wire.TypeBye),
	of(wire.TypeRefused, wire.MaxSessionFrame, wire.ParseRefused),
	plain(wire.TypeDone),
	plain(wire.TypeWhoAmI),
	of(wire.TypeAccount, wire.MaxSessionFrame, wire.ParseAccount),
	plain(wire.TypeList),
	of(wire.TypeListing, wire.MaxSessionFrame, wire.ParseListing),
	of(wire.TypeListSessions, wire.MaxSessionFrame, wire.ParseListSessions),
	of(wire.TypeSessionList, wire.MaxSessionFrame, wire.ParseSessionList),
	plain(wire.TypeLogout),
	of(wire.TypeOpStart, wire.MaxSessionFrame, wire.ParseOpStart),
	of(wire.TypeOpChallenge, wire.MaxSessionFrame, wire.ParseOpChallenge),
	of(wire.TypeChangePassword, wire.MaxSessionFrame, wire.ParseChangePassword),
	of(wire.TypePasswordChanged, wire.MaxSessionFrame, wire.ParsePasswordChanged),
	proved(wire.TypeDeleteAccount),
	proved(wire.TypeRevokeAll),
}

// TestEveryType holds the table against the types that package wire knows, and has each be in the seeds, as a good one.
func TestEveryType(t *testing.T) {
	inTable, good := make(map[wire.Type]bool), make(map[wire.Type]int)
	for _, s := range messageSeeds(t) {
		b := s[1].([]byte)
		for _, m := range messages {
			inTable[m.typ] = true
			if m.check(b) == nil {
				good[m.typ]++
			}
		}
	}
	for i := range 256 {
		typ := wire.Type(i)
		named := !bytes.HasPrefix([]byte(typ.String()), []byte("Type("))
		if named != inTable[typ] || named && good[typ] == 0 {
			t.Errorf("%v: in the table is %v, and %d good seeds", typ, inTable[typ], good[typ])
		}
	}
}

func messageSeeds(t testing.TB) (all []seed) {
	add := func(b []byte) { all = append(all, seed{uint8(0), b}) }
	for _, m := range examples() {
		b := m.AppendTo(nil)
		add(b)
		for _, fault := range faults(b) {
			add(fault)
		}
	}
	for _, b := range golden(t) {
		add(b)
	}
	for _, b := range theVectors(t).binary {
		if typ := wire.TypeOf(b); len(b) <= wire.MaxSessionFrame {
			for _, m := range messages {
				if m.typ == typ {
					add(b)
				}
			}
		}
	}
	for _, h := range vectorHellos(t) {
		add(h.AppendTo(nil))
	}
	add(nil)
	add(make([]byte, wire.AuthStartSize))
	add(append([]byte{uint8(wire.TypeListing), 0, 0, 0, 1, 0xff, 0xff}, bytes.Repeat([]byte{1}, 64)...))
	add([]byte{uint8(wire.TypeSessionList), 0, 0, 0, 1, 0, 0xff, 0xff})
	return append(all, structSeeds(t)...)
}

// faults returns what typically goes wrong with a message: cut short, too long, with another byte where a field or
// the padding is, of another type.
func faults(b []byte) [][]byte {
	with := func(at int, v byte) []byte {
		c := bytes.Clone(b)
		c[at] = v
		return c
	}
	last := len(b) - 1
	all := [][]byte{b[:last], append(bytes.Clone(b), 0), with(last, b[last]^1), with(0, b[0]^1), with(min(1, last), 0xff)}
	if b[0] >= uint8(wire.TypeGoodbye) && last >= 4 { // the request id
		all = append(all, append([]byte{b[0], 0, 0, 0, 0}, b[5:]...), with(min(5, last), 0xff))
	}
	return all
}

// allocated returns the bytes that f allocates: the least of some runs, since what others allocate meanwhile counts, too.
func allocated(f func()) uint64 {
	least := uint64(math.MaxUint64)
	for tries := 0; tries < 5 && least > 0; tries++ {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		f()
		runtime.ReadMemStats(&after)
		least = min(least, after.TotalAlloc-before.TotalAlloc)
	}
	return least
}

// FuzzMessages reads any bytes as each message: at most one type takes them, what is taken is written as the same bytes, and
// reading makes no room beyond what the message's frame can hold. And it takes them for the fields of a message of a type, which is written,
// and read.
func FuzzMessages(f *testing.F) {
	plant(f)
	f.Fuzz(func(t *testing.T, typ uint8, b []byte) {
		written(t, typ, b)
		kept := bytes.Clone(b)
		for _, m := range messages {
			err := m.check(b)
			if err == nil && wire.TypeOf(b) != m.typ {
				t.Fatalf("%x is read as a %v", b, m.typ)
			}
			if err != nil && !errors.Is(err, wire.ErrMalformed) {
				t.Fatalf("%v: %v", m.typ, err)
			}
			if wire.TypeOf(b) != m.typ {
				continue
			}
			if n := allocated(func() { m.check(b) }); n > uint64(m.limit) {
				t.Errorf("reading a %v of %d bytes allocates %d bytes", m.typ, len(b), n)
			}
			if err == nil {
				accepted(t, m, b)
			}
		}
		inClear(t, b)
		if !bytes.Equal(b, kept) {
			t.Error("reading changed the input")
		}
	})
}

// accepted judges a message that b was read as.
func accepted(t *testing.T, m message, b []byte) {
	if len(b)+16 > m.limit && m.typ < wire.TypeGoodbye {
		t.Errorf("a %v of %d bytes does not fit in a frame of %d", m.typ, len(b), m.limit)
	}
	value, err := m.parse(b)
	if err != nil {
		t.Fatalf("%v at second sight: %v", m.typ, err)
	}
	if again := value.AppendTo([]byte("before")); !bytes.Equal(again, append([]byte("before"), b...)) {
		t.Errorf("%v: %x is written as %x", m.typ, b, again)
	}
	if m.typ >= wire.TypeGoodbye {
		id, err := wire.RequestID(b)
		if err != nil || (id == 0) != (m.typ == wire.TypeGoodbye || m.typ == wire.TypeBye) {
			t.Errorf("%v has the id %d, %v", m.typ, id, err)
		}
	}
	switch list := value.(type) {
	case *wire.Listing:
		again := wire.Listing{ID: list.ID}
		for name := range list.All() {
			if len(name) == 0 || len(name) > 255 {
				t.Fatalf("a name of %d bytes in a Listing", len(name))
			}
			again.Add(string(name))
		}
		if got := again.AppendTo(nil); again.Count != list.Count || !bytes.Equal(got, b) {
			t.Errorf("the names of %x are those of %x", b, got)
		}
	case *wire.SessionList:
		again := wire.SessionList{ID: list.ID, More: list.More}
		var last [16]byte
		for s := range list.All() {
			if len(s.Address) > wire.MaxAddress {
				t.Fatalf("an address of %d bytes in a SessionList", len(s.Address))
			}
			if again.Count > 0 && bytes.Compare(last[:], s.ID[:]) >= 0 {
				t.Fatalf("the sessions %x and %x in this order", last, s.ID)
			}
			last = s.ID
			again.Add(&s)
		}
		if got := again.AppendTo(nil); again.Count != list.Count || !bytes.Equal(got, b) {
			t.Errorf("the sessions of %x are those of %x", b, got)
		}
	}
}

// inClear reads b as the two things that go in clear (PROTOCOL 2).
func inClear(t *testing.T, b []byte) {
	if refusal, err := wire.ParseRefusal(b); err == nil {
		if again := refusal.AppendTo(nil); !bytes.Equal(again, b) {
			t.Errorf("refusal %x is written as %x", b, again)
		}
		if refusal.Code != wire.CodeVersion && refusal.Code != wire.CodeOverloaded {
			t.Errorf("a refusal with the code %d", refusal.Code)
		}
	}
	if len(b) < wire.PrefaceSize {
		return
	}
	first := [wire.PrefaceSize]byte(b)
	if preface, err := wire.ParsePreface(first); err == nil && preface.Bytes() != first {
		t.Errorf("preface %x is written as %x", first, preface.Bytes())
	}
}
