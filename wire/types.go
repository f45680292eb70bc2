package wire

import "fmt"

// A Type is the first byte of every message.
type Type uint8

// The catalogue of messages (PROTOCOL 7 and 8), with the fields behind the type byte.
// Every message from 0x10 on begins with a request id of 4 bytes.
const (
	TypeServerHello      Type = 0x01 // version 1, highest 1, suite 1, realm 16, identity 32, next 32, certificate 84, time 8, idle 4, life 4, session 4, features 4
	TypeAuthStart        Type = 0x02 // purpose 1, method 1, offered 1+, lifetime 4, name 1+, client nonce 32, token 2+
	TypeChallenge        Type = 0x03 // server nonce 32, salt 16, kdf 10, ttl 2
	TypeProof            Type = 0x04 // proof 64
	TypeWelcome          Type = 0x05 // confirm 32, account 16, session 16, expires 8, name 1+, token 2+, resume key 1+
	TypeDenied           Type = 0x07 // code 2, rule 1, retry after 4
	TypeRegisterParams   Type = 0x08 // server nonce 32, salt 16, kdf 10, ttl 2, policy 6
	TypeRegisterFinish   Type = 0x09 // kdf 10, A 32, k_srv 32, signature 64, code proof 1+
	TypeRegisterPassword Type = 0x0a // password 2+
	TypeRegistered       Type = 0x0b // confirm 1+
	TypeResetFinish      Type = 0x0c // kdf 10, A 32, k_srv 32, new-key proof 64, code proof 64
	TypeResetDone        Type = 0x0d // confirm 32

	TypeGoodbye         Type = 0x10 // code 2
	TypeBye             Type = 0x11 // –
	TypeRefused         Type = 0x12 // code 2, rule 1, retry after 4
	TypeDone            Type = 0x13 // –
	TypeWhoAmI          Type = 0x20 // –
	TypeAccount         Type = 0x21 // account 16, name 1+, created 8, session 16, expires 8
	TypeList            Type = 0x22 // –
	TypeListing         Type = 0x23 // count 2, names 1+
	TypeListSessions    Type = 0x24 // after 16
	TypeSessionList     Type = 0x25 // more 1, count 2, sessions
	TypeLogout          Type = 0x26 // –
	TypeOpStart         Type = 0x30 // operation 1, client nonce 32
	TypeOpChallenge     Type = 0x31 // server nonce 32, salt 16, kdf 10, new kdf 10, ttl 2, policy 6
	TypeChangePassword  Type = 0x32 // kdf 10, A 32, k_srv 32, new-key proof 64, proof 64
	TypePasswordChanged Type = 0x33 // session 16, expires 8, token 2+, resume key 1+
	TypeDeleteAccount   Type = 0x34 // proof 64
	TypeRevokeAll       Type = 0x35 // proof 64
)

// Sizes of padded messages, in bytes.
const (
	ServerHelloSize      = 352
	AuthStartSize        = 1024
	RegisterPasswordSize = 2048
	challengeSize        = 512  // what is computed with: Challenge, Proof, RegisterParams, RegisterFinish, ResetFinish
	answerSize           = 1024 // what ends an attempt: Welcome, Denied, Registered, ResetDone
)

// types is indexed by Type. A size of 0 is a message that is not padded; no name, no such message.
var types = [TypeRevokeAll + 1]struct {
	name       string
	fromClient bool
	size       int
}{
	TypeServerHello:      {"ServerHello", false, ServerHelloSize},
	TypeAuthStart:        {"AuthStart", true, AuthStartSize},
	TypeChallenge:        {"Challenge", false, challengeSize},
	TypeProof:            {"Proof", true, challengeSize},
	TypeWelcome:          {"Welcome", false, answerSize},
	TypeDenied:           {"Denied", false, answerSize},
	TypeRegisterParams:   {"RegisterParams", false, challengeSize},
	TypeRegisterFinish:   {"RegisterFinish", true, challengeSize},
	TypeRegisterPassword: {"RegisterPassword", true, RegisterPasswordSize},
	TypeRegistered:       {"Registered", false, answerSize},
	TypeResetFinish:      {"ResetFinish", true, challengeSize},
	TypeResetDone:        {"ResetDone", false, answerSize},
	TypeGoodbye:          {"Goodbye", false, 0},
	TypeBye:              {"Bye", true, 0},
	TypeRefused:          {"Refused", false, 0},
	TypeDone:             {"Done", false, 0},
	TypeWhoAmI:           {"WhoAmI", true, 0},
	TypeAccount:          {"Account", false, 0},
	TypeList:             {"List", true, 0},
	TypeListing:          {"Listing", false, 0},
	TypeListSessions:     {"ListSessions", true, 0},
	TypeSessionList:      {"SessionList", false, 0},
	TypeLogout:           {"Logout", true, 0},
	TypeOpStart:          {"OpStart", true, 0},
	TypeOpChallenge:      {"OpChallenge", false, 0},
	TypeChangePassword:   {"ChangePassword", true, 0},
	TypePasswordChanged:  {"PasswordChanged", false, 0},
	TypeDeleteAccount:    {"DeleteAccount", true, 0},
	TypeRevokeAll:        {"RevokeAll", true, 0},
}

func (t Type) known() bool { return int(t) < len(types) && types[t].name != "" }

// size returns the length of a padded message, and 0 where messages of the type are not padded.
func (t Type) size() int {
	if t.known() {
		return types[t].size
	}
	return 0
}

func (t Type) String() string {
	if t.known() {
		return types[t].name
	}
	return fmt.Sprintf("Type(0x%02x)", uint8(t))
}

// TypeOf returns the type of the message b, or 0 where b is empty.
func TypeOf(b []byte) Type {
	if len(b) == 0 {
		return 0
	}
	return Type(b[0])
}
