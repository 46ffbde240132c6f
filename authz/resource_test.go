package authz_test

import (
	"net/url"
	"strings"
	"testing"

	"github.com/wicketgate/wicketgate/authz"
	"github.com/wicketgate/wicketgate/internal/oauth"
)

// A7: TestResourceInAnotherSpelling is RFC 8707 at every endpoint that takes a resource:
// one spelling, and the trailing slash.
func TestResourceInAnotherSpelling(t *testing.T) {
	const host = "https://xn--mnchen-3ya.example"
	const mail = host + "/mcp/~mail"
	w := newWorld(t, func(c *authz.Config) { c.Resources = resources(t, mail, host+"/mcp/files") })
	c := w.register("http://127.0.0.1:7777/callback", map[string]any{"grant_types": []string{"authorization_code", "refresh_token", deviceCode}})
	good := change{"resource": {mail}}
	refresh := w.tokens(c, good).RefreshToken
	send := map[string]func(w *world, ch change) string{
		"authorize": func(w *world, ch change) string {
			return w.browser().get(w.authorizePath(c, ch)).query(w.t, c.redirect).Get("error")
		},
		"par": func(w *world, ch change) string { a, _ := w.push(c, ch); return a.Error },
		"code": func(w *world, ch change) string {
			return w.token(&c, codeForm(c, w.approve(c, good).Get("code"), ch)).Error
		},
		"refresh": func(w *world, ch change) string { return w.token(&c, refreshForm(refresh, ch)).Error },
		"client credentials": func(w *world, ch change) string {
			return w.token(&agent, with(url.Values{"grant_type": {"client_credentials"}}, ch)).Error
		},
		"device": func(w *world, ch change) string {
			return w.postForm("/oauth2/device_authorization", &c, url.Values(ch)).Error
		},
	}
	for name, sent := range map[string][]string{
		"scheme in capitals":         {"HTTPS" + mail[5:]},
		"host in capitals":           {strings.Replace(mail, "xn--mnchen-3ya", "XN--MNCHEN-3YA", 1)},
		"the default port":           {host + ":443/mcp/~mail"},
		"an empty port":              {host + ":/mcp/~mail"},
		"a trailing dot of the host": {host + "./mcp/~mail"},
		"the host in its own script": {"https://münchen.example/mcp/~mail"},
		"a dot segment":              {host + "/mcp/./~mail"},
		"two dot segments":           {host + "/mcp/x/../~mail"},
		"an escaped dot segment":     {host + "/mcp/%2e/~mail"},
		"an escaped tilde":           {host + "/mcp/%7email"},
		"two slashes":                {host + "//mcp/~mail"},
		"two slashes at the end":     {mail + "//"},
		"a longer name":              {mail + "2"},
		"a path below":               {mail + "/x"},
		"a path above":               {host + "/mcp/"},
		"the origin":                 {host},
		"the origin with a slash":    {host + "/"},
		"a query":                    {mail + "?a=b"},
		"an empty query":             {mail + "?"},
		"a fragment":                 {mail + "#a"},
		"an empty fragment":          {mail + "#"},
		"user information":           {"https://a@xn--mnchen-3ya.example/mcp/~mail"},
		"a host before an at sign":   {host + "@evil.example/mcp/~mail"},
		"relative":                   {"/mcp/~mail"},
		"without a scheme":           {mail[6:]},
		"http":                       {"http" + mail[5:]},
		"a URN":                      {"urn:mcp:mail"},
		"javascript":                 {"javascript:alert(1)"},
		"another case of the path":   {host + "/mcp/~Mail"},
		"a space after":              {mail + " "},
		"NUL after":                  {mail + "\x00"},
		"no UTF-8":                   {mail + "\xff"},
		"two":                        {mail, host + "/mcp/files"},
		"twice the same":             {mail, mail},
		"the right one and nothing":  {mail, ""},
		"nothing":                    {""},
	} {
		t.Run(name, func(t *testing.T) {
			for where, send := range send {
				if got := send(w.in(t), change{"resource": sent}); got != "invalid_target" {
					t.Errorf("%s: error %q, want invalid_target", where, got)
				}
			}
		})
	}
	for where, send := range send {
		if where == "authorize" { // goes on to a page
			continue
		}
		for _, sent := range []string{mail, mail + "/"} {
			if got := send(w, change{"resource": {sent}}); got != "" {
				t.Errorf("%s with %s: error %q", where, sent, got)
			}
		}
	}
}

// A7: TestResourceThatDiffersFromTheAuthorized: both are good ones.
func TestResourceThatDiffersFromTheAuthorized(t *testing.T) {
	w := newWorld(t)
	c := w.public()
	form := codeForm(c, w.approve(c).Get("code"))
	w.wantError(w.token(&c, with(form, change{"resource": {w.files()}})), 400, "invalid_target")
	a := w.token(&c, with(form, change{"resource": nil})) // none: what was authorized
	w.wantOK(a)
	if got := payload(t, a.AccessToken)["aud"]; got != w.mail() {
		t.Errorf("aud %v", got)
	}
	w.wantError(w.token(&c, refreshForm(a.RefreshToken, change{"resource": {w.files()}})), 400, "invalid_target")
}

func resources(t testing.TB, uris ...string) oauth.Resources {
	var all []oauth.Resource
	for _, uri := range uris {
		all = append(all, resource(t, uri))
	}
	return oauth.NewResources(all, nil)
}
