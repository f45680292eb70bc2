package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/authsrv/authsrv/credential"
	"github.com/authsrv/authsrv/internal/account"
	"github.com/authsrv/authsrv/internal/admin"
	"github.com/authsrv/authsrv/kv"
	"github.com/authsrv/authsrv/kv/pebblekv"
	"github.com/authsrv/authsrv/server"
)

func TestExplainStore(t *testing.T) {
	for _, c := range []struct {
		err  error
		code int
		text string
	}{
		{pebblekv.ErrLocked, exitBusy, "another authsrv uses this folder"},
		{pebblekv.ErrNewerFormat, exitLocal, "a newer version"},
		{account.ErrNewerFormat, exitLocal, "a newer version"},
		{account.ErrOtherRealm, exitLocal, "another key file"},
		{pebblekv.ErrCorrupt, exitStorage, "the database in db is damaged: restore a backup (open: store is corrupt)"},
		{pebblekv.ErrFailed, exitStorage, "storage failed"},
		{account.ErrDamaged, exitStorage, "the database in db is damaged: restore a backup (open: damaged record)"},
		{fs.ErrPermission, exitStorage, "storage failed"},
	} {
		err := explainStore("db", fmt.Errorf("open: %w", c.err))
		var f *failure
		if !errors.As(err, &f) || f.code != c.code || !strings.Contains(oneLine(err), c.text) {
			t.Errorf("%v becomes %v", c.err, err)
		}
	}
	if explainStore("db", nil) != nil {
		t.Error("nothing wrong is something")
	}
}

func TestErrorsAreOneLine(t *testing.T) {
	if got := oneLine(errors.Join(errors.New("one\r\n"), errors.New("two"))); got != "one; two" {
		t.Errorf("got %q", got)
	}
}

// An error that has its exit code keeps it on the way up.
func TestLocal(t *testing.T) {
	var f *failure
	if err := local(fmt.Errorf("more: %w", fail(exitStorage, "storage"))); !errors.As(err, &f) || f.code != exitStorage {
		t.Errorf("%v", err)
	}
	for _, disk := range []error{syscall.ENOSPC, syscall.EIO, syscall.EROFS} {
		if err := local(&fs.PathError{Op: "open", Path: "lock", Err: disk}); !errors.As(err, &f) || f.code != exitStorage || !errors.Is(err, disk) {
			t.Errorf("%v", err)
		}
	}
	if err := local(io.EOF); !errors.As(err, &f) || f.code != exitLocal || !errors.Is(err, io.EOF) {
		t.Errorf("%v", err)
	}
}

func TestCheckListen(t *testing.T) {
	for address, ok := range map[string]bool{
		"127.0.0.1:7022": true, "127.0.0.1:0": true, ":7022": true, "[::1]:7022": true, "example.com:65535": true,
		"": false, "7022": false, "127.0.0.1": false, "127.0.0.1:": false, "127.0.0.1:65536": false, "::1:7022": false,
		"127.0.0.1:-1": false, "127.0.0.1:+1": false, "127.0.0.1:07022": false, "127.0.0.1:http": false, "[::1]": false,
	} {
		if err := checkListen(address); (err == nil) != ok {
			t.Errorf("%q: %v", address, err)
		}
	}
}

// What may be otherwise a moment later has the exit code of that, and the address is named once.
func TestCannotListen(t *testing.T) {
	listen := func(err error) error {
		return &net.OpError{Op: "listen", Net: "tcp", Addr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1}, Err: err}
	}
	for _, c := range []struct {
		err  error
		code int
		text string
	}{
		{listen(os.NewSyscallError("bind", syscall.EADDRINUSE)), exitBusy, syscall.EADDRINUSE.Error()},
		{listen(os.NewSyscallError("bind", syscall.EADDRNOTAVAIL)), exitBusy, syscall.EADDRNOTAVAIL.Error()},
		{listen(os.NewSyscallError("bind", syscall.EACCES)), exitLocal, syscall.EACCES.Error()},
		{listen(&net.DNSError{Err: "no such host", Name: "host", Server: "192.0.2.1:53", IsNotFound: true}), exitBusy, "no such host"},
		{listen(&net.DNSError{Err: "i/o timeout", Name: "host", IsTimeout: true}), exitBusy, "the host can't be looked up: i/o timeout"},
		{io.EOF, exitLocal, "EOF"},
	} {
		var f *failure
		if err := cannotListen("host:1", c.err); !errors.As(err, &f) || f.code != c.code || err.Error() != "cannot listen at host:1: "+c.text {
			t.Errorf("%v becomes %v", c.err, err)
		}
	}
}

func TestAnnounced(t *testing.T) {
	for ip, want := range map[string]string{
		"127.0.0.1": "127.0.0.1:1", "0.0.0.0": "127.0.0.1:1", "::": "127.0.0.1:1", "::1": "[::1]:1", "192.0.2.1": "192.0.2.1:1",
	} {
		if got := dialable(&net.TCPAddr{IP: net.ParseIP(ip), Port: 1}); got != want {
			t.Errorf("%s: %s, want %s", ip, got, want)
		}
	}
	for executable, want := range map[string]bool{
		"/tmp/go-build3765/b001/exe/authsrv": true, "/home/x/.cache/go-build/ab/abcd-d/authsrv": true,
		"/usr/local/bin/authsrv": false, "/home/x/go/bin/authsrv": false,
	} {
		if got := isGoRun(executable); got != want {
			t.Errorf("%s: %v", executable, got)
		}
	}
}

// A failure to write what a command is for is a failure of the command.
func TestOutputThatFails(t *testing.T) {
	var stderr bytes.Buffer
	if code := run([]string{"authsrv", "version"}, strings.NewReader(""), brokenWriter{}, &stderr); code != exitLocal {
		t.Errorf("exit code %d", code)
	}
	if got := stderr.String(); got != "authsrv: cannot write the output: broken\n" {
		t.Errorf("standard error: %q", got)
	}
}

type brokenWriter struct{}

func (brokenWriter) Write([]byte) (int, error) { return 0, errors.New("broken") }

// A disk that refuses a write ends the server at once, with the exit code of that.
func TestStorageFails(t *testing.T) {
	f := folder(filepath.Join(t.TempDir(), "data"))
	if err := f.create(); err != nil {
		t.Fatal(err)
	}
	keys, err := makeKeys(f, nil)
	if err != nil {
		t.Fatal(err)
	}
	full := errorfs.Toggle{Injector: errorfs.ErrInjected.If(errorfs.Writes)}
	engine, err := pebblekv.Open("db", &pebblekv.Options{FS: errorfs.Wrap(vfs.NewMem(), &full)})
	if err != nil {
		t.Fatal(err)
	}
	addrFile := filepath.Join(t.TempDir(), "addr")
	p := &program{stdout: &faultyWriter{w: io.Discard}, stderr: io.Discard}
	r := p.newInstance(&configuration{
		folder: f, file: &configFile{name: f.config()},
		settings: settings{listen: "127.0.0.1:0", addrFile: addrFile, policy: credential.DefaultPolicy()},
	})
	r.keys, r.engine = keys, engine
	r.health.store.Store(engine)
	ended := make(chan error, 1)
	go func() { ended <- r.serve(t.Context()) }()
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		if _, err := os.Stat(addrFile); err == nil {
			break
		}
		if time.Now().After(end) || len(ended) > 0 {
			t.Fatal("the server is not listening")
		}
	}

	full.On()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	client, err := admin.Dial(string(f))
	if errors.Is(err, admin.ErrNotRunning) && runtime.GOOS == "windows" { // which has no socket
		_, err = engine.Commit(ctx, nil, []kv.Write{{Key: []byte("key"), Value: []byte("value")}})
	} else if err != nil {
		t.Fatal(err)
	} else {
		err = explainAdmin(client.Do(ctx, admin.NewRequest("invite.create", nil), func(json.RawMessage) error { return nil }))
		var failed *failure
		if !errors.As(err, &failed) || failed.code != exitStorage ||
			!strings.HasPrefix(err.Error(), "storage failed: what was asked for may have been done, look whether it was (") || strings.Contains(err.Error(), "kv: ") {
			t.Errorf("the administrator is told %v", err)
		}
	}
	if err == nil {
		t.Error("the disk took the write")
	}
	select {
	case err := <-ended:
		var failed *failure
		if !errors.As(err, &failed) || failed.code != exitStorage || !strings.HasPrefix(err.Error(), "storage failed: ") {
			t.Errorf("the server ended with %v", err)
		}
	case <-ctx.Done():
		t.Fatal("the server goes on")
	}
}

func TestParsePenalties(t *testing.T) {
	ours := server.DefaultPenalties()
	ours.Exempt = nil
	more := ours
	more.Costs[server.Garbage], more.Costs[server.Refused], more.Most = 10*time.Second, 0, time.Hour
	for text, want := range map[string]server.Penalties{"on": ours, "off": {}, "garbage:10s, refused:0s,most:1h": more} {
		s := settings{penalties: server.Penalties{Least: 1}}
		if err := parsePenalties(&s, text); err != nil || !reflect.DeepEqual(s.penalties, want) {
			t.Errorf("%s: %+v, %v", text, s.penalties, err)
		}
	}
	var s settings
	for text, want := range map[string]int{"127.0.0.0/8,::1/128": 2, "192.0.2.7, 2001:db8::7": 2, "none": 0} {
		if err := parseExempt(&s, text); err != nil || len(s.exempt) != want {
			t.Errorf("%s: %v, %v", text, s.exempt, err)
		}
	}
	fallback := settingOf("penalty_exempt").fallback
	if err := parseExempt(&s, fallback); err != nil || !reflect.DeepEqual(s.exempt, server.DefaultPenalties().Exempt) {
		t.Errorf("%s is not what a server exempts by itself", fallback)
	}
}
