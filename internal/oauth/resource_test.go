package oauth_test

import (
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/wicketgate/wicketgate/internal/oauth"
)

func resource(t *testing.T, s string) oauth.Resource {
	t.Helper()
	r, err := oauth.ParseResource(s)
	if err != nil {
		t.Fatalf("ParseResource(%q): %v", s, err)
	}
	return r
}

// TestParseResourceKeepsTheSpelling: what is accepted is kept to the letter.
func TestParseResourceKeepsTheSpelling(t *testing.T) {
	for _, s := range []string{
		"https://mcp.example.com", "https://mcp.example.com/", "https://mcp.example.com/mcp/mail", "http://127.0.0.1:8420/mcp/mail", "http://[::1]:8420/mcp",
		"HTTPS://mcp.example.com/mcp", "https://MCP.example.com/mcp", "https://mcp.example.com:443/mcp", "https://mcp.example.com./mcp", "https://xn--mnchen-3ya.example/",
		"https://mcp.example.com//mcp", "https://mcp.example.com/./mcp/../x", "https://mcp.example.com/%7emcp", "https://mcp.example.com/mcp?a=b",
		"https://mcp.example.com/" + strings.Repeat("a", 2048-24),
	} {
		if got := resource(t, s).String(); got != s {
			t.Errorf("ParseResource(%q) = %q, want it unchanged", s, got)
		}
	}
}

func TestParseResourceRefuses(t *testing.T) {
	tests := []struct{ name, in string }{
		{"nothing", ""},
		{"a path", "/mcp/mail"},
		{"a relative path", "mcp/mail"},
		{"a reference without scheme", "//mcp.example.com/mcp"},
		{"a host alone", "mcp.example.com"},
		{"a host and port, which reads as a scheme", "mcp.example.com:443/mcp"},
		{"a fragment", "https://mcp.example.com/mcp#x"},
		{"an empty fragment", "https://mcp.example.com/mcp#"},
		{"user information", "https://mcp.example.com@evil.example/mcp"},
		{"user and password", "https://a:b@mcp.example.com/mcp"},
		{"empty user information", "https://@mcp.example.com/mcp"},
		{"javascript", "javascript:alert(1)"},
		{"javascript in another case, with an authority", "JaVaScRiPt://mcp.example.com/%0aalert(1)"},
		{"data", "data:text/html,x"},
		{"file", "file:///etc/passwd"},
		{"urn", "urn:mcp:mail"},
		{"ftp", "ftp://mcp.example.com/"},
		{"no host", "https:///mcp"},
		{"no host but a port", "https://:8420/mcp"},
		{"opaque", "https:mcp.example.com/mcp"},
		{"a space before", " https://mcp.example.com/mcp"},
		{"a space after", "https://mcp.example.com/mcp "},
		{"a space within", "https://mcp.example.com/m cp"},
		{"a tab", "https://mcp.example.com/m\tcp"},
		{"a newline", "https://mcp.example.com/mcp\n"},
		{"NUL", "https://mcp.example.com/mcp\x00"},
		{"delete", "https://mcp.example.com/mcp\x7f"},
		{"a host in letters that are not ASCII", "https://münchen.example/mcp"},
		{"a Cyrillic look-alike", "https://mcp.exаmple.com/mcp"},
		{"a no-break space", "https://mcp.example.com/\u00a0"},
		{"bad UTF-8", "https://mcp.example.com/\xff"},
		{"a backslash for the slash", `https://mcp.example.com\@evil.example/`},
		{"a bad escape", "https://mcp.example.com/%zz"},
		{"a bad port", "https://mcp.example.com:http/mcp"},
		{"longer than 2048", "https://mcp.example.com/" + strings.Repeat("a", 2048-23)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if r, err := oauth.ParseResource(tt.in); !errors.Is(err, oauth.ErrBadResource) || !r.IsZero() {
				t.Errorf("ParseResource(%q) = %q, %v, want %v", tt.in, r, err, oauth.ErrBadResource)
			}
		})
	}
}

const (
	mail     = "https://mcp.example.com/mcp/mail"
	root     = "https://mcp.example.com"
	upstream = "http://127.0.0.1:9000/mcp"
)

func registry(t *testing.T) oauth.Resources {
	return oauth.NewResources([]oauth.Resource{resource(t, mail), resource(t, root)}, []oauth.Resource{resource(t, upstream)})
}

func TestPublicResolvesOnlyTheTrailingSlash(t *testing.T) {
	tests := []struct{ name, sent, want string }{
		{"as registered", mail, mail},
		{"with a trailing slash", mail + "/", mail},
		{"the origin", root, root},
		{"the origin with the slash of an empty path", root + "/", root},
		{"two trailing slashes", mail + "//", ""},
		{"a path that begins with it", mail + "2", ""},
		{"a path below it", mail + "/x", ""},
		{"a path above it", "https://mcp.example.com/mcp", ""},
		{"another case of the host", "https://MCP.example.com/mcp/mail", ""},
		{"another case of the path", "https://mcp.example.com/mcp/Mail", ""},
		{"the default port", "https://mcp.example.com:443/mcp/mail", ""},
		{"a query", mail + "?x", ""},
		{"a fragment", mail + "#", ""},
		{"a space", mail + " ", ""},
		{"an escape", "https://mcp.example.com/mcp/%6dail", ""},
		{"dot segments", "https://mcp.example.com/mcp/x/../mail", ""},
		{"http for https", "http://mcp.example.com/mcp/mail", ""},
		{"an upstream", upstream, ""},
		{"an upstream with a slash", upstream + "/", ""},
		{"nothing", "", ""},
		{"a slash", "/", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, ok := registry(t).Public(tt.sent)
			if got.String() != tt.want || ok != (tt.want != "") {
				t.Errorf("Public(%q) = %q, %v, want %q", tt.sent, got, ok, tt.want)
			}
		})
	}
}

// TestOneAnswersAlike: missing, several, unknown and internal are one error.
func TestOneAnswersAlike(t *testing.T) {
	r := registry(t)
	if got, err := r.One([]string{mail + "/"}); err != nil || got.String() != mail {
		t.Errorf("One(%q) = %q, %v", mail+"/", got, err)
	}
	for _, sent := range [][]string{nil, {}, {""}, {mail, mail}, {mail, upstream}, {upstream}, {"https://unknown.example"}, {mail + "2"}} {
		got, err := r.One(sent)
		var e *oauth.Error
		if !errors.As(err, &e) || !got.IsZero() || *e != *oauth.ErrInvalidTarget().(*oauth.Error) {
			t.Errorf("One(%q) = %q, %v, want %v", sent, got, err, oauth.ErrInvalidTarget())
		}
	}
}

// TestNoResourceIsTheOnlyOne: where there is one alone, and never an internal one.
func TestNoResourceIsTheOnlyOne(t *testing.T) {
	a, b, up := resource(t, mail), resource(t, root), resource(t, upstream)
	if got, err := oauth.NewResources([]oauth.Resource{a}, []oauth.Resource{up}).One(nil); err != nil || got != a {
		t.Errorf("One() = %q, %v, want %q", got, err, a)
	}
	for name, r := range map[string]oauth.Resources{
		"several": oauth.NewResources([]oauth.Resource{a, b}, nil), "none": oauth.NewResources(nil, []oauth.Resource{up}),
		"an internal one": oauth.NewResources([]oauth.Resource{up}, []oauth.Resource{up}), "one of two internal": oauth.NewResources([]oauth.Resource{a, up}, []oauth.Resource{up}),
	} {
		if got, err := r.One(nil); err == nil || !got.IsZero() {
			t.Errorf("%s: One() = %q, %v", name, got, err)
		}
	}
	if got, err := oauth.NewResources([]oauth.Resource{a}, nil).One([]string{""}); err == nil {
		t.Errorf("an empty resource is %q", got)
	}
}

func TestInternalIsToTheLetter(t *testing.T) {
	r := registry(t)
	if !r.Internal(resource(t, upstream)) {
		t.Error("the upstream is not internal")
	}
	for _, s := range []string{upstream + "/", upstream + "2", mail, root, "http://127.0.0.1:9000/"} {
		if r.Internal(resource(t, s)) {
			t.Errorf("%s is internal", s)
		}
	}
}

// TestUpstreamThatIsAlsoPublicStaysInternal: a slip in the configuration must not
// open a way around the gateway.
func TestUpstreamThatIsAlsoPublicStaysInternal(t *testing.T) {
	up, slash := resource(t, upstream), resource(t, upstream+"/")
	for name, r := range map[string]oauth.Resources{
		"the same":                      oauth.NewResources([]oauth.Resource{up}, []oauth.Resource{up}),
		"the public with a slash":       oauth.NewResources([]oauth.Resource{slash}, []oauth.Resource{up}),
		"the upstream with a slash":     oauth.NewResources([]oauth.Resource{up}, []oauth.Resource{up, slash}),
		"nothing registered at all":     {},
		"the zero resource, registered": oauth.NewResources([]oauth.Resource{{}}, []oauth.Resource{up}),
	} {
		for _, s := range []string{upstream, "", "/"} {
			if got, ok := r.Public(s); ok {
				t.Errorf("%s: Public(%q) = %q", name, s, got)
			}
		}
	}
	if got, ok := oauth.NewResources([]oauth.Resource{up}, []oauth.Resource{up}).Public(upstream + "/"); ok {
		t.Errorf("the alias of an upstream is %q", got)
	}
	if oauth.NewResources(nil, []oauth.Resource{{}}).Internal(oauth.Resource{}) {
		t.Error("no resource is internal")
	}
}

// TestTrailingSlashOfAnotherResourceIsNoAlias: in whatever order they are given.
func TestTrailingSlashOfAnotherResourceIsNoAlias(t *testing.T) {
	a, b := resource(t, mail), resource(t, mail+"/")
	for _, public := range [][]oauth.Resource{{a, b}, {b, a}} {
		r := oauth.NewResources(public, nil)
		for _, want := range public {
			if got, ok := r.Public(want.String()); !ok || got != want {
				t.Errorf("Public(%q) = %q, %v", want, got, ok)
			}
		}
	}
}

func TestStatusFollowsTheCode(t *testing.T) {
	for code, want := range map[oauth.ErrorCode]int{
		oauth.InvalidClient: http.StatusUnauthorized, oauth.InvalidToken: http.StatusUnauthorized, oauth.InsufficientScope: http.StatusForbidden,
		oauth.ServerError: http.StatusInternalServerError, oauth.InvalidGrant: http.StatusBadRequest, oauth.InvalidTarget: http.StatusBadRequest,
		oauth.AccessDenied: http.StatusBadRequest, oauth.InvalidAuthorizationDetails: http.StatusBadRequest,
	} {
		if got := (&oauth.Error{Code: code}).Status(); got != want {
			t.Errorf("%s is %d, want %d", code, got, want)
		}
	}
}

func TestErrorNamesItsCauseForLogs(t *testing.T) {
	cause := errors.New("because")
	err := error(&oauth.Error{Code: oauth.InvalidGrant, Description: "no", Cause: cause})
	if !errors.Is(err, cause) || err.Error() != "invalid_grant: no: because" {
		t.Errorf("Error = %q", err)
	}
}

// FuzzParseResource: what is accepted can go into a token and a header as it is.
func FuzzParseResource(f *testing.F) {
	for _, s := range []string{mail, "https://a@b", "//a", "https://:1", "http://[::1%25a]/", "https://a/%zz", `https://a\b`, "https://ä"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		r, err := oauth.ParseResource(s)
		if err != nil {
			return
		}
		if r.String() != s || len(s) > 2048 || strings.ContainsAny(s, " #\t\r\n") || !strings.Contains(s, "://") {
			t.Errorf("ParseResource(%q) = %q", s, r)
		}
	})
}

func TestResourceOverAllIsNeverTheOnlyOne(t *testing.T) {
	mail, all := resource(t, "https://a.example/mcp/mail"), resource(t, "https://a.example/mcp")
	r := oauth.NewResources([]oauth.Resource{mail}, nil).And(all)
	if got, err := r.One(nil); err != nil || got != mail {
		t.Errorf("none sent: %v, %v", got, err)
	}
	for _, sent := range []string{"https://a.example/mcp", "https://a.example/mcp/"} {
		if got, err := r.One([]string{sent}); err != nil || got != all {
			t.Errorf("%s: %v, %v", sent, got, err)
		}
	}
}
