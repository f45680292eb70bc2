// Package admin is the administration of a server, by its socket while it runs and directly when it is stopped: both go
// through the one table of operations here.
//
// The socket is a Unix socket in the data folder, for the user that the server runs as, and root. Each connection carries one
// request, a line of JSON such as
//
//	{"op":"user.show","name":"alice"}
//
// and is answered with any number of results, a JSON object a line, and a last line that is either of
//
//	{"ok":true}
//	{"error":{"code":"no-account","message":"there is no account \"alice\""}}
//
// A connection that ends without such a line broke off. Who closes a connection, or its writing half, gives up what it has asked
// for. No result begins with the field "ok" or "error". Codes are stable, messages are for people. Operations may get further
// fields, with defaults, and results may; a field of a request that is not known is refused.
//
// A new operation is a row of the table in operations.go. What only the process as a whole knows comes as a function of
// Operations.
package admin
