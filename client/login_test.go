package client_test

import (
	"context"
	"errors"
	"strings"
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

// login logs in to a fake once.
func (f *fake) login(st *store.Store) (*client.Session, error) {
	f.t.Helper()
	c := f.config(st)
	c.AcceptNew = true
	conn, err := client.Dial(f.t.Context(), authtest.Address, c)
	if err != nil {
		f.t.Fatal(err)
	}
	defer conn.Close()
	return conn.Login(f.t.Context(), "alice", password, nil)
}

// TestWelcomesThatAreRefused: who lets everybody in does not know the account, and is not pinned for it.
func TestWelcomesThatAreRefused(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(*wire.Welcome)
		want  error
	}{
		"confirm":         {func(w *wire.Welcome) { w.Confirm[31] ^= 1 }, client.ErrNotConfirmed},
		"no confirm":      {func(w *wire.Welcome) { w.Confirm = [32]byte{} }, client.ErrNotConfirmed},
		"name":            {func(w *wire.Welcome) { w.Name = []byte("bob") }, client.ErrNotConfirmed},
		"no token":        {func(w *wire.Welcome) { w.Token, w.ResumeKey = nil, nil }, client.ErrNotConfirmed},
		"nothing is good": {func(*wire.Welcome) {}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFake(t, 1)
			f.answer = func(k *talk) {
				w := k.login(password)
				c.spoil(w)
				k.say(w)
				if b := k.read(); b != nil && wire.TypeOf(b) != wire.TypeBye {
					t.Errorf("the client went on with %v", wire.TypeOf(b))
				}
			}
			st := store.Memory()
			s, err := f.login(st)
			if !errors.Is(err, c.want) || (err == nil) != (c.want == nil) {
				t.Fatalf("Login: %v, want %v", err, c.want)
			}
			server, _, _ := st.Server(authtest.Address)
			_, account, _ := st.Account(f.realm, "alice")
			_, session, _ := st.Session(authtest.Address)
			if ok := err == nil; server.Confirmed != ok || account != ok || session != ok {
				t.Errorf("remembered: pin %v, account %v, session %v", server.Confirmed, account, session)
			}
			if s != nil {
				s.Close()
			}
		})
	}
}

func TestAnswersThatAreNone(t *testing.T) {
	for name, c := range map[string]struct {
		answer func(*talk)
		want   error
	}{
		"end of stream":        {func(*talk) {}, client.ErrConnection},
		"end behind the proof": {func(k *talk) { k.begin(); k.say(k.challenge()); k.read() }, client.ErrConnection},
		"another message":      {func(k *talk) { k.begin(); k.sayAndWait(wire.Registered{}) }, client.ErrProtocol},
		"no message":           {func(k *talk) { k.begin(); k.sayAndWait(raw{0xff}) }, client.ErrProtocol},
		"malformed challenge":  {func(k *talk) { k.begin(); k.sayAndWait(append(raw{3}, make([]byte, 510)...)) }, client.ErrProtocol},
		"malformed denial":     {func(k *talk) { k.begin(); k.sayAndWait(append(raw{7}, make([]byte, 1023)...)) }, client.ErrProtocol},
		"welcome at once":      {func(k *talk) { k.begin(); k.sayAndWait(&wire.Welcome{Name: []byte("alice")}) }, client.ErrProtocol},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFake(t, 1)
			f.answer = c.answer
			if _, err := f.login(nil); !errors.Is(err, c.want) {
				t.Errorf("Login: %v, want %v", err, c.want)
			}
		})
	}
}

type raw []byte

func (r raw) AppendTo(dst []byte) []byte { return append(dst, r...) }

func TestDenied(t *testing.T) {
	for _, pinned := range []bool{false, true} {
		f := newFake(t, 1)
		f.answer = func(k *talk) {
			k.begin()
			k.sayAndWait(&wire.Denied{Code: wire.CodeDenied, RetryAfter: 7})
		}
		st := store.Memory()
		if pinned {
			st = f.pinned()
		}
		_, err := f.login(st)
		var denied *client.Error
		if !errors.As(err, &denied) || !errors.Is(err, client.ErrDenied) || denied.RetryAfter != 7*time.Second || denied.Pinned != pinned {
			t.Errorf("Login: %+v", err)
		}
		if text := err.Error(); strings.Contains(text, "not your server") == pinned || !strings.Contains(text, "7 s") {
			t.Errorf("it reads %q", text)
		}
	}
}

// TestRulesAreErrors: what is wrong with a name or a password is told without a word to the server.
func TestRulesAreErrors(t *testing.T) {
	srv := authtest.New(t, authtest.Options{})
	for _, c := range []struct {
		name, password string
		want           client.Rule
	}{
		{"", password, credential.RuleNameLength},
		{"no spaces", password, credential.RuleNameCharacters},
		{"-alice", password, credential.RuleNameStart},
		{"alice", "short", credential.RulePasswordShort},
		{"alice", strings.Repeat("long", 300), credential.RulePasswordLong},
		{"alice", "password1", credential.RulePasswordCommon},
		{"alice.alice.alice", "Alice.alice.alice", credential.RulePasswordIsName},
	} {
		code := client.ErrPasswordPolicy
		if strings.HasPrefix(c.want.String(), "name-") {
			code = client.ErrNameInvalid
		}
		if err := srv.Dial(nil).Register(t.Context(), c.name, c.password, nil); !errors.Is(err, c.want) || !errors.Is(err, code) {
			t.Errorf("%q, %q: %v, want %v", c.name, c.password, err, c.want)
		}
	}
}

// TestErrorText: too many tries are not said to be a wrong password, and the words are the same whatever the name is.
func TestErrorText(t *testing.T) {
	for _, c := range []struct {
		err  client.Error
		want string
	}{
		{client.Error{Code: client.ErrDenied, Pinned: true}, "wrong name or password"},
		{client.Error{Code: client.ErrDenied}, "wrong name or password, or not your server"},
		{client.Error{Code: client.ErrDenied, Pinned: true, RetryAfter: 3 * time.Second},
			"wrong name or password, or too many tries: wait 3 s, then try again"},
		{client.Error{Code: client.ErrDenied, RetryAfter: 3 * time.Second},
			"wrong name or password, or not your server, or too many tries: wait 3 s, then try again"},
		{client.Error{Code: client.ErrOverloaded}, "the server is busy: try again later"},
		{client.Error{Code: client.ErrOverloaded, RetryAfter: 2 * time.Second}, "the server is busy: try again in 2 s"},
		{client.Error{Code: client.ErrPasswordPolicy, Rule: credential.RulePasswordShort}, "the password is too short"},
	} {
		if got := c.err.Error(); got != c.want {
			t.Errorf("%q, want %q", got, c.want)
		}
	}
}

// TestAttemptsOnOneClient: refusals do not use a Client up, and accounts do not share a key.
func TestAttemptsOnOneClient(t *testing.T) {
	srv := authtest.New(t, authtest.Options{})
	srv.Register("alice", password)
	ctx, st := t.Context(), store.Memory()
	c := srv.Dial(st)
	for i := range 4 { // more than a connection takes
		if _, err := c.Login(ctx, "alice", another, nil); !errors.Is(err, client.ErrDenied) {
			t.Fatalf("attempt %d: %v", i+1, err)
		}
	}
	if _, err := c.Resume(ctx); !errors.Is(err, client.ErrNotLoggedIn) {
		t.Fatalf("Resume: %v", err)
	}
	if err := c.Register(ctx, "bob", password, nil); err != nil {
		t.Fatal(err)
	}
	if err := c.Register(ctx, "alice", password, nil); !errors.Is(err, client.ErrNameTaken) {
		t.Fatalf("Register: %v", err)
	}
	s, err := c.Login(ctx, "bob", password, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Login(ctx, "alice", password, nil); !errors.Is(err, client.ErrClosed) || errors.Is(err, client.ErrConnection) {
		t.Errorf("a Client that has become a Session: %v", err)
	}
	s.Close()
	srv.Login(st, "alice", password)
	realm := srv.Accounts.RealmID()
	alice, _, _ := st.Account(realm, "alice")
	bob, _, _ := st.Account(realm, "bob")
	if alice.DeviceKey == bob.DeviceKey {
		t.Error("two accounts have one device key")
	}
	before := alice.DeviceKey
	srv.Login(st, "alice", password)
	if alice, _, _ = st.Account(realm, "alice"); alice.DeviceKey != before {
		t.Error("the device key has changed")
	}
}

// TestRestedConnection: between Dial and the first attempt, and between two, there may be any time.
func TestRestedConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := authtest.New(t, authtest.Options{})
		c := srv.Dial(nil)
		time.Sleep(10 * time.Second)
		if err := c.Register(t.Context(), "alice", password, nil); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		s, err := c.Login(t.Context(), "alice", password, &client.LoginOptions{Lifetime: time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		if left := time.Until(s.Expires()); left != time.Hour {
			t.Errorf("the session lives for %v", left)
		}
		s.Close()
	})
}

func TestLoginIsBoundedByItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t, 1)
		f.answer = func(k *talk) { k.begin(); k.read() } // and says nothing
		for _, c := range []struct {
			within time.Duration
			want   error
		}{{time.Second, context.DeadlineExceeded}, {time.Hour, context.DeadlineExceeded}, {0, context.Canceled}} {
			ctx, cancel := context.WithTimeout(t.Context(), c.within)
			if c.within == 0 {
				ctx, cancel = context.WithCancel(t.Context())
				time.AfterFunc(2*time.Second, cancel)
			}
			conf := f.config(nil)
			conf.AcceptNew = true
			conn, err := client.Dial(t.Context(), authtest.Address, conf)
			if err != nil {
				t.Fatal(err)
			}
			began := time.Now()
			_, err = conn.Login(ctx, "alice", password, nil)
			if !errors.Is(err, client.ErrConnection) || !errors.Is(err, c.want) || time.Since(began) > 30*time.Second {
				t.Errorf("Login: %v after %v", err, time.Since(began))
			}
			cancel()
		}
	})
}

func TestCheckedRegistration(t *testing.T) {
	ctx := t.Context()
	send := &client.RegisterOptions{SendPassword: true}
	srv := authtest.New(t, authtest.Options{Account: account.Config{Registration: account.RegistrationChecked}})
	c := srv.Dial(nil)
	if !c.WantsPassword() {
		t.Error("the server does not say that it wants the password")
	}
	if err := c.Register(ctx, "alice", password, nil); !errors.Is(err, client.ErrPasswordNeeded) {
		t.Errorf("without the option: %v", err)
	}
	if err := c.Register(ctx, "alice", password, send); !errors.Is(err, client.ErrNotPinned) {
		t.Errorf("to a server that is accepted at first use: %v", err)
	}
	st := store.Memory()
	c, err := client.Dial(ctx, authtest.Address+"#"+srv.Fingerprint, srv.Config(st))
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		err := c.Register(ctx, "alice", "password1", send)
		if !errors.Is(err, client.ErrPasswordPolicy) || !errors.Is(err, credential.RulePasswordCommon) {
			t.Errorf("a common password: %v", err)
		}
	}
	if err := c.Register(ctx, "alice", password, send); err != nil {
		t.Error(err)
	}
	srv.Login(st, "alice", password)

	open := authtest.New(t, authtest.Options{Identity: 1})
	if open.Dial(nil).WantsPassword() {
		t.Error("an open server wants passwords")
	}
	if err := open.Dial(nil).Register(ctx, "alice", password, send); !errors.Is(err, client.ErrPasswordUnsent) {
		t.Errorf("to a server that does not judge: %v", err)
	}
}

// TestFirstContactByRegistration pins.
func TestFirstContactByRegistration(t *testing.T) {
	srv := authtest.New(t, authtest.Options{})
	st := store.Memory()
	if err := srv.Dial(st).Register(t.Context(), "alice", password, nil); err != nil {
		t.Fatal(err)
	}
	if s, _, err := st.Server(authtest.Address); err != nil || !s.Confirmed || s.Epoch != 1 || s.Version != 1 || s.Suite != 1 || s.ServerTime.IsZero() {
		t.Errorf("pinned: %+v, %v", s, err)
	}
}
