// Command authcli registers, logs in and manages accounts of an authsrv server, from a terminal or a script.
//
// This package holds the command line, output and exit codes; all else is in package client. Nothing below main ends the
// process.
//
// A login takes the place of the session that was held for the server. That one is ended, if the server answers in time.
//
// # Exit codes
//
//	0    done
//	1    refused by the server, also because the session has ended
//	2    usage
//	3    no connection, or it was lost; also where it is not known whether a change was made, with the code "outcome-unknown"
//	4    the server's identity is not trusted
//	5    refused here: a rule of names or passwords, bad input, not logged in, a damaged home folder
//	6    storage failed: the home folder cannot be read or written; with the code "not-remembered" the server has done what was asked
//	130  interrupted: no change was made. A session may have been begun, or ended, by a login or logout that waited for its answer
//
// An interrupt behind the last message of a change, and before its answer, is a 3: one line then says how to find out.
//
// # JSON
//
// With --json a command that succeeds prints one document on standard output. Times are RFC 3339 in UTC, ids lower-case hex.
// Fields may be added, but none changes its meaning or goes away:
//
//	register      {"name", "server"}
//	reset         {"name", "server"}
//	login         {"name", "server", "expires"}
//	whoami        {"name", "account_id", "created", "session_id", "expires", "server"}
//	ls            {"entries": [NAME…]}
//	sessions      {"sessions": [{"id", "created", "last_used", "expires", "address", "current"}…]}, the oldest first
//	passwd        {"name", "server", "expires"}
//	logout        {"name", "server", "all"}
//	delete        {"name", "server"}
//	trust list    {"servers": [{"address", "fingerprint", "pinned", "default", "first_seen"}…]}
//	trust remove  {"address"}
//	version       {"version"}
//
// One that fails prints one on standard error:
//
//	{"error": {"code", "message", "retry_after", "exit"}}
//
// "code" is a name of PROTOCOL 12, such as "denied", "code-refused" or "password-weak", or one of those in errors.go, such as
// "no-connection"; "retry_after" is in seconds; "exit" is the exit code. "unknown-server" also has "address" and
// "fingerprint", "identity-changed" has "address", "known" and "fingerprint".
package main
