package authz_test

import (
	"context"
	"crypto/sha256"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/wicketgate/wicketgate/authz"
	"github.com/wicketgate/wicketgate/internal/federation"
	"github.com/wicketgate/wicketgate/internal/identity"
	"github.com/wicketgate/wicketgate/internal/oauth"
)

const (
	idpIssuer   = "https://idp.example"
	trustDomain = "spiffe://example.org"
	reportSVID  = "spiffe://example.org/ns/agents/sa/report"
)

var (
	host     = client{ID: "host", Secret: agentSecret}
	reporter = client{ID: "report-agent"}
)

// newFederated is a world that trusts an IdP for ID-JAGs, and a trust domain for
// workloads, by the real table. Both sign with the key of ES256.
func newFederated(t testing.TB, options ...func(*authz.Config)) *world {
	t.Helper()
	keys := filepath.Join(t.TempDir(), "jwks.json")
	noError(t, os.WriteFile(keys, jwks(jwkOf(testKeys()["ES256"].Public(), object{"kid": "k1"})), 0o600))
	var w *world
	trust := func(c *authz.Config) {
		c.Federation = must(federation.New(federation.Config{Issuer: c.Issuer, TokenEndpoint: c.Issuer + authz.PathToken, Resources: c.Resources, Now: c.Now,
			IsClient: func(ctx context.Context, id identity.ClientID) (bool, error) { return w.server.IsClient(ctx, id) },
			Issuers: []federation.Issuer{
				{Name: idpIssuer, JWKSFile: keys, Prefix: idpIssuer + "|", SubjectClaim: "sub", GroupsClaim: "groups", Claims: []string{"acr", "auth_time"}, Grants: true},
				{Name: trustDomain, JWKSFile: keys, Prefix: trustDomain + "|", Workloads: &federation.Workloads{MaxAge: time.Hour, Identities: []federation.Identity{
					{Subject: reportSVID, Client: identity.MustClientID(reporter.ID)},
					{Subject: trustDomain + "/scan", Client: identity.MustClientID("scanner")},
					{Subject: trustDomain + "/with-a-secret", Client: identity.MustClientID(host.ID)},
					{Subject: trustDomain + "/not-there", Client: identity.MustClientID("gone")}}}},
			}}))(t)
	}
	w = newWorld(t, append([]func(*authz.Config){trust}, options...)...)
	sum := sha256.Sum256([]byte(agentSecret))
	grants := []string{oauth.GrantJWTBearer}
	noError(t, w.server.PutStatic(t.Context(),
		authz.Client{ID: identity.MustClientID(host.ID), AuthMethod: oauth.AuthBasic, SecretHash: sum[:], GrantTypes: grants},
		authz.Client{ID: identity.MustClientID("narrow"), AuthMethod: oauth.AuthBasic, SecretHash: sum[:], GrantTypes: grants, Scope: []string{"mcp:tools"}},
		authz.Client{ID: identity.MustClientID("open"), AuthMethod: oauth.AuthNone, GrantTypes: grants},
		authz.Client{ID: identity.MustClientID("scanner"), AuthMethod: oauth.AuthWorkload, GrantTypes: grants},
		authz.Client{ID: identity.MustClientID(reporter.ID), AuthMethod: oauth.AuthWorkload, GrantTypes: append(grants, oauth.GrantClientCredentials, grantEcho)},
	))
	return w
}

// fickle is a Federation for which each workload is another client the next time.
type fickle struct {
	authz.Federation
	asked int
}

func (f *fickle) Workload(ctx context.Context, raw string) (identity.ClientID, string, error) {
	id, name, err := f.Federation.Workload(ctx, raw)
	if f.asked++; f.asked%2 == 0 {
		id = identity.MustClientID("scanner")
	}
	return id, name, err
}

// idJAG is an assertion that alice's IdP made for the client, with changes.
func (w *world) idJAG(clientID string, changes ...object) string {
	now := w.clock.Now().Unix()
	c := object{"iss": idpIssuer, "sub": "alice", "aud": w.url, "client_id": clientID, "resource": w.mail(), "scope": "mcp:tools mcp:prompts",
		"iat": now, "exp": now + 300, "jti": identifier()}
	for _, change := range changes {
		maps.Copy(c, change)
	}
	maps.DeleteFunc(c, func(_ string, v any) bool { return v == nil })
	return es256(w.t, c, object{"typ": "oauth-id-jag+jwt"})
}

// svid is what the trust domain says of the workload, with changes.
func (w *world) svid(changes ...object) string {
	now := w.clock.Now().Unix()
	c := object{"sub": reportSVID, "aud": w.url + authz.PathToken, "iat": now, "exp": now + 300}
	for _, change := range changes {
		maps.Copy(c, change)
	}
	return es256(w.t, c)
}

// bear asks for a token by an assertion, with changes to the form.
func (w *world) bear(by *client, raw string, changes ...change) answer {
	w.t.Helper()
	return w.token(by, with(url.Values{"grant_type": {oauth.GrantJWTBearer}, "assertion": {raw}}, changes...))
}
