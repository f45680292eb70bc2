package client_test

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"

	"github.com/authsrv/authsrv/client"
	"github.com/authsrv/authsrv/client/store"
	"github.com/authsrv/authsrv/internal/account"
	"github.com/authsrv/authsrv/internal/authtest"
	"github.com/authsrv/authsrv/internal/soak"
	"github.com/authsrv/authsrv/kv"
	"github.com/authsrv/authsrv/server"
)

// start starts the server of the visits, or starts it anew: with the same store and the same keys, the static one among them.
func (v *visits) start(t *testing.T, engine kv.Engine) {
	if v.srv != nil {
		if err := v.srv.Stop(); err != nil {
			t.Error(err)
		}
	}
	static := sha256.Sum256([]byte("a node's static key"))
	random := &keyed{keys: [][32]byte{static}, rest: rand.NewChaCha8(sha256.Sum256(fmt.Appendf(nil, "start %d", v.n)))}
	v.srv = authtest.New(t, authtest.Options{Engine: engine, Server: server.Config{Rand: random}})
}

// overhear records the frames, of both ways, of a visit and of whatever else a client does.
func (v *visits) overhear(t *testing.T) (frames [][]byte) {
	ctx := t.Context()
	through := func(st *store.Store, run func(*client.Client) error) {
		v.n++
		m := &middle{}
		config := m.through(v.srv, addressOf(v.n))
		config.Store = st
		config.Stretch(cheapKey)
		c, err := client.Dial(ctx, authtest.Address, config)
		if err == nil {
			err = run(c)
		}
		if err != nil {
			t.Fatal(err)
		}
		c.Close()
		synctest.Wait()
		frames = append(frames, slices.Concat(m.frames[toServer], m.frames[toClient])...)
	}
	m := &middle{}
	v.make(t, m)
	frames = slices.Concat(m.frames[toServer], m.frames[toClient])
	st, invite := store.Memory(), v.srv.Invite()
	through(st, func(c *client.Client) error { return c.Register(ctx, "alice", password, nil) })
	through(st, func(c *client.Client) error {
		s, err := c.Login(ctx, "alice", password, nil)
		if err == nil {
			s.Close()
		}
		return err
	})
	through(st, func(c *client.Client) error {
		s, err := c.Resume(ctx)
		if err == nil {
			err = s.Delete(ctx, password)
		}
		return err
	})
	through(st, func(c *client.Client) error {
		return c.Register(ctx, "bobby", password, &client.RegisterOptions{Invite: &invite})
	})
	reset := v.srv.Reset("bobby")
	through(st, func(c *client.Client) error { return c.Reset(ctx, "bobby", reset, another) })
	for _, mode := range []account.Registration{account.RegistrationChecked, account.RegistrationOpen} {
		if err := v.srv.Accounts.SetRules(account.Rules{Registration: mode}); err != nil {
			t.Fatal(err)
		}
		if mode == account.RegistrationChecked {
			through(st, func(c *client.Client) error {
				return c.Register(ctx, "carol", password, &client.RegisterOptions{SendPassword: true})
			})
		}
	}
	return frames
}

// TestSoakReplayedOnTheWay puts frames that were recorded, on the same connection and on others, of both ways, into the place of each
// frame of a visit, and before it, in both directions, before and after the server was started anew. It comes to what a flipped bit
// comes to: whatever is not the next frame of its own connection is refused by who gets it.
func TestSoakReplayedOnTheWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v, engine := &visits{}, authtest.Engine(t)
		v.start(t, engine)
		recorded := v.overhear(t)
		type place struct{ way, frame int }
		type put struct {
			place
			from   place // of the same connection
			other  int   // or the frame of another one; -1: none
			before bool
		}
		var puts []put
		for way, list := range passages {
			for frame := range list {
				for _, before := range []bool{false, true} {
					for i := range recorded {
						puts = append(puts, put{place: place{way, frame}, other: i, before: before})
					}
					for way2, list := range passages {
						for earlier := range list {
							puts = append(puts, put{place{way, frame}, place{way2, earlier}, -1, before})
						}
					}
				}
			}
		}
		n := min(soak.Times(t, len(puts), 100), len(puts))
		same, others := 0, 0
		touched := make(map[place]bool)
		for _, again := range []bool{false, true} {
			if again {
				v.start(t, engine)
			}
			for i := range n {
				p := puts[(i*len(puts)+len(puts)/2)/n%len(puts)]
				m := &middle{fault: &fault{way: p.way, frame: p.frame}}
				m.puts = func(m *middle, frame []byte) []byte {
					var replayed []byte
					switch of := m.frames[p.from.way]; {
					case p.other >= 0:
						replayed = recorded[p.other]
					case p.from.frame < len(of):
						replayed = of[p.from.frame]
					default:
						return nil // it has not been sent yet
					}
					if bytes.Equal(replayed, frame) {
						return nil // that is no replay, but the frame
					}
					if p.before {
						return slices.Concat(replayed, frame)
					}
					return replayed
				}
				got := v.make(t, m)
				if !m.made.Load() {
					if got.errs[stepLogoutAll] != nil {
						t.Errorf("nothing was replayed, and: %v", got.errs)
					}
					continue
				}
				touched[p.place] = true
				if p.other < 0 {
					same++
				} else {
					others++
				}
				if wrong := m.fault.judge(&got); len(wrong) > 0 {
					t.Errorf("%s, a frame of another connection %v, before it %v, started anew %v: %q; %v",
						frameName(p.way, p.frame), p.other >= 0, p.before, again, wrong, got.errs)
				}
			}
		}
		t.Logf("%d frames of other connections, %d of the same one, each in %d places", others, same, len(touched))
		if want := len(passages[toServer]) + len(passages[toClient]); len(touched) != want {
			t.Errorf("%d of %d places", len(touched), want)
		}
	})
}
