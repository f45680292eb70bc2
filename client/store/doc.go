// Package store keeps what a client remembers between runs: the servers that it knows and what it pinned of each, the device key
// and the parameters of each account, and the sessions that it holds.
//
// On disk it is three JSON files in a folder that only its owner can read, each written whole, under a lock: two processes that
// change it at once lose nothing. In memory it is the same, and ends with the process.
//
// The store keeps two rules of PROTOCOL 10 itself, since only it sees all writers: what was confirmed of a realm only goes up, and
// a pinned identity gives way to nothing but its committed successor. All others are the client's.
package store
