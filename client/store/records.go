package store

import (
	"crypto/sha256"
	"fmt"
	"slices"
	"time"
)

// Servers returns all servers, by ascending address.
func (s *Store) Servers() ([]Server, error) {
	c, err := view(s, &serverKind)
	return c.entries, err
}

// Server returns the server at an address.
func (s *Store) Server(address string) (Server, bool, error) {
	return find(s, &serverKind, Server{Address: address})
}

// ServerByRealm returns a server of a realm: a confirmed one if there is any, since only that speaks for the realm.
func (s *Store) ServerByRealm(realmID [16]byte) (found Server, ok bool, err error) {
	c, err := view(s, &serverKind)
	for _, e := range c.entries {
		if e.RealmID == realmID && (!ok || e.Confirmed && !found.Confirmed) {
			found, ok = e, true
		}
	}
	return found, ok, err
}

// PutServer remembers what was learned of a server. What is confirmed counts for the realm, at all of its addresses:
//
//   - Epoch, Version, Suite and ServerTime only go up; a lower value leaves the higher one, and so does a time that is less
//     than an hour later: it is a bound on clocks that are wrong by more, and not worth a write at each login.
//   - Another identity than the pinned one (or another realm, at a known address) is an ErrIdentityChanged, unless it is
//     confirmed and the successor that the pinned one committed to; then it takes the place of the old one everywhere.
//   - What is not confirmed never changes what is.
//
// A server that is to be trusted in spite of this must be removed first.
func (s *Store) PutServer(server Server) error {
	if err := server.check(); err != nil {
		return err
	}
	return update(s, &serverKind, func(c *contents[Server]) error { return putServer(c, server) })
}

func putServer(c *contents[Server], server Server) error {
	for _, known := range c.entries {
		sameAddress, sameRealm := known.Address == server.Address, known.RealmID == server.RealmID
		binding := sameAddress || sameRealm && known.Confirmed
		if binding && !(sameRealm && (known.Identity == server.Identity || succeeds(server, known))) {
			return fmt.Errorf("%w: that of %s", ErrIdentityChanged, known.Address)
		}
		if sameAddress && known.Confirmed && !server.Confirmed {
			return nil
		}
		if sameAddress && !known.FirstSeen.IsZero() {
			server.FirstSeen = known.FirstSeen
		}
	}
	if server.Confirmed {
		confirm(c, &server)
	}
	serverKind.put(c, server)
	return nil
}

// succeeds reports whether server is, confirmed, the successor that a pinned server committed to.
func succeeds(server, pinned Server) bool {
	return server.Confirmed && pinned.Confirmed && sha256.Sum256(server.Identity[:]) == pinned.NextIdentity
}

// confirm makes what the realm knows of itself the same in server and at the realm's other confirmed addresses.
func confirm(c *contents[Server], server *Server) {
	server.ServerTime = seconds(server.ServerTime)
	var realm []*Server
	for i := range c.entries {
		if e := &c.entries[i]; e.RealmID == server.RealmID && e.Confirmed {
			realm = append(realm, e)
			server.Epoch = max(server.Epoch, e.Epoch)
			server.Version = max(server.Version, e.Version)
			server.Suite = max(server.Suite, e.Suite)
			if server.ServerTime.Before(e.ServerTime.Add(timeStep)) {
				server.ServerTime = e.ServerTime
			}
		}
	}
	for _, e := range realm {
		address, firstSeen := e.Address, e.FirstSeen
		*e = *server
		e.Address, e.FirstSeen = address, firstSeen
	}
}

// timeStep is by how much a server's time has to be later than the one that is remembered, to take its place.
const timeStep = time.Hour

// RemoveServer forgets a server, the session held there, and the default if it was that, and reports whether it was known. If
// nothing confirmed is left of its realm, it forgets the realm's accounts too: whoever is next to claim the realm gets other device
// keys.
func (s *Store) RemoveServer(address string) (removed bool, err error) {
	err = s.exclusive(func() error {
		known, _, err := loadLocked(s, &serverKind)
		if err != nil {
			return err
		}
		err = updateLocked(s, &accountKind, func(c *contents[Account]) error {
			c.entries = slices.DeleteFunc(c.entries, func(a Account) bool { return orphaned(known.entries, a.RealmID, address) })
			return nil
		})
		if err != nil {
			return err
		}
		err = updateLocked(s, &sessionKind, func(c *contents[Session]) error {
			c.entries = slices.DeleteFunc(c.entries, func(e Session) bool { return e.Address == address })
			return nil
		})
		if err != nil {
			return err
		}
		return updateLocked(s, &serverKind, func(c *contents[Server]) error {
			n := len(c.entries)
			c.entries = slices.DeleteFunc(c.entries, func(e Server) bool { return e.Address == address })
			removed = len(c.entries) != n
			if c.defaultAddress == address {
				c.defaultAddress = ""
			}
			return nil
		})
	})
	return removed && err == nil, err
}

// orphaned reports whether there is nothing left that was confirmed of a realm, once the server at an address of it is removed.
func orphaned(servers []Server, realmID [16]byte, removed string) bool {
	had, left := false, false
	for _, e := range servers {
		if e.RealmID == realmID {
			had = had || e.Address == removed
			left = left || e.Address != removed && e.Confirmed
		}
	}
	return had && !left
}

// Default returns the address that is used where none is given, or "".
func (s *Store) Default() (string, error) {
	c, err := view(s, &serverKind)
	return c.defaultAddress, err
}

// SetDefault remembers the address that is used where none is given; "" forgets it.
func (s *Store) SetDefault(address string) error {
	return update(s, &serverKind, func(c *contents[Server]) error {
		c.defaultAddress = address
		return nil
	})
}

// Account returns what is kept of an account.
func (s *Store) Account(realmID [16]byte, name string) (Account, bool, error) {
	return find(s, &accountKind, Account{RealmID: realmID, Name: name})
}

// PutAccount remembers an account, in the place of what was kept of it.
func (s *Store) PutAccount(a Account) error {
	return put(s, &accountKind, a)
}

// RemoveAccount forgets an account, and reports whether it was known.
func (s *Store) RemoveAccount(realmID [16]byte, name string) (bool, error) {
	return remove(s, &accountKind, func(e Account) bool { return e.RealmID == realmID && e.Name == name })
}

// Session returns the session that is held at an address, expired or not.
func (s *Store) Session(address string) (Session, bool, error) {
	return find(s, &sessionKind, Session{Address: address})
}

// PutSession remembers a session, in the place of the one that was held at its address.
func (s *Store) PutSession(session Session) error {
	return put(s, &sessionKind, session)
}

// ReplaceSession puts a session in the place of the one with this id, and reports whether that was held at its address:
// another process may have logged in since.
func (s *Store) ReplaceSession(sessionID [16]byte, session Session) (replaced bool, err error) {
	if err := session.check(); err != nil {
		return false, err
	}
	err = update(s, &sessionKind, func(c *contents[Session]) error {
		i, found := slices.BinarySearchFunc(c.entries, session, sessionKind.compare)
		if replaced = found && c.entries[i].SessionID == sessionID; replaced {
			c.entries[i] = session
		}
		return nil
	})
	return replaced && err == nil, err
}

// RemoveSession forgets the session that is held at an address if it is still the one with this id, and reports whether it was:
// another process may have logged in since this one ended its own.
func (s *Store) RemoveSession(address string, sessionID [16]byte) (bool, error) {
	return remove(s, &sessionKind, func(e Session) bool { return e.Address == address && e.SessionID == sessionID })
}

// find returns the entry with the key of like.
func find[E, J any](s *Store, k *kind[E, J], like E) (e E, found bool, err error) {
	c, err := view(s, k)
	if err != nil {
		return e, false, err
	}
	i, found := slices.BinarySearchFunc(c.entries, like, k.compare)
	if found {
		e = c.entries[i]
	}
	return e, found, nil
}

func put[E, J any](s *Store, k *kind[E, J], e E) error {
	if err := k.check(&e); err != nil {
		return err
	}
	return update(s, k, func(c *contents[E]) error {
		k.put(c, e)
		return nil
	})
}

func remove[E, J any](s *Store, k *kind[E, J], gone func(E) bool) (removed bool, err error) {
	err = update(s, k, func(c *contents[E]) error {
		n := len(c.entries)
		c.entries = slices.DeleteFunc(c.entries, gone)
		removed = len(c.entries) != n
		return nil
	})
	return removed && err == nil, err
}
