package admin

import (
	"context"
	"encoding/hex"
	"errors"

	"github.com/authsrv/authsrv/internal/keyfile"
	"github.com/authsrv/authsrv/internal/keyring"
)

// KeyRotation are the parameters of key.rotate. What is secret among them goes through the socket alone, to who holds all keys anyway.
type KeyRotation struct {
	Kind        string `json:"kind"`
	Passphrase  []byte `json:"passphrase,omitempty"`   // of a key file that is sealed, in base64
	Next        string `json:"next,omitempty"`         // the seed of the next identity in hex, where the key file does not have it
	EndSessions bool   `json:"end_sessions,omitempty"` // token: and the old keys verify nothing any more
}

// KeyProgress is a result of key.rotate on its way.
type KeyProgress struct {
	Progress struct {
		Done  int `json:"done"`
		Total int `json:"total"`
	} `json:"progress"`
}

// KeyRotated is the last result of key.rotate.
type KeyRotated struct {
	Rotated *keyring.Rotated `json:"rotated"`
}

func (o *Operations) hasKeys() bool { return o.Accounts != nil && o.Keys != nil }

func (o *Operations) keyList(ctx context.Context, _ *struct{}, emit emitter) error {
	list, err := o.Keys.List(ctx)
	for i := range list {
		if err := emit(&list[i]); err != nil {
			return err
		}
	}
	return err
}

func (o *Operations) keyRotate(ctx context.Context, p *KeyRotation, emit emitter) error {
	options := keyring.Options{Passphrase: p.Passphrase, EndSessions: p.EndSessions}
	defer clear(p.Passphrase)
	next, err := hex.DecodeString(p.Next)
	switch {
	case err != nil || len(next) != 0 && len(next) != len(options.Next):
		return badRequest("next is not %d hexadecimal digits", 2*len(options.Next))
	case p.EndSessions && p.Kind != keyfile.KindToken:
		return badRequest("end_sessions is for the kind %q", keyfile.KindToken)
	case len(next) != 0 && p.Kind != keyfile.KindIdentity:
		return badRequest("next is for the kind %q", keyfile.KindIdentity)
	}
	copy(options.Next[:], next)
	var lost error // who asked is gone: the rotation is not
	done, err := o.Keys.Rotate(ctx, p.Kind, options, func(done, total int) {
		var at KeyProgress
		at.Progress.Done, at.Progress.Total = done, total
		if lost == nil {
			lost = emit(&at)
		}
	})
	if err != nil {
		return explainKeys(err)
	}
	return errors.Join(lost, emit(&KeyRotated{done}))
}

// keyFaults are the errors of the key file: what is to be done about them is in their text.
var keyFaults = []error{
	keyfile.ErrPassphraseNeeded, keyfile.ErrWrongPassphrase, keyfile.ErrNotSealed, keyfile.ErrCorrupt, keyfile.ErrNewer, keyfile.ErrNotFound,
	keyfile.ErrPermissions, keyring.ErrChanged, keyfile.ErrNoSuccessor, keyfile.ErrNextElsewhere, keyfile.ErrOtherSuccessor, keyfile.ErrLastEpoch,
}

func explainKeys(err error) error {
	switch {
	case errors.Is(err, keyring.ErrBusy):
		return &Error{Code: CodeBusy, Message: err.Error(), err: err}
	case errors.Is(err, keyring.ErrKind):
		return badRequest("%v", err)
	}
	for _, fault := range keyFaults {
		if errors.Is(err, fault) {
			return &Error{Code: CodeKeyFile, Message: err.Error(), err: err}
		}
	}
	return err
}
