package testkit

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	"net"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/authsrv/authsrv/client"
	"github.com/authsrv/authsrv/client/store"
	"github.com/authsrv/authsrv/credential"
)

const address = "auth.test:7022"

// memory is what the client under test remembers, as a file describes it.
func memory(t *testing.T, f *transcript) *store.Store {
	t.Helper()
	st := store.Memory()
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	seconds := func(text string) time.Time {
		n, err := strconv.ParseInt(text, 10, 64)
		check(err)
		return time.Unix(n, 0)
	}
	small := func(text string) uint64 {
		n, err := strconv.ParseUint(text, 10, 32)
		check(err)
		return n
	}
	for _, w := range f.all("pin") { // realm, identity, next identity, epoch, version, suite, server time, confirmed or accepted
		check(st.PutServer(store.Server{
			Address: address, RealmID: [16]byte(unhex(t, w[0])), Identity: [32]byte(unhex(t, w[1])), NextIdentity: [32]byte(unhex(t, w[2])),
			Epoch: uint32(small(w[3])), Version: uint8(small(w[4])), Suite: uint8(small(w[5])), ServerTime: seconds(w[6]), Confirmed: w[7] == "confirmed",
		}))
	}
	for _, w := range f.all("remembers") { // realm, name, kdf, salt, device key
		kdf, err := parseKDF(w[2])
		check(err)
		check(st.PutAccount(store.Account{
			RealmID: [16]byte(unhex(t, w[0])), Name: w[1], KDF: store.KDF(kdf), Salt: [16]byte(unhex(t, w[3])), DeviceKey: store.Secret(unhex(t, w[4])), Method: 1,
		}))
	}
	for _, w := range f.all("saved-session") { // realm, identity, name, token, resume key, session id, account id, expires
		check(st.PutSession(store.Session{
			Address: address, RealmID: [16]byte(unhex(t, w[0])), Identity: [32]byte(unhex(t, w[1])), Name: w[2], Token: store.Token(w[3]),
			ResumeKey: store.Secret(unhex(t, w[4])), SessionID: [16]byte(unhex(t, w[5])), AccountID: [16]byte(unhex(t, w[6])), Expires: seconds(w[7]),
		}))
	}
	return st
}

// user does with our client what the lines "do" of a file say.
type user struct {
	t       *testing.T
	f       *transcript
	config  *client.Config
	client  *client.Client
	session *client.Session
}

func (u *user) act(ctx context.Context) (err error) {
	to := address
	if pin := u.f.get("fingerprint"); pin != "" {
		to += "#" + pin
	}
	if u.client, err = client.Dial(ctx, to, u.config); err != nil {
		return err
	}
	for _, words := range u.f.all("do") {
		if err := u.do(ctx, words[0]); err != nil {
			return err
		}
	}
	return nil
}

func (u *user) do(ctx context.Context, what string) (err error) {
	name, password, next := u.f.get("login-name"), u.f.get("password"), u.f.get("new-password")
	switch what {
	case "login":
		u.session, err = u.client.Login(ctx, name, password, nil)
	case "resume":
		u.session, err = u.client.Resume(ctx)
	case "register":
		err = u.client.Register(ctx, name, password, nil)
	case "register-checked":
		err = u.client.Register(ctx, name, password, &client.RegisterOptions{SendPassword: true})
	case "register-invited", "reset":
		code, err := client.ParseCode(u.f.get("code-text"))
		if err != nil {
			return err
		}
		if what == "reset" {
			return u.client.Reset(ctx, name, code, next)
		}
		return u.client.Register(ctx, name, password, &client.RegisterOptions{Invite: &code})
	case "who-am-i":
		_, err = u.session.WhoAmI(ctx)
	case "list":
		_, err = u.session.List(ctx)
	case "list-sessions":
		for _, err = range u.session.Sessions(ctx) {
			if err != nil {
				return err
			}
		}
	case "change-password":
		err = u.session.ChangePassword(ctx, password, next)
	case "delete":
		err = u.session.Delete(ctx, password)
	case "logout-all":
		err = u.session.LogoutAll(ctx, password)
	case "logout":
		err = u.session.Logout(ctx)
	case "wait":
		<-u.session.Done()
		err = u.session.Err()
	default:
		u.t.Errorf("do: %s", what)
	}
	return err
}

// hangUp ends what the user has begun.
func (u *user) hangUp() {
	if u.client != nil {
		u.client.Close()
	}
	if u.session != nil {
		u.session.Close()
	}
}

// expectationOf is the word for how our client took a transcript.
func expectationOf(err error) string {
	var refused *client.Error
	var goodbye *client.GoodbyeError
	var changed *client.IdentityChangedError
	var unknown *client.UnknownServerError
	var rule client.Rule
	switch {
	case err == nil:
		return "accepted"
	case errors.Is(err, client.ErrOutcomeUnknown):
		return "error outcome-unknown"
	case errors.As(err, &refused):
		return strings.TrimSpace("refused " + refused.Code.Name() + " " + ruleName(refused.Rule))
	case errors.As(err, &goodbye):
		return "goodbye " + goodbye.Code.Name()
	case errors.As(err, &changed):
		return "error identity-changed"
	case errors.As(err, &unknown):
		return "error identity-unknown"
	case errors.As(err, &rule):
		return "error password-rules"
	}
	for _, e := range []struct {
		err  error
		name string
	}{
		{client.ErrCertificate, "certificate"}, {client.ErrDowngrade, "downgrade"}, {credential.ErrKDF, "kdf"},
		{client.ErrNotConfirmed, "not-confirmed"}, {client.ErrCodeNotConfirmed, "not-confirmed"},
		{client.ErrPasswordUnsent, "password-unsent"}, {client.ErrNotPinned, "not-pinned"}, {client.ErrCodeServer, "identity-changed"},
		{client.ErrProtocol, "protocol"}, {client.ErrConnection, "connection"},
	} {
		if errors.Is(err, e.err) {
			return "error " + e.name
		}
	}
	return "error other"
}

func ruleName(r client.Rule) string {
	if r == 0 {
		return ""
	}
	return r.String()
}

// errOneConnection is for a client that dials again: a file is one connection.
var errOneConnection = errors.New("a file is one connection")

// runClient plays a file against our client. In mode record, it fills in the file.
func runClient(t *testing.T, f *transcript, m mode) (got outcome) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(time.Until(time.Unix(f.number(t, "time"), 0)))
		random := newDrawn()
		if m == live {
			random.other = rand.Reader
		} else {
			for _, words := range f.all("random") {
				random.give(unhex(t, words[1]))
			}
		}
		st := memory(t, f)
		before := remembered(t, st)
		ours, theirs := net.Pipe()
		p, err := newPlayer(f, m, theirs)
		if err != nil {
			t.Fatal(err)
		}
		dialed := false
		u := &user{t: t, f: f, config: &client.Config{
			Store: st, AcceptNew: f.get("accept-new") == "yes", Rand: io.Reader(random),
			Dialer: func(context.Context, string, string) (net.Conn, error) {
				if dialed {
					return nil, errOneConnection
				}
				dialed = true
				return ours, nil
			},
		}}
		result := make(chan error, 1)
		go func() { result <- u.act(t.Context()) }()
		if err := p.run(); err != nil {
			t.Errorf("%s: %v", f.get("name"), err)
			p.close()
			<-result
			u.hangUp()
			return
		}
		synctest.Wait()
		got.end = "open"
		for { // nothing comes of it but a Bye, which is the shortest of frames
			fr, err := p.receive(time.Second)
			if err != nil {
				if errors.Is(err, io.EOF) {
					got.end = "closed"
				}
				break
			}
			if m == exact {
				if len(fr.wire) != 2+5+16 {
					t.Errorf("%s: the client went on with a frame of %d bytes", f.get("name"), len(fr.wire))
				}
			} else if fr.name != "Bye" {
				t.Errorf("%s: the client went on with %s", f.get("name"), fr.name)
			}
		}
		p.close()
		err = <-result
		u.hangUp()
		synctest.Wait()
		got.expect = expectationOf(err)
		got.changed = changes(before, remembered(t, st))
		spent(t, f, m, random)
	})
	return got
}

// remembered is what of a store the files speak of.
func remembered(t *testing.T, st *store.Store) map[string]string {
	t.Helper()
	all := make(map[string]string)
	s, ok, err := st.Server(address)
	if err != nil {
		t.Fatal(err)
	}
	if ok && s.Confirmed {
		all["pin"] = string(s.Identity[:]) + string(s.RealmID[:]) + string(s.NextIdentity[:]) + strconv.Itoa(int(s.Epoch)) + s.ServerTime.String()
	}
	session, ok, err := st.Session(address)
	if err != nil {
		t.Fatal(err)
	}
	if ok {
		all["session"] = string(session.SessionID[:]) + string(session.Token)
	}
	return all
}

// changes names what is not as it was. A session that is forgotten is none.
func changes(before, after map[string]string) string {
	var names []string
	for k, v := range after {
		if before[k] != v {
			names = append(names, k)
		}
	}
	if names == nil {
		return "nothing"
	}
	slices.Sort(names)
	return strings.Join(names, " ")
}

func clientRule(n uint8) client.Rule { return client.Rule(n) }
