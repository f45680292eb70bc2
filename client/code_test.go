package client_test

import (
	"context"
	"errors"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/authsrv/authsrv/client"
	"github.com/authsrv/authsrv/client/store"
	"github.com/authsrv/authsrv/internal/account"
	"github.com/authsrv/authsrv/internal/authtest"
)

// dialPinned reaches a server by its address and what a code says of it, and trusts nothing else.
func dialPinned(t *testing.T, s *authtest.Server, code client.CodeText, st *store.Store) *client.Client {
	t.Helper()
	config := s.Config(st)
	config.AcceptNew = false
	c, err := client.Dial(t.Context(), authtest.Address+"#"+code.Fingerprint(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func wantCodeErr(t *testing.T, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("error is %v, want %v", err, want)
	}
}

func TestCodeReset(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := authtest.New(t, authtest.Options{})
		s.Register("alice", password)
		session := s.Login(nil, "alice", password)
		code, err := client.ParseCode(s.Reset("alice").Text())
		if err != nil {
			t.Fatal(err)
		}
		st := store.Memory()
		c := dialPinned(t, s, code, st)
		var rule client.Rule
		if err := c.Reset(t.Context(), "alice", code, "password"); !errors.As(err, &rule) { // the policy is enforced here
			t.Errorf("a weak password: %v", err)
		}
		if err := dialPinned(t, s, code, st).Reset(t.Context(), "Alice", code, another); err != nil {
			t.Fatal(err)
		}
		if known, ok, err := st.Server(authtest.Address); !ok || !known.Confirmed || err != nil {
			t.Errorf("the server is not pinned: %+v, %v", known, err)
		}
		synctest.Wait()
		_, err = session.WhoAmI(t.Context())
		wantCodeErr(t, err, client.ErrSessionRevoked)
		_, err = s.Dial(nil).Login(t.Context(), "alice", password, nil)
		wantCodeErr(t, err, client.ErrDenied)
		s.Login(st, "alice", another)
		wantCodeErr(t, dialPinned(t, s, code, nil).Reset(t.Context(), "alice", code, another), client.ErrCodeRefused)
		wantCodeErr(t, dialPinned(t, s, code, nil).Reset(t.Context(), "nobody", code, another), client.ErrCodeRefused)
		wantCodeErr(t, dialPinned(t, s, code, nil).Reset(t.Context(), "alice", s.Invite(), another), client.ErrCodeKind)
	})
}

// TestCodePins: towards a server that is not the code's, nothing is sent.
func TestCodePins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, impostor := authtest.New(t, authtest.Options{}), authtest.New(t, authtest.Options{Identity: 1})
		s.Register("alice", password)
		code := s.Reset("alice")
		var changed *client.IdentityChangedError
		_, err := client.Dial(t.Context(), authtest.Address+"#"+code.Fingerprint(), impostor.Config(nil))
		if !errors.As(err, &changed) {
			t.Errorf("by its address: %v", err)
		}
		wantCodeErr(t, impostor.Dial(nil).Reset(t.Context(), "alice", code, another), client.ErrCodeServer)
		invite := s.Invite()
		wantCodeErr(t, impostor.Dial(nil).Register(t.Context(), "bob", password, &client.RegisterOptions{Invite: &invite}), client.ErrCodeServer)

		// Also where the connection is made anew behind the check.
		config, dials := s.Config(nil), 0
		config.Dialer = func(ctx context.Context, network, address string) (net.Conn, error) {
			if dials++; dials > 1 {
				return impostor.Connect(ctx, network, address)
			}
			return s.Connect(ctx, network, address)
		}
		c, err := client.Dial(t.Context(), authtest.Address, config)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(4 * time.Second) // of the bubble
		if err := c.Reset(t.Context(), "alice", code, another); !errors.As(err, &changed) || dials != 2 {
			t.Errorf("after %d dials: %v", dials, err)
		}
		s.Login(nil, "alice", password)
	})
}

func TestCodeInvite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := authtest.New(t, authtest.Options{Account: account.Config{Registration: account.RegistrationInvited}})
		wantCodeErr(t, s.Dial(nil).Register(t.Context(), "alice", password, nil), client.ErrInviteNeeded)
		invite, reset := s.Invite(), client.CodeText{Kind: client.CodeReset}
		use := func(name string, code client.CodeText, send bool) error {
			return s.Dial(nil).Register(t.Context(), name, password, &client.RegisterOptions{Invite: &code, SendPassword: send})
		}
		wantCodeErr(t, use("alice", reset, false), client.ErrCodeKind)
		wantCodeErr(t, use("alice", invite, true), client.ErrCodeKind)
		wantCodeErr(t, use("alice", invite, false), nil)
		s.Login(nil, "alice", password)
		wantCodeErr(t, use("bob", invite, false), client.ErrCodeRefused)
		wantCodeErr(t, use("alice", s.Invite(), false), client.ErrNameTaken)
	})
}

// TestCodeForgotten: a server with the keys but not the store can't say that it is done.
func TestCodeForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, empty := authtest.New(t, authtest.Options{}), authtest.New(t, authtest.Options{})
		s.Register("alice", password)
		wantCodeErr(t, dialPinned(t, empty, s.Reset("alice"), nil).Reset(t.Context(), "alice", s.Reset("alice"), another), client.ErrCodeRefused)
	})
}
