// Package authsrv holds no code: only the tests that look at the whole repository, such as which package may import
// which (arch_test.go). README.md has the map.
package authsrv
