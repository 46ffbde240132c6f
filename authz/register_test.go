package authz_test

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/google/go-cmp/cmp"

	"github.com/wicketgate/wicketgate/authz"
	"github.com/wicketgate/wicketgate/internal/identity"
)

// The key of RFC 8037 appendix A, as public and as private key.
const (
	publicKeys  = `{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"k1","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}`
	privateKeys = `{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo","d":"nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A"}]}`
)

// registration returns the members of a successful registration.
func (w *world) registration(body string) map[string]any {
	w.t.Helper()
	a := w.postRegister(body)
	if a.status != http.StatusCreated {
		w.t.Fatalf("register %s: %d %s", body, a.status, a.body)
	}
	w.wantWellFormed(a)
	got := map[string]any{}
	noError(w.t, json.Unmarshal([]byte(a.body), &got))
	return got
}

// manyRegistrations is for tests that register more often than anybody does.
func manyRegistrations(c *authz.Config) { c.Registration.PerMinute = 10_000 }

func TestRegistrationResponse(t *testing.T) {
	w := newWorld(t)
	at := float64(began.Unix())
	both := []any{"authorization_code", "refresh_token"}
	tests := map[string]struct {
		body string
		want map[string]any // beside client_id, redirect_uris, response_types and client_id_issued_at
	}{
		"nothing but a redirect URI: a confidential client": {`{}`,
			map[string]any{"client_secret": "any", "client_secret_expires_at": 0.0, "grant_types": both, "token_endpoint_auth_method": "client_secret_basic"}},
		"a public client": {`{"token_endpoint_auth_method":"none","client_name":"Ünïcode ☺ 名前"}`,
			map[string]any{"client_name": "Ünïcode ☺ 名前", "grant_types": both, "token_endpoint_auth_method": "none"}},
		"empty scope": {`{"token_endpoint_auth_method":"none","scope":""}`,
			map[string]any{"grant_types": both, "token_endpoint_auth_method": "none"}},
		"application_type native": {`{"token_endpoint_auth_method":"none","application_type":"native"}`,
			map[string]any{"grant_types": both, "token_endpoint_auth_method": "none", "application_type": "native"}},
		"grants that we do not offer": {`{"token_endpoint_auth_method":"none","grant_types":["urn:ietf:params:oauth:grant-type:device_code","authorization_code","client_credentials","urn:ietf:params:oauth:grant-type:token-exchange","password","implicit"]}`,
			map[string]any{"grant_types": []any{"urn:ietf:params:oauth:grant-type:device_code", "authorization_code"}, "token_endpoint_auth_method": "none"}},
		"response types that we do not offer": {`{"token_endpoint_auth_method":"none","response_types":["token","id_token"]}`,
			map[string]any{"grant_types": both, "token_endpoint_auth_method": "none"}},
		"unknown members": {`{"token_endpoint_auth_method":"none","client_uri":"https://x.example","jwks":{"keys":[]},"jwks_uri":"x","token_endpoint_auth_signing_alg":"none","logo_uri":"javascript:x","contacts":["a@b"],"client_name#de":"x","x":null}`,
			map[string]any{"grant_types": both, "token_endpoint_auth_method": "none"}},
		"what only we may say": {`{"token_endpoint_auth_method":"none","client_id":"agent","client_secret":"mine","client_secret_expires_at":1,"client_id_issued_at":1,"static":true}`,
			map[string]any{"grant_types": both, "token_endpoint_auth_method": "none"}},
		"what only we may say, of odd types": {`{"token_endpoint_auth_method":"none","registration_access_token":{},"registration_client_uri":1,"client_id":1,"client_secret":{},"client_secret_expires_at":"never","client_id_issued_at":[]}`,
			map[string]any{"grant_types": both, "token_endpoint_auth_method": "none"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			w := w.in(t)
			got := w.registration(strings.Replace(`{"redirect_uris":["http://localhost/cb"],`+test.body[1:], ",}", "}", 1))
			if s, ok := got["client_secret"]; ok {
				if len(s.(string)) < 43 || s == "mine" {
					t.Errorf("client_secret %q", s)
				}
				got["client_secret"] = "any"
			}
			id := got["client_id"].(string)
			if len(id) < 22 || id == "agent" || strings.HasPrefix(id, "http") {
				t.Errorf("client_id %q", id)
			}
			if token := got["registration_access_token"].(string); len(token) < 43 {
				t.Errorf("registration_access_token %q", token)
			}
			delete(got, "registration_access_token")
			test.want["client_id"], test.want["client_id_issued_at"] = id, at
			test.want["registration_client_uri"] = w.url + "/oauth2/register/" + id
			test.want["redirect_uris"], test.want["response_types"] = []any{"http://localhost/cb"}, []any{"code"}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("response (-want +got):\n%s", diff)
			}
		})
	}
}

func TestRegistrationIsRefused(t *testing.T) {
	w := newWorld(t, manyRegistrations)
	keys := `"token_endpoint_auth_method":"private_key_jwt",`
	uri := `"redirect_uris":["https://app.example/cb"]`
	tests := map[string]struct{ body, code string }{
		"no body":                           {``, "invalid_client_metadata"},
		"no JSON":                           {`client_name=x`, "invalid_client_metadata"},
		"a list":                            {`[]`, "invalid_client_metadata"},
		"two objects":                       {`{` + uri + `}{}`, "invalid_client_metadata"},
		"a repeated member":                 {`{` + uri + `,` + uri + `}`, "invalid_client_metadata"},
		"no UTF-8":                          {`{` + uri + `,"client_name":"` + "\xff" + `"}`, "invalid_client_metadata"},
		"a name that is a number":           {`{` + uri + `,"client_name":1}`, "invalid_client_metadata"},
		"redirect_uris that are a string":   {`{"redirect_uris":"https://app.example/cb"}`, "invalid_client_metadata"},
		"no redirect URI":                   {`{}`, "invalid_redirect_uri"},
		"an empty list of redirect URIs":    {`{"redirect_uris":[]}`, "invalid_redirect_uri"},
		"redirect URIs in another case":     {`{"Redirect_URIs":["https://app.example/cb"]}`, "invalid_redirect_uri"},
		"tls_client_auth":                   {`{` + uri + `,"token_endpoint_auth_method":"tls_client_auth"}`, "invalid_client_metadata"},
		"self_signed_tls_client_auth":       {`{` + uri + `,"token_endpoint_auth_method":"self_signed_tls_client_auth","jwks":` + publicKeys + `}`, "invalid_client_metadata"},
		"client_secret_jwt":                 {`{` + uri + `,"token_endpoint_auth_method":"client_secret_jwt"}`, "invalid_client_metadata"},
		"private_key_jwt without keys":      {`{` + keys + uri + `}`, "invalid_client_metadata"},
		"private_key_jwt with null keys":    {`{` + keys + uri + `,"jwks":null}`, "invalid_client_metadata"},
		"keys twice":                        {`{` + keys + uri + `,"jwks":` + publicKeys + `,"jwks_uri":"https://app.example/jwks"}`, "invalid_client_metadata"},
		"no key at all":                     {`{` + keys + uri + `,"jwks":{"keys":[]}}`, "invalid_client_metadata"},
		"keys that are a string":            {`{` + keys + uri + `,"jwks":"x"}`, "invalid_client_metadata"},
		"a weak key":                        {`{` + keys + uri + `,"jwks":{"keys":[{"kty":"RSA","n":"AQAB","e":"AQAB"}]}}`, "invalid_client_metadata"},
		"a symmetric key":                   {`{` + keys + uri + `,"jwks":{"keys":[{"kty":"oct","k":"AQAB"}]}}`, "invalid_client_metadata"},
		"a private key":                     {`{` + keys + uri + `,"jwks":` + privateKeys + `}`, "invalid_client_metadata"},
		"a private key of a public client":  {`{"token_endpoint_auth_method":"none",` + uri + `,"jwks":` + privateKeys + `}`, "invalid_client_metadata"},
		"assertions without signature":      {`{` + keys + uri + `,"jwks":` + publicKeys + `,"token_endpoint_auth_signing_alg":"none"}`, "invalid_client_metadata"},
		"assertions by a shared secret":     {`{` + keys + uri + `,"jwks":` + publicKeys + `,"token_endpoint_auth_signing_alg":"HS256"}`, "invalid_client_metadata"},
		"jwks_uri where nothing is fetched": {`{` + keys + uri + `,"jwks_uri":"https://app.example/jwks"}`, "invalid_client_metadata"},
		"only grants that we do not offer":  {`{` + uri + `,"grant_types":["client_credentials","implicit"]}`, "invalid_client_metadata"},
		"only refresh_token":                {`{` + uri + `,"grant_types":["refresh_token"]}`, "invalid_client_metadata"},
		"a malformed scope":                 {`{` + uri + `,"scope":"\"x\""}`, "invalid_client_metadata"},
		"a name of 101 characters":          {`{` + uri + `,"client_name":"` + strings.Repeat("ü", 101) + `"}`, "invalid_client_metadata"},
		"a name with a line break":          {`{` + uri + `,"client_name":"a\nb"}`, "invalid_client_metadata"},
		"a name with NUL":                   {`{` + uri + `,"client_name":"a\u0000b"}`, "invalid_client_metadata"},
		"a name that turns the text around": {`{` + uri + `,"client_name":"a\u202eb"}`, "invalid_client_metadata"},
		"a name with an isolate":            {`{` + uri + `,"client_name":"a\u2066b"}`, "invalid_client_metadata"},
		"a name with a zero-width space":    {`{` + uri + `,"client_name":"a\u200bb"}`, "invalid_client_metadata"},
		"a name with a tag character":       {`{` + uri + `,"client_name":"a` + "\U000E0041" + `b"}`, "invalid_client_metadata"},
		"a name with a no-break space":      {`{` + uri + `,"client_name":"a\u00a0b"}`, "invalid_client_metadata"},
		"a name with a line separator":      {`{` + uri + `,"client_name":"a\u2028b"}`, "invalid_client_metadata"},
		"a body over 16 KiB":                {`{` + uri + `,"x":"` + strings.Repeat("a", 16<<10) + `"}`, "invalid_request"},
		"eleven redirect URIs":              {`{"redirect_uris":["https://a.example/` + strings.Join(strings.Split("0123456789a", ""), `","https://a.example/`) + `"]}`, "invalid_redirect_uri"},
		"one bad redirect URI among good":   {`{"redirect_uris":["https://app.example/cb","http://app.example/cb"]}`, "invalid_redirect_uri"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			w := w.in(t)
			w.store.on(nil)
			w.wantError(w.postRegister(test.body), 400, test.code)
			if w.store.called("InsertClient") {
				t.Error("a client was stored")
			}
		})
	}
	t.Run("ten redirect URIs are not too many", func(t *testing.T) {
		w.in(t).registration(`{"redirect_uris":["https://a.example/` + strings.Join(strings.Split("0123456789", ""), `","https://a.example/`) + `"]}`)
	})
}

func TestKeysCanBeRegistered(t *testing.T) {
	w := newWorld(t, manyRegistrations, func(c *authz.Config) { c.Fetcher = newDocuments(c) })
	uri := `"redirect_uris":["https://app.example/cb"],"token_endpoint_auth_method":"private_key_jwt",`
	for name, members := range map[string]string{
		"inline":                 `"jwks":` + publicKeys,
		"inline, and one alg":    `"jwks":` + publicKeys + `,"token_endpoint_auth_signing_alg":"EdDSA"`,
		"published":              `"jwks_uri":"https://app.example/jwks.json?v=1"`,
		"published, and one alg": `"jwks_uri":"https://app.example/jwks.json","token_endpoint_auth_signing_alg":"RS256"`,
		"published, null inline": `"jwks":null,"jwks_uri":"https://app.example/jwks.json"`,
	} {
		t.Run(name, func(t *testing.T) {
			w := w.in(t)
			got := w.registration(`{` + uri + members + `}`)
			c, err := w.store.Client(t.Context(), identity.MustClientID(got["client_id"].(string)))
			noError(t, err)
			if (c.JWKS == nil) == (c.JWKSURI == "") || got["client_secret"] != nil || got["client_secret_expires_at"] != nil || c.SecretHash != nil {
				t.Errorf("stored %+v, told %v", c, got)
			}
			sent := map[string]any{}
			noError(t, json.Unmarshal([]byte(`{`+members+`}`), &sent))
			for name, v := range sent {
				if diff := cmp.Diff(v, got[name]); v != nil && diff != "" {
					t.Errorf("%s (-sent +got):\n%s", name, diff)
				}
			}
		})
	}
	for _, bad := range []string{"http://app.example/jwks", "https://app.example", "https://u@app.example/jwks", "https://app.example/a/../jwks", "https://app.example/%2e%2e/jwks",
		"https://app.example/jwks#x", "https:///jwks", "file:///etc/passwd", "//app.example/jwks", "jwks", "HTTPS://app.example/jwks", `https://app.example/j\\wks`,
		"https://app.example/" + strings.Repeat("a", 1024)} {
		t.Run("but not at "+bad[:min(len(bad), 50)], func(t *testing.T) {
			w := w.in(t)
			w.wantError(w.postRegister(`{`+uri+`"jwks_uri":"`+bad+`"}`), 400, "invalid_client_metadata")
		})
	}
}

// A device without a browser has nowhere to be redirected to.
func TestDeviceNeedsNoRedirectURI(t *testing.T) {
	w := newWorld(t)
	got := w.registration(`{"token_endpoint_auth_method":"none","grant_types":["urn:ietf:params:oauth:grant-type:device_code","refresh_token"]}`)
	if got["response_types"] != nil || got["redirect_uris"] != nil {
		t.Errorf("registered %v", got)
	}
	c := client{ID: got["client_id"].(string), redirect: "http://127.0.0.1/cb"}
	if p := w.browser().get(w.authorizePath(c)); p.status != 400 {
		t.Errorf("the authorization endpoint took it: %d %s", p.status, p.text())
	}
}

func TestSecretSaysWhenItExpires(t *testing.T) {
	w := newWorld(t, func(c *authz.Config) { c.SecretMaxAge = 90 * 24 * time.Hour })
	got := w.registration(`{"redirect_uris":["https://app.example/cb"]}`)
	if want := float64(began.Add(90 * 24 * time.Hour).Unix()); got["client_secret_expires_at"] != want {
		t.Errorf("client_secret_expires_at %v, want %v", got["client_secret_expires_at"], want)
	}
	c, err := w.store.Client(t.Context(), identity.MustClientID(got["client_id"].(string)))
	noError(t, err)
	if !c.SecretCreated.Equal(began) {
		t.Errorf("SecretCreated %v", c.SecretCreated)
	}
}

func TestBadRedirectURIsCannotBeRegistered(t *testing.T) {
	w := newWorld(t, manyRegistrations)
	for _, uri := range []string{
		"", "/cb", "cb", "//app.example/cb", "https:", "https://", "https:///cb", "https:app.example/cb", "https://:443/cb", "http://app.example/cb", "http://localhost.example/cb",
		"http://127.0.0.2/cb", "http://127.1/cb", "http://0x7f000001/cb", "http://2130706433/cb", "http://0.0.0.0/cb", "http://[::]/cb", "http://[::1%25eth0]/cb",
		"http://[::ffff:127.0.0.1]/cb", "http://LOCALHOST/cb", "http://localhost./cb", "ws://localhost/cb", "ftp://localhost/cb",
		"https://app.example/cb#", "https://app.example/cb#x", "https://ok@evil.example/cb", "https://@app.example/cb", "https://a:b@app.example/cb", "https://a@b@app.example/cb",
		"javascript:alert(1)", "JaVaScRiPt:alert(1)", "javascript://app.example/%0aalert(1)", "data:text/html,x", "vbscript:x", "file:///etc/passwd", "blob:https://app.example/x",
		"about:blank", "mailto:a@b.example", "urn:ietf:wg:oauth:2.0:oob", "com.example.app:/cb", "cursor://other/cb", cursorScheme + "/", strings.ToUpper(cursorScheme),
		`https://app.example\cb`, "https://app.example/c b", "https://app.example/cb\n", "https://app.example/\tcb", "https://app.example/cb\x00", " https://app.example/cb",
		"https://müller.example/cb", "https://app.example/ü", "https://app.example:x/cb", "https://app%2eexample/cb", "https://app.example/%zz",
		"https://*/cb", "https://*.example/cb", "https://a;sandbox/cb", "https://a,b/cb", "https://a'b/cb", "https://a(b)/cb", `https://a"b/cb`, "https://<b>/cb", "https://[app.example]/cb",
		"https://app.example/cb?a;b", "https://app.example/cb?a=%zz", "https://app.example/" + strings.Repeat("a", 2048),
	} {
		t.Run(uri[:min(len(uri), 60)], func(t *testing.T) {
			w := w.in(t)
			body := must(json.Marshal(map[string]any{"redirect_uris": []string{uri}}))(t)
			w.wantError(w.postRegister(string(body)), 400, "invalid_redirect_uri")
		})
	}
}

func TestGoodRedirectURIsCanBeRegistered(t *testing.T) {
	w := newWorld(t)
	for _, uri := range []string{
		"https://claude.ai/api/mcp/auth_callback", "https://vscode.dev/redirect", "http://127.0.0.1:33418/", "http://127.0.0.1/", "http://localhost/callback", "http://localhost:6274/oauth/callback",
		"http://[::1]:9/cb", "https://my_host-1.example:8443/cb?x=%20&y", "https://xn--mller-kva.example/cb", "https://[2001:db8::1]/cb", "https://192.0.2.1/cb", "https://localhost/cb", cursorScheme,
	} {
		t.Run(uri, func(t *testing.T) { w.in(t).register(uri, nil) })
	}
}

func TestSecretIsShownOnceAndIDsDiffer(t *testing.T) {
	w := newWorld(t)
	a, b := w.confidential(), w.confidential()
	if a.ID == b.ID || a.Secret == b.Secret || a.Secret == "" {
		t.Errorf("two clients %+v and %+v", a, b)
	}
	c, err := w.store.Client(t.Context(), identity.MustClientID(a.ID))
	noError(t, err)
	if diff := cmp.Diff(sum(a.Secret), c.SecretHash); diff != "" {
		t.Errorf("stored secret (-want +got):\n%s", diff)
	}
}

func TestStaticClientCannotTakeTheNameOfARegisteredOne(t *testing.T) {
	w := newWorld(t)
	c := w.public()
	err := w.server.PutStatic(context.WithoutCancel(t.Context()), authz.Client{ID: identity.MustClientID(c.ID), AuthMethod: "none"})
	if err == nil {
		t.Fatal("the client was replaced")
	}
	w.tokens(c)
}

func TestNewRefuses(t *testing.T) {
	for name, change := range map[string]func(*authz.Config){
		"an issuer with a trailing slash":  func(c *authz.Config) { c.Issuer += "/" },
		"an issuer that is no URL":         func(c *authz.Config) { c.Issuer = "mcp.example.com" },
		"a password grant":                 func(c *authz.Config) { c.Grants = map[string]authz.Grant{"password": echo{}} },
		"an implicit grant":                func(c *authz.Config) { c.Grants = map[string]authz.Grant{"implicit": echo{}} },
		"another authorization_code grant": func(c *authz.Config) { c.Grants = map[string]authz.Grant{"authorization_code": echo{}} },
	} {
		t.Run(name, func(t *testing.T) {
			cfg := authz.Config{Issuer: "https://mcp.example.com"}
			change(&cfg)
			if _, err := authz.New(cfg); err == nil {
				t.Error("New took it")
			}
		})
	}
}

func TestGrantTypes(t *testing.T) {
	w := newWorld(t, func(c *authz.Config) {
		c.Grants["urn:a"], c.Grants["urn:b"], c.Grants["urn:c"] = echo{}, echo{}, echo{}
	})
	want := []string{"authorization_code", "refresh_token", "client_credentials", "urn:ietf:params:oauth:grant-type:device_code", "urn:a", "urn:b", "urn:c", grantEcho}
	for range 20 {
		if got := w.server.GrantTypes(); !slices.Equal(got, want) {
			t.Fatalf("GrantTypes() = %q, want %q, in that order", got, want)
		}
	}
}
