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
	"github.com/wicketgate/wicketgate/policies"
)

func policySuggestCommand() *cobra.Command {
	var flags pastFlags
	c := &cobra.Command{
		Use:   "suggest",
		Short: "Write the least access.yaml that covers what was used",
		Long: `Reads the audit log and writes an access.yaml that allows exactly the tools, resources and
prompts that were used, also those that only observe mode allowed, to exactly those who
used them. Callers who used the same are one role. What was denied is listed in comments
and not granted; nor is what needed an approval, nor a tool whose definition is not
approved now. Conditions are yours to add: what was used is not what should be allowed.
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
			return s.write(c.Context(), c.OutOrStdout(), &p)
		},
	}
	flags.register(c)
	return c
}

// suggestion collects who used what.
type suggestion struct {
	used map[pastCaller]map[grantName]*usage
	left map[string]*usage // in words, what is not granted

	// approved are the tools that are approved now, by server; nil: it is not known.
	approved map[string]map[string]bool
}

type pastCaller struct {
	kind callerKind
	name string
}

// grantName is what a role of access.yaml grants.
type grantName struct{ server, list, name string }

// usage is how often, and until when.
type usage struct {
	count, observed int
	last            time.Time
	numbers         map[string]span // of arguments that policy read
}

func newSuggestion() *suggestion {
	return &suggestion{used: map[pastCaller]map[grantName]*usage{}, left: map[string]*usage{}}
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
	g := grantName{c.Server, listOf[c.action], c.what()}
	if why := s.refused(c, g); why != "" {
		note(s.left, fmt.Sprintf("%s %s: %s %s of %s: %s", c.kind, c.Subject, strings.TrimSuffix(g.list, "s"), g.name, c.Server, why), c)
		return
	}
	who := pastCaller{c.kind, c.Subject}
	if s.used[who] == nil {
		s.used[who] = map[grantName]*usage{}
	}
	note(s.used[who], g, c)
}

func note[K comparable](of map[K]*usage, key K, c pastCall) {
	u := of[key]
	if u == nil {
		u = &usage{numbers: map[string]span{}}
		of[key] = u
	}
	u.count++
	if c.Observed != "" {
		u.observed++
	}
	if c.Time.After(u.last) {
		u.last = c.Time
	}
	c.numbers(u.numbers)
}

// refused is why a call gives no grant.
func (s *suggestion) refused(c pastCall, g grantName) string {
	switch {
	case c.Decision != "allow":
		return "denied, " + c.Reason
	case c.Approval != "":
		return "allowed once approved: write who may approve it yourself"
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

// suggested is a role: callers of one kind who used the same.
type suggested struct {
	kind    callerKind
	callers []string
	grants  []grantName
}

// roles are the same for the same calls, in whichever order they were made.
func (s *suggestion) roles() []*suggested {
	by := map[string]*suggested{}
	for who, used := range s.used {
		r := &suggested{kind: who.kind, grants: slices.SortedFunc(maps.Keys(used), compareGrants)}
		key := fmt.Sprintf("%s %q", r.kind, r.grants)
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

// write also reads what it wrote: a file that its own parser refuses helps nobody.
func (s *suggestion) write(ctx context.Context, w io.Writer, p *past) error {
	var b strings.Builder
	s.header(&b, p)
	roles := s.roles()
	if len(roles) > 0 {
		b.WriteString("\nroles:\n")
	}
	count := map[callerKind]int{}
	for _, r := range roles {
		count[r.kind]++
		s.role(&b, fmt.Sprintf("%s-%d", map[callerKind]string{aPerson: "people", aWorkload: "workloads"}[r.kind], count[r.kind]), r)
	}
	s.footer(&b)
	if _, err := policies.New(ctx, policies.Config{Access: []byte(b.String()), Name: "suggestion"}); err != nil {
		return fmt.Errorf("what was suggested is no policy, which is a mistake of this command: %w", err)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func (s *suggestion) header(b *strings.Builder, p *past) {
	b.WriteString("# The least policy that covers what was used, by wicketgate policy suggest.\n")
	if p.calls > 0 {
		fmt.Fprintf(b, "# Of %d calls, from %s to %s.\n", p.calls, stamp(p.first), stamp(p.last))
	} else {
		b.WriteString("# There was no call in that time: nothing is granted.\n")
	}
	for _, line := range p.notes() {
		fmt.Fprintf(b, "# %s\n", line)
	}
	if s.approved == nil {
		b.WriteString("# Whether the definitions of these tools are approved now was not looked at.\n")
	}
	b.WriteString("# What was used is not what should be allowed: read each line, and add conditions.\nversion: 1\n")
}

func (s *suggestion) role(b *strings.Builder, name string, r *suggested) {
	fmt.Fprintf(b, "  %s:\n    who:\n      %ss:\n", name, r.kind)
	for _, caller := range r.callers {
		var total usage
		for _, u := range s.used[pastCaller{r.kind, caller}] {
			total.join(u)
		}
		fmt.Fprintf(b, "        - %s # %s\n", yamlText(caller), total.words())
	}
	b.WriteString("    servers:\n")
	var at grantName
	for _, g := range r.grants {
		if g.server != at.server {
			fmt.Fprintf(b, "      %s:\n", yamlText(g.server))
			at = grantName{server: g.server}
		}
		if g.list != at.list {
			fmt.Fprintf(b, "        %s:\n", g.list)
		}
		at = g
		var total usage
		for _, caller := range r.callers {
			total.join(s.used[pastCaller{r.kind, caller}][g])
		}
		fmt.Fprintf(b, "          - %s # %s\n", yamlText(g.name), total.words())
	}
}

func (s *suggestion) footer(b *strings.Builder) {
	if len(s.left) == 0 {
		return
	}
	b.WriteString("\n# Not granted:\n")
	for _, text := range slices.Sorted(maps.Keys(s.left)) {
		fmt.Fprintf(b, "#   %s (%s)\n", escape(text), s.left[text].words())
	}
}
