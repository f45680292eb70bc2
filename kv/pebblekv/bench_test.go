package pebblekv

import (
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/authsrv/authsrv/kv"
)

// BenchmarkCommit shows what sharing syncs is worth: on disk, by committers that wait for each of theirs.
// The syncs of the file system alone are the yardstick.
func BenchmarkCommit(b *testing.B) {
	b.Run("sync-only", func(b *testing.B) {
		f, err := os.Create(b.TempDir() + "/file")
		if err != nil {
			b.Fatal(err)
		}
		defer f.Close()
		for b.Loop() {
			if _, err := f.Write(make([]byte, 200)); err != nil {
				b.Fatal(err)
			}
			if err := f.Sync(); err != nil {
				b.Fatal(err)
			}
		}
	})
	for _, committers := range []int{1, 16} {
		b.Run(fmt.Sprint("committers-", committers), func(b *testing.B) {
			s := mustOpen(b, b.TempDir(), nil)
			var left atomic.Int64
			left.Store(int64(b.N))
			b.ResetTimer()
			var wg sync.WaitGroup
			for c := range committers {
				wg.Go(func() {
					key := fmt.Append(nil, "key", c)
					for left.Add(-1) >= 0 {
						err := kv.Update(b.Context(), s, func(tx *kv.Tx) error {
							_, _, err := tx.Get(key)
							tx.Put(key, make([]byte, 150))
							return err
						})
						if err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			wg.Wait()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "commits/s")
		})
	}
}

func BenchmarkGet(b *testing.B) {
	s := mustOpen(b, b.TempDir(), nil)
	key := []byte("key")
	if _, err := s.Commit(b.Context(), nil, []kv.Write{{Key: key, Value: make([]byte, 150)}}); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.Get(b.Context(), key); err != nil {
			b.Fatal(err)
		}
	}
}
