package gateway

import (
	"context"
	"sync"
	"time"

	"github.com/wicketgate/wicketgate/internal/token"
)

// reuseMargin is how much life a session token must have left to be used again.
const reuseMargin = 10 * time.Second

// maxSessionTokens bounds the memory of sessionTokens.
const maxSessionTokens = 10_000

// sessionTokens remembers the call tokens with scope mcp:session, which may be
// used again while they live, for the same access token, policy and upstream.
type sessionTokens struct {
	mu     sync.Mutex // guards tokens
	tokens map[sessionKey]token.Call
}

type sessionKey struct{ accessID, audience, policy string }

func newSessionTokens() sessionTokens { return sessionTokens{tokens: map[sessionKey]token.Call{}} }

// callToken is step 7.
func (g *Gateway) callToken(ctx context.Context, a token.Access, spec token.CallSpec) (token.Call, error) {
	if spec.Scope != token.SessionScope() {
		return g.cfg.Exchanger.Call(ctx, a, spec)
	}
	key := sessionKey{a.ID(), spec.Audience, spec.Details.PolicyDigest}
	if c, ok := g.sessions.get(key, g.cfg.Now()); ok {
		return c, nil
	}
	c, err := g.cfg.Exchanger.Call(ctx, a, spec)
	if err == nil {
		g.sessions.put(key, c, g.cfg.Now())
	}
	return c, err
}

func (s *sessionTokens) get(k sessionKey, now time.Time) (token.Call, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c, ok := s.tokens[k]
	return c, ok && now.Add(reuseMargin).Before(c.Expiry())
}

func (s *sessionTokens) put(k sessionKey, c token.Call, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.tokens) >= maxSessionTokens {
		for k, c := range s.tokens {
			if !now.Before(c.Expiry()) {
				delete(s.tokens, k)
			}
		}
	}
	if len(s.tokens) < maxSessionTokens {
		s.tokens[k] = c
	}
}
