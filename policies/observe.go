package policies

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// Observed returns the servers that are in observe mode now, and until when.
func (p *PDP) Observed(now time.Time) map[string]time.Time {
	out := map[string]time.Time{}
	if p == nil || p.doc == nil {
		return out
	}
	for name, f := range p.doc.facts {
		if now.Before(f.observe) {
			out[name] = f.observe
		}
	}
	return out
}

// observed reports whether observe mode may let a denial for this reason through.
func (p *PDP) observed(q *Request, r Reason) bool {
	f := p.doc.facts[q.Server]
	return f != nil && !q.Time.IsZero() && q.Time.Before(f.observe) && q.Action != ActionApprove && slices.Contains(definite, r)
}

// observe asks anew without what takes the call away: an approval, a step-up and a
// constrained token are needed in observe mode too. The decision is what would have been
// denied, and allowed; or what is still missing.
func (p *PDP) observe(ctx context.Context, q Request, denied Decision) Decision {
	if p.engine.targets == nil && !p.ours { // another policy, which does not know of observe mode
		denied.allow, denied.Observed, denied.Reason = true, denied.Reason, ReasonAllowed
		return denied
	}
	q.observing = true
	d := p.decide(ctx, q)
	if d.Allowed() {
		d.Observed, d.Rule, d.Detail = denied.Reason, denied.Rule, denied.Detail
	}
	return d
}

// mayObserve returns an error for each server that is in observe mode and may not be.
func (doc *document) mayObserve(file string, enforced []string) error {
	var errs []error
	for _, name := range slices.Sorted(slices.Values(enforced)) {
		if f := doc.facts[name]; f != nil && !f.observe.IsZero() {
			errs = append(errs, fmt.Errorf("%s:%d:%d: server %q may not be in observe mode, because it gets credentials of a vault: remove observe_until", file, f.line, f.column, name))
		}
	}
	return errors.Join(errs...)
}

// Open says which hours are open, in a text that changes when one opens or closes: then
// lists may change.
func (p *PDP) Open(now time.Time) string {
	if p == nil || p.clocks == nil {
		return ""
	}
	if o := p.clocks.at(now); o != nil {
		return o.key
	}
	return ""
}

// Warnings are what is allowed in the policy, and probably not meant.
func (p *PDP) Warnings(now time.Time) (out []string) {
	if p == nil || p.doc == nil {
		return nil
	}
	for _, name := range sorted(p.doc.facts) {
		if f := p.doc.facts[name]; !f.observe.IsZero() && !now.Before(f.observe) {
			out = append(out, fmt.Sprintf("%s: observe_until of server %s is over: it is enforced, remove the line", p.rules["servers."+name+".observe_until"], name))
		}
	}
	for _, r := range p.doc.roles {
		for _, s := range r.servers {
			out = append(out, p.bypassed(r.name, s)...)
		}
	}
	return out
}

// bypassed are the conditions on one name that "*", or a folder, of the same role makes
// little of: either grant is enough.
func (p *PDP) bypassed(role string, s server) (out []string) {
	for k, items := range s.lists {
		for _, i := range items {
			by := s.wider(k, i.name)
			if by == "" || i.asks == nil || i.asks.empty() && i.asks.risk == "" {
				continue
			}
			rule := "roles." + role + ".servers." + s.name + "." + kinds[k].list + "."
			out = append(out, fmt.Sprintf("%s: its conditions, and %s grants it without them: put them under servers.%s.%s, where they hold whoever grants it", p.rule(rule+i.name), p.rule(rule+by), s.name, kinds[k].list))
		}
	}
	return out
}
