package network

import "net/netip"

// Level is how wide a network is.
type Level int

// The levels, each within the next one.
const (
	Own    Level = iota // what one customer has at the least: an IPv4 address, an IPv6 /64
	Site                // an IPv6 /56; of IPv4 there is none
	Wide                // an IPv4 /24, an IPv6 /48
	Levels              // how many there are
)

var bits = map[bool][Levels]int{ // by whether it is IPv6
	false: {32, 0, 24},
	true:  {64, 56, 48},
}

// Share is how many times what a network of a level may do that one of its own may: less than there are in it, since few of them are in
// use, and more than one, since they can be different people's.
func (l Level) Share() int { return 1 << (2 * l) }

// Networks are those of one address, by their level. One that there is not is the zero Prefix; of what is no address, such as a pipe's, all are.
type Networks [Levels]netip.Prefix

// Of returns the networks of an address. An IPv4 address that is written as IPv6 is an IPv4 address.
func Of(a netip.Addr) (of Networks) {
	a = a.Unmap()
	if !a.IsValid() {
		return of
	}
	for level, n := range bits[a.Is6()] {
		if n > 0 {
			of[level], _ = a.Prefix(n)
		}
	}
	return of
}
