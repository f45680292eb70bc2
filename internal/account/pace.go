package account

import (
	"maps"
	"sync"
	"time"
)

// pace bounds how often something is done, by who does it: so many times a minute, and at the beginning as many at once.
type pace[K comparable] struct {
	each time.Duration // what one takes; 0: nothing, without a bound
	mu   sync.Mutex
	full map[K]time.Time // when all is given back
	most int             // of entries before those that have passed are looked for
}

// portion is one of those for whom something counts, who may do it share times as often.
type portion[K comparable] struct {
	of    K
	share int
}

// init sets the number a minute; negative: unlimited.
func (p *pace[K]) init(perMinute int) {
	if perMinute > 0 {
		p.each = time.Minute / time.Duration(perMinute)
	}
	p.full, p.most = make(map[K]time.Time), 1024
}

// take counts one for all, or for none and returns a *Denied that is ErrOverloaded.
func (p *pace[K]) take(portions ...portion[K]) error {
	if p.each == 0 {
		return nil
	}
	now := time.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.full) >= p.most {
		maps.DeleteFunc(p.full, func(_ K, full time.Time) bool { return !full.After(now) })
		p.most = max(1024, 2*len(p.full))
	}
	var wait time.Duration
	then := make([]time.Time, len(portions))
	for i, o := range portions {
		if then[i] = p.full[o.of]; then[i].Before(now) {
			then[i] = now
		}
		then[i] = then[i].Add(p.each / time.Duration(o.share))
		wait = max(wait, then[i].Sub(now)-time.Minute)
	}
	if wait > 0 {
		return &Denied{RetryAfter: wait, Reason: Throttled, Busy: true}
	}
	for i, o := range portions {
		p.full[o.of] = then[i]
	}
	return nil
}

// giveBack undoes one take.
func (p *pace[K]) giveBack(portions ...portion[K]) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, o := range portions {
		if full, there := p.full[o.of]; there {
			p.full[o.of] = full.Add(-p.each / time.Duration(o.share))
		}
	}
}
