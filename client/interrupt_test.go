package client_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/authsrv/authsrv/client"
	"github.com/authsrv/authsrv/client/store"
	"github.com/authsrv/authsrv/credential"
	"github.com/authsrv/authsrv/internal/account"
	"github.com/authsrv/authsrv/internal/authtest"
	"github.com/authsrv/authsrv/wire"
)

// When the context of a call ends.
const (
	before     = "before the call"
	stretching = "while the password is stretched"
	renewing   = "while the new password is stretched"
	refusing   = "at a write that does not begin"
	halfway    = "at a write that stops half way"
	written    = "behind a write, which succeeds"
	waiting    = "while the answer is waited for"
	answered   = "with the answer"
)

// moment is a connection at which a context ends at the client's n-th Write, or at the answer to what that wrote.
type moment struct {
	net.Conn
	when string
	n    int
	end  func()

	mu     sync.Mutex
	writes int
	once   sync.Once
	cut    chan struct{} // closed by a deadline that has passed, or by Close
	rest   []byte        // of the answer, where the context ended with that
}

func (m *moment) Write(b []byte) (n int, err error) {
	m.mu.Lock()
	m.writes++
	here := m.writes == m.n
	m.mu.Unlock()
	switch {
	case here && (m.when == refusing || m.when == halfway):
		if m.when == halfway {
			n, _ = m.Conn.Write(b[:len(b)/2])
		}
		m.end()
		select {
		case <-m.cut:
		case <-time.After(time.Minute): // the bubble's
		}
		return n, os.ErrDeadlineExceeded
	case here && m.when == written:
		defer m.end()
	}
	return m.Conn.Write(b)
}

func (m *moment) Read(b []byte) (int, error) {
	if m.written() >= m.n && m.when == answered && m.rest == nil {
		header := make([]byte, wire.FrameHeaderSize)
		if _, err := io.ReadFull(m.Conn, header); err != nil {
			return 0, err
		}
		m.rest = append(header, make([]byte, binary.BigEndian.Uint16(header))...)
		if _, err := io.ReadFull(m.Conn, m.rest[wire.FrameHeaderSize:]); err != nil {
			return 0, err
		}
		m.end()
	}
	if len(m.rest) > 0 {
		n := copy(b, m.rest)
		m.rest = m.rest[n:]
		return n, nil
	}
	n, err := m.Conn.Read(b)
	if m.written() >= m.n && m.when == waiting && n > 0 {
		m.end()
		<-m.cut
		return 0, os.ErrDeadlineExceeded
	}
	return n, err
}

func (m *moment) written() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.writes
}

func (m *moment) passed(t time.Time) {
	if !t.IsZero() && t.Before(time.Now()) {
		m.once.Do(func() { close(m.cut) })
	}
}

func (m *moment) SetDeadline(t time.Time) error {
	m.passed(t)
	return m.Conn.SetDeadline(t)
}

func (m *moment) SetWriteDeadline(t time.Time) error {
	m.passed(t)
	return m.Conn.SetWriteDeadline(t)
}

func (m *moment) Close() error {
	m.passed(time.Unix(1, 0))
	return m.Conn.Close()
}

// interruptible is a call whose context ends.
type interruptible struct {
	name      string
	last      int  // the Write of its last message, as the client's n-th
	stretches int  // at what call of derive the key that counts last is made; 0: at none
	change    bool // in the sense of ErrOutcomeUnknown
	options   account.Config
	call      func(ctx context.Context, srv *authtest.Server, c *client.Client, s *client.Session) error
}

var interruptibles = []interruptible{
	{"Register", 3, 1, true, account.Config{}, func(ctx context.Context, _ *authtest.Server, c *client.Client, _ *client.Session) error {
		return c.Register(ctx, "bob", password, nil)
	}},
	{"Register invited", 3, 1, true, account.Config{Registration: account.RegistrationInvited}, func(ctx context.Context, srv *authtest.Server, c *client.Client, _ *client.Session) error {
		invite, err := srv.Accounts.IssueInvite(context.Background(), srv.IdentityHash, 0)
		if err != nil {
			return err
		}
		return c.Register(ctx, "bob", password, &client.RegisterOptions{Invite: &invite.Code})
	}},
	{"Register checked", 3, 0, true, account.Config{Registration: account.RegistrationChecked}, func(ctx context.Context, _ *authtest.Server, c *client.Client, _ *client.Session) error {
		return c.Register(ctx, "bob", password, &client.RegisterOptions{SendPassword: true})
	}},
	{"Reset", 3, 1, true, account.Config{}, func(ctx context.Context, srv *authtest.Server, c *client.Client, _ *client.Session) error {
		code, err := srv.Accounts.IssueReset(context.Background(), "alice", srv.IdentityHash, 0)
		if err != nil {
			return err
		}
		return c.Reset(ctx, "alice", code.Code, another)
	}},
	{"Login", 3, 1, false, account.Config{}, func(ctx context.Context, _ *authtest.Server, c *client.Client, _ *client.Session) error {
		s, err := c.Login(ctx, "alice", password, nil)
		if err == nil {
			if _, err = s.WhoAmI(context.Background()); err != nil { // it is of use
				err = fmt.Errorf("a session that is none: %v", err)
			}
			s.Close()
		}
		return err
	}},
	{"ChangePassword", 5, 3, true, account.Config{}, func(ctx context.Context, _ *authtest.Server, _ *client.Client, s *client.Session) error {
		return s.ChangePassword(ctx, password, another)
	}},
	{"Delete", 5, 2, true, account.Config{}, func(ctx context.Context, _ *authtest.Server, _ *client.Client, s *client.Session) error {
		return s.Delete(ctx, password)
	}},
	{"LogoutAll", 5, 2, true, account.Config{}, func(ctx context.Context, _ *authtest.Server, _ *client.Client, s *client.Session) error {
		return s.LogoutAll(ctx, password)
	}},
	{"Logout", 4, 0, false, account.Config{}, func(ctx context.Context, _ *authtest.Server, _ *client.Client, s *client.Session) error {
		return s.Logout(ctx)
	}},
}

func (i *interruptible) inSession() bool { return i.last > 3 }

// TestInterrupted ends the context of each call at each moment, by hand and by a deadline. Up to the last message nothing is sent from then
// on, and nothing has changed; behind that it is not known; and an answer that is there counts.
func TestInterrupted(t *testing.T) {
	for _, i := range interruptibles {
		for _, when := range []string{before, stretching, renewing, refusing, halfway, written, waiting, answered} {
			switch {
			case when == stretching && i.stretches == 0,
				when == renewing && i.name != "ChangePassword",
				when == answered && i.inSession(),                           // which of the two a request sees first is open
				(when == refusing || when == halfway) && i.name == "Logout": // a write of a request is not cut: it has other users
				continue
			}
			for _, want := range []error{context.Canceled, context.DeadlineExceeded} {
				t.Run(fmt.Sprintf("%s/%s/%v", i.name, when, want), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) { i.interrupt(t, when, want) })
				})
			}
		}
	}
}

// state is all that a change could change of the accounts of a server.
func state(t *testing.T, srv *authtest.Server) (text string) {
	t.Helper()
	for _, name := range []string{"alice", "bob"} {
		u, err := srv.Accounts.User(context.Background(), name)
		text += fmt.Sprintf("%s: %v, generation %d, %d sessions\n", name, err == nil, u.Generation, u.Sessions)
	}
	return text
}

func (i *interruptible) interrupt(t *testing.T, when string, want error) {
	srv := authtest.New(t, authtest.Options{Account: i.options})
	if i.options.Registration != account.RegistrationInvited && i.options.Registration != account.RegistrationChecked {
		enroll(t, srv, "alice", password)
	}
	ctx, cancel := context.WithCancel(t.Context())
	if want == context.DeadlineExceeded {
		ctx, cancel = context.WithTimeout(t.Context(), 2*time.Second)
	}
	defer cancel()
	end := func() {
		if want == context.Canceled {
			cancel()
		}
		<-ctx.Done()
		synctest.Wait() // for all that this sets off
	}
	if when == before {
		end()
	}
	var m *moment
	dials := 0
	config := srv.Config(store.Memory())
	config.Dialer = func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := srv.Connect(ctx, network, address)
		dials++
		m = &moment{Conn: conn, when: when, n: i.last, end: end, cut: make(chan struct{})}
		return m, err
	}
	stretched := 0
	config.Stretch(func(password []byte, realm [16]byte, name string, salt [16]byte, kdf credential.KDF) (*credential.Key, error) {
		stretched++
		if when == stretching && stretched == min(i.stretches, 2) || when == renewing && stretched == i.stretches {
			if want == context.Canceled {
				cancel()
			}
			time.Sleep(10 * time.Second) // the bubble's
		}
		return cheapKey(password, realm, name, salt, kdf)
	})
	c, err := client.Dial(t.Context(), authtest.Address+"#"+srv.Fingerprint, config)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	var s *client.Session
	if i.inSession() {
		if s, err = c.Login(t.Context(), "alice", password, nil); err != nil {
			t.Fatal(err)
		}
		defer s.Close()
	}
	was, writes, began := state(t, srv), m.written(), time.Now()

	err = i.call(ctx, srv, c, s)
	if took := time.Since(began); took > 2*time.Second {
		t.Errorf("it took %v", took)
	}
	time.Sleep(time.Minute) // for what was left behind
	synctest.Wait()
	sent := m.written()
	if dials != 1 {
		t.Errorf("it dialed %d times", dials)
	}
	if changed, possible := state(t, srv) != was, when == written || when == waiting || when == answered; changed != possible {
		t.Errorf("changed: %v, want %v; it was\n%sand is\n%s", changed, possible, was, state(t, srv))
	}
	if when == answered || when == written && (err == nil || i.inSession() && i.change) { // then the answer was there; otherwise it may have been missed
		if err != nil {
			t.Errorf("an answer that came is %v", err)
		}
		return
	}
	if !errors.Is(err, want) || !errors.Is(err, client.ErrConnection) {
		t.Errorf("%v, want one that wraps %v", err, want)
	}
	begun := when == refusing || when == halfway || when == written || when == waiting
	if unknown := begun && i.change; errors.Is(err, client.ErrOutcomeUnknown) != unknown {
		t.Errorf("%v: that it is unknown: %v, want %v", err, !unknown, unknown)
	} else if unknown {
		reason := map[error]string{context.Canceled: "interrupted, and ", context.DeadlineExceeded: "there was no answer in time, and "}[want]
		if text := err.Error(); text != reason+"it is not known whether the change was made" {
			t.Errorf("%q", text)
		}
	}
	switch {
	case when == before && sent != writes:
		t.Errorf("%d messages were sent", sent-writes)
	case !begun && sent >= i.last:
		t.Errorf("the last message was sent")
	}
	if !begun && s != nil { // what was not sent does not hurt the session
		if _, err := s.WhoAmI(t.Context()); err != nil {
			t.Errorf("the session afterwards: %v", err)
		}
	}
}

// TestInterruptedRequest: a request whose context has ended is not sent, and the session goes on.
func TestInterruptedRequest(t *testing.T) {
	srv := authtest.New(t, authtest.Options{})
	srv.Register("alice", password)
	s := srv.Login(nil, "alice", password)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.WhoAmI(ctx); !errors.Is(err, context.Canceled) || !errors.Is(err, client.ErrConnection) {
		t.Errorf("WhoAmI: %v", err)
	}
	if err := s.Logout(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Logout: %v", err)
	}
	if _, err := s.WhoAmI(t.Context()); err != nil {
		t.Errorf("WhoAmI afterwards: %v", err)
	}
	if strings.Contains(srv.Log.String(), "msg=logout") {
		t.Error("the server has logged the session out")
	}
}

// TestInterruptedAndAgain: a Client whose call was interrupted can be used again, and a call that was answered does not spoil its connection.
func TestInterruptedAndAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := authtest.New(t, authtest.Options{})
		config := srv.Config(nil)
		ctx, cancel := context.WithCancel(t.Context())
		config.Stretch(func(password []byte, realm [16]byte, name string, salt [16]byte, kdf credential.KDF) (*credential.Key, error) {
			cancel()
			return cheapKey(password, realm, name, salt, kdf)
		})
		c, err := client.Dial(t.Context(), authtest.Address, config)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if err := c.Register(ctx, "alice", password, nil); !errors.Is(err, context.Canceled) {
			t.Errorf("Register: %v", err)
		}
		if err := c.Register(t.Context(), "alice", password, nil); err != nil {
			t.Errorf("Register again: %v", err)
		}
		s, err := c.Login(t.Context(), "alice", password, nil)
		if err != nil {
			t.Fatalf("Login: %v", err)
		}
		s.Close()
	})
}

// TestStretchLeftBehind: who tries again and again with little time has one stretching go on behind his back, and no more; and what that had
// in its hands is cleared when it ends.
func TestStretchLeftBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := authtest.New(t, authtest.Options{})
		enroll(t, srv, "alice", password)
		var (
			mu        sync.Mutex
			now, most int
			passwords [][]byte
			keys      []*credential.Key
		)
		config := srv.Config(nil)
		config.Stretch(func(password []byte, realm [16]byte, name string, salt [16]byte, kdf credential.KDF) (*credential.Key, error) {
			mu.Lock()
			now++
			most = max(most, now)
			passwords = append(passwords, password)
			mu.Unlock()
			time.Sleep(10 * time.Second) // the bubble's
			key, err := cheapKey(password, realm, name, salt, kdf)
			mu.Lock()
			defer mu.Unlock()
			now--
			keys = append(keys, key)
			return key, err
		})
		began := time.Now()
		for n, want := range []time.Duration{1 * time.Second, 11 * time.Second, 12 * time.Second} { // the second one finds the place taken
			c, err := client.Dial(t.Context(), authtest.Address, config)
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			if _, err := c.Login(ctx, "alice", password, nil); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("Login: %v", err)
			}
			cancel()
			c.Close()
			if took := time.Since(began); took != want {
				t.Errorf("login %d was over after %v, want %v", n+1, took, want)
			}
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if most != 2 || now != 0 || len(keys) != 3 {
			t.Errorf("%d at once, %d left, %d keys", most, now, len(keys))
		}
		for n := range keys {
			if strings.Trim(string(passwords[n]), "\x00") != "" || keys[n].ServerKey() != [32]byte{} {
				t.Errorf("password or key %d is not cleared", n+1)
			}
		}
	})
}
