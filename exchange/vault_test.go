package exchange_test

import (
	"testing"

	"github.com/wicketgate/wicketgate/exchange"
	"github.com/wicketgate/wicketgate/internal/oauth"
	"github.com/wicketgate/wicketgate/internal/revocation"
	"github.com/wicketgate/wicketgate/internal/token"
)

// vault is the audience of the call tokens that Vault is logged in to with, for two servers.
const (
	vault        = "https://vault.internal:8200"
	filesDetails = `[{"type":"mcp_tool_call","server":"files","tool":"read_message","arguments_digest":"a","definition_digest":"d","policy_digest":"p"}]`
)

func atVault(c *exchange.Config) {
	at, m, f := must(oauth.ParseResource(vault)), must(oauth.ParseResource(mail)), must(oauth.ParseResource(files))
	c.Resources = oauth.NewResources([]oauth.Resource{m, f}, []oauth.Resource{at})
	c.Upstreams = exchange.Upstreams{at: {m, f}}
}

// frozen is one server that must not be called.
type frozen string

func (f frozen) Server(name string) error {
	if name == string(f) {
		return revocation.ErrFrozen
	}
	return nil
}

// TestGatewayGetsTokensForVaultThatNameTheCallersServer, whichever of the servers it is,
// and from a tool token too.
func TestGatewayGetsTokensForVaultThatNameTheCallersServer(t *testing.T) {
	w := newWorld(t, gateways, atVault)
	forMail, _ := w.grant(t)
	forFiles, _ := w.grant(t, func(s *token.AccessSpec) { s.Audience = files })
	tool, _ := w.tool(t)
	for server, r := range map[string]oauth.TokenRequest{
		"mail":  gatewayRequest(forMail, set("resource", vault)),
		"files": gatewayRequest(forFiles, set("resource", vault), set("authorization_details", filesDetails)),
		"mail ": gatewayRequest(tool, set("resource", vault), without("scope", "authorization_details")),
	} {
		resp, err := w.Issue(t.Context(), r)
		if err != nil {
			t.Fatalf("%s: %v", server, err)
		}
		call, err := w.verifier.ParseCall(t.Context(), resp.AccessToken, vault)
		if err != nil || call.Details().Server != server && call.Details().Server+" " != server {
			t.Errorf("%s: %+v, %v", server, call.Details(), err)
		}
	}
}

// TestTokenForOneServerIsNotExchangedForVaultAsAnother: Vault lets in by the server that
// the token names, so that would be another server's credentials.
func TestTokenForOneServerIsNotExchangedForVaultAsAnother(t *testing.T) {
	w := newWorld(t, gateways, atVault)
	forMail, parent := w.grant(t)
	tool, itself := w.tool(t)
	for name, tt := range map[string]struct {
		raw  string
		edit func(*oauth.TokenRequest)
		code oauth.ErrorCode
	}{
		"details of the other server":  {forMail, set("authorization_details", filesDetails), oauth.InvalidRequest},
		"details of both":              {forMail, set("authorization_details", callDetails[:len(callDetails)-1]+","+filesDetails[1:]), oauth.InvalidAuthorizationDetails},
		"details of no such server":    {forMail, set("authorization_details", `[{"type":"mcp_session","server":"nowhere"}]`), oauth.InvalidAuthorizationDetails},
		"details of no server":         {forMail, set("authorization_details", `[{"type":"mcp_session"}]`), oauth.InvalidAuthorizationDetails},
		"details that are none":        {forMail, set("authorization_details", "{"), oauth.InvalidAuthorizationDetails},
		"the name in another case":     {forMail, set("authorization_details", `[{"type":"mcp_session","Server":"mail"}]`), oauth.InvalidAuthorizationDetails},
		"no details":                   {forMail, without("authorization_details"), oauth.InvalidRequest},
		"a tool token, and the other":  {tool, set("authorization_details", filesDetails), oauth.InvalidRequest},
		"a tool token with details":    {tool, nil, oauth.InvalidRequest},
		"garbage without details":      {"garbage", without("scope", "authorization_details"), oauth.InvalidRequest},
		"a token that nobody has seen": {"", without("scope", "authorization_details"), oauth.InvalidRequest},
	} {
		t.Run(name, func(t *testing.T) {
			r := gatewayRequest(tt.raw, set("resource", vault))
			if tt.edit != nil {
				tt.edit(&r)
			}
			w.refuseAs(t, r, tt.code)
		})
	}
	spec := token.CallSpec{Audience: vault, Presenter: presenter, Scope: token.SessionScope(), Details: token.Details{Server: "files"}}
	if c, err := w.Call(t.Context(), parent, spec); err == nil || c.Bearer() != "" {
		t.Errorf("in process: %v, %v", c, err)
	}
	spec.Details.Server = "mail"
	if _, err := w.Call(t.Context(), parent, spec); err != nil {
		t.Error("in process, its own:", err)
	}
	if _, err := w.Readdress(t.Context(), itself, vault, presenter); err != nil {
		t.Error("in process, a tool token:", err)
	}
}

// TestNobodyButAGatewayAimsAtVault: to others it is a resource that nobody knows.
func TestNobodyButAGatewayAimsAtVault(t *testing.T) {
	w := newWorld(t, gateways, atVault)
	raw, _ := w.grant(t)
	for name, edit := range map[string]func(*oauth.TokenRequest){
		"a client":           func(r *oauth.TokenRequest) { r.Client.ID = "agent" },
		"a client's call":    func(r *oauth.TokenRequest) { r.Client.ID = "agent"; without("authorization_details")(r) },
		"by audience":        func(r *oauth.TokenRequest) { r.Form.Set("audience", vault); r.Form.Del("resource") },
		"with a slash":       set("resource", vault+"/"),
		"Vault and a server": set("resource", vault, mail),
	} {
		t.Run(name, func(t *testing.T) {
			r := gatewayRequest(raw, set("resource", vault))
			edit(&r)
			w.refuseAs(t, r, oauth.InvalidTarget)
		})
	}
}

// TestFrozenServerGetsNoTokenForVault, and the others that share its audience do.
func TestFrozenServerGetsNoTokenForVault(t *testing.T) {
	w := newWorld(t, gateways, atVault, func(c *exchange.Config) { c.Freezes = frozen("mail") })
	forMail, _ := w.grant(t)
	forFiles, _ := w.grant(t, func(s *token.AccessSpec) { s.Audience = files })
	w.refuseAs(t, gatewayRequest(forMail, set("resource", vault)), oauth.InvalidTarget)
	if _, err := w.Issue(t.Context(), gatewayRequest(forFiles, set("resource", vault), set("authorization_details", filesDetails))); err != nil {
		t.Error(err)
	}
}

// TestCallerOfAllServersGetsTheOneThatIsCalled at Vault.
func TestCallerOfAllServersGetsTheOneThatIsCalled(t *testing.T) {
	const all = "https://as.example/mcp"
	w := newWorld(t, gateways, atVault, func(c *exchange.Config) { c.All = must(oauth.ParseResource(all)) })
	raw, parent := w.grant(t, func(s *token.AccessSpec) { s.Audience = all })
	resp, err := w.Issue(t.Context(), gatewayRequest(raw, set("resource", vault), set("authorization_details", filesDetails)))
	if err != nil {
		t.Fatal(err)
	}
	if call, err := w.verifier.ParseCall(t.Context(), resp.AccessToken, vault); err != nil || call.Details().Server != "files" {
		t.Errorf("%+v, %v", call.Details(), err)
	}
	spec := token.CallSpec{Audience: vault, Presenter: presenter, Scope: token.SessionScope(), Details: token.Details{Server: "files"}}
	if _, err := w.Call(t.Context(), parent, spec); err != nil {
		t.Error("in process:", err)
	}
}
