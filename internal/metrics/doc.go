// Package metrics shows what a server does in the form that Prometheus reads. It is the only package that knows of
// Prometheus: package server counts for itself, and this one reads its counts when it is asked. No name, no address and nothing else
// of a peer's is ever a label, so that there are only so many series.
package metrics
