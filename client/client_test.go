package client_test

import (
	"errors"
	"testing"

	"github.com/authsrv/authsrv/client"
	"github.com/authsrv/authsrv/client/store"
	"github.com/authsrv/authsrv/internal/authtest"
)

const (
	password = "correct horse battery staple"
	another  = "a wholly different passphrase"
)

func TestWholePath(t *testing.T) {
	srv := authtest.New(t, authtest.Options{})
	ctx := t.Context()
	srv.Register("alice", password)
	st := store.Memory()
	s := srv.Login(st, "alice", password)
	who, err := s.WhoAmI(ctx)
	if err != nil || who.Name != "alice" {
		t.Fatalf("WhoAmI: %v, %v", who, err)
	}
	names, err := s.List(ctx)
	if err != nil || len(names) != 6 {
		t.Fatalf("List: %v, %v", names, err)
	}
	for info, err := range s.Sessions(ctx) {
		if err != nil || !info.Current || info.Address != "192.0.2.2" {
			t.Fatalf("Sessions: %+v, %v", info, err)
		}
	}
	if err := s.ChangePassword(ctx, password, another); err != nil {
		t.Fatalf("ChangePassword: %v", err)
	}
	if _, err := s.WhoAmI(ctx); err != nil {
		t.Fatalf("WhoAmI after ChangePassword: %v", err)
	}
	s.Close()
	s, err = srv.Dial(st).Resume(ctx)
	if err != nil {
		t.Fatalf("Resume: %v", err)
	}
	if _, err := srv.Dial(nil).Login(ctx, "alice", password, nil); !errors.Is(err, client.ErrDenied) {
		t.Fatalf("Login with the old password: %v", err)
	}
	if err := s.Logout(ctx); err != nil {
		t.Fatalf("Logout: %v", err)
	}
	s = srv.Login(st, "alice", another)
	if err := s.Delete(ctx, another); err != nil {
		t.Fatalf("Delete: %v", err)
	}
	if _, err := srv.Dial(nil).Login(ctx, "alice", another, nil); !errors.Is(err, client.ErrDenied) {
		t.Fatalf("Login after Delete: %v", err)
	}
	t.Log(srv.Log)
}
