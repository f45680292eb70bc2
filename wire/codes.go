package wire

import "fmt"

// A Code says why something was refused or ended. It is an error, whose text is for people:
// this is the one table of both (PROTOCOL 12).
type Code uint16

// The codes.
const (
	CodeDenied             Code = 1
	CodeSessionExpired     Code = 2
	CodeSessionRevoked     Code = 3
	CodeSessionMalformed   Code = 4
	CodeRegistrationClosed Code = 5
	CodeNameTaken          Code = 6
	CodeNameInvalid        Code = 7
	CodePasswordPolicy     Code = 8
	CodePasswordNeeded     Code = 9
	CodeVersion            Code = 10
	CodeOverloaded         Code = 11
	CodeShuttingDown       Code = 12
	CodeIdle               Code = 13
	CodeLimit              Code = 14
	CodeInternal           Code = 15
	CodeLoggedOut          Code = 16
	CodeAccountDeleted     Code = 17
	CodeRecordRefused      Code = 18
	CodeBye                Code = 19
	CodeCodeRefused        Code = 20
	CodeInviteNeeded       Code = 21
)

var codes = [CodeInviteNeeded + 1]struct{ name, message string }{
	CodeDenied:             {"denied", "wrong name or password"},
	CodeSessionExpired:     {"session-expired", "the session has expired: log in again"},
	CodeSessionRevoked:     {"session-revoked", "the session was ended: log in again"},
	CodeSessionMalformed:   {"session-malformed", "the session is not valid for this server and device: log in again"},
	CodeRegistrationClosed: {"registration-closed", "this server does not take registrations"},
	CodeNameTaken:          {"name-taken", "this name is taken"},
	CodeNameInvalid:        {"name-invalid", "the name does not follow the rules"},
	CodePasswordPolicy:     {"password-policy", "the password does not follow the rules"},
	CodePasswordNeeded:     {"password-needed", "this server judges passwords itself, and must be sent yours to register"},
	CodeVersion:            {"version", "the server speaks another version of the protocol"},
	CodeOverloaded:         {"overloaded", "the server is busy: try again later"},
	CodeShuttingDown:       {"shutting-down", "the server is stopping"},
	CodeIdle:               {"idle", "the connection was idle for too long"},
	CodeLimit:              {"limit", "the connection reached one of its limits"},
	CodeInternal:           {"internal", "the server failed: try again later"},
	CodeLoggedOut:          {"logged-out", "logged out"},
	CodeAccountDeleted:     {"account-deleted", "the account was deleted"},
	CodeRecordRefused:      {"record-refused", "the server refused the new password's record"},
	CodeBye:                {"bye", "goodbye"},
	CodeCodeRefused:        {"code-refused", "the code is not valid, or not any more"},
	CodeInviteNeeded:       {"invite-needed", "this server takes registrations with an invite only"},
}

func (c Code) known() bool { return int(c) < len(codes) && codes[c].name != "" }

// Name returns the code's name, as in PROTOCOL 12: for logs and for programs.
func (c Code) Name() string {
	if c.known() {
		return codes[c].name
	}
	return fmt.Sprintf("code-%d", uint16(c))
}

// Error returns the code's message for people.
func (c Code) Error() string {
	if c.known() {
		return codes[c].message
	}
	return fmt.Sprintf("the server answered with code %d, which this version does not know", uint16(c))
}
