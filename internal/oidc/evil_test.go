package oidc_test

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/wicketgate/wicketgate/authz"
	"github.com/wicketgate/wicketgate/internal/oidc"
)

const accessToken = "an-access-token"

// Keys are made once: they cost more than all tests.
var (
	idpKey     = newKey()
	foreignKey = newKey()
)

func newKey() *rsa.PrivateKey {
	k, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return k
}

// evil is an IdP that lies as it is told to, for what a real one cannot be made to
// do. Told nothing, it is honest, and lets alice in.
type evil struct {
	*httptest.Server
	doc  object // the discovery document
	keys []jose.JSONWebKey

	nonce   string                      // of the login under way
	lie     func(claims object)         // changes the claims
	idToken func(claims object) string  // instead of a signed one
	answers map[string]http.HandlerFunc // by path, instead of the honest ones

	mu    sync.Mutex // guards asked
	asked map[string]int
}

func newEvil(t *testing.T) *evil {
	t.Helper()
	e := &evil{asked: map[string]int{}, answers: map[string]http.HandlerFunc{}}
	e.Server = httptest.NewServer(e)
	t.Cleanup(e.Close)
	e.doc = object{
		"issuer": e.URL, "authorization_endpoint": e.URL + "/auth", "token_endpoint": e.URL + "/token", "jwks_uri": e.URL + "/jwks",
		"id_token_signing_alg_values_supported":          []string{"RS256", "HS256", "none"},
		"authorization_response_iss_parameter_supported": true,
	}
	e.keys = []jose.JSONWebKey{{Key: idpKey.Public(), KeyID: "idp"}}
	return e
}

func (e *evil) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	e.mu.Lock()
	e.asked[r.URL.Path]++
	e.mu.Unlock()
	if answer, ok := e.answers[r.URL.Path]; ok {
		answer(w, r)
		return
	}
	var body any
	switch r.URL.Path {
	case "/.well-known/openid-configuration":
		body = e.doc
	case "/jwks":
		body = jose.JSONWebKeySet{Keys: e.keys}
	case "/token":
		body = object{"access_token": accessToken, "token_type": "Bearer", "expires_in": 600, "id_token": e.token()}
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(body)
}

func (e *evil) count(path string) int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.asked[path]
}

func (e *evil) token() string {
	claims := object{
		"iss": e.URL, "sub": "alice", "aud": clientID, "nonce": e.nonce,
		"iat": time.Now().Unix(), "exp": time.Now().Add(10 * time.Minute).Unix(), "auth_time": time.Now().Unix(),
	}
	if e.lie != nil {
		e.lie(claims)
	}
	if e.idToken != nil {
		return e.idToken(claims)
	}
	return signed(jose.RS256, idpKey, "idp", encode(claims))
}

func encode(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return b
}

func signed(alg jose.SignatureAlgorithm, key any, kid string, payload []byte) string {
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: jose.JSONWebKey{Key: key, KeyID: kid}}, nil)
	if err != nil {
		panic(err)
	}
	jws, err := signer.Sign(payload)
	if err != nil {
		panic(err)
	}
	s, err := jws.CompactSerialize()
	if err != nil {
		panic(err)
	}
	return s
}

// login goes to the IdP and comes back with params, changed.
func (e *evil) login(t *testing.T, w world, l authz.LoginRequest, change func(url.Values)) (authz.Person, error) {
	t.Helper()
	ctx := context.Background()
	sent := query(t, w.begin(ctx, t, l))
	e.nonce = sent.Get("nonce")
	params := url.Values{"state": {sent.Get("state")}, "code": {"a-code"}, "iss": {e.URL}}
	if change != nil {
		change(params)
	}
	return w.Finish(ctx, params, l)
}

func TestAnIdPThatDoesNotLieLetsPeopleIn(t *testing.T) {
	e := newEvil(t)
	person, err := e.login(t, newWorld(t, e.URL, nil), newLogin(), nil)
	if err != nil || person.Subject.String() != "alice" || person.AuthTime.IsZero() {
		t.Errorf("person = %+v, %v", person, err)
	}
	for _, l := range []func(object){ // what is allowed though an attack looks like it
		func(c object) { c["aud"] = []string{clientID, "another"}; c["azp"] = clientID },
		func(c object) { c["azp"] = clientID },
		func(c object) { c["at_hash"] = atHash(accessToken) },
		func(c object) { c["acr"] = nil; c["azp"] = nil },
		func(c object) { delete(c, "auth_time") },
	} {
		e.lie = l
		if _, err := e.login(t, newWorld(t, e.URL, nil), newLogin(), nil); err != nil {
			t.Errorf("an honest token was refused: %v", err)
		}
	}
}

// TestTheSecretGoesWhereTheIdPWantsIt, and nowhere else. oidc-provider takes it in
// either place, so it cannot tell.
func TestTheSecretGoesWhereTheIdPWantsIt(t *testing.T) {
	for _, tt := range []struct {
		methods []string
		basic   bool
	}{
		{nil, true}, {[]string{"client_secret_post", "client_secret_basic"}, true}, {[]string{"client_secret_post"}, false},
	} {
		e := newEvil(t)
		e.doc["token_endpoint_auth_methods_supported"] = tt.methods
		e.answers["/token"] = func(w http.ResponseWriter, r *http.Request) {
			name, password, basic := r.BasicAuth()
			if basic != tt.basic || basic && (name != clientID || password != url.QueryEscape(secret)) {
				t.Errorf("%v: Authorization %q", tt.methods, r.Header.Get("Authorization"))
			}
			if r.PostFormValue("client_secret") == secret == tt.basic {
				t.Errorf("%v: form %v", tt.methods, r.PostForm)
			}
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		_, err := e.login(t, newWorld(t, e.URL, nil), newLogin(), nil)
		wantRefusal(t, err, "temporarily_unavailable", "503")
		if n := e.count("/token"); n != 1 {
			t.Errorf("%v: the code was sent %d times", tt.methods, n)
		}
	}
}

func TestNoSecretIsSentByAPublicClient(t *testing.T) {
	e := newEvil(t)
	e.answers["/token"] = func(w http.ResponseWriter, r *http.Request) {
		_, _, basic := r.BasicAuth()
		if basic || r.FormValue("client_id") != clientID || r.PostForm.Has("client_secret") || r.PostForm.Get("redirect_uri") != redirectURI {
			t.Errorf("Authorization %q, form %v", r.Header.Get("Authorization"), r.PostForm)
		}
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	w := newWorld(t, e.URL, func(c *oidc.Config) { c.ClientSecret = oidc.Secret{} })
	_, err := e.login(t, w, newLogin(), nil)
	wantRefusal(t, err, "temporarily_unavailable", "503")
	if strings.Contains(err.Error(), "a-code") {
		t.Errorf("the code is in the error: %v", err)
	}
}
