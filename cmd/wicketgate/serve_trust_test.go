package main

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/wicketgate/wicketgate/internal/oauth"
)

const withTrust = `clients:
  - {id: host, secret_file: agent.secret, grant_types: [urn:ietf:params:oauth:grant-type:jwt-bearer]}
  - {id: ` + agentID + `, auth_method: workload_identity}
  - {id: delegate, secret_file: other.secret, grant_types: [urn:ietf:params:oauth:grant-type:token-exchange]}
trusted_issuers:
  - issuer: https://partner.example
    jwks_file: partner.json
    subject_prefix: partner/
    subject_tokens: {clients: [delegate], servers: [mail]}
  - {issuer: https://idp.example.com, jwks_file: idp.json, subject_prefix: corp/, groups_claim: groups, id_jag: true}
  - issuer: spiffe://example.org
    jwks_file: bundle.json
    workloads:
      identities:
        - {subject: "spiffe://example.org/ns/*/sa/billing", client: ` + agentID + `}
`

// says signs what another issuer says.
func (a assertions) says(typ string, claims map[string]any) string {
	a.t.Helper()
	opts := &jose.SignerOptions{}
	if typ != "" {
		opts = opts.WithType(jose.ContentType(typ))
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: a.key, KeyID: "1"}}, opts)
	if err != nil {
		a.t.Fatal(err)
	}
	now := time.Now().Unix()
	claims["iat"], claims["exp"], claims["jti"] = now, now+300, rand.Text()
	payload, err := json.Marshal(claims)
	if err != nil {
		a.t.Fatal(err)
	}
	signed, err := signer.Sign(payload)
	if err != nil {
		a.t.Fatal(err)
	}
	raw, err := signed.CompactSerialize()
	if err != nil {
		a.t.Fatal(err)
	}
	return raw
}

// TestTokensOfOtherIssuersAreTakenAsConfigured: the documented configuration, served.
func TestTokensOfOtherIssuersAreTakenAsConfigured(t *testing.T) {
	w, idp, spire := newWorld(t, nil), newAssertions(t), newAssertions(t)
	w.write("idp.json", idp.keySet())
	w.write("partner.json", newAssertions(t).keySet())
	w.write("other.secret", strings.Repeat("d", 64))
	w.write("bundle.json", strings.ReplaceAll(spire.keySet(), `"sig"`, `"jwt-svid"`))
	w.write("access.yaml", `version: 1
roles:
  everybody:
    who: {groups: [staff], clients: [`+agentID+`]}
    servers:
      mail: {tools: [list_messages]}
`)
	w.start(w.config(withTLS + withTrust))
	bear := func(assertion string, as ...string) (string, string) {
		form := url.Values{"grant_type": {oauth.GrantJWTBearer}, "assertion": {assertion}, "resource": {serveIssuer + "/mcp/mail"}}
		return tokenIn(w.post(w.client(), serveIssuer+"/oauth2/token", form, as...))
	}
	idJAG := func(by assertions) string {
		return by.says("oauth-id-jag+jwt", map[string]any{"iss": "https://idp.example.com", "sub": "alice", "aud": serveIssuer, "client_id": "host",
			"resource": serveIssuer + "/mcp/mail", "scope": "mcp:tools", "groups": []string{"staff"}})
	}
	svid := func(by assertions, id string) string {
		return by.says("", map[string]any{"sub": id, "aud": []string{serveIssuer + "/oauth2/token"}})
	}
	const billing = "spiffe://example.org/ns/pay/sa/billing"
	for name, ask := range map[string]func() (string, string){
		"alice":    func() (string, string) { return bear(idJAG(idp), "host", agentSecret) },
		"workload": func() (string, string) { return bear(svid(spire, billing)) },
	} {
		raw, refused := ask()
		if raw == "" {
			t.Fatalf("%s: %s", name, refused)
		}
		tools, err := w.connect(raw).ListTools(t.Context(), nil)
		if err != nil || len(tools.Tools) != 1 {
			t.Errorf("%s sees %v, %v", name, tools, err)
		}
	}
	for name, ask := range map[string]func() (string, string){
		"by another's key":          func() (string, string) { return bear(idJAG(spire), "host", agentSecret) },
		"workload by the IdP":       func() (string, string) { return bear(svid(idp, billing)) },
		"another workload":          func() (string, string) { return bear(svid(spire, billing+"2")) },
		"workload with a secret":    func() (string, string) { return bear(svid(spire, billing), "host", agentSecret) },
		"ID-JAG without its client": func() (string, string) { return bear(idJAG(idp)) },
	} {
		if raw, refused := ask(); raw != "" || !strings.Contains(refused, "invalid_grant") {
			t.Errorf("%s: %q, %s", name, raw, refused)
		}
	}
	if log := readText(t, w.dir+"/data/audit.jsonl"); !strings.Contains(log, `"corp/alice"`) || !strings.Contains(log, billing) {
		t.Error("the audit log does not say who it was")
	}
	doc := w.metadata()
	if !strings.Contains(fmt.Sprint(doc["grant_types_supported"]), oauth.GrantJWTBearer) || !strings.Contains(fmt.Sprint(doc["authorization_grant_profiles_supported"]), oauth.ProfileIDJAG) {
		t.Errorf("metadata: %v, %v", doc["grant_types_supported"], doc["authorization_grant_profiles_supported"])
	}
}

// TestTokenOfAnotherIssuerIsExchanged for one call, by the client that may, and by no
// other.
func TestTokenOfAnotherIssuerIsExchanged(t *testing.T) {
	w, partner := newWorld(t, nil), newAssertions(t)
	const secret = "abcdefabcdefabcdefabcdefabcdefabcdefabcdefabcdefabcdefabcdefabcd"
	for _, name := range []string{"idp.json", "bundle.json", "partner.json"} {
		w.write(name, partner.keySet())
	}
	w.write("other.secret", secret)
	w.write("access.yaml", `version: 1
roles:
  partners:
    who: {users: [partner/alice], clients: [`+agentID+`]}
    servers:
      mail: {tools: [list_messages]}
`)
	w.start(w.config(withTLS + withTrust))
	claims := func() map[string]any {
		return map[string]any{"iss": "https://partner.example", "sub": "alice", "aud": serveIssuer, "client_id": "app", "scope": "mcp:tools"}
	}
	exchange := func(subject, id, secret string) (string, string) {
		form := url.Values{"grant_type": {oauth.GrantTokenExchange}, "subject_token": {subject}, "subject_token_type": {oauth.TokenTypeAccessToken},
			"resource": {serveIssuer + "/mcp/mail"}, "scope": {"mcp:tools"}}
		return tokenIn(w.post(w.client(), serveIssuer+"/oauth2/token", form, id, secret))
	}
	raw, refused := exchange(partner.says("at+jwt", claims()), "delegate", secret)
	if raw == "" {
		t.Fatal(refused)
	}
	tools, err := w.connect(raw).ListTools(t.Context(), nil)
	if err != nil || len(tools.Tools) != 1 {
		t.Errorf("alice of the partner sees %v, %v", tools, err)
	}
	if log := readText(t, w.dir+"/data/audit.jsonl"); !strings.Contains(log, `"partner/alice"`) || !strings.Contains(log, `"https://partner.example|app"`) {
		t.Error("the audit log does not say who it was, by whom")
	} else if i := strings.Index(log, `"scope":"mcp:tools","decision":"allow"`); i < 0 || !strings.Contains(log[strings.LastIndex(log[:i], "\n"):i], `"request_id":"`) {
		t.Error("the line of the exchange does not say by which request")
	}
	ours := claims()
	ours["iss"] = serveIssuer
	idp := claims()
	idp["iss"] = "https://idp.example.com"
	for name, subject := range map[string]string{"an ID token": partner.says("JWT", claims()), "as if it were ours": partner.says("at+jwt", ours), "an issuer of ID-JAGs": partner.says("at+jwt", idp)} {
		if raw, refused := exchange(subject, "delegate", secret); raw != "" || !strings.Contains(refused, "invalid_request") {
			t.Errorf("%s: %q, %s", name, raw, refused)
		}
	}
	if raw, refused := exchange(partner.says("at+jwt", claims()), "host", agentSecret); raw != "" {
		t.Errorf("by a client that is not listed: %s", refused)
	}
}

// TestNobodyIsTrustedByDefault: what is not configured is neither taken nor offered.
func TestNobodyIsTrustedByDefault(t *testing.T) {
	w := newWorld(t, nil)
	w.start(w.config(withTLS + withAgent))
	status, body := w.post(w.client(), serveIssuer+"/oauth2/token", url.Values{"grant_type": {oauth.GrantJWTBearer}, "assertion": {"x"}}, agentID, agentSecret)
	if status != http.StatusBadRequest || !strings.Contains(body, "unsupported_grant_type") {
		t.Errorf("%d %s", status, body)
	}
	doc := w.metadata()
	if types, _ := doc["grant_types_supported"].([]any); slices.Contains(types, any(oauth.GrantJWTBearer)) || doc["authorization_grant_profiles_supported"] != nil {
		t.Errorf("metadata: %v", doc)
	}
}
