package client_test

import (
	"context"
	"errors"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gofrs/flock"

	"github.com/authsrv/authsrv/client"
	"github.com/authsrv/authsrv/client/store"
	"github.com/authsrv/authsrv/internal/authtest"
)

// TestStoreThatIsBusy: a call ends with its context also where another process keeps the lock of the store.
func TestStoreThatIsBusy(t *testing.T) {
	for _, call := range []string{"Dial", "Login", "Resume"} {
		t.Run(call, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				srv := authtest.New(t, authtest.Options{})
				enroll(t, srv, "alice", password)
				dir := filepath.Join(t.TempDir(), "store")
				st, err := store.Open(dir)
				if err != nil {
					t.Fatal(err)
				}
				c := srv.Dial(st)
				other := flock.New(filepath.Join(dir, "lock"))
				if err := other.Lock(); err != nil {
					t.Fatal(err)
				}
				defer other.Unlock()
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				began := time.Now()
				switch call {
				case "Dial":
					_, err = client.Dial(ctx, authtest.Address, srv.Config(st))
				case "Login":
					_, err = c.Login(ctx, "alice", password, nil)
				case "Resume":
					_, err = c.Resume(ctx)
				}
				if took := time.Since(began); took != time.Second {
					t.Errorf("it took %v", took)
				}
				if !errors.Is(err, store.ErrBusy) || !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("%v", err)
				}
			})
		})
	}
}
