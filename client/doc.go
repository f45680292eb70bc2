// Package client logs apps in to an authsrv server without ever telling it a secret.
//
//	c, err := client.Dial(ctx, "auth.example.org:7022", &client.Config{Store: st})
//	s, err := c.Login(ctx, "alice", password, nil)
//	who, err := s.WhoAmI(ctx)
//
// Dial shakes hands with the server and holds its identity against what the store remembers. A Client
// then registers, logs in or resumes a session; from the latter two comes a Session, whose requests
// may be made from several goroutines at once.
//
// What the server refused is an *Error, and matches one of the codes, such as ErrDenied. What the server is, and should
// not be, is an *UnknownServerError or an *IdentityChangedError, an ErrCertificate, ErrNotConfirmed or ErrDowngrade, or, where it
// talks nonsense, an ErrProtocol. A connection that cannot be had, or was lost, is an ErrConnection; where the server
// said why it ended one, a *GoodbyeError besides. A rule of names or passwords that was broken is a Rule, whoever found it, and
// an ErrNameInvalid or an ErrPasswordPolicy. A session that is not there any more is one of those for which LoginNeeded is true.
// Whatever else is an error of the store, such as store.ErrBusy or an *fs.PathError.
//
// Changes are Register, Reset, ChangePassword, LogoutAll and Delete. An error says that they were not made, but for two: with ErrNotRemembered
// the change was made, and the store did not take what follows from it; with ErrOutcomeUnknown the last message was sent and its
// answer did not come, and logging in did not tell either.
//
// A Session ends with its connection, which the server ends 30 minutes after the last request, and twelve hours after the
// login, after three wrong passwords in operations, and when it stops. Nothing connects again by itself: Dial, and Resume.
//
// A context that ends is an ErrConnection, too, which wraps the context's own error. Nothing is sent from
// then on: a change whose last message was not yet begun to be sent is not made. One that was is an
// ErrOutcomeUnknown besides, unless its answer is there already, which then counts. A password that is being
// stretched is not waited for: that goes on in the background, takes its memory until it is done, tenths of a
// second later, and comes to nothing.
package client
