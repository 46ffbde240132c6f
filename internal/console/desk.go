package console

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/wicketgate/wicketgate/internal/approval"
	"github.com/wicketgate/wicketgate/internal/audit"
	"github.com/wicketgate/wicketgate/internal/identity"
	"github.com/wicketgate/wicketgate/policies"
)

// standing is what a person is to a request.
type standing int

const (
	stranger  standing = iota // may not know of it
	requester                 // it is their call: they see what became of it
	stale                     // has the role, and must log in again before they decide
	outdated                  // has the role, by another policy than the one that the approval is bound to
	decider
)

// errUndecided means that the policy gave no answer: nobody is shown anything then.
var errUndecided = errors.New("the policy gave no answer")

// errOutdated means that the policy is another one by now. It may let others approve than
// the one that asked did, which may come back, and the approval with it.
var errOutdated = errors.New(newPolicy)

const newPolicy = "the policy has changed since this call was asked for, and an approval would not count: have the call sent again"

// stepUpError asks for another login (RFC 9470 §3).
type stepUpError struct{ needs policies.Needs }

func (e *stepUpError) Error() string { return "the login is too old, or of another kind" }

// seen is a request as one person may see it.
type seen struct {
	approval.Request
	standing standing
	needs    policies.Needs // of stale
}

// mayDecide reports whether a decision of theirs would count.
func (s seen) mayDecide() bool { return s.standing == decider && s.State == approval.Pending }

// desk is what the pages and the API share: who may see which request, and decide on it.
type desk struct{ cfg Config }

const (
	listPending = 500 // that are looked through for those that somebody may see
	listRecent  = 100
)

// see returns approval.ErrNotFound for one that is not there, and for one that the person
// may not know of: from one place, so that they look alike.
func (d desk) see(ctx context.Context, who approver, id string) (seen, error) {
	r, err := d.cfg.Approvals.Get(ctx, id)
	if err != nil {
		return seen{}, err
	}
	s, err := d.judge(ctx, who, r)
	if err == nil && s.standing == stranger {
		err = approval.ErrNotFound
	}
	if err != nil {
		return seen{Request: approval.Request{ID: r.ID, Binding: r.Binding}}, err // for the audit log
	}
	return s, nil
}

// judge asks the policy what the person may do with the request.
func (d desk) judge(ctx context.Context, who approver, r approval.Request) (seen, error) {
	s := seen{Request: r}
	if r.Subject == who.Subject() {
		s.standing = requester
		s.DecidedBy, s.Comment = identity.Subject{}, "" // which stay among approvers
		return s, nil
	}
	decision := d.cfg.PDP.Decide(ctx, policies.Request{Subject: who.Subject(), ClientID: who.ClientID(), Groups: who.Groups(), Claims: who.Claims(),
		ACR: who.ACR(), AuthTime: who.AuthTime(), Action: policies.ActionApprove, Server: r.Server, Tool: r.Tool, Rule: r.Rule, Time: d.cfg.Now()})
	switch {
	case decision.Allowed():
		s.standing = decider
	case decision.Reason == policies.ReasonStepUp:
		s.standing, s.needs = stale, decision.Needs
	case slices.Contains(noAnswer, decision.Reason):
		return seen{}, fmt.Errorf("%w: %s: %w", errUndecided, decision.Reason, decision.Err)
	}
	if s.standing != stranger && r.State == approval.Pending && decision.PolicyDigest != r.PolicyDigest {
		s.standing = outdated
	}
	return s, nil
}

// noAnswer are the reasons that say nothing of the person.
var noAnswer = []policies.Reason{policies.ReasonCanceled, policies.ReasonTimeout, policies.ReasonEvaluationError, policies.ReasonUndefined,
	policies.ReasonMalformed, policies.ReasonPanic, policies.ReasonOPAUnreachable, policies.ReasonOPAStatus, policies.ReasonOPARedirect}

// list returns those that the person may see: the ones that wait, and recent ones of every
// other state, newest first.
func (d desk) list(ctx context.Context, who approver) (waiting, recent []seen, err error) {
	pending, err := d.cfg.Approvals.List(ctx, approval.Pending, listPending)
	if err != nil {
		return nil, nil, err
	}
	all, err := d.cfg.Approvals.List(ctx, "", listRecent)
	if err != nil {
		return nil, nil, err
	}
	all = slices.DeleteFunc(all, func(r approval.Request) bool { return r.State == approval.Pending })
	if waiting, err = d.visible(ctx, who, pending); err != nil {
		return nil, nil, err
	}
	recent, err = d.visible(ctx, who, all)
	return waiting, recent, err
}

func (d desk) visible(ctx context.Context, who approver, all []approval.Request) ([]seen, error) {
	var out []seen
	for _, r := range all {
		s, err := d.judge(ctx, who, r)
		if err != nil {
			return nil, err
		}
		if s.standing != stranger {
			out = append(out, s)
		}
	}
	return out, nil
}

// verdict is what somebody decided, and from where.
type verdict struct {
	id                string
	approve           bool
	comment           string
	source, requestID string
}

// decide has the decision count, if the person may: the policy is asked now, whatever the
// page or the list said before. It returns the errors of approval.Service, and a
// *stepUpError. What was refused is in the audit log.
func (d desk) decide(ctx context.Context, who approver, v verdict) (seen, error) {
	s, err := d.see(ctx, who, v.id)
	switch {
	case err != nil:
		return s, d.refused(ctx, who, v, s, err)
	case s.standing == requester:
		return s, d.refused(ctx, who, v, s, approval.ErrOwn)
	case s.standing == stale:
		return s, d.refused(ctx, who, v, s, &stepUpError{s.needs})
	case s.standing == outdated:
		return s, d.refused(ctx, who, v, s, errOutdated)
	case s.standing != decider:
		return seen{}, approval.ErrNotFound
	}
	r, err := d.cfg.Approvals.Decide(ctx, approval.Decision{ID: v.id, Approve: v.approve, Comment: v.comment, By: who.Subject(), Client: who.ClientID(),
		ACR: who.ACR(), AuthTime: who.AuthTime(), TokenID: who.ID(), Source: v.source, RequestID: v.requestID})
	s.Request = r
	return s, err
}

// refused writes down who tried, where it is known what: an id that is not there says
// nothing. It returns err.
func (d desk) refused(ctx context.Context, who approver, v verdict, s seen, err error) error {
	if s.ID == "" {
		return err
	}
	reason := "no_role"
	switch stepUp := (*stepUpError)(nil); {
	case errors.Is(err, approval.ErrOwn):
		reason = "own_call"
	case errors.As(err, &stepUp):
		reason = string(policies.ReasonStepUp)
	case errors.Is(err, errOutdated):
		reason = "policy_changed"
	case errors.Is(err, errUndecided):
		reason = "undecided"
	}
	failed := d.cfg.Audit.Record(ctx, audit.Event{Kind: audit.Denial, Action: string(policies.ActionApprove), Decision: audit.Deny, Reason: reason,
		Approval: s.ID, Subject: s.Subject.String(), Client: s.Client.String(), Actors: s.Actors, Server: s.Server, Tool: s.Tool, Rule: s.Rule,
		Operator: who.Subject().String(), ACR: who.ACR(), TokenID: who.ID(), Source: v.source, RequestID: v.requestID})
	if failed != nil {
		return fmt.Errorf("record refusal (%s): %w", reason, failed)
	}
	return err
}
