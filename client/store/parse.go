package store

import (
	"bytes"
	"cmp"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"
)

const (
	serversFile = "servers.json"
	fileVersion = 1
	maxSize     = 1 << 20 // bytes of a file
)

// fault is what is wrong with a file, without what is in it: error texts are shown and logged, and two of the files hold secrets.
type fault string

func (f fault) Error() string        { return string(f) }
func (f fault) Is(target error) bool { return target == ErrCorrupt }

// contents are what one file holds.
type contents[E any] struct {
	defaultAddress string // servers.json only
	entries        []E    // by ascending key, each once
}

// kind is one of the three files: E an entry, J the same as JSON.
type kind[E, J any] struct {
	file    string
	encode  func(E) J
	decode  func(J) E
	check   func(*E) error
	compare func(a, b E) int
}

type document[J any] struct {
	Version int    `json:"version"`
	Default string `json:"default,omitempty"`
	Entries []J    `json:"entries"`
}

// ParseServers reads the text of servers.json: the servers by ascending address, and the default address if there is one.
func ParseServers(text []byte) (servers []Server, defaultAddress string, err error) {
	c, err := serverKind.parse(text)
	return c.entries, c.defaultAddress, describe(serverKind.file, err)
}

// ParseAccounts reads the text of accounts.json: the accounts by ascending realm id and name.
func ParseAccounts(text []byte) ([]Account, error) {
	c, err := accountKind.parse(text)
	return c.entries, describe(accountKind.file, err)
}

// ParseSessions reads the text of sessions.json: the sessions by ascending address.
func ParseSessions(text []byte) ([]Session, error) {
	c, err := sessionKind.parse(text)
	return c.entries, describe(sessionKind.file, err)
}

// parse reads what text returns, and nothing else but other white space.
func (k *kind[E, J]) parse(text []byte) (contents[E], error) {
	if len(text) > maxSize {
		return contents[E]{}, fault("it is larger than 1 MiB")
	}
	var head struct {
		Version int `json:"version"`
	}
	if err := json.Unmarshal(text, &head); err != nil {
		return contents[E]{}, jsonFault(err)
	}
	if head.Version > fileVersion {
		return contents[E]{}, ErrNewer
	}
	var d document[J]
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&d); err != nil {
		return contents[E]{}, jsonFault(err)
	}
	c := contents[E]{defaultAddress: d.Default, entries: make([]E, 0, len(d.Entries))}
	for i, j := range d.Entries {
		e := k.decode(j)
		if err := k.check(&e); err != nil {
			return contents[E]{}, fault(fmt.Sprintf("entry %d: %s", i+1, err))
		}
		if i > 0 && k.compare(c.entries[i-1], e) >= 0 {
			return contents[E]{}, fault(fmt.Sprintf("entry %d is there twice or out of order", i+1))
		}
		c.entries = append(c.entries, e)
	}
	// There is one way to write a value: what encoding/json lets pass (a field twice, or in other letters; a
	// time in another zone; hex in capitals) is not what was written.
	again, err := k.text(c)
	if err != nil {
		return contents[E]{}, fault("a value in it is out of range")
	}
	var want, have bytes.Buffer
	if json.Compact(&want, again) != nil || json.Compact(&have, text) != nil || !bytes.Equal(want.Bytes(), have.Bytes()) {
		return contents[E]{}, fault("it is not in the form that is written: a field is there twice, missing or out of order")
	}
	return c, nil
}

// text is the file for c.
func (k *kind[E, J]) text(c contents[E]) ([]byte, error) {
	d := document[J]{Version: fileVersion, Entries: make([]J, 0, len(c.entries))}
	if k.file == serversFile {
		d.Default = c.defaultAddress
		if d.Default != "" && !plain(d.Default, maxAddress) {
			return nil, invalid("the default address is too long, or has characters that don't belong there")
		}
	}
	for i := range c.entries {
		if err := k.check(&c.entries[i]); err != nil {
			return nil, err
		}
		d.Entries = append(d.Entries, k.encode(c.entries[i]))
	}
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(d); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// put adds e, or puts it in the place of the entry with its key.
func (k *kind[E, J]) put(c *contents[E], e E) {
	i, found := slices.BinarySearchFunc(c.entries, e, k.compare)
	if found {
		c.entries[i] = e
		return
	}
	c.entries = slices.Insert(c.entries, i, e)
}

// describe puts what errors.Is looks for, and the file's name, before a fault.
func describe(name string, err error) error {
	var f fault
	switch {
	case err == nil:
		return nil
	case errors.As(err, &f):
		return fmt.Errorf("%w: %s: %s", ErrCorrupt, name, string(f))
	}
	return fmt.Errorf("%w: %s", err, name)
}

// jsonFault says where JSON is wrong. The errors of encoding/json are not passed on: they quote the text.
func jsonFault(err error) error {
	var syntax *json.SyntaxError
	var wrong *json.UnmarshalTypeError
	var ours fault
	switch {
	case errors.As(err, &ours):
		return ours
	case errors.As(err, &syntax):
		return fault(fmt.Sprintf("it is not JSON at byte %d, or is cut short", syntax.Offset))
	case errors.As(err, &wrong):
		return fault(fmt.Sprintf("a value at byte %d is of the wrong kind", wrong.Offset))
	}
	return fault("it has a field or a value that does not belong there")
}

// hex16 and hex32 are bytes as hex.
type (
	hex16 [16]byte
	hex32 [32]byte
)

func (h hex16) MarshalText() ([]byte, error)     { return hex.AppendEncode(nil, h[:]), nil }
func (h hex32) MarshalText() ([]byte, error)     { return hex.AppendEncode(nil, h[:]), nil }
func (h *hex16) UnmarshalText(text []byte) error { return unhex(h[:], text) }
func (h *hex32) UnmarshalText(text []byte) error { return unhex(h[:], text) }

func unhex(dst, text []byte) error {
	if hex.DecodedLen(len(text)) != len(dst) {
		return fault("an id or a key has the wrong length")
	}
	if _, err := hex.Decode(dst, text); err != nil {
		return fault("an id or a key is not hex")
	}
	return nil
}

type serverEntry struct {
	Address      string    `json:"address"`
	RealmID      hex16     `json:"realm_id"`
	Identity     hex32     `json:"identity"`
	NextIdentity hex32     `json:"next_identity,omitzero"`
	Epoch        uint32    `json:"epoch"`
	Version      uint8     `json:"version"`
	Suite        uint8     `json:"suite"`
	ServerTime   time.Time `json:"server_time,omitzero"`
	Confirmed    bool      `json:"confirmed"`
	FirstSeen    time.Time `json:"first_seen,omitzero"`
}

var serverKind = kind[Server, serverEntry]{
	file: serversFile,
	encode: func(s Server) serverEntry {
		return serverEntry{s.Address, s.RealmID, s.Identity, s.NextIdentity, s.Epoch, s.Version, s.Suite,
			seconds(s.ServerTime), s.Confirmed, seconds(s.FirstSeen)}
	},
	decode: func(j serverEntry) Server {
		return Server{j.Address, j.RealmID, j.Identity, j.NextIdentity, j.Epoch, j.Version, j.Suite,
			seconds(j.ServerTime), j.Confirmed, seconds(j.FirstSeen)}
	},
	check:   (*Server).check,
	compare: func(a, b Server) int { return cmp.Compare(a.Address, b.Address) },
}

type accountEntry struct {
	RealmID   hex16    `json:"realm_id"`
	Name      string   `json:"name"`
	DeviceKey hex32    `json:"device_key"`
	KDF       kdfEntry `json:"kdf"`
	Salt      hex16    `json:"salt"`
	Method    uint8    `json:"method"`
}

type kdfEntry struct {
	Algorithm uint8  `json:"algorithm"`
	Time      uint32 `json:"time"`
	MemoryKiB uint32 `json:"memory_kib"`
	Lanes     uint8  `json:"lanes"`
}

var accountKind = kind[Account, accountEntry]{
	file: "accounts.json",
	encode: func(a Account) accountEntry {
		return accountEntry{a.RealmID, a.Name, hex32(a.DeviceKey), kdfEntry(a.KDF), a.Salt, a.Method}
	},
	decode: func(j accountEntry) Account {
		return Account{j.RealmID, j.Name, Secret(j.DeviceKey), KDF(j.KDF), j.Salt, j.Method}
	},
	check: (*Account).check,
	compare: func(a, b Account) int {
		return cmp.Or(bytes.Compare(a.RealmID[:], b.RealmID[:]), cmp.Compare(a.Name, b.Name))
	},
}

type sessionEntry struct {
	Address   string    `json:"address"`
	Name      string    `json:"name"`
	RealmID   hex16     `json:"realm_id"`
	Identity  hex32     `json:"identity"`
	Token     string    `json:"token"`
	ResumeKey hex32     `json:"resume_key"`
	SessionID hex16     `json:"session_id"`
	AccountID hex16     `json:"account_id"`
	Expires   time.Time `json:"expires,omitzero"`
}

var sessionKind = kind[Session, sessionEntry]{
	file: "sessions.json",
	encode: func(s Session) sessionEntry {
		return sessionEntry{s.Address, s.Name, s.RealmID, s.Identity, string(s.Token), hex32(s.ResumeKey),
			s.SessionID, s.AccountID, seconds(s.Expires)}
	},
	decode: func(j sessionEntry) Session {
		return Session{j.Address, j.Name, j.RealmID, j.Identity, Token(j.Token), Secret(j.ResumeKey),
			j.SessionID, j.AccountID, seconds(j.Expires)}
	},
	check:   (*Session).check,
	compare: func(a, b Session) int { return cmp.Compare(a.Address, b.Address) },
}

func seconds(t time.Time) time.Time { return t.UTC().Truncate(time.Second) }
