package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/wicketgate/wicketgate/internal/spiffetest"
	"github.com/wicketgate/wicketgate/internal/vaulttest"
)

// child is what a server has where its calls have children of our own login.
const child = "token_role: wicketgate-NAME"

// worksByChildren calls as alice, and looks whom Vault knows.
func (w *legacyWorld) worksByChildren() {
	w.t.Helper()
	if said, err := w.query("alice", "SELECT amount::text FROM salaries"); err != nil || !strings.HasSuffix(said, " 7 ") {
		w.t.Fatalf("%q, %v", said, err)
	}
	if _, err := w.query("bob", "SELECT amount::text FROM salaries"); err == nil || !strings.Contains(err.Error(), "permission denied") {
		w.t.Errorf("bob read the salaries: %v", err)
	}
	w.until("the users are gone", func() bool { return len(w.users()) == 0 })
	lines := w.vaultLines("database/creds/reports-alice")
	if len(lines) != 1 || lines[0].Auth.Metadata["subject"] != "alice" || lines[0].Auth.Metadata["actor"] != agentID || lines[0].Auth.Metadata["server"] != "reports" {
		w.t.Errorf("Vault's audit has %+v", lines)
	}
	for _, p := range lines[0].Auth.Policies {
		if p != "reports" && p != "wicketgate-call" {
			w.t.Errorf("the token of a call has policy %s", p)
		}
	}
}

// TestLoginByAppRole: the secret-id is wrapped, and who has unwrapped it before us keeps us
// from starting.
func TestLoginByAppRole(t *testing.T) {
	w := newLegacyWorld(t)
	file := filepath.Join(w.dir, "secret-id")
	said := w.setUp("approle", file)
	w.both("child")
	id := regexp.MustCompile(`role_id: (\S+)`).FindStringSubmatch(said)[1]
	config := w.yaml(legacyConfig{login: `{method: approle, role_id: ` + id + `, secret_id_file: secret-id, wrapped: true}`, method: "child", server: child})
	w.stop = w.start(config)
	w.worksByChildren()
	if code := w.stop(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	log := newLog()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second) // that it would serve for, if it started
	defer cancel()
	if code := run(ctx, []string{"serve", "--config", config}, log, log); code != 1 || !strings.Contains(log.String(), "somebody has used it already") {
		t.Errorf("with a wrapping token that was used: exit code %d, %s", code, log)
	}
	if secret := readText(t, file); strings.Contains(log.String(), strings.TrimSpace(secret)) {
		t.Error("the wrapping token is in the log")
	}
}

// TestLoginByCertificate: with our X.509-SVID.
func TestLoginByCertificate(t *testing.T) {
	w := newLegacyWorldWith(t, vaulttest.StartTLS(t))
	const id = "spiffe://example.org/wicketgate"
	domain := spiffetest.NewDomain(t, "example.org")
	named := domain.X509(t, id, func(c *x509.Certificate) { // as SPIRE does for an entry with a DNS name: Vault names who has logged in by it
		c.Subject.CommonName, c.DNSNames = "wicketgate.example.org", []string{"wicketgate.example.org"}
	})
	api := spiffetest.Serve(t, spiffetest.State{SVIDs: []tls.Certificate{named}, Domains: []*spiffetest.Domain{domain}})
	ca := w.write("ca.pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: domain.CA.Raw})))
	w.setUp("cert", ca, id)
	w.both("child")
	w.stop = w.start(w.yaml(legacyConfig{login: `{method: cert, role: wicketgate}`, method: "child", server: child, extra: withAgentOf(api)}))
	w.worksByChildren()
}

// TestLoginByServiceAccount has a fake of the one thing that Vault asks a cluster: whose
// token that is (TokenReview of authentication.k8s.io/v1). A cluster cannot be had here.
func TestLoginByServiceAccount(t *testing.T) {
	w := newLegacyWorld(t)
	account := spiffetest.NewDomain(t, "example.org").JWT(t, map[string]any{"iss": "kubernetes", "sub": "system:serviceaccount:tools:wicketgate", "aud": []string{"vault"},
		"kubernetes.io": map[string]any{"namespace": "tools", "serviceaccount": map[string]string{"name": "wicketgate", "uid": "4711"}}}) // signed as the cluster would
	cluster := httptest.NewTLSServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		var review struct{ Spec struct{ Token string } }
		_ = json.NewDecoder(r.Body).Decode(&review)
		status := map[string]any{"authenticated": review.Spec.Token == account, "audiences": []string{"vault"}, "user": map[string]any{"username": "system:serviceaccount:tools:wicketgate", "uid": "4711"}}
		rw.WriteHeader(http.StatusCreated)
		_ = json.NewEncoder(rw).Encode(map[string]any{"kind": "TokenReview", "apiVersion": "authentication.k8s.io/v1", "status": status})
	}))
	t.Cleanup(cluster.Close)
	ca := w.write("cluster.pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cluster.Certificate().Raw})))
	w.setUp("kubernetes", cluster.URL, ca, "tools", "wicketgate")
	w.both("child")
	w.write("account", account+"\n")
	w.stop = w.start(w.yaml(legacyConfig{login: `{method: kubernetes, role: wicketgate, token_file: account}`, method: "child", server: child}))
	w.worksByChildren()
}

// TestSetUpRefusesNamesThatWouldBeSomethingElse in a path, in JSON or as a policy.
func TestSetUpRefusesNamesThatWouldBeSomethingElse(t *testing.T) {
	for _, arguments := range [][]string{
		{"server", "root", "child"}, {"server", "default", "child"}, {"server", "wicketgate-call", "child"}, {"server", "../x", "child"},
		{"person", "reports", "../alice", "g"}, {"person", "reports", "alice", `g"; DROP ROLE x; --`}, {"person", "reports", "", "g"}, {"person", "reports", "a\"b", "g"},
	} {
		c := setUpCommand(t, "http://127.0.0.1:1", arguments...)
		if out, err := c.CombinedOutput(); err == nil || c.ProcessState.ExitCode() != 2 {
			t.Errorf("%q: %v %s", arguments, err, out)
		}
	}
}
