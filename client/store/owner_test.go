package store

import (
	"os"
	"runtime"
	"testing"
)

// A folder may belong to who uses it and to root, and to nobody else.
func TestTrusted(t *testing.T) {
	for _, c := range []struct {
		uid, effective int
		want           bool
	}{{1000, 1000, true}, {0, 1000, true}, {0, 0, true}, {1001, 1000, false}, {1000, 0, false}} {
		if got := trusted(c.uid, c.effective); got != c.want {
			t.Errorf("a folder of user %d, for user %d: %v", c.uid, c.effective, got)
		}
	}
}

func TestOwner(t *testing.T) {
	info, err := os.Stat(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if uid, ok := owner(info); ok && uid != os.Geteuid() || !ok && runtime.GOOS == "linux" {
		t.Errorf("it belongs to user %d, %v", uid, ok)
	}
}
