package account

import (
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/authsrv/authsrv/credential"
)

// loginsEach is how often an account logs in in a benchmark: often enough to be no special case, and
// without coming to the most sessions that it may have, each of which a login would look at.
const loginsEach = 50

// ready returns n attempts with their proofs, of as many accounts as it takes, so that only the server's part is measured.
func ready(b *testing.B, r *rig, n int, k *credential.Key) ([]*Attempt, [][64]byte) {
	b.Helper()
	attempts, proofs := make([]*Attempt, n), make([][64]byte, n)
	for i := range n {
		name := fmt.Sprintf("user%d", i/loginsEach)
		if i%loginsEach == 0 {
			r.peer(one).account(name)
		}
		p := r.peer(one)
		a, tr := p.beginLogin(p.start(name))
		attempts[i], proofs[i] = a, k.Prove(tr.Sum())
	}
	return attempts, proofs
}

func BenchmarkFinishLogin(b *testing.B) {
	finish := func(b *testing.B, r *rig, a *Attempt, proof [64]byte) {
		if _, err := r.FinishLogin(b.Context(), a, proof); err != nil {
			b.Error(err)
		}
	}
	b.Run("serial", func(b *testing.B) {
		r := newRig(b)
		attempts, proofs := ready(b, r, b.N, right())
		b.ReportAllocs()
		b.ResetTimer()
		for i := range b.N {
			finish(b, r, attempts[i], proofs[i])
		}
	})
	b.Run("parallel", func(b *testing.B) {
		r := newRig(b)
		attempts, proofs := ready(b, r, b.N, right())
		var next atomic.Int64
		b.SetParallelism(16)
		b.ReportAllocs()
		b.ResetTimer()
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				i := next.Add(1) - 1
				finish(b, r, attempts[i], proofs[i])
			}
		})
	})
}

func BenchmarkResume(b *testing.B) {
	resume := func(b *testing.B, r *rig, p *peer, text string) {
		if _, err := r.Resume(b.Context(), &p.ch, [32]byte{1}, text); err != nil {
			b.Error(err)
		}
	}
	b.Run("serial", func(b *testing.B) {
		r := newRig(b)
		p := r.peer(one)
		l := p.account("alice")
		b.ReportAllocs()
		for b.Loop() {
			resume(b, r, p, l.Token)
		}
	})
	b.Run("parallel", func(b *testing.B) {
		r := newRig(b)
		p := r.peer(one)
		l := p.account("alice")
		b.SetParallelism(16)
		b.ReportAllocs()
		b.ResetTimer()
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				resume(b, r, p, l.Token)
			}
		})
	})
}

// BenchmarkRecord is what a record costs on its way to the store and back: encoded and sealed, opened and decoded.
func BenchmarkRecord(b *testing.B) {
	r := newRig(b)
	key := accountKey(ID{1})
	account := &accountRecord{name: "alice", method: credential.MethodPassword, verifier: verifierOf(right()), generation: 1}
	session := &sessionRecord{generation: 1, expires: 4, thumbprint: [32]byte{5}, jti: ID{6}, address: one}
	for _, c := range []struct {
		name, label string
		full, empty record
	}{{"account", labelAccount, account, new(accountRecord)}, {"session", labelSession, session, new(sessionRecord)}} {
		sealed, err := r.store.encode(c.label, key, c.full)
		if err != nil {
			b.Fatal(err)
		}
		b.Run("seal/"+c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := r.store.encode(c.label, key, c.full); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run("open/"+c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := r.store.decode(c.label, key, sealed, c.empty); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
