package console

import (
	"context"
	"errors"
	"fmt"

	"github.com/wicketgate/wicketgate/internal/oauth"
	"github.com/wicketgate/wicketgate/internal/token"
)

// errNobody is for a token that says nothing of a person at a keyboard.
var errNobody = errors.New("the token is not that of a person who logged in, with nobody in between")

// errNoScope is for a token that may do something else here.
var errNoScope = errors.New("the token lacks the scope approvals")

// errUnverified means that the token may be good.
var errUnverified = errors.New("whether the token is good is not known")

// approver is a person whose access token was verified just now, with all revocations.
type approver struct{ token.Access }

// admit verifies an access token for the console. Only a person's own counts, by a client
// of ours: whoever acts for a person (act), and a workload for itself, has no say here,
// whatever roles it has.
func (c *Console) admit(ctx context.Context, raw string) (approver, error) {
	t, err := c.cfg.Verifier.ParseAccess(ctx, raw, c.cfg.Resource.String(), token.Confirmation{})
	switch {
	case err != nil && tokenProblem(err) == "":
		return approver{}, fmt.Errorf("%w: %w", errUnverified, err)
	case err != nil:
		return approver{}, err
	case !c.cfg.Clients[t.ClientID()] || t.Actor() != nil || t.MayAct() != nil || t.Workload() || t.AuthTime().IsZero():
		return approver{}, errNobody
	case !t.Scope().Has(oauth.ScopeApprovals):
		return approver{}, errNoScope
	}
	return approver{t}, nil
}

// tokenProblems are the reasons for which a token is refused, for the audit log. Any other
// error says that nobody could tell.
var tokenProblems = []struct {
	err    error
	reason string
}{
	{errNoToken, "token_missing"}, {errNobody, "token_of_nobody"}, {errNoScope, "scope_missing"},
	{token.ErrExpired, "token_expired"}, {token.ErrAudience, "token_for_another_resource"}, {token.ErrType, "token_of_another_type"},
	{token.ErrSignature, "token_signature"}, {token.ErrIssuer, "token_of_another_issuer"}, {token.ErrUnproven, "token_bound_to_another_key"},
	{token.ErrNotYet, "token_from_the_future"}, {token.ErrMalformed, "token_malformed"}, {token.ErrRevoked, "token_revoked"},
}

// tokenProblem is empty where nobody could tell: the view of revocations is too old, or the
// keys are not to be had.
func tokenProblem(err error) string {
	for _, p := range tokenProblems {
		if errors.Is(err, p.err) {
			return p.reason
		}
	}
	return ""
}
