package vaultbridge

import (
	"context"
	"fmt"
	"time"

	"github.com/wicketgate/wicketgate/internal/vault"
)

// login gets a Vault token for the call: with the call's own token, so that Vault itself
// sees who calls, or below our own.
func (b *Bridge) login(ctx context.Context, l *lease) (vault.Auth, error) {
	s, call := l.source.server, l.first.Call
	if b.cfg.JWTMount != "" {
		return b.cfg.Vault.LoginJWT(ctx, b.cfg.JWTMount, s.Role, call.Bearer())
	}
	spec := vault.ChildSpec{Role: s.TokenRole, Policies: s.Policies, TTL: l.until.Sub(b.cfg.Now()), DisplayName: call.Subject().String(),
		Meta: map[string]string{"subject": call.Subject().String(), "client": clientOf(call), "actor": actorOf(call.Actor().Chain()), "server": s.Name, "txn": call.Txn()}}
	var auth vault.Auth
	err := b.own(ctx, func(t vault.Token) (err error) {
		auth, err = b.cfg.Vault.Child(ctx, t, spec)
		return err
	})
	return auth, err
}

func actorOf(chain []string) string {
	if len(chain) == 0 {
		return ""
	}
	return chain[0]
}

// own does f with our own login, and once more with a new one where Vault does not know
// the first (any more).
func (b *Bridge) own(ctx context.Context, f func(vault.Token) error) error {
	for again := false; ; again = true {
		t, err := b.cfg.Own.Token(ctx)
		if err != nil {
			return err
		}
		if err = f(t); again || !invalid(err) {
			return err
		}
		b.cfg.Own.Refused(t)
	}
}

// suits refuses a token that could outlive the call, or that nobody could revoke.
func (s Server) suits(a vault.Auth) error {
	longest := (s.life() + time.Second - 1).Truncate(time.Second) // Vault counts whole seconds
	switch {
	case a.Batch, a.Accessor == "":
		return &Failure{TokenBatch, "log in to Vault", fmt.Errorf("role %q gives batch tokens, or tokens without an accessor: set token_type to service", s.Role)}
	case a.TTL <= 0, a.TTL > longest:
		return &Failure{TokenTTL, "log in to Vault", fmt.Errorf("the token lives for %v: set token_explicit_max_ttl of role %q to at most %v", a.TTL, s.Role, longest)}
	}
	return nil
}
