package main

import (
	"fmt"
	"html"
	"math"
	"strings"
)

// A bar is a figure in a plot.
type bar struct {
	label string
	value float64
	ours  bool
}

// A panel is one plot of bars, from left to right.
type panel struct {
	title, unit string
	log         bool // where the figures are of different orders
	bars        []bar
}

const (
	plotWidth  = 900
	labelWidth = 330
	barHeight  = 18
	barGap     = 6
	panelHead  = 34
	panelFoot  = 18
)

// plot draws panels below each other, as an SVG that needs nothing else.
func plot(title string, panels []panel) string {
	var b strings.Builder
	height := 40
	for _, p := range panels {
		height += p.height()
	}
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" font-family="sans-serif" font-size="12">`+"\n", plotWidth, height, plotWidth, height)
	fmt.Fprintf(&b, `<rect width="%d" height="%d" fill="white"/>`+"\n", plotWidth, height)
	fmt.Fprintf(&b, `<text x="12" y="24" font-size="15" font-weight="bold">%s</text>`+"\n", html.EscapeString(title))
	y := 40
	for _, p := range panels {
		p.draw(&b, y)
		y += p.height()
	}
	b.WriteString("</svg>\n")
	return b.String()
}

func (p *panel) height() int { return panelHead + len(p.bars)*(barHeight+barGap) + panelFoot }

func (p *panel) draw(b *strings.Builder, y int) {
	scale := ""
	if p.log {
		scale = ", logarithmic"
	}
	fmt.Fprintf(b, `<text x="12" y="%d" font-weight="bold">%s (%s%s)</text>`+"\n", y+18, html.EscapeString(p.title), html.EscapeString(p.unit), scale)
	y += panelHead
	for _, bar := range p.bars {
		fill := "#9aa5b1"
		if bar.ours {
			fill = "#1f6feb"
		}
		w := p.width(bar.value)
		fmt.Fprintf(b, `<text x="%d" y="%d" text-anchor="end">%s</text>`+"\n", labelWidth-8, y+13, html.EscapeString(shorten(bar.label, 52)))
		fmt.Fprintf(b, `<rect x="%d" y="%d" width="%.1f" height="%d" fill="%s"/>`+"\n", labelWidth, y, w, barHeight, fill)
		fmt.Fprintf(b, `<text x="%.1f" y="%d">%s</text>`+"\n", float64(labelWidth)+w+6, y+13, html.EscapeString(number(bar.value)))
		y += barHeight + barGap
	}
}

// width of a bar in pixels: the longest takes all that there is; on a logarithmic scale the shortest has a tenth of it.
func (p *panel) width(v float64) float64 {
	const room = plotWidth - labelWidth - 90
	low, high := math.Inf(1), 0.0
	for _, bar := range p.bars {
		if bar.value > 0 {
			low, high = min(low, bar.value), max(high, bar.value)
		}
	}
	switch {
	case v <= 0 || high == 0:
		return 0
	case !p.log:
		return room * v / high
	case low == high:
		return room
	}
	return room * (0.1 + 0.9*math.Log(v/low)/math.Log(high/low))
}

func shorten(s string, most int) string {
	r := []rune(s)
	if len(r) <= most {
		return s
	}
	return string(r[:most-1]) + "…"
}

// panels are the plots of the table.
func (c *comparison) panels() []panel {
	cpu := panel{title: "server CPU time a login", unit: "ms", log: true}
	rate := panel{title: "logins a second, load on the same cores", unit: "1/s", log: true}
	idle := panel{title: "an idle connection", unit: "KiB", log: true}
	cpu.bars = append(cpu.bars, bar{label: "floor: curve arithmetic alone", value: c.Floor.Median})
	for _, r := range c.Rows {
		if r.Why != "" {
			continue
		}
		ours := strings.HasPrefix(r.Name, "authsrv")
		cpu.bars = append(cpu.bars, bar{r.Title, r.Median.CPU, ours})
		rate.bars = append(rate.bars, bar{r.Title, r.Median.Rate, ours})
		idle.bars = append(idle.bars, bar{r.Title, r.Median.IdleKiB, ours})
	}
	return []panel{cpu, rate, idle}
}
