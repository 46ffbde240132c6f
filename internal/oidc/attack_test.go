package oidc_test

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/wicketgate/wicketgate/authz"
	"github.com/wicketgate/wicketgate/internal/oauth"
)

func atHash(token string) string {
	sum := sha256.Sum256([]byte(token))
	return base64.RawURLEncoding.EncodeToString(sum[:16])
}

func at(d time.Duration) int64 { return time.Now().Add(d).Unix() }

// twice is the token with a claim put in a second time, before all others.
func twice(member string) func(object) string {
	return func(c object) string {
		return signed(jose.RS256, idpKey, "idp", append([]byte("{"+member+","), encode(c)[1:]...))
	}
}

func unsigned(header string) func(object) string {
	return func(c object) string {
		return base64.RawURLEncoding.EncodeToString([]byte(header)) + "." + base64.RawURLEncoding.EncodeToString(encode(c)) + "."
	}
}

func publicPEM() []byte {
	der, err := x509.MarshalPKIXPublicKey(idpKey.Public())
	if err != nil {
		panic(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
}

// TestLoginRefuses has an ID token of each kind that OpenID Connect Core 1.0
// §3.1.3.7 and §16 warn of.
func TestLoginRefuses(t *testing.T) {
	hour := func(l *authz.LoginRequest) { l.MaxAge, l.HasMaxAge = time.Hour, true }
	strong := func(l *authz.LoginRequest) { l.ACRValues = "urn:idp:mfa urn:idp:key" }
	tests := []struct {
		name    string
		lie     func(c object)
		idToken func(c object) string
		login   func(*authz.LoginRequest)
		code    oauth.ErrorCode // access_denied if empty
		cause   string
	}{
		{name: "an ID token of another issuer", lie: func(c object) { c["iss"] = "https://other.example" }, cause: "issued by a different provider"},
		{name: "an ID token of the issuer with a slash more", lie: func(c object) { c["iss"] = c["iss"].(string) + "/" }, cause: "issued by a different provider"},
		{name: "an ID token without issuer", lie: func(c object) { delete(c, "iss") }, cause: "issued by a different provider"},
		{name: "the ID token of another login, by a code put into the answer", lie: func(c object) { c["nonce"] = "of-another-login" }, cause: "nonce is not"},
		{name: "an ID token without nonce", lie: func(c object) { delete(c, "nonce") }, cause: "nonce is not"},
		{name: "an ID token with an empty nonce", lie: func(c object) { c["nonce"] = "" }, cause: "nonce is not"},
		{name: "an ID token whose nonce is a list", lie: func(c object) { c["nonce"] = []any{c["nonce"]} }, cause: "nonce"},
		{name: "an ID token for another client", lie: func(c object) { c["aud"] = "another" }, cause: "expected audience"},
		{name: "an ID token for nobody", lie: func(c object) { delete(c, "aud") }, cause: "expected audience"},
		{name: "an ID token for several, issued to nobody", lie: func(c object) { c["aud"] = []string{"another", clientID} }, cause: "azp is"},
		{name: "an ID token for several, issued to another client", lie: func(c object) { c["aud"] = []string{"another", clientID}; c["azp"] = "another" }, cause: "azp is"},
		{name: "an ID token for us, issued to another client", lie: func(c object) { c["azp"] = "another" }, cause: "azp is"},
		{name: "an expired ID token", lie: func(c object) { c["exp"] = at(-time.Second) }, cause: "expired"},
		{name: "an ID token that never expires", lie: func(c object) { delete(c, "exp") }, cause: "expired"},
		{name: "an ID token from the future", lie: func(c object) { c["iat"] = at(2 * time.Minute) }, cause: "iat"},
		{name: "an ID token of no time", lie: func(c object) { delete(c, "iat") }, cause: "iat is missing"},
		{name: "an ID token whose iat is a string", lie: func(c object) { c["iat"] = "now" }, cause: "unmarshal"},
		{name: "an ID token that is not valid yet", lie: func(c object) { c["nbf"] = at(time.Hour) }, cause: "nbf"},
		{name: "an ID token for another access token", lie: func(c object) { c["at_hash"] = atHash("another") }, cause: "hash"},

		{name: "alg none", idToken: unsigned(`{"alg":"none"}`), cause: "malformed jwt"},
		{name: "alg None in other letters", idToken: unsigned(`{"alg":"NoNe","kid":"idp"}`), cause: "malformed jwt"},
		{name: "no signature under an algorithm that has one", idToken: unsigned(`{"alg":"RS256","kid":"idp"}`), cause: "verify"},
		{name: "HS256 with our client secret as the key", idToken: func(c object) string {
			return signed(jose.HS256, []byte(secret + strings.Repeat("\x00", 32))[:32], "idp", encode(c))
		}, cause: "signature algorithm"},
		{name: "HS256 with the public key as the key", idToken: func(c object) string { return signed(jose.HS256, publicPEM(), "idp", encode(c)) }, cause: "signature algorithm"},
		{name: "an algorithm that the IdP does not use", idToken: func(c object) string { return signed(jose.RS512, idpKey, "idp", encode(c)) }, cause: "signature algorithm"},
		{name: "a key that is not the IdP's, under a key ID that is", idToken: func(c object) string { return signed(jose.RS256, foreignKey, "idp", encode(c)) }, cause: "failed to verify"},
		{name: "a key that is not the IdP's, under another key ID", idToken: func(c object) string { return signed(jose.RS256, foreignKey, "another", encode(c)) }, cause: "failed to verify"},
		{name: "the IdP's key under a key ID that it does not have", idToken: func(c object) string { return signed(jose.RS256, idpKey, "another", encode(c)) }, cause: "failed to verify"},
		{name: "a payload changed after the signature", idToken: func(c object) string {
			parts := strings.Split(signed(jose.RS256, idpKey, "idp", encode(c)), ".")
			c["sub"] = "bob"
			return parts[0] + "." + base64.RawURLEncoding.EncodeToString(encode(c)) + "." + parts[2]
		}, cause: "failed to verify"},
		{name: "something that is no JWT", idToken: func(object) string { return "alice" }, cause: "malformed jwt"},
		{name: "a payload that is no object", idToken: func(object) string { return signed(jose.RS256, idpKey, "idp", []byte(`"alice"`)) }, cause: "unmarshal"},
		{name: "no ID token", idToken: func(object) string { return "" }, cause: "no id_token"},

		{name: "a duplicated sub", idToken: twice(`"sub":"bob"`), cause: "duplicate"},
		{name: "a duplicated nonce", idToken: twice(`"nonce":"of-another-login"`), cause: "duplicate"},
		{name: "a duplicated claim inside another", idToken: twice(`"address":{"country":"a","country":"b"}`), cause: "duplicate"},
		{name: "an issuer in other letters", lie: func(c object) { c["ISS"] = c["iss"]; delete(c, "iss") }, cause: `"ISS"`},
		{name: "an audience in other letters", lie: func(c object) { c["aud"] = []string{clientID, "another"}; c["aUd"] = clientID }, cause: `"aUd"`},
		{name: "an issuer with a letter that folds", lie: func(c object) { c["i\u017fs"] = c["iss"]; delete(c, "iss") }, cause: "beside or instead of iss"},

		{name: "no auth_time though max_age was sent", login: hour, lie: func(c object) { delete(c, "auth_time") }, cause: "auth_time is missing"},
		{name: "a login older than max_age", login: hour, lie: func(c object) { c["auth_time"] = at(-62 * time.Minute) }, cause: "longer ago than max_age"},
		{name: "a login of an old session though max_age is 0", login: func(l *authz.LoginRequest) { l.HasMaxAge = true }, lie: func(c object) { c["auth_time"] = at(-2 * time.Minute) }, cause: "longer ago than max_age"},
		{name: "a login in the future", login: hour, lie: func(c object) { c["auth_time"] = at(2 * time.Minute) }, cause: "in the future"},
		{name: "a login in a future beyond all clocks", login: hour, lie: func(c object) { c["auth_time"] = 1e300 }, cause: `"auth_time" is not a time`},
		{name: "an auth_time that is a string", lie: func(c object) { c["auth_time"] = "now" }, cause: `"auth_time" is not a time`},
		{name: "a weaker login than acr_values asks for", login: strong, lie: func(c object) { c["acr"] = "urn:idp:pwd" }, code: "unmet_authentication_requirements", cause: "urn:idp:pwd"},
		{name: "no acr though acr_values was sent", login: strong, code: "unmet_authentication_requirements", cause: "acr"},
		{name: "both acr_values as one", login: strong, lie: func(c object) { c["acr"] = "urn:idp:mfa urn:idp:key" }, code: "unmet_authentication_requirements", cause: "acr"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			e, l := newEvil(t), newLogin()
			e.lie, e.idToken = tt.lie, tt.idToken
			if tt.login != nil {
				tt.login(&l)
			}
			if tt.code == "" {
				tt.code = oauth.AccessDenied
			}
			person, err := e.login(t, newWorld(t, e.URL, nil), l, nil)
			wantRefusal(t, err, tt.code, tt.cause)
			if !person.Subject.IsZero() {
				t.Errorf("and yet it is %s", person.Subject)
			}
		})
	}
}

// TestCallbackRefuses has an answer of each kind that somebody could have a browser
// bring to us. None of them gets as far as the token endpoint.
func TestCallbackRefuses(t *testing.T) {
	silent := func(e *evil) { delete(e.doc, "authorization_response_iss_parameter_supported") }
	tests := []struct {
		name   string
		doc    func(*evil)
		params func(url.Values)
		code   oauth.ErrorCode
		cause  string
	}{
		{"the answer to another login (login CSRF)", nil, func(p url.Values) { p.Set("state", "another") }, oauth.InvalidRequest, "state"},
		{"an answer to no login", nil, func(p url.Values) { p.Del("state") }, oauth.InvalidRequest, "state"},
		{"an error for another login", nil, func(p url.Values) { p.Set("state", "another"); p.Set("error", "access_denied") }, oauth.InvalidRequest, "state"},
		{"the answer of another IdP (mix-up)", nil, func(p url.Values) { p.Set("iss", "https://other.example") }, oauth.InvalidRequest, "iss is"},
		{"the answer of another IdP, where ours promises no iss", silent, func(p url.Values) { p.Set("iss", "https://other.example") }, oauth.InvalidRequest, "iss is"},
		{"an empty iss", silent, func(p url.Values) { p.Set("iss", "") }, oauth.InvalidRequest, "iss is"},
		{"no iss, where ours promises it", nil, func(p url.Values) { p.Del("iss") }, oauth.InvalidRequest, "iss is missing"},
		{"an error of another IdP", nil, func(p url.Values) { p.Set("iss", "https://other.example"); p.Set("error", "access_denied") }, oauth.InvalidRequest, "iss is"},
		{"an error of nobody", nil, func(p url.Values) { p.Del("iss"); p.Set("error", "access_denied") }, oauth.InvalidRequest, "iss is missing"},
		{"two codes", nil, func(p url.Values) { p.Add("code", "another") }, oauth.InvalidRequest, "occurs 2 times"},
		{"two states, the right one first", nil, func(p url.Values) { p.Add("state", "another") }, oauth.InvalidRequest, "occurs 2 times"},
		{"two issuers, the right one first", nil, func(p url.Values) { p.Add("iss", "https://other.example") }, oauth.InvalidRequest, "occurs 2 times"},
		{"neither code nor error", nil, func(p url.Values) { p.Del("code") }, oauth.InvalidRequest, "code is missing"},
		{"an error beside a code", nil, func(p url.Values) { p.Set("error", "access_denied") }, oauth.AccessDenied, "access_denied"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			e := newEvil(t)
			if tt.doc != nil {
				tt.doc(e)
			}
			_, err := e.login(t, newWorld(t, e.URL, nil), newLogin(), tt.params)
			wantRefusal(t, err, tt.code, tt.cause)
			if n := e.count("/token"); n != 0 {
				t.Errorf("%d requests to the token endpoint", n)
			}
		})
	}
}

// TestNothingMatchesALoginThatWasNeverBegun: two empty states are equal.
func TestNothingMatchesALoginThatWasNeverBegun(t *testing.T) {
	e := newEvil(t)
	e.lie = func(c object) { c["nonce"] = "" }
	w := newWorld(t, e.URL, nil)
	for name, l := range map[string]authz.LoginRequest{
		"nothing":                             {},
		"no state":                            {Nonce: "n", Verifier: "v"},
		"no nonce":                            {State: "s", Verifier: "v"},
		"no verifier":                         {State: "s", Nonce: "n"},
		"a max_age that has been over before": {State: "s", Nonce: "n", Verifier: "v", HasMaxAge: true, MaxAge: -time.Second},
	} {
		if u, err := w.Begin(context.Background(), l); err == nil {
			t.Errorf("%s: Begin = %s", name, u)
		}
		if p, err := w.Finish(context.Background(), url.Values{"state": {l.State}, "code": {"c"}, "iss": {e.URL}}, l); err == nil {
			t.Errorf("%s: Finish = %+v", name, p)
		}
	}
	if n := e.count("/token"); n != 0 {
		t.Errorf("%d requests to the token endpoint", n)
	}
}

// TestErrorsOfTheIdPAreNotEchoed: what is in the URL of the callback, anybody can
// have written.
func TestErrorsOfTheIdPAreNotEchoed(t *testing.T) {
	const canary = `call 555-1234 "now"`
	tests := map[string]oauth.ErrorCode{
		"access_denied": oauth.AccessDenied, "login_required": oauth.LoginRequired, "interaction_required": oauth.InteractionRequired,
		"consent_required": oauth.ConsentRequired, "account_selection_required": oauth.AccountSelectionRequired,
		"unmet_authentication_requirements": oauth.UnmetAuthenticationRequirements,
		"temporarily_unavailable":           oauth.TemporarilyUnavailable, "server_error": oauth.TemporarilyUnavailable,
		"invalid_request": oauth.ServerError, "unauthorized_client": oauth.ServerError, "invalid_scope": oauth.ServerError,
		"": oauth.ServerError, canary: oauth.ServerError, strings.Repeat("x", 9000): oauth.ServerError,
	}
	e := newEvil(t)
	for answer, code := range tests {
		_, err := e.login(t, newWorld(t, e.URL, nil), newLogin(), func(p url.Values) {
			p.Del("code")
			p.Set("error", answer)
			p.Set("error_description", canary)
			p.Set("error_uri", "https://evil.example/")
		})
		wantRefusal(t, err, code, "555-1234")
		wire := err.(*oauth.Error)
		if strings.ContainsAny(wire.Description, `"\`) || strings.Contains(wire.Description, "555") {
			t.Errorf("error %q: the person is told %s", answer, wire.Description)
		}
		if len(wire.Cause.Error()) > 2000 {
			t.Errorf("error of %d bytes: %d bytes for the log", len(answer), len(wire.Cause.Error()))
		}
	}
}

// TestTokenEndpointCannot is about an IdP, or what stands where it was, that
// misbehaves when the code is redeemed.
func TestTokenEndpointCannot(t *testing.T) {
	respond := func(status int, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(status)
			_, _ = w.Write([]byte(body))
		}
	}
	tests := []struct {
		name   string
		answer http.HandlerFunc
		code   oauth.ErrorCode
		cause  string
	}{
		{"redeem a code twice", respond(400, `{"error":"invalid_grant"}`), oauth.AccessDenied, "invalid_grant"},
		{"have a code sent again when it refuses who we are", respond(401, `{"error":"invalid_client"}`), oauth.ServerError, "invalid_client"},
		{"be overloaded and blame the person", respond(429, `{"error":"slow_down"}`), oauth.TemporarilyUnavailable, "slow_down"},
		{"be broken and blame the person", respond(502, `<html>`), oauth.TemporarilyUnavailable, "502"},
		{"answer with what is no JSON", respond(200, `<html>`), oauth.TemporarilyUnavailable, "json"},
		{"leave out the access token", respond(200, `{"id_token":"x"}`), oauth.TemporarilyUnavailable, "access_token"},
		{"make id_token something else", respond(200, `{"access_token":"x","id_token":["x"]}`), oauth.AccessDenied, "no id_token"},
		{"flood the memory", respond(200, `{"access_token":"x","id_token":"`+strings.Repeat("x", 1<<19)+`"}`), oauth.TemporarilyUnavailable, "too large"},
		{"flood the log", respond(400, strings.Repeat("x", 1<<17)), oauth.ServerError, "redeem"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			e := newEvil(t)
			e.answers["/token"] = tt.answer
			_, err := e.login(t, newWorld(t, e.URL, nil), newLogin(), nil)
			wantRefusal(t, err, tt.code, tt.cause)
			if n := e.count("/token"); n != 1 {
				t.Errorf("the code was sent %d times", n)
			}
			if n := len(err.Error()); n > 1000 {
				t.Errorf("%d bytes for the log", n)
			}
		})
	}
}

// TestRedirectsAreNotFollowed: at the token endpoint one would carry code,
// verifier and, with 307, our secret to where it points.
func TestRedirectsAreNotFollowed(t *testing.T) {
	for path, code := range map[string]oauth.ErrorCode{
		"/token": oauth.ServerError, "/jwks": oauth.TemporarilyUnavailable, "/.well-known/openid-configuration": oauth.TemporarilyUnavailable,
	} {
		t.Run(path, func(t *testing.T) {
			e, trap := newEvil(t), newEvil(t)
			e.answers[path] = func(w http.ResponseWriter, r *http.Request) {
				http.Redirect(w, r, trap.URL+path, http.StatusTemporaryRedirect)
			}
			w, l := newWorld(t, e.URL, nil), newLogin()
			e.nonce = l.Nonce
			_, err := w.Finish(context.Background(), url.Values{"state": {l.State}, "code": {"c"}, "iss": {e.URL}}, l)
			wantRefusal(t, err, code, "307")
			if n := trap.count(path); n != 0 {
				t.Errorf("the redirect was followed %d times", n)
			}
		})
	}
}
