package main

import (
	"fmt"
	"math"
	"strings"
	"unicode/utf8"
)

// A table is text that is Markdown, and aligned for who reads it as it is.
type table struct{ rows [][]string }

func newTable(head ...string) *table { return &table{[][]string{head}} }

// add adds a row; cells that are not given are empty.
func (t *table) add(cells ...string) {
	r := make([]string, len(t.rows[0]))
	copy(r, cells)
	for i := range r {
		r[i] = strings.ReplaceAll(r[i], "|", `\|`)
	}
	t.rows = append(t.rows, r)
}

func (t *table) String() string {
	wide := make([]int, len(t.rows[0]))
	for _, r := range t.rows {
		for i, cell := range r {
			wide[i] = max(wide[i], min(utf8.RuneCountInString(cell), 90))
		}
	}
	var b strings.Builder
	for n, r := range t.rows {
		for i, cell := range r {
			pad := strings.Repeat(" ", max(0, wide[i]-utf8.RuneCountInString(cell)))
			if i == 0 || n == 0 {
				b.WriteString("| " + cell + pad + " ")
			} else {
				b.WriteString("| " + pad + cell + " ")
			}
		}
		b.WriteString("|\n")
		if n == 0 {
			for i := range r {
				dashes := strings.Repeat("-", wide[i]+1)
				if i == 0 {
					b.WriteString("|" + dashes + "-")
				} else {
					b.WriteString("|" + dashes + ":")
				}
			}
			b.WriteString("|\n")
		}
	}
	return b.String()
}

// number writes a figure with three digits or, from 100 on, all before the point, in groups.
func number(v float64) string {
	switch {
	case v == 0 || math.IsNaN(v) || math.IsInf(v, 0):
		return "–"
	case math.Abs(v) >= 99.95:
		return grouped(int64(math.Round(v)))
	case math.Abs(v) >= 9.995:
		return fmt.Sprintf("%.1f", v)
	case math.Abs(v) >= 0.9995:
		return fmt.Sprintf("%.2f", v)
	}
	return fmt.Sprintf("%.3f", v)
}

func grouped(n int64) string {
	s := fmt.Sprint(n)
	sign := ""
	if n < 0 {
		sign, s = "-", s[1:]
	}
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return sign + s
}

func unit(v float64, unit string) string {
	if n := number(v); n != "–" {
		return n + " " + unit
	}
	return "–"
}

func ratio(v float64) string {
	if n := number(v); n != "–" {
		return "× " + n
	}
	return "–"
}
