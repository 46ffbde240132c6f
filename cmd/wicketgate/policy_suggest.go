package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/wicketgate/wicketgate/gateway"
	"github.com/wicketgate/wicketgate/internal/audit"
	"github.com/wicketgate/wicketgate/policies"
)

func policySuggestCommand() *cobra.Command {
	var flags pastFlags
	c := &cobra.Command{
		Use:   "suggest",
		Short: "Write the least access.yaml that covers what was used",
		Long: `Reads the audit log and writes an access.yaml that allows exactly the tools, resources and
prompts that were used, also those that only observe mode allowed, to exactly those who
used them. Callers who used the same are one role. What needed an approval needs one by
those who gave it. What was denied is listed in comments and not granted; nor is a tool
whose definition is not approved now. All other conditions are yours to add: what was used
is not what should be allowed, and policy replay says which denials are lost.
The audit log is read as it is; wicketgate audit verify says whether it is whole.`,
		Example: "  wicketgate policy suggest --since 7d --config wicketgate.yaml > access.next.yaml\n  wicketgate policy replay --since 7d --config wicketgate.yaml access.next.yaml",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			p, err := flags.open(c.Context(), time.Now())
			if err != nil {
				return err
			}
			s := newSuggestion()
			if len(flags.files) == 0 {
				if err := s.askPins(c.Context(), &flags.whereFlags); err != nil {
					return err
				}
			}
			if err := p.each(s.add); err != nil {
				return err
			}
			text, err := s.text(c.Context(), &p)
			if err != nil {
				return err
			}
			_, err = io.WriteString(c.OutOrStdout(), text)
			return err
		},
	}
	flags.register(c)
	return c
}

// suggestion collects who used what.
type suggestion struct {
	used map[pastCaller]map[grantName]*usage
	left map[leftOut]*usage

	// approved are the tools that are approved now, by server; nil: it is not known.
	approved map[string]map[string]bool
}

type pastCaller struct {
	kind callerKind
	name string
}

// grantName is what a role of access.yaml grants.
type grantName struct{ server, list, name string }

func (g grantName) String() string {
	return fmt.Sprintf("%s %s of %s", strings.TrimSuffix(g.list, "s"), g.name, g.server)
}

// leftOut is what is not granted, and why.
type leftOut struct {
	pastCaller
	grantName
	why string
}

func newSuggestion() *suggestion {
	return &suggestion{used: map[pastCaller]map[grantName]*usage{}, left: map[leftOut]*usage{}}
}

// askPins finds out which tools are approved now.
func (s *suggestion) askPins(ctx context.Context, where *whereFlags) error {
	return where.readPins(ctx, nil, func(pins []gateway.Pin, _ string) error {
		s.approved = map[string]map[string]bool{}
		for _, p := range pins {
			if s.approved[p.Server] == nil {
				s.approved[p.Server] = map[string]bool{}
			}
			s.approved[p.Server][p.Tool] = p.Approved && !p.Quarantined()
		}
		return nil
	})
}

var listOf = map[policies.Action]string{policies.ActionCallTool: "tools", policies.ActionReadResource: "resources", policies.ActionGetPrompt: "prompts"}

func (s *suggestion) add(c pastCall) {
	g, who := grantName{c.Server, listOf[c.action], c.what()}, pastCaller{c.kind, c.Subject}
	if why := s.refused(c, g); why != "" {
		note(s.left, leftOut{who, g, why}, c)
		return
	}
	if s.used[who] == nil {
		s.used[who] = map[grantName]*usage{}
	}
	note(s.used[who], g, c)
}

// refused is why a call gives no grant.
func (s *suggestion) refused(c pastCall, g grantName) string {
	switch {
	case c.Decision != audit.Allow:
		return "denied, " + c.Reason
	case c.Action == "completion/complete" && c.action == policies.ActionReadResource:
		return "a template was completed, which reads nothing"
	case c.cut():
		return "the log has only the beginning of its name"
	case s.approved != nil && g.list == "tools" && !s.approved[g.server][g.name]:
		return "its definition is not approved now"
	}
	if err := policies.CheckGrant(c.Server, g.list, g.name); err != nil {
		return err.Error()
	}
	if err := policies.CheckCaller(string(c.kind), c.Subject); err != nil {
		return err.Error()
	}
	return ""
}

// unapproved leaves out what needed an approval by somebody whom the log does not name: a
// grant without the approval would be more than was used.
func (s *suggestion) unapproved(p *past) {
	for who, used := range s.used {
		for g, u := range used {
			if len(u.approvals) > 0 && len(p.approversOf(u)) == 0 {
				s.left[leftOut{who, g, "allowed once approved, and the log does not say by whom"}] = u
				delete(used, g)
			}
		}
		if len(used) == 0 {
			delete(s.used, who)
		}
	}
}

// suggested is a role: callers of one kind who used the same, by approvals of the same.
type suggested struct {
	kind    callerKind
	callers []string
	grants  []suggestedGrant
}

type suggestedGrant struct {
	grantName
	approvers string // their names, in order; empty: no approval was needed
}

// roles are the same for the same calls, in whichever order they were made.
func (s *suggestion) roles(p *past) []*suggested {
	by := map[string]*suggested{}
	for who, used := range s.used {
		r, key := &suggested{kind: who.kind}, string(who.kind)
		for _, g := range slices.SortedFunc(maps.Keys(used), compareGrants) {
			approvers := strings.Join(p.approversOf(used[g]), "\n")
			r.grants = append(r.grants, suggestedGrant{g, approvers})
			key += fmt.Sprintf(" %q %q %q %q", g.server, g.list, g.name, approvers)
		}
		if by[key] == nil {
			by[key] = r
		}
		by[key].callers = append(by[key].callers, who.name)
	}
	for _, r := range by {
		slices.Sort(r.callers)
	}
	return slices.SortedFunc(maps.Values(by), func(a, b *suggested) int {
		return cmp.Or(-cmp.Compare(a.kind, b.kind), slices.Compare(a.callers, b.callers))
	})
}

func compareGrants(a, b grantName) int {
	return cmp.Or(cmp.Compare(a.server, b.server), slices.Index(listNames, a.list)-slices.Index(listNames, b.list), cmp.Compare(a.name, b.name))
}

var listNames = []string{"tools", "resources", "prompts"}
