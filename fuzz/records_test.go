package fuzz

import (
	"bytes"
	"errors"
	"io"
	"testing"

	"github.com/authsrv/authsrv/noiseconn"
	"github.com/authsrv/authsrv/wire"
)

// plaintexts are the messages of the good stream of records.
func plaintexts() [][]byte {
	return [][]byte{
		(&wire.Proof{Proof: b64(1)}).AppendTo(nil),
		wire.Plain{Type: wire.TypeWhoAmI, ID: 1}.AppendTo(nil),
		nil, // a record can be empty, a message cannot
		wire.Plain{Type: wire.TypeList, ID: 2}.AppendTo(nil),
		bytesFrom(0, 5000),
	}
}

// records returns what a client sends behind its handshake: a frame for each plaintext.
func records(t testing.TB, plaintexts ...[]byte) (frames [][]byte) {
	t.Helper()
	conn := play(recorded(t).toClient)
	_, client, err := dial(conn, goodStart())
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range plaintexts {
		conn.out.Reset()
		if err := client.WriteMessage(p); err != nil {
			t.Fatal(err)
		}
		frames = append(frames, bytes.Clone(conn.out.Bytes()))
	}
	return frames
}

// hearing returns the server's end of a connection on which the client goes on with these bytes.
func hearing(t testing.TB, said []byte) (*tape, *noiseconn.Conn) {
	t.Helper()
	conn := play(concat(recorded(t).toServer, said))
	_, server, err := serve(conn, goodHello())
	if err != nil {
		t.Fatal(err)
	}
	conn.room = 0
	return conn, server
}

// sealedStream is a change of its own: the good stream, read as one (PROTOCOL 3) and not by messages.
const sealedStream = payload + 1

func recordSeeds(t testing.TB) (all []seed) {
	frames := records(t, plaintexts()...)
	good := concat(frames...)
	var places []int
	end := 0
	for _, f := range frames {
		places = append(places, end, end+1, end+2, end+len(f)-1)
		end += len(f)
	}
	add := func(how, at int, limit int, data []byte) {
		all = append(all, seed{uint8(how), uint16(at), uint16(limit), data})
	}
	for _, s := range streamSeeds(good, places...) {
		add(int(s[0].(uint8)), int(s[1].(uint16)), wire.MaxSessionFrame, s[2].([]byte))
	}
	first, second := frames[0], frames[1]
	add(insert, len(first), wire.MaxSessionFrame, first) // a replay
	add(asIs, 0, wire.MaxSessionFrame, concat(second, first))
	add(asIs, 0, wire.MaxSessionFrame, second)
	add(asIs, 0, wire.MaxSessionFrame, frame(make([]byte, 16)))
	add(asIs, 0, wire.MaxSessionFrame, frame(make([]byte, 15)))
	add(insert, len(good), 100, nil) // a cap that cuts the stream off
	add(insert, len(good), 0, nil)
	for _, n := range []int{0, 1, 5, noiseconn.MaxPlaintext, noiseconn.MaxPlaintext + 1} {
		add(payload, 0, wire.MaxSessionFrame, bytesFrom(9, n))
	}
	add(payload, 0, wire.MaxLoginFrame, make([]byte, 1041))
	for _, c := range recordedConnections(t) {
		for _, b := range c.plaintexts {
			add(payload, 0, wire.MaxSessionFrame, b)
		}
	}
	add(sealedStream, 7, 0, nil)
	add(sealedStream, 0, 3, []byte{1})
	return all
}

// FuzzRecords has a server hear any records behind a handshake, the good ones with any change, and real ones with any
// plaintext: it reads what was sent, in its order, up to the first change, and nothing from there on.
func FuzzRecords(f *testing.F) {
	plant(f)
	frames := records(f, plaintexts()...)
	f.Fuzz(func(t *testing.T, how uint8, at, limit uint16, data []byte) {
		frames, sent, good := frames, plaintexts(), concat(frames...)
		how %= changes + 2
		if how == payload {
			if len(data) > noiseconn.MaxPlaintext {
				tooLong(t, data)
				return
			}
			sent = [][]byte{data, {1}}
			frames = records(t, sent...)
			good = concat(frames...)
		}
		said := good
		if how < changes {
			said = change(good, how, at, data)
		}
		if how == sealedStream {
			said = change(good, over, at, data[:min(len(data), 1)])
			readStream(t, said, frames, sent, int(limit)%100+1)
			return
		}
		conn, server := hearing(t, said)
		for i, rest := 0, said; ; i++ {
			message, err := server.ReadMessage(int(limit))
			genuine := i < len(frames) && bytes.HasPrefix(rest, frames[i]) && len(frames[i])-2 <= int(limit)
			if genuine != (err == nil) {
				t.Fatalf("record %d: genuine is %v, the error %v", i, genuine, err)
			}
			room := wire.FrameHeaderSize + wire.MaxCheckingFrame // a server reads ahead, into buffers of two sizes
			if limit > wire.MaxCheckingFrame {
				room = wire.FrameHeaderSize + wire.MaxSessionFrame
			}
			if conn.room > room {
				t.Fatalf("room for %d bytes under a cap of %d", conn.room, limit)
			}
			if err != nil {
				ended(t, server, rest, err)
				return
			}
			if !bytes.Equal(message, sent[i]) {
				t.Fatalf("record %d is %x, want %x", i, message, sent[i])
			}
			rest = rest[len(frames[i]):]
		}
	})
}

// ended holds that a direction that failed stays so, and that its end is a clean one only between two records.
func ended(t *testing.T, c *noiseconn.Conn, rest []byte, err error) {
	if (err == io.EOF) != (len(rest) == 0) {
		t.Errorf("%v with %d bytes left", err, len(rest))
	}
	if !errors.Is(err, noiseconn.ErrRecord) && !errors.Is(err, wire.ErrFrameSize) && err != io.EOF && err != io.ErrUnexpectedEOF {
		t.Errorf("unknown error %v", err)
	}
	if b, again := c.ReadMessage(wire.MaxSessionFrame); b != nil || again != err {
		t.Errorf("after %v: %x, %v", err, b, again)
	}
}

// readStream reads the records as one stream, with a buffer of some bytes.
func readStream(t *testing.T, said []byte, frames, sent [][]byte, buffer int) {
	var want []byte
	rest := said
	for i := 0; i < len(frames) && bytes.HasPrefix(rest, frames[i]); i++ {
		want, rest = append(want, sent[i]...), rest[len(frames[i]):]
	}
	_, server := hearing(t, said)
	var got []byte
	for p := make([]byte, buffer); ; {
		n, err := server.Read(p)
		got = append(got, p[:n]...)
		if err == nil {
			continue
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%d bytes before %v, want %d", len(got), err, len(want))
		}
		ended(t, server, rest, err)
		return
	}
}

// tooLong holds that what no record can carry is refused before anything is sent.
func tooLong(t *testing.T, plaintext []byte) {
	conn := play(recorded(t).toClient)
	_, client, err := dial(conn, goodStart())
	if err != nil {
		t.Fatal(err)
	}
	before := conn.out.Len()
	if err := client.WriteMessage(plaintext); err != wire.ErrFrameSize || conn.out.Len() != before {
		t.Errorf("%d bytes of plaintext: %d bytes sent, %v", len(plaintext), conn.out.Len()-before, err)
	}
}
