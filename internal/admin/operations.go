package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/authsrv/authsrv/internal/account"
	"github.com/authsrv/authsrv/internal/keyring"
)

// A Doer does operations: Operations itself, or a Client on behalf of another process. Each result is one JSON object, and an
// error of emit ends the operation. Other errors are of type *Error.
type Doer interface {
	Do(ctx context.Context, request json.RawMessage, emit func(json.RawMessage) error) error
}

// Operations is what the operations work on. What needs a part that is nil is unavailable.
type Operations struct {
	Accounts *account.Service
	Keys     *keyring.Ring // its identity signs checkpoints of the audit chain, and codes hold its hash
	Status   func(context.Context) (*Status, error)
	// Checkpoint copies the database into the folder "checkpoint" of the data folder.
	Checkpoint func(context.Context) (*Checkpoint, error)
	// Explain says for people what is wrong with the store, where that is why an operation fails; nil: the error itself does.
	Explain func(error) string
}

func (o *Operations) hasAccounts() bool { return o.Accounts != nil }
func (o *Operations) hasAudit() bool    { return o.hasKeys() }
func (o *Operations) hasStatus() bool   { return o.Status != nil }

// operation is a row of the table.
type operation struct {
	changes bool                   // something, so that it is logged
	able    func(*Operations) bool // whether what it needs is there
	run     func(o *Operations, ctx context.Context, params []byte, emit emitter) error
}

// emitter takes a result.
type emitter func(result any) error

// table has every operation by its name.
var table = map[string]operation{
	"status": {false, (*Operations).hasStatus, on((*Operations).status)},

	CheckpointOperation: {true, (*Operations).hasCheckpoint, on((*Operations).backupCheckpoint)},

	"user.list":    {false, (*Operations).hasAccounts, on((*Operations).userList)},
	"user.show":    {false, (*Operations).hasAccounts, on((*Operations).userShow)},
	"user.disable": {true, (*Operations).hasAccounts, on((*Operations).userDisable)},
	"user.enable":  {true, (*Operations).hasAccounts, on((*Operations).userEnable)},
	"user.unlock":  {true, (*Operations).hasAccounts, on((*Operations).userUnlock)},
	"user.delete":  {true, (*Operations).hasAccounts, on((*Operations).userDelete)},

	"user.reset":       {true, (*Operations).issues, on((*Operations).userReset)},
	"invite.create":    {true, (*Operations).issues, on((*Operations).inviteCreate)},
	"key.list":         {false, (*Operations).hasKeys, on((*Operations).keyList)},
	"key.rotate":       {true, (*Operations).hasKeys, on((*Operations).keyRotate)},
	"audit.list":       {false, (*Operations).hasAccounts, on((*Operations).auditList)},
	"audit.verify":     {false, (*Operations).hasAudit, on((*Operations).auditVerify)},
	"audit.checkpoint": {false, (*Operations).hasAudit, on((*Operations).auditCheckpoint)},

	"session.list":       {false, (*Operations).hasAccounts, on((*Operations).sessionList)},
	"session.revoke":     {true, (*Operations).hasAccounts, on((*Operations).sessionRevoke)},
	"session.revoke-all": {true, (*Operations).hasAccounts, on((*Operations).sessionRevokeAll)},
}

// on makes a row's function of one that takes its parameters as a struct.
func on[P any](f func(*Operations, context.Context, *P, emitter) error) func(*Operations, context.Context, []byte, emitter) error {
	return func(o *Operations, ctx context.Context, params []byte, emit emitter) error {
		var p P
		d := json.NewDecoder(bytes.NewReader(params))
		d.DisallowUnknownFields()
		if err := d.Decode(&p); err != nil {
			return badRequest("%v", err)
		}
		return f(o, ctx, &p, emit)
	}
}

// NewRequest makes a request of an operation's name and parameters: one of the structs of parameters here, or nil.
func NewRequest(op string, params any) json.RawMessage {
	fields := make(map[string]any)
	if params != nil {
		text, err := json.Marshal(params)
		if err == nil {
			err = json.Unmarshal(text, &fields)
		}
		if err != nil {
			panic(fmt.Sprintf("admin: parameters %T: %v", params, err)) // not a struct of this package
		}
	}
	fields["op"] = op
	text, _ := json.Marshal(fields) // of what was JSON before
	return text
}

// split takes a request apart. An operation that is not in the table is an error, but named.
func split(request []byte) (name string, row operation, params []byte, err error) {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(request, &fields); err != nil {
		return "", row, nil, badRequest("%v", err)
	}
	if err := json.Unmarshal(fields["op"], &name); err != nil {
		return "", row, nil, badRequest(`there is no text "op"`)
	}
	row, known := table[name]
	if !known {
		return name, row, nil, &Error{Code: CodeUnknownOperation, Message: fmt.Sprintf("this version has no operation %q", name)}
	}
	delete(fields, "op")
	params, err = json.Marshal(fields)
	return name, row, params, err
}

// Do implements Doer.
func (o *Operations) Do(ctx context.Context, request json.RawMessage, emit func(json.RawMessage) error) error {
	name, row, params, err := split(request)
	if err != nil {
		return explain(err)
	}
	if !row.able(o) {
		return &Error{Code: CodeUnavailable, Message: fmt.Sprintf("%s is not available here", name)}
	}
	var unsent error
	err = row.run(o, ctx, params, func(result any) error {
		text, err := json.Marshal(result)
		if err != nil {
			return err
		}
		unsent = emit(text)
		return unsent
	})
	if unsent != nil {
		return unsent
	}
	err = explain(err)
	var e *Error
	if o.Explain != nil && errors.As(err, &e) && e.Code == CodeStorage {
		return &Error{Code: CodeStorage, Message: o.Explain(e.err), err: e.err}
	}
	return err
}
