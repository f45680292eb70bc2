package cmd_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"syscall"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

func hangup(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, len(args) == 1, neg, "hangup NAME")
	ts.Check(find(ts, args[0]).cmd.Process.Signal(syscall.SIGHUP))
}

// readmatch waits too: what it looks for is mostly in a log.
func readmatch(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, len(args) == 3, neg, "readmatch VAR PATTERN FILE")
	pattern, err := regexp.Compile("(?m)" + args[1])
	ts.Check(err)
	wait(ts, args[1], func() bool {
		text, err := os.ReadFile(ts.MkAbs(args[2]))
		match := pattern.FindSubmatch(text)
		if err != nil || len(match) < 2 {
			return false
		}
		ts.Setenv(args[0], string(match[1]))
		return true
	})
}

// get asks until the answer has the status: what it asks after may be about to happen.
func get(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, len(args) == 3, neg, "get STATUS URL FILE")
	status, err := strconv.Atoi(args[0])
	ts.Check(err)
	wait(ts, args[0]+" of "+args[1], func() bool {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, args[1], nil)
		ts.Check(err)
		request.Close = true
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			return false
		}
		defer response.Body.Close()
		body, err := io.ReadAll(response.Body)
		if err != nil || response.StatusCode != status {
			return false
		}
		ts.Check(os.WriteFile(ts.MkAbs(args[2]), body, 0o600))
		return true
	})
}

// manager is the side of sd_notify(3) that listens: each message goes to the file as it comes, with an empty line behind it.
func manager(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, len(args) == 1, neg, "manager FILE")
	dir, err := os.MkdirTemp("", "authsrv-notify-") // its name is to be short
	ts.Check(err)
	ts.Defer(func() { os.RemoveAll(dir) })
	socket := filepath.Join(dir, "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	ts.Check(err)
	file, err := os.Create(ts.MkAbs(args[0]))
	ts.Check(err)
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer file.Close()
		var b [4096]byte
		for {
			n, err := conn.Read(b[:])
			if err != nil {
				return
			}
			_, _ = file.Write(append(b[:n:n], "\n\n"...))
		}
	}()
	ts.Defer(func() {
		_ = conn.SetReadDeadline(time.Unix(1, 0))
		<-done
		conn.Close()
	})
	ts.Setenv("NOTIFY_SOCKET", socket)
}
