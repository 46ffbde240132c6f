package main

import (
	stdjson "encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
)

// results is what a run found, as results.json has it.
type results struct {
	Machine machine            `json:"machine"`
	Others  float64            `json:"cores_busy_with_other_programs"`
	Calls   map[string]figures `json:"calls"`
	Token   map[string]figures `json:"token_endpoint"`
	Targets []target           `json:"targets"`
	Peak    map[string]float64 `json:"peak_rss_mib"`
	Errors  map[string]int     `json:"wrong_answers"`
	Rounds  []round            `json:"rounds"`
	Stores  *storeResults      `json:"stores,omitempty"`

	Credentials *credentialResults `json:"credentials,omitempty"`
}

// figures is the summary of one column or row, over the rounds.
type figures struct {
	P50      spread `json:"p50_ms"`       // tool calls: at one connection; tokens: at sixteen
	P99      spread `json:"p99_ms"`       //
	AddedP50 spread `json:"added_p50_ms"` // beyond the direct call of the same round
	AddedP99 spread `json:"added_p99_ms"` //
	Rate     spread `json:"per_second"`   // at sixteen connections
	Share    spread `json:"share"`        // of the direct calls, or of bare signing
	CPU      spread `json:"cpu_us_per_call"`
	Database spread `json:"database_cpu_us_per_call,omitzero"`
	RSS      spread `json:"rss_mib"`
}

// target is a number of DESIGN.md section 6 with what was found.
type target struct {
	Name  string  `json:"name"`
	Found spread  `json:"found"`
	Bound float64 `json:"bound"`
	Least bool    `json:"at_least"` // Bound is the least that will do, not the most
	Met   bool    `json:"met"`
}

func newTarget(name string, found spread, bound float64, least bool) target {
	met := found.Median <= bound
	if least {
		met = found.Median >= bound
	}
	return target{name, found, bound, least, met && found.Median > 0}
}

// bound is what was asked for, in a few signs.
func (t target) bound() string {
	if t.Least {
		return fmt.Sprintf("≥ %.2f", t.Bound)
	}
	return fmt.Sprintf("≤ %.2f", t.Bound)
}

func (r *results) add(rd round) {
	r.Rounds = append(r.Rounds, rd)
	for what, samples := range map[string]map[string]sample{"at one connection": rd.One, "at sixteen": rd.Many, "": rd.Token} {
		for name, s := range samples {
			r.note(strings.TrimSpace(name+" "+what), s)
		}
	}
	r.note("without policy reloads", rd.Reloads.Without)
	r.note("with policy reloads", rd.Reloads.With)
	if rd.Reloads.Times == 0 {
		r.Errors["no policy was reloaded"]++
	}
}

// note keeps what was wrong in a sample.
func (r *results) note(name string, s sample) {
	if r.Errors == nil {
		r.Errors = map[string]int{}
	}
	for _, w := range s.wrong {
		r.Errors[name+": "+w]++
	}
	if s.Calls == 0 {
		r.Errors[name+": not one right answer"]++
	}
}

func (r *results) errorText() string {
	var lines []string
	for _, e := range slices.Sorted(maps.Keys(r.Errors)) {
		lines = append(lines, fmt.Sprintf("%d × %s", r.Errors[e], e))
	}
	return strings.Join(lines[:min(len(lines), 20)], "\n  ")
}

// finish sums up, while the servers still run.
func (r *results) finish(g *rig) {
	r.Others = g.meter.others(g.processes)
	r.Peak = map[string]float64{}
	for _, p := range g.processes {
		r.Peak[p.name], _ = memoryOf(p.pid(), "VmHWM") // missing only when it has died, and then calls failed
	}
	r.Calls, r.Token = map[string]figures{}, map[string]figures{}
	for _, name := range callNames {
		r.Calls[name] = callFigures(r.Rounds, name)
	}
	for _, name := range tokenNames {
		r.Token[name] = tokenFigures(r.Rounds, name)
	}
	r.Targets = targets(r.Rounds)
}

func callFigures(rounds []round, name string) figures {
	return figures{
		P50:      over(rounds, func(r round) float64 { return r.One[name].P50 }),
		P99:      over(rounds, func(r round) float64 { return r.One[name].P99 }),
		AddedP50: over(rounds, func(r round) float64 { return r.addedP50(name) }),
		AddedP99: over(rounds, func(r round) float64 { return r.One[name].P99 - r.One[nameDirect].P99 }),
		Rate:     over(rounds, func(r round) float64 { return r.Many[name].Rate }),
		Share:    over(rounds, func(r round) float64 { return ratio(r.Many[name].Rate, r.Many[nameDirect].Rate) }),
		CPU:      over(rounds, func(r round) float64 { return r.Many[name].CPU }),
		RSS:      over(rounds, func(r round) float64 { return r.Many[name].RSS }),
	}
}

func tokenFigures(rounds []round, name string) figures {
	return figures{
		P50:   over(rounds, func(r round) float64 { return r.Token[name].P50 }),
		P99:   over(rounds, func(r round) float64 { return r.Token[name].P99 }),
		Rate:  over(rounds, func(r round) float64 { return r.Token[name].Rate }),
		Share: over(rounds, func(r round) float64 { return r.tokenShare(name) }),
		CPU:   over(rounds, func(r round) float64 { return r.Token[name].CPU }),
		RSS:   over(rounds, func(r round) float64 { return r.Token[name].RSS }),
	}
}

func (r round) addedP50(name string) float64 { return r.One[name].P50 - r.One[nameDirect].P50 }
func (r round) tokenShare(name string) float64 {
	return ratio(r.Token[name].Rate, r.Token[nameSign].Rate)
}

// targets are those of DESIGN.md section 6 that one run can measure.
func targets(rounds []round) []target {
	return []target{
		newTarget("added p50 at 1 connection, × floor's", over(rounds, func(r round) float64 { return ratio(r.addedP50(nameGateway), r.addedP50(nameFloor)) }), 0.7, false),
		newTarget("requests/s at 16, × floor's", over(rounds, func(r round) float64 { return ratio(r.Many[nameGateway].Rate, r.Many[nameFloor].Rate) }), 2, true),
		newTarget("CPU per call at 16, × floor's", over(rounds, func(r round) float64 { return ratio(r.Many[nameGateway].CPU, r.Many[nameFloor].CPU) }), 0.5, false),
		newTarget("p99 at 1 connection, × own p50", over(rounds, func(r round) float64 { return ratio(r.One[nameGateway].P99, r.One[nameGateway].P50) }), 3, false),
		newTarget("client_credentials/s, × bare signing", over(rounds, func(r round) float64 { return r.tokenShare(nameCredentials) }), 0.7, true),
		newTarget("exchange/s, token seen, × bare signing", over(rounds, func(r round) float64 { return r.tokenShare(nameExchange) }), 0.7, true),
	}
}

// write prints the tables and leaves results.json and the plots in the folder.
func (r *results) write(w io.Writer, out string) error {
	r.print(w)
	if err := os.MkdirAll(out, 0o755); err != nil {
		return err
	}
	b, err := stdjson.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(out, "results.json"), append(b, '\n'), 0o644); err != nil {
		return err
	}
	if err := r.plot(out); err != nil {
		return err
	}
	if r.Stores != nil {
		if err := os.WriteFile(filepath.Join(out, "stores.md"), r.Stores.markdown(r.Machine), 0o644); err != nil {
			return err
		}
	}
	if r.Credentials != nil {
		if err := os.WriteFile(filepath.Join(out, "credentials.md"), r.Credentials.markdown(r.Machine), 0o644); err != nil {
			return err
		}
	}
	fmt.Fprintf(w, "\n%s has the rounds, and *.svg beside it the plots.\n", filepath.Join(out, "results.json"))
	return nil
}

func (r *results) print(w io.Writer) {
	if len(r.Rounds) > 0 {
		r.printGateway(w)
	}
	if r.Stores != nil {
		r.Stores.print(w, r.Machine.Cores)
	}
	if r.Credentials != nil {
		r.Credentials.print(w, r.Machine.Cores)
	}
}

func (r *results) printGateway(w io.Writer) {
	fmt.Fprintf(w, "\nMedians over the rounds (least–most). Other programs kept %.1f of %d cores busy meanwhile.\n\n", r.Others, r.Machine.Cores)
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	defer t.Flush()
	r.printCalls(t)
	fmt.Fprintln(t)
	r.printTokens(t)
	fmt.Fprintln(t)
	r.printReloads(t)
	fmt.Fprintln(t)
	r.printTargets(t)
}

func (r *results) printCalls(t *tabwriter.Writer) {
	fmt.Fprintf(t, "tools/call\t%s\n", strings.Join(callNames, "\t"))
	line := func(label, format string, f func(figures) spread) {
		fmt.Fprint(t, label)
		for _, name := range callNames {
			fmt.Fprint(t, "\t", f(r.Calls[name]).text(format))
		}
		fmt.Fprintln(t)
	}
	line("p50 at 1 connection, ms", "%.3f", func(f figures) spread { return f.P50 })
	line("p99 at 1 connection, ms", "%.3f", func(f figures) spread { return f.P99 })
	line("added p50, ms", "%.3f", func(f figures) spread { return f.AddedP50 })
	line("added p99, ms", "%.3f", func(f figures) spread { return f.AddedP99 })
	line("requests/s at 16", "%.0f", func(f figures) spread { return f.Rate })
	line("share of direct", "%.3f", func(f figures) spread { return f.Share })
	line("its CPU per call at 16, µs", "%.0f", func(f figures) spread { return f.CPU })
	line("RSS, MiB", "%.0f", func(f figures) spread { return f.RSS })
	fmt.Fprint(t, "peak RSS of the whole run, MiB")
	for _, name := range callNames {
		fmt.Fprintf(t, "\t%.0f", r.Peak[name])
	}
	fmt.Fprintln(t)
}

func (r *results) printTokens(t *tabwriter.Writer) {
	fmt.Fprintf(t, "token endpoint, at 16\trequests/s\tshare of bare signing\tCPU per request, µs\tp50, ms\tp99, ms\n")
	for _, name := range tokenNames {
		f := r.Token[name]
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\n", name, f.Rate.text("%.0f"), f.Share.text("%.2f"), f.CPU.text("%.0f"), f.P50.text("%.2f"), f.P99.text("%.2f"))
	}
}

func (r *results) printTargets(t *tabwriter.Writer) {
	fmt.Fprintf(t, "wicketgate, DESIGN.md section 6\tfound\ttarget\tmet\n")
	for _, g := range r.Targets {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", g.Name, g.Found.text("%.2f"), g.bound(), yesNo(g.Met))
	}
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}
