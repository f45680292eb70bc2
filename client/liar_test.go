package client_test

import (
	"bytes"
	"context"
	"encoding/base32"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/authsrv/authsrv/client"
	"github.com/authsrv/authsrv/client/store"
	"github.com/authsrv/authsrv/credential"
	"github.com/authsrv/authsrv/internal/authtest"
	"github.com/authsrv/authsrv/noiseconn"
	"github.com/authsrv/authsrv/wire"
)

type appender interface{ AppendTo([]byte) []byte }

// liar has the identity of the test's server and not its store: it says yes to whatever a code proves, and returns what it was sent.
func liar(t *testing.T, conn net.Conn, yes appender) (heard []byte) {
	ctx, identity := t.Context(), authtest.Identity(0)
	static, err := noiseconn.NewStaticKey(nil)
	if err != nil {
		t.Error(err)
		return
	}
	now, realm := time.Now(), [16]byte{1}
	hello := wire.ServerHello{
		Version: wire.Version, HighestVersion: wire.Version, HighestSuite: wire.Suite, RealmID: realm, Identity: [32]byte(identity[32:]),
		Certificate: noiseconn.Certify(identity, realm, static.Public, now.Add(-time.Hour), now.Add(time.Hour), 1), Time: uint64(now.Unix()),
		Features: wire.FeatureRegister,
	}
	h := noiseconn.Server(conn, nil)
	if err := h.Start(ctx); err != nil {
		t.Error(err)
		return
	}
	if err := h.Hello(ctx, static, hello.AppendTo(nil)); err != nil {
		t.Error(err)
		return
	}
	heard, c, err := h.Finish(ctx)
	if err != nil {
		t.Error(err)
		return
	}
	heard = bytes.Clone(heard)
	params := wire.RegisterParams{
		Challenge: wire.Challenge{KDF: wire.KDF(authtest.CheapKDF), TTL: 20}, Policy: wire.Policy{Kind: 3, MinLength: 8, MaxLength: 1024},
	}
	if err := c.WriteMessage(params.AppendTo(nil)); err != nil {
		t.Error(err)
		return
	}
	b, err := c.ReadMessage(wire.MaxLoginFrame)
	if err != nil {
		t.Error(err)
		return
	}
	heard = append(heard, b...)
	if err := c.WriteMessage(yes.AppendTo(nil)); err != nil {
		t.Error(err)
	}
	return heard
}

// secretOf is the secret of a code, by the form of its text (PROTOCOL 5.1).
func secretOf(t *testing.T, code client.CodeText) []byte {
	t.Helper()
	text := code.Text()
	raw, err := base32.StdEncoding.DecodeString(strings.ToUpper(text[strings.LastIndex(text, "-")+1:]))
	if err != nil || len(raw) != 16+16+32+6 || !bytes.Equal(raw[:16], code.ID[:]) {
		t.Fatalf("%d bytes, %v", len(raw), err)
	}
	return raw[16:32]
}

// TestCodeConfirm: a server that does not know the code can't say that it is done, is not pinned, and does not learn the code.
func TestCodeConfirm(t *testing.T) {
	s := authtest.New(t, authtest.Options{})
	s.Register("alice", password)
	reset, invite := s.Reset("alice"), s.Invite()
	guess, err := (&credential.Code{Kind: client.CodeReset, ID: reset.ID, Server: reset.Server}).Key()
	if err != nil {
		t.Fatal(err)
	}
	for what, c := range map[string]struct {
		yes  appender
		code client.CodeText
		use  func(c *client.Client) error
	}{
		"a reset": {&wire.ResetDone{Confirm: guess.Confirm([32]byte{}, [64]byte{})}, reset, func(c *client.Client) error {
			return c.Reset(t.Context(), "alice", reset, another)
		}},
		"an invite": {wire.Registered{Confirm: make([]byte, 32)}, invite, func(c *client.Client) error {
			return c.Register(t.Context(), "bob", password, &client.RegisterOptions{Invite: &invite})
		}},
		"an invite, and nothing shown": {wire.Registered{}, invite, func(c *client.Client) error {
			return c.Register(t.Context(), "bob", password, &client.RegisterOptions{Invite: &invite})
		}},
	} {
		ours, theirs := net.Pipe()
		heard := make(chan []byte)
		go func() { heard <- liar(t, theirs, c.yes) }()
		st := store.Memory()
		config := &client.Config{Store: st, Dialer: func(context.Context, string, string) (net.Conn, error) { return ours, nil }}
		cl, err := client.Dial(t.Context(), authtest.Address+"#"+reset.Fingerprint(), config)
		if err != nil {
			t.Fatal(err)
		}
		wantCodeErr(t, c.use(cl), client.ErrCodeNotConfirmed)
		if known, ok, _ := st.Server(authtest.Address); ok && known.Confirmed {
			t.Errorf("%s: the server is pinned", what)
		}
		cl.Close()
		if got := <-heard; !bytes.Contains(got, c.code.ID[:]) || bytes.Contains(got, secretOf(t, c.code)) || bytes.Contains(got, []byte(c.code.Text()[20:40])) {
			t.Errorf("%s: it was sent %x", what, got)
		}
	}
}
