package main

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"maps"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/google/go-cmp/cmp"

	"github.com/wicketgate/wicketgate/authz"
	"github.com/wicketgate/wicketgate/internal/oauth"
)

const (
	workloadA = "spiffe://example.org/agent/a"

	withWorkloads = `spiffe:
  trust_domains:
    - {name: example.org, bundle_file: example.org.json}
    - {name: partner.example, bundle_file: partner.example.json}
clients:
  - {id: "spiffe://example.org/agent/*", auth_method: spiffe}
  - {id: "spiffe://example.org/only/x509", auth_method: spiffe_x509}
  - {id: "spiffe://example.org/only/jwt", auth_method: spiffe_jwt}
  - {id: "spiffe://partner.example/agent", auth_method: spiffe}
  - {id: ` + agentID + `, secret_file: agent.secret}
`
)

// domain is a trust domain with keys of the test's own; one of a real SPIRE server is
// in package e2e.
type domain struct {
	name string
	ca   *authority
	jwt  assertions
}

// workloads is a world with two trust domains that are believed, and one that is not.
type workloads struct {
	*world
	own, partner, foreign *domain
}

func newWorkloads(t *testing.T) *workloads {
	t.Helper()
	w := &workloads{world: newWorld(t, nil)}
	for name, d := range map[string]**domain{"example.org": &w.own, "partner.example": &w.partner, "foreign.example": &w.foreign} {
		*d = &domain{name, newAuthority(t), newAssertions(t)}
		w.write(name+".json", (*d).bundle())
	}
	w.write("access.yaml", "version: 1\nroles:\n  agents:\n    who: {clients: [\""+workloadA+"\"]}\n    servers: {mail: {tools: [list_messages]}}\n")
	return w
}

// bundle is the domain's, as a SPIRE server shows it.
func (d *domain) bundle() string {
	return keySetOf(d.ca.t, jose.JSONWebKey{Key: d.ca.cert.PublicKey, KeyID: "x", Certificates: []*x509.Certificate{d.ca.cert}, Use: "x509-svid"},
		jose.JSONWebKey{Key: d.jwt.key.Public(), KeyID: "1", Use: "jwt-svid"})
}

// x509 issues an X.509-SVID with those names; edit may spoil it.
func (d *domain) x509(edit func(*x509.Certificate), names ...string) tls.Certificate {
	d.ca.t.Helper()
	c := x509.Certificate{KeyUsage: x509.KeyUsageDigitalSignature, BasicConstraintsValid: true,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth}}
	for _, name := range names {
		scheme, rest, _ := strings.Cut(name, "://")
		u, err := url.Parse("x://" + rest)
		if err != nil {
			d.ca.t.Fatal(err)
		}
		u.Scheme = scheme // as it is: in capitals, too
		c.URIs = append(c.URIs, u)
	}
	if edit != nil {
		edit(&c)
	}
	return d.ca.issue(c)
}

// svid signs a JWT-SVID for the workload a; edits replace claims and, with a dot before
// their name, members of the header.
func (d *domain) svid(key *ecdsa.PrivateKey, edits map[string]any) string {
	d.ca.t.Helper()
	now := time.Now().Unix()
	claims := map[string]any{"sub": workloadA, "aud": []string{serveIssuer}, "iat": now, "exp": now + 300}
	header := (&jose.SignerOptions{}).WithType("JWT").WithHeader("kid", "1")
	for name, v := range edits {
		if member, ok := strings.CutPrefix(name, "."); ok {
			header.WithHeader(jose.HeaderKey(member), v)
			continue
		}
		claims[name] = v
	}
	maps.DeleteFunc(claims, func(_ string, v any) bool { return v == nil })
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: key}, header)
	if err != nil {
		d.ca.t.Fatal(err)
	}
	payload, err := json.Marshal(claims)
	if err != nil {
		d.ca.t.Fatal(err)
	}
	signed, err := signer.Sign(payload)
	if err != nil {
		d.ca.t.Fatal(err)
	}
	raw, err := signed.CompactSerialize()
	if err != nil {
		d.ca.t.Fatal(err)
	}
	return raw
}

// byJWT is the parameters of a client that brings a JWT-SVID.
func byJWT(raw string, further ...string) []string {
	return append([]string{"client_assertion_type", oauth.AssertionJWTSPIFFE, "client_assertion", raw}, further...)
}

func TestBothSVIDsAreTheSameClientEverywhere(t *testing.T) {
	w := newWorkloads(t)
	w.start(w.config(withTLS + withMutualTLS + withWorkloads))
	byX509 := w.clientAt(w.mutual, w.own.x509(nil, workloadA))
	for name, from := range map[string]struct {
		client *http.Client
		params []string
	}{
		"X.509-SVID": {byX509, []string{"client_id", workloadA}},
		"JWT-SVID":   {w.client(), byJWT(w.own.svid(w.own.jwt.key, nil))}, // the same one again and again
	} {
		t.Run(name, func(t *testing.T) {
			raw, refused := tokenIn(w.post(from.client, mutualURL+authz.PathToken, w.credentials(from.params...)))
			if raw == "" {
				t.Fatal(refused)
			}
			want := map[string]any{"iss": serveIssuer, "sub": workloadA, "client_id": workloadA, "aud": serveIssuer + "/mcp/mail", "scope": "mcp:tools mcp:resources mcp:prompts"}
			got := claimsOf(t, raw)
			for _, name := range []string{"iat", "exp", "jti", "txn"} {
				delete(got, name)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
			w.connect(raw)
			params := url.Values{"token": {raw}}
			for i := 0; i < len(from.params); i += 2 {
				params.Set(from.params[i], from.params[i+1])
			}
			if status, body := w.post(from.client, mutualURL+authz.PathIntrospect, params); status != http.StatusOK || !strings.Contains(body, `"active":true`) {
				t.Errorf("introspection: %d %s", status, body)
			}
			if status, body := w.post(from.client, mutualURL+authz.PathRevoke, params); status != http.StatusOK {
				t.Errorf("revocation: %d %s", status, body)
			}
			if status, body := w.post(from.client, mutualURL+authz.PathIntrospect, params); status != http.StatusOK || strings.Contains(body, `"active":true`) {
				t.Errorf("introspection of what was revoked: %d %s", status, body)
			}
			// The client has no redirect URI: that is what is said, and not that it is unknown.
			params.Set("response_type", "code")
			if status, body := w.post(from.client, mutualURL+authz.PathPAR, params); status == http.StatusUnauthorized || strings.Contains(body, "invalid_client") {
				t.Errorf("pushed authorization request: %d %s", status, body)
			}
		})
	}
}

// claimsOf reads a token of ours.
func claimsOf(t *testing.T, raw string) map[string]any {
	t.Helper()
	payload, err := b64.DecodeString(strings.Split(raw, ".")[1])
	var claims map[string]any
	if err != nil || json.Unmarshal(payload, &claims) != nil {
		t.Fatalf("claims: %v", err)
	}
	return claims
}

// TestForgedX509SVIDsAreRefused: whatever the certificate claims, signed by the right
// authority wherever that makes it more dangerous.
func TestForgedX509SVIDsAreRefused(t *testing.T) {
	w := newWorkloads(t)
	stop := w.start(w.config(withTLS + withMutualTLS + withWorkloads))
	usage := func(u x509.KeyUsage) func(*x509.Certificate) { return func(c *x509.Certificate) { c.KeyUsage = u } }
	long := "spiffe://example.org/agent/" + strings.Repeat("a", 2048)
	rogue := &domain{"example.org", newAuthority(t), newAssertions(t)}
	between := rogueIntermediate(t, w.foreign.ca, "example.org")
	cases := map[string]struct {
		id   string
		cert tls.Certificate
	}{
		"two URI SANs":                        {workloadA, w.own.x509(nil, workloadA, "spiffe://example.org/admin")},
		"two URI SANs, of which one is none":  {workloadA, w.own.x509(nil, workloadA, "https://example.org/agent/a")},
		"no URI SAN":                          {workloadA, w.own.x509(func(c *x509.Certificate) { c.DNSNames = []string{"agent.example.org"} })},
		"a CA certificate":                    {workloadA, w.own.x509(func(c *x509.Certificate) { c.IsCA = true }, workloadA)},
		"key usage keyCertSign":               {workloadA, w.own.x509(usage(x509.KeyUsageDigitalSignature|x509.KeyUsageCertSign), workloadA)},
		"key usage cRLSign":                   {workloadA, w.own.x509(usage(x509.KeyUsageDigitalSignature|x509.KeyUsageCRLSign), workloadA)},
		"key usage without digitalSignature":  {workloadA, w.own.x509(usage(x509.KeyUsageKeyEncipherment), workloadA)},
		"no key usage":                        {workloadA, w.own.x509(usage(0), workloadA)},
		"for code signing":                    {workloadA, w.own.x509(func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning} }, workloadA)},
		"for servers alone":                   {workloadA, w.own.x509(func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} }, workloadA)},
		"of the bundle of another domain":     {workloadA, w.partner.x509(nil, workloadA)},
		"of another's intermediate":           {workloadA, between.x509(nil, workloadA)},
		"of an authority of the same name":    {workloadA, rogue.x509(nil, workloadA)},
		"of a domain that is not configured":  {"spiffe://foreign.example/agent", w.foreign.x509(nil, "spiffe://foreign.example/agent")},
		"expired":                             {workloadA, w.own.x509(func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Second) }, workloadA)},
		"two dots":                            {"spiffe://example.org/agent/b/../a", w.own.x509(nil, "spiffe://example.org/agent/b/../a")},
		"two dots, and what they would mean":  {workloadA, w.own.x509(nil, "spiffe://example.org/agent/b/../a")},
		"an escaped slash":                    {workloadA, w.own.x509(nil, "spiffe://example.org/agent%2fa")},
		"the trust domain in capitals":        {workloadA, w.own.x509(nil, "spiffe://EXAMPLE.ORG/agent/a")},
		"the scheme in capitals":              {workloadA, w.own.x509(nil, "SPIFFE://example.org/agent/a")},
		"over 2048 bytes":                     {long[:2048], w.own.x509(nil, long)},
		"over 2048 bytes, and so is the id":   {long, w.own.x509(nil, long)},
		"a trust domain":                      {"spiffe://example.org", w.own.x509(nil, "spiffe://example.org")},
		"a port":                              {workloadA, w.own.x509(nil, "spiffe://example.org:443/agent/a")},
		"user information":                    {workloadA, w.own.x509(nil, "spiffe://x@example.org/agent/a")},
		"a query":                             {workloadA, w.own.x509(nil, workloadA+"?x")},
		"a fragment":                          {workloadA, w.own.x509(nil, workloadA+"#x")},
		"the client_id of another workload":   {"spiffe://example.org/agent/b", w.own.x509(nil, workloadA)},
		"the pattern as client_id":            {"spiffe://example.org/agent/*", w.own.x509(nil, workloadA)},
		"the client_id of a client by secret": {agentID, w.own.x509(nil, workloadA)},
		"no client_id":                        {"", w.own.x509(nil, workloadA)},
		"a workload that is not configured":   {"spiffe://example.org/db", w.own.x509(nil, "spiffe://example.org/db")},
		"one segment more than the pattern":   {workloadA + "/b", w.own.x509(nil, workloadA+"/b")},
		"of who is to bring a JWT-SVID":       {"spiffe://example.org/only/jwt", w.own.x509(nil, "spiffe://example.org/only/jwt")},
		"no certificate":                      {workloadA, tls.Certificate{}},
	}
	for name, tt := range cases {
		t.Run(name, func(t *testing.T) {
			status, body := w.post(w.clientAt(w.mutual, tt.cert), mutualURL+authz.PathToken, w.credentials("client_id", tt.id))
			if status != http.StatusUnauthorized || !strings.Contains(body, `"invalid_client"`) {
				t.Errorf("%d %s, want 401 invalid_client", status, body)
			}
		})
	}
	for id, d := range map[string]*domain{workloadA: w.own, "spiffe://example.org/only/x509": w.own, "spiffe://partner.example/agent": w.partner} {
		if status, body := w.post(w.clientAt(w.mutual, d.x509(nil, id)), mutualURL+authz.PathToken, w.credentials("client_id", id)); status != http.StatusOK {
			t.Errorf("a good one of %s: %d %s: the test shows nothing", id, status, body)
		}
	}
	stop()
	w.checkRefusals(len(cases))
}

// rogueIntermediate is an authority below another domain's, with the name of ours in
// its certificate.
func rogueIntermediate(t *testing.T, of *authority, name string) *domain {
	t.Helper()
	c := of.issue(x509.Certificate{Subject: pkix.Name{CommonName: "clients"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
		URIs: []*url.URL{{Scheme: "spiffe", Host: name}}})
	return &domain{name, &authority{t, c.Leaf, c.PrivateKey.(*ecdsa.PrivateKey)}, assertions{}}
}

// TestForgedJWTSVIDsAreRefused: the JOSE attacks are with those on the other doors.
func TestForgedJWTSVIDsAreRefused(t *testing.T) {
	w := newWorkloads(t)
	stop := w.start(w.config(withTLS + withMutualTLS + withWorkloads))
	now := time.Now().Unix()
	own := func(edits map[string]any) []string { return byJWT(w.own.svid(w.own.jwt.key, edits)) }
	sub := func(s string) []string { return own(map[string]any{"sub": s}) }
	stray, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	cases := map[string][]string{
		"two audiences":                      own(map[string]any{"aud": []string{serveIssuer, "https://elsewhere.example"}}),
		"the same audience twice":            own(map[string]any{"aud": []string{serveIssuer, serveIssuer}}),
		"no audience":                        own(map[string]any{"aud": nil}),
		"an empty audience":                  own(map[string]any{"aud": []string{}}),
		"for the token endpoint":             own(map[string]any{"aud": []string{serveIssuer + authz.PathToken}}),
		"for the issuer with a slash":        own(map[string]any{"aud": serveIssuer + "/"}),
		"for somebody else":                  own(map[string]any{"aud": "https://elsewhere.example"}),
		"expired":                            own(map[string]any{"exp": now - 1}),
		"without exp":                        own(map[string]any{"exp": nil}),
		"of the future":                      own(map[string]any{"iat": now + 120}),
		"not good yet":                       own(map[string]any{"nbf": now + 120}),
		"without sub":                        own(map[string]any{"sub": nil}),
		"two dots":                           sub("spiffe://example.org/agent/b/../a"),
		"an escaped slash":                   sub("spiffe://example.org/agent%2fa"),
		"the trust domain in capitals":       sub("spiffe://EXAMPLE.org/agent/a"),
		"the scheme in capitals":             sub("SPIFFE://example.org/agent/a"),
		"over 2048 bytes":                    sub("spiffe://example.org/agent/" + strings.Repeat("a", 2048)),
		"user information":                   sub("spiffe://x@example.org/agent/a"),
		"a port":                             sub("spiffe://example.org:443/agent/a"),
		"a query":                            sub(workloadA + "?x=1"),
		"a trust domain":                     sub("spiffe://example.org"),
		"the client_id of a client":          sub(agentID),
		"one segment more than the pattern":  sub(workloadA + "/b"),
		"a workload that is not configured":  sub("spiffe://example.org/db"),
		"of who is to bring an X.509-SVID":   sub("spiffe://example.org/only/x509"),
		"of the bundle of another domain":    byJWT(w.partner.svid(w.partner.jwt.key, nil)),
		"of a domain that is not configured": byJWT(w.foreign.svid(w.foreign.jwt.key, map[string]any{"sub": "spiffe://foreign.example/agent"})),
		"by the key for X.509-SVIDs":         byJWT(w.own.svid(w.own.ca.key, map[string]any{".kid": "x"})),
		"by a key that is its own":           byJWT(w.own.svid(stray, nil)),
		"with an iss that would have keys":   byJWT(w.own.svid(stray, map[string]any{"iss": "https://foreign.example"})),
		"without kid":                        own(map[string]any{".kid": ""}),
		"a kid that is unknown":              own(map[string]any{".kid": "2"}),
		"an access token's typ":              own(map[string]any{".typ": "at+jwt"}),
		"another client_id":                  append(own(nil), "client_id", "spiffe://example.org/agent/b"),
		"the pattern as client_id":           append(own(nil), "client_id", "spiffe://example.org/agent/*"),
		"the client_id of somebody's secret": append(own(nil), "client_id", agentID),
	}
	for name, params := range cases {
		t.Run(name, func(t *testing.T) {
			status, body := w.post(w.client(), serveIssuer+authz.PathToken, w.credentials(params...))
			if status != http.StatusUnauthorized || !strings.Contains(body, `"invalid_client"`) {
				t.Errorf("%d %s, want 401 invalid_client", status, body)
			}
		})
	}
	for name, params := range map[string][]string{"as it is": own(nil), "with its client_id": append(own(nil), "client_id", workloadA), "with one audience that is no list": own(map[string]any{"aud": serveIssuer}),
		"with an iss": own(map[string]any{"iss": "https://spire.example.org"}), "without iat": own(map[string]any{"iat": nil}), "of another domain": byJWT(w.partner.svid(w.partner.jwt.key, map[string]any{"sub": "spiffe://partner.example/agent"}))} {
		if status, body := w.post(w.client(), serveIssuer+authz.PathToken, w.credentials(params...)); status != http.StatusOK {
			t.Errorf("a good one %s: %d %s: the test shows nothing", name, status, body)
		}
	}
	stop()
	w.checkRefusals(len(cases))
}

// checkRefusals wants each refusal in the audit log, the first as a line and the
// others counted.
func (w *world) checkRefusals(want int) {
	w.t.Helper()
	got := 0
	for s := bufio.NewScanner(strings.NewReader(readText(w.t, filepath.Join(w.dir, "data", fileAudit)))); s.Scan(); {
		var l struct {
			Kind, Action, Reason string
			Count                int
		}
		if err := json.Unmarshal(s.Bytes(), &l); err != nil {
			w.t.Fatal(err)
		}
		if l.Kind == "refusal" && l.Reason == "invalid_client" {
			got += max(l.Count, 1)
		}
	}
	if got != want {
		w.t.Errorf("%d refusals are in the audit log, want %d", got, want)
	}
}

// TestTokenDoesNotOutliveTheSVID: a workload that is no longer one has nothing when its
// SVID ends, whatever it was issued before.
func TestTokenDoesNotOutliveTheSVID(t *testing.T) {
	w := newWorkloads(t)
	w.start(w.config(withTLS + withMutualTLS + strings.Replace(withWorkloads, "auth_method: spiffe}", `auth_method: spiffe, grant_types: [client_credentials, "`+oauth.GrantTokenExchange+`"]}`, 1)))
	ends := time.Now().Add(90 * time.Second).Truncate(time.Second)
	cert := w.own.x509(func(c *x509.Certificate) { c.NotAfter = ends }, workloadA)
	for name, from := range map[string]struct {
		client *http.Client
		params []string
	}{
		"X.509-SVID": {w.clientAt(w.mutual, cert), []string{"client_id", workloadA}},
		"JWT-SVID":   {w.client(), byJWT(w.own.svid(w.own.jwt.key, map[string]any{"exp": ends.Unix()}))},
	} {
		t.Run(name, func(t *testing.T) {
			whole, refused := tokenIn(w.post(w.client(), mutualURL+authz.PathToken, w.credentials(byJWT(w.own.svid(w.own.jwt.key, nil))...)))
			if whole == "" {
				t.Fatal(refused)
			}
			exchange := append(from.params, "grant_type", oauth.GrantTokenExchange, "subject_token", whole, "subject_token_type", oauth.TokenTypeAccessToken, "scope", "tool:list_messages")
			for grant, params := range map[string][]string{"client_credentials": from.params, "exchange": exchange} {
				status, body := w.post(from.client, mutualURL+authz.PathToken, w.credentials(params...))
				raw, _ := tokenIn(status, body)
				if raw == "" {
					t.Fatalf("%s: %d %s", grant, status, body)
				}
				var said struct {
					Seconds float64 `json:"expires_in"`
				}
				if err := json.Unmarshal([]byte(body), &said); err != nil {
					t.Fatal(err)
				}
				if exp := claimsOf(t, raw)["exp"].(float64); exp > float64(ends.Unix()) || said.Seconds > 90 {
					t.Errorf("%s: the token ends %.0f seconds after the SVID, and says that it lives for %.0f", grant, exp-float64(ends.Unix()), said.Seconds)
				}
			}
		})
	}
	raw := w.own.svid(w.own.jwt.key, map[string]any{"exp": time.Now().Unix() + 1}) // too short for a token
	if status, body := w.post(w.client(), serveIssuer+authz.PathToken, w.credentials(byJWT(raw)...)); status != http.StatusUnauthorized || !strings.Contains(body, "invalid_client") {
		t.Errorf("an SVID that ends at this moment: %d %s", status, body)
	}
}
