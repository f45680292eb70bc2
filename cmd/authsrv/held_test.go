package main

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
)

// Who reads slowly what a command says on a stopped folder keeps no server from it.
func TestReadersKeepNoFolder(t *testing.T) {
	f := served(t)
	for _, command := range []string{"audit", "user list", "key list", "status"} {
		read, write := io.Pipe()
		ended := make(chan int, 1)
		go func() {
			var stderr bytes.Buffer
			code := run(append(append([]string{"authsrv"}, strings.Fields(command)...), "--data", string(f)), nil, write, &stderr)
			_ = write.CloseWithError(errors.New("end: " + stderr.String()))
			ended <- code
		}()
		if _, err := io.ReadFull(read, make([]byte, 1)); err != nil {
			t.Fatalf("%s: %v", command, err)
		}
		unlock, err := f.lock()
		if err != nil {
			t.Errorf("%s: %v", command, err)
		} else {
			unlock()
		}
		rest, _ := io.ReadAll(read)
		if code := <-ended; code != exitDone || !bytes.HasSuffix(rest, []byte("\n")) {
			t.Errorf("%s: exit code %d, %q", command, code, rest)
		}
	}
}

func TestHeldOutput(t *testing.T) {
	var out bytes.Buffer
	p := &program{stdout: &faultyWriter{w: &out}}
	release := p.holding()
	var all bytes.Buffer
	line := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
	for i := range 40 { // 40 MiB
		line[0] = byte('A' + i)
		all.Write(line)
		if _, err := p.stdout.Write(line); err != nil {
			t.Fatal(err)
		}
		if held := all.Len() - out.Len(); held > maxHeld || all.Len() <= maxHeld && out.Len() > 0 {
			t.Fatalf("%d of %d bytes are held", held, all.Len())
		}
	}
	if err := release(); err != nil || !bytes.Equal(out.Bytes(), all.Bytes()) {
		t.Errorf("%d of %d bytes: %v", out.Len(), all.Len(), err)
	}
	if _, err := io.WriteString(p.stdout, "end"); err != nil || !bytes.HasSuffix(out.Bytes(), []byte("end")) {
		t.Error("it is held still")
	}

	p = &program{stdout: &faultyWriter{w: brokenWriter{}}}
	release = p.holding()
	if _, err := io.WriteString(p.stdout, "x"); err != nil {
		t.Error(err)
	}
	if err := release(); err == nil || p.stdout.err == nil {
		t.Error("a write that failed is not told of")
	}
}
