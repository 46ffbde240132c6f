package gateway

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/wicketgate/wicketgate/internal/limit"
	"github.com/wicketgate/wicketgate/internal/redact"
	"github.com/wicketgate/wicketgate/policies"
)

// leaseMargin is how much longer than a call can last its places at once are held at most:
// then the process that held them is taken for dead.
const leaseMargin = time.Minute

// terms are what a call keeps to: the rules that let it through, each with what it shows.
// What one of them shows as it redacts it is shown: nothing is shown that no single rule
// shows. Nil asks for nothing.
type terms struct {
	rules    []policies.Terms
	filters  bool             // each of the rules has some
	redact   []string         // classes of what does not belong to a record: all rules redact them that show it
	redactor *redact.Redactor // the server's, with those
}

// accept is where a call that was allowed begins to count against the limits of policy, and
// finds out what of the rest it has to keep to. The slot gives back what is held. What was
// counted once is not counted again.
func (p *passage) accept(s *slot) *rpcError {
	if slices.ContainsFunc(p.due, asksNothing) {
		return nil
	}
	t := &terms{}
	for _, r := range p.due {
		if len(r.Limits) == 0 {
			t.rules = append(t.rules, r)
		}
	}
	if over := p.takeAll(t, s); over != nil {
		return over
	}
	return p.keepTo(t)
}

func asksNothing(r policies.Terms) bool {
	return len(r.Limits) == 0 && showsAll(r)
}

// showsAll reports whether a rule, once it lets a call through, asks for nothing.
func showsAll(r policies.Terms) bool { return len(r.Filters) == 0 && len(r.Redact) == 0 }

// takeAll counts the call for the rules with limits, those that show all first, until there
// is nothing more that another could show. One that lets it through is enough.
func (p *passage) takeAll(t *terms, s *slot) *rpcError {
	limited := slices.DeleteFunc(slices.Clone(p.due), func(r policies.Terms) bool { return len(r.Limits) == 0 })
	slices.SortStableFunc(limited, func(a, b policies.Terms) int {
		return cmp.Compare(len(a.Filters)+len(a.Redact), len(b.Filters)+len(b.Redact))
	})
	var refused *rpcError
	for _, r := range limited {
		if slices.ContainsFunc(t.rules, showsAll) {
			break
		}
		err := p.take(s, r)
		if err == nil {
			t.rules = append(t.rules, r)
		} else if refused == nil || cmpRefusals(err, refused) < 0 {
			refused = err
		}
	}
	if len(t.rules) == 0 {
		return refused
	}
	return nil
}

// cmpRefusals puts first what the caller should be told: that nobody knows, or what is
// over the soonest.
func cmpRefusals(a, b *rpcError) int {
	if (a.retry == 0) != (b.retry == 0) {
		return map[bool]int{true: -1, false: 1}[a.retry == 0]
	}
	return cmp.Compare(a.retry, b.retry)
}

// take counts the call against the limits of one rule, all or none.
func (p *passage) take(s *slot, r policies.Terms) *rpcError {
	var claims []limit.Claim
	var ids []string
	for _, l := range r.Limits {
		c, err := p.claim(l)
		if err != nil {
			return errUnavailable("limits_unavailable", err)
		}
		again := c.Calls > 0 && p.state.Parked != "" // the call was counted when it began
		if !again && !slices.Contains(p.taken, l.ID) && !slices.Contains(ids, l.ID) {
			claims, ids = append(claims, c), append(ids, l.ID)
		}
	}
	if len(claims) > 0 {
		release, err := p.g.cfg.Limits.Take(p.r.Context(), claims, p.up.Timeout+parkedFor+leaseMargin)
		if err != nil {
			return errLimit(err)
		}
		s.holds(release)
	}
	for _, l := range r.Limits {
		if !slices.Contains(p.taken, l.ID) {
			p.taken = append(p.taken, l.ID)
		}
	}
	return nil
}

var errLimitBy = errors.New("a limit that says not whose calls it counts")

// claim is a limit of policy with whose calls it counts together. The key is a digest:
// counters keep very many.
func (p *passage) claim(l policies.Limit) (limit.Claim, error) {
	whose := ""
	switch l.By {
	case policies.BySubject:
		whose = fmt.Sprintf("%q %v", p.Subject(), p.canLogIn()) // a workload may have a person's name
	case policies.ByClient:
		whose = p.ClientID().String()
	case policies.ByTool:
		whose = fmt.Sprintf("%q %q %q", p.up.Name, p.event.Tool, p.event.Prompt) // URIs are the caller's to invent
	case policies.ByRole:
	default:
		return limit.Claim{}, fmt.Errorf("%w: %q", errLimitBy, l.By)
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "%q %q %q", l.ID, l.By, whose))
	c := limit.Claim{Key: base64.RawURLEncoding.EncodeToString(sum[:]), Calls: l.Calls, Per: l.Per, Concurrent: l.Concurrent}
	return c, limit.Check([]limit.Claim{c}, time.Second)
}

// errLimit is the refusal of a counter.
func errLimit(err error) *rpcError {
	var e *limit.Exhausted
	switch {
	case errors.As(err, &e) && e.Claim.Concurrent > 0:
		return errBudget("limit_concurrent", e.Retry)
	case errors.As(err, &e):
		return errBudget("limit_calls", e.Retry)
	case errors.Is(err, context.Canceled):
		return errUnavailable("client_gone", err)
	}
	return errUnavailable("limits_unavailable", err)
}

// keepTo has the call keep to what the rules show.
func (p *passage) keepTo(t *terms) *rpcError {
	rest := t.rules
	if all := slices.DeleteFunc(slices.Clone(t.rules), func(r policies.Terms) bool { return len(r.Filters) > 0 }); len(all) > 0 {
		rest = all // they show the whole answer, as they redact it
	} else {
		t.filters = true
	}
	if t.filters && p.msg.method != "tools/call" {
		return errFilter(errNoRecords)
	}
	var err error
	t.redact = common(rest)
	if t.redactor, err = p.up.Redactor.With(t.redact...); err != nil {
		return errRedaction(err)
	}
	p.terms = t
	return nil
}

// common is the classes that all rules redact.
func common(rules []policies.Terms) []string {
	classes := rules[0].Redact
	for _, r := range rules[1:] {
		classes = slices.DeleteFunc(slices.Clone(classes), func(c string) bool { return !slices.Contains(r.Redact, c) })
	}
	return classes
}

// filtered reports whether records are taken out of the answer: then nothing passes that
// could hold one.
func (p *passage) filtered() bool { return p.terms != nil && p.terms.filters }

// redactor is that of the server, with what policy adds for this call.
func (p *passage) redactor() *redact.Redactor {
	if p.terms != nil {
		return p.terms.redactor
	}
	return p.up.Redactor
}
