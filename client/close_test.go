package client_test

import (
	"context"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/authsrv/authsrv/client"
	"github.com/authsrv/authsrv/client/store"
	"github.com/authsrv/authsrv/internal/authtest"
)

// TestKnownDuringLogin: what is known of the server can be asked while a call makes the connection anew, which may be to a successor.
func TestKnownDuringLogin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := authtest.New(t, authtest.Options{})
		enroll(t, srv, "alice", password)
		config := srv.Config(store.Memory())
		config.Stretch(cheapKey)
		dials, dialing, goOn := 0, make(chan struct{}), make(chan struct{})
		config.Dialer = func(ctx context.Context, network, address string) (net.Conn, error) {
			if dials++; dials == 2 {
				close(dialing)
				<-goOn
			}
			return srv.Connect(ctx, network, address)
		}
		c, err := client.Dial(t.Context(), authtest.Address, config)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		time.Sleep(4 * time.Second) // so that the connection is made anew
		ask := func(pinned bool) {
			if c.Fingerprint() != srv.Fingerprint || c.WantsPassword() || c.Pinned() != pinned {
				t.Errorf("known: %s, %v, %v", c.Fingerprint(), c.WantsPassword(), c.Pinned())
			}
		}
		asked := make(chan struct{})
		go func() { // with nothing between this and Login, for the race detector
			ask(false)
			<-dialing
			ask(false)
			close(goOn)
			for range 100 {
				c.Fingerprint()
				c.WantsPassword()
				c.Pinned()
			}
			close(asked)
		}()
		s, err := c.Login(t.Context(), "alice", password, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		<-asked
		ask(true)
	})
}
