// Package authsrv holds no code: it is where the tests of the house stand, which of its packages may import which above all.
//
// An app imports the package client; the protocol is in docs/PROTOCOL.md.
package authsrv
