package authz_test

import (
	"cmp"
	"crypto/x509"
	"encoding/base64"
	"maps"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/wicketgate/wicketgate/authz"
	"github.com/wicketgate/wicketgate/internal/oauth"
)

// try is a request at the token endpoint, to be made.
type try struct {
	header string // to send basic in; empty: Authorization
	twice  bool
	basic  string // user:password of an Authorization header, or the whole header after "raw "
	change change // of the body
	status int    // wanted
	code   string // wanted; empty: tokens
}

func (w *world) try(form url.Values, test try) answer {
	w.t.Helper()
	r := w.request("POST", "/oauth2/token", "application/x-www-form-urlencoded", with(form, test.change).Encode())
	name := cmp.Or(test.header, "Authorization")
	if raw, ok := strings.CutPrefix(test.basic, "raw "); ok {
		r.Header.Set(name, raw)
	} else if test.basic != "" {
		r.Header.Set(name, "Basic "+base64.StdEncoding.EncodeToString([]byte(test.basic)))
	}
	if test.twice {
		r.Header[name] = append(r.Header[name], r.Header[name]...)
	}
	a := w.do(r)
	if test.code == "" {
		w.wantOK(a)
	} else {
		w.wantError(a, test.status, test.code)
	}
	if got := a.header.Get("WWW-Authenticate"); (a.status == http.StatusUnauthorized) != strings.HasPrefix(got, "Basic ") {
		w.t.Errorf("status %d with WWW-Authenticate %q", a.status, got)
	}
	return a
}

func TestClientAuthentication(t *testing.T) {
	w := newWorld(t)
	echoing := func(id, method string) client {
		c := client{ID: id, Secret: agentSecret + id}
		w.static(id, func(s *authz.Client) {
			s.AuthMethod, s.JWKS = method, nil
			if s.Confidential() {
				s.SecretHash = sum(c.Secret)
			}
		})
		return c
	}
	basic, post, public := echoing("basic_client", oauth.AuthBasic), echoing("post", oauth.AuthPost), echoing("public", oauth.AuthNone)
	in := func(c client, secret string) change { return change{"client_id": {c.ID}, "client_secret": {secret}} }
	id := func(s string) change { return change{"client_id": {s}} }
	w.static("asserts", func(c *authz.Client) { c.SecretHash = sum(agentSecret) })
	w.static("mutual", func(c *authz.Client) {
		c.AuthMethod, c.SecretHash, c.TLSName = oauth.AuthTLS, sum(agentSecret), "dns:mutual.example"
	})
	asserting := func(id string, more change) change {
		c := change{"client_assertion_type": {oauth.AssertionJWTBearer}, "client_assertion": {es256(t, w.claims(id))}}
		maps.Copy(c, more)
		return c
	}
	tests := map[string]try{
		"secret in the body":                            {change: in(post, post.Secret)},
		"secret by Basic":                               {basic: basic.ID + ":" + basic.Secret},
		"Basic though registered for the body":          {basic: post.ID + ":" + post.Secret},
		"the body though registered for Basic":          {change: in(basic, basic.Secret)},
		"Basic, escaped as RFC 6749 wants":              {basic: strings.ReplaceAll(basic.ID, "_", "%5F") + ":" + strings.ReplaceAll(basic.Secret, "_", "%5F")},
		"Basic and the same client_id in the body":      {basic: basic.ID + ":" + basic.Secret, change: id(basic.ID)},
		"a public client names itself":                  {change: id(public.ID)},
		"a public client by Basic with empty secret":    {basic: public.ID + ":"},
		"a public client with an empty client_secret":   {change: in(public, "")},
		"an assertion":                                  {change: asserting("asserts", nil)},
		"an assertion and an empty client_secret":       {change: asserting("asserts", change{"client_secret": {""}})},
		"wrong secret in the body":                      {change: in(post, post.Secret+"x"), status: 401, code: "invalid_client"},
		"wrong secret by Basic":                         {basic: basic.ID + ":x", status: 401, code: "invalid_client"},
		"another client's secret":                       {basic: basic.ID + ":" + post.Secret, status: 401, code: "invalid_client"},
		"the hash of the secret":                        {basic: basic.ID + ":" + string(sum(basic.Secret)), status: 401, code: "invalid_client"},
		"no secret for a confidential client":           {change: id(basic.ID), status: 401, code: "invalid_client"},
		"empty secret for a confidential client":        {basic: basic.ID + ":", status: 401, code: "invalid_client"},
		"a secret for a public client":                  {change: in(public, "x"), status: 401, code: "invalid_client"},
		"a secret for a public client by Basic":         {basic: public.ID + ":x", status: 401, code: "invalid_client"},
		"an unknown client":                             {change: id("nobody"), status: 401, code: "invalid_client"},
		"an unknown client with a secret":               {basic: "nobody:x", status: 401, code: "invalid_client"},
		"an unknown client with an assertion":           {change: asserting("nobody", nil), status: 401, code: "invalid_client"},
		"an unknown document with a secret":             {basic: url.QueryEscape("https://nobody.example/client.json") + ":x", status: 401, code: "invalid_client"},
		"no client":                                     {status: 401, code: "invalid_client"},
		"a client_id of odd characters":                 {change: id("a b\n"), status: 401, code: "invalid_client"},
		"a client_id of 3000 characters":                {change: id(strings.Repeat("a", 3000)), status: 401, code: "invalid_client"},
		"a Bearer header":                               {basic: "raw Bearer x", change: in(post, post.Secret), status: 401, code: "invalid_client"},
		"Basic that is no base64":                       {basic: "raw Basic %%%", change: in(post, post.Secret), status: 401, code: "invalid_client"},
		"an assertion for a client with a secret":       {change: asserting(post.ID, nil), status: 401, code: "invalid_client"},
		"an assertion for a public client":              {change: asserting(public.ID, nil), status: 401, code: "invalid_client"},
		"an assertion for a client with a certificate":  {change: asserting("mutual", nil), status: 401, code: "invalid_client"},
		"a secret for a client that asserts itself":     {basic: "asserts:" + agentSecret, status: 401, code: "invalid_client"},
		"a secret in the body for one that asserts":     {change: change{"client_id": {"asserts"}, "client_secret": {agentSecret}}, status: 401, code: "invalid_client"},
		"nothing for a client that asserts itself":      {change: id("asserts"), status: 401, code: "invalid_client"},
		"a secret for a client with a certificate":      {basic: "mutual:" + agentSecret, status: 401, code: "invalid_client"},
		"nothing for a client with a certificate":       {change: id("mutual"), status: 401, code: "invalid_client"},
		"a certificate that the client itself forwards": {header: "Client-Cert", basic: "raw :MAA=:", change: id("mutual"), status: 401, code: "invalid_client"},
		"Basic and the body, both right":                {basic: basic.ID + ":" + basic.Secret, change: in(basic, basic.Secret), status: 400, code: "invalid_request"},
		"Basic right and the body wrong":                {basic: basic.ID + ":" + basic.Secret, change: in(basic, "x"), status: 400, code: "invalid_request"},
		"Basic and another client_id in the body":       {basic: basic.ID + ":" + basic.Secret, change: id(public.ID), status: 400, code: "invalid_request"},
		"Basic twice":                                   {header: "Authorization", basic: basic.ID + ":" + basic.Secret, twice: true, status: 400, code: "invalid_request"},
		"Basic and an assertion":                        {basic: basic.ID + ":" + basic.Secret, change: asserting(basic.ID, nil), status: 400, code: "invalid_request"},
		"Basic without a secret and an assertion":       {basic: "asserts:", change: asserting("asserts", nil), status: 400, code: "invalid_request"},
		"Basic and half an assertion":                   {basic: basic.ID + ":" + basic.Secret, change: change{"client_assertion": {"x"}}, status: 400, code: "invalid_request"},
		"Basic and the other half":                      {basic: basic.ID + ":" + basic.Secret, change: change{"client_assertion_type": {"x"}}, status: 400, code: "invalid_request"},
		"secret and assertion in the body":              {change: asserting(post.ID, in(post, post.Secret)), status: 400, code: "invalid_request"},
		"an assertion and a wrong secret":               {change: asserting("asserts", change{"client_secret": {"x"}}), status: 400, code: "invalid_request"},
	}
	answers := map[string]bool{}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			w := w.in(t)
			a := w.try(url.Values{"grant_type": {grantEcho}}, test)
			if a.Error == "invalid_client" {
				answers[a.body+a.header.Get("WWW-Authenticate")] = true
			}
		})
	}
	if len(answers) != 1 {
		t.Errorf("the refusals differ, so that a client can be probed for: %v", answers)
	}
}

// TestSecretInTheURL never counts: URLs are logged (RFC 6749 §2.3.1).
func TestSecretInTheURL(t *testing.T) {
	w := newWorld(t)
	w.static("real")
	for name, q := range map[string]url.Values{
		"secret":    {"client_id": {"agent"}, "client_secret": {agentSecret}},
		"assertion": {"client_id": {"real"}, "client_assertion_type": {oauth.AssertionJWTBearer}, "client_assertion": {es256(t, w.claims("real"))}},
	} {
		for _, id := range []string{"", "agent", "real"} {
			body := with(url.Values{"grant_type": {grantEcho}}, change{"client_id": {id}})
			a := w.do(w.request("POST", "/oauth2/token?"+q.Encode(), "application/x-www-form-urlencoded", body.Encode()))
			if a.Error != "invalid_client" {
				t.Errorf("%s, client_id %q: %d %s", name, id, a.status, a.body)
			}
		}
	}
}

func TestRotatedSecret(t *testing.T) {
	w := newWorld(t)
	w.static("rotated", func(c *authz.Client) {
		c.AuthMethod, c.JWKS = oauth.AuthBasic, nil
		c.SecretHash, c.OldSecretHash, c.OldSecretExpires = sum("new"), sum("old"), began.Add(time.Hour)
	})
	ask := func(secret string) answer {
		return w.token(&client{ID: "rotated", Secret: secret}, url.Values{"grant_type": {grantEcho}})
	}
	w.wantOK(ask("new"))
	w.wantOK(ask("old"))
	w.wantRefused(ask("older"))
	w.clock.advance(time.Hour)
	w.wantOK(ask("new"))
	w.wantRefused(ask("old"))
}

func TestAgedSecret(t *testing.T) {
	const age = 90 * 24 * time.Hour
	w := newWorld(t, func(c *authz.Config) { c.SecretMaxAge = age })
	w.static("aged", func(c *authz.Client) {
		c.AuthMethod, c.JWKS, c.SecretHash, c.SecretCreated = oauth.AuthBasic, nil, sum("right"), began
		c.OldSecretHash, c.OldSecretExpires = sum("old"), began.Add(2*age)
	})
	w.static("ageless", func(c *authz.Client) { c.AuthMethod, c.JWKS, c.SecretHash = oauth.AuthBasic, nil, sum("right") })
	ask := func(id, secret string) answer {
		return w.token(&client{ID: id, Secret: secret}, url.Values{"grant_type": {grantEcho}})
	}
	w.clock.advance(age - time.Second)
	w.wantOK(ask("aged", "right"))
	w.clock.advance(time.Second)
	a := ask("aged", "right")
	w.wantError(a, 401, "invalid_client")
	if a.Description != "the client secret has expired: rotate it" {
		t.Errorf("description %q", a.Description)
	}
	w.wantRefused(ask("aged", "wrong")) // who does not know the secret does not learn that it has expired
	w.wantOK(ask("aged", "old"))
	if a := ask("ageless", "right"); a.Error != "invalid_client" {
		t.Errorf("a secret of unknown age: %d %s", a.status, a.body)
	}
}

func TestAuthMethods(t *testing.T) {
	always := []string{"none", "client_secret_basic", "client_secret_post", "private_key_jwt"}
	if got := newWorld(t).server.AuthMethods(); !slices.Equal(got, always) {
		t.Errorf("AuthMethods() = %q, want %q", got, always)
	}
	w := newWorld(t, func(c *authz.Config) { c.ClientCAs = x509.NewCertPool() })
	if got, want := w.server.AuthMethods(), append(always, "tls_client_auth", "self_signed_tls_client_auth"); !slices.Equal(got, want) {
		t.Errorf("with authorities, AuthMethods() = %q, want %q", got, want)
	}
	if got, want := w.server.AssertionAlgs(), []string{"RS256", "PS256", "ES256", "EdDSA"}; !slices.Equal(got, want) {
		t.Errorf("AssertionAlgs() = %q, want %q", got, want)
	}
}

func TestSecretsAreNowhereAtRest(t *testing.T) {
	w := newWorld(t)
	c := w.confidential()
	code := w.approve(c).Get("code")
	a := w.token(&c, codeForm(c, code))
	w.wantOK(a)
	files := must(filepath.Glob(filepath.Join(w.data, "*")))(t)
	for _, file := range files {
		content := string(must(os.ReadFile(file))(t))
		for what, secret := range map[string]string{"client secret": c.Secret, "code": code, "refresh token": a.RefreshToken, "access token": a.AccessToken,
			"code without its prefix": strings.TrimPrefix(code, "wg_ac_"), "code_verifier": verifier} {
			if strings.Contains(content, secret) {
				t.Errorf("%s holds the %s", filepath.Base(file), what)
			}
			if strings.Contains(w.log.String(), secret) {
				t.Errorf("the log holds the %s", what)
			}
		}
	}
	if len(files) < 2 {
		t.Errorf("looked into %v only", files)
	}
}

func TestRequestAtTheTokenEndpoint(t *testing.T) {
	w := newWorld(t)
	c := w.public()
	form := "application/x-www-form-urlencoded"
	good := func() url.Values {
		f := codeForm(c, w.approve(c).Get("code"))
		f.Set("client_id", c.ID)
		return f
	}
	tests := map[string]struct {
		path, contentType, body string
		code                    string
	}{
		"with a charset":                      {"", form + "; charset=UTF-8", good().Encode(), ""},
		"a repeated code":                     {"", form, good().Encode() + "&code=x", "invalid_request"},
		"a repeated grant_type":               {"", form, good().Encode() + "&grant_type=authorization_code", "invalid_request"},
		"a repeated client_id":                {"", form, good().Encode() + "&client_id=" + c.ID, "invalid_request"},
		"a repeated unknown parameter":        {"", form, good().Encode() + "&x=1&x=1", "invalid_request"},
		"multipart":                           {"", "multipart/form-data; boundary=x", "--x\r\nContent-Disposition: form-data; name=\"grant_type\"\r\n\r\nauthorization_code\r\n--x--\r\n", "invalid_request"},
		"JSON":                                {"", "application/json", `{"grant_type":"authorization_code"}`, "invalid_request"},
		"text/plain":                          {"", "text/plain", good().Encode(), "invalid_request"},
		"no Content-Type":                     {"", "", good().Encode(), "invalid_request"},
		"a semicolon":                         {"", form, good().Encode() + "&a;b=c", "invalid_request"},
		"an escape that is none":              {"", form, good().Encode() + "&a=%zz", "invalid_request"},
		"a body over 64 KiB":                  {"", form, good().Encode() + "&x=" + strings.Repeat("a", 64<<10), "invalid_request"},
		"an empty body":                       {"", form, "", "invalid_client"},
		"everything in the URL":               {"?" + good().Encode(), form, "", "invalid_client"},
		"grant_type in the URL":               {"?grant_type=authorization_code", form, with(good(), change{"grant_type": nil}).Encode(), "unsupported_grant_type"},
		"a body that is cut short by the URL": {"?code=x", form, good().Encode(), ""},
		"grant_type missing":                  {"", form, with(good(), change{"grant_type": nil}).Encode(), "unsupported_grant_type"},
		"grant_type unknown":                  {"", form, with(good(), change{"grant_type": {"x"}}).Encode(), "unsupported_grant_type"},
		"grant_type password":                 {"", form, with(good(), change{"grant_type": {"password"}, "username": {"alice"}, "password": {"x"}}).Encode(), "unsupported_grant_type"},
		"grant_type implicit":                 {"", form, with(good(), change{"grant_type": {"implicit"}}).Encode(), "unsupported_grant_type"},
		"grant_type of the device":            {"", form, with(good(), change{"grant_type": {"urn:ietf:params:oauth:grant-type:device_code"}}).Encode(), "unauthorized_client"},
		"two grant types in one":              {"", form, with(good(), change{"grant_type": {"authorization_code refresh_token"}}).Encode(), "unsupported_grant_type"},
		"grant_type with a space":             {"", form, with(good(), change{"grant_type": {" authorization_code"}}).Encode(), "unsupported_grant_type"},
		"grant_type that the client lacks":    {"", form, with(good(), change{"grant_type": {"client_credentials"}}).Encode(), "unauthorized_client"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			w := w.in(t)
			a := w.do(w.request("POST", "/oauth2/token"+test.path, test.contentType, test.body))
			w.wantWellFormed(a)
			if a.Error != test.code {
				t.Errorf("answer %d %s, want error %q", a.status, a.body, test.code)
			}
		})
	}
}

func TestTokenEndpointTakesNoGET(t *testing.T) {
	w := newWorld(t)
	c := w.public()
	f := codeForm(c, w.approve(c).Get("code"), change{"client_id": {c.ID}})
	if a := w.do(w.request("GET", "/oauth2/token?"+f.Encode(), "", "")); a.status != http.StatusMethodNotAllowed {
		t.Errorf("GET: %d %s", a.status, a.body)
	}
}

func TestClientWithoutRefreshGrantCannotRefresh(t *testing.T) {
	w := newWorld(t)
	c := w.register("http://127.0.0.1:7777/callback", map[string]any{"grant_types": []string{"authorization_code"}})
	w.wantError(w.token(&c, refreshForm("wg_rt_x")), 400, "unauthorized_client")
}

func TestCrossOriginCallOfTheTokenEndpoint(t *testing.T) {
	w := newWorld(t)
	r := w.request("OPTIONS", "/oauth2/token", "", "")
	r.Header.Set("Origin", "https://inspector.example")
	r.Header.Set("Access-Control-Request-Method", "POST")
	a := w.do(r)
	if a.status != http.StatusNoContent || a.header.Get("Access-Control-Allow-Origin") != "*" || a.header.Get("Access-Control-Allow-Credentials") != "" {
		t.Errorf("preflight: %d %v", a.status, a.header)
	}
	r = w.request("POST", "/oauth2/token", "application/x-www-form-urlencoded", "")
	r.Header.Set("Origin", "https://inspector.example")
	if a := w.do(r); a.header.Get("Access-Control-Allow-Origin") != "*" {
		t.Errorf("an error is hidden from the page: %v", a.header)
	}
}
