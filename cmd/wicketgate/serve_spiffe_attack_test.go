package main

import (
	"crypto/ecdsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"net/http"
	"strings"
	"testing"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/wicketgate/wicketgate/authz"
	"github.com/wicketgate/wicketgate/internal/oauth"
	"github.com/wicketgate/wicketgate/internal/spiffetest"
)

// TestWorkloadOfItsOwnEntryHasNothingOfThePattern: a SPIFFE ID that has an entry of its
// own is what that says, also where it says nothing.
func TestWorkloadOfItsOwnEntryHasNothingOfThePattern(t *testing.T) {
	w := newWorkloads(t)
	exchange := `grant_types: [client_credentials, "` + oauth.GrantTokenExchange + `"]`
	w.start(w.config(withTLS + withMutualTLS + strings.Replace(withWorkloads, `agent/*", auth_method: spiffe}`,
		`agent/*", auth_method: spiffe, `+exchange+`, acts_for: ["*"]}
  - {id: "`+workloadA+`", auth_method: spiffe, `+exchange+`}`, 1)))
	others, refused := w.accessToken(w.client())
	if others == "" {
		t.Fatal(refused)
	}
	for id, want := range map[string]int{workloadA: http.StatusBadRequest, "spiffe://example.org/agent/b": http.StatusOK} {
		params := byJWT(w.own.svid(w.own.jwt.key, map[string]any{"sub": id}), "grant_type", oauth.GrantTokenExchange,
			"subject_token", others, "subject_token_type", oauth.TokenTypeAccessToken)
		if status, body := w.post(w.client(), serveIssuer+authz.PathToken, w.credentials(params...)); status != want {
			t.Errorf("%s exchanges the token of another client: %d %s, want %d", id, status, body, want)
		}
	}
}

// TestStrangersCannotWriteMuchIntoTheLog: a certificate may have names of many KiB, and
// each request of its connection would write them down.
func TestStrangersCannotWriteMuchIntoTheLog(t *testing.T) {
	w := newWorkloads(t)
	stop := w.start(w.config(withTLS + withMutualTLS + withWorkloads))
	long := strings.Repeat("a", 30<<10)
	of := newAuthority(t).issue(x509.Certificate{Subject: pkix.Name{CommonName: long}, IsCA: true, BasicConstraintsValid: true})
	byLongName := (&domain{"example.org", &authority{t, of.Leaf, of.PrivateKey.(*ecdsa.PrivateKey)}, assertions{}}).x509(nil, workloadA)
	namesake := newAuthority(t).issue(x509.Certificate{Subject: pkix.Name{CommonName: long}, IsCA: true, BasicConstraintsValid: true}) // it did not sign, and an error names it
	byLongName.Certificate = append(byLongName.Certificate, namesake.Certificate...)
	for name, cert := range map[string]tls.Certificate{
		"a long trust domain":                 w.foreign.x509(nil, "spiffe://"+long+"/agent"),
		"an authority with a long name":       byLongName,
		"a long name that is no SPIFFE ID's":  w.own.x509(nil, "spiffe://example.org/"+long),
		"a long name in a domain that is not": w.own.x509(nil, "spiffe://EXAMPLE.org/"+long),
	} {
		if status, body := w.post(w.clientAt(w.mutual, cert), mutualURL+authz.PathToken, w.credentials("client_id", workloadA)); status != http.StatusUnauthorized {
			t.Errorf("%s: %d %s", name, status, body)
		}
	}
	stop()
	lines := 0
	for line := range strings.Lines(w.log.String()) {
		if strings.Contains(line, "client not authenticated") {
			lines++
		}
		if len(line) > 4<<10 {
			t.Errorf("a line of %d bytes: %.300s", len(line), line)
		}
	}
	if lines != 4 {
		t.Errorf("%d lines say why, want 4", lines)
	}
}

// TestOldTLSIsSpokenOnNoListener: not on the one that shows our SVID either.
func TestOldTLSIsSpokenOnNoListener(t *testing.T) {
	w, d := newWorld(t, nil), spiffetest.NewDomain(t, "example.org")
	api := spiffetest.Serve(t, spiffetest.State{SVIDs: []tls.Certificate{d.X509(t, "spiffe://example.org/wicketgate")}, Domains: []*spiffetest.Domain{d}})
	w.start(w.config(strings.Replace(withTLS, "key.pem", `key.pem, min_version: "1.3"`, 1) + strings.Replace(withMutualTLS, "}", ", svid: true}", 1) +
		"spiffe: {workload_api: \"" + api.Address() + "\", trust_domains: [{name: example.org}]}\n" + withAgent))
	for _, address := range []string{w.front, w.mutual} {
		for version, spoken := range map[uint16]bool{tls.VersionTLS12: false, tls.VersionTLS13: true} {
			c, err := tls.Dial("tcp", address, &tls.Config{InsecureSkipVerify: true, MinVersion: version, MaxVersion: version, ServerName: "mcp.example.com"}) // whoever it is: the version is looked at
			if (err == nil) != spoken {
				t.Errorf("%s speaks %s: %v", address, tls.VersionName(version), err)
			}
			if err == nil {
				c.Close()
			}
		}
	}
}

// TestWorkloadOfTheLongestName acts for itself as others do: a name is never cut, and
// nothing that holds it is too long.
func TestWorkloadOfTheLongestName(t *testing.T) {
	w := newWorkloads(t)
	id := "spiffe://example.org/agent/"
	id += strings.Repeat("a", 2048-len(id))
	w.write("access.yaml", "version: 1\nroles:\n  agents:\n    who: {clients: [\"spiffe://example.org/agent/*\"]}\n    servers: {mail: {tools: [list_messages]}}\n")
	w.start(w.config(withTLS + withMutualTLS + withWorkloads))
	by := byJWT(w.own.svid(w.own.jwt.key, map[string]any{"sub": id}))
	raw, refused := tokenIn(w.post(w.client(), mutualURL+authz.PathToken, w.credentials(by...)))
	if raw == "" {
		t.Fatal(refused)
	}
	if got := claimsOf(t, raw); got["sub"] != id || got["client_id"] != id {
		t.Errorf("the token is for %v, by %v", got["sub"], got["client_id"])
	}
	if _, err := w.connect(raw).CallTool(t.Context(), &mcp.CallToolParams{Name: "list_messages", Arguments: map[string]any{"limit": 1}}); err != nil {
		t.Error(err)
	}
}

// TestSVIDsAtEveryEndpoint: a workload that has a redirect URI pushes an authorization
// request, and a forged SVID is as little at the other endpoints as at that for tokens.
func TestSVIDsAtEveryEndpoint(t *testing.T) {
	w := newWorkloads(t)
	const app = "spiffe://example.org/app"
	w.start(w.config(withTLS + withMutualTLS + withWorkloads + `  - {id: "` + app + `", auth_method: spiffe, grant_types: [authorization_code], redirect_uris: ["https://app.example.com/back"]}
`))
	code := []string{"response_type", "code", "redirect_uri", "https://app.example.com/back", "code_challenge", strings.Repeat("A", 43), "code_challenge_method", "S256"}
	other := newAuthority(t)
	for by, from := range map[string]struct {
		client, forger *http.Client
		good, forged   []string
	}{
		"X.509-SVID": {w.clientAt(w.mutual, w.own.x509(nil, app)), w.clientAt(w.mutual, (&domain{"example.org", other, w.own.jwt}).x509(nil, app)), []string{"client_id", app}, []string{"client_id", app}},
		"JWT-SVID":   {w.client(), w.client(), byJWT(w.own.svid(w.own.jwt.key, map[string]any{"sub": app})), byJWT(w.own.svid(w.partner.jwt.key, map[string]any{"sub": app}))},
	} {
		if status, body := w.post(from.client, mutualURL+authz.PathPAR, w.credentials(append(from.good, code...)...)); status != http.StatusCreated || !strings.Contains(body, `"request_uri"`) {
			t.Errorf("pushed by %s: %d %s", by, status, body)
		}
		for _, at := range []string{authz.PathPAR, authz.PathIntrospect, authz.PathRevoke} {
			if status, body := w.post(from.forger, mutualURL+at, w.credentials(append(from.forged, append(code, "token", "x")...)...)); status != http.StatusUnauthorized || !strings.Contains(body, `"invalid_client"`) {
				t.Errorf("a forged %s at %s: %d %s, want 401 invalid_client", by, at, status, body)
			}
		}
	}
}
