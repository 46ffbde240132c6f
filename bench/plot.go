package main

import (
	"bytes"
	"fmt"
	"html"
	"os"
	"path/filepath"
)

// bar is one bar of a chart, with its spread over the rounds as a whisker.
type bar struct {
	label string
	value spread
	ours  bool // in our colour
}

// chart is one SVG file.
type chart struct {
	file, title, format string
	bars                []bar
}

// plot writes the charts of what was measured into the folder.
func (r *results) plot(out string) error {
	var charts []chart
	if len(r.Rounds) > 0 {
		charts = r.charts()
	}
	if r.Stores != nil {
		charts = append(charts, r.Stores.charts()...)
	}
	if r.Credentials != nil {
		charts = append(charts, r.Credentials.charts()...)
	}
	for _, c := range charts {
		if err := os.WriteFile(filepath.Join(out, c.file), c.svg(), 0o644); err != nil {
			return err
		}
	}
	return nil
}

func (r *results) charts() []chart {
	calls := func(names []string, f func(figures) spread) (bars []bar) {
		for _, name := range names {
			bars = append(bars, bar{label: name, value: f(r.Calls[name])})
		}
		return bars
	}
	var tokens []bar
	for _, name := range tokenNames {
		tokens = append(tokens, bar{label: name, value: r.Token[name].Rate})
	}
	return []chart{
		{"added-p50.svg", "Added p50 at one connection, ms (less is better)", "%.3f", calls(callNames[1:], func(f figures) spread { return f.AddedP50 })},
		{"added-p99.svg", "Added p99 at one connection, ms (less is better)", "%.3f", calls(callNames[1:], func(f figures) spread { return f.AddedP99 })},
		{"requests.svg", "Requests per second at sixteen connections (more is better)", "%.0f", calls(callNames, func(f figures) spread { return f.Rate })},
		{"cpu.svg", "CPU of the server per call at sixteen connections, µs (less is better)", "%.0f", calls(callNames, func(f figures) spread { return f.CPU })},
		{"memory.svg", "Resident memory after the calls, MiB (less is better)", "%.0f", calls(callNames, func(f figures) spread { return f.RSS })},
		{"token-endpoint.svg", "Tokens per second at sixteen connections (more is better)", "%.0f", tokens},
		{"targets.svg", "Ratios with targets", "%.2f", targetBars(r.Targets)},
	}
}

func targetBars(targets []target) (bars []bar) {
	for _, t := range targets {
		bars = append(bars, bar{fmt.Sprintf("%s (target %s)", t.Name, t.bound()), t.Found, true})
	}
	return bars
}

// Measures of a chart, in pixels.
const (
	rowHeight  = 34
	labelWidth = 380
	barWidth   = 420
	chartWidth = labelWidth + barWidth + 180
)

// svg draws horizontal bars, all to one scale from zero.
func (c chart) svg() []byte {
	most := 0.0
	for _, b := range c.bars {
		most = max(most, b.value.Max, b.value.Median)
	}
	x := func(v float64) float64 { return labelWidth + barWidth*ratio(max(v, 0), most) }
	var s bytes.Buffer
	height := 50 + rowHeight*len(c.bars)
	fmt.Fprintf(&s, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %d %d" font-family="sans-serif" font-size="13">`+"\n", chartWidth, height, chartWidth, height)
	fmt.Fprintf(&s, `<rect width="100%%" height="100%%" fill="#fff"/><text x="12" y="24" font-size="15" font-weight="bold">%s</text>`+"\n", html.EscapeString(c.title))
	for i, b := range c.bars {
		y := 44 + rowHeight*i
		fill := "#9aa5b1"
		if b.ours || b.label == nameGateway {
			fill = "#2b6cb0"
		}
		fmt.Fprintf(&s, `<text x="%d" y="%d" text-anchor="end">%s</text>`, labelWidth-10, y+16, html.EscapeString(b.label))
		fmt.Fprintf(&s, `<rect x="%d" y="%d" width="%.1f" height="22" fill="%s"/>`, labelWidth, y, x(b.value.Median)-labelWidth, fill)
		fmt.Fprintf(&s, `<path d="M%.1f %dH%.1f" stroke="#111" stroke-width="2"/>`, x(b.value.Min), y+11, x(b.value.Max))
		fmt.Fprintf(&s, `<text x="%.1f" y="%d">%s</text>`+"\n", x(max(b.value.Max, b.value.Median))+8, y+16, html.EscapeString(b.value.text(c.format)))
	}
	s.WriteString("</svg>\n")
	return s.Bytes()
}
