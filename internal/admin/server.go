package admin

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"sync"
	"time"
)

// Limits of a connection, and of how many there may be.
const (
	maxRequest     = 64 << 10 // bytes, the line end included
	maxConnections = 16
	requestTime    = 10 * time.Second // until the request is there
	writeTime      = 10 * time.Second // for each line of the answer
)

// ErrClosed is what Serve returns after Shutdown.
var ErrClosed = errors.New("admin: closed")

// Server answers at a socket.
type Server struct {
	operations *Operations
	log        *slog.Logger
	identify   func(net.Conn) (uid int, err error) // of the peer, or who may not be one

	ctx    context.Context // of all operations
	cancel context.CancelFunc

	mu          sync.Mutex
	listener    net.Listener
	connections map[net.Conn]struct{}
	closed      bool
	handlers    sync.WaitGroup
}

// NewServer starts no goroutine. A nil logger is none.
func NewServer(o *Operations, log *slog.Logger) *Server {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	s := &Server{operations: o, log: log, identify: identify, connections: make(map[net.Conn]struct{})}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	return s
}

// Serve takes connections from a listener that Listen has made until Shutdown, and then returns ErrClosed. It is called once.
func (s *Server) Serve(l net.Listener) error {
	defer l.Close()
	s.mu.Lock()
	s.listener = l
	closed := s.closed
	s.mu.Unlock()
	if closed {
		return ErrClosed
	}
	var pause time.Duration
	for {
		conn, err := l.Accept()
		if err == nil {
			pause = 0
			s.take(conn)
			continue
		}
		if s.isClosed() {
			return ErrClosed
		}
		if errors.Is(err, net.ErrClosed) {
			return err
		}
		pause = min(max(2*pause, 5*time.Millisecond), time.Second) // out of file descriptors, most likely
		s.log.Warn("accept failed at the administration socket", "error", err, "retry_in", pause)
		select {
		case <-time.After(pause):
		case <-s.ctx.Done():
			return ErrClosed
		}
	}
}

func (s *Server) isClosed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closed
}

// take answers one connection in a goroutine of its own.
func (s *Server) take(conn net.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		conn.Close()
		return
	}
	busy := len(s.connections) >= maxConnections
	if !busy {
		s.connections[conn] = struct{}{}
	}
	s.handlers.Go(func() {
		defer conn.Close()
		if busy {
			_ = finish(conn, &Error{Code: CodeBusy, Message: "too many administrators are connected: try again later"})
			return
		}
		s.answer(conn)
		s.mu.Lock()
		delete(s.connections, conn)
		s.mu.Unlock()
	})
}

// Shutdown takes no more connections and waits for what is under way, until ctx ends: then that is cut off.
func (s *Server) Shutdown(ctx context.Context) {
	s.mu.Lock()
	s.closed = true
	if s.listener != nil {
		s.listener.Close()
	}
	s.mu.Unlock()
	cut := context.AfterFunc(ctx, func() {
		s.cancel()
		s.mu.Lock()
		defer s.mu.Unlock()
		for conn := range s.connections {
			conn.Close()
		}
	})
	s.handlers.Wait()
	cut()
	s.cancel()
}

// answer reads the request of a connection, does it, and says how that ended.
func (s *Server) answer(conn net.Conn) {
	uid, err := s.identify(conn)
	if err != nil {
		s.log.Warn("refused at the administration socket", "uid", uid, "error", err)
		_ = finish(conn, explain(err))
		return
	}
	request, err := readRequest(conn)
	if err != nil {
		_ = finish(conn, explain(err))
		return
	}
	ctx, cancel := context.WithCancel(s.ctx)
	defer cancel()
	left := make(chan struct{})
	go func() { // whoever leaves gives up
		defer close(left)
		_ = conn.SetReadDeadline(time.Time{})
		_, _ = conn.Read(make([]byte, 1))
		cancel()
	}()
	err = s.operations.Do(ctx, request, func(result json.RawMessage) error { return writeLine(conn, result) })
	s.note(uid, request, err)
	_ = finish(conn, err)
	conn.Close()
	<-left
}

// note logs what was done by whom.
func (s *Server) note(uid int, request []byte, err error) {
	op, row, params, splitErr := split(request)
	if splitErr != nil {
		return // nothing was done
	}
	level := slog.LevelDebug
	if row.changes {
		level = slog.LevelInfo
	}
	var of Named
	_ = json.Unmarshal(params, &of) // not all have one
	outcome := "success"
	var e *Error
	if errors.As(err, &e) {
		outcome = e.Code
	} else if err != nil {
		outcome = CodeNoAnswer
	}
	s.log.Log(context.Background(), level, "administration", "operation", op, "outcome", outcome, "name", of.Name, "uid", uid)
}

// readRequest reads one whole line: of half a request nothing is done.
func readRequest(conn net.Conn) ([]byte, error) {
	_ = conn.SetReadDeadline(time.Now().Add(requestTime)) // it fails only on a connection that is closed
	line, err := bufio.NewReader(io.LimitReader(conn, maxRequest)).ReadBytes('\n')
	switch {
	case err == nil:
		return line, nil
	case len(line) == maxRequest:
		return nil, badRequest("it is longer than %d bytes", maxRequest)
	case errors.Is(err, os.ErrDeadlineExceeded):
		return nil, badRequest("it took longer than %v", requestTime)
	}
	return nil, badRequest("it is not a line")
}

func writeLine(conn net.Conn, text []byte) error {
	if err := conn.SetWriteDeadline(time.Now().Add(writeTime)); err != nil {
		return err
	}
	_, err := conn.Write(append(text, '\n'))
	return err
}

// final is the last line of an answer.
type final struct {
	OK    bool   `json:"ok,omitzero"`
	Error *Error `json:"error,omitempty"`
}

func finish(conn net.Conn, err error) error {
	f := final{OK: err == nil}
	if err != nil && !errors.As(err, &f.Error) {
		return err // the peer did not take what came before
	}
	text, err := json.Marshal(&f)
	if err != nil {
		return err
	}
	return writeLine(conn, text)
}
