// Package attack is tests: what an attacker with the network, with a server of its own or with the disk can try against the real
// parts, client and server together. Checks that need a hook inside of one package are with that package instead.
// docs/SECURITY.md lists all of them. The counts of those named TestSoak… are scaled by internal/soak.
package attack
