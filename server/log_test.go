package server_test

import (
	"encoding/base64"
	"encoding/hex"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/authsrv/authsrv/client"
	"github.com/authsrv/authsrv/client/store"
	"github.com/authsrv/authsrv/internal/account"
	"github.com/authsrv/authsrv/internal/authtest"
	"github.com/authsrv/authsrv/wire"
)

// TestLogHoldsNoSecret goes the whole path with the log at its finest, and looks for everything that must not be there, in
// the forms in which it could be.
func TestLogHoldsNoSecret(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEngine(t)
		srv := authtest.New(t, authtest.Options{Engine: e})
		checked := authtest.New(t, authtest.Options{Account: account.Config{Registration: account.RegistrationChecked}, Identity: 1})
		secrets := map[string][]byte{}
		secret := func(what string, b []byte) { secrets[what] = append([]byte(nil), b...) }

		const first, second, mistyped = "correct horse battery staple", "eigenvalue trombone 9", "my-password-in-the-name-field"
		ctx, st := t.Context(), store.Memory()
		srv.Register("alice", first)
		s := srv.Login(st, "alice", first)
		saved, _, err := st.Session(authtest.Address)
		if err != nil {
			t.Fatal(err)
		}
		secret("token", []byte(string(saved.Token)))
		secret("resume key", saved.ResumeKey[:])
		device, _, err := st.Account(saved.RealmID, "alice")
		if err != nil {
			t.Fatal(err)
		}
		secret("device key", device.DeviceKey[:])
		secret("salt", device.Salt[:])
		if err := s.ChangePassword(ctx, first, second); err != nil {
			t.Fatal(err)
		}
		saved, _, _ = st.Session(authtest.Address)
		secret("second token", []byte(string(saved.Token)))
		s.Close()
		if s, err = srv.Dial(st).Resume(ctx); err != nil {
			t.Fatal(err)
		}
		if err := s.Logout(ctx); err != nil {
			t.Fatal(err)
		}
		srv.Dial(nil).Login(ctx, mistyped, first, nil)
		srv.Dial(nil).Login(ctx, "alice", mistyped, nil)
		srv.Login(nil, "alice", second).Delete(ctx, second)
		opt := &client.RegisterOptions{SendPassword: true}
		c, err := client.Dial(ctx, authtest.Address+"#"+checked.Fingerprint, checked.Config(nil))
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Register(ctx, "bob", "password", opt); err == nil {
			t.Error("a weak password was taken")
		}
		if err := c.Register(ctx, "bob", first, opt); err != nil {
			t.Error(err)
		}

		// What the clients above don't show: nonces, proofs, records, and attempts that end badly.
		carol := enroll(t, srv, "carol")
		p := connect(t, srv)
		p.ask(newUser(mistyped))
		secret("server nonce", p.challenge.ServerNonce[:])
		nonce := nonce("client")
		secret("client nonce", nonce[:])
		e.breakAfter("commit", 0)
		p.send(&wire.Proof{})
		p.expectDenied(wire.CodeInternal)
		e.set(nil)
		p.sendStart(registerStart(mistyped))
		p.expect(wire.TypeRegisterParams)
		p.send(&wire.RegisterFinish{})
		p.expectDenied(wire.CodeRecordRefused)
		p = connect(t, srv)
		p.ask(carol)
		proof := p.proof(carol)
		secret("proof", proof.Proof[:])
		p.send(proof)
		p.takeWelcome()
		secret("confirm", p.welcome.Confirm[:])
		secret("carol's token", p.welcome.Token)
		secret("k_srv", carol.serverKey[:])
		p.conn.WriteMessage([]byte("\x77" + first))
		p.expectClosed()
		p = connect(t, srv)
		p.send(bytesMessage(mistyped + strings.Repeat(" ", wire.AuthStartSize-len(mistyped))))
		p.expectClosed()
		synctest.Wait()

		log := srv.Log.String() + checked.Log.String()
		for _, word := range []string{first, second, mistyped, "battery", "trombone", "name-field"} {
			if strings.Contains(log, word) {
				t.Errorf("%q is in the log:\n%s", word, log)
			}
		}
		for what, b := range secrets {
			for _, form := range []string{
				string(b), hex.EncodeToString(b), strings.ToUpper(hex.EncodeToString(b)),
				base64.StdEncoding.EncodeToString(b), base64.RawURLEncoding.EncodeToString(b),
			} {
				if strings.Contains(log, form) || len(form) > 16 && strings.Contains(log, form[:16]) && what != "token" && what != "second token" && what != "carol's token" {
					t.Errorf("the %s is in the log", what)
				}
			}
		}
		for _, line := range []string{
			"msg=register outcome=success name=alice", "msg=login outcome=success name=alice", "msg=change-password outcome=success name=alice",
			"msg=resume outcome=success name=alice", "msg=logout outcome=success name=alice", "msg=login outcome=unknown-name\n",
			"msg=login outcome=wrong-password name=alice", "msg=delete outcome=success name=alice", "msg=register outcome=password-policy\n",
			"msg=register outcome=success name=bob", "msg=connect", "msg=login outcome=internal\n", "msg=register outcome=record-refused\n",
		} {
			if key, rest, _ := strings.Cut(line, " "); !hasLine(log, key, rest) {
				t.Errorf("the log has no line of %q:\n%s", line, log)
			}
		}
	})
}

// hasLine says whether a line has the message and ends with the rest, with the peer between them.
func hasLine(log, message, rest string) bool {
	for line := range strings.Lines(log) {
		if strings.Contains(line, message+" ") && strings.HasSuffix(line, strings.TrimSuffix(rest, "\n")+"\n") {
			return true
		}
	}
	return false
}
