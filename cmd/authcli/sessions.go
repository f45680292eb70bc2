package main

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"
)

func (r *request) sessions(ctx context.Context) error {
	s, err := r.resume(ctx)
	if err != nil {
		return err
	}
	defer s.Close()
	d := sessionsDocument{Sessions: []sessionEntry{}}
	for e, err := range s.Sessions(ctx) {
		if err != nil {
			return err
		}
		d.Sessions = append(d.Sessions, sessionEntry{
			e.ID.String(), e.Created.UTC(), e.LastUsed.UTC(), e.Expires.UTC(), clean(e.Address), e.Current,
		})
	}
	slices.SortFunc(d.Sessions, func(a, b sessionEntry) int {
		return cmp.Or(a.Created.Compare(b.Created), strings.Compare(a.ID, b.ID))
	})
	r.answer(d, "%s", sessionTable(d.Sessions))
	return nil
}

func sessionTable(sessions []sessionEntry) string {
	var text strings.Builder
	table := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "  ID\tCREATED\tLAST USED\tEXPIRES\tADDRESS")
	for _, e := range sessions {
		mark := " "
		if e.Current {
			mark = "*"
		}
		fmt.Fprintf(table, "%s %s\t%s\t%s\t%s\t%s\n", mark, e.ID, moment(e.Created), moment(e.LastUsed), moment(e.Expires), e.Address)
	}
	table.Flush()
	return trimLines(text.String())
}
