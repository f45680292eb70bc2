package client_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/authsrv/authsrv/client"
	"github.com/authsrv/authsrv/client/store"
	"github.com/authsrv/authsrv/internal/authtest"
	"github.com/authsrv/authsrv/wire"
)

// session is a session at a fake that goes on with serve.
func (f *fake) session(serve func(*talk)) *client.Session {
	f.t.Helper()
	f.answer = func(k *talk) {
		k.say(k.resumed())
		serve(k)
	}
	conn, err := client.Dial(f.t.Context(), authtest.Address, f.config(f.saved()))
	if err != nil {
		f.t.Fatal(err)
	}
	s, err := conn.Resume(f.t.Context())
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() { s.Close() })
	return s
}

// TestManyRequestsAtOnce: every goroutine gets the answers to its own requests.
func TestManyRequestsAtOnce(t *testing.T) {
	srv := authtest.New(t, authtest.Options{})
	srv.Register("alice", password)
	s := srv.Login(store.Memory(), "alice", password)
	var wg sync.WaitGroup
	for g := range 50 {
		wg.Go(func() {
			for i := range 20 {
				var err error
				switch (g + i) % 3 {
				case 0:
					var who *client.Account
					if who, err = s.WhoAmI(t.Context()); err == nil && who.Name != "alice" {
						err = fmt.Errorf("it is %q", who.Name)
					}
				case 1:
					var names []string
					if names, err = s.List(t.Context()); err == nil && strings.Join(names, " ") != "root home etc lib media mnt" {
						err = fmt.Errorf("it is %q", names)
					}
				case 2:
					n := 0
					for _, err = range s.Sessions(t.Context()) {
						n++
					}
					if err == nil && n != 1 {
						err = fmt.Errorf("there are %d sessions", n)
					}
				}
				if err != nil {
					t.Errorf("goroutine %d, request %d: %v", g, i, err)
					return
				}
			}
		})
	}
	wg.Wait()
}

// TestAnswersComeInOrder: a server may take its time, and requests that nobody waits for any more disturb nobody.
func TestAnswersComeInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t, 1)
		s := f.session(func(k *talk) {
			for n := 0; ; n++ {
				b := k.read()
				if b == nil || wire.TypeOf(b) == wire.TypeBye {
					return
				}
				id, _ := wire.RequestID(b)
				time.Sleep(2 * time.Second)
				k.say(&wire.Account{ID: id, Name: fmt.Appendf(nil, "n%d", n)})
			}
		})
		short, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := s.WhoAmI(short); !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, client.ErrConnection) {
			t.Errorf("WhoAmI: %v", err)
		}
		who, err := s.WhoAmI(t.Context())
		if err != nil || who.Name != "n1" {
			t.Errorf("the second request got %+v, %v", who, err)
		}
		s.Close()
	})
}

func TestServerThatStopsAnswering(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t, 1)
		s := f.session(func(k *talk) {
			for k.read() != nil {
			}
		})
		began := time.Now()
		if _, err := s.WhoAmI(t.Context()); !errors.Is(err, client.ErrConnection) || time.Since(began) != 15*time.Second {
			t.Errorf("WhoAmI: %v after %v", err, time.Since(began))
		}
		s.Close()
	})
}

// TestServerThatStopsReading holds up neither Close nor a request for longer than it may take.
func TestServerThatStopsReading(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t, 1)
		hold := make(chan struct{})
		defer close(hold)
		s := f.session(func(*talk) { <-hold })
		began, stuck := time.Now(), make(chan error)
		for range 2 {
			go func() {
				_, err := s.WhoAmI(t.Context())
				stuck <- err
			}()
		}
		synctest.Wait()
		s.Close()
		if waited := time.Since(began); waited > time.Second {
			t.Errorf("Close took %v", waited)
		}
		for range 2 {
			if err := <-stuck; !errors.Is(err, client.ErrConnection) {
				t.Errorf("WhoAmI: %v", err)
			}
		}
		<-s.Done()
		if _, err := s.WhoAmI(t.Context()); !errors.Is(err, client.ErrConnection) {
			t.Errorf("WhoAmI behind Close: %v", err)
		}
	})
}

// TestRequestsThatAreNotTaken end with their contexts, while the write goes on: until the server reads again, or for as long as a
// request may take.
func TestRequestsThatAreNotTaken(t *testing.T) {
	for _, again := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			f := newFake(t, 1)
			hold := make(chan struct{})
			var asked []wire.Type
			s := f.session(func(k *talk) {
				<-hold
				for b := k.read(); b != nil && wire.TypeOf(b) != wire.TypeBye; b = k.read() {
					asked = append(asked, wire.TypeOf(b))
					id, _ := wire.RequestID(b)
					k.say(&wire.Account{ID: id, Name: []byte("alice")})
				}
			})
			began := time.Now()
			var wg sync.WaitGroup
			for _, call := range []struct {
				within time.Duration
				do     func(context.Context) error
			}{
				{300 * time.Millisecond, func(ctx context.Context) error { _, err := s.WhoAmI(ctx); return err }},
				{500 * time.Millisecond, func(ctx context.Context) error { _, err := s.List(ctx); return err }},
				{700 * time.Millisecond, func(ctx context.Context) error { return s.ChangePassword(ctx, password, another) }},
				{900 * time.Millisecond, func(ctx context.Context) error { return s.LogoutAll(ctx, password) }}, // behind that
			} {
				wg.Go(func() {
					ctx, cancel := context.WithTimeout(t.Context(), call.within)
					defer cancel()
					err := call.do(ctx)
					if !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, client.ErrConnection) || time.Since(began) != call.within {
						t.Errorf("%v after %v, want %v", err, time.Since(began), call.within)
					}
				})
				synctest.Wait() // so that they come in this order
			}
			wg.Wait()
			if again {
				time.Sleep(10 * time.Second)
				close(hold)
				if who, err := s.WhoAmI(t.Context()); err != nil || who.Name != "alice" {
					t.Errorf("WhoAmI afterwards: %v, %v", who, err)
				}
				s.Close()
				if len(asked) != 2 {
					t.Errorf("the server was asked %v", asked)
				}
				return
			}
			<-s.Done()
			if err := s.Err(); !errors.Is(err, client.ErrConnection) || time.Since(began) != 15*time.Second {
				t.Errorf("Err: %v after %v", err, time.Since(began))
			}
			close(hold)
		})
	}
}

// TestClosedHere: a session that was ended here says so, always the same way and to whom it may concern, whatever the server says to that.
func TestClosedHere(t *testing.T) {
	for name, end := range map[string]func(context.Context, *client.Session) error{
		"Close":     func(_ context.Context, s *client.Session) error { return s.Close() },
		"Logout":    func(ctx context.Context, s *client.Session) error { return s.Logout(ctx) },
		"LogoutAll": func(ctx context.Context, s *client.Session) error { return s.LogoutAll(ctx, password) },
		"Delete":    func(ctx context.Context, s *client.Session) error { return s.Delete(ctx, password) },
	} {
		t.Run(name, func(t *testing.T) {
			for range 20 {
				synctest.Test(t, func(t *testing.T) {
					srv := authtest.New(t, authtest.Options{})
					enroll(t, srv, "alice", password)
					config := srv.Config(nil)
					config.Stretch(cheapKey)
					c, err := client.Dial(t.Context(), authtest.Address, config)
					if err != nil {
						t.Fatal(err)
					}
					s, err := c.Login(t.Context(), "alice", password, nil)
					if err != nil {
						t.Fatal(err)
					}
					check := func(who string, err error) {
						if err == nil || err.Error() != "no connection: the session was closed" ||
							!errors.Is(err, client.ErrConnection) || !errors.Is(err, client.ErrClosed) {
							t.Errorf("%s: %v", who, err)
						}
					}
					watched := make(chan error)
					go func() {
						<-s.Done()
						watched <- s.Err()
					}()
					if err := end(t.Context(), s); err != nil {
						t.Errorf("%s: %v", name, err)
					}
					check("who watches", <-watched)
					check("Err", s.Err())
					_, err = s.WhoAmI(t.Context())
					check("WhoAmI", err)
					s.Close()
					check("Err at the end", s.Err())
				})
			}
		})
	}
}

// TestLostThenClosed: what ended the connection before stays the reason.
func TestLostThenClosed(t *testing.T) {
	f := newFake(t, 1)
	s := f.session(func(k *talk) { k.say(wire.Goodbye{Code: wire.CodeIdle}) })
	<-s.Done()
	s.Close()
	if err := s.Err(); !errors.Is(err, client.ErrIdle) || errors.Is(err, client.ErrClosed) {
		t.Errorf("Err: %v", err)
	}
}

func TestGoodbyes(t *testing.T) {
	for _, code := range []wire.Code{wire.CodeIdle, wire.CodeLimit, wire.CodeShuttingDown, wire.CodeSessionExpired, wire.CodeSessionRevoked, 999} {
		f := newFake(t, 1)
		s := f.session(func(k *talk) {
			k.read()
			k.say(wire.Goodbye{Code: code})
		})
		_, err := s.WhoAmI(t.Context())
		var goodbye *client.GoodbyeError
		if !errors.As(err, &goodbye) || !errors.Is(err, code) || !errors.Is(err, client.ErrConnection) || err.Error() == "" {
			t.Errorf("WhoAmI: %v, want %v", err, code.Name())
		}
		<-s.Done()
		if err := s.Err(); !errors.Is(err, code) {
			t.Errorf("Err: %v", err)
		}
	}
}

func TestSessionsThatBreak(t *testing.T) {
	for name, c := range map[string]struct {
		serve func(*talk)
		want  error
	}{
		"end of stream":     {func(k *talk) { k.read() }, client.ErrConnection},
		"another id":        {func(k *talk) { k.read(); k.say(&wire.Account{ID: 77, Name: []byte("alice")}); k.read() }, client.ErrProtocol},
		"another type":      {func(k *talk) { k.read(); k.say(wire.Plain{Type: wire.TypeDone, ID: 1}); k.read() }, client.ErrProtocol},
		"malformed":         {func(k *talk) { k.read(); k.say(raw("\x21\x00\x00\x00\x01short")); k.read() }, client.ErrProtocol},
		"malformed refusal": {func(k *talk) { k.read(); k.say(raw("\x12\x00\x00\x00\x01")); k.read() }, client.ErrProtocol},
		"too short":         {func(k *talk) { k.read(); k.say(raw("\x21")); k.read() }, client.ErrProtocol},
		"unasked":           {func(k *talk) { k.say(&wire.Account{ID: 5, Name: []byte("alice")}); k.read(); k.read() }, client.ErrProtocol},
		"refused": {func(k *talk) {
			k.read()
			k.say(&wire.Refused{ID: 1, Denied: wire.Denied{Code: wire.CodeInternal}})
			k.read()
		}, client.ErrInternal},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFake(t, 1)
			s := f.session(c.serve)
			if _, err := s.WhoAmI(t.Context()); !errors.Is(err, c.want) {
				t.Errorf("WhoAmI: %v, want %v", err, c.want)
			}
			s.Close()
		})
	}
}

// TestRevokedElsewhere: a session that waits hears of its end.
func TestRevokedElsewhere(t *testing.T) {
	srv := authtest.New(t, authtest.Options{})
	srv.Register("alice", password)
	waiting, st := srv.Login(nil, "alice", password), store.Memory()
	s := srv.Login(st, "alice", password)
	if err := s.LogoutAll(t.Context(), another); !errors.Is(err, client.ErrDenied) {
		t.Errorf("LogoutAll with another password: %v", err)
	}
	if err := s.LogoutAll(t.Context(), password); err != nil {
		t.Fatal(err)
	}
	<-waiting.Done()
	if err := waiting.Err(); !errors.Is(err, client.ErrSessionRevoked) {
		t.Errorf("Err: %v", err)
	}
	if _, ok, _ := st.Session(authtest.Address); ok {
		t.Error("the session is remembered")
	}
	if err := waiting.Logout(t.Context()); err != nil {
		t.Errorf("Logout of a session that has ended: %v", err)
	}
}

func TestSessionsAreListed(t *testing.T) {
	srv := authtest.New(t, authtest.Options{})
	srv.Register("alice", password)
	var s *client.Session
	for range 3 {
		s = srv.Login(nil, "alice", password)
	}
	var last [16]byte
	n, current := 0, 0
	for info, err := range s.Sessions(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		if string(info.ID[:]) <= string(last[:]) {
			t.Error("not by ascending id")
		}
		if last = info.ID; info.Current {
			current++
		}
		n++
	}
	if n != 3 || current != 1 {
		t.Errorf("%d sessions, %d current", n, current)
	}
	for range s.Sessions(t.Context()) {
		break // which must not hang
	}
}

// TestSessionsEnd, whatever pages a server gives.
func TestSessionsEnd(t *testing.T) {
	for name, pages := range map[string][][]byte{ // the last bytes of the ids
		"repeated":    {{1, 2}, {1, 2}, {1, 2}},
		"overlapping": {{1, 2}, {2, 3}, {3, 4}},
		"going back":  {{3, 4}, {1, 2}, {3, 4}},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFake(t, 1)
			s := f.session(func(k *talk) {
				for n := 0; ; n++ {
					b := k.read()
					if b == nil || wire.TypeOf(b) == wire.TypeBye {
						return
					}
					id, _ := wire.RequestID(b)
					page := &wire.SessionList{ID: id, More: n < 20}
					for _, last := range pages[n%len(pages)] {
						page.Add(&wire.Session{ID: [16]byte{15: last}, Address: []byte("192.0.2.2")})
					}
					k.say(page)
				}
			})
			n := 0
			var err error
			for _, err = range s.Sessions(t.Context()) {
				n++
			}
			if n != 3 || !errors.Is(err, client.ErrProtocol) {
				t.Errorf("it yields %d times, last %v", n, err)
			}
		})
	}
}

// TestNewPasswordIsJudged before it is sent.
func TestNewPasswordIsJudged(t *testing.T) {
	srv := authtest.New(t, authtest.Options{})
	srv.Register("alice", password)
	s := srv.Login(nil, "alice", password)
	var rule client.Rule
	if err := s.ChangePassword(t.Context(), password, "password1"); !errors.As(err, &rule) {
		t.Errorf("ChangePassword: %v", err)
	}
	if err := s.ChangePassword(t.Context(), another, another); !errors.Is(err, client.ErrDenied) {
		t.Errorf("ChangePassword with another password: %v", err)
	}
	if _, err := s.WhoAmI(t.Context()); err != nil {
		t.Error(err)
	}
}
