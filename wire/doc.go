// Package wire holds the bytes of the authsrv protocol: the preface, frames, every message and
// every code, as docs/PROTOCOL.md specifies them. It knows nothing of keys, connections or rules.
//
// A message is a struct with an AppendTo method and a Parse function. Parsing takes the whole
// plaintext of one record, refuses anything but the one encoding of a value, and allocates nothing:
// fields of variable length alias the input, and are good for as long as it is.
package wire
