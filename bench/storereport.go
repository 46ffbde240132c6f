package main

import (
	"bytes"
	"fmt"
	"io"
	"text/tabwriter"
	"time"
)

// storeResults is what a run found out about the stores.
type storeResults struct {
	Others float64                 `json:"cores_busy_with_other_programs"`
	Fsync  float64                 `json:"fsync_ms"`
	Grants [2]int                  `json:"grants"` // few and many
	Rows   []storeRow              `json:"summary"`
	Growth []target                `json:"targets"`
	Rounds map[string][]storeRound `json:"rounds"` // by store
}

// storeRound is one round's samples of one store, by grant.
type storeRound struct {
	Sign sample            `json:"bare_signing"`
	Few  map[string]sample `json:"few_grants"`
	Many map[string]sample `json:"many_grants"`
}

// storeRow is the summary of one grant on one store, over the rounds.
type storeRow struct {
	Store     string  `json:"store"`
	Grant     string  `json:"grant"`
	Few       figures `json:"few_grants"`
	Many      figures `json:"many_grants"`
	Growth    spread  `json:"growth"`     // of requests/s: with many as to with few
	GrowthCPU spread  `json:"growth_cpu"` // of CPU per request, the database's included
}

// sameCost is the least share of its requests/s that a grant may have left when
// the tables are full.
const sameCost = 0.9

func (r *results) noteStore(p *storePair, rd storeRound) {
	r.note(nameSign, rd.Sign)
	for j, samples := range []map[string]sample{rd.Few, rd.Many} {
		for grant, s := range samples {
			r.note(p.label(j)+": "+grant, s)
		}
	}
}

func (s *storeResults) finish() {
	for _, store := range []string{nameSQLite, namePostgres} {
		rounds := s.Rounds[store]
		if len(rounds) == 0 {
			continue
		}
		for _, grant := range grantNames {
			row := newStoreRow(store, grant, rounds)
			s.Rows = append(s.Rows, row)
			s.Growth = append(s.Growth, newTarget(fmt.Sprintf("%s, %s, requests/s, %s : %s", store, grant, count(s.Grants[1]), count(s.Grants[0])), row.Growth, sameCost, true))
		}
	}
}

func newStoreRow(store, grant string, rounds []storeRound) storeRow {
	few := func(r storeRound) sample { return r.Few[grant] }
	many := func(r storeRound) sample { return r.Many[grant] }
	return storeRow{Store: store, Grant: grant, Few: storeFigures(rounds, few), Many: storeFigures(rounds, many),
		Growth: over(rounds, func(r storeRound) float64 { return ratio(many(r).Rate, few(r).Rate) }),
		GrowthCPU: over(rounds, func(r storeRound) float64 {
			return ratio(many(r).CPU+many(r).Database, few(r).CPU+few(r).Database)
		})}
}

func storeFigures(rounds []storeRound, of func(storeRound) sample) figures {
	return figures{
		P50:      over(rounds, func(r storeRound) float64 { return of(r).P50 }),
		P99:      over(rounds, func(r storeRound) float64 { return of(r).P99 }),
		Rate:     over(rounds, func(r storeRound) float64 { return of(r).Rate }),
		Share:    over(rounds, func(r storeRound) float64 { return ratio(of(r).Rate, r.Sign.Rate) }),
		CPU:      over(rounds, func(r storeRound) float64 { return of(r).CPU }),
		Database: over(rounds, func(r storeRound) float64 { return of(r).Database }),
		RSS:      over(rounds, func(r storeRound) float64 { return of(r).RSS }),
	}
}

// sign is bare signing beside a store.
func (s *storeResults) sign(store string) spread {
	return over(s.Rounds[store], func(r storeRound) float64 { return r.Sign.Rate })
}

func (s *storeResults) print(w io.Writer, cores int) {
	fmt.Fprintf(w, "\nThe stores, medians over the rounds (least–most). Other programs kept %.1f of %d cores busy meanwhile.\n"+
		"SQLite with synchronous=FULL, PostgreSQL with fsync, as in production: to keep 4 KiB for good took this disk %.2f ms.\n\n", s.Others, cores, s.Fsync)
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	defer t.Flush()
	fmt.Fprint(t, "wicketgate serve, at 16\tgrants\trequests/s\tshare of bare signing\tCPU per request, µs\tPostgreSQL's, µs\tp50, ms\tp99, ms\n")
	store := ""
	for _, r := range s.Rows {
		if r.Store != store {
			store = r.Store
			fmt.Fprintf(t, "beside %s: %s\t\t%s\t\t\t\t\t\n", store, nameSign, s.sign(store).text("%.0f"))
		}
		for j, f := range []figures{r.Few, r.Many} {
			fmt.Fprintf(t, "%s, %s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", r.Store, r.Grant, count(s.Grants[j]), f.Rate.text("%.0f"), f.Share.text("%.2f"),
				f.CPU.text("%.0f"), f.Database.text("%.0f"), f.P50.text("%.2f"), f.P99.text("%.2f"))
		}
	}
	fmt.Fprintf(t, "\n%s grants as to %s\trequests/s\ttarget\tmet\tCPU per request\n", count(s.Grants[1]), count(s.Grants[0]))
	for i, r := range s.Rows {
		fmt.Fprintf(t, "%s, %s\t%s\t%s\t%s\t%s\n", r.Store, r.Grant, r.Growth.text("%.2f"), s.Growth[i].bound(), yesNo(s.Growth[i].Met), r.GrowthCPU.text("%.2f"))
	}
}

// markdown is the section of docs/bench.md between its marks.
func (s *storeResults) markdown(m machine) []byte {
	var b bytes.Buffer
	many := count(s.Grants[1])
	fmt.Fprintf(&b, "The last run: %s, commit %s, %d cores (%s), %s, %d rounds of %gs a measurement, medians (least–most).\n"+
		"Other programs kept %.1f cores busy. A write of 4 KiB with fsync took this disk %.2f ms.\n\n",
		m.Began.UTC().Format(time.DateOnly), m.Commit, m.Cores, m.CPU, m.Go, m.Rounds, m.Seconds/2, s.Others, s.Fsync)
	fmt.Fprintf(&b, "| at 16 connections | requests/s with %s grants | with %s | of bare signing, with %s | CPU per request, µs, with %s | %s as to %s: requests/s (aim ≥ %.2f) | CPU |\n|---|---|---|---|---|---|---|\n",
		count(s.Grants[0]), many, many, many, many, count(s.Grants[0]), sameCost)
	for _, r := range s.Rows {
		cpu := fmt.Sprintf("%.0f", r.Many.CPU.Median)
		if r.Store == namePostgres {
			cpu += fmt.Sprintf(" + %.0f", r.Many.Database.Median)
		}
		fmt.Fprintf(&b, "| %s, %s | %s | %s | %.2f × | %s | %s × | %s × |\n", r.Store, r.Grant, r.Few.Rate.text("%.0f"), r.Many.Rate.text("%.0f"),
			r.Many.Share.Median, cpu, r.Growth.text("%.2f"), r.GrowthCPU.text("%.2f"))
	}
	return b.Bytes()
}

func (s *storeResults) charts() []chart {
	var rates []bar
	for _, r := range s.Rows {
		if r.Grant == grantNames[0] {
			rates = append(rates, bar{label: "beside " + r.Store + ": " + nameSign, value: s.sign(r.Store)})
		}
		for j, f := range []figures{r.Few, r.Many} {
			rates = append(rates, bar{fmt.Sprintf("%s, %s, %s grants", r.Store, r.Grant, count(s.Grants[j])), f.Rate, j == 1})
		}
	}
	return []chart{
		{"stores.svg", "Requests per second at sixteen connections (more is better)", "%.0f", rates},
		{"growth.svg", "Full tables as to nearly empty ones (1 is the same)", "%.2f", targetBars(s.Growth)},
	}
}
