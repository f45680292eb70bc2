package wire

import (
	"bytes"
	"testing"
)

// loop is a stream of the same bytes over and over.
type loop struct {
	b  []byte
	at int
}

func (l *loop) Read(p []byte) (int, error) {
	n := copy(p, l.b[l.at:])
	l.at = (l.at + n) % len(l.b)
	return n, nil
}

// A work is something that a connection does for every message.
type work struct {
	name string
	size int // bytes
	do   func() error
}

// works returns all that this package does for a message: to read and to write each one, and a frame.
func works() []work {
	var all []work
	for _, c := range codecs() {
		b := c.set(newGen(random, 2))
		dst := make([]byte, 0, len(b))
		all = append(all,
			work{"decode/" + c.name, len(b), func() error { return c.decode(b) }},
			work{"encode/" + c.name, len(b), func() error { dst = c.encode(dst[:0]); return nil }},
		)
	}
	for _, n := range []int{1, MaxLoginFrame, MaxSessionFrame} {
		body := make([]byte, n)
		dst := make([]byte, 0, FrameHeaderSize+n)
		name := map[int]string{1: "1B", MaxLoginFrame: "login", MaxSessionFrame: "session"}[n]
		f := NewFrameReader(&loop{b: frame(n)})
		all = append(all,
			work{"frame/read/" + name, n, func() error { _, err := f.Next(n); return err }},
			work{"frame/write/" + name, n, func() error {
				dst = append(BeginFrame(dst[:0]), body...)
				return EndFrame(dst, 0)
			}},
		)
	}
	return append(all, small()...)
}

func small() []work {
	var hello ServerHello
	preface, refusal := Preface{1, 1, 0}, Refusal{1, 1, CodeVersion}
	head, dst := preface.Bytes(), make([]byte, 0, 512)
	refused := refusal.AppendTo(nil)
	listing, sessions := newGen(random, 2).listing(), newGen(random, 2).sessionList()
	finish, reset, change, op := new(RegisterFinish), new(ResetFinish), new(ChangePassword), new(ProvedOp)
	return []work{
		{"preface/encode", 8, func() error { head = preface.Bytes(); return nil }},
		{"preface/decode", 8, func() error { _, err := ParsePreface(head); return err }},
		{"refusal/encode", 8, func() error { dst = refusal.AppendTo(dst[:0]); return nil }},
		{"refusal/decode", 8, func() error { _, err := ParseRefusal(refused); return err }},
		{"signed/Certificate", 96, func() error { dst = hello.Certificate.SignedBytes(dst[:0], hello.RealmID, hello.Identity); return nil }},
		{"signed/RegisterFinish", 75, func() error { dst = finish.AppendSigned(dst[:0]); return nil }},
		{"signed/ResetFinish", 75, func() error { dst = reset.AppendSigned(dst[:0]); return nil }},
		{"signed/ChangePassword", 79, func() error { dst = change.AppendSigned(dst[:0]); return nil }},
		{"signed/ProvedOp", 5, func() error { dst = op.AppendSigned(dst[:0]); return nil }},
		{"list/Listing", len(listing.names), func() error {
			for name := range listing.All() {
				if len(name) == 0 {
					return ErrMalformed
				}
			}
			return nil
		}},
		{"list/SessionList", len(sessions.sessions), func() error {
			for s := range sessions.All() {
				if len(s.Address) > MaxAddress {
					return ErrMalformed
				}
			}
			return nil
		}},
		{"names", 1, func() error {
			if CodeDenied.Name() == "" || CodeDenied.Error() == "" || TypeProof.String() == "" || TypeOf(refused) == 0 {
				return ErrMalformed
			}
			_, err := RequestID(refused)
			return err
		}},
	}
}

// TestNoAllocations holds all of it at none.
func TestNoAllocations(t *testing.T) {
	for _, w := range works() {
		allocs := testing.AllocsPerRun(100, func() {
			if err := w.do(); err != nil {
				t.Errorf("%s: %v", w.name, err)
			}
		})
		if allocs != 0 && !underRace {
			t.Errorf("%s makes %v allocations", w.name, allocs)
		}
	}
}

// TestListAddAllocations holds Add to what its buffer costs.
func TestListAddAllocations(t *testing.T) {
	names := make([]byte, 0, 1024)
	name := string(bytes.Repeat([]byte("n"), 255))
	allocs := testing.AllocsPerRun(100, func() {
		l := Listing{names: names}
		l.Add(name)
	})
	if allocs != 0 && !underRace {
		t.Errorf("Add makes %v allocations", allocs)
	}
}

func BenchmarkMessages(b *testing.B) {
	for _, w := range works() {
		b.Run(w.name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(w.size))
			for b.Loop() {
				if err := w.do(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
