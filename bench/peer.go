package main

import (
	"context"
	"io"
	"net"
	"syscall"
	"time"
)

// A peer is a server that can be measured.
type peer struct {
	name  string // for --only
	title string
	note  string // what a reader has to know of the row
	idle  int    // connections to hold for the memory of one
	// start starts it with its data in env.dir. It is told in an errMissing what there is to install.
	start func(ctx context.Context, env *environment) (*running, error)
}

// running is a peer that answers.
type running struct {
	*process
	login operation                           // on a connection of its own, which is closed
	hold  func(worker int) (io.Closer, error) // a login whose connection stays
	close func() error                        // what is to be done when it has stopped; nil: nothing
	crowd *crowd                              // of our server
}

// environment is where a run takes place.
type environment struct {
	dir      string // for data, on a disk
	clients  int
	accounts int    // in our store
	user     bool   // a user of the system may be made for OpenSSH's password
	binary   string // our server, once built
	self     string // this program
}

// errMissing says what a peer needs that is not there.
type errMissing struct{ install string }

func (e *errMissing) Error() string { return "not installed: " + e.install }

// dial connects from an address of the worker's own, 127.0.0.2 and on: ports that wait after a connection was closed are spread.
func dial(worker int, address string) (net.Conn, error) {
	d := net.Dialer{
		Timeout:   10 * time.Second,
		LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, byte((worker+2)>>8), byte(worker+2))},
		Control: func(_, _ string, c syscall.RawConn) error {
			const bindAddressNoPort = 24 // IP_BIND_ADDRESS_NO_PORT: the port is chosen with the peer's address at connect
			var err error
			if e := c.Control(func(fd uintptr) { err = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_IP, bindAddressNoPort, 1) }); e != nil {
				return e
			}
			return err
		},
	}
	c, err := d.Dial("tcp", address)
	if err != nil {
		return nil, err
	}
	return c, c.SetDeadline(time.Now().Add(time.Hour)) // a server that hangs does not hang the bench for good
}

// closing makes a login of what holds one.
func closing(hold func(worker int) (io.Closer, error)) operation {
	return func(worker int) error {
		c, err := hold(worker)
		if err != nil {
			return err
		}
		return c.Close()
	}
}
