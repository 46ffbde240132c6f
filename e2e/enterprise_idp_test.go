package e2e_test

import (
	"crypto/rand"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/modelcontextprotocol/go-sdk/oauthex"
)

// What the IdP knows of the one client, and the client's name and secret at the house.
const (
	idpClientID     = "chat-app-at-the-idp"
	idpClientSecret = "what-the-chat-app-has-at-the-idp"
	chatClientID    = "chat-app"
	chatSecret      = "what-the-chat-app-has-at-the-house-with-many-bits"
)

// enterprise is an IdP that exchanges its ID tokens for ID-JAGs (Enterprise-Managed
// Authorization §4). No IdP that can be installed here does, so this one is made for
// the test: on a socket with TLS, with a key of its own, checking what it is told to.
type enterprise struct {
	*httptest.Server
	key     jose.JSONWebKey
	allowed map[string]string // scope that a person may have, by resource and subject
}

func newEnterprise(t *testing.T) *enterprise {
	t.Helper()
	e := &enterprise{key: newJWK(t), allowed: map[string]string{}}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) { answer(w, http.StatusOK, e.metadata()) })
	mux.HandleFunc("POST /token", func(w http.ResponseWriter, r *http.Request) {
		grant, err := e.exchange(r)
		if err != nil {
			answer(w, http.StatusBadRequest, object{"error": "invalid_grant", "error_description": err.Error()})
			return
		}
		answer(w, http.StatusOK, grant)
	})
	e.Server = httptest.NewTLSServer(mux)
	t.Cleanup(e.Close)
	return e
}

func answer(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v)
}

// metadata is whole, since the TypeScript SDK wants OpenID Connect's required members
// and the Go SDK wants PKCE.
func (e *enterprise) metadata() object {
	return object{"issuer": e.URL, "authorization_endpoint": e.URL + "/authorize", "token_endpoint": e.URL + "/token", "jwks_uri": e.URL + "/jwks",
		"response_types_supported": []string{"code"}, "subject_types_supported": []string{"public"}, "id_token_signing_alg_values_supported": []string{"ES256"},
		"grant_types_supported": []string{oauthex.GrantTypeTokenExchange}, "code_challenge_methods_supported": []string{"S256"}}
}

func (e *enterprise) sign(typ string, claims object) (string, error) {
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: e.key}, (&jose.SignerOptions{}).WithType(jose.ContentType(typ)))
	if err != nil {
		return "", err
	}
	return jwt.Signed(signer).Claims(claims).Serialize()
}

// idToken is what the person's login at the chat app has left there.
func (e *enterprise) idToken(t *testing.T, subject string) string {
	t.Helper()
	now := time.Now().Unix()
	raw, err := e.sign("JWT", object{"iss": e.URL, "sub": subject, "aud": idpClientID, "iat": now, "exp": now + 3600})
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// exchange makes the ID-JAG.
func (e *enterprise) exchange(r *http.Request) (object, error) {
	if err := r.ParseForm(); err != nil {
		return nil, err
	}
	f := r.PostForm
	for name, want := range map[string]string{
		"client_id": idpClientID, "client_secret": idpClientSecret, "grant_type": oauthex.GrantTypeTokenExchange,
		"requested_token_type": oauthex.TokenTypeIDJAG, "subject_token_type": oauthex.TokenTypeIDToken,
	} {
		if f.Get(name) != want {
			return nil, fmt.Errorf("%s is not %s", name, want)
		}
	}
	subject, err := e.whose(f.Get("subject_token"))
	if err != nil {
		return nil, err
	}
	raw, scope, err := e.grant(subject, f)
	if err != nil {
		return nil, err
	}
	return object{"issued_token_type": oauthex.TokenTypeIDJAG, "access_token": raw, "token_type": "N_A", "scope": scope, "expires_in": 300}, nil
}

// whose verifies an ID token of its own for the client.
func (e *enterprise) whose(idToken string) (string, error) {
	parsed, err := jwt.ParseSigned(idToken, []jose.SignatureAlgorithm{jose.ES256})
	if err != nil {
		return "", err
	}
	var claims jwt.Claims
	if err := parsed.Claims(e.key.Public().Key, &claims); err != nil {
		return "", err
	}
	return claims.Subject, claims.Validate(jwt.Expected{Issuer: e.URL, AnyAudience: jwt.Audience{idpClientID}})
}

// grant is an ID-JAG with what the policy of the enterprise allows of what was asked.
func (e *enterprise) grant(subject string, f url.Values) (raw, scope string, err error) {
	scope, ok := e.allowed[f.Get("resource")+" "+subject]
	if !ok {
		return "", "", errors.New("the enterprise does not allow this")
	}
	now := time.Now().Unix()
	raw, err = e.sign("oauth-id-jag+jwt", object{"iss": e.URL, "sub": subject, "aud": f.Get("audience"), "resource": f.Get("resource"),
		"client_id": chatClientID, "scope": scope, "jti": rand.Text(), "iat": now, "exp": now + 300})
	return raw, scope, err
}

// certificateFile is for who must believe the IdP's certificate.
func (e *enterprise) certificateFile(t *testing.T) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "idp.pem")
	block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: e.Certificate().Raw})
	if err := os.WriteFile(name, block, 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}
