package metrics_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/authsrv/authsrv/internal/authtest"
	"github.com/authsrv/authsrv/internal/metrics"
	"github.com/authsrv/authsrv/kv"
	"github.com/authsrv/authsrv/server"
)

func storeBytes(context.Context) (uint64, error) { return 4096, nil }

// everything is what a server with all kinds of things to tell counts.
func everything() server.Stats {
	var h server.Histogram
	h.Buckets[0], h.Buckets[2], h.Buckets[len(h.Buckets)-1] = 1, 2, 4
	h.Count, h.Sum = 7, 60.5
	return server.Stats{
		Connections: 9, LoggedIn: 3, Evictions: 2, Displaced: 5, Violations: 6, Penalized: 7, CutOff: 8,
		Offences:   map[string]uint64{"garbage": 4},
		Handshakes: map[string]uint64{"success": 5, "timeout": 1},
		Attempts: map[server.Attempt]uint64{
			{What: "login", Outcome: "throttled"}: 3, {What: "register", Outcome: "name-taken"}: 1,
			{What: "change-password", Outcome: "success"}: 1, {What: "delete", Outcome: "throttled"}: 1,
		},
		Requests: map[string]server.Histogram{"Proof": h},
	}
}

func scrape(t *testing.T, m *metrics.Metrics) string {
	t.Helper()
	w := httptest.NewRecorder()
	m.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	body, err := io.ReadAll(w.Result().Body)
	if err != nil || w.Code != 200 {
		t.Fatalf("status %d, %v: %s", w.Code, err, body)
	}
	return string(body)
}

func TestMetrics(t *testing.T) {
	m := metrics.New("v1.2.3")
	m.Watch(everything, storeBytes)
	text := scrape(t, m)
	for _, line := range []string{
		"authsrv_connections 9", "authsrv_connections_logged_in 3", "authsrv_lobby_evictions_total 2",
		"authsrv_displaced_total 5", "authsrv_violations_total 6", "authsrv_networks_cut_off 7", "authsrv_connections_cut_off_total 8",
		`authsrv_offences_total{offence="garbage"} 4`,
		`authsrv_handshakes_total{outcome="timeout"} 1`,
		`authsrv_logins_total{outcome="success"} 0`, `authsrv_logins_total{outcome="throttled"} 3`,
		`authsrv_registrations_total{outcome="name-taken"} 1`, `authsrv_resumes_total{outcome="success"} 0`,
		`authsrv_operations_total{operation="change-password",outcome="success"} 1`, "authsrv_throttled_total 4",
		`authsrv_request_duration_seconds_bucket{message="Proof",le="0.0001"} 1`,
		`authsrv_request_duration_seconds_bucket{message="Proof",le="0.0005"} 3`,
		`authsrv_request_duration_seconds_bucket{message="Proof",le="10"} 3`,
		`authsrv_request_duration_seconds_bucket{message="Proof",le="+Inf"} 7`,
		`authsrv_request_duration_seconds_sum{message="Proof"} 60.5`, "authsrv_store_bytes 4096",
		`authsrv_store_commit_duration_seconds_count{outcome="conflict"} 0`,
	} {
		if !strings.Contains(text, "\n"+line+"\n") {
			t.Errorf("there is no line %s", line)
		}
	}
	if !strings.Contains(text, `version="v1.2.3"`) {
		t.Error("no version")
	}
}

// A store that does not answer is a series less, and no error.
func TestStoreDoesNotAnswer(t *testing.T) {
	m := metrics.New("v1")
	m.Watch(everything, func(context.Context) (uint64, error) { return 0, errors.New("failed") })
	if text := scrape(t, m); strings.Contains(text, "authsrv_store_bytes") || !strings.Contains(text, "authsrv_connections 9") {
		t.Errorf("got %s", text)
	}
}

func TestCommits(t *testing.T) {
	m := metrics.New("v1")
	e := m.Engine(authtest.Engine(t))
	write := []kv.Write{{Key: []byte("key"), Value: []byte("value")}}
	if _, err := e.Commit(t.Context(), nil, write); err != nil {
		t.Fatal(err)
	}
	if _, err := e.Commit(t.Context(), []kv.Read{{Key: []byte("key")}}, write); !errors.Is(err, kv.ErrConflict) {
		t.Fatal(err)
	}
	if _, err := e.Commit(t.Context(), nil, []kv.Write{{}}); !errors.Is(err, kv.ErrInvalid) {
		t.Fatal(err)
	}
	text := scrape(t, m)
	for _, outcome := range []string{"success", "conflict", "failed"} {
		if line := `authsrv_store_commit_duration_seconds_count{outcome="` + outcome + `"} 1`; !strings.Contains(text, line) {
			t.Errorf("there is no line %s", line)
		}
	}
}

// series are the names and the labels that a scrape has.
func series(t *testing.T) (names, labels map[string]bool) {
	m := metrics.New("v1")
	m.Watch(everything, storeBytes)
	names, labels = make(map[string]bool), make(map[string]bool)
	label := regexp.MustCompile(`[{,]([a-z_]+)="`)
	for _, line := range strings.Split(scrape(t, m), "\n") {
		if line == "" || line[0] == '#' {
			continue
		}
		name := line[:strings.IndexAny(line, "{ ")]
		names[name] = true
		for _, l := range label.FindAllStringSubmatch(line, -1) {
			labels[l[1]] = true
		}
	}
	return names, labels
}

// expressions collects the queries of a dashboard, wherever they stand in it.
func expressions(value any) (found []string) {
	switch value := value.(type) {
	case map[string]any:
		for key, v := range value {
			if text, ok := v.(string); ok && (key == "expr" || key == "definition") {
				found = append(found, text)
			}
			found = append(found, expressions(v)...)
		}
	case []any:
		for _, v := range value {
			found = append(found, expressions(v)...)
		}
	}
	return found
}

// The queries of the dashboard name metrics that there are, and labels that they have.
func TestDashboard(t *testing.T) {
	text, err := os.ReadFile("../../deploy/grafana-dashboard.json")
	if err != nil {
		t.Fatal(err)
	}
	var dashboard any
	if err := json.Unmarshal(text, &dashboard); err != nil {
		t.Fatal(err)
	}
	names, labels := series(t)
	labels["instance"] = true // Prometheus adds it
	queries := expressions(dashboard)
	if len(queries) < 10 || len(names) < 10 {
		t.Fatalf("%d queries, %d metrics: the test looks in the wrong place", len(queries), len(names))
	}
	name := regexp.MustCompile(`\b(?:authsrv|go|process)_[a-z0-9_]+`)
	grouping := regexp.MustCompile(`\bby \(([^)]*)\)`)
	matcher := regexp.MustCompile(`[{,]\s*([a-z_]+)\s*(?:=~|!~|!=|=)`)
	used := make(map[string]bool)
	for _, q := range queries {
		found := name.FindAllString(q, -1)
		if len(found) == 0 {
			t.Errorf("no metric in %s", q)
		}
		for _, n := range found {
			used[n] = true
			if !names[n] {
				t.Errorf("there is no metric %s, in %s", n, q)
			}
		}
		var asked []string
		for _, g := range grouping.FindAllStringSubmatch(q, -1) {
			asked = append(asked, strings.Split(strings.ReplaceAll(g[1], " ", ""), ",")...)
		}
		for _, m := range matcher.FindAllStringSubmatch(q, -1) {
			asked = append(asked, m[1])
		}
		for _, l := range asked {
			if !labels[l] {
				t.Errorf("there is no label %s, in %s", l, q)
			}
		}
	}
	for n := range names {
		if base := strings.TrimSuffix(n, "_sum"); strings.HasPrefix(n, "authsrv_") && base == n && !used[n] &&
			!used[strings.TrimSuffix(n, "_count")+"_bucket"] && !used[strings.TrimSuffix(n, "_bucket")+"_count"] {
			t.Errorf("the dashboard does not show %s", n)
		}
	}
}

// The table of metrics in the documentation is that of a scrape.
func TestDocumentation(t *testing.T) {
	text, err := os.ReadFile("../../docs/OPERATIONS.md")
	if err != nil {
		t.Fatal(err)
	}
	documented := make(map[string]bool)
	for _, row := range regexp.MustCompile("(?m)^\\| `(authsrv_[a-z_]+)` \\|").FindAllStringSubmatch(string(text), -1) {
		documented[row[1]] = true
	}
	names, _ := series(t)
	have := make(map[string]bool)
	for n := range names {
		for _, suffix := range []string{"_bucket", "_sum", "_count"} {
			n = strings.TrimSuffix(n, suffix)
		}
		if strings.HasPrefix(n, "authsrv_") {
			have[n] = true
		}
	}
	if len(have) == 0 || !maps.Equal(documented, have) {
		t.Errorf("documented: %v\nthere are:  %v", slices.Sorted(maps.Keys(documented)), slices.Sorted(maps.Keys(have)))
	}
}
