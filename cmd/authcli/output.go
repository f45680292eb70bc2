package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode"
)

// answer prints what a command has to say: a document for a program, or text for a person.
func (p *program) answer(document any, format string, args ...any) {
	if p.json {
		p.encode(p.stdout, document)
		return
	}
	fmt.Fprintf(p.stdout, format, args...)
}

func (p *program) encode(w io.Writer, document any) {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	_ = e.Encode(document) // the documents are all of strings, numbers and times; a failed write is kept by w
}

// clean is a text from elsewhere that is safe to show: what could steer a terminal, or is not UTF-8, becomes a question mark.
func clean(text string) string {
	return strings.Map(func(r rune) rune {
		if r == unicode.ReplacementChar || !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, text)
}

// moment is a time as a person reads it.
func moment(t time.Time) string { return t.UTC().Format("2006-01-02 15:04 UTC") }

// The documents that commands answer with, as in doc.go.

type accountDocument struct {
	Name   string `json:"name"`
	Server string `json:"server"`
}

type sessionDocument struct {
	accountDocument
	Expires time.Time `json:"expires"`
}

type logoutDocument struct {
	accountDocument
	All bool `json:"all"`
}

type whoamiDocument struct {
	Name      string    `json:"name"`
	AccountID string    `json:"account_id"`
	Created   time.Time `json:"created"`
	SessionID string    `json:"session_id"`
	Expires   time.Time `json:"expires"`
	Server    string    `json:"server"`
}

type listDocument struct {
	Entries []string `json:"entries"`
}

type sessionsDocument struct {
	Sessions []sessionEntry `json:"sessions"`
}

type sessionEntry struct {
	ID       string    `json:"id"`
	Created  time.Time `json:"created"`
	LastUsed time.Time `json:"last_used"`
	Expires  time.Time `json:"expires"`
	Address  string    `json:"address"`
	Current  bool      `json:"current"`
}

type trustDocument struct {
	Servers []trustEntry `json:"servers"`
}

type trustEntry struct {
	Address     string    `json:"address"`
	Fingerprint string    `json:"fingerprint"`
	Pinned      bool      `json:"pinned"`
	Default     bool      `json:"default"`
	FirstSeen   time.Time `json:"first_seen,omitzero"`
}

type addressDocument struct {
	Address string `json:"address"`
}

type versionDocument struct {
	Version string `json:"version"`
}

// trimLines takes the white space from the ends of lines, which the last column of a table can leave.
func trimLines(text string) string {
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		lines[i] = strings.TrimRight(line, " ")
	}
	return strings.Join(lines, "\n")
}
