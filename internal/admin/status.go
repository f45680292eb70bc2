package admin

import (
	"context"
	"time"
)

// Status is how a server is. Of one that is stopped there are only the version of who asks, and the folder.
type Status struct {
	Running     bool      `json:"running"`
	Version     string    `json:"version"`
	PID         int       `json:"pid,omitempty"`
	Started     time.Time `json:"started,omitzero"`
	Uptime      int64     `json:"uptime,omitempty"` // seconds
	Address     string    `json:"address,omitempty"`
	Connections *int      `json:"connections,omitempty"` // of clients, logged in or not
	LoggedIn    *int      `json:"logged_in,omitempty"`
	Penalized   *int      `json:"penalized,omitempty"` // networks that are cut off now
	CutOff      *uint64   `json:"cut_off,omitempty"`   // connections of such networks, since the start
	Data        string    `json:"data"`
	DataBytes   int64     `json:"data_bytes"`
}

func (o *Operations) status(ctx context.Context, _ *struct{}, emit emitter) error {
	s, err := o.Status(ctx)
	if err != nil {
		return internal(err)
	}
	return emit(s)
}
