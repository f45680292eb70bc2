package client

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"iter"
	"sync"
	"time"

	"github.com/authsrv/authsrv/client/store"
	"github.com/authsrv/authsrv/wire"
)

// A Session is a connection that is logged in. Its requests may be made from several goroutines at
// once: they are sent as they come, and answered in that order.
type Session struct {
	client *Client
	name   string

	changing turn // held by an operation that needs the password
	writing  turn // held to queue a call and write its request, so that both have one order

	mu        sync.Mutex // guards what follows
	accountID [16]byte
	id        [16]byte
	expires   time.Time
	lastID    uint32
	waiting   []call // in the order in which they were sent
	ended     error  // why there is nothing more to come

	done chan struct{} // closed when the reader has ended
}

// call is a request that waits for its answer.
type call struct {
	id     uint32
	answer chan<- []byte // gets the answer, or is closed
	parts  bool          // the session is over when it is answered by Done
}

// closedError is why a Session has ended that was closed here, or logged out.
type closedError struct{}

func (closedError) Error() string { return ErrConnection.Error() + ": the session was closed" }

// Unwrap returns ErrConnection and ErrClosed.
func (closedError) Unwrap() []error { return []error{ErrConnection, ErrClosed} }

// enter makes the connection a Session's, and starts the goroutine that reads from it. It ends with the connection.
func (c *Client) enter(w *wire.Welcome) *Session {
	s := &Session{
		client: c, name: string(w.Name), accountID: w.AccountID, id: w.SessionID,
		expires: time.Unix(int64(w.Expires), 0), changing: newTurn(), writing: newTurn(), done: make(chan struct{}),
	}
	c.used = true
	go s.readAll()
	return s
}

// record is what the store is to remember of the session.
func (s *Session) record(token store.Token, resumeKey [32]byte) store.Session {
	c := s.client
	return store.Session{
		Address: c.address, Name: s.name, RealmID: c.hello.Load().RealmID, Identity: c.hello.Load().Identity,
		Token: store.Token(string(token)), ResumeKey: resumeKey, SessionID: s.id, AccountID: s.accountID, Expires: s.expires,
	}
}

// Format writes the account's name and the address, whatever the verb.
func (s *Session) Format(f fmt.State, _ rune) {
	fmt.Fprintf(f, "session of %s at %s", s.name, s.client.address)
}

// Name returns the account's name.
func (s *Session) Name() string { return s.name }

// Expires returns when the session ends.
func (s *Session) Expires() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.expires
}

// Done returns a channel that is closed when the connection has ended; Err then says why.
func (s *Session) Done() <-chan struct{} { return s.done }

// Err returns why the connection has ended, or nil if it has not. Of a session that was closed here or logged out it is always the same
// error, an ErrConnection and an ErrClosed, unless the connection was lost before.
func (s *Session) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ended
}

// Close ends the connection. The session goes on: it can be resumed.
func (s *Session) Close() error {
	if s.finish(closedError{}) {
		s.client.raw.SetWriteDeadline(time.Now().Add(time.Second)) // also for who is writing now
		s.writing.take(context.Background())
		s.client.raw.SetWriteDeadline(time.Now().Add(time.Second))
		s.client.conn.WriteMessage(wire.Plain{Type: wire.TypeBye}.AppendTo(nil)) // a courtesy
		s.writing.pass()
	}
	s.client.raw.Close()
	<-s.done
	return nil
}

// end ends the connection for a reason, unless it has ended already.
func (s *Session) end(reason error) {
	s.finish(reason)
	s.client.raw.Close()
}

// finish keeps the reason why nobody gets an answer any more, and says whether it is the first one.
func (s *Session) finish(reason error) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.finishLocked(reason)
}

func (s *Session) finishLocked(reason error) bool {
	if s.ended != nil {
		return false
	}
	s.ended = reason
	for _, w := range s.waiting {
		close(w.answer)
	}
	s.waiting = nil
	return true
}

// readAll hands answers to whom they are for, until the connection ends.
func (s *Session) readAll() {
	defer close(s.done)
	for {
		b, err := s.client.conn.ReadMessage(wire.MaxSessionFrame)
		if err == nil {
			err = s.deliver(b)
		} else {
			err = connectionError(context.Background(), err)
		}
		if err != nil {
			s.end(err)
			return
		}
	}
}

func (s *Session) deliver(b []byte) error {
	if wire.TypeOf(b) == wire.TypeGoodbye {
		m, err := wire.ParseGoodbye(b)
		if err != nil {
			return protocolError(err)
		}
		return &GoodbyeError{m.Code}
	}
	id, err := wire.RequestID(b)
	if err != nil {
		return protocolError(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended != nil { // and the server did not know yet
		return nil
	}
	if len(s.waiting) == 0 || s.waiting[0].id != id {
		return fmt.Errorf("%w: an answer that nobody asked for", ErrProtocol)
	}
	w := s.waiting[0]
	w.answer <- append([]byte(nil), b...)
	s.waiting = s.waiting[1:]
	if w.parts && wire.TypeOf(b) == wire.TypeDone { // the goodbye behind it is no reason of the server's
		s.finishLocked(closedError{})
	}
	return nil
}

// call sends the request that build makes, with a new id or the one given, and returns its answer, of the type wanted.
func (s *Session) call(ctx context.Context, id uint32, want wire.Type, build func(id uint32) []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTime)
	defer cancel()
	answer := make(chan []byte, 1)
	if _, err := s.send(ctx, id, answer, false, build); err != nil {
		return nil, err
	}
	return s.await(ctx, answer, want)
}

// await returns the answer to a request that was sent.
func (s *Session) await(ctx context.Context, answer <-chan []byte, want wire.Type) ([]byte, error) {
	var b []byte
	select {
	case b = <-answer:
	case <-ctx.Done():
		select {
		case b = <-answer: // it has come all the same
		default:
			return nil, connectionError(ctx, ctx.Err())
		}
	}
	if b == nil {
		return nil, s.Err()
	}
	switch wire.TypeOf(b) {
	case want:
		return b, nil
	case wire.TypeRefused:
		m, err := wire.ParseRefused(b)
		if err != nil {
			return nil, s.malformed(err)
		}
		return nil, refused(m.Denied, true)
	}
	err := fmt.Errorf("%w: unexpected %v", ErrProtocol, wire.TypeOf(b))
	s.end(err)
	return nil, err
}

// malformed ends the connection for an answer that is not one.
func (s *Session) malformed(err error) error {
	err = protocolError(err)
	s.end(err)
	return err
}

// send queues a call and writes its request, unless ctx has ended. What the server sends is read meanwhile: neither side waits for the
// other. A write that has begun is only cut by ctx where that is asked for, since it takes the connection with it; where not, nobody
// waits for it but the requests behind it. Written says whether one has begun.
func (s *Session) send(ctx context.Context, id uint32, answer chan<- []byte, cut bool, build func(id uint32) []byte) (written bool, err error) {
	if err := s.writing.take(ctx); err != nil {
		return false, err
	}
	request, err := s.queue(id, answer, build)
	if err != nil {
		s.writing.pass()
		return false, err
	}
	if !cut {
		go func() {
			defer s.writing.pass()
			if err := s.client.conn.WriteMessage(request); err != nil {
				s.end(connectionError(context.Background(), err))
			}
		}()
		return true, nil
	}
	defer s.writing.pass()
	err = within(ctx, s.client.raw.SetWriteDeadline, func() error { return s.client.conn.WriteMessage(request) })
	switch {
	case err != nil && ctx.Err() != nil: // which is the reason for this caller alone
		s.end(fmt.Errorf("%w: a request was cut off", ErrConnection))
		return true, err
	case err != nil:
		s.end(err)
		return true, s.Err()
	}
	return true, nil
}

// queue appends a call, with a new id if it has none, and returns its request. From then on the time runs that its write may take,
// which Close shortens.
func (s *Session) queue(id uint32, answer chan<- []byte, build func(id uint32) []byte) (request []byte, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended != nil {
		return nil, s.ended
	}
	if id == 0 {
		id = s.newIDLocked()
	}
	request = build(id)
	t := wire.TypeOf(request)
	parts := t == wire.TypeLogout || t == wire.TypeRevokeAll || t == wire.TypeDeleteAccount
	s.waiting = append(s.waiting, call{id, answer, parts})
	s.client.raw.SetWriteDeadline(time.Now().Add(requestTime))
	return request, nil
}

func (s *Session) newIDLocked() uint32 {
	if s.lastID++; s.lastID == 0 {
		s.lastID = 1
	}
	return s.lastID
}

func (s *Session) plain(ctx context.Context, t, want wire.Type) ([]byte, error) {
	return s.call(ctx, 0, want, func(id uint32) []byte { return wire.Plain{Type: t, ID: id}.AppendTo(nil) })
}

// ID is the id of an account or of a session.
type ID [16]byte

// String returns the id in lower-case hex.
func (id ID) String() string { return hex.EncodeToString(id[:]) }

// An Account is who one is logged in as.
type Account struct {
	ID        ID
	Name      string
	Created   time.Time
	SessionID ID
	Expires   time.Time // the session
}

// WhoAmI asks the server whose session this is.
func (s *Session) WhoAmI(ctx context.Context) (*Account, error) {
	b, err := s.plain(ctx, wire.TypeWhoAmI, wire.TypeAccount)
	if err != nil {
		return nil, err
	}
	m, err := wire.ParseAccount(b)
	if err != nil {
		return nil, s.malformed(err)
	}
	return &Account{m.AccountID, string(m.Name), time.Unix(int64(m.Created), 0), m.SessionID, time.Unix(int64(m.Expires), 0)}, nil
}

// List asks for the protected resource with which a server demonstrates its protection.
func (s *Session) List(ctx context.Context) ([]string, error) {
	b, err := s.plain(ctx, wire.TypeList, wire.TypeListing)
	if err != nil {
		return nil, err
	}
	m, err := wire.ParseListing(b)
	if err != nil {
		return nil, s.malformed(err)
	}
	names := make([]string, 0, m.Count)
	for name := range m.All() {
		names = append(names, string(name))
	}
	return names, nil
}

// SessionInfo is one of the sessions of an account.
type SessionInfo struct {
	ID                         ID
	Created, LastUsed, Expires time.Time
	Current                    bool   // it is this one
	Address                    string // where it was last used from
}

// Sessions yields the live sessions of the account, by ascending id. It asks for them page by page; with an error it ends.
func (s *Session) Sessions(ctx context.Context) iter.Seq2[SessionInfo, error] {
	return func(yield func(SessionInfo, error) bool) {
		request := wire.ListSessions{}
		for {
			b, err := s.call(ctx, 0, wire.TypeSessionList, func(id uint32) []byte {
				request.ID = id
				return request.AppendTo(nil)
			})
			if err != nil {
				yield(SessionInfo{}, err)
				return
			}
			page, err := wire.ParseSessionList(b)
			if err != nil {
				yield(SessionInfo{}, s.malformed(err))
				return
			}
			for e := range page.All() {
				if bytes.Compare(e.ID[:], request.After[:]) <= 0 { // or the pages would never end
					yield(SessionInfo{}, s.malformed(errors.New("a session is listed twice")))
					return
				}
				request.After = e.ID
				info := SessionInfo{
					e.ID, time.Unix(int64(e.Created), 0), time.Unix(int64(e.LastUsed), 0), time.Unix(int64(e.Expires), 0),
					e.Current, string(e.Address),
				}
				if !yield(info, nil) {
					return
				}
			}
			if !page.More || page.Count == 0 {
				return
			}
		}
	}
}

// Logout ends the session, forgets it, and closes the connection. It is no change in the sense of ErrOutcomeUnknown: where its answer
// does not come, it is an ErrConnection, the session is still remembered, and to resume it and log out once more does what this may have left.
func (s *Session) Logout(ctx context.Context) error {
	b, err := s.plain(ctx, wire.TypeLogout, wire.TypeDone)
	if err == nil {
		if _, err := wire.ParsePlain(b, wire.TypeDone); err != nil {
			return s.malformed(err)
		}
	}
	if err != nil && !errors.Is(err, ErrSessionRevoked) && !errors.Is(err, ErrSessionExpired) {
		return err
	}
	return remembered(s.forget())
}

// forget removes the session from the store and closes the connection.
func (s *Session) forget() error {
	s.mu.Lock()
	id := s.id
	s.mu.Unlock()
	_, err := s.client.c.Store.RemoveSession(s.client.address, id)
	s.Close()
	return err
}
