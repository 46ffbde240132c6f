package main

import (
	"crypto/tls"
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/wicketgate/wicketgate/authz"
	"github.com/wicketgate/wicketgate/internal/oauth"
)

// TestLogSaysWhyAWorkloadIsRefused: the workload is told nothing, and its operator has to
// find the one mistake that it was.
func TestLogSaysWhyAWorkloadIsRefused(t *testing.T) {
	w := newWorkloads(t)
	stop := w.start(w.config(withTLS + withMutualTLS + withWorkloads))
	const db, onlyJWT, onlyX509 = "spiffe://example.org/db", "spiffe://example.org/only/jwt", "spiffe://example.org/only/x509"
	svid := func(id string) string { return w.own.svid(w.own.jwt.key, map[string]any{"sub": id}) }
	shows := func(id string) *http.Client { return w.clientAt(w.mutual, w.own.x509(nil, id)) }
	cases := []struct {
		client *http.Client
		params []string
		cause  string
	}{
		{shows(db), []string{"client_id", db}, "no client is configured for " + db},
		{shows(workloadA), nil, "there is no client_id beside the certificate"},
		{shows(workloadA), []string{"client_id", "agent-a"}, "no client has this client_id"},
		{shows(workloadA), []string{"client_id", workloadA + "b"}, "the X.509-SVID is that of " + workloadA},
		{shows(onlyJWT), []string{"client_id", onlyJWT}, "client " + onlyJWT + " proves itself by spiffe_jwt"},
		{w.client(), []string{"client_id", workloadA}, workloadA + " came without an SVID: certificates are asked for where mutual_tls listens, and that of a trusted proxy's own connection is none"},
		{w.clientAt(w.mutual, tls.Certificate{}), []string{"client_id", db}, db + " came without an SVID: certificates are asked for where mutual_tls listens, and that of a trusted proxy's own connection is none"},
		{w.client(), byJWT(svid(db)), "no client is configured for " + db},
		{w.client(), byJWT(svid(workloadA), "client_id", workloadA+"b"), "client_id is not the SPIFFE ID of the JWT-SVID, " + workloadA},
		{w.client(), byJWT(svid(onlyX509)), "client " + onlyX509 + " proves itself by spiffe_x509"},
		{w.client(), byJWT(svid(workloadA), "client_assertion_type", oauth.AssertionJWTBearer), workloadA + " came with another client_assertion_type than " + oauth.AssertionJWTSPIFFE},
	}
	for _, tt := range cases {
		status, body := w.post(tt.client, mutualURL+authz.PathToken, w.credentials(tt.params...))
		if status != http.StatusUnauthorized || !strings.Contains(body, `"the client is unknown or did not prove who it is"`) {
			t.Errorf("%s: %d %s", tt.cause, status, body)
		}
	}
	stop()
	var causes []string
	for line := range strings.Lines(w.log.String()) {
		var l struct{ Msg, Cause string }
		if err := json.Unmarshal([]byte(line), &l); err == nil && l.Msg == "client not authenticated" {
			causes = append(causes, l.Cause)
		}
	}
	if len(causes) != len(cases) {
		t.Fatalf("%d causes, want %d: %q", len(causes), len(cases), causes)
	}
	for i, tt := range cases {
		if causes[i] != tt.cause {
			t.Errorf("%q, want %q", causes[i], tt.cause)
		}
	}
}
