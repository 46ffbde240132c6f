package main

import (
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/spf13/cobra"

	"github.com/wicketgate/wicketgate/policies"
)

func policyMatrixCommand() *cobra.Command {
	var f matrixFlags
	c := &cobra.Command{
		Use:   "matrix [FILE]",
		Short: "Print who can call what",
		Long: `Prints the roles of a policy, who has them, and what each may call on which server under
which conditions; then what is denied to whom. FILE is an access.yaml; default: the one
of --config or --data. With --subject only what that caller can see, with the groups,
claims and so on that other flags say. Whether a server has a tool, and its definition
is approved, is not looked at; "*" is every one.
Exit code 0: printed; 2: a policy that is wrong.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) > 0 {
				f.file = args[0]
			}
			return f.run(c.Context(), c.OutOrStdout(), c.ErrOrStderr())
		},
	}
	f.policyFlags.register(c)
	f.callerFlags.register(c)
	c.Flags().StringVar(&f.subject, "subject", "", "only what this `subject` can see")
	c.Flags().BoolVar(&f.csv, "csv", false, "a row for each grant and denial, for a spreadsheet")
	c.Flags().BoolVar(&f.json, "json", false, "as JSON")
	c.MarkFlagsMutuallyExclusive("csv", "json")
	return c
}

type matrixFlags struct {
	policyFlags
	callerFlags
	subject   string
	csv, json bool
}

func (f *matrixFlags) run(ctx context.Context, stdout, stderr io.Writer) error {
	p, err := f.load(ctx, stderr)
	if err != nil {
		return err
	}
	m := p.Matrix()
	if f.subject != "" {
		q, err := f.request(f.subject, time.Now())
		if err != nil {
			return err
		}
		if m, err = of(ctx, p, m, q); err != nil {
			return err
		}
	}
	switch {
	case f.csv:
		return matrixCSV(stdout, m)
	case f.json:
		return json.MarshalWrite(stdout, matrixJSON(m), jsontext.WithIndent("  "))
	}
	return matrixTable(stdout, m)
}

// of is the part of m that the caller can see: their roles, and of the grants those that a
// list shows. "*" stays as it is, because it is no name that could be asked about; what is
// taken out of it is among the denials.
func of(ctx context.Context, p *policies.PDP, m policies.Matrix, q policies.Request) (policies.Matrix, error) {
	q.Server = "a"
	e, err := p.Explain(ctx, q)
	if err != nil {
		return m, err
	}
	has := map[string]bool{}
	for _, r := range e.Roles {
		has[r.Name] = r.Has
	}
	m.Roles = slices.DeleteFunc(m.Roles, func(r policies.MatrixRole) bool { return !has[r.Name] })
	m.Grants = slices.DeleteFunc(m.Grants, func(g policies.MatrixGrant) bool {
		return !has[g.Role] || !strings.Contains(g.Name, "*") && !sees(ctx, p, g, q)
	})
	return m, nil
}

func sees(ctx context.Context, p *policies.PDP, g policies.MatrixGrant, q policies.Request) bool {
	q.Server = g.Server
	switch g.Kind {
	case "resource":
		q.Action, q.Resource = policies.ActionReadResource, g.Name
	case "prompt":
		q.Action, q.Prompt = policies.ActionGetPrompt, g.Name
	default:
		q.Action, q.Tool = policies.ActionCallTool, g.Name
	}
	d := p.Decide(ctx, q)
	return d.Allowed() && d.Observed == ""
}

func matrixTable(w io.Writer, m policies.Matrix) error {
	var roles, grants, denials [][]string
	for _, r := range m.Roles {
		roles = append(roles, []string{r.Name, dash(r.Who), dash(r.Conditions)})
	}
	for _, g := range m.Grants {
		grants = append(grants, []string{g.Role, g.Server, g.Kind + " " + g.Name, dash(withRisk(g))})
	}
	for _, g := range m.Denials {
		denials = append(denials, []string{g.Rule, g.Server, g.Kind + " " + g.Name, dash(g.Conditions)})
	}
	return errors.Join(
		section(w, "ROLE\tWHO\tIF", roles),
		section(w, "\nROLE\tSERVER\tMAY USE\tIF", grants),
		section(w, "\nDENIAL\tSERVER\tOF\tIF", denials))
}

// section is a table, or nothing where there is no row.
func section(w io.Writer, head string, rows [][]string) error {
	if len(rows) == 0 {
		return nil
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, head)
	for _, row := range rows {
		for i := range row {
			row[i] = escape(row[i])
		}
		fmt.Fprintln(t, strings.Join(row, "\t"))
	}
	return t.Flush()
}

func withRisk(g policies.MatrixGrant) []string {
	if g.Risk == "" {
		return g.Conditions
	}
	return append([]string{"risk " + g.Risk}, g.Conditions...)
}

func dash(list []string) string {
	if len(list) == 0 {
		return "-"
	}
	return strings.Join(list, "; ")
}

// matrixCSV has a cell for each fact. What a spreadsheet would run is put in quotes.
func matrixCSV(w io.Writer, m policies.Matrix) error {
	c := csv.NewWriter(w)
	rows := [][]string{{"effect", "role", "who", "server", "kind", "name", "risk", "conditions", "rule", "at"}}
	who := map[string]policies.MatrixRole{}
	for _, r := range m.Roles {
		who[r.Name] = r
	}
	for _, g := range m.Grants {
		conditions := slices.Concat(who[g.Role].Conditions, g.Conditions)
		rows = append(rows, []string{"allow", g.Role, strings.Join(who[g.Role].Who, "; "), g.Server, g.Kind, g.Name, g.Risk, strings.Join(conditions, "; "), g.Rule, g.At})
	}
	for _, g := range m.Denials {
		rows = append(rows, []string{"deny", "", "", g.Server, g.Kind, g.Name, g.Risk, strings.Join(g.Conditions, "; "), g.Rule, g.At})
	}
	for _, row := range rows {
		for i := range row {
			row[i] = noFormula(row[i])
		}
	}
	if err := c.WriteAll(rows); err != nil {
		return err
	}
	return c.Error()
}

// noFormula keeps a spreadsheet from taking a name for a formula.
func noFormula(s string) string {
	if s != "" && strings.ContainsRune("=+-@\t\r", rune(s[0])) {
		return "'" + s
	}
	return s
}

type matrixDocument struct {
	Roles   []matrixRoleJSON  `json:"roles"`
	Grants  []matrixGrantJSON `json:"grants"`
	Denials []matrixGrantJSON `json:"denials"`
}

type matrixRoleJSON struct {
	Name       string   `json:"name"`
	At         string   `json:"at"`
	Who        []string `json:"who"`
	Conditions []string `json:"conditions"`
}

type matrixGrantJSON struct {
	Role       string   `json:"role,omitempty"`
	Server     string   `json:"server"`
	Kind       string   `json:"kind"`
	Name       string   `json:"name"`
	Risk       string   `json:"risk,omitempty"`
	Conditions []string `json:"conditions"`
	Rule       string   `json:"rule"`
	At         string   `json:"at"`
}

func matrixJSON(m policies.Matrix) matrixDocument {
	out := matrixDocument{Roles: []matrixRoleJSON{}, Grants: []matrixGrantJSON{}, Denials: []matrixGrantJSON{}}
	for _, r := range m.Roles {
		out.Roles = append(out.Roles, matrixRoleJSON{r.Name, r.At, orNone(r.Who), orNone(r.Conditions)})
	}
	list := func(of []policies.MatrixGrant) (out []matrixGrantJSON) {
		out = []matrixGrantJSON{}
		for _, g := range of {
			out = append(out, matrixGrantJSON{g.Role, g.Server, g.Kind, g.Name, g.Risk, orNone(g.Conditions), g.Rule, g.At})
		}
		return out
	}
	out.Grants, out.Denials = list(m.Grants), list(m.Denials)
	return out
}

// orNone is a list in JSON even where it is empty.
func orNone(list []string) []string { return append([]string{}, list...) }
