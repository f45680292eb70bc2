package main

import (
	"context"
	"log/slog"
	"net"
	"os"
	"strconv"
	"time"
)

// notifier tells the service manager how the server is, by the protocol of sd_notify(3). Where there is no manager it tells nobody.
type notifier struct {
	conn net.Conn // nil: no manager
	log  *slog.Logger
}

func newNotifier(log *slog.Logger) *notifier {
	n := &notifier{log: log}
	if socket := os.Getenv("NOTIFY_SOCKET"); socket != "" {
		conn, err := net.Dial("unixgram", socket) // a name that begins with @ is an abstract one
		if err != nil {
			log.Warn("the service manager can't be told anything", "error", err)
			return n
		}
		n.conn = conn
	}
	return n
}

func (n *notifier) tell(state string) {
	if n.conn == nil {
		return
	}
	_ = n.conn.SetWriteDeadline(time.Now().Add(time.Second))
	if _, err := n.conn.Write([]byte(state)); err != nil {
		n.log.Warn("the service manager can't be told anything", "error", err)
	}
}

// watchdogTime is how often the service manager wants to hear of this process; 0: it does not.
func watchdogTime() time.Duration {
	if pid := os.Getenv("WATCHDOG_PID"); pid != "" && pid != strconv.Itoa(os.Getpid()) {
		return 0
	}
	n, err := strconv.ParseInt(os.Getenv("WATCHDOG_USEC"), 10, 64)
	if err != nil || n <= 0 || n > int64(time.Hour/time.Microsecond) {
		return 0
	}
	return time.Duration(n) * time.Microsecond
}

// watch tells the manager twice within each time that the server is healthy, as long as that is so, until ctx ends.
func (n *notifier) watch(ctx context.Context, each time.Duration, healthy func(context.Context) error) {
	if each == 0 || n.conn == nil {
		return
	}
	ticker := time.NewTicker(each / 2)
	defer ticker.Stop()
	for {
		check, cancel := context.WithTimeout(ctx, each/2)
		err := healthy(check)
		cancel()
		switch {
		case ctx.Err() != nil:
			return
		case err == nil:
			n.tell("WATCHDOG=1")
		default:
			n.log.Error("not healthy: the watchdog is not told", "error", err)
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}
