package client_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"

	"github.com/authsrv/authsrv/client"
	"github.com/authsrv/authsrv/client/store"
	"github.com/authsrv/authsrv/internal/authtest"
)

// TestSecretsAreNotPrinted by whatever prints what holds them.
func TestSecretsAreNotPrinted(t *testing.T) {
	srv := authtest.New(t, authtest.Options{})
	srv.Register("alice", password)
	inMemory := store.Memory()
	onDisk, err := store.Open(filepath.Join(t.TempDir(), "the store"))
	if err != nil {
		t.Fatal(err)
	}
	for _, st := range []*store.Store{inMemory, onDisk} {
		c := srv.Dial(st)
		s, err := c.Login(t.Context(), "alice", password, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		account, _, err := st.Account(srv.Accounts.RealmID(), "alice")
		if err != nil {
			t.Fatal(err)
		}
		saved, _, err := st.Session(authtest.Address)
		if err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		for _, v := range []any{
			c, s, st, *st, []any{c, s, st}, srv.Config(st), struct {
				Client  *client.Client
				Session *client.Session
				Store   *store.Store
			}{c, s, st}, account, saved,
		} {
			for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d"} {
				fmt.Fprintf(&out, verb+"\n", v)
			}
			slog.New(slog.NewTextHandler(&out, nil)).Info("m", "v", v)
			slog.New(slog.NewJSONHandler(&out, nil)).Info("m", "v", v)
			if _, isConfig := v.(*client.Config); isConfig {
				continue // has a func, which is not for JSON
			}
			text, err := json.Marshal(v)
			if err != nil {
				t.Fatal(err)
			}
			out.Write(text)
		}
		for _, secret := range [][]byte{account.DeviceKey[:8], saved.ResumeKey[:8], []byte(saved.Token)[:40]} {
			for _, shape := range []string{
				string(secret), fmt.Sprintf("%x", secret), fmt.Sprintf("%X", secret), strings.Trim(fmt.Sprint(secret), "[]"),
				strings.Trim(fmt.Sprintf("%#v", secret), "[]byte{}"), fmt.Sprintf("%x", fmt.Sprintf("%x", secret)),
			} {
				if strings.Contains(out.String(), shape) {
					t.Errorf("%q was printed", shape)
				}
			}
		}
		for _, plain := range []string{"client of " + authtest.Address, "session of alice at " + authtest.Address, "store in "} {
			if !strings.Contains(out.String(), plain) {
				t.Errorf("%q was not printed", plain)
			}
		}
	}
}
