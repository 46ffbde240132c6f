package main

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/wicketgate/wicketgate/policies"
)

// suggestionText is access.yaml as it is written.
type suggestionText struct {
	strings.Builder
	s         *suggestion
	p         *past
	approvers []string // those of each role approvers-N, in order
}

// text also reads what it wrote: a file that its own parser refuses helps nobody.
func (s *suggestion) text(ctx context.Context, p *past) (string, error) {
	s.unapproved(p)
	t := &suggestionText{s: s, p: p}
	roles := s.roles(p)
	t.header()
	if len(roles) > 0 {
		t.WriteString("\nroles:\n")
	}
	count := map[callerKind]int{}
	for _, r := range roles {
		count[r.kind]++
		t.role(fmt.Sprintf("%s-%d", map[callerKind]string{aPerson: "people", aWorkload: "workloads"}[r.kind], count[r.kind]), r)
	}
	for i, names := range t.approvers {
		fmt.Fprintf(t, "  approvers-%d:\n    who:\n      users:\n", i+1)
		for name := range strings.SplitSeq(names, "\n") {
			fmt.Fprintf(t, "        - %s\n", yamlText(name))
		}
	}
	t.footer()
	if _, err := policies.New(ctx, policies.Config{Access: []byte(t.String()), Name: "suggestion"}); err != nil {
		return "", fmt.Errorf("what was suggested is no policy, which is a mistake of this command: %w", err)
	}
	return t.String(), nil
}

func (t *suggestionText) header() {
	t.WriteString("# The least policy that covers what was used, by wicketgate policy suggest.\n")
	if t.p.calls > 0 {
		fmt.Fprintf(t, "# Of %d calls%s.\n", t.p.calls, t.p.span())
	} else {
		t.WriteString("# There was no call in that time: nothing is granted.\n")
	}
	for _, line := range t.p.notes() {
		fmt.Fprintf(t, "# %s\n", line)
	}
	if t.s.approved == nil {
		t.WriteString("# Whether the definitions of these tools are approved now was not looked at.\n")
	}
	t.WriteString("# What was used is not what should be allowed: read each line, and add conditions.\nversion: 1\n")
}

func (t *suggestionText) role(name string, r *suggested) {
	fmt.Fprintf(t, "  %s:\n    who:\n      %ss:\n", name, r.kind)
	for _, caller := range r.callers {
		var total usage
		for _, u := range t.s.used[pastCaller{r.kind, caller}] {
			total.join(u)
		}
		total.numbers = nil // of different tools
		fmt.Fprintf(t, "        - %s # %s\n", yamlText(caller), total.words())
	}
	t.WriteString("    servers:\n")
	var at grantName
	for _, g := range r.grants {
		if g.server != at.server {
			fmt.Fprintf(t, "      %s:\n", yamlText(g.server))
			at = grantName{server: g.server}
		}
		if g.list != at.list {
			fmt.Fprintf(t, "        %s:\n", g.list)
		}
		at = g.grantName
		t.grant(r, g)
	}
}

// grant is an item of a list, or of a mapping where one of the list has a condition.
func (t *suggestionText) grant(r *suggested, g suggestedGrant) {
	var total usage
	for _, caller := range r.callers {
		total.join(t.s.used[pastCaller{r.kind, caller}][g.grantName])
	}
	item := "- " + yamlText(g.name)
	if slices.ContainsFunc(r.grants, func(h suggestedGrant) bool { return h.server == g.server && h.list == g.list && h.approvers != "" }) {
		item = yamlText(g.name) + ": " + t.condition(g)
	}
	fmt.Fprintf(t, "          %s # %s\n", item, total.words())
}

func (t *suggestionText) condition(g suggestedGrant) string {
	if g.approvers == "" {
		return "{}"
	}
	i := slices.Index(t.approvers, g.approvers)
	if i < 0 {
		i = len(t.approvers)
		t.approvers = append(t.approvers, g.approvers)
	}
	return fmt.Sprintf("{approval: {by: [approvers-%d]}}", i+1)
}

// footer lists what is not granted, and apart what this policy allows that was denied: it
// has none of the conditions by which it was.
func (t *suggestionText) footer() {
	for l := range t.s.left {
		if u := t.s.used[l.pastCaller][l.grantName]; u != nil && len(u.approvals) > 0 && l.why == "denied, "+string(policies.ReasonApproval) {
			delete(t.s.left, l) // it was approved later, and will be asked for again
		}
	}
	lost := func(l leftOut) bool { return t.s.used[l.pastCaller][l.grantName] != nil }
	t.left("Denied then, and ALLOWED here, because the condition that denied it is not in the log: add it.", lost)
	t.left("Not granted:", func(l leftOut) bool { return !lost(l) })
}

func (t *suggestionText) left(title string, of func(leftOut) bool) {
	keys := slices.SortedFunc(maps.Keys(t.s.left), func(a, b leftOut) int {
		return cmp.Or(-cmp.Compare(a.kind, b.kind), cmp.Compare(a.pastCaller.name, b.pastCaller.name), compareGrants(a.grantName, b.grantName), cmp.Compare(a.why, b.why))
	})
	keys = slices.DeleteFunc(keys, func(l leftOut) bool { return !of(l) })
	if len(keys) > 0 {
		fmt.Fprintf(t, "\n# %s\n", title)
	}
	for _, l := range keys {
		fmt.Fprintf(t, "#   %s %s: %s: %s (%s)\n", l.kind, escape(l.pastCaller.name), escape(l.grantName.String()), escape(l.why), t.s.left[l].words())
	}
}
