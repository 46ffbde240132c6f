package policies_test

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/wicketgate/wicketgate/policies"
)

// differs says how the needs or the terms of a decision are not those of the model.
func (a modelAnswer) differs(doc modelDoc, q policies.Request, d policies.Decision) string {
	caller := modelCaller{doc, q}
	switch {
	case a.reason == policies.ReasonApproval || a.reason == policies.ReasonStepUp:
		want, got := a.closest.needs(a.reason), shownNeeds(d.Needs)
		if want != got {
			return fmt.Sprintf("needs %s, want %s", got, want)
		}
	case d.Risk != "" && a.allowed() && !slices.ContainsFunc(a.holds, func(g modelGrant) bool { return strings.Contains(g.risk, d.Risk) }):
		return "no rule that allows it is of the risk " + d.Risk
	case a.allowed() && (q.Arguments != nil || q.Resource != ""):
		want := map[string]bool{}
		for _, g := range a.holds {
			want[caller.terms(g)] = true
		}
		if got := meaning(d.Terms); !maps.Equal(asking(want), got) {
			return fmt.Sprintf("terms %v, want %v", got, asking(want))
		}
	}
	return ""
}

// needs are what an approval or a step-up needs, of all conditions at once.
func (g modelGrant) needs(reason policies.Reason) string {
	var n policies.Needs
	for _, c := range g.conditions {
		acr, maxAge := c.ACR, c.MaxAge
		if reason == policies.ReasonApproval {
			if c.Approval == nil {
				continue
			}
			acr, maxAge = c.Approval.ACR, c.Approval.MaxAge
			n.Rule, n.By = g.rule, append(n.By, slices.Sorted(slices.Values(c.Approval.By)))
			n.Within = least(n.Within, c.Approval.Within)
		}
		n.ACR, n.MaxAge = intersection(n.ACR, acr), least(n.MaxAge, maxAge)
	}
	return shownNeeds(n)
}

// intersection takes no list for everything.
func intersection(a, b []string) []string {
	if a == nil || b == nil {
		return slices.Concat(a, b)
	}
	return slices.DeleteFunc(slices.Clone(a), func(s string) bool { return !slices.Contains(b, s) })
}

func least(d time.Duration, s string) time.Duration {
	if s == "" {
		return d
	}
	other, err := time.ParseDuration(s)
	if err != nil {
		panic(err)
	}
	if d == 0 {
		return other
	}
	return min(d, other)
}

func shownNeeds(n policies.Needs) string {
	var by []string
	for _, roles := range n.By {
		by = append(by, strings.Join(slices.Sorted(slices.Values(roles)), "|"))
	}
	slices.Sort(by)
	return fmt.Sprintf("acr %v, age %s, rule %s, by %v, within %s", slices.Sorted(slices.Values(n.ACR)), n.MaxAge, n.Rule, slices.Compact(by), n.Within)
}

// terms are those of one grant in a canonical line.
func (c modelCaller) terms(g modelGrant) string {
	var t policies.Terms
	for _, m := range g.conditions {
		for _, l := range m.Limits {
			t.Limits = append(t.Limits, policies.Limit{By: policies.LimitBy(l.By), Calls: l.Calls, Per: least(0, l.Per), Concurrent: l.Concurrent})
		}
		for _, f := range m.Filter {
			t.Filters = append(t.Filters, policies.Filter{At: f.At, Field: f.Field})
			for _, v := range c.passing(f) {
				b, err := json.Marshal(v)
				if err != nil {
					panic(err)
				}
				last := &t.Filters[len(t.Filters)-1]
				last.In = append(last.In, b)
			}
		}
		t.Redact = append(t.Redact, m.Redact...)
	}
	return inTerms(t)
}

// passing are the values that a filter lets pass.
func (c modelCaller) passing(f modelFilter) []any {
	switch has, ok := c.claims()[f.Claim]; {
	case f.In != nil:
		return f.In
	case f.Claim == "sub":
		return []any{c.q.Subject.String()}
	case ok:
		return list(has)
	}
	return nil
}

// inTerms is one entry of terms in a canonical line; nothing for one that asks for nothing.
func inTerms(t policies.Terms) string {
	var parts []string
	for _, l := range t.Limits {
		parts = append(parts, fmt.Sprintf("limit by %s: %d per %s, %d at once", l.By, l.Calls, l.Per, l.Concurrent))
	}
	for _, f := range t.Filters {
		var in []string
		for _, v := range f.In {
			in = append(in, string(v))
		}
		slices.Sort(in)
		parts = append(parts, fmt.Sprintf("filter %q %q in %v", f.At, f.Field, slices.Compact(in)))
	}
	for _, class := range t.Redact {
		parts = append(parts, "redact "+class)
	}
	slices.SortFunc(parts, cmp.Compare)
	return strings.Join(slices.Compact(parts), "; ")
}

// meaning is a set of entries, each in a line; none, if one of them asks for nothing.
func meaning(terms []policies.Terms) map[string]bool {
	out := map[string]bool{}
	for _, t := range terms {
		out[inTerms(t)] = true
	}
	return asking(out)
}

func asking(set map[string]bool) map[string]bool {
	if set[""] {
		return map[string]bool{}
	}
	return set
}

// wider says which terms of after let more through than those of before, if any.
func wider(before, after []policies.Terms) string {
	a, b := meaning(before), meaning(after)
	if len(a) > 0 && len(b) == 0 {
		return "no terms any more"
	}
	for terms := range b {
		if len(a) > 0 && !a[terms] {
			return terms
		}
	}
	return ""
}
