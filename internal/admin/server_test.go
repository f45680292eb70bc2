package admin

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// serve answers at a socket until the test ends, and returns its folder.
func serve(t *testing.T, o *Operations) (dir string) {
	t.Helper()
	dir = t.TempDir()
	start(t, dir, NewServer(o, nil))
	return dir
}

// start serves at the socket of a folder, and returns what ends it.
func start(t *testing.T, dir string, s *Server) (stop func()) {
	t.Helper()
	l, err := Listen(dir)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(l) }()
	stop = sync.OnceFunc(func() {
		s.Shutdown(context.Background())
		if err := <-ended; err != ErrClosed {
			t.Errorf("Serve: %v", err)
		}
	})
	t.Cleanup(stop)
	return stop
}

// blocked is operations whose status waits until it is told to go on, or is interrupted.
func blocked() (o *Operations, entered, proceed chan struct{}) {
	entered, proceed = make(chan struct{}, 100), make(chan struct{})
	return &Operations{Status: func(ctx context.Context) (*Status, error) {
		entered <- struct{}{}
		select {
		case <-proceed:
			return &Status{}, nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}}, entered, proceed
}

func TestSocket(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, SocketName)
	if _, err := Dial(dir); !errors.Is(err, ErrNotRunning) {
		t.Errorf("no socket: %v", err)
	}
	// What a killed server leaves.
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	l.Close()
	if _, err := Dial(dir); !errors.Is(err, ErrNotRunning) {
		t.Errorf("a socket without a server: %v", err)
	}
	stop := start(t, dir, NewServer(&Operations{Status: stubStatus}, nil))
	info, err := os.Lstat(path)
	if err != nil || info.Mode() != os.ModeSocket|0o600 {
		t.Errorf("the socket is %v, %v", info.Mode(), err)
	}
	c, err := Dial(dir)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 * maxConnections { // one after the other
		mustDo(t, c, "status", nil)
	}
	stop()
	if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket stays: %v", err)
	}
	if _, err := do(c, "status", nil); !errors.Is(err, ErrNotRunning) {
		t.Errorf("after the end: %v", err)
	}
}

func TestSocketRefusesOtherFiles(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, SocketName)
	if err := os.WriteFile(path, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	if l, err := Listen(dir); err == nil {
		l.Close()
		t.Error("a file was replaced")
	}
	if text, err := os.ReadFile(path); err != nil || string(text) != "mine" {
		t.Errorf("%q, %v", text, err)
	}
}

// A folder whose name is too long for a socket is reached all the same, and nothing is left of the way to it.
func TestSocketWithALongName(t *testing.T) {
	near := filepath.Join(t.TempDir(), "t")
	dir := filepath.Join(t.TempDir(), strings.Repeat("long", 30))
	for _, d := range []string{near, dir} {
		if err := os.Mkdir(d, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("TMPDIR", near)
	stop := start(t, dir, NewServer(&Operations{Status: stubStatus}, nil))
	c, err := Dial(dir)
	if err != nil {
		t.Fatal(err)
	}
	mustDo(t, c, "status", nil)
	if info, err := os.Lstat(filepath.Join(dir, SocketName)); err != nil || info.Mode() != os.ModeSocket|0o600 {
		t.Errorf("the socket is %v, %v", info, err)
	}
	stop()
	for _, d := range []string{near, dir} {
		if left, err := os.ReadDir(d); err != nil || len(left) != 0 {
			t.Errorf("left: %v, %v", left, err)
		}
	}
	t.Setenv("TMPDIR", dir)
	if _, err := Listen(dir); err == nil || !strings.Contains(err.Error(), "too long") {
		t.Errorf("with another long name: %v", err)
	}
}

func TestPermit(t *testing.T) {
	for _, c := range []struct {
		peer, own int
		ok        bool
	}{{1000, 1000, true}, {0, 1000, true}, {0, 0, true}, {1001, 1000, false}, {1000, 0, false}, {65534, 0, false}, {-1, 0, false}} {
		if err := permit(c.peer, c.own); (err == nil) != c.ok || err != nil && !errors.Is(err, &Error{Code: CodeNotPermitted}) {
			t.Errorf("%d at a server of %d: %v", c.peer, c.own, err)
		}
	}
}

// The kernel says who has connected, and who may not is told so, and nothing is done for him.
func TestIdentify(t *testing.T) {
	seen := make(chan int, 1)
	o, entered, _ := blocked()
	s := NewServer(o, nil)
	s.identify = func(conn net.Conn) (int, error) {
		uid, err := identify(conn)
		if err != nil {
			t.Error(err)
		}
		seen <- uid
		return uid, permit(uid+1, uid+2)
	}
	dir := t.TempDir()
	start(t, dir, s)
	if _, err := do(&Client{dir}, "status", nil); !errors.Is(err, &Error{Code: CodeNotPermitted}) {
		t.Errorf("%v", err)
	}
	if uid := <-seen; uid != os.Geteuid() {
		t.Errorf("uid %d, not %d", uid, os.Geteuid())
	}
	if len(entered) != 0 {
		t.Error("the operation was done")
	}
}

func TestBusy(t *testing.T) {
	o, entered, proceed := blocked()
	c := &Client{serve(t, o)}
	var all sync.WaitGroup
	for range maxConnections {
		all.Go(func() {
			if _, err := do(c, "status", nil); err != nil {
				t.Error(err)
			}
		})
	}
	for range maxConnections {
		<-entered
	}
	if _, err := do(c, "status", nil); !errors.Is(err, &Error{Code: CodeBusy}) {
		t.Errorf("one more: %v", err)
	}
	close(proceed)
	all.Wait()
	mustDo(t, c, "status", nil)
}

// Who leaves has given up: the operation is interrupted.
func TestLeaving(t *testing.T) {
	left := make(chan struct{})
	entered := make(chan struct{})
	dir := serve(t, &Operations{Status: func(ctx context.Context) (*Status, error) {
		close(entered)
		<-ctx.Done()
		close(left)
		return nil, ctx.Err()
	}})
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-entered
		cancel()
	}()
	err := (&Client{dir}).Do(ctx, NewRequest("status", nil), func(json.RawMessage) error { return nil })
	if !errors.Is(err, &Error{Code: CodeInterrupted}) {
		t.Errorf("%v", err)
	}
	<-left
}

// Shutdown waits for what is under way, and cuts it off when its time is over.
func TestShutdown(t *testing.T) {
	for _, patient := range []bool{true, false} {
		o, entered, proceed := blocked()
		dir := t.TempDir()
		s := NewServer(o, nil)
		start(t, dir, s)
		answer := make(chan error, 1)
		go func() {
			_, err := do(&Client{dir}, "status", nil)
			answer <- err
		}()
		<-entered
		ctx, cancel := context.WithCancel(t.Context())
		if patient {
			go func() { close(proceed) }()
		} else {
			cancel()
		}
		s.Shutdown(ctx)
		cancel()
		if err := <-answer; patient != (err == nil) {
			t.Errorf("patient %v: %v", patient, err)
		}
	}
}

// pipe gives a connection to a server that knows everybody, in a bubble.
func pipe(t *testing.T, o *Operations, log *slog.Logger) (net.Conn, *Server) {
	s := NewServer(o, log)
	s.identify = func(net.Conn) (int, error) { return 7, nil }
	here, there := net.Pipe()
	s.take(there)
	t.Cleanup(func() {
		here.Close()
		s.Shutdown(context.Background())
	})
	return here, s
}

func TestDeadlines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		// Half a request, and then nothing: nothing is done.
		o, entered, proceed := blocked()
		conn, _ := pipe(t, o, nil)
		began := time.Now()
		if _, err := conn.Write([]byte(`{"op":"status"}`)); err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(conn)
		if err != nil || !strings.Contains(string(text), CodeBadRequest) || time.Since(began) != requestTime {
			t.Errorf("%s, %v, after %v", text, err, time.Since(began))
		}
		if len(entered) != 0 {
			t.Error("half a request was done")
		}

		// Who does not read is not waited for.
		close(proceed)
		conn, s := pipe(t, o, nil)
		if _, err := conn.Write([]byte(`{"op":"status"}` + "\n")); err != nil {
			t.Fatal(err)
		}
		began = time.Now()
		s.Shutdown(context.Background())
		if since := time.Since(began); since != writeTime {
			t.Errorf("waited for %v", since)
		}
	})
}

func TestHalfARequestIsNotDone(t *testing.T) {
	o, entered, _ := blocked()
	dir := serve(t, o)
	conn, err := (&Client{dir}).connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write([]byte(`{"op":"status"}`)); err != nil {
		t.Fatal(err)
	}
	if err := conn.(*net.UnixConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil || !strings.HasPrefix(line, `{"error":{"code":"bad-request"`) || len(entered) != 0 {
		t.Errorf("%s, %v", line, err)
	}
}

// What changes something is logged, with who it was; what only looks is not.
func TestLog(t *testing.T) {
	var text bytes.Buffer
	log := slog.New(slog.NewTextHandler(&text, nil))
	s := NewServer(&Operations{}, log)
	s.note(7, NewRequest("user.disable", Named{"alice"}), nil)
	s.note(7, NewRequest("user.delete", Named{"bob"}), &Error{Code: CodeNoAccount})
	s.note(7, NewRequest("user.show", Named{"carol"}), nil)
	s.note(7, []byte(`{"op":"user.nosuch","name":"dora"}`), &Error{Code: CodeUnknownOperation})
	got := text.String()
	for _, want := range []string{
		"operation=user.disable outcome=success name=alice uid=7", "operation=user.delete outcome=no-account name=bob uid=7",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in %s", want, got)
		}
	}
	if strings.Contains(got, "carol") || strings.Contains(got, "dora") {
		t.Errorf("too much: %s", got)
	}
}

// A server that goes away without a last line is no success.
func TestNoAnswer(t *testing.T) {
	dir := t.TempDir()
	l, err := Listen(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		_, _ = bufio.NewReader(conn).ReadString('\n')
		_, _ = conn.Write([]byte("{\"name\":\"alice\"}\n"))
		conn.Close()
	}()
	results, err := do(&Client{dir}, "user.list", nil)
	if !errors.Is(err, &Error{Code: CodeNoAnswer}) || len(results) != 1 {
		t.Errorf("%v, %v", results, err)
	}
}
