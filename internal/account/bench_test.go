package account

import (
	"sync/atomic"
	"testing"

	"github.com/authsrv/authsrv/credential"
)

// ready returns n attempts of one account with their proofs, so that only the server's part is measured.
func ready(b *testing.B, r *rig, n int, k *credential.Key) ([]*Attempt, [][64]byte) {
	b.Helper()
	attempts, proofs := make([]*Attempt, n), make([][64]byte, n)
	for i := range n {
		p := r.peer(one)
		a, tr := p.beginLogin(p.start("alice"))
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
		r.peer(one).account("alice")
		attempts, proofs := ready(b, r, b.N, right())
		b.ReportAllocs()
		b.ResetTimer()
		for i := range b.N {
			finish(b, r, attempts[i], proofs[i])
		}
	})
	b.Run("parallel", func(b *testing.B) {
		r := newRig(b)
		r.peer(one).account("alice")
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
