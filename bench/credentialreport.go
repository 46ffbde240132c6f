package main

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"
)

// credentialResults is what a run found out about credentials.
type credentialResults struct {
	Others float64           `json:"cores_busy_with_other_programs"`
	Fsync  float64           `json:"fsync_ms"`
	Rows   []credentialRow   `json:"summary"`
	Rounds []credentialRound `json:"rounds"`
}

// credentialRow is the summary of the calls of one server, over the rounds. Times are at one
// connection, the rest at many.
type credentialRow struct {
	Name        string            `json:"name"`
	Connections int               `json:"connections"`
	P50         spread            `json:"p50_ms"`
	P99         spread            `json:"p99_ms"`
	AddedP50    spread            `json:"added_p50_ms"` // beyond the call with a call token in the same round
	AddedP99    spread            `json:"added_p99_ms"`
	Rate        spread            `json:"per_second"`
	CPU         spread            `json:"cpu_us_per_call"`
	Commands    spread            `json:"commands_cpu_us_per_call"`
	Vault       spread            `json:"vault_cpu_us_per_call"`
	Database    spread            `json:"database_cpu_us_per_call"`
	Requests    spread            `json:"vault_requests_per_call"`
	Left        spread            `json:"left_to_end"`
	EndedIn     spread            `json:"ended_in_ms"`
	Steps       map[string]spread `json:"vault_step_p50_ms"` // of Vault itself
}

func (r *results) noteCredentials(rd credentialRound) {
	for what, samples := range map[string]map[string]credentialSample{"at one connection": rd.One, "at many": rd.Many} {
		for name, s := range samples {
			r.note(name+" "+what, s.sample)
		}
	}
}

func (c *credentialResults) finish() {
	servers := legacyServers("")
	for _, name := range legacyNames {
		c.Rows = append(c.Rows, newCredentialRow(name, servers[name].connections, c.Rounds))
	}
}

func newCredentialRow(name string, connections int, rounds []credentialRound) credentialRow {
	one := func(f func(credentialSample) float64) spread {
		return over(rounds, func(r credentialRound) float64 { return f(r.One[name]) })
	}
	many := func(f func(credentialSample) float64) spread {
		return over(rounds, func(r credentialRound) float64 { return f(r.Many[name]) })
	}
	row := credentialRow{Name: name, Connections: connections,
		P50:      one(func(s credentialSample) float64 { return s.P50 }),
		P99:      one(func(s credentialSample) float64 { return s.P99 }),
		AddedP50: over(rounds, func(r credentialRound) float64 { return r.One[name].P50 - r.One[legacyToken].P50 }),
		AddedP99: over(rounds, func(r credentialRound) float64 { return r.One[name].P99 - r.One[legacyToken].P99 }),
		Rate:     many(func(s credentialSample) float64 { return s.Rate }),
		CPU:      many(func(s credentialSample) float64 { return s.CPU }),
		Commands: many(func(s credentialSample) float64 { return s.Commands }),
		Vault:    many(func(s credentialSample) float64 { return s.Vault }),
		Database: many(func(s credentialSample) float64 { return s.Database }),
		Requests: many(func(s credentialSample) float64 { return s.Requests }),
		Left:     many(func(s credentialSample) float64 { return float64(s.Left) }),
		EndedIn:  many(func(s credentialSample) float64 { return s.EndedIn }),
		Steps:    map[string]spread{},
	}
	for _, step := range stepNames {
		var times []float64
		for _, r := range rounds {
			if s, ok := r.One[name].Steps[step]; ok {
				times = append(times, s.P50)
			}
		}
		if len(times) > 0 && name != legacyToken { // whose requests are the gateway's own
			row.Steps[step] = spreadOf(times)
		}
	}
	return row
}

func (c *credentialResults) print(w io.Writer, cores int) {
	fmt.Fprintf(w, "\nCalls with credentials of Vault, medians over the rounds (least–most). Other programs kept %.1f of %d cores busy meanwhile.\n"+
		"Vault with its audit file, PostgreSQL with fsync, a store of SQLite: to keep 4 KiB for good took this disk %.2f ms.\n\n", c.Others, cores, c.Fsync)
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	defer t.Flush()
	fmt.Fprint(t, "tools/call with\tp50 at 1 connection, ms\tp99, ms\tadded p50, ms\tadded p99, ms\tconnections\trequests/s\tVault's requests per call\tleft to end\tended within, ms\n")
	for _, r := range c.Rows {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%d\t%s\t%s\t%s\t%s\n", r.Name, r.P50.text("%.2f"), r.P99.text("%.2f"), r.AddedP50.text("%.2f"), r.AddedP99.text("%.2f"),
			r.Connections, r.Rate.text("%.0f"), r.Requests.text("%.2f"), r.Left.text("%.0f"), r.EndedIn.text("%.0f"))
	}
	fmt.Fprint(t, "\nCPU per call at so many, µs\twicketgate's\tcommands'\tVault's\tPostgreSQL's\n")
	for _, r := range c.Rows {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\n", r.Name, r.CPU.text("%.0f"), r.Commands.text("%.0f"), r.Vault.text("%.0f"), r.Database.text("%.0f"))
	}
	fmt.Fprintf(t, "\np50 within Vault at 1 connection, ms\t%s\n", strings.Join(stepNames, "\t"))
	for _, r := range c.Rows {
		if len(r.Steps) == 0 {
			continue
		}
		fmt.Fprint(t, r.Name)
		for _, step := range stepNames {
			fmt.Fprint(t, "\t", r.step(step))
		}
		fmt.Fprintln(t)
	}
}

// step is empty where nothing was asked.
func (r credentialRow) step(name string) string {
	if s, ok := r.Steps[name]; ok {
		return s.text("%.2f")
	}
	return ""
}

// markdown is the section of docs/bench.md between its marks.
func (c *credentialResults) markdown(m machine) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "The last run: %s, commit %s, %d cores (%s), %s, %d rounds of %gs a measurement, medians (least–most).\n"+
		"Other programs kept %.1f cores busy. A write of 4 KiB with fsync took this disk %.2f ms.\n\n",
		m.Began.UTC().Format(time.DateOnly), m.Commit, m.Cores, m.CPU, m.Go, m.Rounds, m.Seconds, c.Others, c.Fsync)
	fmt.Fprint(&b, "| a call with | added p50 at one connection, ms | added p99, ms | requests/s at 16 | requests to Vault per call | left to end after it | CPU per call, µs: wicketgate | its commands | Vault | PostgreSQL |\n|---|---|---|---|---|---|---|---|---|---|\n")
	for _, r := range c.Rows {
		added, late := r.AddedP50.text("%.2f"), r.AddedP99.text("%.2f")
		if r.Name == legacyToken {
			added, late = fmt.Sprintf("0 (of %.2f)", r.P50.Median), fmt.Sprintf("0 (of %.2f)", r.P99.Median)
		}
		name := r.Name
		if r.Connections != connections {
			name += fmt.Sprintf(" (at %d)", r.Connections)
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %.2f | %.0f | %.0f | %.0f | %.0f | %.0f |\n", name, added, late, r.Rate.text("%.0f"), r.Requests.Median, r.Left.Median,
			r.CPU.Median, r.Commands.Median, r.Vault.Median, r.Database.Median)
	}
	fmt.Fprint(&b, "\n| p50 within Vault at one connection, ms | login | mint | beside the answer: revoke the lease | revoke the token |\n|---|---|---|---|---|\n")
	for _, r := range c.Rows {
		if _, ok := r.Steps[stepEnd]; ok {
			fmt.Fprintf(&b, "| %s | %s | %s | %s | %s |\n", r.Name, r.step(stepLogin), r.step(stepMint), r.step(stepRevoke), r.step(stepEnd))
		}
	}
	return b.Bytes()
}

func (c *credentialResults) charts() []chart {
	var added, rates []bar
	for _, r := range c.Rows {
		rates = append(rates, bar{fmt.Sprintf("%s, %d connections", r.Name, r.Connections), r.Rate, r.Name != legacyToken})
		if r.Name != legacyToken {
			added = append(added, bar{r.Name, r.AddedP50, true})
		}
	}
	return []chart{
		{"credentials.svg", "Added p50 at one connection, ms: beyond a call with a call token (less is better)", "%.2f", added},
		{"credentials-requests.svg", "Requests per second (more is better)", "%.0f", rates},
	}
}
