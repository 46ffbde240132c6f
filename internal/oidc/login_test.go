package oidc_test

import (
	"context"
	"net"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/wicketgate/wicketgate/authz"
	"github.com/wicketgate/wicketgate/internal/oauth"
	"github.com/wicketgate/wicketgate/internal/oidc"
)

var everything = []string{"openid", "profile", "email", "groups", "org"}

// visit is a login at the real IdP.
type visit struct {
	world
	*browser
	login authz.LoginRequest
}

func newVisit(t *testing.T, change func(*oidc.Config), ask func(*authz.LoginRequest)) visit {
	t.Helper()
	v := visit{newWorld(t, realIDP(t).issuer, func(c *oidc.Config) {
		c.Scopes = everything
		if change != nil {
			change(c)
		}
	}), newBrowser(), newLogin()}
	return v.again(ask)
}

// again is another login in the same browser.
func (v visit) again(ask func(*authz.LoginRequest)) visit {
	v.login = newLogin()
	if ask != nil {
		ask(&v.login)
	}
	return v
}

func (v visit) start(t *testing.T) seen {
	t.Helper()
	return v.open(t, v.begin(context.Background(), t, v.login))
}

func (v visit) finish(t *testing.T, s seen) (authz.Person, error) {
	t.Helper()
	if s.back == nil {
		t.Fatalf("the browser shows %q (%d): %s", s.title, s.status, s.body)
	}
	return v.Finish(context.Background(), s.back, v.login)
}

// as logs in without further ado.
func (v visit) as(t *testing.T, who string, fields ...string) (authz.Person, error) {
	t.Helper()
	return v.finish(t, v.logIn(t, v.start(t), who, fields...))
}

func TestLogInAtTheIdP(t *testing.T) {
	clients := []struct {
		name   string
		change func(*oidc.Config)
	}{
		{"by RS256 and client_secret_basic", func(*oidc.Config) {}},
		{"by PS256", func(c *oidc.Config) { c.ClientID = "wicketgate-PS256" }},
		{"by ES256", func(c *oidc.Config) { c.ClientID = "wicketgate-ES256" }},
		{"by EdDSA", func(c *oidc.Config) { c.ClientID = "wicketgate-EdDSA" }},
		{"without secret", func(c *oidc.Config) { c.ClientID = "wicketgate-public"; c.ClientSecret = oidc.Secret{} }},
	}
	for _, tt := range clients {
		t.Run(tt.name, func(t *testing.T) {
			v := newVisit(t, func(c *oidc.Config) {
				tt.change(c)
				c.Claims = []string{"department", "cost_centre", "email", "email_verified", "realm_access.roles"}
			}, func(l *authz.LoginRequest) { l.HasMaxAge, l.MaxAge, l.ACRValues = true, time.Hour, "urn:idp:pwd" })
			person, err := v.as(t, "alice")
			if err != nil {
				t.Fatal(err)
			}
			if age := time.Since(person.AuthTime); age < -time.Second || age > time.Minute {
				t.Errorf("logged in %s ago", age)
			}
			if d := cmp.Diff([]string{"Mail Readers", "engineering"}, person.Groups) + cmp.Diff(object{
				"department": "Engineering", "cost_centre": 4711.0, "email": "alice@example.org", "email_verified": true,
				"realm_access.roles": []string{"developer", "operator"},
			}, person.Claims); d != "" || person.Subject.String() != "alice" || person.ACR != "urn:idp:pwd" {
				t.Errorf("person = %+v: %s", person, d)
			}
		})
	}
}

func TestGroupsOfAPath(t *testing.T) {
	person, err := newVisit(t, func(c *oidc.Config) { c.GroupsClaim = "realm_access.roles" }, nil).as(t, "bob")
	if err != nil || cmp.Diff([]string{"approver"}, person.Groups) != "" || len(person.Claims) != 0 {
		t.Errorf("person = %+v, %v", person, err)
	}
}

func TestAWrongPasswordDoesNotLogIn(t *testing.T) {
	v := newVisit(t, nil, nil)
	s := v.post(t, v.start(t), "login=alice", "password=guess")
	s.wantPage(t, "Log in")
	if s.status != 401 {
		t.Errorf("status %d", s.status)
	}
	if _, err := v.finish(t, v.logIn(t, s, "alice")); err != nil {
		t.Errorf("with the right one after that: %v", err)
	}
}

func TestAPersonCanDecline(t *testing.T) {
	v := newVisit(t, nil, nil)
	_, err := v.finish(t, v.post(t, v.start(t), "answer=decline"))
	wantRefusal(t, err, oauth.AccessDenied, "the person said")
	if strings.Contains(err.(*oauth.Error).Description, "the person said") {
		t.Errorf("echo: %v", err)
	}
}

func TestAWrongClientSecretIsTheOperatorsFault(t *testing.T) {
	v := newVisit(t, func(c *oidc.Config) { c.ClientSecret = oidc.NewSecret("wrong") }, nil)
	_, err := v.as(t, "alice")
	wantRefusal(t, err, oauth.ServerError, "invalid_client")
}

func TestPrompt(t *testing.T) {
	prompt := func(p string) func(*authz.LoginRequest) { return func(l *authz.LoginRequest) { l.Prompt = p } }
	v := newVisit(t, nil, prompt("none"))
	_, err := v.finish(t, v.start(t))
	wantRefusal(t, err, oauth.LoginRequired, "login_required")
	v = v.again(nil)
	if _, err := v.as(t, "alice"); err != nil {
		t.Fatal(err)
	}
	v = v.again(prompt("none"))
	if person, err := v.finish(t, v.start(t)); err != nil || person.Subject.String() != "alice" {
		t.Errorf("prompt=none with a session: %+v, %v", person, err)
	}
	v = v.again(prompt("login"))
	if person, err := v.as(t, "alice"); err != nil || person.AuthTime.IsZero() {
		t.Errorf("prompt=login with a session: %+v, %v", person, err)
	}
	v = v.again(prompt("consent"))
	s := v.start(t)
	s.wantPage(t, "Allow access?")
	if person, err := v.finish(t, v.post(t, s, "answer=allow")); err != nil || person.Subject.String() != "alice" {
		t.Errorf("prompt=consent: %+v, %v", person, err)
	}
}

func TestLoginHint(t *testing.T) {
	v := newVisit(t, nil, func(l *authz.LoginRequest) { l.LoginHint = `al"<ice` })
	if s := v.start(t); !strings.Contains(s.body, `value="al&#34;&#60;ice"`) {
		t.Errorf("page: %s", s.body)
	}
}

func TestMaxAge(t *testing.T) {
	within := func(d time.Duration) func(*authz.LoginRequest) {
		return func(l *authz.LoginRequest) { l.MaxAge, l.HasMaxAge = d, true }
	}
	v := newVisit(t, nil, within(0))
	if _, err := v.as(t, "alice"); err != nil {
		t.Fatalf("max_age=0: %v", err)
	}
	v = v.again(within(time.Minute))
	if _, err := v.finish(t, v.start(t)); err != nil {
		t.Errorf("a session younger than max_age: %v", err)
	}
	v = v.again(within(time.Minute))
	s := v.start(t)
	v.clock.advance(3 * time.Minute)
	_, err := v.finish(t, s)
	wantRefusal(t, err, oauth.AccessDenied, "longer ago than max_age")
}

func TestACRValues(t *testing.T) {
	strong := func(l *authz.LoginRequest) { l.ACRValues = "urn:idp:key urn:idp:mfa" }
	v := newVisit(t, nil, strong)
	_, err := v.as(t, "alice") // by password alone
	wantRefusal(t, err, oauth.UnmetAuthenticationRequirements, "urn:idp:pwd")
	v = v.again(strong) // the session of the first login is too weak for the IdP
	if person, err := v.as(t, "alice", "code=000000"); err != nil || person.ACR != "urn:idp:mfa" {
		t.Errorf("with the second factor: %+v, %v", person, err)
	}
	v = v.again(strong)
	if person, err := v.finish(t, v.start(t)); err != nil || person.ACR != "urn:idp:mfa" {
		t.Errorf("in that session: %+v, %v", person, err)
	}
}

func TestACodeIsRedeemedOnce(t *testing.T) {
	v := newVisit(t, nil, nil)
	s := v.logIn(t, v.start(t), "alice")
	if _, err := v.finish(t, s); err != nil {
		t.Fatal(err)
	}
	_, err := v.finish(t, s)
	wantRefusal(t, err, oauth.AccessDenied, "invalid_grant")
}

// TestACodeOfMalloryInTheBrowserOfAlice is code injection: mallory's code under
// the state of alice's login. PKCE finds it at the IdP, before nonce does here.
func TestACodeOfMalloryInTheBrowserOfAlice(t *testing.T) {
	mallory := newVisit(t, nil, nil)
	stolen := mallory.logIn(t, mallory.start(t), "mallory").back
	alice := mallory.again(nil)
	_, err := alice.Finish(context.Background(), url.Values{"state": {alice.login.State}, "code": stolen["code"], "iss": stolen["iss"]}, alice.login)
	wantRefusal(t, err, oauth.AccessDenied, "invalid_grant")
}

// TestAnIDTokenOfAnotherLoginAtTheIdP: the same with the verifier of the code, so that
// only nonce is left to find it.
func TestAnIDTokenOfAnotherLoginAtTheIdP(t *testing.T) {
	mallory := newVisit(t, nil, nil)
	s := mallory.logIn(t, mallory.start(t), "mallory")
	mallory.login.Nonce = newLogin().Nonce
	_, err := mallory.finish(t, s)
	wantRefusal(t, err, oauth.AccessDenied, "nonce is not")
}

// TestMalloryIsNotAliceByHerAddress: the IdP knows that nobody has verified it.
func TestMalloryIsNotAliceByHerAddress(t *testing.T) {
	byAddress := func(c *oidc.Config) { c.SubjectClaim = "email" }
	if person, err := newVisit(t, byAddress, nil).as(t, "alice"); err != nil || person.Subject.String() != "alice@example.org" {
		t.Errorf("alice is %+v, %v", person, err)
	}
	_, err := newVisit(t, byAddress, nil).as(t, "mallory")
	wantRefusal(t, err, oauth.AccessDenied, "email_verified")
}

func TestTooManyGroupsAreNotCutOff(t *testing.T) {
	_, err := newVisit(t, nil, nil).as(t, "trent")
	wantRefusal(t, err, oauth.AccessDenied, `claim "groups" lists 300 groups`)
}

// TestWeStartWhileTheIdPIsDown, and log people in once it is up, and say so when
// it goes down again in the middle of a login.
func TestWeStartWhileTheIdPIsDown(t *testing.T) {
	needNode(t)
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := free.Addr().(*net.TCPAddr).Port
	if err := free.Close(); err != nil {
		t.Fatal(err)
	}
	v := visit{newWorld(t, "http://127.0.0.1:"+strconv.Itoa(port), nil), newBrowser(), newLogin()}
	_, err = v.Begin(context.Background(), v.login)
	wantRefusal(t, err, oauth.TemporarilyUnavailable, "refused")
	if !strings.Contains(v.log.String(), "cannot be used") || !strings.Contains(v.log.String(), "issuer=http://127.0.0.1:") {
		t.Errorf("log: %s", v.log)
	}
	i, err := startIDP(port)
	if err != nil {
		t.Fatal(err)
	}
	defer i.stop()
	v.clock.advance(time.Second)
	if person, err := v.as(t, "alice"); err != nil || person.Subject.String() != "alice" {
		t.Errorf("person = %+v, %v", person, err)
	}
	v = v.again(nil)
	s := v.start(t)
	i.stop()
	_, err = v.finish(t, s)
	wantRefusal(t, err, oauth.TemporarilyUnavailable, "redeem the code")
}
