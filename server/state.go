package server

import "github.com/authsrv/authsrv/wire"

// state is where a connection is (PROTOCOL 9).
type state uint8

const (
	start state = iota
	challenged
	registering
	checking
	resetting
	ready
	closed
)

var stateNames = [...]string{"Start", "Challenged", "Registering", "Checking", "Resetting", "Ready", "Closed"}

func (s state) String() string { return stateNames[s] }

// frameCap is the cap on the next frame's body in each state.
var frameCap = [...]int{
	start:       wire.MaxLoginFrame,
	challenged:  wire.MaxLoginFrame,
	registering: wire.MaxLoginFrame,
	checking:    wire.MaxCheckingFrame,
	resetting:   wire.MaxLoginFrame,
	ready:       wire.MaxSessionFrame,
}

// event is what a message is to the state table. Purpose and method are those of an AuthStart.
type event struct {
	wire.Type
	purpose wire.Purpose
	method  wire.Method
}

// transition is one row: what handles the event, and the state after an answer and after a refusal.
type transition struct {
	handle      handler
	then, other state
}

// transitions is the table of PROTOCOL 9. An event without a row closes the connection.
var transitions = map[state]map[event]transition{
	start: {
		{wire.TypeAuthStart, wire.PurposeLogin, wire.MethodPassword}:    {on(wire.ParseAuthStart, (*session).beginLogin), challenged, start},
		{wire.TypeAuthStart, wire.PurposeSession, wire.MethodNone}:      {on(wire.ParseAuthStart, (*session).resume), ready, start},
		{wire.TypeAuthStart, wire.PurposeRegister, wire.MethodPassword}: {on(wire.ParseAuthStart, (*session).beginRegister), registering, start},
		{wire.TypeAuthStart, wire.PurposeRegister, wire.MethodChecked}:  {on(wire.ParseAuthStart, (*session).beginRegister), checking, start},
		{wire.TypeAuthStart, wire.PurposeReset, wire.MethodCode}:        {on(wire.ParseAuthStart, (*session).beginReset), resetting, start},
	},
	challenged: {
		{Type: wire.TypeProof}: {on(wire.ParseProof, (*session).finishLogin), ready, start},
	},
	registering: {
		{Type: wire.TypeRegisterFinish}: {on(wire.ParseRegisterFinish, (*session).finishRegister), start, start},
	},
	checking: {
		{Type: wire.TypeRegisterPassword}: {on(wire.ParseRegisterPassword, (*session).finishRegisterChecked), start, start},
	},
	resetting: {
		{Type: wire.TypeResetFinish}: {on(wire.ParseResetFinish, (*session).finishReset), start, start},
	},
	ready: {
		{Type: wire.TypeWhoAmI}:         {on(plain(wire.TypeWhoAmI), (*session).whoAmI), ready, ready},
		{Type: wire.TypeList}:           {on(plain(wire.TypeList), (*session).list), ready, ready},
		{Type: wire.TypeListSessions}:   {on(wire.ParseListSessions, (*session).listSessions), ready, ready},
		{Type: wire.TypeLogout}:         {on(plain(wire.TypeLogout), (*session).logout), closed, ready},
		{Type: wire.TypeOpStart}:        {on(wire.ParseOpStart, (*session).beginOperation), ready, ready},
		{Type: wire.TypeChangePassword}: {on(wire.ParseChangePassword, (*session).changePassword), ready, ready},
		{Type: wire.TypeDeleteAccount}:  {on(proved(wire.TypeDeleteAccount), (*session).deleteAccount), closed, ready},
		{Type: wire.TypeRevokeAll}:      {on(proved(wire.TypeRevokeAll), (*session).revokeAll), closed, ready},
		{Type: wire.TypeBye}:            {on(plain(wire.TypeBye), (*session).bye), closed, closed},
	},
}

// atHand are the requests that are answered from memory. Answers that wait to leave together wait for theirs and for the check of their session, but
// for no other's.
var atHand = map[wire.Type]bool{wire.TypeWhoAmI: true, wire.TypeList: true}

func plain(t wire.Type) func([]byte) (wire.Plain, error) {
	return func(b []byte) (wire.Plain, error) { return wire.ParsePlain(b, t) }
}

func proved(t wire.Type) func([]byte) (wire.ProvedOp, error) {
	return func(b []byte) (wire.ProvedOp, error) { return wire.ParseProvedOp(b, t) }
}
