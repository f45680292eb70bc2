package main

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/authsrv/authsrv/internal/account"
	"github.com/authsrv/authsrv/internal/admin"
)

const (
	// followEvery is how often --follow asks, and followBack how far back an event may still be new, or counted once more.
	followEvery = time.Second
	followBack  = 3 * time.Minute
	// maxCheckpoint is how long a file with a checkpoint may be, in bytes.
	maxCheckpoint = 4096

	auditHeader = "TIME                     KIND              OUTCOME         COUNT  ADDRESS          NAME"
)

func (p *program) auditCommand() *cli.Command {
	list := p.adminCommand("audit", "list what has happened, and verify that nothing is missing", "", 0, checkAudit, p.auditList,
		&cli.StringFlag{Name: "name", Usage: "only what is about the account `NAME`"},
		&cli.StringFlag{Name: "kind", Usage: "only events of `KIND`, such as login"},
		&cli.StringFlag{Name: "from", Usage: "only from `TIME` on: 2006-01-02, \"2006-01-02 15:04\" (UTC), RFC 3339, or 24h for a day ago"},
		&cli.StringFlag{Name: "until", Usage: "only before `TIME`"},
		&cli.IntFlag{Name: "limit", Usage: "list at most `N`, the oldest", DefaultText: "all"},
		&cli.BoolFlag{Name: "follow", Usage: "go on with what happens, while the server runs"},
	)
	list.UsageText = "authsrv audit [COMMAND] [flags]"
	list.Subcommands = []*cli.Command{
		p.adminCommand("verify", "find what was removed, changed, inserted or reordered", "", 0, checkAlone, p.auditVerify,
			&cli.StringFlag{Name: "checkpoint", Usage: "the chain must have grown from the checkpoint in `FILE`"}),
		p.adminCommand("checkpoint", "print a signed checkpoint, to be kept elsewhere", "", 0, checkAlone, p.auditCheckpoint),
	}
	for _, c := range list.Subcommands {
		c.UsageText = "authsrv audit " + c.Name + " [flags]"
	}
	return list
}

// checkAlone refuses flags before the last command word: they would be those of the list.
func checkAlone(c *cli.Context) error {
	if before := c.Lineage()[1].LocalFlagNames(); len(before) > 0 {
		return usage("flags follow the command %s: --%s", c.Command.Name, before[0])
	}
	return nil
}

func checkAudit(c *cli.Context) error {
	_, err := auditQuery(c)
	if limit := c.Int("limit"); err == nil && (limit < 0 || c.IsSet("limit") && limit == 0) {
		err = usage("--limit: %d is not a number from 1", limit)
	}
	if err == nil && c.Bool("follow") && (c.IsSet("limit") || c.IsSet("until")) {
		err = usage("--follow has no end: it can't be with --limit or --until")
	}
	return err
}

func auditQuery(c *cli.Context) (q admin.AuditQuery, err error) {
	q.Name, q.Kind = c.String("name"), c.String("kind")
	if q.Kind != "" && account.ParseKind(q.Kind) == 0 {
		return q, usage("--kind: there is no kind %q of events", q.Kind)
	}
	for name, at := range map[string]*time.Time{"from": &q.From, "until": &q.Until} {
		if text := c.String(name); text != "" {
			var ok bool
			if *at, ok = parseMoment(text, time.Now()); !ok {
				return q, usage("--%s: %q is not a time such as 2006-01-02, \"2006-01-02 15:04\" or 24h", name, text)
			}
		}
	}
	if !q.Until.IsZero() && q.From.After(q.Until) {
		return q, usage("--from is later than --until: nothing is between them")
	}
	return q, nil
}

// parseMoment reads a time, in UTC where it has no zone, or how long ago it is. What a list shows is one.
func parseMoment(text string, now time.Time) (time.Time, bool) {
	for _, layout := range []string{time.RFC3339, "2006-01-02", "2006-01-02 15:04", "2006-01-02 15:04:05"} {
		if t, err := time.Parse(layout, strings.TrimSuffix(text, " UTC")); err == nil {
			return t, true
		}
	}
	ago, err := time.ParseDuration(text)
	return now.Add(-ago), err == nil && ago >= 0
}

// auditLines prints events by their time. They come by their ids, and the id of a failure that may be repeated is the beginning of its minute.
type auditLines struct {
	out  io.Writer
	json bool
	left int                // how many are to be printed still; negative: all
	held []auditLine        // by time, and no more than are to be printed
	seen map[string]auditID // what was printed lately
}

type auditLine struct {
	text string
	time time.Time
}

type auditID struct {
	time  time.Time
	count uint32
}

// add takes the next event, unless it was printed with that count, and prints what nothing can precede any more.
func (l *auditLines) add(raw json.RawMessage) (id string, err error) {
	var e admin.AuditEvent
	if err := json.Unmarshal(raw, &e); err != nil {
		return "", err
	}
	if old, printed := l.seen[e.ID]; printed && old.count == e.Count {
		return e.ID, nil
	}
	if time.Since(e.Last) < followBack {
		l.seen[e.ID] = auditID{e.Last, e.Count}
	}
	line := auditLine{text: string(raw), time: e.Time}
	if !l.json {
		line.text = auditRow(&e)
	}
	at, _ := slices.BinarySearchFunc(l.held, line, func(a, b auditLine) int {
		if c := a.time.Compare(b.time); c != 0 {
			return c
		}
		return -1 // behind those of the same time
	})
	l.held = slices.Insert(l.held, at, line)
	if l.left >= 0 {
		l.held = l.held[:min(len(l.held), l.left)]
	}
	return e.ID, l.print(idTime(e.ID))
}

// idTime is the time that an id begins with.
func idTime(id string) time.Time {
	b, _ := hex.DecodeString(id)
	var ns int64
	for _, octet := range b[:min(8, len(b))] {
		ns = ns<<8 | int64(octet)
	}
	return time.Unix(0, ns)
}

// print prints what is held and not behind a time.
func (l *auditLines) print(until time.Time) error {
	for len(l.held) > 0 && !l.held[0].time.After(until) {
		if _, err := fmt.Fprintln(l.out, l.held[0].text); err != nil {
			return err
		}
		l.held = l.held[1:]
		if l.left > 0 {
			l.left--
		}
	}
	return nil
}

// flush prints all that is held, and forgets what can't come again.
func (l *auditLines) flush() error {
	for id, e := range l.seen {
		if time.Since(e.time) > followBack {
			delete(l.seen, id)
		}
	}
	if len(l.held) == 0 {
		return nil
	}
	return l.print(l.held[len(l.held)-1].time)
}

func auditRow(e *admin.AuditEvent) string {
	address := e.Address
	if address == "" {
		address = "-"
	}
	name := e.Name
	if quoted := strconv.Quote(name); quoted != `"`+name+`"` {
		name = quoted // whatever somebody has sent for one
	}
	if name == "" && e.Outcome == account.UnknownName.String() {
		name = "(unknown)"
	}
	return fmt.Sprintf("%s  %-16s  %-14s  %5d  %-15s  %s", e.Time.UTC().Format("2006-01-02 15:04:05 UTC"), e.Kind, e.Outcome, e.Count, address, name)
}

func (p *program) auditList(c *cli.Context, d admin.Doer) error {
	q, err := auditQuery(c)
	if err != nil {
		return err
	}
	if _, running := d.(*admin.Client); c.Bool("follow") && !running {
		return fail(exitLocal, "the server is not running: there is nothing to follow")
	}
	lines := &auditLines{out: p.stdout, json: c.Bool("json"), left: -1, seen: make(map[string]auditID)}
	if !lines.json {
		fmt.Fprintln(p.stdout, auditHeader)
	}
	if c.IsSet("limit") {
		lines.left = c.Int("limit")
	}
	if err := auditPages(c.Context, d, q, lines); err != nil || !c.Bool("follow") {
		return err
	}
	ticker := time.NewTicker(followEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
		case <-c.Context.Done():
			return c.Context.Err()
		}
		if recent := time.Now().Add(-followBack / 2); q.From.Before(recent) {
			q.From = recent
		}
		if err := auditPages(c.Context, d, q, lines); err != nil {
			return err
		}
	}
}

// auditPages prints the oldest events, as many as lines takes. Which those are shows only where the events behind them come: the first of a minute by its
// id is not the first by its time.
func auditPages(ctx context.Context, d admin.Doer, q admin.AuditQuery, lines *auditLines) error {
	q.Limit = listPage
	for {
		n := 0
		err := d.Do(ctx, admin.NewRequest("audit.list", q), func(result json.RawMessage) (err error) {
			n++
			q.After, err = lines.add(result)
			return err
		})
		if err != nil || n < q.Limit || lines.left == 0 {
			if printErr := lines.flush(); err == nil {
				err = printErr
			}
			return err
		}
	}
}

func (p *program) auditVerify(c *cli.Context, d admin.Doer) error {
	var check admin.AuditCheck
	if file := c.String("checkpoint"); file != "" {
		var err error
		if check.Checkpoint, err = readCheckpoint(file); err != nil {
			return err
		}
	}
	return d.Do(c.Context, admin.NewRequest("audit.verify", check), func(result json.RawMessage) error {
		if c.Bool("json") {
			fmt.Fprintf(p.stdout, "%s\n", result)
			return nil
		}
		var r admin.AuditReport
		if err := json.Unmarshal(result, &r); err != nil {
			return err
		}
		fmt.Fprintf(p.stdout, "the audit chain holds: links %d, events %d, and %d that are not chained yet\n", r.Links, r.Events, r.Unchained)
		if !r.Floor.IsZero() {
			fmt.Fprintf(p.stdout, "what was before %s is not kept any more\n", moment(r.Floor))
		}
		return nil
	})
}

func readCheckpoint(file string) (*account.AuditCheckpoint, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, local(err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxCheckpoint+1))
	if err != nil {
		return nil, local(err)
	}
	var checkpoint account.AuditCheckpoint
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&checkpoint); err != nil || len(text) > maxCheckpoint {
		return nil, fail(exitLocal, "%s is not a checkpoint", file)
	}
	return &checkpoint, nil
}

func (p *program) auditCheckpoint(c *cli.Context, d admin.Doer) error {
	return d.Do(c.Context, admin.NewRequest("audit.checkpoint", nil), func(result json.RawMessage) error {
		fmt.Fprintf(p.stdout, "%s\n", result)
		return nil
	})
}
