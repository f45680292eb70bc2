package noiseconn

import (
	"bytes"
	"errors"
	"net"
	"testing"

	"github.com/authsrv/authsrv/wire"
)

// writes is a connection that keeps what is written, apart.
type writes struct {
	net.Conn
	all  [][]byte
	fail error
}

func (w *writes) Write(b []byte) (int, error) {
	w.all = append(w.all, bytes.Clone(b))
	return len(b), w.fail
}

// TestQueueMessage: records that wait go with the next one, in their order, with one Write, and no more wait than fit.
func TestQueueMessage(t *testing.T) {
	r := record(t, suite)
	w := &writes{}
	r.server.conn = w
	var sent [][]byte
	add := func(send func([]byte) error, size int) {
		t.Helper()
		message := bytes.Repeat([]byte{byte(len(sent) + 1)}, size)
		if err := send(message); err != nil {
			t.Fatal(err)
		}
		sent = append(sent, message)
	}
	for range 9 {
		add(r.server.QueueMessage, 50)
	}
	if len(w.all) != 0 {
		t.Errorf("%d writes of what was to wait", len(w.all))
	}
	add(r.server.WriteMessage, 50)
	if len(w.all) != 1 {
		t.Errorf("%d writes of ten records", len(w.all))
	}
	add(r.server.QueueMessage, 10)
	room := MaxPlaintext - 10 - Overhead - wire.FrameHeaderSize
	if !r.server.HasRoom(room) || r.server.HasRoom(room+1) {
		t.Error("there is more room beside a record that waits than there is, or less")
	}
	add(r.server.QueueMessage, MaxPlaintext) // there is no room for both
	if len(w.all) != 2 {
		t.Errorf("%d writes where there is no more room", len(w.all))
	}
	add(func(b []byte) error { _, err := r.server.Write(b); return err }, 10)
	for range 2 { // the second one has nothing to do
		if err := r.server.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	stream := bytes.Join(w.all, nil)
	r.client.in.frames = wire.NewAheadReader(bytes.NewReader(stream))
	for i, want := range sent {
		got, err := r.client.ReadMessage(wire.MaxSessionFrame)
		if err != nil || !bytes.Equal(got, want) {
			t.Fatalf("record %d: %d bytes, %v, want %d", i, len(got), err, len(want))
		}
		if waits := i < len(sent)-1 && r.client.Buffered(); i < 8 && !waits {
			t.Errorf("record %d has come, and is not buffered", i+1)
		}
	}
	if err := r.server.QueueMessage(make([]byte, MaxPlaintext+1)); err != wire.ErrFrameSize {
		t.Errorf("too long: %v", err)
	}
	w.fail = errors.New("gone")
	if err := r.server.QueueMessage([]byte("x")); err != nil {
		t.Error(err)
	}
	if err := r.server.Flush(); err != w.fail {
		t.Errorf("a write that failed: %v", err)
	}
	if err := r.server.QueueMessage([]byte("x")); err != w.fail || r.server.Flush() != w.fail {
		t.Errorf("after a write that failed: %v", err)
	}
}
