package main

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/authsrv/authsrv/internal/admin"
)

func TestMayOpen(t *testing.T) {
	for _, c := range []struct {
		own, owner int
		ok         bool
	}{{0, 0, true}, {1000, 1000, true}, {0, 1000, false}, {1000, 1001, true}} { // the system itself refuses the last one, or has its reasons
		if err := folder("data").mayOpen(c.own, c.owner); (err == nil) != c.ok {
			t.Errorf("%d in a folder of %d: %v", c.own, c.owner, err)
		}
	}
	info, err := os.Stat(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if uid, known := owner(info); known && uid != os.Geteuid() {
		t.Errorf("a new folder belongs to %d", uid)
	}
}

func TestExplainAdmin(t *testing.T) {
	for _, c := range []struct {
		err  error
		code int
	}{
		{&admin.Error{Code: admin.CodeStorage}, exitStorage},
		{&admin.Error{Code: admin.CodeNoAccount}, exitLocal},
		{&admin.Error{Code: admin.CodeNotPermitted}, exitLocal},
		{&admin.Error{Code: admin.CodeNoAnswer}, exitConnection},
		{&admin.Error{Code: admin.CodeInterrupted}, exitConnection},
		{&admin.Error{Code: admin.CodeBusy}, exitBusy},
		{admin.ErrNotRunning, exitConnection},
		{usage("wrong"), exitUsage},
		{os.ErrPermission, exitLocal},
	} {
		var f *failure
		if err := explainAdmin(c.err); !errors.As(err, &f) || f.code != c.code {
			t.Errorf("%v becomes %v", c.err, err)
		}
	}
	if explainAdmin(nil) != nil {
		t.Error("nothing wrong is something")
	}
}

func TestFolderSize(t *testing.T) {
	f := folder(t.TempDir())
	for name, size := range map[string]int{"one": 1000, "two": 234} {
		if err := os.WriteFile(filepath.Join(string(f), name), make([]byte, size), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if size, err := f.size(); err != nil || size != 1234 {
		t.Errorf("%d, %v", size, err)
	}
	if size, err := folder(filepath.Join(string(f), "gone")).size(); err != nil || size != 0 {
		t.Errorf("a folder that is gone: %d, %v", size, err)
	}
	for n, want := range map[int64]string{0: "0 bytes", 1023: "1023 bytes", 1024: "1.0 KiB", 1536 << 10: "1.5 MiB", 5 << 40: "5.0 TiB", 5 << 50: "5120.0 TiB"} {
		if got := byteCount(n); got != want {
			t.Errorf("%d: %s, want %s", n, got, want)
		}
	}
}
