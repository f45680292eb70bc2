// Package keyfile keeps every secret of a server that is not in its database, in one file: the identity, the keys that salts,
// names, records and the audit chain are derived from or sealed with, and the keys that sign tokens.
//
// The file is JSON, plain or sealed with a passphrase in the age format, so that `age -d` opens it. It is written whole: a reader
// finds the old file or the new one, never a part of one. Its format is in STORAGE.md, "The key file".
//
// Errors are one line for a person, wrap one of the package's sentinels, and never hold what is in the file.
package keyfile
