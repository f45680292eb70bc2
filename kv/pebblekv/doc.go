// Package pebblekv is the embedded [kv.Engine]: one folder, one process, on pebble. [Open] it,
// use it as a kv.Engine, Close it. STORAGE 2 has the layout of its keys and what survives what.
//
// It stops at the first error that it can't explain: when [Store.Failed] is closed, every
// call returns [ErrFailed], and the process should end, and start again. Nothing that was
// acknowledged is lost by that.
package pebblekv
