package server

import (
	"net/netip"

	"github.com/authsrv/authsrv/internal/network"
)

// crowds counts connections by network.
type crowds map[netip.Prefix]*int

// crowd is the counts of the networks of one connection, by their level; nil where there is none.
type crowd [network.Levels]*int

// add counts one more. What is no address counts as one of its own.
func (c crowds) add(of network.Networks) (all crowd) {
	for level, prefix := range of {
		if level != int(network.Own) && !prefix.IsValid() {
			continue
		}
		n := c[prefix]
		if n == nil {
			n = new(int)
			c[prefix] = n
		}
		*n++
		all[level] = n
	}
	return all
}

// remove counts one less.
func (c crowds) remove(of network.Networks) {
	for level, prefix := range of {
		if level != int(network.Own) && !prefix.IsValid() {
			continue
		}
		if *c[prefix]--; *c[prefix] == 0 {
			delete(c, prefix)
		}
	}
}

// of returns the counts of the networks of a connection that was added.
func (c crowds) of(of network.Networks) (all crowd) {
	for level, prefix := range of {
		all[level] = c[prefix]
	}
	return all
}

// weight says how much of a crowd it is: the count of that network which has the most for its level. So who spreads over many small
// networks of a wide one is a crowd as well.
func (c *crowd) weight() (most int) {
	for level, n := range c {
		if n != nil {
			most = max(most, *n*network.Wide.Share()/network.Level(level).Share())
		}
	}
	return most
}
