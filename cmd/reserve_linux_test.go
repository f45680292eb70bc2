package cmd_test

import (
	"io"
	"net/netip"
	"os"
	"syscall"
)

// reserve keeps a port for the script that has had a server there, until it is closed: whoever asks the system for any port does not get it,
// and a server that is told to listen there can. It may be reserved many times.
func reserve(address string) (io.Closer, error) {
	at, err := netip.ParseAddrPort(address)
	if err != nil {
		return nil, err
	}
	if !at.Addr().Is4() {
		return nil, syscall.EAFNOSUPPORT
	}
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), address)
	if err = syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 1); err == nil {
		err = syscall.Bind(fd, &syscall.SockaddrInet4{Port: int(at.Port()), Addr: at.Addr().As4()})
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}
