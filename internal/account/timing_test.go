package account

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"net/netip"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/authsrv/authsrv/credential"
	"github.com/authsrv/authsrv/internal/soak"
	"github.com/authsrv/authsrv/kv"
)

// leak is the |t| from which on two times are told apart (Goodwill et al., "A testing methodology for side-channel resistance
// validation", 2011).
const leak = 4.5

// crops are the shares of the slowest tries that are left out: what a scheduler or a collector adds is no answer to the question, and hides
// one (Reparaz et al., "Dude, is my code constant time?", 2017).
var crops = []float64{0, 0.01, 0.05, 0.1, 0.25, 0.5}

// welch is Welch's t of two samples.
func welch(a, b []float64) float64 {
	mean := func(x []float64) (m, v float64) {
		for _, f := range x {
			m += f
		}
		m /= float64(len(x))
		for _, f := range x {
			v += (f - m) * (f - m)
		}
		return m, v / float64(len(x)-1) / float64(len(x))
	}
	ma, va := mean(a)
	mb, vb := mean(b)
	return (ma - mb) / math.Sqrt(va+vb)
}

// apart is how far two samples are apart: the t that is largest of all crops, and the means at a tenth left out, in µs. The limit of a crop is one of both
// samples together.
func apart(a, b []float64) (t, ma, mb float64) {
	all := slices.Sorted(slices.Values(slices.Concat(a, b)))
	for _, crop := range crops {
		limit := all[int(float64(len(all)-1)*(1-crop))]
		below := func(x []float64) (y []float64, mean float64) {
			for _, f := range x {
				if f <= limit {
					y, mean = append(y, f), mean+f
				}
			}
			return y, mean / float64(len(y)) / 1e3
		}
		x, mx := below(a)
		y, my := below(b)
		if crop == 0.1 {
			ma, mb = mx, my
		}
		if w := welch(x, y); math.Abs(w) > math.Abs(t) {
			t = w
		}
	}
	return t, ma, mb
}

// TestWelch holds the statistic against samples whose answer is known.
func TestWelch(t *testing.T) {
	if w, want := welch([]float64{1, 2, 3, 4, 5}, []float64{2, 4, 6, 8, 10}), -3/math.Sqrt(2.5); math.Abs(w-want) > 1e-9 {
		t.Errorf("t is %v, want %v", w, want)
	}
	random := rand.New(rand.NewPCG(7, 7))
	sample := func(mean float64) []float64 {
		x := make([]float64, 20_000)
		for i := range x {
			if x[i] = mean + random.NormFloat64(); random.IntN(100) == 0 {
				x[i] += 1000 * random.Float64()
			}
		}
		return x
	}
	if w, _, _ := apart(sample(10), sample(10)); math.Abs(w) > leak {
		t.Errorf("two of one kind: t is %v", w)
	}
	if w, _, _ := apart(sample(10), sample(10.1)); w > -leak {
		t.Errorf("a tenth of a deviation apart, under outliers: t is %v", w)
	}
}

// names are as many with an account as without.
type names struct{ known, unknown []string }

// populate makes n accounts of random names, and as many names without, in a store that they were flushed into.
func populate(r *rig, n int, change func(*accountRecord)) (all names) {
	r.t.Helper()
	random := rand.New(rand.NewPCG(1, uint64(n)))
	seen := map[string]bool{}
	for len(seen) < 2*n {
		name := fmt.Sprintf("%012d", random.Uint64N(1e12))
		if seen[name] {
			continue
		}
		if seen[name] = true; len(seen)%2 == 0 {
			all.unknown = append(all.unknown, name)
			continue
		}
		all.known = append(all.known, name)
	}
	for some := range slices.Chunk(all.known, kv.MaxOps/3) {
		err := kv.Update(r.t.Context(), r.spy.Engine, func(tx *kv.Tx) error {
			for _, name := range some {
				id, a, err := r.newAccount(&Attempt{name: name}, verifierOf(right()))
				if change != nil {
					change(&a)
				}
				if err == nil {
					err = r.enroll(tx, id, &a)
				}
				if err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			r.t.Fatal(err)
		}
	}
	r.reopen() // the log has become a table
	return all
}

// unwatched is the rig's service on an engine that nobody looks at.
func (r *rig) unwatched() *Service {
	r.t.Helper()
	c := r.config
	c.Engine = r.spy.Engine
	s, err := New(r.t.Context(), &c)
	if err != nil {
		r.t.Fatal(err)
	}
	return s
}

// measured are the times of a server's two answers, in ns, by whether the name has an account.
type measured struct{ challenge, denied [2][]float64 }

// measure makes n attempts, each of a device and an address of its own, for names in random order, and takes the time of both answers: from
// when the message is there to when its answer is.
func measure(r *rig, s *Service, finish func(context.Context, *Attempt, [64]byte) (*Login, error), all names, n int, k *credential.Key, want func(d *Denied, known bool) bool) (m measured) {
	r.t.Helper()
	random := rand.New(rand.NewPCG(2, uint64(n)))
	ctx := context.Background()
	var next [2]int
	for i := range n {
		p := r.peer("")
		p.ch.Address = netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})
		class, pool := random.IntN(2), all.unknown
		if class == 1 {
			pool = all.known
		}
		start := p.start(pool[next[class]%len(pool)])
		next[class]++
		binary.BigEndian.PutUint64(start.ClientNonce[:], uint64(i))
		at := time.Now()
		a, c, err := s.BeginLogin(ctx, &p.ch, start)
		begun := time.Since(at)
		if err != nil {
			r.t.Fatal(err)
		}
		tr := p.transcript(credential.PurposeLogin, start, &c)
		proof := k.Prove(tr.Sum())
		at = time.Now()
		_, err = finish(ctx, a, proof)
		finished := time.Since(at)
		var d *Denied
		if !errors.As(err, &d) || !want(d, class == 1) {
			r.t.Fatalf("attempt %d: %v", i, err)
		}
		m.challenge[class] = append(m.challenge[class], float64(begun))
		m.denied[class] = append(m.denied[class], float64(finished))
	}
	return m
}

// report writes down how far the answers are apart, and holds it against the limit where that is asked for.
func (m *measured) report(t *testing.T, what string, judged bool) {
	t.Helper()
	for _, answer := range []struct {
		name  string
		times *[2][]float64
	}{{"Challenge", &m.challenge}, {"Denied", &m.denied}} {
		w, known, unknown := apart(answer.times[1], answer.times[0])
		t.Logf("%s: %s to %d of names with an account in %.2f µs, to %d without in %.2f µs: t = %.2f", what, answer.name,
			len(answer.times[1]), known, len(answer.times[0]), unknown, w)
		if judged && math.Abs(w) >= leak {
			t.Errorf("%s: the time of %s tells who exists: |t| = %.2f", what, answer.name, math.Abs(w))
		}
	}
}

// TestSoakWhoExists takes the time of the server's answers for names with and without an account.
func TestSoakWhoExists(t *testing.T) {
	tries := soak.Times(t, 10_000, 400)
	why := func(known, unknown Outcome) func(*Denied, bool) bool {
		return func(d *Denied, real bool) bool { return d.Reason == known && real || d.Reason == unknown && !real }
	}
	disable := func(a *accountRecord) { a.flags |= flagDisabled }
	for _, c := range []struct {
		what   string
		disk   bool
		n      int
		change func(*accountRecord)
		key    *credential.Key
		want   func(*Denied, bool) bool
	}{
		{"wrong password, in memory", false, min(50_000, tries/2), nil, wrong(), why(WrongPassword, UnknownName)},
		{"wrong password, on disk", true, min(100_000, soak.Times(t, 100_000, 1000)), nil, wrong(), why(WrongPassword, UnknownName)},
		{"disabled, right password", false, min(50_000, tries/2), disable, right(), why(Disabled, UnknownName)},
	} {
		t.Run(c.what, func(t *testing.T) {
			dir, fs := "store", vfs.FS(vfs.NewMem())
			if c.disk {
				dir, fs = filepath.Join(t.TempDir(), "store"), nil
			}
			r := openRig(t, dir, fs)
			all := populate(r, c.n, c.change)
			s := r.unwatched()
			m := measure(r, s, s.FinishLogin, all, tries, c.key, c.want)
			m.report(t, c.what, soak.Judged(t))
			if c.disk || c.change != nil {
				return
			}
			early := measure(r, s, s.finishEarly, all, tries, c.key, c.want)
			early.report(t, "mutant", false)
			if w, _, _ := apart(early.denied[1], early.denied[0]); soak.Full(t) && math.Abs(w) < 2*leak {
				t.Errorf("a login that ends where there is no account is not found: t = %.2f", w)
			}
		})
	}
}

// finishEarly is a FinishLogin that does nothing for a name without an account but to count the failure.
func (s *Service) finishEarly(ctx context.Context, a *Attempt, proof [64]byte) (*Login, error) {
	if _, there, err := s.now(ctx)(s.store.nameKey(a.name)); err != nil || there {
		return s.FinishLogin(ctx, a, proof)
	}
	return nil, s.fail(ctx, a, s.buckets(a, false), UnknownName)
}
