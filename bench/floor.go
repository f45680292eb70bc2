package main

import (
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"runtime"
	"syscall"
	"time"

	"github.com/cloudflare/circl/dh/x25519"
)

// A floor is what the curve arithmetic of a login costs a server that is made of nothing else.
type floor struct {
	generation, shared, verify, sign time.Duration // CPU time of one each
}

// sum is the server's side of a login: Noise XX has it make an ephemeral key and compute ee, es and se; then it checks the proof and signs the token.
func (f *floor) sum() time.Duration { return f.generation + 3*f.shared + f.verify + f.sign }

// measureFloor measures it on one thread for about a time, with the functions that the server uses.
func measureFloor(d time.Duration) (*floor, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var private, public, peer, secret x25519.Key
	if _, err := rand.Read(private[:]); err != nil {
		return nil, err
	}
	x25519.KeyGen(&peer, &private)
	edPublic, edPrivate, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	message := make([]byte, 56) // a label and a transcript
	signature := ed25519.Sign(edPrivate, message)
	ok := true
	f := &floor{}
	for _, part := range []struct {
		out *time.Duration
		do  func()
	}{
		{&f.generation, func() { x25519.KeyGen(&public, &private) }},
		{&f.shared, func() { ok = x25519.Shared(&secret, &private, &peer) && ok }},
		{&f.verify, func() { ok = ed25519.Verify(edPublic, message, signature) && ok }},
		{&f.sign, func() { signature = ed25519.Sign(edPrivate, message) }},
	} {
		if *part.out, err = threadTime(d/4, part.do); err != nil {
			return nil, err
		}
	}
	if !ok {
		return nil, errors.New("the floor's arithmetic is wrong")
	}
	return f, nil
}

// threadTime returns the CPU time of one call, on a thread that is locked.
func threadTime(d time.Duration, do func()) (time.Duration, error) {
	before, err := threadCPU()
	if err != nil {
		return 0, err
	}
	n := 0
	for end := time.Now().Add(d); n == 0 || time.Now().Before(end); n += 16 {
		for range 16 {
			do()
		}
	}
	after, err := threadCPU()
	return (after - before) / time.Duration(n), err
}

func threadCPU() (time.Duration, error) {
	const thisThread = 1 // RUSAGE_THREAD
	var u syscall.Rusage
	if err := syscall.Getrusage(thisThread, &u); err != nil {
		return 0, err
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()), nil
}
