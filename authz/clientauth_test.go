package authz_test

import (
	"encoding/base64"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// try is a request at the token endpoint, to be made.
type try struct {
	basic  string // user:password of an Authorization header, or the whole header after "raw "
	change change // of the body
	status int    // wanted
	code   string // wanted; empty: tokens
}

func (w *world) try(form url.Values, test try) answer {
	w.t.Helper()
	r := w.request("POST", "/oauth2/token", "application/x-www-form-urlencoded", with(form, test.change).Encode())
	if raw, ok := strings.CutPrefix(test.basic, "raw "); ok {
		r.Header.Set("Authorization", raw)
	} else if test.basic != "" {
		r.Header.Set("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(test.basic)))
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
	basic := w.register("https://app.example/cb", map[string]any{"token_endpoint_auth_method": "client_secret_basic"})
	post, public := w.confidential(), w.public()
	in := func(c client, secret string) change { return change{"client_id": {c.ID}, "client_secret": {secret}} }
	id := func(s string) change { return change{"client_id": {s}} }
	tests := map[string]struct {
		as client
		try
	}{
		"secret in the body":                          {post, try{change: in(post, post.Secret)}},
		"secret by Basic":                             {basic, try{basic: basic.ID + ":" + basic.Secret}},
		"Basic though registered for the body":        {post, try{basic: post.ID + ":" + post.Secret}},
		"the body though registered for Basic":        {basic, try{change: in(basic, basic.Secret)}},
		"Basic, escaped as RFC 6749 wants":            {basic, try{basic: strings.ReplaceAll(basic.ID, "_", "%5F") + ":" + strings.ReplaceAll(basic.Secret, "_", "%5F")}},
		"Basic and the same client_id in the body":    {basic, try{basic: basic.ID + ":" + basic.Secret, change: id(basic.ID)}},
		"a public client names itself":                {public, try{change: id(public.ID)}},
		"a public client by Basic with empty secret":  {public, try{basic: public.ID + ":"}},
		"a public client with an empty client_secret": {public, try{change: in(public, "")}},
		"wrong secret in the body":                    {post, try{change: in(post, post.Secret+"x"), status: 401, code: "invalid_client"}},
		"wrong secret by Basic":                       {basic, try{basic: basic.ID + ":x", status: 401, code: "invalid_client"}},
		"another client's secret":                     {basic, try{basic: basic.ID + ":" + post.Secret, status: 401, code: "invalid_client"}},
		"the hash of the secret":                      {basic, try{basic: basic.ID + ":" + string(sum(basic.Secret)), status: 401, code: "invalid_client"}},
		"no secret for a confidential client":         {basic, try{change: id(basic.ID), status: 401, code: "invalid_client"}},
		"empty secret for a confidential client":      {basic, try{basic: basic.ID + ":", status: 401, code: "invalid_client"}},
		"a secret for a public client":                {public, try{change: in(public, "x"), status: 401, code: "invalid_client"}},
		"a secret for a public client by Basic":       {public, try{basic: public.ID + ":x", status: 401, code: "invalid_client"}},
		"an unknown client":                           {public, try{change: id("nobody"), status: 401, code: "invalid_client"}},
		"an unknown client with a secret":             {public, try{basic: "nobody:x", status: 401, code: "invalid_client"}},
		"no client":                                   {public, try{status: 401, code: "invalid_client"}},
		"a client_id of odd characters":               {public, try{change: id("a b\n"), status: 401, code: "invalid_client"}},
		"a client_id of 3000 characters":              {public, try{change: id(strings.Repeat("a", 3000)), status: 401, code: "invalid_client"}},
		"a Bearer header":                             {post, try{basic: "raw Bearer x", change: in(post, post.Secret), status: 401, code: "invalid_client"}},
		"Basic that is no base64":                     {post, try{basic: "raw Basic %%%", change: in(post, post.Secret), status: 401, code: "invalid_client"}},
		"Basic and the body, both right":              {basic, try{basic: basic.ID + ":" + basic.Secret, change: in(basic, basic.Secret), status: 400, code: "invalid_request"}},
		"Basic right and the body wrong":              {basic, try{basic: basic.ID + ":" + basic.Secret, change: in(basic, "x"), status: 400, code: "invalid_request"}},
		"Basic and another client_id in the body":     {basic, try{basic: basic.ID + ":" + basic.Secret, change: id(public.ID), status: 400, code: "invalid_request"}},
		"Basic and an assertion":                      {basic, try{basic: basic.ID + ":" + basic.Secret, change: change{"client_assertion": {"x"}}, status: 400, code: "invalid_request"}},
		"secret and assertion in the body":            {post, try{change: with2(in(post, post.Secret), "client_assertion", "x"), status: 400, code: "invalid_request"}},
	}
	answers := map[string]bool{}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			w := w.in(t)
			a := w.try(codeForm(test.as, w.approve(test.as).Get("code")), test.try)
			if a.Error == "invalid_client" {
				answers[a.body+a.header.Get("WWW-Authenticate")] = true
			}
		})
	}
	if len(answers) != 1 {
		t.Errorf("the refusals differ, so that a client can be probed for: %v", answers)
	}
}

func with2(c change, name, value string) change {
	c[name] = []string{value}
	return c
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
		"grant_type of the device":            {"", form, with(good(), change{"grant_type": {"urn:ietf:params:oauth:grant-type:device_code"}}).Encode(), "unsupported_grant_type"},
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
