// Package kvtest holds what every [kv.Engine] must do, as tests: [Run] for all of them,
// [RunDurable] for those that outlive a process, [RunCompacted] for those that can be made to
// forget old changes. An engine's own tests call them:
//
//	func TestEngine(t *testing.T) {
//		kvtest.Run(t, func(t *testing.T) kv.Engine { return open(t) })
//	}
package kvtest
