package cmd_test

import (
	"bufio"
	"encoding/binary"
	"io"
	"net"
	"os"
	"strconv"
	"sync"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/authsrv/authsrv/wire"
)

// What the scripts need to interrupt authcli at one moment and no other:
//
//	relay VAR ADDRESS        passes connections on to an address, and sets a variable to that of its own
//	withhold ADDRESS N FILE  from now on, a relay keeps the N-th frame of the server on each connection, and all behind it, and makes the
//	                         file when it has one; 0: none
//	interrupt NAME CODE      sends SIGINT, and waits for the end, with this code
func init() {
	commands["relay"] = startRelay
	commands["withhold"] = withhold
	commands["interrupt"] = interrupt
}

type relay struct {
	to string

	mu   sync.Mutex
	n    int
	file string
}

func startRelay(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, len(args) == 2, neg, "relay VAR ADDRESS")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	s, r := stateOf(ts), &relay{to: args[1]}
	s.ports = append(s.ports, l)
	s.relays[l.Addr().String()] = r
	ts.Setenv(args[0], l.Addr().String())
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go r.serve(conn)
		}
	}()
}

func withhold(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, len(args) == 3, neg, "withhold ADDRESS N FILE")
	r := stateOf(ts).relays[args[0]]
	if r == nil {
		ts.Fatalf("there is no relay at %s", args[0])
	}
	n, err := strconv.Atoi(args[1])
	ts.Check(err)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.n, r.file = n, ts.MkAbs(args[2])
}

// serve ends with the client's connection, or with the server's while nothing is kept.
func (r *relay) serve(client net.Conn) {
	defer client.Close()
	server, err := net.Dial("tcp", r.to)
	if err != nil {
		return
	}
	defer server.Close()
	r.mu.Lock()
	n, file := r.n, r.file
	r.mu.Unlock()
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		_, _ = io.Copy(server, client)
	}()
	frames := bufio.NewReader(server)
	for i := 1; ; i++ {
		header, err := frames.Peek(wire.FrameHeaderSize)
		if err != nil {
			return
		}
		frame := make([]byte, wire.FrameHeaderSize+int(binary.BigEndian.Uint16(header)))
		if _, err := io.ReadFull(frames, frame); err != nil {
			return
		}
		if i == n {
			_ = os.WriteFile(file, []byte("kept\n"), 0o600)
			<-gone
			return
		}
		if _, err := client.Write(frame); err != nil {
			return
		}
	}
}

func interrupt(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, len(args) == 2, neg, "interrupt NAME CODE")
	ts.Check(find(ts, args[0]).cmd.Process.Signal(os.Interrupt))
	holdCode(ts, args[1], take(ts, args[0]).err)
}
