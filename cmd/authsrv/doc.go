// Command authsrv is the account server. `authsrv run` is the main job: its first run makes the data folder and
// the keys in it, every run serves. The other commands work on the same folder.
//
// This package holds configuration, output and exit codes; the rules are in package account, and the protocol in package
// server. Nothing below main ends the process.
package main
