package metrics

import (
	"context"
	"errors"
	"net/http"
	"runtime"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/authsrv/authsrv/kv"
	"github.com/authsrv/authsrv/server"
)

// Metrics is one process's. Its methods may be called from several goroutines.
type Metrics struct {
	registry *prometheus.Registry
	commits  *prometheus.HistogramVec
}

// New makes the metrics of a process, which has a version. Those of a server come with Watch.
func New(version string) *Metrics {
	m := &Metrics{
		registry: prometheus.NewRegistry(),
		commits: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "authsrv_store_commit_duration_seconds", Help: "Time until a commit of the store was durable or had failed, by outcome.",
			Buckets: server.LatencyBounds[:],
		}, []string{"outcome"}),
	}
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "authsrv_build_info", Help: "1, with the version as a label.",
		ConstLabels: prometheus.Labels{"version": version, "goversion": runtime.Version()},
	})
	build.Set(1)
	for _, outcome := range []string{"success", "conflict", "failed"} {
		m.commits.WithLabelValues(outcome) // a series that is there from the start has a rate
	}
	m.registry.MustRegister(build, m.commits, collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// Handler answers a scrape.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{MaxRequestsInFlight: 4})
}

// Engine returns an engine that does what e does, and measures its commits.
func (m *Metrics) Engine(e kv.Engine) kv.Engine { return &engine{e, m.commits} }

type engine struct {
	kv.Engine
	commits *prometheus.HistogramVec
}

func (e *engine) Commit(ctx context.Context, reads []kv.Read, writes []kv.Write) (kv.Version, error) {
	began := time.Now()
	version, err := e.Engine.Commit(ctx, reads, writes)
	outcome := "success"
	if errors.Is(err, kv.ErrConflict) {
		outcome = "conflict"
	} else if err != nil {
		outcome = "failed"
	}
	e.commits.WithLabelValues(outcome).Observe(time.Since(began).Seconds())
	return version, err
}

// Unmoved implements kv.Witness as far as the engine does.
func (e *engine) Unmoved(reads []kv.Read) bool {
	w, ok := e.Engine.(kv.Witness)
	return ok && w.Unmoved(reads)
}

// View implements kv.Viewer as far as the engine does.
func (e *engine) View(ctx context.Context, look func(kv.Reader) (any, error)) (any, error) {
	return kv.View(ctx, e.Engine, look)
}

// Count implements kv.Counter.
func (e *engine) Count(ctx context.Context, prefix []byte, limit int) (int, error) {
	return kv.Count(ctx, e.Engine, prefix, limit)
}

// Watch adds a server and its store. It is called once.
func (m *Metrics) Watch(stats func() server.Stats, storeBytes func(context.Context) (uint64, error)) {
	m.registry.MustRegister(&collector{stats, storeBytes})
}
