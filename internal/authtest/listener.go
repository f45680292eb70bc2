package authtest

import (
	"context"
	"net"
	"sync"
)

// listener hands out pipes whose ends have addresses.
type listener struct {
	conns chan net.Conn
	once  sync.Once
	done  chan struct{}
}

func newListener() *listener {
	return &listener{conns: make(chan net.Conn), done: make(chan struct{})}
}

func (l *listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

func (l *listener) Close() error {
	l.once.Do(func() { close(l.done) })
	return nil
}

func (l *listener) Addr() net.Addr { return serverAddr }

func (l *listener) dial(ctx context.Context, from net.Addr) (net.Conn, error) {
	here, there := net.Pipe()
	select {
	case l.conns <- pipeEnd{there, from}:
		return pipeEnd{here, serverAddr}, nil
	case <-l.done:
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: net.ErrClosed}
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

var (
	serverAddr = &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 7022}
	clientAddr = &net.TCPAddr{IP: net.IPv4(192, 0, 2, 2), Port: 50000}
)

type pipeEnd struct {
	net.Conn
	remote net.Addr
}

func (p pipeEnd) RemoteAddr() net.Addr { return p.remote }
