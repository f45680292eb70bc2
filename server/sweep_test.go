package server_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/authsrv/authsrv/internal/authtest"
)

// TestSweep: what is dead is removed a minute behind the start, and then every ten minutes.
func TestSweep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := authtest.New(t, authtest.Options{})
		u := enroll(t, srv, "alice")
		leave := func() { // a session that is dead
			connect(t, srv).login(u)
			for _, disabled := range []bool{true, false} {
				if err := srv.Accounts.SetDisabled(t.Context(), "alice", disabled); err != nil {
					t.Fatal(err)
				}
			}
		}
		swept := func(after time.Duration, want int) {
			t.Helper()
			time.Sleep(after)
			synctest.Wait()
			if n := strings.Count(srv.Log.String(), "msg=swept removed=1\n"); n != want {
				t.Errorf("%d were removed, want %d:\n%s", n, want, srv.Log)
			}
		}
		leave()
		swept(50*time.Second, 0)
		swept(20*time.Second, 1)
		leave()
		swept(9*time.Minute, 1)
		swept(time.Minute, 2)
	})
}
