package main

import (
	"bytes"
	"io"
)

// maxHeld is how much output of a command waits in memory until its folder is unlocked, in bytes.
const maxHeld = 16 << 20

// heldOutput keeps what a command says on a stopped folder until that is unlocked, so that no server waits for who reads it slowly. More than
// maxHeld is written at once: then it does.
type heldOutput struct {
	w    io.Writer
	text bytes.Buffer
}

func (h *heldOutput) Write(b []byte) (int, error) {
	if h.text.Len()+len(b) > maxHeld {
		if err := h.flush(); err != nil {
			return 0, err
		}
	}
	return h.text.Write(b)
}

// flush writes what is held.
func (h *heldOutput) flush() error {
	_, err := h.text.WriteTo(h.w)
	return err
}

// flush writes what is held, if anything: for who has to know whether it was written.
func (f *faultyWriter) flush() error {
	if h, ok := f.w.(*heldOutput); ok && f.err == nil {
		f.err = h.flush()
	}
	return f.err
}

// holding has the output wait until release is called.
func (p *program) holding() (release func() error) {
	w := p.stdout.w
	p.stdout.w = &heldOutput{w: w}
	return func() error {
		err := p.stdout.flush()
		p.stdout.w = w
		return err
	}
}
