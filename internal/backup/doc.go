// Package backup writes the data folder of a server into one archive, verifies such archives, and unpacks them.
//
// The format is in STORAGE.md, "Backups". An archive has one form for given contents, so that reading it is mostly comparing it with what
// would have been written. Nothing takes its place under its final name before it was verified.
//
// Errors are one line for a person; those that are about the archive wrap one of the package's sentinels.
package backup
