package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"slices"
	"time"

	"github.com/authsrv/authsrv/wire"
)

// A pipe is a connection on which requests can be sent before the answers to earlier ones have come.
type pipe interface {
	send(n int) error
	receive(n int) error
	io.Closer
}

// A requestPeer is a way to make small requests.
type requestPeer struct {
	of                    string // the name of the peer, for --only
	title                 string
	connections, inFlight int
	start                 func(ctx context.Context, env *environment) (*running, func(worker int) (pipe, error), error)
}

// requestPeers are compared as logins are: a check of an encrypted session, with what revoked it honoured, beside a look-up in memory.
func requestPeers(peers []*peer) []*requestPeer {
	who := func(title string, connections, inFlight int) *requestPeer {
		return &requestPeer{"authsrv", "authsrv, who am I, " + title, connections, inFlight, func(ctx context.Context, env *environment) (*running, func(int) (pipe, error), error) {
			r, err := peers[slices.IndexFunc(peers, func(p *peer) bool { return p.name == "authsrv" })].start(ctx, env)
			if err != nil {
				return nil, nil, err
			}
			return r, func(worker int) (pipe, error) { return whoPipe(r, worker) }, nil
		}}
	}
	get := func(title string, connections, inFlight int) *requestPeer {
		return &requestPeer{"redis", "Redis, GET, not encrypted, " + title, connections, inFlight, startRedis}
	}
	return []*requestPeer{
		who("1 connection, 256 in flight", 1, 256),
		who("50 connections, 1 in flight", 50, 1),
		who("50 connections, 16 in flight", 50, 16),
		get("1 connection, 256 in flight", 1, 256),
		get("50 connections, 1 in flight", 50, 1),
		get("50 connections, 16 in flight", 50, 16),
	}
}

// A requestTurn is what was measured of small requests in one round.
type requestTurn struct {
	Rate float64 `json:"requests_per_s"`
	CPU  float64 `json:"server_cpu_us"` // a request
	P50  float64 `json:"p50_ms"`        // with 1 in flight; else 0
	P99  float64 `json:"p99_ms"`
}

// A requestRow is a way to make requests with all its turns.
type requestRow struct {
	Name   string        `json:"name"`
	Title  string        `json:"title"`
	Why    string        `json:"missing,omitempty"`
	Turns  []requestTurn `json:"turns,omitempty"`
	Median requestTurn   `json:"median"`
}

func (p *requestPeer) take(ctx context.Context, env *environment, d time.Duration) (t *requestTurn, err error) {
	r, connect, err := p.start(ctx, env)
	if err != nil {
		return nil, err
	}
	defer func() {
		if stopped := r.Stop(); err == nil {
			err = stopped
		}
	}()
	pipes := make([]pipe, p.connections)
	defer func() {
		for _, c := range pipes {
			if c != nil {
				_ = c.Close() // with answers under way
			}
		}
	}()
	batch := max(1, p.inFlight/2)
	for w := range pipes {
		c, err := connect(w)
		if err != nil {
			return nil, r.fault(err)
		}
		pipes[w] = c
		if err := c.send(p.inFlight - batch); err != nil { // from here on between a half of them and all are under way
			return nil, r.fault(err)
		}
	}
	do := func(worker int) error {
		if err := pipes[worker].send(batch); err != nil {
			return err
		}
		return pipes[worker].receive(batch)
	}
	if _, err := closed(ctx, p.connections, d/4, do); err != nil { // warm
		return nil, r.fault(err)
	}
	load, cpu, err := charged(ctx, r.process, func() (*sample, error) { return closed(ctx, p.connections, d, do) })
	if err != nil {
		return nil, r.fault(err)
	}
	t = &requestTurn{Rate: load.rate() * float64(batch), CPU: cpu.Seconds() * 1e6 / float64(load.done) / float64(batch)}
	if p.inFlight == 1 {
		t.P50, t.P99 = ms(percentile(load.latency, 50)), ms(percentile(load.latency, 99))
	}
	return t, nil
}

// compareRequests lets them take their turns as compare does.
func compareRequests(ctx context.Context, env *environment, plan *plan, peers []*requestPeer, progress io.Writer) ([]*requestRow, error) {
	var rows []*requestRow
	for _, p := range peers {
		rows = append(rows, &requestRow{Name: p.of, Title: p.title})
	}
	for round := range plan.rounds {
		for i, p := range peers {
			if rows[i].Why != "" {
				continue
			}
			t, err := p.take(ctx, env, plan.time)
			if ctx.Err() != nil {
				return nil, context.Cause(ctx)
			}
			if err != nil {
				rows[i].Why, rows[i].Turns = why(err), nil
				fmt.Fprintf(progress, "round %d: %s: %s\n", round+1, p.title, rows[i].Why)
				continue
			}
			rows[i].Turns = append(rows[i].Turns, *t)
			fmt.Fprintf(progress, "round %d: %s: %.0f requests/s, %.2f µs\n", round+1, p.title, t.Rate, t.CPU)
		}
	}
	for _, r := range rows {
		of := func(field func(*requestTurn) *float64) {
			var all []float64
			for i := range r.Turns {
				all = append(all, *field(&r.Turns[i]))
			}
			*field(&r.Median) = median(all)
		}
		of(func(t *requestTurn) *float64 { return &t.Rate })
		of(func(t *requestTurn) *float64 { return &t.CPU })
		of(func(t *requestTurn) *float64 { return &t.P50 })
		of(func(t *requestTurn) *float64 { return &t.P99 })
	}
	return rows, nil
}

func requestTable(rows []*requestRow) string {
	t := newTable("small requests", "requests/s", "server CPU a request", "p50", "p99")
	for _, r := range rows {
		if r.Why != "" {
			t.add(r.Title, r.Why)
			continue
		}
		t.add(r.Title, number(r.Median.Rate), unit(r.Median.CPU, "µs"), unit(r.Median.P50, "ms"), unit(r.Median.P99, "ms"))
	}
	return t.String()
}

// A corked is a connection that gathers what is written until it is let go, and reads ahead: as a client does that pipelines.
type corked struct {
	net.Conn
	in  *bufio.Reader
	out []byte
	on  bool
}

func (c *corked) Read(p []byte) (int, error) { return c.in.Read(p) }

func (c *corked) Write(p []byte) (int, error) {
	if !c.on {
		return c.Conn.Write(p)
	}
	c.out = append(c.out, p...)
	return len(p), nil
}

func (c *corked) uncork() error {
	c.on = false
	_, err := c.Conn.Write(c.out)
	c.out = c.out[:0]
	return err
}

// A whoami asks who it is.
type whoami struct {
	*connection
	cork           *corked
	name           string
	sent, received uint32
	message        []byte
}

func whoPipe(r *running, worker int) (pipe, error) {
	w := &whoami{}
	u := r.crowd.users[worker%len(r.crowd.users)]
	var err error
	w.connection, err = r.crowd.login(worker, u, func(c net.Conn) net.Conn {
		w.cork = &corked{Conn: c, in: bufio.NewReaderSize(c, 64<<10)}
		return w.cork
	})
	if err != nil {
		return nil, err
	}
	w.name = u.name
	return w, nil
}

func (w *whoami) send(n int) error {
	w.cork.on = true
	for range n {
		w.sent = w.sent%(1<<31) + 1
		w.message = wire.Plain{Type: wire.TypeWhoAmI, ID: w.sent}.AppendTo(w.message[:0])
		if err := w.noise.WriteMessage(w.message); err != nil {
			return err
		}
	}
	return w.cork.uncork()
}

func (w *whoami) receive(n int) error {
	for range n {
		b, err := w.noise.ReadMessage(wire.MaxSessionFrame)
		if err != nil {
			return err
		}
		a, err := wire.ParseAccount(b)
		if err != nil {
			return fmt.Errorf("%v, not an Account: %w", wire.TypeOf(b), err)
		}
		w.received = w.received%(1<<31) + 1
		if a.ID != w.received || string(a.Name) != w.name {
			return fmt.Errorf("the answer %d for %s, not %d for %s", a.ID, a.Name, w.received, w.name)
		}
	}
	return nil
}

// startRedis starts a server that keeps nothing on disk.
func startRedis(ctx context.Context, env *environment) (*running, func(int) (pipe, error), error) {
	program, err := exec.LookPath("redis-server")
	if err != nil {
		return nil, nil, &errMissing{"apt-get install redis-server"}
	}
	address, port, err := freeAddress()
	if err != nil {
		return nil, nil, err
	}
	dir, err := os.MkdirTemp(env.dir, "redis-")
	if err != nil {
		return nil, nil, err
	}
	p, err := launch(env.dir, "redis", exec.Command(program, "--bind", "127.0.0.1", "--port", port, "--protected-mode", "no", "--save", "", "--appendonly", "no", "--dir", dir))
	if err != nil {
		return nil, nil, err
	}
	if err := p.connectable(ctx, address); err != nil {
		return nil, nil, errors.Join(err, p.Stop())
	}
	return &running{process: p}, func(worker int) (pipe, error) { return newRedisPipe(worker, address) }, nil
}

// A redisPipe gets a value of 64 bytes, as long as an Account.
type redisPipe struct {
	net.Conn
	in  *bufio.Reader
	out []byte
}

const (
	redisValue  = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
	redisGet    = "*2\r\n$3\r\nGET\r\n$5\r\nbench\r\n"
	redisAnswer = "$64\r\n" + redisValue + "\r\n"
	redisSet    = "*3\r\n$3\r\nSET\r\n$5\r\nbench\r\n" + redisAnswer
)

func newRedisPipe(worker int, address string) (pipe, error) {
	c, err := dial(worker, address)
	if err != nil {
		return nil, err
	}
	p := &redisPipe{Conn: c, in: bufio.NewReaderSize(c, 64<<10)}
	if _, err := io.WriteString(c, redisSet); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	if line, err := p.in.ReadString('\n'); err != nil || line != "+OK\r\n" {
		return nil, errors.Join(fmt.Errorf("redis: %q", line), err, c.Close())
	}
	return p, nil
}

func (p *redisPipe) send(n int) error {
	p.out = p.out[:0]
	for range n {
		p.out = append(p.out, redisGet...)
	}
	_, err := p.Write(p.out)
	return err
}

func (p *redisPipe) receive(n int) error {
	for range n {
		b, err := p.in.Peek(len(redisAnswer))
		if err != nil {
			return err
		}
		if string(b) != redisAnswer {
			return fmt.Errorf("redis: %q", b)
		}
		if _, err := p.in.Discard(len(b)); err != nil {
			return err
		}
	}
	return nil
}

// requestPanel is the plot of the table.
func requestPanel(rows []*requestRow) panel {
	p := panel{title: "server CPU time a small request", unit: "µs", log: true}
	for _, r := range rows {
		if r.Why == "" {
			p.bars = append(p.bars, bar{r.Title, r.Median.CPU, r.Name == "authsrv"})
		}
	}
	return p
}
