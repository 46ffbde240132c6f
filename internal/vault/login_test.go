package vault_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/wicketgate/wicketgate/internal/spiffetest"
	"github.com/wicketgate/wicketgate/internal/vault"
	"github.com/wicketgate/wicketgate/internal/vaulttest"
)

// works fails the test unless the login gave a token that Vault knows.
func works(t *testing.T, c *vault.Client, a vault.Auth, err error) {
	t.Helper()
	if err != nil {
		t.Error(err)
		return
	}
	if a.Accessor == "" || a.TTL <= 0 || a.Batch {
		t.Errorf("Auth = %+v", a)
	}
	if _, err := c.Read(t.Context(), a.Token, "auth/token/lookup-self", nil); err != nil {
		t.Error(err)
	}
}

func TestLoginJWT(t *testing.T) {
	v := vaulttest.Start(t)
	c := client(t, v.URL)
	d := spiffetest.NewDomain(t, "example.org")
	v.JWT(t, d.JWTKey.Public())
	v.Do(t, http.MethodPost, "auth/jwt/role/call", map[string]any{
		"role_type": "jwt", "bound_audiences": []string{"https://vault.example.com"}, "user_claim": "sub",
		"token_ttl": "1m", "token_explicit_max_ttl": "90s", "token_policies": []string{"default"},
	})
	v.Do(t, http.MethodPost, "auth/jwt/role/batch", map[string]any{
		"role_type": "jwt", "bound_audiences": []string{"https://vault.example.com"}, "user_claim": "sub", "token_type": "batch", "token_ttl": "1m",
	})
	jwt := d.JWT(t, map[string]any{"sub": "alice", "aud": "https://vault.example.com"})
	a, err := c.LoginJWT(t.Context(), "jwt", "call", jwt)
	works(t, c, a, err)
	if a.TTL != time.Minute || !a.Renewable {
		t.Errorf("Auth = %+v", a)
	}
	if a, err := c.LoginJWT(t.Context(), "jwt", "batch", jwt); err != nil || !a.Batch || a.Accessor != "" {
		t.Errorf("a role that gives batch tokens: %+v, %v", a, err)
	}
	for what, jwt := range map[string]string{
		"another audience": d.JWT(t, map[string]any{"sub": "alice", "aud": "https://elsewhere.example.com"}),
		"another key":      spiffetest.NewDomain(t, "example.org").JWT(t, map[string]any{"sub": "alice", "aud": "https://vault.example.com"}),
		"expired":          d.JWT(t, map[string]any{"sub": "alice", "aud": "https://vault.example.com", "exp": time.Now().Add(-time.Hour).Unix()}),
	} {
		_, err := c.LoginJWT(t.Context(), "jwt", "call", jwt)
		reason(t, what, err, vault.LoggedOut)
		for part := range strings.SplitSeq(jwt, ".") {
			searched(t, what, err, []string{part})
		}
	}
}

// TestLoginCert with an X.509-SVID, as the certificate auth of deploy/vault takes it.
func TestLoginCert(t *testing.T) {
	v := vaulttest.StartTLS(t)
	d := spiffetest.NewDomain(t, "example.org")
	v.Auth(t, "cert")
	v.Do(t, http.MethodPost, "auth/cert/certs/gateway", certRole(d))
	var now tls.Certificate
	var none error
	c, err := vault.New(vault.Config{Address: v.URL, CAs: v.CAs, Timeout: 30 * time.Second, Certificate: func() (*tls.Certificate, error) { return &now, none }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	login := func() (vault.Auth, error) { return c.LoginCert(t.Context(), "cert", "gateway") }
	now = d.X509(t, "spiffe://example.org/somebody", commonName)
	_, err = login()
	reason(t, "another workload", err, vault.LoggedOut)
	now = spiffetest.NewDomain(t, "example.org").X509(t, "spiffe://example.org/gateway", commonName)
	_, err = login()
	reason(t, "another authority", err, vault.LoggedOut)
	now = d.X509(t, "spiffe://example.org/gateway", func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }, commonName)
	_, err = login()
	reason(t, "expired", err, vault.LoggedOut)
	now = d.X509(t, "spiffe://example.org/gateway")
	_, err = login()
	reason(t, "no common name", err, vault.LoggedOut)
	if err == nil || !strings.Contains(err.Error(), "-dns") {
		t.Errorf("no common name: %v", err)
	}
	// A connection that was kept would show the certificates above.
	now = d.X509(t, "spiffe://example.org/gateway", commonName)
	a, err := login()
	works(t, c, a, err)
	if _, err := c.RenewToken(t.Context(), a.Token); err != nil {
		t.Error(err)
	}
	now = d.X509(t, "spiffe://example.org/gateway", commonName) // the next SVID has another key
	if _, err := c.RenewToken(t.Context(), a.Token); err != nil {
		t.Error(err)
	}
	replacedWhenNotRenewed(t, v, c, &now)
	none = errors.New("no SVID")
	_, err = login()
	reason(t, "no SVID", err, vault.Unreachable)
	_, err = client(t, "http://localhost").LoginCert(t.Context(), "cert", "gateway")
	reason(t, "no certificate", err, vault.LoggedOut)
}

// replacedWhenNotRenewed: Vault does not renew for an SVID of another authority than that
// of the login, nor when the policies of the role have changed, and each is another HTTP
// status. Own logs in anew.
func replacedWhenNotRenewed(t *testing.T, v *vaulttest.Vault, c *vault.Client, now *tls.Certificate) {
	t.Helper()
	clock, role := time.Now(), "gateway"
	own := vault.NewOwn(vault.OwnConfig{Client: c, Now: func() time.Time { return clock }, Login: func(ctx context.Context) (vault.Auth, error) {
		return c.LoginCert(ctx, "cert", role)
	}})
	next := spiffetest.NewDomain(t, "example.org")
	for _, change := range []struct {
		how  func()
		want vault.Reason
	}{
		{func() {
			v.Do(t, http.MethodPost, "auth/cert/certs/next", certRole(next))
			role, *now = "next", next.X509(t, "spiffe://example.org/gateway", commonName)
		}, vault.Refused},
		{func() {
			v.Do(t, http.MethodPost, "auth/cert/certs/next", map[string]any{"token_policies": "default,more"})
		}, vault.Failed},
	} {
		before, err := own.Token(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		change.how()
		_, err = c.RenewToken(t.Context(), before)
		reason(t, "renewed", err, change.want)
		clock = clock.Add(41 * time.Minute)
		own.Keep(t.Context())
		after, err := own.Token(t.Context())
		if err != nil || after == before || read(t, c, after, "auth/token/lookup-self") != nil {
			t.Errorf("%s: %v, the same token %v", change.want, err, after == before)
		}
	}
	if err := own.Close(t.Context()); err != nil {
		t.Error(err)
	}
}

// certRole is a role of certificate auth for the gateway of a trust domain.
func certRole(d *spiffetest.Domain) map[string]any {
	return map[string]any{
		"certificate":      string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: d.CA.Raw})),
		"allowed_uri_sans": "spiffe://example.org/gateway", "token_ttl": "1h", "token_policies": "default",
	}
}

// commonName has an SVID be as SPIRE makes it for an entry with a DNS name.
func commonName(c *x509.Certificate) {
	c.Subject.CommonName, c.DNSNames = "mcp.example.org", []string{"mcp.example.org"}
}

// appRole sets up AppRole auth, and returns the role_id of gateway.
func appRole(t *testing.T, v *vaulttest.Vault) (roleID string) {
	t.Helper()
	v.Auth(t, "approle")
	v.Do(t, http.MethodPost, "auth/approle/role/gateway", map[string]any{"token_ttl": "1h", "token_policies": "default"})
	got := v.Do(t, http.MethodGet, "auth/approle/role/gateway/role-id", nil)
	data, _ := got["data"].(map[string]any)
	roleID, _ = data["role_id"].(string)
	return roleID
}

// wrapped asks for a path and has the answer wrapped.
func wrapped(t *testing.T, v *vaulttest.Vault, method, path string) vault.Token {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, v.URL+"/v1/"+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X-Vault-Token", vaulttest.RootToken)
	req.Header.Set("X-Vault-Wrap-TTL", "5m")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var answer struct {
		Wrap struct {
			Token string `json:"token"`
		} `json:"wrap_info"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil || answer.Wrap.Token == "" {
		t.Fatal(resp.Status, err)
	}
	return vault.NewToken(answer.Wrap.Token)
}

func TestLoginAppRole(t *testing.T) {
	v := vaulttest.Start(t)
	c := client(t, v.URL)
	roleID := appRole(t, v)
	got := v.Do(t, http.MethodPost, "auth/approle/role/gateway/secret-id", nil)
	data, _ := got["data"].(map[string]any)
	secretID, _ := data["secret_id"].(string)
	a, err := c.LoginAppRole(t.Context(), "approle", roleID, secretID)
	works(t, c, a, err)

	secretID, err = c.UnwrapSecretID(t.Context(), "approle", wrapped(t, v, http.MethodPost, "auth/approle/role/gateway/secret-id"))
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // it is kept for the next login
		a, err = c.LoginAppRole(t.Context(), "approle", roleID, secretID)
		works(t, c, a, err)
	}
}

// TestWrappingTokenThatSomebodyUsedIsAnAlarm: whoever unwrapped it has our secret_id.
func TestWrappingTokenThatSomebodyUsedIsAnAlarm(t *testing.T) {
	v := vaulttest.Start(t)
	c := client(t, v.URL)
	appRole(t, v)
	token := wrapped(t, v, http.MethodPost, "auth/approle/role/gateway/secret-id")
	if _, err := c.UnwrapSecretID(t.Context(), "approle", token); err != nil {
		t.Fatal(err)
	}
	_, err := c.UnwrapSecretID(t.Context(), "approle", token)
	reason(t, "a second time", err, vault.LoggedOut)
	if !errors.Is(err, vault.ErrUnwrapped) || !strings.Contains(err.Error(), "attack") {
		t.Errorf("a second time: %v", err)
	}
	v.Seal(t)
	if _, err := c.UnwrapSecretID(t.Context(), "approle", token); errors.Is(err, vault.ErrUnwrapped) {
		t.Errorf("a sealed Vault is taken for an attack: %v", err)
	}
}

// TestWrappingTokenOfSomethingElseIsNotUnwrapped: an attacker who took ours would put
// another one in its place, and have us log in as a role of theirs.
func TestWrappingTokenOfSomethingElseIsNotUnwrapped(t *testing.T) {
	v := vaulttest.Start(t)
	c := client(t, v.URL)
	appRole(t, v)
	v.Do(t, http.MethodPost, "sys/auth/other", map[string]any{"type": "approle"})
	v.Do(t, http.MethodPost, "auth/other/role/gateway", map[string]any{})
	v.Do(t, http.MethodPost, "secret/data/x", map[string]any{"data": map[string]string{"secret_id": "theirs"}})
	for what, token := range map[string]vault.Token{
		"a secret":                      wrapped(t, v, http.MethodGet, "secret/data/x"),
		"what anybody wraps":            wrapped(t, v, http.MethodPost, "sys/wrapping/wrap"),
		"a secret_id of another mount":  wrapped(t, v, http.MethodPost, "auth/other/role/gateway/secret-id"),
		"the role_id of the same mount": wrapped(t, v, http.MethodGet, "auth/approle/role/gateway/role-id"),
	} {
		_, err := c.UnwrapSecretID(t.Context(), "approle", token)
		reason(t, what, err, vault.LoggedOut)
		if err == nil || !strings.Contains(err.Error(), "not unwrapped") {
			t.Errorf("%s: %v", what, err)
		}
		if _, err := c.Write(t.Context(), vault.Token{}, "sys/wrapping/lookup", map[string]any{"token": tokenOf(t, token)}); err != nil {
			t.Errorf("%s: it was unwrapped: %v", what, err)
		}
	}
}

// tokenOf has a token sent, because it does not print.
func tokenOf(t *testing.T, token vault.Token) (s string) {
	t.Helper()
	c := fake(t, func(_ http.ResponseWriter, r *http.Request) { s = r.Header.Get("X-Vault-Token") })
	_, _ = c.Read(t.Context(), token, "x", nil)
	return s
}

// TestLoginKubernetes has a real Vault, and a fake of the one thing that it asks a
// cluster: whose token that is (TokenReview of authentication.k8s.io/v1). A cluster cannot
// be had here.
func TestLoginKubernetes(t *testing.T) {
	v := vaulttest.Start(t)
	c := client(t, v.URL)
	d := spiffetest.NewDomain(t, "example.org") // signs as the cluster would
	claims := map[string]any{"iss": "kubernetes", "sub": "system:serviceaccount:tools:gateway", "aud": []string{"vault"},
		"kubernetes.io": map[string]any{"namespace": "tools", "serviceaccount": map[string]string{"name": "gateway", "uid": "4711"}}}
	good := d.JWT(t, claims)
	cluster := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		var review struct{ Spec struct{ Token string } }
		_ = json.Unmarshal(b, &review)
		status := map[string]any{"authenticated": false, "error": "no such token"}
		if r.URL.Path == "/apis/authentication.k8s.io/v1/tokenreviews" && review.Spec.Token == good {
			status = map[string]any{"authenticated": true, "audiences": []string{"vault"}, "user": map[string]any{"username": "system:serviceaccount:tools:gateway", "uid": "4711"}}
		}
		w.WriteHeader(http.StatusCreated)
		_ = json.NewEncoder(w).Encode(map[string]any{"kind": "TokenReview", "apiVersion": "authentication.k8s.io/v1", "status": status})
	}))
	t.Cleanup(cluster.Close)
	v.Auth(t, "kubernetes")
	v.Do(t, http.MethodPost, "auth/kubernetes/config", map[string]any{
		"kubernetes_host": cluster.URL, "kubernetes_ca_cert": string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cluster.Certificate().Raw})),
		"token_reviewer_jwt": "reviewer", "disable_local_ca_jwt": true,
	})
	v.Do(t, http.MethodPost, "auth/kubernetes/role/gateway", map[string]any{
		"bound_service_account_names": "gateway", "bound_service_account_namespaces": "tools", "audience": "vault", "token_ttl": "1h", "token_policies": "default",
	})
	a, err := c.LoginKubernetes(t.Context(), "kubernetes", "gateway", good)
	works(t, c, a, err)
	claims["jti"] = "another"
	bad := d.JWT(t, claims)
	_, err = c.LoginKubernetes(t.Context(), "kubernetes", "gateway", bad)
	reason(t, "a token that the cluster does not know", err, vault.LoggedOut)
}
