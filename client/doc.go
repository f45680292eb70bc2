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
// Errors are of four kinds. What the server refused is an *Error, and matches one of the codes, such as
// ErrDenied. What the server is, and should not be, is an *UnknownServerError or an
// *IdentityChangedError. A connection that cannot be had, or was lost, is an ErrConnection. A rule of
// names or passwords that was broken is a Rule, whoever found it, and an ErrNameInvalid or an
// ErrPasswordPolicy. Where the last message of a change was sent and its answer did not come, and
// logging in did not tell either, it is ErrOutcomeUnknown. Changes are Register, Reset, ChangePassword,
// LogoutAll and Delete.
//
// A context that ends is an ErrConnection, too, which wraps the context's own error. Nothing is sent from
// then on: a change whose last message was not yet begun to be sent is not made. One that was is an
// ErrOutcomeUnknown besides, unless its answer is there already, which then counts. A password that is being
// stretched is not waited for: that goes on in the background, takes its memory until it is done, tenths of a
// second later, and comes to nothing.
package client
