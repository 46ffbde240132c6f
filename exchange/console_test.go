package exchange_test

import (
	"testing"

	"github.com/wicketgate/wicketgate/exchange"
	"github.com/wicketgate/wicketgate/internal/oauth"
)

const (
	consoleResource = issuer + "/console"
	pagesID         = "wicketgate-console"
)

func withConsole(t *testing.T) func(*exchange.Config) {
	return func(c *exchange.Config) {
		c.Resources = c.Resources.Reserve(resource(t, consoleResource), []string{oauth.ScopeApprovals}, pagesID, "wicketgate-cli")
	}
}

// TestExchangeToTheConsoleIsRefused: an agent that acts for an approver cannot get what the
// approver's own browser gets, neither as resource nor as audience, whatever it asks for.
func TestExchangeToTheConsoleIsRefused(t *testing.T) {
	w := newWorld(t, agents, withConsole(t))
	raw := forge(t, claims{"client_id": "agent"})
	for name, edit := range map[string]func(*oauth.TokenRequest){
		"as resource":                        set("resource", consoleResource),
		"as resource, with a slash":          set("resource", consoleResource+"/"),
		"as audience":                        func(r *oauth.TokenRequest) { set("resource")(r); set("audience", consoleResource)(r) },
		"as resource, for the scope of it":   func(r *oauth.TokenRequest) { set("resource", consoleResource)(r); set("scope", "approvals")(r) },
		"under the id of the built-in one":   func(r *oauth.TokenRequest) { set("resource", consoleResource)(r); r.Client.ID = pagesID },
		"as audience beside a good resource": set("audience", consoleResource),
	} {
		t.Run(name, func(t *testing.T) {
			r := delegation("agent", raw)
			if edit(&r); r.Client.ID == pagesID {
				r.Form.Set("subject_token", forge(t, claims{"client_id": pagesID}))
			}
			w.refuseAs(t, r, oauth.InvalidTarget)
		})
	}
}

// TestTokenOfTheConsoleIsNotExchanged: what was meant for approvals calls no tool, not even
// by who acts for everybody.
func TestTokenOfTheConsoleIsNotExchanged(t *testing.T) {
	w := newWorld(t, agents, withConsole(t))
	for _, client := range []string{"sub-agent", pagesID} {
		for _, s := range []string{"approvals", "approvals mcp:tools"} {
			w.refuseAs(t, delegation(client, forge(t, claims{"client_id": pagesID, "aud": consoleResource, "scope": s})), oauth.InvalidRequest)
		}
	}
}
