package main

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/authsrv/authsrv/internal/account"
	"github.com/authsrv/authsrv/kv/pebblekv"
)

// checkTime bounds a look at whether the server is well.
const checkTime = 2 * time.Second

// The phases of a run, by the words of /readyz.
const (
	starting = "starting"
	ready    = "ready"
	stopping = "stopping"
)

// health is how a run is.
type health struct {
	phase atomic.Value // string
	store atomic.Pointer[pebblekv.Store]
}

func newHealth() *health {
	h := new(health)
	h.phase.Store(starting)
	return h
}

// well says whether the store serves: whoever wants to log in needs it.
func (h *health) well(ctx context.Context) error {
	store := h.store.Load()
	if store == nil {
		return errors.New("the store is not open")
	}
	if err := store.Err(); err != nil {
		return err
	}
	_, _, err := account.Identify(ctx, store)
	return err
}

func (h *health) ready(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), checkTime)
	defer cancel()
	state := h.phase.Load().(string)
	if state == ready && h.well(ctx) != nil {
		state = "the store does not serve" // why is in the log
	}
	w.Header().Set("Cache-Control", "no-store")
	if state != ready {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	_, _ = io.WriteString(w, state+"\n")
}

func alive(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	_, _ = io.WriteString(w, "alive\n")
}

// bindHTTP listens where it is to be answered over http, if anywhere, unless it does so already.
func (r *instance) bindHTTP(ctx context.Context) (err error) {
	if r.config.http == "" || r.web != nil {
		return nil
	}
	if r.web, err = new(net.ListenConfig).Listen(ctx, "tcp", r.config.http); err != nil {
		return cannotListen(r.config.http+" for http", err)
	}
	return nil
}

// serveHTTP answers at what bindHTTP has bound, until stop is called.
func (r *instance) serveHTTP() (stop func()) {
	l, log := r.web, r.log
	if l == nil {
		return func() {}
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /livez", alive)
	mux.HandleFunc("GET /readyz", r.health.ready)
	mux.Handle("GET /metrics", r.metrics.Handler())
	s := &http.Server{
		Handler: mux, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 5 * time.Second, WriteTimeout: 20 * time.Second,
		IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 8 << 10, ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if err := s.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			log.Error("no answers over http any more", "error", err)
		}
	}()
	log.Info("watching", "address", l.Addr().String())
	if tcp, ok := l.Addr().(*net.TCPAddr); ok && !tcp.IP.IsLoopback() {
		log.Warn("whoever reaches the http address can read the metrics: it is not a loopback one", "address", l.Addr().String())
	}
	return func() {
		_ = s.Close() // nobody is in the middle of anything that matters
		<-ended
	}
}
