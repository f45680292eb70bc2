package main

import (
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"math"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestNumber(t *testing.T) {
	for v, want := range map[float64]string{
		0: "–", math.NaN(): "–", math.Inf(1): "–", 0.16049: "0.160", 0.99949: "0.999", 0.9996: "1.00", 5.123: "5.12", 9.996: "10.0", 53.04: "53.0", 99.96: "100",
		2472.4: "2,472", 1_280_000: "1,280,000", -1234: "-1,234",
	} {
		if got := number(v); got != want {
			t.Errorf("%v is written %q, not %q", v, got, want)
		}
	}
	if unit(0, "ms") != "–" || unit(2, "ms") != "2.00 ms" || ratio(0) != "–" || ratio(20) != "× 20.0" {
		t.Error("units")
	}
}

func TestMedian(t *testing.T) {
	for _, c := range []struct {
		of   []float64
		want float64
	}{{nil, 0}, {[]float64{3}, 3}, {[]float64{9, 1, 2}, 2}, {[]float64{4, 1, 2, 100}, 3}} {
		if got := median(c.of); got != c.want {
			t.Errorf("of %v: %v", c.of, got)
		}
	}
	m := medianTurn([]turn{{Rate: 10, CPU: 3, IdleKiB: 7, IdleCount: 96}, {Rate: 30, CPU: 1}, {Rate: 20, CPU: 2}})
	if m.Rate != 20 || m.CPU != 2 || m.IdleKiB != 7 || m.IdleCount != 96 || m.P999 != 0 {
		t.Errorf("%+v", m)
	}
}

func sampleReport() *report {
	c := &comparison{Rows: []*row{
		{Name: "authsrv", Title: "authsrv", Turns: []turn{{Rate: 4000, CPU: 0.25, P50: 1, IdleKiB: 12}}},
		{Name: "other", Title: "other | <one> & \"more\"", Turns: []turn{{Rate: 200, CPU: 5, P50: 30, IdleKiB: 1000}}},
		{Name: "absent", Title: "absent", Why: (&errMissing{"apt-get install absent"}).Error()},
	}}
	for _, r := range c.Rows {
		r.Median = medianTurn(r.Turns)
	}
	c.Floor.fill([]*floor{{time.Millisecond, time.Millisecond, time.Millisecond, time.Millisecond}, {}, {generation: time.Millisecond}})
	return &report{Machine: &machine{}, Logins: c, Requests: []*requestRow{{Name: "redis", Title: "redis", Median: requestTurn{Rate: 76000, CPU: 7}}}}
}

func TestTable(t *testing.T) {
	text := sampleReport().Logins.String()
	for _, want := range []string{"× 20.0", "not installed: apt-get install absent", `other \| <one>`, "0.250 ms", "1.00 ms"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not in\n%s", want, text)
		}
	}
	lines := strings.Split(strings.TrimSpace(text), "\n")
	if len(lines) != 6 {
		t.Fatalf("%d lines:\n%s", len(lines), text)
	}
	for _, l := range lines {
		if n := strings.Count(strings.ReplaceAll(l, `\|`, ""), "|"); n != 11 {
			t.Errorf("%d bars in %q", n, l)
		}
	}
}

func TestFloor(t *testing.T) {
	r := sampleReport().Logins.Floor
	if r.Median != 1 || r.Parts.Generation != 1 || r.Parts.Shared != 0 || r.Turns[0] != 6 {
		t.Errorf("%+v", r)
	}
	f, err := measureFloor(40 * time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	if f.generation <= 0 || f.shared <= 0 || f.verify <= f.sign/2 || f.sum() < f.verify+3*f.shared {
		t.Errorf("%+v", f)
	}
}

func TestJSON(t *testing.T) {
	text, err := json.Marshal(sampleReport())
	if err != nil {
		t.Fatal(err)
	}
	var back report
	if err := json.Unmarshal(text, &back); err != nil || back.Logins.ours() == nil || back.Logins.Rows[1].Median.CPU != 5 {
		t.Errorf("%v: %s", err, text)
	}
}

func TestPlot(t *testing.T) {
	text := plot("a < b & c", sampleReport().panels())
	d := xml.NewDecoder(strings.NewReader(text))
	texts, bars := 0, 0
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("%v in\n%s", err, text)
		}
		if e, ok := token.(xml.StartElement); ok {
			switch e.Name.Local {
			case "text":
				texts++
			case "rect":
				bars++
			}
		}
	}
	if bars != 1+3+2+2+1 || texts != 1+4+2*(bars-1) {
		t.Errorf("%d bars and %d texts in\n%s", bars, texts, text)
	}
}

func TestBars(t *testing.T) {
	p := panel{bars: []bar{{value: 1}, {value: 10}, {value: 100}, {value: 0}}}
	full := p.width(100)
	if p.width(10) != full/10 || p.width(0) != 0 || full > plotWidth-labelWidth {
		t.Errorf("%v, %v, %v", p.width(10), p.width(0), full)
	}
	p.log = true
	if p.width(100) != full || p.width(0) != 0 || math.Abs(p.width(1)-full/10) > 0.001 || math.Abs(p.width(10)-full*0.55) > 0.001 {
		t.Errorf("logarithmic: %v, %v, %v", p.width(1), p.width(10), p.width(100))
	}
	if one := (&panel{log: true, bars: []bar{{value: 5}}}); one.width(5) != full {
		t.Error("one bar")
	}
	if shorten("ätsch", 5) != "ätsch" || shorten("ätsch!", 5) != "ätsc…" {
		t.Error("shorten")
	}
}

func TestFaults(t *testing.T) {
	r := sampleReport()
	if err := r.fault(false); err != nil {
		t.Errorf("a peer that is not installed: %v", err)
	}
	if err := r.fault(true); err == nil || !strings.Contains(err.Error(), "apt-get install absent") {
		t.Errorf("a peer that was asked for and is not installed: %v", err)
	}
	r.Logins.Rows[1].Why = why(errors.New("it\nbroke " + strings.Repeat("x", 500)))
	if err := r.fault(false); err == nil || len(err.Error()) > 250 || strings.Contains(err.Error(), "\n") {
		t.Errorf("a peer that failed: %v", err)
	}
}

func TestFlags(t *testing.T) {
	for _, bad := range []string{"--sizes 5,x", "--sizes 0", "--idle 0", "--rounds 0", "--clients 0", "--time 1ms", "--accounts -1", "--nonsense", "argument", "--json /nowhere/x", "--svg ."} {
		if _, err := parse(modeAll, strings.Fields(bad), io.Discard); err == nil {
			t.Errorf("%s was taken", bad)
		}
	}
	for mode, names := range foreign {
		for _, name := range names {
			if _, err := parse(modeAll, []string{"--" + name + "=1"}, io.Discard); err != nil && strings.Contains(err.Error(), "meaning") {
				t.Errorf("all has no use for --%s", name)
			}
			args := []string{"--" + name + "=1"}
			if mode == modeAgainst {
				args = append([]string{"HEAD"}, args...)
			}
			if _, err := parse(mode, args, io.Discard); err == nil || !strings.Contains(err.Error(), "meaning") {
				t.Errorf("%q took --%s: %v", mode, name, err)
			}
		}
	}
	for _, bad := range []string{"", "--rounds 2"} {
		if _, err := parse(modeAgainst, strings.Fields(bad), io.Discard); err == nil {
			t.Errorf("against %q was taken", bad)
		}
	}
	if o, err := parse(modeScale, []string{"--quick", "--rounds", "2"}, io.Discard); err != nil || o.rounds != 2 || o.time != 500*time.Millisecond || len(o.accountsOf) != 2 {
		t.Errorf("--quick with what was asked for: %+v, %v", o, err)
	}
	if o, err := parse(modeAgainst, []string{"HEAD~1", "--rounds", "2"}, io.Discard); err != nil || o.commit != "HEAD~1" || o.rounds != 2 {
		t.Errorf("%+v, %v", o, err)
	}
	o, err := parse(modeLogins, []string{"--rounds", "3", "--time", "10s"}, io.Discard)
	if err != nil || o.accounts < 3*10*2*4000/100 {
		t.Errorf("%+v, %v", o, err)
	}
	if peers, err := chosen("tls,authsrv"); err != nil || len(peers) != 4 {
		t.Errorf("%v, %v", peers, err)
	}
	if _, err := chosen("tsl"); err == nil {
		t.Error("an unknown peer was taken")
	}
	if least, most := medianWithin([]float64{1}); least != 1 || most != 1 {
		t.Errorf("the median of one is within %v and %v", least, most)
	}
	var hundred []float64
	for i := range 100 {
		hundred = append(hundred, float64(i*37%100+1)) // 1 to 100, mixed
	}
	if least, most := medianWithin(hundred); least != 41 || most != 60 {
		t.Errorf("the median of a hundred is within %v and %v", least, most)
	}
	if r := ratios([]float64{10, 12}, []float64{5, 4}); !slices.Equal(r, []float64{2, 3}) {
		t.Errorf("ratios: %v", r)
	}
}

func TestQuiet(t *testing.T) {
	busy, stolen, err := parseBusy("cpu  10 20 30 400 500 60 70 80 5 5\ncpu0 1 1 1 1 1 1 1 1 1 1\n")
	if err != nil || busy != 1900*time.Millisecond || stolen != 800*time.Millisecond {
		t.Errorf("%v, %v, %v", busy, stolen, err)
	}
	for _, bad := range []string{"", "cpu 1 2 3", "cpu0 1 2 3 4 5 6 7 8", "cpu 1 2 3 4 5 6 7 x"} {
		if _, _, err := parseBusy(bad); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
	if m := (&machine{Others: 0.04}).String(); strings.Contains(m, "NOT QUIET") {
		t.Error(m)
	}
	if m := (&machine{Others: 0.03, Stolen: 0.03}).String(); !strings.Contains(m, "NOT QUIET") {
		t.Error(m)
	}
}
