// Package walk leads connections through the state table of PROTOCOL 9.
package walk
