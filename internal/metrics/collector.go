package metrics

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/authsrv/authsrv/server"
)

// storeTime bounds the question after the size of the store: a store that has failed may not answer.
const storeTime = time.Second

func describe(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("authsrv_"+name, help, labels, nil)
}

var (
	connections = describe("connections", "Connections, logged in or not.")
	loggedIn    = describe("connections_logged_in", "Connections that are logged in.")
	handshakes  = describe("handshakes_total", "Handshakes, by outcome.", "outcome")
	throttled   = describe("throttled_total", "Attempts of any kind that came too early for their name or address.")
	evictions   = describe("lobby_evictions_total", "Connections that were not logged in and made room for others.")
	displaced   = describe("displaced_total", "Connections that were logged in and made room for others.")
	violations  = describe("violations_total", "Messages that ended their connection.")
	offences    = describe("offences_total", "What cost its network something, by kind.", "offence")
	networksCut = describe("networks_cut_off", "Networks that are cut off.")
	cutOff      = describe("connections_cut_off_total", "Connections of networks that were cut off.")
	requests    = describe("request_duration_seconds", "Time from a message to its answer, by the type of the message.", "message")
	operations  = describe("operations_total", "Operations of who is logged in, by operation and outcome.", "operation", "outcome")
	storeBytes  = describe("store_bytes", "Size of the files of the store.")

	// attempts are those with a metric of their own, by the word that the log has for them.
	attempts = map[string]*prometheus.Desc{
		"login":    describe("logins_total", "Logins with a password, by outcome.", "outcome"),
		"register": describe("registrations_total", "Registrations, by outcome.", "outcome"),
		"resume":   describe("resumes_total", "Logins with a session token, by outcome.", "outcome"),
	}
)

// collector reads a server's counts when it is asked.
type collector struct {
	stats      func() server.Stats
	storeBytes func(context.Context) (uint64, error)
}

func (c *collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{connections, loggedIn, handshakes, throttled, evictions, displaced, violations, offences, networksCut, cutOff, requests,
		operations, storeBytes} {
		ch <- d
	}
	for _, d := range attempts {
		ch <- d
	}
}

func (c *collector) Collect(ch chan<- prometheus.Metric) {
	s := c.stats()
	gauge := func(d *prometheus.Desc, n float64) { ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, n) }
	counter := func(d *prometheus.Desc, n uint64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(n), labels...)
	}
	gauge(connections, float64(s.Connections))
	gauge(loggedIn, float64(s.LoggedIn))
	gauge(networksCut, float64(s.Penalized))
	counter(evictions, s.Evictions)
	counter(displaced, s.Displaced)
	counter(violations, s.Violations)
	counter(cutOff, s.CutOff)
	for offence, n := range s.Offences {
		counter(offences, n, offence)
	}
	withSuccess(s.Handshakes, "success")
	for outcome, n := range s.Handshakes {
		counter(handshakes, n, outcome)
	}
	for what := range attempts {
		withSuccess(s.Attempts, server.Attempt{What: what, Outcome: "success"})
	}
	late := uint64(0)
	for a, n := range s.Attempts {
		if a.Outcome == "throttled" {
			late += n
		}
		if d, own := attempts[a.What]; own {
			counter(d, n, a.Outcome)
		} else {
			counter(operations, n, a.What, a.Outcome)
		}
	}
	counter(throttled, late)
	for message, h := range s.Requests {
		ch <- prometheus.MustNewConstHistogram(requests, h.Count, h.Sum, cumulative(&h), message)
	}
	ctx, cancel := context.WithTimeout(context.Background(), storeTime)
	defer cancel()
	if n, err := c.storeBytes(ctx); err == nil { // else it is absent, which shows
		gauge(storeBytes, float64(n))
	}
}

// withSuccess gives a series that has not begun a beginning: one that is there from the start has a rate.
func withSuccess[K comparable](counts map[K]uint64, key K) {
	counts[key] += 0
}

func cumulative(h *server.Histogram) map[float64]uint64 {
	buckets, sum := make(map[float64]uint64, len(server.LatencyBounds)), uint64(0)
	for i, bound := range server.LatencyBounds {
		sum += h.Buckets[i]
		buckets[bound] = sum
	}
	return buckets
}
