package main

import (
	"fmt"
	"io"
	"strconv"
	"text/tabwriter"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

func printVaultJSON(w io.Writer, r vaultReport) error {
	if err := json.MarshalWrite(w, r, jsontext.WithIndent("  ")); err != nil {
		return err
	}
	_, err := fmt.Fprintln(w)
	return err
}

func (r vaultReport) print(w io.Writer, leases bool, now time.Time) error {
	fmt.Fprintf(w, "Vault %s: %s\nlogin by %s: %s\n", cell(r.Address), cell(r.Health), r.Method, cell(r.Login))
	if r.Note != "" {
		fmt.Fprintf(w, "leases: %s\n", r.Note)
	}
	fmt.Fprintln(w)
	if err := r.printServers(w); err != nil {
		return err
	}
	if len(r.Failed) > 0 {
		fmt.Fprintln(w, "\nnot ended, and tried again:")
		if err := printFailed(w, r.Failed, now); err != nil {
			return err
		}
	}
	if !leases {
		return nil
	}
	fmt.Fprintln(w)
	return printLeases(w, r.Leases, now)
}

func (r vaultReport) printServers(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "SERVER\tENGINE\tPER\tPATH\tLEASES\tNOT ENDED\tKEY")
	for _, s := range r.Servers {
		per, key := cell(s.Per), cell(s.Key)
		if s.Gone {
			key = "not in the configuration (any more)"
		}
		held, failed := strconv.Itoa(s.Held), strconv.Itoa(s.Failed)
		if r.Note != "" {
			held, failed = "?", "?"
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", cell(s.Name), cell(s.Engine), per, cell(s.Path), held, failed, key)
	}
	return t.Flush()
}

func printFailed(w io.Writer, all []leaseReport, now time.Time) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "ID\tSERVER\tSUBJECT\tAGE\tATTEMPTS\tNEXT IN\tWHY\tVAULT ENDS IT IN")
	for _, l := range all {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%d\t%s\t%s\t%s\n", cell(l.ID), cell(l.Server), cell(l.Subject), spell(now.Sub(l.Created)), l.Attempts,
			spell(l.Next.Sub(now)), cell(l.Failure), spell(l.Expires.Sub(now)))
	}
	return t.Flush()
}

func printLeases(w io.Writer, all []leaseReport, now time.Time) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "ID\tLEASE\tSERVER\tSUBJECT\tHOLDER\tSTATE\tAGE\tEXPIRES IN")
	for _, l := range all {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", cell(l.ID), cell(l.Lease), cell(l.Server), cell(l.Subject), cell(l.Holder), l.State,
			spell(now.Sub(l.Created)), spell(l.Expires.Sub(now)))
	}
	return t.Flush()
}
