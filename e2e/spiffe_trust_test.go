package e2e_test

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/wicketgate/wicketgate/internal/freeport"
	"github.com/wicketgate/wicketgate/internal/spiretest"
)

// TestBundleRotates: new authorities count and old ones cease to, while it runs.
func TestBundleRotates(t *testing.T) {
	t.Parallel()
	s := newSPIRE(t, spiretest.Config{})
	s.register(t, gate(0))
	h := startSPIFFE(t, s, nil, s.config(withAgents), nil)
	oldCert, oldJWT := s.MintX509(t, agentID, time.Hour), s.MintJWT(t, agentID, time.Hour, h.url)
	for by, a := range map[string]tokenAnswer{"X.509-SVID": h.byX509(t, oldCert, agentID), "JWT-SVID": h.byJWT(t, oldJWT)} {
		if a.AccessToken == "" {
			t.Fatalf("before the rotation, by %s: %+v", by, a)
		}
	}
	for _, kind := range []spiretest.Authority{spiretest.X509, spiretest.JWT} {
		old, next := s.Active(t, kind), s.Prepare(t, kind)
		s.Activate(t, kind, next)
		ask := func() tokenAnswer {
			if kind == spiretest.X509 {
				return h.byX509(t, s.MintX509(t, agentID, time.Hour), agentID)
			}
			return h.byJWT(t, s.MintJWT(t, agentID, time.Hour, h.url))
		}
		eventually(t, "a workload of the new authority", func() bool { return ask().AccessToken != "" })
		s.Taint(t, kind, old)
		s.Revoke(t, kind, old)
	}
	eventually(t, "the end of the old X.509 authority", func() bool { return h.byX509(t, oldCert, agentID).Error == "invalid_client" })
	eventually(t, "the end of the old JWT authority", func() bool { return h.byJWT(t, oldJWT).Error == "invalid_client" })
	if _, _, failure := h.ready(t); failure != "" {
		t.Errorf("readyz: %s", failure)
	}
}

// TestAnotherTrustDomainIsRefusedUntilItFederates: by the agent, which passes its bundle
// on; by a bundle endpoint; by a file.
func TestAnotherTrustDomainIsRefusedUntilItFederates(t *testing.T) {
	t.Parallel()
	const partnerID = "spiffe://partner.example/agent/helper"
	web := newPair(t, nil, func(c *x509.Certificate) {
		c.IsCA, c.KeyUsage = true, x509.KeyUsageCertSign|x509.KeyUsageDigitalSignature
		c.IPAddresses = append(c.IPAddresses, loopback)
	})
	s, partner := newSPIRE(t, spiretest.Config{}), spiretest.Start(t, spiretest.Config{TrustDomain: "partner.example", WebCertificate: web, BundleEndpoint: true})
	ids := s.register(t, gate(0))
	roots := filepath.Join(publicDir(t), "roots.pem")
	if err := os.WriteFile(roots, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: web.Leaf.Raw}), 0o644); err != nil {
		t.Fatal(err)
	}
	const client = `clients:
  - {id: "spiffe://partner.example/agent/*", auth_method: spiffe}
`
	try := func(h *spiffeHouse) (x509, jwt tokenAnswer) {
		return h.byX509(t, partner.MintX509(t, partnerID, time.Hour), partnerID), h.byJWT(t, partner.MintJWT(t, partnerID, time.Hour, h.url))
	}
	refused := func(h *spiffeHouse, when string) {
		t.Helper()
		if x509, jwt := try(h); x509.Error != "invalid_client" || jwt.Error != "invalid_client" {
			t.Errorf("%s: %+v, %+v, want invalid_client", when, x509, jwt)
		}
	}
	accepted := func(h *spiffeHouse, when string) {
		t.Helper()
		eventually(t, when, func() bool { x509, jwt := try(h); return x509.AccessToken != "" && jwt.AccessToken != "" })
		x509, jwt := try(h)
		for by, a := range map[string]tokenAnswer{"X.509-SVID": x509, "JWT-SVID": jwt} {
			if c := claims(t, a.AccessToken); c["sub"] != partnerID || c["client_id"] != partnerID {
				t.Errorf("%s, by %s: %v", when, by, c)
			}
		}
	}
	byAgent := startSPIFFE(t, s, nil, s.config(`spiffe: {workload_api: SOCKET, trust_domains: [{name: example.org}, {name: partner.example}]}
`)+client, nil)
	refused(byAgent, "before the two federate")
	s.SetBundle(t, "partner.example", partner.Bundle(t))
	refused(byAgent, "when the server knows the bundle, and our entry does not federate")
	s.DeleteEntry(t, ids[0])
	s.CreateEntry(t, gate(0, "partner.example"))
	accepted(byAgent, "once our entry federates")

	unnamed := startSPIFFE(t, s, nil, s.config(`spiffe: {workload_api: SOCKET, trust_domains: [{name: example.org}]}
clients:
  - {id: "spiffe://example.org/agent/*", auth_method: spiffe}
`), nil)
	refused(unnamed, "where the configuration does not name it, though the agent has the bundle")

	byFile := startSPIFFE(t, s, nil, s.config(`spiffe: {workload_api: SOCKET, trust_domains: [{name: partner.example, bundle_file: partner.json}]}
`)+client, map[string]string{"partner.json": string(partner.Bundle(t))})
	accepted(byFile, "by a file")

	byEndpoint := startSPIFFEAt(t, s, spiffeSetup{listen: freeport.Address(t), env: []string{"SSL_CERT_FILE=" + roots},
		config: s.config(`spiffe: {workload_api: SOCKET, trust_domains: [{name: partner.example, bundle_endpoint: "`+partner.BundleURL+`"}]}
`) + client})
	accepted(byEndpoint, "by its bundle endpoint")
}

// TestForgedSVIDsOfARealDomainAreRefused, which its real keys have signed wherever that
// makes it more dangerous. The whole list is tried in cmd.
func TestForgedSVIDsOfARealDomainAreRefused(t *testing.T) {
	t.Parallel()
	root, foreignRoot := newRoot(t), newRoot(t)
	s, foreign := newSPIRE(t, spiretest.Config{Root: root}), spiretest.Start(t, spiretest.Config{TrustDomain: "foreign.example", Root: foreignRoot})
	s.register(t, gate(0))
	h := startSPIFFE(t, s, nil, s.config(withAgents), nil)
	named := func(names ...string) func(*x509.Certificate) {
		return func(c *x509.Certificate) {
			c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
			for _, name := range names {
				u, err := url.Parse(name)
				if err != nil {
					t.Fatal(err)
				}
				c.URIs = append(c.URIs, u)
			}
		}
	}
	with := func(change func(*x509.Certificate)) func(*x509.Certificate) {
		return func(c *x509.Certificate) { named(agentID)(c); change(c) }
	}
	long := "spiffe://example.org/agent/" + strings.Repeat("a", 2048)
	good := *newPair(t, root, named(agentID))
	certificates := map[string]struct {
		id   string
		cert tls.Certificate
	}{
		"two URI SANs":                {agentID, *newPair(t, root, named(agentID, senderID))},
		"a CA certificate":            {agentID, *newPair(t, root, with(func(c *x509.Certificate) { c.IsCA = true }))},
		"wrong key usage":             {agentID, *newPair(t, root, with(func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageKeyEncipherment }))},
		"bundle of another domain":    {agentID, *newPair(t, foreignRoot, named(agentID))},
		"another domain":              {"spiffe://foreign.example/agent/a", foreign.MintX509(t, "spiffe://foreign.example/agent/a", time.Hour)},
		"expired":                     {agentID, *newPair(t, root, with(func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Second) }))},
		"..":                          {agentID, *newPair(t, root, named("spiffe://example.org/agent/x/../test"))},
		"%2f":                         {agentID, *newPair(t, root, named("spiffe://example.org/agent%2ftest"))},
		"upper case":                  {agentID, *newPair(t, root, named("spiffe://EXAMPLE.org/agent/test"))},
		"over 2048 bytes":             {long, *newPair(t, root, named(long))},
		"client_id that is another's": {senderID, good},
	}
	for name, tt := range certificates {
		if a := h.byX509(t, tt.cert, tt.id); a.Status != 401 || a.Error != "invalid_client" {
			t.Errorf("X.509-SVID, %s: %+v, want invalid_client", name, a)
		}
	}
	key := s.JWTKey(t)
	sign := func(key jose.JSONWebKey, edits map[string]any) string {
		t.Helper()
		all := map[string]any{"sub": agentID, "aud": []string{h.url}, "iat": time.Now().Unix(), "exp": time.Now().Add(time.Minute).Unix()}
		for k, v := range edits {
			all[k] = v
		}
		signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: key}, (&jose.SignerOptions{}).WithType("JWT"))
		if err != nil {
			t.Fatal(err)
		}
		raw, err := jwt.Signed(signer).Claims(all).Serialize()
		if err != nil {
			t.Fatal(err)
		}
		return raw
	}
	tokens := map[string][]string{
		"two audiences":               {s.MintJWT(t, agentID, time.Minute, h.url, "https://elsewhere.example")},
		"for the token endpoint":      {s.MintJWT(t, agentID, time.Minute, h.url+"/oauth2/token")},
		"expired":                     {sign(key, map[string]any{"exp": time.Now().Add(-time.Second).Unix()})},
		"bundle of another domain":    {sign(foreign.JWTKey(t), nil)},
		"another domain":              {foreign.MintJWT(t, "spiffe://foreign.example/agent/a", time.Minute, h.url)},
		"..":                          {sign(key, map[string]any{"sub": "spiffe://example.org/agent/x/../test"})},
		"%2f":                         {sign(key, map[string]any{"sub": "spiffe://example.org/agent%2ftest"})},
		"upper case":                  {sign(key, map[string]any{"sub": "spiffe://EXAMPLE.org/agent/test"})},
		"over 2048 bytes":             {sign(key, map[string]any{"sub": long})},
		"client_id that is another's": {sign(key, nil), "client_id", senderID},
		"by the key for X.509-SVIDs":  {sign(jose.JSONWebKey{Key: root.PrivateKey, KeyID: key.KeyID}, nil)},
	}
	for name, params := range tokens {
		if a := h.byJWT(t, params[0], params[1:]...); a.Status != 401 || a.Error != "invalid_client" {
			t.Errorf("JWT-SVID, %s: %+v, want invalid_client", name, a)
		}
	}
	if a := h.byX509(t, good, agentID); a.AccessToken == "" {
		t.Errorf("a good X.509-SVID by the same key: %+v: the test shows nothing", a)
	}
	if a := h.byJWT(t, sign(key, nil)); a.AccessToken == "" {
		t.Errorf("a good JWT-SVID by the same key: %+v: the test shows nothing", a)
	}
	h.stop(t) // what was counted is written down
	if n := h.refusals(t, "invalid_client"); n != len(certificates)+len(tokens) {
		t.Errorf("%d refusals in the audit log, want %d", n, len(certificates)+len(tokens))
	}
}
