package client_test

import (
	"errors"
	"testing"
	"time"

	"github.com/authsrv/authsrv/client"
	"github.com/authsrv/authsrv/client/store"
	"github.com/authsrv/authsrv/credential"
	"github.com/authsrv/authsrv/internal/authtest"
	"github.com/authsrv/authsrv/wire"
)

// saved is a store with a pin of the fake's and a session there.
func (f *fake) saved() *store.Store {
	f.t.Helper()
	st := f.pinned()
	err := errors.Join(
		st.PutAccount(store.Account{RealmID: f.realm, Name: "alice", DeviceKey: store.Secret{1}, KDF: store.KDF(authtest.CheapKDF), Method: 1}),
		st.PutSession(store.Session{
			Address: authtest.Address, Name: "alice", RealmID: f.realm, Identity: f.public(), Token: "a.b.c",
			ResumeKey: store.Secret{5}, SessionID: [16]byte{4}, AccountID: [16]byte{3}, Expires: time.Now().Add(time.Hour),
		}),
	)
	if err != nil {
		f.t.Fatal(err)
	}
	return st
}

// resumed takes a session, and returns a Welcome that a server gives who knows it.
func (k *talk) resumed() *wire.Welcome {
	k.begin()
	if string(k.start.Token) != "a.b.c" {
		k.t.Errorf("the token is %q", k.start.Token)
	}
	w := &wire.Welcome{AccountID: [16]byte{3}, SessionID: [16]byte{4}, Expires: uint64(time.Now().Add(time.Hour).Unix()), Name: []byte("alice")}
	k.confirm(w)
	return w
}

func (k *talk) confirm(w *wire.Welcome) {
	t := k.transcript()
	t.LoginName, t.SessionID, t.AccountID = string(w.Name), w.SessionID[:], w.AccountID[:]
	w.Confirm = credential.ResumeConfirm([32]byte{5}, t.Sum())
}

func TestResumptionsThatAreRefused(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(*talk, *wire.Welcome)
		want  error
	}{
		"good":            {func(*talk, *wire.Welcome) {}, nil},
		"confirm":         {func(_ *talk, w *wire.Welcome) { w.Confirm[0] ^= 1 }, client.ErrNotConfirmed},
		"name":            {func(k *talk, w *wire.Welcome) { w.Name = []byte("bob"); k.confirm(w) }, client.ErrNotConfirmed},
		"another session": {func(k *talk, w *wire.Welcome) { w.SessionID[0]++; k.confirm(w) }, client.ErrNotConfirmed},
		"another account": {func(k *talk, w *wire.Welcome) { w.AccountID[0]++; k.confirm(w) }, client.ErrNotConfirmed},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFake(t, 1)
			f.answer = func(k *talk) {
				w := k.resumed()
				c.spoil(k, w)
				k.say(w)
				k.read()
			}
			st := f.saved()
			conn, err := client.Dial(t.Context(), authtest.Address, f.config(st))
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			s, err := conn.Resume(t.Context())
			if !errors.Is(err, c.want) || (err == nil) != (c.want == nil) {
				t.Errorf("Resume: %v, want %v", err, c.want)
			}
			if _, ok, _ := st.Session(authtest.Address); !ok {
				t.Error("the session was forgotten")
			}
			if s != nil {
				s.Close()
			}
		})
	}
}

// TestEndedSessionsAreForgotten, and nothing else is.
func TestEndedSessionsAreForgotten(t *testing.T) {
	for code, forgotten := range map[wire.Code]bool{
		wire.CodeSessionExpired: true, wire.CodeSessionRevoked: true, wire.CodeSessionMalformed: true,
		wire.CodeInternal: false, wire.CodeOverloaded: false,
	} {
		f := newFake(t, 1)
		f.answer = func(k *talk) { k.begin(); k.sayAndWait(&wire.Denied{Code: code}) }
		st := f.saved()
		conn, err := client.Dial(t.Context(), authtest.Address, f.config(st))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Resume(t.Context()); !errors.Is(err, code) {
			t.Errorf("Resume: %v, want %v", err, code.Name())
		}
		if _, ok, _ := st.Session(authtest.Address); ok == forgotten {
			t.Errorf("%s: the session is there: %v", code.Name(), ok)
		}
		conn.Close()
	}
}

// TestResumeNeedsAPin, and the key of this device; without them the token is not sent, and the Client is still good.
func TestResumeNeedsAPin(t *testing.T) {
	unpinned := func(f *fake) *store.Store {
		st := f.saved()
		st.RemoveServer(authtest.Address)
		saved := store.Session{
			Address: authtest.Address, Name: "alice", RealmID: f.realm, Identity: f.public(), Token: "a.b.c",
			ResumeKey: store.Secret{5}, SessionID: [16]byte{4}, AccountID: [16]byte{3}, Expires: time.Now().Add(time.Hour),
		}
		if err := st.PutSession(saved); err != nil {
			f.t.Fatal(err)
		}
		return st
	}
	for name, c := range map[string]struct {
		store func(*fake) *store.Store
		want  error
	}{
		"no session": {(*fake).pinned, client.ErrNotLoggedIn},
		"no pin":     {unpinned, client.ErrNotPinned},
		"no device key": {func(f *fake) *store.Store {
			st := f.saved()
			st.RemoveAccount(f.realm, "alice")
			return st
		}, client.ErrNotLoggedIn},
		"another realm": {func(f *fake) *store.Store {
			st := f.saved()
			s, _, _ := st.Session(authtest.Address)
			s.RealmID = [16]byte{9}
			st.PutSession(s)
			return st
		}, client.ErrNotLoggedIn},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFake(t, 1)
			f.answer = func(k *talk) { k.begin(); k.sayAndWait(&wire.Denied{Code: wire.CodeDenied}) }
			conf := f.config(c.store(f))
			conf.AcceptNew = true
			conn, err := client.Dial(t.Context(), authtest.Address, conf)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if _, err := conn.Resume(t.Context()); !errors.Is(err, c.want) {
				t.Errorf("Resume: %v, want %v", err, c.want)
			}
			f.nothing(1)
			if _, err := conn.Login(t.Context(), "alice", password, nil); !errors.Is(err, client.ErrDenied) {
				t.Errorf("Login behind it: %v", err)
			}
		})
	}
}
