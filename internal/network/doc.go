// Package network says for which networks an address counts where something is bounded by address. Who has one IPv6 address has 2^64, and
// often 256 or 65,536 times that; so each bound holds for an IPv6 /64, more loosely for its /56, and again for its /48; with IPv4, for an
// address and more loosely for its /24.
package network
