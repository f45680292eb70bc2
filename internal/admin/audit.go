package admin

import (
	"context"
	"crypto/ed25519"
	"encoding/hex"
	"time"

	"github.com/authsrv/authsrv/internal/account"
)

// AuditQuery are the parameters of audit.list: which events, and a page of them. Absent ones are no bound.
type AuditQuery struct {
	Name  string    `json:"name,omitempty"`
	Kind  string    `json:"kind,omitempty"`
	From  time.Time `json:"from,omitzero"`
	Until time.Time `json:"until,omitzero"`
	Page
}

// AuditEvent is an event, as a result. A list is by ascending id, which is by time but for the minute of a repeated failure: that has
// the id of its beginning.
type AuditEvent struct {
	ID      string    `json:"id"`
	Time    time.Time `json:"time"`
	Last    time.Time `json:"last"`  // of a failure that was repeated within a minute; else as time
	Count   uint32    `json:"count"` // of it
	Kind    string    `json:"kind"`
	Outcome string    `json:"outcome"`
	Name    string    `json:"name"`
	Account string    `json:"account,omitempty"`
	Session string    `json:"session,omitempty"`
	Address string    `json:"address,omitempty"`
}

// AuditCheck are the parameters of audit.verify. With a checkpoint, the chain is held against that too.
type AuditCheck struct {
	Checkpoint *account.AuditCheckpoint `json:"checkpoint,omitempty"`
}

// AuditReport is the result of audit.verify where nothing is wrong; else the error has the code audit-broken.
type AuditReport struct {
	Links     int       `json:"links"`
	Events    int       `json:"events"`    // that are chained
	Unchained int       `json:"unchained"` // that are too new for that
	Floor     time.Time `json:"floor,omitzero"`
	Until     time.Time `json:"until,omitzero"`
}

func idText(id account.ID) string {
	if id == (account.ID{}) {
		return ""
	}
	return hex.EncodeToString(id[:])
}

func auditEventOf(e *account.Event) *AuditEvent {
	r := &AuditEvent{
		ID: hex.EncodeToString(e.ID[:]), Time: e.Time.UTC(), Last: e.Last.UTC(), Count: e.Count, Kind: e.Kind.String(), Outcome: e.Outcome.String(),
		Name: e.Name, Account: idText(e.Account), Session: idText(e.Session),
	}
	if e.Address.IsValid() {
		r.Address = e.Address.String()
	}
	return r
}

func (o *Operations) auditList(ctx context.Context, p *AuditQuery, emit emitter) error {
	q := account.EventQuery{Name: p.Name, Kind: account.ParseKind(p.Kind), From: p.From, Until: p.Until}
	if p.Kind != "" && q.Kind == 0 {
		return badRequest("there is no kind %q", p.Kind)
	}
	return list(&p.Page, func(after account.ID, limit int) ([]account.Event, bool, error) {
		return o.Accounts.Events(ctx, q, after, limit)
	}, func(e *account.Event) (account.ID, error) { return e.ID, emit(auditEventOf(e)) })
}

func (o *Operations) auditVerify(ctx context.Context, p *AuditCheck, emit emitter) error {
	if p.Checkpoint != nil {
		if err := o.Accounts.HoldCheckpoint(ctx, p.Checkpoint, o.signerOf(p.Checkpoint)); err != nil {
			return err
		}
	}
	r, err := o.Accounts.VerifyAudit(ctx)
	if err != nil {
		return err
	}
	return emit(&AuditReport{r.Links, r.Events, r.Unchained, r.Floor.UTC(), r.Until.UTC()})
}

// signerOf returns who must have signed a checkpoint: the server's identity, or the one that it names if it was the server's then.
func (o *Operations) signerOf(c *account.AuditCheckpoint) ed25519.PublicKey {
	if named, err := hex.DecodeString(c.Identity); err == nil && o.Keys.FormerIdentity(named, c.Time) {
		return named
	}
	return o.Keys.Identity().Public().(ed25519.PublicKey)
}

func (o *Operations) auditCheckpoint(ctx context.Context, _ *struct{}, emit emitter) error {
	c, err := o.Accounts.AuditCheckpoint(ctx, o.Keys.Identity())
	if err != nil {
		return err
	}
	return emit(c)
}
