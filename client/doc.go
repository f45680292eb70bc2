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
// logging in did not tell either, it is ErrOutcomeUnknown.
package client
