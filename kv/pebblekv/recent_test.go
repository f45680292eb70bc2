package pebblekv

import (
	"strings"
	"testing"

	"github.com/authsrv/authsrv/kv"
)

func TestBriefKeysDiffer(t *testing.T) {
	long := strings.Repeat("k", 1000)
	keys := []string{"a", "a\x00", "a\x00\x00", strings.Repeat("k", 46), strings.Repeat("k", 47), strings.Repeat("k", 48), long, long + "a", long + "b"}
	seen := make(map[brief]string)
	for _, k := range keys {
		if other, there := seen[briefly([]byte(k))]; there {
			t.Errorf("%.50q of %d bytes and %.50q of %d are the same", k, len(k), other, len(other))
		}
		seen[briefly([]byte(k))] = k
	}
	sum := briefly([]byte(strings.Repeat("s", 48))) // a short key can't be made the same as the sum of a long one
	if _, there := seen[briefly(sum[:47])]; there || briefly(sum[:47]) == sum {
		t.Error("a key that is a sum is taken for what that is of")
	}
}

// A key is remembered whatever its length: by the judgement of a read that is older than a write, and younger.
func TestRecentLongKeys(t *testing.T) {
	var r recent
	r.init(1)
	for _, key := range []string{"k", strings.Repeat("k", 47), strings.Repeat("k", 48), strings.Repeat("k", kv.MaxKey)} {
		read := kv.Read{Key: []byte(key), At: r.now()}
		if r.judge(read) != unmoved {
			t.Errorf("%d bytes: moved before it was written", len(key))
		}
		version := r.now() + 1
		r.commit(version, []kv.Event{{Key: []byte(key), Version: version}})
		if r.judge(read) != moved {
			t.Errorf("%d bytes: a write was not remembered", len(key))
		}
		if read.Version = version; r.judge(read) != unmoved {
			t.Errorf("%d bytes: another version was remembered", len(key))
		}
	}
}
