package main

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/wicketgate/wicketgate/authz"
	"github.com/wicketgate/wicketgate/internal/identity"
	"github.com/wicketgate/wicketgate/internal/oauth"
	"github.com/wicketgate/wicketgate/internal/token"
)

// assertions is a client's key, for private_key_jwt.
type assertions struct {
	t   *testing.T
	key *ecdsa.PrivateKey
}

func newAssertions(t *testing.T) assertions {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return assertions{t, key}
}

func (a assertions) keySet() string {
	return keySetOf(a.t, jose.JSONWebKey{Key: a.key.Public(), KeyID: "1", Algorithm: "ES256", Use: "sig"})
}

// by is what a request of the client holds.
func (a assertions) by(client, audience string) []string {
	a.t.Helper()
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: a.key, KeyID: "1"}}, nil)
	if err != nil {
		a.t.Fatal(err)
	}
	now := time.Now().Unix()
	claims, err := json.Marshal(map[string]any{"iss": client, "sub": client, "aud": audience, "jti": rand.Text(), "iat": now, "exp": now + 60})
	if err != nil {
		a.t.Fatal(err)
	}
	signed, err := signer.Sign(claims)
	if err != nil {
		a.t.Fatal(err)
	}
	raw, err := signed.CompactSerialize()
	if err != nil {
		a.t.Fatal(err)
	}
	return []string{"client_assertion_type", oauth.AssertionJWTBearer, "client_assertion", raw}
}

const withKeyAgent = "clients:\n  - {id: " + agentID + ", auth_method: private_key_jwt, jwks_file: agent.json}\n"

func TestWorkloadProvesItselfByAKey(t *testing.T) {
	w, agent, thief := newWorld(t, nil), newAssertions(t), newAssertions(t)
	w.write("agent.json", agent.keySet())
	stop := w.start(w.config(withTLS + withKeyAgent))
	ask := func(proof []string) (string, string) {
		return tokenIn(w.post(w.client(), serveIssuer+"/oauth2/token", w.credentials(proof...)))
	}
	proof := agent.by(agentID, serveIssuer)
	raw, refused := ask(proof)
	if raw == "" {
		t.Fatal(refused)
	}
	w.connect(raw)
	for name, wrong := range map[string][]string{
		"replayed":          proof,
		"by another's key":  thief.by(agentID, serveIssuer),
		"for other server":  agent.by(agentID, "https://other.example.com"),
		"for the token URL": agent.by(agentID, serveIssuer+"/oauth2/token"), // without assertion_audience
		"of nobody":         agent.by("nobody", serveIssuer),
	} {
		if raw, refused := ask(wrong); raw != "" || !strings.Contains(refused, "invalid_client") {
			t.Errorf("%s: %q, %s", name, raw, refused)
		}
	}
	stop()
	w.write("agent.json", thief.keySet()) // a new key, and the URL allowed
	stop = w.restart(w.config(withTLS + strings.Replace(withKeyAgent, "}", ", assertion_audience: "+serveIssuer+"/oauth2/token}", 1)))
	if raw, refused := ask(agent.by(agentID, serveIssuer)); raw != "" {
		t.Errorf("the key that was replaced is still good: %s", refused)
	}
	if raw, refused := ask(thief.by(agentID, serveIssuer+"/oauth2/token")); raw == "" {
		t.Errorf("the new key, for assertion_audience: %s", refused)
	}
	stop()
	w.restart(w.config(withTLS))
	if raw, refused := ask(thief.by(agentID, serveIssuer)); raw != "" || !strings.Contains(refused, "invalid_client") {
		t.Errorf("removed from the configuration: %q, %s", raw, refused)
	}
}

func TestServerIntrospectsItsOwnTokensOnly(t *testing.T) {
	w := newWorld(t, nil)
	const others = `
  - {name: files, url: "https://files.internal/mcp"}
log: {level: debug, format: json}
`
	w.write("mail.secret", strings.Repeat("m", 64))
	w.write("files.secret", strings.Repeat("f", 64))
	config := w.config(withTLS + withAgent + `  - {id: mail-server, secret_file: mail.secret, resource_server: mail}
  - {id: files-server, secret_file: files.secret, resource_server: files}
`)
	w.write("wicketgate.yaml", strings.Replace(readText(t, config), "\nlog: {level: debug, format: json}\n", others, 1))
	w.start(config)
	raw, refused := w.accessToken(w.client())
	if raw == "" {
		t.Fatal(refused)
	}
	for id, tt := range map[string]struct {
		secret string
		status int
		active bool
	}{
		"mail-server":  {strings.Repeat("m", 64), http.StatusOK, true},
		agentID:        {agentSecret, http.StatusOK, true}, // its own
		"files-server": {strings.Repeat("f", 64), http.StatusOK, false},
		"nobody":       {agentSecret, http.StatusUnauthorized, false},
	} {
		status, body := w.post(w.client(), serveIssuer+"/oauth2/introspect", url.Values{"token": {raw}}, id, tt.secret)
		if status != tt.status || strings.Contains(body, `"active":true`) != tt.active || status == http.StatusOK && !tt.active && strings.TrimSpace(body) != `{"active":false}` {
			t.Errorf("%s: %d %s", id, status, body)
		}
		if tt.active && !strings.Contains(body, `"sub":"`+agentID+`"`) {
			t.Errorf("%s: %s", id, body)
		}
	}
}

func TestTokensAreSignedWithTheConfiguredAlgorithm(t *testing.T) {
	for algorithm, want := range map[string]func(any) bool{
		"EdDSA": func(k any) bool { _, ok := k.(ed25519.PublicKey); return ok },
		"ES256": func(k any) bool { _, ok := k.(*ecdsa.PublicKey); return ok },
	} {
		w := newWorld(t, nil)
		w.start(w.config(withTLS + withAgent + "token_algorithm: " + algorithm + "\n"))
		raw, refused := w.accessToken(w.client())
		if raw == "" {
			t.Fatal(refused)
		}
		header, _, _ := strings.Cut(raw, ".")
		b, err := base64.RawURLEncoding.DecodeString(header)
		if err != nil || !strings.Contains(string(b), `"alg":"`+algorithm+`"`) {
			t.Errorf("%s: the token's header is %s, error %v", algorithm, b, err)
		}
		w.connect(raw) // for which the mail server got a call token, and verified it
		n := 0
		w.keys.Range(func(_, k any) bool {
			n++
			if !want(k.(token.PublicKey).Key) {
				t.Errorf("%s: a key is %T", algorithm, k.(token.PublicKey).Key)
			}
			return true
		})
		if n == 0 {
			t.Errorf("%s: the mail server verified nothing", algorithm)
		}
	}
}

// storedClient changes what the store has of a client while nothing runs.
func (w *world) storedClient(id string, change func(*authz.Client)) {
	w.t.Helper()
	store, err := openStore(w.t.Context(), storeConfig{SQLite: filepath.Join(w.dir, "data", fileStore)})
	if err != nil {
		w.t.Fatal(err)
	}
	defer store.Close()
	c, err := store.Client(w.t.Context(), identity.MustClientID(id))
	if err != nil {
		w.t.Fatal(err)
	}
	change(&c)
	if err := store.ReplaceClient(w.t.Context(), c); err != nil {
		w.t.Fatal(err)
	}
}

// register registers a client with a secret.
func (w *world) register() (id, secret string) {
	w.t.Helper()
	req, err := http.NewRequest(http.MethodPost, serveIssuer+"/oauth2/register", strings.NewReader(`{"client_name":"app","redirect_uris":["http://127.0.0.1/cb"]}`))
	if err != nil {
		w.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	status, body := w.do(w.client(), req)
	var c struct {
		ID     string `json:"client_id"`
		Secret string `json:"client_secret"`
	}
	if err := json.Unmarshal([]byte(body), &c); status != http.StatusCreated || err != nil || c.Secret == "" {
		w.t.Fatalf("register: %d %s", status, body)
	}
	return c.ID, c.Secret
}

// knows reports whether the server takes the secret, and what it says otherwise.
func (w *world) knows(id, secret string) (bool, string) {
	w.t.Helper()
	status, body := w.post(w.client(), serveIssuer+"/oauth2/introspect", url.Values{"token": {"x"}}, id, secret)
	return status == http.StatusOK, body
}

func TestOldSecretIsWarnedAboutAndThenRefused(t *testing.T) {
	w := newWorld(t, nil)
	config := w.config(withTLS + "ages: {secret_warn: 10d, secret_max: 20d}\n")
	stop := w.start(config)
	id, secret := w.register()
	for days, want := range map[int]struct{ good, warned bool }{9: {true, false}, 11: {true, true}, 21: {false, true}} {
		stop()
		w.storedClient(id, func(c *authz.Client) { c.SecretCreated = time.Now().Add(-time.Duration(days) * 24 * time.Hour) })
		stop = w.restart(config)
		if warned := strings.Contains(w.log.String(), `"level":"WARN","msg":"a client secret is old: rotate it","client":"`+id+`"`); warned != want.warned {
			t.Errorf("after %d days: warned %v", days, warned)
		}
		good, body := w.knows(id, secret)
		if good != want.good || !good && !strings.Contains(body, "the client secret has expired: rotate it") {
			t.Errorf("after %d days: %v %s", days, good, body)
		}
		if good, body := w.knows(id, secret+"x"); good || strings.Contains(body, "expired") {
			t.Errorf("who does not know the secret learns its age after %d days: %s", days, body)
		}
	}
}

// TestSecretIsRotatedBesideARunningServer: both are good, then only the new one.
func TestSecretIsRotatedBesideARunningServer(t *testing.T) {
	w := newWorld(t, nil)
	config := w.config(withTLS)
	w.start(config)
	id, first := w.register()
	rotate := func(overlap string) string {
		var out, errs strings.Builder
		if code := run(t.Context(), []string{"clients", "rotate", id, "--config", config, "--overlap", overlap}, &out, &errs); code != 0 || strings.Contains(errs.String(), out.String()) {
			t.Fatalf("exit code %d: %s", code, errs.String())
		}
		return strings.TrimSpace(out.String())
	}
	check := func(when string, want map[string]bool) {
		t.Helper()
		for secret, good := range want {
			if got, body := w.knows(id, secret); got != good {
				t.Errorf("%s: %v %s, want %v", when, got, body, good)
			}
		}
	}
	check("before", map[string]bool{first: true})
	second := rotate("1h")
	check("within the overlap", map[string]bool{first: true, second: true})
	third := rotate("0")
	check("without overlap", map[string]bool{first: false, second: false, third: true})
	for _, secret := range []string{first, second, third} {
		if strings.Contains(w.log.String(), secret) {
			t.Error("the log has a secret")
		}
	}
}

func TestRegistrationCanBeSwitchedOff(t *testing.T) {
	w := newWorld(t, nil)
	w.start(w.config(withTLS + "registration: {dynamic: false, documents: false}\n"))
	doc := w.metadata()
	if doc["registration_endpoint"] != nil || doc["client_id_metadata_document_supported"] == true {
		t.Errorf("the metadata offers %v and documents %v", doc["registration_endpoint"], doc["client_id_metadata_document_supported"])
	}
	req, err := http.NewRequest(http.MethodPost, serveIssuer+"/oauth2/register", strings.NewReader(`{"redirect_uris":["http://127.0.0.1/cb"]}`))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	if status, body := w.do(w.client(), req); status != http.StatusBadRequest || !strings.Contains(body, "clients cannot register themselves here") {
		t.Errorf("register: %d %s", status, body)
	}
	q := url.Values{"client_id": {"https://127.0.0.1:1/client.json"}, "redirect_uri": {"http://127.0.0.1/cb"}, "response_type": {"code"}, "resource": {serveIssuer + "/mcp/mail"},
		"code_challenge": {strings.Repeat("A", 43)}, "code_challenge_method": {"S256"}}
	if status, body := w.get(serveIssuer + "/oauth2/authorize?" + q.Encode()); status != http.StatusBadRequest || !strings.Contains(body, "not registered here") {
		t.Errorf("authorize: %d %s", status, body)
	}
	if strings.Contains(w.log.String(), "client metadata document") {
		t.Error("the document was asked for")
	}
	on := newWorld(t, nil)
	on.start(on.config(withTLS))
	if doc := on.metadata(); doc["registration_endpoint"] != serveIssuer+"/oauth2/register" || doc["client_id_metadata_document_supported"] != true {
		t.Errorf("switched on, the metadata offers %v and documents %v", doc["registration_endpoint"], doc["client_id_metadata_document_supported"])
	}
}
