//go:build !linux

package cmd_test

import (
	"errors"
	"io"
)

func reserve(string) (io.Closer, error) { return nil, errors.ErrUnsupported }
