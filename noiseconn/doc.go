// Package noiseconn carries the authsrv protocol's records over a stream: the Noise XX handshake
// of PROTOCOL 3 behind a preface, and after it a [Conn], whose records are encrypted both ways.
// It also holds what that handshake is trusted by: static keys, certificates and fingerprints
// (PROTOCOL 4).
//
// A handshake is a list of steps, so that each side can judge the other between them. A client calls
// Hello, judges the ServerHello that it got and the certificate in it ([VerifyCertificate]), and only
// then sends its own key and its first message with Finish. A server calls Start, then Hello (or
// Refuse), then Finish.
//
// What the messages mean is the business of package wire and of the two sides: this package reads no
// more of them than the ServerHello.
package noiseconn
