package server

import (
	"errors"
	"net/netip"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/authsrv/authsrv/internal/network"
	"github.com/authsrv/authsrv/noiseconn"
	"github.com/authsrv/authsrv/wire"
)

// Offence is what a connection is held against its network for.
type Offence uint8

// The offences.
const (
	Garbage   Offence = iota // what it sent is no handshake of this protocol, or does not verify
	Timeout                  // it let the time for the handshake, or for the login, pass
	Violation                // it sent a message that there is not, or not there
	Refused                  // its password, code or session was refused, or came too early
	Dropped                  // it went without having wanted anything
	Offences                 // how many there are
)

var offenceNames = [Offences]string{"garbage", "timeout", "violation", "refused", "dropped"}

func (o Offence) String() string { return offenceNames[o] }

// OffenceOf returns the offence of a name.
func OffenceOf(name string) (o Offence, ok bool) {
	i := slices.Index(offenceNames[:], name)
	return Offence(max(i, 0)), i >= 0
}

// Penalties are what offences cost the network that they come from, as a time that passes by itself. A network that has Least to
// pass at once is cut off until all of it has passed: its new connections are closed, and those that it has are left alone. The zero value is none.
//
// An offence counts for the address, or IPv6 /64; with a fourth for the /56; with a sixteenth for the /48, or the /24 of an IPv4
// address. It does not count for a wider one while the narrower is cut off: so it takes more than a dozen of those in it.
type Penalties struct {
	Costs  [Offences]time.Duration
	Least  time.Duration
	Most   time.Duration  // no network has more to pass
	Exempt []netip.Prefix // networks that no offence counts for
}

// DefaultPenalties are those of a Config that names none. Loopback is exempt: behind it are a proxy's clients, or whoever develops.
func DefaultPenalties() Penalties {
	return Penalties{
		Costs: [Offences]time.Duration{5 * time.Second, 5 * time.Second, 5 * time.Second, 2 * time.Second, time.Second},
		Least: 30 * time.Second, Most: 5 * time.Minute,
		Exempt: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")},
	}
}

func (p *Penalties) off() bool { return p.Costs == [Offences]time.Duration{} }

func (p *Penalties) check() error {
	for _, c := range p.Costs {
		if c < 0 {
			return errors.New("server: a penalty is negative")
		}
	}
	if !p.off() && (p.Least <= 0 || p.Most < p.Least) {
		return errors.New("server: the most that a penalty can be is less than what it takes to be cut off")
	}
	return nil
}

const (
	maxPenalties = 1 << 16          // networks that are remembered
	penaltySpots = 8                // of them, one of which makes room for another
	tellEvery    = 10 * time.Second // a network that is cut off is told, and the log
)

// penalties are the networks that have some. They are in memory only.
type penalties struct {
	mu     sync.Mutex
	began  time.Time // what the times are since: a clock that is set does not change them
	rules  Penalties
	of     map[netip.Prefix]penalty
	max    int
	logged time.Duration // when the log was told
	silent int           // networks that were cut off since without a line
}

type penalty struct {
	until time.Duration // when it has passed
	cut   bool
	told  time.Duration // when the last of its connections was told; 0: none
}

func (p *penalties) init() {
	p.began, p.of, p.max, p.logged = time.Now(), make(map[netip.Prefix]penalty), maxPenalties, -tellEvery
}

// set changes the rules. Where there are none from then on, what was is forgotten.
func (p *penalties) set(rules Penalties) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.rules = rules; rules.off() {
		p.of = make(map[netip.Prefix]penalty)
	}
}

// exempt says whether nothing is held against the networks of an address.
func (p *penalties) exempt(a netip.Addr) bool {
	return p.rules.off() || !a.IsValid() || slices.ContainsFunc(p.rules.Exempt, func(e netip.Prefix) bool { return e.Contains(a) })
}

// sentence is what the log is told of a network that is cut off now.
type sentence struct {
	network netip.Prefix // the widest; the zero Prefix: there is none
	time    time.Duration
	log     bool // it is time for a line
	silent  int  // those before it that had none
}

// charge counts an offence. It does not where the rules say that it costs nothing.
func (p *penalties) charge(a netip.Addr, o Offence) (counted bool, s sentence) {
	p.mu.Lock()
	defer p.mu.Unlock()
	cost := p.rules.Costs[o]
	if cost == 0 || p.exempt(a) {
		return false, s
	}
	now := time.Since(p.began)
	for level, prefix := range network.Of(a) {
		if !prefix.IsValid() {
			continue
		}
		e, known := p.of[prefix]
		if e.until <= now {
			e = penalty{until: now}
		}
		before := e.cut
		e.until = min(e.until+cost/time.Duration(network.Level(level).Share()), now+p.rules.Most)
		e.cut = before || e.until-now >= p.rules.Least
		if !known {
			p.makeRoomLocked()
		}
		p.of[prefix] = e
		if before {
			break
		}
		if e.cut {
			s.network, s.time = prefix, e.until-now
		}
	}
	if s.network.IsValid() {
		if s.log = now-p.logged >= tellEvery; s.log {
			p.logged, s.silent, p.silent = now, p.silent, 0
		} else {
			p.silent++
		}
	}
	return true, s
}

// makeRoomLocked forgets one of some networks where there are too many: the one with the least to pass, so that many small
// offences do not wash away what is worse.
func (p *penalties) makeRoomLocked() {
	if len(p.of) < p.max {
		return
	}
	var least netip.Prefix
	seen := 0
	for prefix, e := range p.of { // in no order
		if seen == 0 || e.until < p.of[least].until {
			least = prefix
		}
		if seen++; seen == penaltySpots {
			break
		}
	}
	delete(p.of, least)
}

// cutOff says whether an address is in a network that is cut off, and whether it is time to tell it.
func (p *penalties) cutOff(a netip.Addr) (cut, tell bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.of) == 0 || p.exempt(a) {
		return false, false
	}
	now := time.Since(p.began)
	for _, prefix := range network.Of(a) {
		e, known := p.of[prefix]
		if !known || !e.cut || e.until <= now {
			continue
		}
		if tell = e.told == 0 || now-e.told >= tellEvery; tell {
			e.told = now
			p.of[prefix] = e
		}
		return true, tell
	}
	return false, false
}

// count returns how many networks are cut off.
func (p *penalties) count() (n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Since(p.began)
	for _, e := range p.of {
		if e.cut && e.until > now {
			n++
		}
	}
	return n
}

// offend holds an offence against the networks of the peer.
func (ss *session) offend(o Offence) {
	ss.judged = true
	counted, s := ss.server.penalties.charge(ss.channel.Address, o)
	if !counted {
		return
	}
	ss.server.seen.offence(o)
	if s.log {
		ss.server.c.Logger.Info("network cut off", "network", s.network.String(), "for", s.time, "last", o.String(), "unlogged", s.silent)
	}
}

// judge holds against the networks of the peer how its connection has ended before it was logged in, where that was its own doing.
func (ss *session) judge(err error) {
	switch {
	case ss.wokenBy() != 0: // it made room for others, or the server stops
		ss.judged = true
	case errors.Is(err, noiseconn.ErrPreface), errors.Is(err, noiseconn.ErrHandshake):
		ss.offend(Garbage)
	case errors.Is(err, wire.ErrFrameSize), errors.Is(err, noiseconn.ErrRecord):
		if ss.conn == nil {
			ss.offend(Garbage)
		} else {
			ss.offend(Violation)
		}
	case ss.state != ready && errors.Is(err, os.ErrDeadlineExceeded):
		ss.offend(Timeout)
	}
}

// dismiss is for a connection that was neither of use nor an offence: it is one to have made it for nothing.
func (ss *session) dismiss() {
	if !ss.judged && ss.wokenBy() == 0 {
		ss.offend(Dropped)
	}
}
