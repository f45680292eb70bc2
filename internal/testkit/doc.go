// Package testkit is tests: it makes the transcripts of testdata/testkit, each with one fault, and runs them against the real client
// and the real server. How the files are read and run, by programs in other languages too, is in testdata/testkit/README.md.
//
//	AUTHSRV_SOAK=1 go test ./internal/testkit             # makes every file anew, compares it with the one that is there, and runs that
//	go test ./internal/testkit -run SoakFiles -update     # writes them
package testkit
