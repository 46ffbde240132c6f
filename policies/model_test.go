package policies_test

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/wicketgate/wicketgate/policies"
)

// modelAnswer is what the model says to a question.
type modelAnswer struct {
	reason  policies.Reason
	rule    string       // of a denial, the closest one's; of an allow, one of those that hold
	holds   []modelGrant // that hold wholly
	closest modelGrant   // of a denial: the grant that comes closest
}

func (a modelAnswer) allowed() bool { return a.reason == policies.ReasonAllowed }

// by reports whether the rule is the one that a decision names: of those that hold any.
func (a modelAnswer) by(rule string) bool {
	if a.allowed() {
		return slices.ContainsFunc(a.holds, func(g modelGrant) bool { return g.rule == rule })
	}
	return a.rule == rule
}

// modelGrant is one grant that names what is asked, with all that it is subject to.
type modelGrant struct {
	rule       string
	role       string
	conditions []modelConditions
	risk       string
}

// far is how far a grant is from holding; the least is the closest.
var far = []policies.Reason{
	policies.ReasonAllowed, policies.ReasonApproval, policies.ReasonStepUp, policies.ReasonSenderConstraint,
	policies.ReasonArgument, policies.ReasonHours, policies.ReasonCondition,
}

// decide is the meaning of access.yaml: roles, grants, conditions, denials, in this order.
func (doc modelDoc) decide(q policies.Request) modelAnswer {
	if q.Action == policies.ActionSession {
		return modelAnswer{reason: policies.ReasonAllowed}
	}
	caller := modelCaller{doc, q}
	roles := caller.roles()
	if len(roles) == 0 {
		return modelAnswer{reason: policies.ReasonNoRole}
	}
	grants := caller.grants(roles)
	if len(grants) == 0 {
		return modelAnswer{reason: policies.ReasonNotGranted}
	}
	if caller.denied() {
		return modelAnswer{reason: policies.ReasonDenied}
	}
	return closest(grants, caller.grant)
}

// observe is what in observe mode becomes of a call that would be denied for good: what it
// still needs, by the grants that name it, or else by the facts that hold for everybody.
func (doc modelDoc) observe(q policies.Request) modelAnswer {
	caller := modelCaller{doc, q}
	grants := caller.grants(caller.roles())
	if len(grants) == 0 {
		grants = append(grants, doc.withFacts(modelGrant{rule: "servers." + q.Server}, q))
	}
	return closest(grants, caller.needs)
}

func (c modelCaller) roles() (roles []string) {
	for name, r := range c.doc.Roles {
		if c.named(r.Who) && c.when(r.When) {
			roles = append(roles, name)
		}
	}
	return roles
}

func (c modelCaller) grants(roles []string) (grants []modelGrant) {
	for _, role := range roles {
		grants = append(grants, c.doc.grants(role, c.q)...)
	}
	return grants
}

func closest(grants []modelGrant, why func(modelGrant) policies.Reason) modelAnswer {
	slices.SortFunc(grants, func(a, b modelGrant) int { return cmp.Compare(a.rule, b.rule) })
	best := modelAnswer{}
	for _, g := range grants {
		reason := why(g)
		if best.reason == "" || slices.Index(far, reason) < slices.Index(far, best.reason) {
			best.reason, best.rule, best.closest = reason, g.rule, g
		}
		if reason == policies.ReasonAllowed {
			best.holds = append(best.holds, g)
		}
	}
	return best
}

// grants are those of one role that name what is asked: by its name, by a prefix, by "*".
func (doc modelDoc) grants(role string, q policies.Request) (out []modelGrant) {
	r := doc.Roles[role]
	kind, name := asked(q)
	items := map[string][]modelConditions{}
	for _, template := range r.Template {
		t := doc.Templates[template]
		for item, c := range t.Servers[q.Server].of(kind) {
			items[item] = []modelConditions{c}
		}
	}
	for item, c := range r.Servers[q.Server].of(kind) {
		if delete(items, item); !c.omit {
			items[item] = []modelConditions{c}
		}
	}
	for item, c := range items {
		if !meant(kind, item, name) {
			continue
		}
		c = append(c, r.modelConditions)
		for _, template := range r.Template {
			c = append(c, doc.Templates[template].modelConditions)
		}
		g := modelGrant{rule: "roles." + role + ".servers." + q.Server + "." + kind + "." + item, role: role, conditions: c}
		out = append(out, doc.withFacts(g, q))
	}
	return out
}

// withFacts adds what holds of the server, of what is asked, and of its risks.
func (doc modelDoc) withFacts(g modelGrant, q policies.Request) modelGrant {
	kind, name := asked(q)
	facts := doc.Servers[q.Server]
	var exact, wide []modelConditions
	for item, c := range facts.of(kind) {
		if item == name {
			exact = append(exact, c)
		} else if meant(kind, item, name) {
			wide = append(wide, c)
		}
	}
	// The risk is said by what is closest to what is asked: several folders may each say one.
	risks := risksOf(exact)
	if risks == nil {
		risks = risksOf(wide)
	}
	for _, c := range append(g.conditions, facts.All) {
		if risks == nil && c.Risk != "" {
			risks = []string{c.Risk}
		}
	}
	g.conditions = slices.Concat(exact, wide, g.conditions, []modelConditions{facts.All})
	for _, risk := range risks {
		g.conditions = append(g.conditions, doc.Risks[risk])
	}
	g.risk = strings.Join(slices.Sorted(slices.Values(risks)), ",")
	return g
}

func risksOf(conditions []modelConditions) (risks []string) {
	for _, c := range conditions {
		if c.Risk != "" && !slices.Contains(risks, c.Risk) {
			risks = append(risks, c.Risk)
		}
	}
	return risks
}

// asked is the kind and the name of what is asked.
func asked(q policies.Request) (kind, name string) {
	switch q.Action {
	case policies.ActionReadResource:
		return "resources", q.Resource
	case policies.ActionGetPrompt:
		return "prompts", q.Prompt
	}
	return "tools", q.Tool
}

func (i modelItems) of(kind string) modelNames {
	return map[string]modelNames{"tools": i.Tools, "resources": i.Resources, "prompts": i.Prompts}[kind]
}

// meant reports whether an item of access.yaml means name. The questions of the tests
// have no URIs that a server could resolve to something else.
func meant(kind, item, name string) bool {
	prefix, isPrefix := strings.CutSuffix(item, "*")
	return item == "*" || item == name || kind == "resources" && isPrefix && strings.HasPrefix(name, prefix)
}

// grant is why the grant does not hold; what hides the tool comes first.
func (c modelCaller) grant(g modelGrant) policies.Reason {
	switch {
	case !g.all(func(m modelConditions) bool { return c.when(m.When) }):
		return policies.ReasonCondition
	case !g.all(func(m modelConditions) bool { return m.Hours == "" || c.open(m.Hours) }):
		return policies.ReasonHours
	case c.visible():
		return policies.ReasonAllowed
	case !g.all(func(m modelConditions) bool { return c.arguments(m.Arguments) }):
		return policies.ReasonArgument
	}
	return c.needs(g)
}

func (g modelGrant) all(holds func(modelConditions) bool) bool {
	return !slices.ContainsFunc(g.conditions, func(m modelConditions) bool { return !holds(m) })
}

// visible: whether the caller may know of it is asked, not whether they may use it.
func (c modelCaller) visible() bool {
	return c.q.Arguments == nil && c.q.Action != policies.ActionReadResource
}

// needs is what of the grant the caller could still get.
func (c modelCaller) needs(g modelGrant) policies.Reason {
	switch {
	case c.visible():
		return policies.ReasonAllowed
	case !g.all(func(m modelConditions) bool { return !m.Bound || c.q.Bound }):
		return policies.ReasonSenderConstraint
	case !g.all(func(m modelConditions) bool { return c.fresh(m.ACR, m.MaxAge) }):
		return policies.ReasonStepUp
	case !g.all(func(m modelConditions) bool { return m.Approval == nil || c.q.Rule == g.rule }):
		return policies.ReasonApproval
	}
	return policies.ReasonAllowed
}

// fresh reports whether the caller logged in in one of the ways and so recently.
func (c modelCaller) fresh(acr []string, maxAge string) bool {
	if acr != nil && !slices.Contains(acr, c.q.ACR) {
		return false
	}
	if maxAge == "" {
		return true
	}
	d, err := time.ParseDuration(maxAge)
	return err == nil && !c.q.AuthTime.IsZero() && !c.q.Time.IsZero() && c.q.Time.Sub(c.q.AuthTime) <= d
}

func (c modelCaller) denied() bool {
	kind, name := asked(c.q)
	for _, d := range c.doc.Deny {
		if d.Who != nil && !c.named(d.Who) || d.Hours != "" && !c.q.Time.IsZero() && !c.open(d.Hours) {
			continue
		}
		for item := range d.Servers[c.q.Server].of(kind) {
			if meant(kind, item, name) {
				return true
			}
		}
	}
	return false
}
