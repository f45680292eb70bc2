// Package keyring rotates the keys of a server, while it runs or on a folder where none does: it changes the key file first, durably, and then what
// works with the keys, so that nothing is ever sealed or signed with a key that a crash could lose (STORAGE 5.5).
package keyring
