package main

import (
	"errors"
	"net"
	"os"
	"syscall"
)

// cannotListen says why nothing listens at an address, which what names: the errors of package net name it once more.
func cannotListen(what string, err error) error {
	var lookup *net.DNSError
	if errors.As(err, &lookup) {
		if lookup.IsNotFound {
			return fail(exitBusy, "cannot listen at %s: no such host", what)
		}
		return fail(exitBusy, "cannot listen at %s: the host can't be looked up: %s", what, lookup.Err)
	}
	var op *net.OpError
	if errors.As(err, &op) {
		err = op.Err
	}
	var call *os.SyscallError
	if errors.As(err, &call) {
		err = call.Err
	}
	code := exitLocal
	for _, passing := range []syscall.Errno{
		syscall.EADDRINUSE, syscall.EADDRNOTAVAIL, // of a program that has not ended yet, and of a network that is not up yet
		10048, 10049, // the same on Windows
	} {
		if errors.Is(err, passing) {
			code = exitBusy
		}
	}
	return fail(code, "cannot listen at %s: %w", what, err)
}
