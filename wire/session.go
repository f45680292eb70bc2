package wire

import (
	"encoding/binary"
	"iter"
)

func begin(dst []byte, t Type, id uint32) []byte {
	return binary.BigEndian.AppendUint32(append(dst, uint8(t)), id)
}

// request begins a message that has an id; ids of requests are from 1.
func request(b []byte, t Type) (cursor, uint32) {
	c := parse(b, t)
	id := c.u32()
	c.check((id == 0) == (t == TypeGoodbye || t == TypeBye))
	return c, id
}

// RequestID returns the id of a message after login, whatever its type.
func RequestID(b []byte) (uint32, error) {
	if len(b) < 5 {
		return 0, ErrMalformed
	}
	return binary.BigEndian.Uint32(b[1:]), nil
}

// Plain is a message with nothing but its type and id: WhoAmI, List, Logout, Bye and Done.
type Plain struct {
	Type Type
	ID   uint32
}

// AppendTo appends the message.
func (m Plain) AppendTo(dst []byte) []byte { return begin(dst, m.Type, m.ID) }

// ParsePlain reads a message of type t that has no fields.
func ParsePlain(b []byte, t Type) (m Plain, err error) {
	c, id := request(b, t)
	return Plain{t, id}, c.end(t)
}

// Goodbye is the last record of a connection that a server ends.
type Goodbye struct {
	Code Code
}

// AppendTo appends the message.
func (m Goodbye) AppendTo(dst []byte) []byte {
	return binary.BigEndian.AppendUint16(begin(dst, TypeGoodbye, 0), uint16(m.Code))
}

// ParseGoodbye reads a Goodbye.
func ParseGoodbye(b []byte) (m Goodbye, err error) {
	c, _ := request(b, TypeGoodbye)
	m.Code = Code(c.u16())
	c.check(m.Code != 0)
	return m, c.end(TypeGoodbye)
}

// Refused refuses a request.
type Refused struct {
	ID uint32
	Denied
}

// AppendTo appends the message.
func (m *Refused) AppendTo(dst []byte) []byte {
	return m.Denied.appendFields(begin(dst, TypeRefused, m.ID))
}

// ParseRefused reads a Refused.
func ParseRefused(b []byte) (m Refused, err error) {
	c, id := request(b, TypeRefused)
	m.ID = id
	m.Denied.read(&c)
	return m, c.end(TypeRefused)
}

// Account answers WhoAmI.
type Account struct {
	ID        uint32
	AccountID [16]byte
	Name      []byte
	Created   uint64 // Unix seconds
	SessionID [16]byte
	Expires   uint64 // Unix seconds
}

// AppendTo appends the message.
func (m *Account) AppendTo(dst []byte) []byte {
	dst = begin(dst, TypeAccount, m.ID)
	dst = append(dst, m.AccountID[:]...)
	dst = appendBytes8(dst, m.Name)
	dst = binary.BigEndian.AppendUint64(dst, m.Created)
	dst = append(dst, m.SessionID[:]...)
	return binary.BigEndian.AppendUint64(dst, m.Expires)
}

// ParseAccount reads an Account. Name aliases b.
func ParseAccount(b []byte) (m Account, err error) {
	c, id := request(b, TypeAccount)
	m.ID = id
	c.copy(m.AccountID[:])
	m.Name = c.bytes8(1, MaxName)
	m.Created = c.u64()
	c.copy(m.SessionID[:])
	m.Expires = c.u64()
	return m, c.end(TypeAccount)
}

// Listing answers List. Its names stand encoded, one behind the other.
type Listing struct {
	ID    uint32
	Count uint16
	names []byte
}

// Add appends a name of 1 to 255 bytes.
func (m *Listing) Add(name string) {
	m.names = appendBytes8(m.names, []byte(name))
	m.Count++
}

// All yields the names, which alias what was parsed.
func (m *Listing) All() iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		c := cursor{b: m.names}
		for range m.Count {
			if !yield(c.bytes8(1, 255)) {
				return
			}
		}
	}
}

// AppendTo appends the message.
func (m *Listing) AppendTo(dst []byte) []byte {
	dst = binary.BigEndian.AppendUint16(begin(dst, TypeListing, m.ID), m.Count)
	return append(dst, m.names...)
}

// ParseListing reads a Listing, which aliases b.
func ParseListing(b []byte) (m Listing, err error) {
	c, id := request(b, TypeListing)
	m.ID, m.Count = id, c.u16()
	m.names = c.b
	for range m.Count {
		c.bytes8(1, 255)
	}
	return m, c.end(TypeListing)
}

// ListSessions asks for the sessions behind After: zeros for the first page.
type ListSessions struct {
	ID    uint32
	After [16]byte
}

// AppendTo appends the message.
func (m *ListSessions) AppendTo(dst []byte) []byte {
	return append(begin(dst, TypeListSessions, m.ID), m.After[:]...)
}

// ParseListSessions reads a ListSessions.
func ParseListSessions(b []byte) (m ListSessions, err error) {
	c, id := request(b, TypeListSessions)
	m.ID = id
	c.copy(m.After[:])
	return m, c.end(TypeListSessions)
}

// MaxAddress is the length in bytes of the text of a peer's address.
const MaxAddress = 64

// MaxSessions is how many sessions a page has at the most.
const MaxSessions = 100

// A Session is one entry of a SessionList. Times are Unix seconds.
type Session struct {
	ID                         [16]byte
	Created, LastUsed, Expires uint64
	Current                    bool
	Address                    []byte
}

func (s *Session) read(c *cursor) {
	c.copy(s.ID[:])
	s.Created, s.LastUsed, s.Expires, s.Current = c.u64(), c.u64(), c.u64(), c.flag()
	s.Address = c.bytes8(0, MaxAddress)
}

// SessionList answers ListSessions. Its sessions stand encoded, one behind the other.
type SessionList struct {
	ID       uint32
	More     bool
	Count    uint16
	sessions []byte
}

// Add appends a session.
func (m *SessionList) Add(s *Session) {
	b := append(m.sessions, s.ID[:]...)
	b = binary.BigEndian.AppendUint64(b, s.Created)
	b = binary.BigEndian.AppendUint64(b, s.LastUsed)
	b = binary.BigEndian.AppendUint64(b, s.Expires)
	b = appendFlag(b, s.Current)
	m.sessions = appendBytes8(b, s.Address)
	m.Count++
}

// All yields the sessions, whose addresses alias what was parsed.
func (m *SessionList) All() iter.Seq[Session] {
	return func(yield func(Session) bool) {
		c := cursor{b: m.sessions}
		for range m.Count {
			var s Session
			s.read(&c)
			if !yield(s) {
				return
			}
		}
	}
}

// AppendTo appends the message.
func (m *SessionList) AppendTo(dst []byte) []byte {
	dst = appendFlag(begin(dst, TypeSessionList, m.ID), m.More)
	dst = binary.BigEndian.AppendUint16(dst, m.Count)
	return append(dst, m.sessions...)
}

// ParseSessionList reads a SessionList, which aliases b.
func ParseSessionList(b []byte) (m SessionList, err error) {
	c, id := request(b, TypeSessionList)
	m.ID, m.More, m.Count = id, c.flag(), c.u16()
	c.check(m.Count <= MaxSessions)
	m.sessions = c.b
	var last [16]byte
	for i := range m.Count {
		var s Session
		s.read(&c)
		c.check(i == 0 || string(last[:]) < string(s.ID[:]))
		last = s.ID
	}
	return m, c.end(TypeSessionList)
}
