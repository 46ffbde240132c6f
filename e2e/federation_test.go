package e2e_test

import (
	"crypto/rand"
	"net/url"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
)

// platform is what runs workloads and says which one is which. It has the names of the
// conformance suite's auth/wif-jwt-bearer, of which no SDK has the client's part.
type platform struct{ key jose.JSONWebKey }

const (
	platformIssuer  = "https://idp.conformance-test.local"
	platformSubject = "conformance-workload"
	federatedClient = "conformance-wif-workload"
)

// startFederated starts a house that has such workloads.
func startFederated(t *testing.T) (*house, platform) {
	t.Helper()
	p := platform{newJWK(t)}
	h := startServe(t, `clients:
  - {id: `+federatedClient+`, auth_method: workload_identity}
trusted_issuers:
  - issuer: `+platformIssuer+`
    jwks_file: platform.json
    workloads:
      identities:
        - {subject: `+platformSubject+`, client: `+federatedClient+`}
`, map[string]string{"platform.json": publicSet(t, p.key), "access.yaml": readers("{clients: [" + federatedClient + "]}")})
	return h, p
}

// token is as the suite makes one: with neither typ nor kid in the header.
func (p platform) token(t *testing.T, change func(object)) string {
	t.Helper()
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: p.key.Key}, nil)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now().Unix()
	claims := object{"iss": platformIssuer, "sub": platformSubject, "jti": rand.Text(), "iat": now, "exp": now + 300}
	change(claims)
	raw, err := jwt.Signed(signer).Claims(claims).Serialize()
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// TestTypeScript2FederatedWorkload is the TypeScript SDK with the few lines that its
// provider for this grant would have.
func TestTypeScript2FederatedWorkload(t *testing.T) {
	t.Parallel()
	h, p := startFederated(t)
	raw := p.token(t, func(c object) { c["aud"] = h.url })
	c, err := tsWorkload(t, h, "Federated", object{"clientId": federatedClient, "assertion": raw})
	if err != nil {
		t.Fatal(err)
	}
	checkReader(t, c)
	checkActed(t, h, federatedClient, federatedClient)
	checkSaysNothing(t, h)
}

// TestFederatedWorkloadIsRefusedAsTheSuiteWants, so that a client sees why and does not
// try again.
func TestFederatedWorkloadIsRefusedAsTheSuiteWants(t *testing.T) {
	t.Parallel()
	h, p := startFederated(t)
	good := func(c object) { c["aud"] = h.url }
	for name, tt := range map[string]struct {
		change func(object)
		form   url.Values
		by     platform
		want   string
	}{
		"as it should be":         {good, url.Values{}, p, ""},
		"without client_id":       {good, url.Values{"client_id": nil}, p, ""},
		"for another server":      {func(c object) { c["aud"] = "https://wrong.example" }, url.Values{}, p, "invalid_grant"},
		"expired":                 {func(c object) { good(c); c["exp"] = time.Now().Unix() - 60 }, url.Values{}, p, "invalid_grant"},
		"by another key":          {good, url.Values{}, platform{newJWK(t)}, "invalid_grant"},
		"of a workload unknown":   {func(c object) { good(c); c["sub"] = "another-workload" }, url.Values{}, p, "invalid_grant"},
		"with a scope of nobody":  {good, url.Values{"scope": {"wif.rejected"}}, p, "invalid_scope"},
		"as another client":       {good, url.Values{"client_id": {"somebody-else"}}, p, "invalid_client"},
		"without the assertion":   {good, url.Values{"assertion": nil}, p, "invalid_request"},
		"with an unsigned one":    {good, url.Values{"assertion": {"eyJhbGciOiJub25lIn0.e30."}}, p, "invalid_grant"},
		"for a resource internal": {good, url.Values{"resource": {"http://127.0.0.1/mcp"}}, p, "invalid_target"},
	} {
		form := url.Values{"grant_type": {grantJWTBearer}, "assertion": {tt.by.token(t, tt.change)}, "resource": {h.resource()}, "client_id": {federatedClient}}
		for k, v := range tt.form {
			form[k] = v
		}
		if a := askToken(t, h, form); a.Error != tt.want || (a.AccessToken == "") != (tt.want != "") {
			t.Errorf("%s: %d %q, token %t, want %q", name, a.Status, a.Error, a.AccessToken != "", tt.want)
		}
	}
}
