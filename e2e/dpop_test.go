package e2e_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// dpopLogin logs in with the TypeScript SDK as sdk2Login does, with tokens that are bound
// to a key. The Go SDK has no DPoP.
func dpopLogin(t *testing.T, h *house, r *robot) (tsClient, *output) {
	t.Helper()
	ctx := deadline(t)
	c, _, stderr := startTS(ctx, t, program(ctx, t, nil, "node", "sdk.mjs", h.resource(), sdk2ClientName, callback, "dpop"), r)
	return c, stderr
}

// steal is the client's tokens in other hands.
func steal(t *testing.T, c tsClient) stolen {
	t.Helper()
	m, err := c.ask(object{"steal": true})
	if err != nil || m.Stolen == nil {
		t.Fatalf("steal: %+v, %v", m, err)
	}
	return *m.Stolen
}

// A30.
func TestTypeScript2ClientWithDPoP(t *testing.T) {
	t.Parallel()
	h := startHouseWith(t, t.TempDir(), "0", "--verbose")
	c, stderr := dpopLogin(t, h, newRobot("alice", "approve"))
	checkReader(t, c)
	if m, err := c.ask(object{"refresh": true}); err != nil || !m.Refreshed {
		t.Fatalf("refresh = %+v, %v, want another access token", m, err)
	}
	checkReader(t, c)
	checkBound(t, h, steal(t, c))
	checkSilent(t, h, stderr)
}

// checkBound checks that the token is good for nothing without the key, neither here nor
// to get another.
func checkBound(t *testing.T, h *house, s stolen) {
	t.Helper()
	cnf, _ := part(t, s.AccessToken, 1)["cnf"].(object)
	if jkt, _ := cnf["jkt"].(string); jkt == "" || !strings.EqualFold(s.TokenType, "DPoP") {
		t.Fatalf("a %s token with cnf %v, want one that is bound to a key", s.TokenType, cnf)
	}
	for _, scheme := range []string{"Bearer", "DPoP"} {
		header := mcpHeader("")
		header.Set("Authorization", scheme+" "+s.AccessToken)
		if resp, body := send(t, http.MethodPost, h.resource(), header, `{"jsonrpc":"2.0","id":1,"method":"tools/list"}`); resp.StatusCode != http.StatusUnauthorized {
			t.Errorf("stolen and presented as %s: %d %s", scheme, resp.StatusCode, body)
		}
	}
	if s.RefreshToken == "" {
		return
	}
	client, _ := part(t, s.AccessToken, 1)["client_id"].(string)
	form := url.Values{"grant_type": {"refresh_token"}, "refresh_token": {s.RefreshToken}, "client_id": {client}}
	if a := askToken(t, h, form); a.AccessToken != "" {
		t.Errorf("a public client's refresh token works without the key")
	}
}

// TestTypeScript2WorkloadWithDPoP proves by one key who it is, and by another that the
// token is its own, to a server that takes nothing less.
func TestTypeScript2WorkloadWithDPoP(t *testing.T) {
	t.Parallel()
	h, key := startWorkloads(t, "    sender_constrained: true\n")
	options := object{"clientId": "report-agent", "privateKey": key, "algorithm": "ES256", "expectedIssuer": h.url}
	if _, err := tsWorkload(t, h, "PrivateKeyJwt", options); err == nil {
		t.Error("a token that is bound to nothing gets in")
	}
	options["dpop"] = true
	c, err := tsWorkload(t, h, "PrivateKeyJwt", options)
	if err != nil {
		t.Fatal(err)
	}
	checkReader(t, c)
	checkBound(t, h, steal(t, c))
	checkSaysNothing(t, h)
}
