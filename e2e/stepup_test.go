package e2e_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/modelcontextprotocol/go-sdk/auth"
	"github.com/modelcontextprotocol/go-sdk/mcp"
	"github.com/modelcontextprotocol/go-sdk/oauthex"

	"github.com/wicketgate/wicketgate/internal/freeport"
)

// TestCallThatNeedsASecondFactor is step-up as RFC 9470 means it: the call is challenged
// with what it needs, the client asks the person to log in so, and sends the call again. The
// client is the Go SDK's in either era, with an application that reads challenges.
func TestCallThatNeedsASecondFactor(t *testing.T) {
	listen := freeport.Address(t)
	issuer := "http://" + listen
	idp := startIDP(t, issuer+"/oauth2/callback")
	tickets := httptest.NewServer(mcp.NewStreamableHTTPHandler(func(*http.Request) *mcp.Server { return ticketServer() }, nil))
	t.Cleanup(tickets.Close)
	r := newServe(t, listen, map[string]string{"kek": sharedKEK, "idp.secret": idpSecret, "access.yaml": `version: 1
roles:
  engineer:
    who: {groups: [engineering]}
    servers: {tickets: {tools: {read: {}, close: {acr: ["urn:idp:mfa"], max_age: 15m}}}}
`, "wicketgate.yaml": `issuer: ` + issuer + `
listen: ` + listen + `
admin: {listen: "` + freeport.Address(t) + `"}
data: data
key_encryption_key: kek
policy: access.yaml
login: {issuer: ` + idp + `, client_id: wicketgate, client_secret_file: idp.secret, scopes: [openid, profile, groups]}
servers: [{name: tickets, url: "` + tickets.URL + `"}]
trust: first-use
`})
	r.start(t)
	for _, era := range []string{modern, legacy} {
		person := newRobot("alice", "approve")
		person.idp = idp
		s := newStepUp(t, issuer, person)
		c, err := goConnectIn(t, era, issuer+"/mcp/tickets", s)
		if err != nil {
			t.Fatal(err)
		}
		if res, err := c.call(deadline(t), "read", map[string]any{"number": 7}); err != nil || res.Text != "read 7" {
			t.Fatalf("%s: %+v, %v", era, res, err)
		}
		if len(s.asked) != 1 || strings.Contains(s.asked[0], "acr_values") {
			t.Errorf("%s: at first it asked %q", era, s.asked)
		}
		person.code = "000000"
		if res, err := c.call(deadline(t), "close", map[string]any{"number": 7}); err != nil || res.Text != "closed 7" {
			t.Errorf("%s, with a second factor: %+v, %v", era, res, err)
		}
		if len(s.asked) != 2 || !strings.Contains(s.asked[1], "acr_values=urn%3Aidp%3Amfa") || !strings.Contains(s.asked[1], "max_age=900") {
			t.Errorf("%s: it asked %q", era, s.asked)
		}
		if res, err := c.call(deadline(t), "close", map[string]any{"number": 8}); err != nil || res.Text != "closed 8" || len(s.asked) != 2 {
			t.Errorf("%s, again: %+v, %v, %d logins", era, res, err, len(s.asked))
		}
	}
}

// stepUp is an application around the SDK's handler, which asks for the login that a
// challenge wants.
type stepUp struct {
	auth.OAuthHandler
	wants url.Values // of the newest challenge
	asked []string   // authorization URLs
}

func newStepUp(t *testing.T, issuer string, person *robot) *stepUp {
	t.Helper()
	s := &stepUp{}
	client, err := oauthex.RegisterClient(t.Context(), issuer+"/oauth2/register", &oauthex.ClientRegistrationMetadata{
		ClientName: goClientName, RedirectURIs: []string{callback}, GrantTypes: []string{"authorization_code", "refresh_token"}, TokenEndpointAuthMethod: "none"}, http.DefaultClient)
	if err != nil {
		t.Fatal(err)
	}
	handler, err := auth.NewAuthorizationCodeHandler(&auth.AuthorizationCodeHandlerConfig{
		RedirectURL:         callback,
		PreregisteredClient: &oauthex.ClientCredentials{ClientID: client.ClientID},
		AuthorizationCodeFetcher: func(ctx context.Context, args *auth.AuthorizationArgs) (*auth.AuthorizationResult, error) {
			at, err := url.Parse(args.URL)
			if err != nil {
				return nil, err
			}
			q := at.Query()
			for name, values := range s.wants {
				q[name] = values
			}
			at.RawQuery = q.Encode()
			s.asked = append(s.asked, at.String())
			seen, err := person.authorize(ctx, at.String())
			if err != nil {
				return nil, err
			}
			q = seen.redirect.Query()
			if code := q.Get("error"); code != "" {
				return nil, errors.New(code)
			}
			return &auth.AuthorizationResult{Code: q.Get("code"), State: q.Get("state"), Iss: q.Get("iss")}, nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	s.OAuthHandler = handler
	return s
}

var challengeParam = regexp.MustCompile(`(acr_values|max_age)="([^"]*)"`)

// Authorize reads the challenge (RFC 9470 §3) before the SDK does.
func (s *stepUp) Authorize(ctx context.Context, req *http.Request, resp *http.Response) error {
	s.wants = url.Values{}
	if c := strings.Join(resp.Header.Values("WWW-Authenticate"), ", "); strings.Contains(c, `error="insufficient_user_authentication"`) {
		for _, m := range challengeParam.FindAllStringSubmatch(c, -1) {
			s.wants.Set(m[1], m[2])
		}
	}
	return s.OAuthHandler.Authorize(ctx, req, resp)
}
