package authz_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/wicketgate/wicketgate/authz"
	"github.com/wicketgate/wicketgate/internal/oauth"
)

// idp stands for package internal/oidc, which has tests of its own against a real
// provider: here is tested what the authorization server does around it. Its page
// logs in whoever person says, and sends the browser back at once.
type idp struct {
	url string

	mu     sync.Mutex // guards all below
	person authz.Person
	fail   error
	asked  []authz.LoginRequest
}

// newIDP is a world whose people log in at an idp.
func newIDP(t testing.TB) (*world, *idp) {
	t.Helper()
	p := &idp{}
	var callback string
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, callback+"?code=x&state="+url.QueryEscape(r.URL.Query().Get("state")), http.StatusFound)
	}))
	t.Cleanup(srv.Close)
	p.url = srv.URL
	w := newWorld(t, func(c *authz.Config) { c.InsecureUsers, c.Login = nil, p })
	callback = w.url + "/oauth2/callback"
	p.set(authz.Person{Subject: subject(t, "alice"), AuthTime: began})
	return w, p
}

func (p *idp) set(person authz.Person) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.person = person
}

func (p *idp) last(t testing.TB) authz.LoginRequest {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.asked) == 0 {
		t.Fatal("nobody was sent to the IdP")
	}
	return p.asked[len(p.asked)-1]
}

// Begin implements authz.IdentityProvider.
func (p *idp) Begin(_ context.Context, l authz.LoginRequest) (string, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.asked = append(p.asked, l)
	return p.url + "/authorize?state=" + l.State, nil
}

// Finish implements authz.IdentityProvider.
func (p *idp) Finish(_ context.Context, params url.Values, l authz.LoginRequest) (authz.Person, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if params.Get("state") != l.State {
		return authz.Person{}, &oauth.Error{Code: oauth.InvalidRequest, Description: "wrong state"}
	}
	return p.person, p.fail
}

// visit opens a path and follows it to the IdP and back.
func (b *browser) visit(path string) page {
	b.w.t.Helper()
	p := b.get(path)
	if p.to == nil || !strings.Contains(p.to.Path, "/authorize") {
		return p
	}
	return b.get("/oauth2/callback?" + url.Values{"code": {"x"}, "state": {p.to.Query().Get("state")}}.Encode())
}

func TestLoginAtTheIdP(t *testing.T) {
	w, idp := newIDP(t)
	idp.set(authz.Person{Subject: subject(t, "alice"), AuthTime: began.Add(-time.Hour), ACR: "gold",
		Groups: []string{"finance", "staff"}, Claims: map[string]any{"department": "sales", "level": 3.0, "contractor": false}})
	c := w.public()
	b := w.browser()
	q := b.decide(b.visit(w.authorizePath(c, change{"login_hint": {"alice@example.com"}})), "approve").query(t, c.redirect)
	a := w.token(&c, codeForm(c, q.Get("code")))
	w.wantOK(a)
	got := payload(t, w.token(&c, refreshForm(a.RefreshToken)).AccessToken) // they stay with the grant
	want := map[string]any{"sub": "alice", "acr": "gold", "auth_time": float64(began.Add(-time.Hour).Unix()), "groups": []any{"finance", "staff"},
		"claims": map[string]any{"department": "sales", "level": 3.0, "contractor": false}}
	for name := range want {
		if diff := cmp.Diff(want[name], got[name]); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	l := idp.last(t)
	if l.LoginHint != "alice@example.com" || len(l.State) < 26 || len(l.Nonce) < 26 || len(l.Verifier) < 43 || l.HasMaxAge || l.Prompt != "" {
		t.Errorf("the IdP was asked for %+v", l)
	}
	if len(idp.asked) != 1 {
		t.Errorf("%d logins", len(idp.asked))
	}
}

// TestCallbackAttacks: a callback counts in the browser that began it, once.
func TestCallbackAttacks(t *testing.T) {
	w, _ := newIDP(t)
	c := w.public()
	victim, attacker := w.browser(), w.browser()
	theirs := victim.get(w.authorizePath(c)).to.Query().Get("state")
	attackers := attacker.get(w.authorizePath(c)).to.Query().Get("state")
	path := func(state string) string { return "/oauth2/callback?code=x&state=" + state }
	for name, test := range map[string]struct {
		by   *browser
		path string
	}{
		"login CSRF: the attacker's callback in the victim's browser": {victim, path(attackers)},
		"the victim's callback in the attacker's browser":             {attacker, path(theirs)},
		"a browser without cookies":                                   {w.browser(), path(theirs)},
		"no state":                                                    {victim, "/oauth2/callback?code=x"},
		"an unknown state":                                            {victim, path("AAAAAAAAAAAAAAAAAAAAAAAAAA")},
		"two states":                                                  {victim, path(theirs) + "&state=" + attackers},
		"nothing":                                                     {victim, "/oauth2/callback"},
	} {
		t.Run(name, func(t *testing.T) {
			p := test.by.get(test.path)
			if p.status != http.StatusBadRequest || p.to != nil {
				t.Errorf("answer %d to %v: %s", p.status, p.to, p.text())
			}
		})
	}
	if p := victim.get(path(theirs)); !strings.Contains(p.text(), "signed in as alice") {
		t.Fatalf("and the victim's own: %s", p.text())
	}
	wantErrorPage(t, victim.get(path(theirs)), "finished before")
}

func TestCallbackExpires(t *testing.T) {
	w, _ := newIDP(t)
	b := w.browser()
	state := b.get(w.authorizePath(w.public())).to.Query().Get("state")
	w.clock.advance(15 * time.Minute)
	wantErrorPage(t, b.get("/oauth2/callback?code=x&state="+state), "too old")
}

func TestCallbackInParallelCountsOnce(t *testing.T) {
	w, _ := newIDP(t)
	b := w.browser()
	state := b.get(w.authorizePath(w.public())).to.Query().Get("state")
	cookies := b.jar.Cookies(must(url.Parse(w.url))(t))
	answers := together(16, func() answer {
		r := w.request("GET", "/oauth2/callback?code=x&state="+state, "", "")
		for _, c := range cookies {
			r.AddCookie(c)
		}
		return w.do(r)
	})
	if n := redirected(answers); n != 1 {
		t.Errorf("%d logins by one callback", n)
	}
}

// TestWhatTheIdPRefuses: the client is told what is its to know, the person the rest.
func TestWhatTheIdPRefuses(t *testing.T) {
	w, idp := newIDP(t)
	c := w.public()
	for code, toClient := range map[oauth.ErrorCode]bool{oauth.AccessDenied: true, oauth.UnmetAuthenticationRequirements: true,
		oauth.TemporarilyUnavailable: false, oauth.InvalidRequest: false, oauth.ServerError: false} {
		t.Run(string(code), func(t *testing.T) {
			idp.fail = &oauth.Error{Code: code, Description: "because"}
			p := w.in(t).browser().visit(w.authorizePath(c))
			if toClient {
				if q := p.query(t, c.redirect); q.Get("error") != string(code) || q.Get("iss") != w.url || q.Get("state") != "xyz" {
					t.Errorf("redirect with %v", q)
				}
			} else if p.to != nil || p.status < 400 {
				t.Errorf("answer %d to %v", p.status, p.to)
			}
		})
	}
}

// TestStepUp is RFC 9470: max_age and acr_values send a person to the IdP again, once.
func TestStepUp(t *testing.T) {
	w, idp := newIDP(t)
	c := w.public()
	b := w.browser()
	idp.set(authz.Person{Subject: subject(t, "alice"), AuthTime: began, ACR: "silver"})
	b.visit(w.authorizePath(c))
	w.clock.advance(10 * time.Minute)
	logins := func() int { return len(idp.asked) }

	if p := b.visit(w.authorizePath(c, change{"max_age": {"3600"}, "acr_values": {"gold silver"}})); !strings.Contains(p.text(), "signed in as alice") || logins() != 1 {
		t.Fatalf("a login that is good enough was asked for again: %s", p.text())
	}
	idp.set(authz.Person{Subject: subject(t, "alice"), AuthTime: w.clock.Now(), ACR: "silver"})
	if p := b.visit(w.authorizePath(c, change{"max_age": {"60"}})); !strings.Contains(p.text(), "signed in as alice") || logins() != 2 {
		t.Errorf("max_age: %d logins, %s", logins(), p.text())
	}
	if l := idp.last(t); !l.HasMaxAge || l.MaxAge != time.Minute {
		t.Errorf("the IdP was asked for %+v", l)
	}
	q := b.visit(w.authorizePath(c, change{"acr_values": {"gold"}})).query(t, c.redirect) // the IdP says silver again
	if q.Get("error") != "unmet_authentication_requirements" || logins() != 3 || idp.last(t).ACRValues != "gold" {
		t.Errorf("acr_values: %v after %d logins", q, logins())
	}
	idp.set(authz.Person{Subject: subject(t, "alice"), AuthTime: w.clock.Now().Add(-time.Hour), ACR: "silver"})
	q = b.visit(w.authorizePath(c, change{"max_age": {"60"}, "prompt": {"login"}})).query(t, c.redirect) // the IdP did not ask for the password
	if q.Get("error") != "unmet_authentication_requirements" {
		t.Errorf("max_age that the IdP ignores: %v", q)
	}
	for _, age := range []string{"-1", "1.5", "99999999999", "x"} {
		if q := b.get(w.authorizePath(c, change{"max_age": {age}})).query(t, c.redirect); q.Get("error") != "invalid_request" {
			t.Errorf("max_age %s: %v", age, q)
		}
	}
}

func TestPromptIsPassedOn(t *testing.T) {
	w, idp := newIDP(t)
	c := w.public()
	for prompt, want := range map[string]string{"login": "login", "select_account": "select_account", "consent": "", "login consent": "login"} {
		w.browser().visit(w.authorizePath(c, change{"prompt": {prompt}}))
		if got := idp.last(t).Prompt; got != want {
			t.Errorf("prompt %s is %q at the IdP, want %q", prompt, got, want)
		}
	}
	q := w.browser().get(w.authorizePath(c, change{"prompt": {"none"}})).query(t, c.redirect)
	if q.Get("error") != "login_required" {
		t.Errorf("prompt none: %v", q)
	}
}

// TestMoreClaimsThanATokenTakes is told to the person, who would else get no token.
func TestMoreClaimsThanATokenTakes(t *testing.T) {
	w, idp := newIDP(t)
	var groups []string
	for i := range 200 {
		groups = append(groups, fmt.Sprintf("%040d", i))
	}
	idp.set(authz.Person{Subject: subject(t, "alice"), AuthTime: began, Groups: groups})
	wantErrorPage(t, w.browser().visit(w.authorizePath(w.public())), "fits into a token")
}

// TestPersonWithTheNameOfAClient could act with the client's roles.
func TestPersonWithTheNameOfAClient(t *testing.T) {
	w, idp := newIDP(t)
	idp.set(authz.Person{Subject: subject(t, "agent"), AuthTime: began})
	wantErrorPage(t, w.browser().visit(w.authorizePath(w.public())), "name of a client")
}
