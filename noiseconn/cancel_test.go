package noiseconn

import (
	"context"
	"errors"
	"net"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/authsrv/authsrv/wire"
)

// TestHandshakeCancel has each step wait for a peer that is silent, until its context ends.
func TestHandshakeCancel(t *testing.T) {
	r := record(t, suite)
	tests := []struct {
		name string
		hear int // bytes of the client that come before the silence, for a server
		run  func(context.Context, net.Conn) error
	}{
		{"client writes M1", -1, func(ctx context.Context, c net.Conn) error {
			_, _, err := Client(c, nil).Hello(ctx)
			return err
		}},
		{"server reads the preface", 0, startServer},
		{"server reads a part of the preface", 7, startServer},
		{"server reads M1", 8, startServer},
		{"server reads a part of M1", 20, startServer},
		{"server writes M2", 42, func(ctx context.Context, c net.Conn) error {
			h := Server(c, nil)
			if err := h.Start(ctx); err != nil {
				return err
			}
			return h.Hello(ctx, serverStatic, nil)
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ours, peer := net.Pipe()
				defer peer.Close()
				if test.hear > 0 {
					go peer.Write(r.toServer[:test.hear])
				}
				ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
				defer cancel()
				begin := time.Now()
				err := test.run(ctx, ours)
				if err != context.DeadlineExceeded || time.Since(begin) != 5*time.Second {
					t.Errorf("%v after %v", err, time.Since(begin))
				}
				synctest.Wait()
				if _, err := ours.Write(nil); err == nil {
					t.Error("the connection is open")
				}
			})
		})
	}
}

func startServer(ctx context.Context, c net.Conn) error { return Server(c, nil).Start(ctx) }

// TestFinishCancel has the last step of each side wait.
func TestFinishCancel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, s := net.Pipe()
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		client, server := Client(c, nil), Server(s, nil)
		heard := make(chan error, 1)
		go func() {
			_, _, err := client.Hello(t.Context())
			heard <- err
		}()
		hello := testHello(serverStatic, time.Now())
		if err := errors.Join(server.Start(ctx), server.Hello(ctx, serverStatic, hello.AppendTo(nil)), <-heard); err != nil {
			t.Fatal(err)
		}
		if _, conn, err := server.Finish(ctx); err != context.DeadlineExceeded || conn != nil {
			t.Errorf("server, without M3: %v, %v", conn, err)
		}
		synctest.Wait()
		if conn, err := client.Finish(t.Context(), clientStatic, startPayload); err == nil || conn != nil {
			t.Errorf("client, to a server that closed: %v, %v", conn, err)
		}
	})
}

func TestCancelledBefore(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	conn := play(nil)
	if _, _, err := Client(conn, nil).Hello(ctx); err != context.Canceled || conn.out.Len() != 0 {
		t.Errorf("%v, and %d bytes sent", err, conn.out.Len())
	}
}

// TestDeadlines has reads and writes wait for a peer that is silent, until their deadlines or Close.
func TestDeadlines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, server := pipe(t)
		begin := time.Now()
		client.SetReadDeadline(begin.Add(time.Second))
		client.SetWriteDeadline(begin.Add(2 * time.Second))
		_, err := client.ReadMessage(wire.MaxSessionFrame)
		if !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(begin) != time.Second {
			t.Errorf("read: %v after %v", err, time.Since(begin))
		}
		err = client.WriteMessage([]byte("hello"))
		if !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(begin) != 2*time.Second {
			t.Errorf("write: %v after %v", err, time.Since(begin))
		}
		client.SetDeadline(time.Time{})
		if _, again := client.ReadMessage(wire.MaxSessionFrame); !errors.Is(again, os.ErrDeadlineExceeded) {
			t.Errorf("read after its deadline: %v", again)
		}
		if again := client.WriteMessage(nil); again != err {
			t.Errorf("write after its deadline: %v", again)
		}

		failed := make(chan error, 2)
		go func() {
			_, err := server.Read(make([]byte, 1))
			failed <- err
		}()
		go func() { failed <- server.WriteMessage([]byte("hello")) }()
		synctest.Wait()
		server.Close()
		for range 2 {
			if err := <-failed; err == nil {
				t.Error("a call goes on after Close")
			}
		}
	})
}

// TestLimit has a handshake wait for a place before it computes, and none is taken while it waits for its peer.
func TestLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, s := net.Pipe()
		defer c.Close()
		places := make(chan struct{}, 1)
		h := Server(s, nil)
		h.Limit(places)
		places <- struct{}{}
		computed := false
		go func() {
			if err := h.Start(t.Context()); err != nil {
				t.Error(err)
			}
			computed = true
		}()
		client := Client(c, nil)
		go client.Hello(t.Context())
		synctest.Wait()
		if computed {
			t.Error("it computes without a place")
		}
		<-places
		synctest.Wait()
		if !computed || len(places) != 0 {
			t.Errorf("computed %v, with %d places taken", computed, len(places))
		}
		hello := testHello(serverStatic, time.Now())
		go h.Hello(t.Context(), serverStatic, hello.AppendTo(nil))
		synctest.Wait()
		if len(places) != 0 {
			t.Error("it holds a place while its peer is to send M3")
		}
	})
}
