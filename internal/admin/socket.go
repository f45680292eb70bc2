package admin

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"sync"
)

// SocketName is that of the socket in the data folder.
const SocketName = "admin.sock"

// maxPath is the longest name of a socket in bytes: the system's limit is 108 on Linux and 104 on macOS, with a zero byte.
const maxPath = 103

// ErrUnsupported says that this system can't tell who is at the other end of a socket, so that there is none.
var ErrUnsupported = errors.New("admin: no administration socket on this system: stop the server to administer it")

// Listen makes the socket in a data folder, for the user alone. The caller holds the folder's lock, until after the listener
// was closed: a socket that is there has nobody behind it any more, and is replaced.
func Listen(dir string) (net.Listener, error) {
	if !supported {
		return nil, ErrUnsupported
	}
	path := filepath.Join(dir, SocketName)
	switch info, err := os.Lstat(path); {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, err
	case info.Mode()&fs.ModeSocket == 0:
		return nil, fmt.Errorf("%s is not a socket", path)
	default:
		if err := os.Remove(path); err != nil {
			return nil, err
		}
	}
	var l *net.UnixListener
	err := reach(dir, func(short string) (err error) {
		l, err = net.ListenUnix("unix", &net.UnixAddr{Name: short, Net: "unix"})
		return err
	})
	if err != nil {
		return nil, err
	}
	l.SetUnlinkOnClose(false) // it would look for the short name
	if err := os.Chmod(path, 0o600); err != nil {
		l.Close()
		return nil, err
	}
	return &listener{UnixListener: l, remove: sync.OnceFunc(func() { _ = os.Remove(path) })}, nil
}

// listener removes its socket when it is closed.
type listener struct {
	*net.UnixListener
	remove func()
}

func (l *listener) Close() error {
	l.remove()
	return l.UnixListener.Close()
}

// reach calls use with a name of a folder's socket that is short enough for the system: where its own is not, by way of a symbolic
// link to the folder, which is there for the time of the call.
func reach(dir string, use func(path string) error) error {
	path := filepath.Join(dir, SocketName)
	if len(path) <= maxPath {
		return use(path)
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	near, err := os.MkdirTemp("", "authsrv-") // which nobody else may enter
	if err != nil {
		return err
	}
	defer os.RemoveAll(near)
	link := filepath.Join(near, "d")
	if err := os.Symlink(dir, link); err != nil {
		return err
	}
	short := filepath.Join(link, SocketName)
	if len(short) > maxPath {
		return fmt.Errorf("the name of the socket %s is too long, and so is that of the folder for temporary files", path)
	}
	return use(short)
}

// identify finds out who is at the other end, and refuses who may not administer.
func identify(conn net.Conn) (uid int, err error) {
	c, ok := conn.(*net.UnixConn)
	if !ok {
		return -1, internal(errors.New("not a connection of a Unix socket"))
	}
	raw, err := c.SyscallConn()
	if err != nil {
		return -1, internal(err)
	}
	var peerErr error
	if err := raw.Control(func(fd uintptr) { uid, peerErr = peerUID(int(fd)) }); err != nil {
		return -1, internal(err)
	}
	if peerErr != nil {
		return -1, internal(fmt.Errorf("who is connected: %w", peerErr))
	}
	return uid, permit(uid, os.Geteuid())
}

// permit lets in who runs the server, and root.
func permit(peer, own int) error {
	if peer == own || peer == 0 {
		return nil
	}
	return &Error{Code: CodeNotPermitted, Message: "only the user that the server runs as, and root, may administer it"}
}
