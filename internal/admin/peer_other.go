//go:build !linux && !darwin

package admin

const supported = false

// peerUID is never called: nothing listens. (Windows has Unix sockets, but does not say which user is at the other end.)
func peerUID(int) (int, error) { return -1, ErrUnsupported }
