package admin

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"
	"time"

	"github.com/authsrv/authsrv/internal/account"
)

// Life is a parameter of what issues a code: how long it is good for, in seconds; 0: the default.
type Life struct {
	Life int64 `json:"life,omitempty"`
}

// NamedLife are the parameters of user.reset.
type NamedLife struct {
	Named
	Life
}

// Code is a code that was issued, as a result. It is a secret for one use: it is in no log, and can't be shown again.
type Code struct {
	Code    string    `json:"code"`
	Kind    string    `json:"kind"` // "invite" or "reset"
	Name    string    `json:"name,omitempty"`
	Expires time.Time `json:"expires"`
	// NotTaken is how accounts are registered, for an invite that the server that runs does not take that way: "closed" or "checked".
	NotTaken string `json:"not_taken,omitempty"`
}

func (o *Operations) issues() bool { return o.hasKeys() }

// identityHash is what codes hold of the server's identity.
func (o *Operations) identityHash() [32]byte {
	return sha256.Sum256(o.Keys.Identity().Public().(ed25519.PublicKey))
}

// duration is the life in time, where it is one that a code can have.
func (l Life) duration() (time.Duration, error) {
	if l.Life < 0 || l.Life > int64(account.MaxCodeLife/time.Second) {
		return 0, account.ErrCodeLife
	}
	return time.Duration(l.Life) * time.Second, nil
}

// issue emits the code that do makes.
func (o *Operations) issue(l Life, emit emitter, do func(life time.Duration) (account.Issued, error)) error {
	life, err := l.duration()
	identity := o.identityHash()
	var made account.Issued
	if err == nil {
		made, err = do(life)
	}
	if errors.Is(err, account.ErrCodeLife) {
		return badRequest("a code lives from %d to %d seconds", int(account.MinCodeLife.Seconds()), int(account.MaxCodeLife.Seconds()))
	}
	if err != nil {
		return err
	}
	defer made.Code.Destroy()
	if o.identityHash() != identity { // rotated meanwhile: the code is of the one before
		return &Error{Code: CodeInterrupted, Message: "the identity was rotated at this moment: try again"}
	}
	return emit(&Code{Code: made.Code.Text(), Kind: made.Code.Kind.String(), Name: made.Name, Expires: made.Expires.UTC()})
}

func (o *Operations) userReset(ctx context.Context, p *NamedLife, emit emitter) error {
	return unnamed(&p.Named, o.issue(p.Life, emit, func(life time.Duration) (account.Issued, error) {
		return o.Accounts.IssueReset(ctx, p.Name, o.identityHash(), life)
	}))
}

func (o *Operations) inviteCreate(ctx context.Context, p *Life, emit emitter) error {
	told := func(result any) error {
		switch made := result.(*Code); o.Accounts.Registration() {
		case account.RegistrationClosed:
			made.NotTaken = "closed"
		case account.RegistrationChecked:
			made.NotTaken = "checked"
		}
		return emit(result)
	}
	return o.issue(*p, told, func(life time.Duration) (account.Issued, error) {
		return o.Accounts.IssueInvite(ctx, o.identityHash(), life)
	})
}

// String does not show the code.
func (c Code) String() string { return fmt.Sprintf("%s until %v", c.Kind, c.Expires) }
