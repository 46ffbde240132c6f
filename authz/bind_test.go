package authz_test

import (
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/wicketgate/wicketgate/authz"
	"github.com/wicketgate/wicketgate/internal/audit"
	"github.com/wicketgate/wicketgate/internal/oauth"
	"github.com/wicketgate/wicketgate/internal/token"
	"github.com/wicketgate/wicketgate/internal/web"
)

// holder is who has a DPoP key, and the nonce that it was given.
type holder struct {
	w     *world
	key   crypto.Signer
	nonce string
}

func (w *world) holder(key string) *holder { return &holder{w: w, key: testKeys()[key]} }

// proof is a proof for a POST to the path.
func (h *holder) proof(path string) string {
	h.w.t.Helper()
	claims := object{"jti": rand.Text(), "htm": "POST", "htu": h.w.url + path, "iat": h.w.clock.Now().Unix(), "nonce": h.nonce}
	return sign(h.w.t, h.key, object{"typ": "dpop+jwt", "alg": "ES256", "jwk": jwkOf(h.key.Public(), nil)}, claims)
}

// post posts a form with a proof, and once more with the nonce if it is asked for one.
func (h *holder) post(path string, c *client, form url.Values) answer {
	h.w.t.Helper()
	a := h.w.postProved(path, c, form, h.proof(path))
	if a.Error == "use_dpop_nonce" {
		h.nonce = a.header.Get("DPoP-Nonce")
		a = h.w.postProved(path, c, form, h.proof(path))
	}
	return a
}

func (h *holder) token(c *client, form url.Values) answer {
	h.w.t.Helper()
	return h.post("/oauth2/token", c, form)
}

func (w *world) postProved(path string, c *client, form url.Values, proofs ...string) answer {
	w.t.Helper()
	f := with(url.Values{}, change(form))
	if c != nil && c.ID != "" {
		f.Set("client_id", c.ID)
	}
	if c != nil && c.Secret != "" {
		f.Set("client_secret", c.Secret)
	}
	r := w.request("POST", path, "application/x-www-form-urlencoded", f.Encode())
	r.Header["Dpop"] = proofs
	return w.do(r)
}

// bound is what an access token is bound to.
func (w *world) bound(a answer) token.Confirmation {
	w.t.Helper()
	w.wantOK(a)
	return must(w.verifier.ParseIssued(w.t.Context(), a.AccessToken))(w.t).Confirmation()
}

// wantBound checks a token that is bound to a DPoP key, and says so.
func (w *world) wantBound(a answer) string {
	w.t.Helper()
	jkt := w.bound(a).JKT
	if jkt == "" || a.TokenType != "DPoP" {
		w.t.Fatalf("token type %s, bound to %q", a.TokenType, jkt)
	}
	return jkt
}

func TestDPoPTokens(t *testing.T) {
	w := newWorld(t)
	for name, c := range map[string]client{"a public client": w.public(), "a confidential client": w.confidential()} {
		t.Run(name, func(t *testing.T) {
			w := w.in(t)
			h := w.holder("ES256")
			first := h.token(&c, codeForm(c, w.approve(c).Get("code")))
			second := h.token(&c, refreshForm(first.RefreshToken))
			if w.wantBound(first) != w.wantBound(second) {
				t.Error("two keys")
			}
		})
	}
	h := w.holder("ES256")
	a := h.token(&agent, url.Values{"grant_type": {"client_credentials"}, "resource": {w.files()}})
	w.wantBound(a)
	if plain := w.tokens(w.public()); plain.TokenType != "Bearer" || !w.bound(plain).IsZero() {
		t.Errorf("without a proof: %s", plain.body)
	}
	if got := w.postForm("/oauth2/introspect", &agent, url.Values{"token": {a.AccessToken}}); !strings.Contains(got.body, `"token_type":"DPoP"`) || !strings.Contains(got.body, `"cnf":{"jkt":"`) {
		t.Errorf("introspection: %s", got.body)
	}
}

// TestFirstProofIsAskedForANonce: RFC 9449 §8, also across origins; nothing is recorded as
// refused, and no assertion or code is spent.
func TestFirstProofIsAskedForANonce(t *testing.T) {
	w := newWorld(t)
	c := w.public()
	code := w.approve(c).Get("code")
	h := w.holder("ES256")
	a := w.postProved("/oauth2/token", &c, codeForm(c, code), h.proof("/oauth2/token"))
	w.wantError(a, 400, "use_dpop_nonce")
	if a.header.Get("DPoP-Nonce") == "" || !strings.Contains(a.header.Get("Access-Control-Expose-Headers"), "DPoP-Nonce") {
		t.Errorf("headers %v", a.header)
	}
	h.nonce = a.header.Get("DPoP-Nonce")
	w.wantBound(h.token(&c, codeForm(c, code)))
}

// TestBadProofAtTheTokenEndpoint: for another endpoint, from another server, twice.
func TestBadProofAtTheTokenEndpoint(t *testing.T) {
	w := newWorld(t)
	h := w.holder("ES256")
	form := url.Values{"grant_type": {"client_credentials"}, "resource": {w.files()}}
	good := h.token(&agent, form)
	w.wantBound(good)
	replayed := h.proof("/oauth2/token")
	w.wantBound(w.postProved("/oauth2/token", &agent, form, replayed))
	for name, proofs := range map[string][]string{"used before": {replayed}, "for another endpoint": {h.proof("/oauth2/par")}, "for a server": {h.proof("/mcp/mail")}, "two": {h.proof("/oauth2/token"), h.proof("/oauth2/token")}, "no JWT": {"x"}, "empty": {""}} {
		t.Run(name, func(t *testing.T) {
			w.in(t).wantError(w.postProved("/oauth2/token", &agent, form, proofs...), 400, "invalid_dpop_proof")
		})
	}
	r := w.request("POST", "/oauth2/token", "application/x-www-form-urlencoded", form.Encode())
	r.Header.Set("X-Forwarded-Host", "evil.example")
	claims := object{"jti": "x", "htm": "POST", "htu": "http://evil.example/oauth2/token", "iat": w.clock.Now().Unix(), "nonce": h.nonce}
	r.Header.Set("DPoP", sign(t, h.key, object{"typ": "dpop+jwt", "alg": "ES256", "jwk": jwkOf(h.key.Public(), nil)}, claims))
	w.wantError(w.do(r), 400, "invalid_dpop_proof")
}

// TestProofInParallelCountsOnce: 32 requests with one proof, on a real store.
func TestProofInParallelCountsOnce(t *testing.T) {
	w := newWorld(t)
	h := w.holder("ES256")
	form := url.Values{"grant_type": {"client_credentials"}, "resource": {w.files()}}
	w.wantBound(h.token(&agent, form))
	proof, won := h.proof("/oauth2/token"), 0
	for _, a := range together(32, func() answer { return w.postProved("/oauth2/token", &agent, form, proof) }) {
		if a.status == http.StatusOK {
			won++
		} else {
			w.wantError(a, 400, "invalid_dpop_proof")
		}
	}
	if won != 1 {
		t.Errorf("the proof counted %d times", won)
	}
}

// TestStrangersSpendNoProofs: nor does a store that is down let anybody in.
func TestStrangersSpendNoProofs(t *testing.T) {
	w := newWorld(t)
	h := w.holder("ES256")
	form := url.Values{"grant_type": {"client_credentials"}, "resource": {w.files()}}
	w.wantBound(h.token(&agent, form))
	w.store.on(failing("InsertTicket"))
	stranger := client{ID: "agent", Secret: "guessed"}
	w.wantError(h.token(&stranger, form), 401, "invalid_client")
	if w.store.called("InsertTicket") {
		t.Error("a stranger filled the store")
	}
	w.wantError(h.token(&agent, form), 500, "server_error")
}

// TestWhoHasNothingSpendsNoProofs: a public client_id is known to all, and a secret is had
// by registering. A proof that was spent counts no second time for the client itself.
func TestWhoHasNothingSpendsNoProofs(t *testing.T) {
	for _, register := range []func(*world) client{(*world).public, (*world).confidential} {
		w := newWorld(t)
		c := register(w)
		h := w.holder("ES256")
		w.store.on(failing("InsertTicket"))
		for _, form := range []url.Values{codeForm(c, "x"), refreshForm("x"), {"grant_type": {"x"}}, {"grant_type": {oauth.GrantDeviceCode}, "device_code": {"x"}}} {
			if a := h.token(&c, form); a.status != 400 {
				t.Errorf("%v: %d %s", form, a.status, a.body)
			}
		}
		if w.store.called("InsertTicket") {
			t.Error("who has nothing filled the store")
		}
	}
}

// TestProofUsedBeforeCostsTheClientNothing: neither code nor refresh token is spent by it,
// and no line says that a token was issued.
func TestProofUsedBeforeCostsTheClientNothing(t *testing.T) {
	w := newWorld(t)
	c := w.public()
	h := w.holder("ES256")
	first := h.token(&c, codeForm(c, w.approve(c).Get("code")))
	used := h.proof("/oauth2/token") // with the nonce that h has now
	code := codeForm(c, w.approve(c).Get("code"))
	w.wantBound(w.postProved("/oauth2/token", &c, code, used))
	replay := func(form url.Values) {
		t.Helper()
		w.audit.take()
		w.wantError(w.postProved("/oauth2/token", &c, form, used), 400, "invalid_dpop_proof")
		for _, e := range w.audit.take() {
			if e.Decision == audit.Allow {
				t.Errorf("audit line %+v", e)
			}
		}
	}
	code = codeForm(c, w.approve(c).Get("code"))
	replay(code)
	w.wantBound(h.token(&c, code))
	replay(refreshForm(first.RefreshToken))
	second := h.token(&c, refreshForm(first.RefreshToken))
	w.wantBound(second)
	replay(refreshForm(first.RefreshToken)) // which leads to its successor
	if again := h.token(&c, refreshForm(first.RefreshToken)); again.RefreshToken != second.RefreshToken {
		t.Errorf("the successor: %s", again.body)
	}
	c = w.deviceClient()
	d := w.begin(c)
	w.allowDevice(d)
	replay(pollForm(d))
	w.clock.advance(deviceInterval)
	w.wantBound(h.token(&c, pollForm(d)))
}

// TestStolenRefreshToken: bound to the key of a public client, it is of no use to who has
// another key or none, now or within the grace, and trying does not end it.
func TestStolenRefreshToken(t *testing.T) {
	w := newWorld(t)
	c := w.public()
	h, thief := w.holder("ES256"), w.holder("other")
	first := h.token(&c, codeForm(c, w.approve(c).Get("code")))
	w.wantBound(first)
	steal := func(refresh string) {
		t.Helper()
		w.wantError(thief.token(&c, refreshForm(refresh)), 400, "invalid_grant")
		w.wantError(w.token(&c, refreshForm(refresh)), 400, "invalid_grant")
	}
	steal(first.RefreshToken)
	second := h.token(&c, refreshForm(first.RefreshToken))
	w.wantBound(second)
	steal(first.RefreshToken) // within the grace
	if again := h.token(&c, refreshForm(first.RefreshToken)); again.RefreshToken != second.RefreshToken {
		t.Errorf("the client's own retry: %s", again.body)
	}
	w.clock.advance(time.Minute)
	steal(first.RefreshToken) // is no reuse either: the thief has not the key
	w.wantBound(h.token(&c, refreshForm(second.RefreshToken)))
	w.clock.advance(time.Minute)
	w.wantError(h.token(&c, refreshForm(first.RefreshToken)), 400, "invalid_grant") // that is one
	w.wantDead(c, second.RefreshToken)
}

// TestRefreshTokenBecomesBound: by the first proof, and its unbound predecessor does not
// lead around that within the grace.
func TestRefreshTokenBecomesBound(t *testing.T) {
	w := newWorld(t)
	c := w.public()
	h := w.holder("ES256")
	plain := w.tokens(c)
	w.wantBound(h.token(&c, refreshForm(plain.RefreshToken)))
	w.wantError(w.token(&c, refreshForm(plain.RefreshToken)), 400, "invalid_grant")
	w.wantBound(h.token(&c, refreshForm(plain.RefreshToken)))
}

// TestRefreshTokenOfADeviceIsBound: RFC 8628 beside RFC 9449 §5.
func TestRefreshTokenOfADeviceIsBound(t *testing.T) {
	w := newWorld(t)
	c, h := w.deviceClient(), w.holder("ES256")
	d := w.begin(c)
	w.allowDevice(d)
	w.clock.advance(deviceInterval)
	a := h.token(&c, pollForm(d))
	w.wantBound(a)
	w.wantError(w.token(&c, refreshForm(a.RefreshToken)), 400, "invalid_grant")
	w.wantBound(h.token(&c, refreshForm(a.RefreshToken)))
}

// TestStolenCodeOfAKey: RFC 9449 §10 and §10.1.
func TestStolenCodeOfAKey(t *testing.T) {
	w := newWorld(t)
	c := w.public()
	h, thief := w.holder("ES256"), w.holder("other")
	jkt := w.wantBound(h.token(&agent, url.Values{"grant_type": {"client_credentials"}, "resource": {w.files()}}))
	pushed := h.post("/oauth2/par", nil, must(url.ParseQuery(strings.TrimPrefix(w.authorizePath(c), "/oauth2/authorize?")))(t))
	if pushed.status != http.StatusCreated {
		t.Fatal(pushed.body)
	}
	uri := strings.Split(pushed.body, `"`)[3]
	b := w.browser()
	path := "/oauth2/authorize?" + url.Values{"client_id": {c.ID}, "request_uri": {uri}}.Encode()
	for name, code := range map[string]string{"dpop_jkt": w.approve(c, change{"dpop_jkt": {jkt}}).Get("code"),
		"pushed": b.decide(b.login(path, "alice"), "approve").query(t, c.redirect).Get("code")} {
		t.Run(name, func(t *testing.T) {
			w := w.in(t)
			w.wantError(w.token(&c, codeForm(c, code)), 400, "invalid_grant")
			w.wantError(thief.token(&c, codeForm(c, code)), 400, "invalid_grant")
			w.wantBound(h.token(&c, codeForm(c, code)))
			w.wantError(thief.token(&c, codeForm(c, code)), 400, "invalid_grant")
		})
	}
	sum := sha256.Sum256([]byte("another key"))
	a := h.post("/oauth2/par", nil, must(url.ParseQuery(strings.TrimPrefix(w.authorizePath(c, change{"dpop_jkt": {b64(sum[:])}}), "/oauth2/authorize?")))(t))
	w.wantError(a, 400, "invalid_dpop_proof")
	if got := b.get(w.authorizePath(c, change{"dpop_jkt": {"x"}})).query(t, c.redirect).Get("error"); got != "invalid_request" {
		t.Errorf("a dpop_jkt that is none: %s", got)
	}
}

// TestProofReplayedAtPAR: it counts once there too.
func TestProofReplayedAtPAR(t *testing.T) {
	w := newWorld(t)
	c := w.public()
	h := w.holder("ES256")
	form := must(url.ParseQuery(strings.TrimPrefix(w.authorizePath(c), "/oauth2/authorize?")))(t)
	if a := h.post("/oauth2/par", nil, form); a.status != http.StatusCreated {
		t.Fatal(a.body)
	}
	proof := h.proof("/oauth2/par")
	if a := w.postProved("/oauth2/par", nil, form, proof); a.status != http.StatusCreated {
		t.Fatal(a.body)
	}
	w.wantError(w.postProved("/oauth2/par", nil, form, proof), 400, "invalid_dpop_proof")
}

// TestClientThatPromisedProofs: by registration, it gets nothing without.
func TestClientThatPromisedProofs(t *testing.T) {
	w := newWorld(t)
	c := w.register("http://127.0.0.1:7777/callback", map[string]any{"dpop_bound_access_tokens": true})
	code := w.approve(c).Get("code")
	w.wantError(w.token(&c, codeForm(c, code)), 400, "invalid_dpop_proof")
	w.wantBound(w.holder("ES256").token(&c, codeForm(c, code)))
	if a := w.postRegister(`{"redirect_uris":["http://127.0.0.1/"],"dpop_bound_access_tokens":true,"tls_client_certificate_bound_access_tokens":true,"token_endpoint_auth_method":"none"}`); !strings.Contains(a.body, `"dpop_bound_access_tokens":true`) ||
		!strings.Contains(a.body, `"tls_client_certificate_bound_access_tokens":true`) {
		t.Errorf("registered: %s", a.body)
	}
}

// TestDocumentThatPromisedProofs: who published that gets nothing by a stolen code and
// refresh token alone.
func TestDocumentThatPromisedProofs(t *testing.T) {
	p := newPublisher(t)
	c := p.publish("/oauth/bound.json", map[string]any{"dpop_bound_access_tokens": true})
	code := p.approve(c).Get("code")
	p.wantError(p.token(&c, codeForm(c, code)), 400, "invalid_dpop_proof")
	a := p.holder("ES256").token(&c, codeForm(c, code))
	p.wantBound(a)
	p.wantError(p.token(&c, refreshForm(a.RefreshToken)), 400, "invalid_dpop_proof")
}

// TestCertificateBoundTokens: RFC 8705 §3; only for a client that asked for it, and not
// by a header that anybody can send.
func TestCertificateBoundTokens(t *testing.T) {
	proxy := web.Proxies{Addresses: []netip.Prefix{netip.MustParsePrefix("192.0.2.1/32")}, ClientCertificate: "Client-Cert"}
	w := newTLSWorld(t, proxy)
	grants := func(bound bool) func(*authz.Client) {
		return func(c *authz.Client) {
			c.AuthMethod, c.JWKS, c.TLSName, c.CertificateBound = oauth.AuthTLS, nil, "dns:agent.example", bound
			c.GrantTypes = []string{oauth.GrantClientCredentials}
		}
	}
	w.static("bound", grants(true))
	w.static("unbound", grants(false))
	w.static("secret", func(c *authz.Client) { // authenticates in another way, and is bound all the same
		sum := sha256.Sum256([]byte(agentSecret))
		c.AuthMethod, c.JWKS, c.SecretHash, c.CertificateBound, c.GrantTypes = oauth.AuthPost, nil, sum[:], true, []string{oauth.GrantClientCredentials}
	})
	cert := w.ca.leaf(t, func(c *x509.Certificate) { c.DNSNames = []string{"agent.example"} })
	form := change{"grant_type": {"client_credentials"}, "resource": {w.files()}}
	sum := sha256.Sum256(cert.cert.Raw)
	if got := w.bound(w.connect(&cert, "bound", nil, form)); got != (token.Confirmation{X5T: b64(sum[:])}) {
		t.Errorf("bound to %+v", got)
	}
	if got := w.bound(w.connect(&cert, "unbound", nil, form)); !got.IsZero() {
		t.Errorf("bound to %+v", got)
	}
	form["client_secret"] = []string{agentSecret}
	if got := w.bound(w.connect(&cert, "secret", nil, form)); got.X5T != b64(sum[:]) {
		t.Errorf("bound to %+v", got)
	}
	w.wantError(w.connect(nil, "secret", nil, form), 400, "invalid_request")
	w.wantError(w.connect(nil, "secret", http.Header{"Client-Cert": {":" + cert.base64() + ":"}}, form), 400, "invalid_request")
}
