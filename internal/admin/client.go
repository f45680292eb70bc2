package admin

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"syscall"
	"time"
)

// answerTime is how long a Client waits for each line of an answer, and maxLine how long that may be.
const (
	answerTime = time.Minute
	maxLine    = 1 << 20
)

// ErrNotRunning says that nobody answers at the socket of a folder.
var ErrNotRunning = errors.New("admin: no server is running on this folder")

// A Client asks the server that runs on a folder. It is safe for concurrent use.
type Client struct{ dir string }

// Dial finds out whether a server answers at the socket of a data folder: if not, the error is ErrNotRunning. The user that
// may not connect gets an *Error.
func Dial(dir string) (*Client, error) {
	c := &Client{dir}
	conn, err := c.connect(context.Background())
	if err != nil {
		return nil, err
	}
	conn.Close()
	return c, nil
}

func (c *Client) connect(ctx context.Context) (conn net.Conn, err error) {
	if !supported {
		return nil, ErrNotRunning
	}
	err = reach(c.dir, func(path string) (err error) {
		conn, err = new(net.Dialer).DialContext(ctx, "unix", path)
		return err
	})
	switch {
	case err == nil:
		return conn, nil
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		return nil, ErrNotRunning
	case errors.Is(err, fs.ErrPermission):
		return nil, &Error{Code: CodeNotPermitted, Message: "the administration socket is not for this user", err: err}
	}
	return nil, fmt.Errorf("admin: %w", err)
}

// Do implements Doer.
func (c *Client) Do(ctx context.Context, request json.RawMessage, emit func(json.RawMessage) error) error {
	if len(request)+1 > maxRequest {
		return badRequest("it is longer than %d bytes", maxRequest)
	}
	conn, err := c.connect(ctx)
	if err != nil {
		return noAnswer(ctx, err)
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	_ = conn.SetDeadline(time.Now().Add(answerTime))
	// A server that refuses the connection does not read: what it has to say is there all the same.
	_, writeErr := conn.Write(append(bytes.Clone(request), '\n'))
	lines := bufio.NewScanner(conn)
	lines.Buffer(nil, maxLine)
	for lines.Scan() {
		line := bytes.Clone(lines.Bytes())
		if last, err := parseFinal(line); last {
			return err
		}
		if err := emit(line); err != nil {
			return err
		}
		_ = conn.SetReadDeadline(time.Now().Add(answerTime))
	}
	return noAnswer(ctx, errors.Join(lines.Err(), writeErr))
}

// parseFinal says whether a line is the last one, and what it says.
func parseFinal(line []byte) (last bool, err error) {
	if !bytes.HasPrefix(line, []byte(`{"ok":`)) && !bytes.HasPrefix(line, []byte(`{"error":`)) {
		return false, nil
	}
	var f final
	if err := json.Unmarshal(line, &f); err != nil || f.OK == (f.Error != nil) {
		return true, &Error{Code: CodeNoAnswer, Message: "the server's answer is not understood", err: err}
	}
	if f.Error != nil {
		return true, f.Error
	}
	return true, nil
}

// noAnswer is a request whose outcome is not known.
func noAnswer(ctx context.Context, cause error) error {
	if err := ctx.Err(); err != nil {
		return explain(err)
	}
	var e *Error
	if errors.As(cause, &e) || errors.Is(cause, ErrNotRunning) {
		return cause
	}
	text := "the server ended without an answer: look whether it was done"
	if errors.Is(cause, context.DeadlineExceeded) || isTimeout(cause) {
		text = fmt.Sprintf("the server did not answer within %v: look whether it was done", answerTime)
	}
	return &Error{Code: CodeNoAnswer, Message: text, err: cause}
}

func isTimeout(err error) bool {
	var timeout net.Error
	return errors.As(err, &timeout) && timeout.Timeout()
}
