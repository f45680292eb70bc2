package server_test

import (
	"testing"
	"time"

	"github.com/authsrv/authsrv/internal/authtest"
)

// TestAuditIsChained: while a server runs, it chains what has happened when that is old enough, and it ends with the server.
func TestAuditIsChained(t *testing.T) {
	bubble(t, func(t *testing.T, srv *authtest.Server, alice *user) {
		p := connect(t, srv)
		p.login(alice)
		time.Sleep(3 * time.Minute)
		r, err := srv.Accounts.VerifyAudit(t.Context())
		if err != nil || r.Links == 0 || r.Events < 2 || r.Unchained != 0 {
			t.Errorf("%+v, %v", r, err)
		}
	})
}
