package client_test

import (
	"crypto/sha256"
	"errors"
	"testing"

	"github.com/authsrv/authsrv/client"
	"github.com/authsrv/authsrv/client/store"
	"github.com/authsrv/authsrv/internal/authtest"
	"github.com/authsrv/authsrv/noiseconn"
	"github.com/authsrv/authsrv/server"
)

// identityOf is the nth identity of a server, which commits to the one after it.
func identityOf(n byte, epoch uint32) server.Identity {
	return server.Identity{Key: authtest.Identity(n), Next: sha256.Sum256(authtest.Identity(n + 1)[32:]), Epoch: epoch}
}

func rotating(t *testing.T, epoch uint32) *authtest.Server {
	t.Helper()
	first := identityOf(0, epoch)
	s := authtest.New(t, authtest.Options{Server: server.Config{NextIdentity: first.Next, Epoch: epoch}})
	s.Register("alice", password)
	return s
}

func become(t *testing.T, s *authtest.Server, i server.Identity) {
	t.Helper()
	if err := s.SetIdentity(i); err != nil {
		t.Fatal(err)
	}
}

// TestIdentityRotates: a live session goes on, and who was there for each identity follows it without a word; who has missed one does not.
func TestIdentityRotates(t *testing.T) {
	ctx := t.Context()
	s := rotating(t, 1)
	st, absent := store.Memory(), store.Memory()
	live := s.Login(st, "alice", password)
	s.Login(absent, "alice", password)
	for n := byte(1); n <= 3; n++ {
		become(t, s, identityOf(n, 1))
		if _, err := live.WhoAmI(ctx); err != nil {
			t.Errorf("identity %d: the live session: %v", n, err)
		}
		c := s.Dial(st)
		want := noiseconn.Fingerprint([32]byte(authtest.Identity(n)[32:]))
		if c.Fingerprint() != want {
			t.Errorf("identity %d: the server shows %s", n, c.Fingerprint())
		}
		resumed, err := c.Resume(ctx)
		if err != nil {
			t.Fatalf("identity %d: resume: %v", n, err)
		}
		resumed.Close()
		if k, _, _ := st.Server(authtest.Address); client.Fingerprint(k.Identity) != want || !k.Confirmed {
			t.Errorf("identity %d: remembered is %s", n, client.Fingerprint(k.Identity))
		}
		if n%2 == 1 { // logging in anew is as well
			fresh, err := s.Dial(st).Login(ctx, "alice", password, nil)
			if err != nil {
				t.Fatalf("identity %d: %v", n, err)
			}
			fresh.Close()
		}
	}
	_, err := client.Dial(ctx, authtest.Address, s.Config(absent))
	var changed *client.IdentityChangedError
	if !errors.As(err, &changed) || changed.Known != s.Fingerprint {
		t.Errorf("who has missed two identities: %v", err)
	}
	// An address with a fingerprint in it names one identity, whatever was committed to.
	become(t, s, identityOf(1, 1))
	_, err = client.Dial(ctx, authtest.Address+"#"+s.Fingerprint, s.Config(absent))
	if !errors.As(err, &changed) || changed.Known != s.Fingerprint {
		t.Errorf("an address with the old fingerprint: %v", err)
	}
	if session, err := s.Dial(absent).Resume(ctx); err != nil {
		t.Errorf("who has missed none: %v", err)
	} else {
		session.Close()
	}
}

// TestEpochRises: the certificate is renewed at once, and who has seen the new epoch takes no lower one.
func TestEpochRises(t *testing.T) {
	s := rotating(t, 4)
	st := store.Memory()
	live := s.Login(st, "alice", password)
	become(t, s, identityOf(0, 5))
	if k, _, _ := st.Server(authtest.Address); k.Epoch != 4 {
		t.Errorf("epoch %d is remembered", k.Epoch)
	}
	s.Login(st, "alice", password).Close()
	if k, _, _ := st.Server(authtest.Address); k.Epoch != 5 {
		t.Errorf("epoch %d is remembered", k.Epoch)
	}
	become(t, s, identityOf(0, 4))
	if _, err := client.Dial(t.Context(), authtest.Address, s.Config(st)); !errors.Is(err, client.ErrCertificate) {
		t.Errorf("a lower epoch: %v", err)
	}
	if _, err := live.WhoAmI(t.Context()); err != nil {
		t.Errorf("the live session: %v", err)
	}
}
