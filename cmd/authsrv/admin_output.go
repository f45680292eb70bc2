package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/authsrv/authsrv/internal/admin"
)

// reportJSON shows an error to a program, in the form that authcli's have.
func reportJSON(w io.Writer, exit int, err error) {
	type document struct {
		Code    string `json:"code"`
		Message string `json:"message"`
		Exit    int    `json:"exit"`
	}
	d := document{Code: "refused", Message: oneLine(err), Exit: exit}
	var e *admin.Error
	switch {
	case errors.As(err, &e):
		d.Code = e.Code
	case exit == exitUsage:
		d.Code = "usage"
	case exit == exitConnection:
		d.Code = "no-connection"
	case exit == exitInterrupted:
		d.Code = "interrupted"
	case exit == exitStorage:
		d.Code = admin.CodeStorage
	case exit == exitBusy:
		d.Code = admin.CodeBusy
	}
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	_ = encoder.Encode(map[string]document{"error": d})
}

// The tables have columns of fixed width, with what has none last, since they are printed while they come.
const (
	userHeader    = "ID                                CREATED               STATE     NAME"
	sessionHeader = "ID                                CREATED               LAST USED             EXPIRES               ADDRESS"
)

// moment is a time as a person reads it, in UTC as all that authcli and the log show.
func moment(t time.Time) string { return t.UTC().Format("2006-01-02 15:04 UTC") }

func userRow(u *admin.User) string {
	return fmt.Sprintf("%-32s  %s  %-8s  %s", u.ID, moment(u.Created), userState(u), u.Name)
}

func userState(u *admin.User) string {
	switch {
	case u.Disabled:
		return "disabled"
	case u.Locked:
		return "locked"
	case u.Wait > 0:
		return "waiting"
	}
	return "active"
}

func sessionRow(s *admin.Session) string {
	return fmt.Sprintf("%-32s  %s  %s  %s  %s", s.ID, moment(s.Created), moment(s.LastUsed), moment(s.Expires), s.Address)
}

func describeUser(u *admin.User) string {
	var text strings.Builder
	fmt.Fprintf(&text, "name: %s\nid: %s\nstate: %s\ncreated: %s\npassword of: %s\n",
		u.Name, u.ID, userState(u), moment(u.Created), moment(u.Changed))
	if u.Sessions != nil {
		more := ""
		if u.MoreSessions {
			more = " and more"
		}
		fmt.Fprintf(&text, "sessions: %d%s\n", *u.Sessions, more)
	}
	fmt.Fprintf(&text, "failed logins: %d", u.Failures)
	switch {
	case u.Locked:
		text.WriteString(", too many in a row: locked until it is unlocked, or a known device logs in")
	case u.Wait > 0:
		fmt.Fprintf(&text, ", the next one can succeed in %v", time.Duration(u.Wait)*time.Second)
	}
	return text.String()
}

func describeStatus(s *admin.Status) string {
	var text strings.Builder
	if s.Running {
		fmt.Fprintf(&text, "running: yes, for %v\n", time.Duration(s.Uptime)*time.Second)
	} else {
		text.WriteString("running: no\n")
	}
	fmt.Fprintf(&text, "version: %s\n", s.Version)
	if s.Running {
		fmt.Fprintf(&text, "process: %d\naddress: %s\n", s.PID, s.Address)
	}
	if s.Connections != nil {
		fmt.Fprintf(&text, "connections: %d\n", *s.Connections)
	}
	if s.LoggedIn != nil {
		fmt.Fprintf(&text, "logged in: %d\n", *s.LoggedIn)
	}
	if s.Penalized != nil && s.CutOff != nil {
		fmt.Fprintf(&text, "networks cut off: %d now, %d connections since the start\n", *s.Penalized, *s.CutOff)
	}
	fmt.Fprintf(&text, "data folder: %s\nsize: %s\n", s.Data, byteCount(s.DataBytes))
	return text.String()
}

func byteCount(n int64) string {
	if n < 1024 {
		return fmt.Sprintf("%d bytes", n)
	}
	size, units := float64(n)/1024, "KMGT"
	for size >= 1024 && len(units) > 1 {
		size, units = size/1024, units[1:]
	}
	return fmt.Sprintf("%.1f %ciB", size, units[0])
}
