package main

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/wicketgate/wicketgate/internal/console"
)

// approvalJSON is a request as the API of the console says it.
type approvalJSON struct {
	ID        string         `json:"id"`
	URL       string         `json:"url"`
	State     string         `json:"state"`
	Subject   string         `json:"subject"`
	Client    string         `json:"client"`
	Actors    []string       `json:"actors"`
	Server    string         `json:"server"`
	Tool      string         `json:"tool"`
	Risk      string         `json:"risk"`
	Arguments jsontext.Value `json:"arguments"`
	Digest    string         `json:"arguments_digest"`
	Rule      string         `json:"rule"`
	By        [][]string     `json:"by"`
	Created   time.Time      `json:"created_at"`
	Expires   time.Time      `json:"expires_at"`
	DecidedBy string         `json:"decided_by"`
	DecidedAt time.Time      `json:"decided_at"`
	Comment   string         `json:"comment"`
	MayDecide bool           `json:"may_decide"`
	Own       bool           `json:"own"`
	Outdated  bool           `json:"outdated"`
}

type approvalsJSON struct {
	Waiting []approvalJSON `json:"waiting"`
	Recent  []approvalJSON `json:"recent"`
}

// cell keeps a name from doing anything to a terminal, or to the table that it is in.
func cell(s string) string {
	if s == "" {
		return "-"
	}
	return strings.NewReplacer("\n", `\n`, "\t", `\t`).Replace(console.Visible(s))
}

func printApprovals(w io.Writer, a approvalsJSON, now time.Time) error {
	if len(a.Waiting)+len(a.Recent) == 0 {
		_, err := fmt.Fprintln(w, "no call waits that you may see")
		return err
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "ID\tSTATE\tFOR\tSERVER\tTOOL\tRISK\tLEFT\tYOU")
	for _, r := range append(a.Waiting, a.Recent...) {
		left := "-"
		if r.State == "pending" || r.State == "approved" {
			left = max(r.Expires.Sub(now), 0).Truncate(time.Second).String()
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", cell(r.ID), cell(r.State), cell(r.Subject), cell(r.Server), cell(r.Tool), cell(r.Risk), left, r.you())
	}
	return t.Flush()
}

// you is what the person may do.
func (r approvalJSON) you() string {
	switch {
	case r.Own:
		return "your own call"
	case r.MayDecide:
		return "may decide"
	case r.Outdated:
		return "nobody decides: the policy has changed, the call must be sent again"
	case r.State == "pending":
		return "may decide after another login"
	}
	return "-"
}

func printApproval(w io.Writer, r approvalJSON) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	row := func(name, value string) {
		if value != "" {
			fmt.Fprintf(t, "%s:\t%s\n", name, cell(value))
		}
	}
	row("id", r.ID)
	row("state", r.State)
	row("for", r.Subject)
	row("client", r.Client)
	row("actors", strings.Join(r.Actors, " for "))
	row("server", r.Server)
	row("tool", r.Tool)
	row("risk", r.Risk)
	row("asked by", r.Rule)
	row("who may approve", roles(r.By))
	row("asked at", r.Created.UTC().Format(time.RFC3339))
	row("expires", r.Expires.UTC().Format(time.RFC3339))
	row("decided by", r.DecidedBy)
	if !r.DecidedAt.IsZero() {
		row("decided at", r.DecidedAt.UTC().Format(time.RFC3339))
	}
	row("comment", r.Comment)
	row("you", strings.TrimPrefix(r.you(), "-"))
	row("page", r.URL)
	row("arguments digest", r.Digest) // which is another one where what differs is masked
	if err := t.Flush(); err != nil || len(r.Arguments) == 0 {
		return err
	}
	_, err := fmt.Fprintf(w, "arguments:\n%s\n", console.Pretty(r.Arguments))
	return err
}

func roles(by [][]string) string {
	var all []string
	for _, one := range by {
		all = append(all, strings.Join(one, " or "))
	}
	return strings.Join(all, ", and also ")
}
