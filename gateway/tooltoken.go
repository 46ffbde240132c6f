package gateway

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/wicketgate/wicketgate/internal/token"
)

// ErrSpent is returned by Single.Spend for what was spent before.
var ErrSpent = errors.New("used already")

// Single makes what is meant to be used once count once, over all replicas. It must
// be safe for concurrent use.
type Single interface {
	// Spend spends the jti, durably, and keeps it spent until then: exactly one of many
	// succeeds. It returns ErrSpent to the others, and another error when it cannot tell.
	Spend(ctx context.Context, jti string, until time.Time) error
}

// spentMargin is how long after its expiry a token stays spent: by a clock that is
// behind, it is still good.
const spentMargin = time.Minute

// onlyFor holds a call by a tool token to what the token is for: this server, the
// approved definition, and these arguments. Its scope has said which tool.
func (p *passage) onlyFor(spec token.CallSpec) *rpcError {
	if p.tool == nil {
		return nil
	}
	d := p.tool.Details()
	if d.Server != p.up.Name || d.DefinitionDigest != spec.Details.DefinitionDigest || d.ArgumentsDigest != spec.Details.ArgumentsDigest {
		return &rpcError{Code: codeDenied, Message: "the tool token is for another call: exchange one for this tool and these arguments", status: http.StatusForbidden, reason: "token_for_another_call"}
	}
	return nil
}

// spend is the one use of a tool token, after the intent was recorded and before
// anything is sent.
func (p *passage) spend(ctx context.Context) *rpcError {
	err := p.g.cfg.Single.Spend(ctx, p.tool.ID(), p.tool.Expiry().Add(spentMargin))
	if errors.Is(err, ErrSpent) {
		return &rpcError{Code: codeDenied, Message: "the tool token has been used: exchange a new one", status: http.StatusForbidden, reason: "token_spent"}
	}
	if err != nil {
		return errUnavailable("single_use_unknown", err)
	}
	return nil
}

// readdress is step 7 for a tool token: the one hop that a call token may make.
func (p *passage) readdress(ctx context.Context) (token.Call, *rpcError) {
	if failure := p.spend(ctx); failure != nil {
		return token.Call{}, failure
	}
	call, err := p.g.cfg.Exchanger.Readdress(ctx, *p.tool, p.up.Audience.String(), p.g.cfg.ClientID)
	if err != nil {
		return token.Call{}, errExchange(err)
	}
	return call, nil
}
