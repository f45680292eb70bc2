// Package fuzz holds the fuzz targets of what reads other people's bytes: frames, messages, handshakes,
// records, whole sessions, tokens, addresses, names, and the files of both sides. It has nothing but tests.
//
// Each target says more than that nothing panics: what is accepted has one encoding, what is
// authenticated cannot be changed, and a session goes where the published state table says. Its seeds are made of the vectors in docs/vectors, of messages
// that a hand wrote from the specification (testdata/golden.txt), and of good values with one fault each; `go test`
// runs all of them, and fails on a target without any.
//
//	go test ./fuzz -list Fuzz
//	go test ./fuzz -run '^$' -fuzz '^FuzzFrame$' -fuzztime 100000x
//
// In testdata/fuzz are inputs that fuzzing found to be of interest, from which it goes on. One that fails is kept there by the go command,
// and is a seed from then on.
package fuzz
