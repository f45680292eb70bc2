package prompt

import (
	"os"

	"golang.org/x/sys/windows"
)

// silence keeps a console from showing what is typed. Lines can be edited, and keys interrupt, as usual.
func silence(fd int) error {
	var mode uint32
	if err := windows.GetConsoleMode(windows.Handle(fd), &mode); err != nil {
		return err
	}
	mode &^= windows.ENABLE_ECHO_INPUT
	mode |= windows.ENABLE_PROCESSED_INPUT | windows.ENABLE_LINE_INPUT
	return windows.SetConsoleMode(windows.Handle(fd), mode)
}

// resumptions is for other systems: no process is stopped here.
func resumptions() (resumed <-chan os.Signal, stop func()) { return nil, func() {} }
