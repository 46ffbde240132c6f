package vaultbridge

import (
	"context"
	"strings"
	"time"

	"github.com/wicketgate/wicketgate/internal/credential"
	"github.com/wicketgate/wicketgate/internal/identity"
	"github.com/wicketgate/wicketgate/internal/vault"
)

// minted is what the path of a server answered.
type minted struct {
	credential credential.Credential
	name       string        // for the audit log: the lease_id, or path and version
	leaseID    string        // empty: there is none
	ttl        time.Duration // 0: it has no end of its own
	renewable  bool
	age        time.Duration // of a static key; 0: unknown, or new
}

// mint reads the path with the token of the call.
func (s Server) mint(ctx context.Context, v *vault.Client, t vault.Token, subject identity.Subject) (minted, error) {
	path := strings.ReplaceAll(s.Path, "{{.subject}}", subject.String())
	secret, err := v.Read(ctx, t, path, nil)
	if err != nil {
		return minted{}, err
	}
	values := map[string]string{}
	for k, v := range secret.Data {
		if s, ok := v.(string); ok {
			values[k] = s
		}
	}
	c, err := s.Inject.Render(values)
	if err != nil {
		return minted{}, &Failure{BadTemplate, "inject the credential", err}
	}
	return minted{credential: c, name: secret.LeaseID, leaseID: secret.LeaseID, ttl: secret.TTL, renewable: secret.Renewable}, nil
}
