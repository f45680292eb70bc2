package cmd_test

import (
	"os"
	"strings"
	"sync"
	"time"

	"github.com/creack/pty"
	"github.com/rogpeppe/go-internal/testscript"
)

// screen is what a terminal has shown.
type screen struct {
	mu    sync.Mutex
	text  strings.Builder
	ended bool
}

func (s *screen) read(terminal *os.File) {
	var b [4096]byte
	for {
		n, err := terminal.Read(b[:])
		s.mu.Lock()
		s.text.Write(b[:n])
		s.ended = err != nil
		s.mu.Unlock()
		if err != nil {
			return // on Linux it is EIO when nobody has the other side open any more
		}
	}
}

func (s *screen) shown() (text string, ended bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String(), s.ended
}

func dialog(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, len(args) >= 3, neg, "dialog CODE FILE PROGRAM [ARG...]")
	lines := strings.Split(strings.TrimSuffix(ts.ReadFile(args[1]), "\n"), "\n")
	cmd := command(ts, args[2:])
	terminal, err := pty.StartWithSize(cmd, &pty.Winsize{Rows: 50, Cols: 200})
	ts.Check(err)
	exited := make(chan error, 1)
	go func() { exited <- cmd.Wait() }()
	var s screen
	read := make(chan struct{})
	go func() {
		defer close(read)
		s.read(terminal)
	}()
	waited := false
	defer func() {
		if !waited {
			_ = cmd.Process.Kill()
			<-exited
		}
		terminal.Close()
		<-read
	}()

	seen := 0
	for _, line := range lines {
		key, text, _ := strings.Cut(line, " ")
		switch key {
		case "<":
			seen = expect(ts, &s, seen, text)
		case ">":
			_, err = terminal.WriteString(text + "\n")
		case "&":
			if output, err := command(ts, strings.Fields(text)).CombinedOutput(); err != nil {
				ts.Fatalf("meanwhile %s: %v\n%s", text, err, output)
			}
		case "^C":
			_, err = terminal.WriteString("\x03")
		case "^D":
			_, err = terminal.WriteString("\x04")
		case "^Z":
			_, err = terminal.WriteString("\x1a")
		case "":
		default:
			ts.Fatalf("a line of a dialog begins with <, >, &, ^C, ^D or ^Z: %q", line)
		}
		ts.Check(err)
	}
	select {
	case err = <-exited:
		waited = true
	case <-time.After(patience):
		text, _ := s.shown()
		ts.Fatalf("the program does not end:\n%s", text)
	}
	<-read
	text, _ := s.shown()
	_, _ = ts.Stdout().Write([]byte(strings.ReplaceAll(text, "\r\n", "\n")))
	holdCode(ts, args[0], err)
}

// expect waits for text behind what was seen, and returns where it ends.
func expect(ts *testscript.TestScript, s *screen, seen int, text string) int {
	for end := time.Now().Add(patience); ; time.Sleep(poll) {
		shown, ended := s.shown()
		if i := strings.Index(shown[seen:], text); i >= 0 {
			return seen + i + len(text)
		}
		if ended || time.Now().After(end) {
			ts.Fatalf("the terminal never showed %q after:\n%s", text, shown)
		}
	}
}
