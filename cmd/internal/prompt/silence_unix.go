//go:build unix

package prompt

import "golang.org/x/sys/unix"

// silence keeps a terminal from showing what is typed. Lines can be edited, and keys interrupt, as usual.
func silence(fd int) error {
	t, err := unix.IoctlGetTermios(fd, getTermios)
	if err != nil {
		return err
	}
	t.Lflag &^= unix.ECHO
	t.Lflag |= unix.ICANON | unix.ISIG
	t.Iflag |= unix.ICRNL
	return unix.IoctlSetTermios(fd, setTermios, t)
}
