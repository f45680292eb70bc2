// Package server speaks the authsrv protocol on a listener. It takes connections, leads each through
// the states of docs/PROTOCOL.md section 9, and translates between messages and package
// internal/account, which decides.
//
// A connection is one goroutine, in session.serve: it reads a message, looks up the row of the state
// table in state.go, calls its handler, and writes the answer that the handler returned. Handlers
// never touch the connection.
package server
