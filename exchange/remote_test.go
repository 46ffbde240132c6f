package exchange_test

import (
	"context"
	"errors"
	"net/url"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/wicketgate/wicketgate/exchange"
	"github.com/wicketgate/wicketgate/internal/audit"
	"github.com/wicketgate/wicketgate/internal/identity"
	"github.com/wicketgate/wicketgate/internal/oauth"
	"github.com/wicketgate/wicketgate/internal/revocation"
	"github.com/wicketgate/wicketgate/internal/token"
)

const (
	gatewayClient = "spiffe://as.example/gateway"
	callDetails   = `[{"type":"mcp_tool_call","server":"mail","tool":"read_message","arguments_digest":"a","definition_digest":"d","policy_digest":"p"}]`
)

var presenter = identity.MustClientID("wicketgate-gateway")

// gateways is a world with a gateway in another process.
func gateways(c *exchange.Config) {
	spent := map[string]bool{}
	c.Gateways = exchange.Gateways{
		Clients:   map[identity.ClientID]bool{identity.MustClientID(gatewayClient): true},
		Presenter: presenter,
		Spend: func(_ context.Context, jti string, _ time.Time) (bool, error) {
			first := !spent[jti]
			spent[jti] = true
			return first, nil
		},
	}
}

// gatewayRequest is a good request of the gateway; details and scope are for an access
// token.
func gatewayRequest(raw string, edits ...func(*oauth.TokenRequest)) oauth.TokenRequest {
	r := oauth.TokenRequest{Client: oauth.Client{ID: gatewayClient, Confidential: true, Scope: []string{"mcp:tools"}}, Source: "192.0.2.7", RequestID: "r7", Trace: &oauth.Trace{},
		Form: url.Values{"grant_type": {oauth.GrantTokenExchange}, "client_id": {gatewayClient}, "subject_token": {raw}, "subject_token_type": {oauth.TokenTypeAccessToken},
			"resource": {upstream}, "scope": {"tool:read_message"}, "authorization_details": {callDetails}}}
	for _, e := range edits {
		e(&r)
	}
	return r
}

func without(names ...string) func(*oauth.TokenRequest) {
	return func(r *oauth.TokenRequest) {
		for _, n := range names {
			r.Form.Del(n)
		}
	}
}

// called edits what is called.
func called(scope, details string) func(*oauth.TokenRequest) {
	return func(r *oauth.TokenRequest) {
		r.Form.Set("scope", scope)
		r.Form.Set("authorization_details", details)
	}
}

// stable are the claims that do not differ from one token to the next.
func stable(t *testing.T, raw string) map[string]any {
	t.Helper()
	c := claimsOf(t, raw)
	delete(c, "jti")
	return c
}

var bound = token.Confirmation{JKT: "47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU"}

// TestGatewayElsewhereGetsWhatOneInProcessGets, for whatever it is presented, and the
// line about it is written.
func TestGatewayElsewhereGetsWhatOneInProcessGets(t *testing.T) {
	w := newWorld(t, gateways)
	digests := token.Details{Server: "mail", ArgumentsDigest: "a", DefinitionDigest: "d", PolicyDigest: "p"}
	for name, edit := range map[string]func(*token.AccessSpec){
		"a person's":   func(*token.AccessSpec) {},
		"a workload's": func(s *token.AccessSpec) { s.Subject = must(identity.ParseSubject("agent")) },
		"a bound one":  func(s *token.AccessSpec) { s.Confirmation = bound },
		"one that says a lot of a person": func(s *token.AccessSpec) {
			s.Groups, s.ACR, s.AuthTime = []string{"g"}, "high", now
		},
		"a dying one": func(s *token.AccessSpec) { s.Lifetime = 10 * time.Second },
	} {
		raw, parent := w.grant(t, edit, func(s *token.AccessSpec) { s.Scope = scope(t, "mcp:tools mcp:prompts mcp:resources") })
		for s, spec := range map[string]token.CallSpec{
			`[{"type":"mcp_tool_call","server":"mail","tool":"read_message","arguments_digest":"a","approval":"AB23"}]`: {Audience: upstream, Presenter: presenter,
				Scope: must(token.ToolScope("read_message")), Details: token.Details{Server: "mail", ArgumentsDigest: "a", Approval: "AB23"}},
			callDetails: {Audience: upstream, Presenter: presenter, Scope: must(token.ToolScope("read_message")), Details: digests},
			`[{"type":"mcp_prompt_get","server":"mail","prompt":"digest","arguments_digest":"a","policy_digest":"p"}]`: {Audience: upstream, Presenter: presenter,
				Scope: must(token.PromptScope("digest")), Details: token.Details{Server: "mail", ArgumentsDigest: "a", PolicyDigest: "p"}},
			`[{"type":"mcp_resource_read","server":"mail","resource":"mail://inbox/ü \"1\"?a=b&c","policy_digest":"p"}]`: {Audience: upstream, Presenter: presenter,
				Scope: token.ResourceScope(), Details: token.Details{Server: "mail", Resource: `mail://inbox/ü "1"?a=b&c`, PolicyDigest: "p"}},
			`[{"type":"mcp_session","server":"mail","policy_digest":"p"}]`: {Audience: upstream, Presenter: presenter, Scope: token.SessionScope(), Details: token.Details{Server: "mail", PolicyDigest: "p"}},
		} {
			want, err := w.Call(t.Context(), parent, spec)
			if err != nil {
				t.Fatal(err)
			}
			w.audit.events = nil
			resp, err := w.Issue(t.Context(), gatewayRequest(raw, set("scope", spec.Scope.String()), set("authorization_details", s)))
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if diff := cmp.Diff(stable(t, want.Bearer()), stable(t, resp.AccessToken)); diff != "" {
				t.Errorf("%s (-in process +elsewhere)\n%s", name, diff)
			}
			event := audit.Event{Kind: audit.Token, Action: oauth.GrantTokenExchange, Subject: parent.Subject().String(), Client: gatewayClient, Actors: parent.Actors().Chain(),
				Txn: "grant-1", TokenID: parent.ID(), Source: "192.0.2.7", RequestID: "r7", Server: "mail", Tool: spec.Scope.Tool(), Prompt: spec.Scope.Prompt(), URI: spec.Details.Resource, ArgumentsDigest: spec.Details.ArgumentsDigest,
				DefinitionDigest: spec.Details.DefinitionDigest, PolicyDigest: spec.Details.PolicyDigest, Approval: spec.Details.Approval, Resource: upstream, Scope: spec.Scope.String(), Decision: audit.Allow, Reason: "a gateway decided"}
			if diff := cmp.Diff([]audit.Event{event}, w.audit.events); diff != "" {
				t.Errorf("%s: audit (-want +got)\n%s", name, diff)
			}
		}
	}
}

// tool is a tool token that the client agent exchanged for itself.
func (w *world) tool(t *testing.T) (string, token.Tool) {
	t.Helper()
	raw, _ := w.grant(t)
	resp, err := w.Issue(t.Context(), request(raw))
	if err != nil {
		t.Fatal(err)
	}
	tool, err := w.verifier.ParseTool(t.Context(), resp.AccessToken, mail, token.Confirmation{})
	if err != nil {
		t.Fatal(err)
	}
	return resp.AccessToken, tool
}

// TestToolTokenIsReaddressedOnce, also by gateways that share no store.
func TestToolTokenIsReaddressedOnce(t *testing.T) {
	w := newWorld(t, gateways)
	raw, tool := w.tool(t)
	want, err := w.Readdress(t.Context(), tool, upstream, presenter)
	if err != nil {
		t.Fatal(err)
	}
	r := gatewayRequest(raw, without("scope", "authorization_details"))
	resp, err := w.Issue(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(stable(t, want.Bearer()), stable(t, resp.AccessToken)); diff != "" {
		t.Errorf("(-in process +elsewhere)\n%s", diff)
	}
	w.refuseAs(t, r, oauth.InvalidRequest)
}

// TestCallTokenEndsWithTheSVIDOfTheGateway, so that one that is no longer a gateway has
// nothing afterwards.
func TestCallTokenEndsWithTheSVIDOfTheGateway(t *testing.T) {
	w := newWorld(t, gateways)
	raw, _ := w.grant(t)
	tool, _ := w.tool(t)
	until := func(r *oauth.TokenRequest) { r.Until = now.Add(7 * time.Second) }
	for _, r := range []oauth.TokenRequest{gatewayRequest(raw, until), gatewayRequest(tool, until, without("scope", "authorization_details"))} {
		resp, err := w.Issue(t.Context(), r)
		if err != nil {
			t.Fatal(err)
		}
		if exp := claimsOf(t, resp.AccessToken)["exp"]; exp != float64(now.Unix()+7) {
			t.Errorf("exp %v, want in 7 seconds", exp)
		}
	}
}

// TestGatewayIsHeldToTheCallersToken: what the gateway says decides neither whose the
// token is nor where it leads.
func TestGatewayIsHeldToTheCallersToken(t *testing.T) {
	w := newWorld(t, gateways)
	good, parent := w.grant(t)
	elsewhere, _ := w.grant(t, func(s *token.AccessSpec) { s.Audience = files })
	narrow, _ := w.grant(t, func(s *token.AccessSpec) { s.Scope = scope(t, "tool:list_messages") })
	every, _ := w.grant(t, func(s *token.AccessSpec) { s.Scope = scope(t, "mcp:tools mcp:prompts mcp:resources") })
	tool, _ := w.tool(t)
	call, err := w.Call(t.Context(), parent, token.CallSpec{Audience: upstream, Presenter: presenter, Scope: token.SessionScope(), Details: token.Details{Server: "mail"}})
	if err != nil {
		t.Fatal(err)
	}
	expired, _ := w.grant(t, func(s *token.AccessSpec) { s.Lifetime = time.Second })
	w.advance(time.Second)
	for name, tt := range map[string]struct {
		raw  string
		edit func(*oauth.TokenRequest)
		code oauth.ErrorCode
	}{
		"a token for another server": {elsewhere, nil, oauth.InvalidRequest},
		"a token for another tool":   {narrow, nil, oauth.InvalidScope},
		"a call token":               {call.Bearer(), nil, oauth.InvalidRequest},
		"an expired token":           {expired, nil, oauth.InvalidRequest},
		"garbage":                    {"garbage", nil, oauth.InvalidRequest},
		"no token":                   {"", nil, oauth.InvalidRequest},
		"a token of another type":    {good, set("subject_token_type", "urn:ietf:params:oauth:token-type:jwt"), oauth.InvalidRequest},
		"an actor token": {good, func(r *oauth.TokenRequest) {
			r.Form.Set("actor_token", good)
			r.Form.Set("actor_token_type", oauth.TokenTypeAccessToken)
		}, oauth.InvalidRequest},
		"details of another server":                {good, set("authorization_details", `[{"type":"mcp_tool_call","server":"files","tool":"read_message","arguments_digest":"a"}]`), oauth.InvalidAuthorizationDetails},
		"details of another tool":                  {good, set("authorization_details", `[{"type":"mcp_tool_call","server":"mail","tool":"send_message","arguments_digest":"a"}]`), oauth.InvalidAuthorizationDetails},
		"details of another type":                  {good, set("authorization_details", `[{"type":"mcp_session","server":"mail","tool":"read_message","arguments_digest":"a"}]`), oauth.InvalidAuthorizationDetails},
		"details with more":                        {good, set("authorization_details", `[{"type":"mcp_tool_call","server":"mail","tool":"read_message","arguments_digest":"a","sub":"root"}]`), oauth.InvalidAuthorizationDetails},
		"two details":                              {good, set("authorization_details", callDetails[:len(callDetails)-1]+","+callDetails[1:]), oauth.InvalidAuthorizationDetails},
		"details without arguments":                {good, set("authorization_details", `[{"type":"mcp_tool_call","server":"mail","tool":"read_message"}]`), oauth.InvalidAuthorizationDetails},
		"a prompt that the token does not cover":   {good, called("prompt:digest", `[{"type":"mcp_prompt_get","server":"mail","prompt":"digest","arguments_digest":"a"}]`), oauth.InvalidScope},
		"a resource that the token does not cover": {good, called("resource", `[{"type":"mcp_resource_read","server":"mail","resource":"file:///a"}]`), oauth.InvalidScope},
		"details of another prompt":                {every, called("prompt:digest", `[{"type":"mcp_prompt_get","server":"mail","prompt":"other","arguments_digest":"a"}]`), oauth.InvalidAuthorizationDetails},
		"details of a prompt and more":             {every, called("prompt:digest", `[{"type":"mcp_prompt_get","server":"mail","prompt":"digest","tool":"digest","arguments_digest":"a"}]`), oauth.InvalidAuthorizationDetails},
		"a prompt without arguments":               {every, called("prompt:digest", `[{"type":"mcp_prompt_get","server":"mail","prompt":"digest"}]`), oauth.InvalidAuthorizationDetails},
		"a resource without URI":                   {every, called("resource", `[{"type":"mcp_resource_read","server":"mail"}]`), oauth.InvalidAuthorizationDetails},
		"a resource that is no URI":                {every, called("resource", `[{"type":"mcp_resource_read","server":"mail","resource":"a\u0000"}]`), oauth.InvalidAuthorizationDetails},
		"a resource with arguments":                {every, called("resource", `[{"type":"mcp_resource_read","server":"mail","resource":"file:///a","arguments_digest":"a"}]`), oauth.InvalidAuthorizationDetails},
		"a resource for a tool":                    {every, called("tool:read_message", `[{"type":"mcp_resource_read","server":"mail","resource":"file:///a"}]`), oauth.InvalidAuthorizationDetails},
		"a URI beside a tool":                      {every, called("tool:read_message", `[{"type":"mcp_tool_call","server":"mail","tool":"read_message","arguments_digest":"a","resource":"file:///a"}]`), oauth.InvalidAuthorizationDetails},
		"an approval of a prompt":                  {every, called("prompt:digest", `[{"type":"mcp_prompt_get","server":"mail","prompt":"digest","arguments_digest":"a","approval":"AB23"}]`), oauth.InvalidAuthorizationDetails},
		"an approval that is no id":                {good, set("authorization_details", `[{"type":"mcp_tool_call","server":"mail","tool":"read_message","arguments_digest":"a","approval":"../x"}]`), oauth.InvalidAuthorizationDetails},
		"no details":                               {good, without("authorization_details"), oauth.InvalidAuthorizationDetails},
		"no scope":                                 {good, without("scope"), oauth.InvalidScope},
		"two scopes":                               {good, set("scope", "tool:read_message mcp:session"), oauth.InvalidScope},
		"a scope that is no call's":                {good, set("scope", "mcp:tools"), oauth.InvalidScope},
		"a tool token with more to say":            {tool, nil, oauth.InvalidRequest},
		"a tool token with another tool": {tool, func(r *oauth.TokenRequest) {
			r.Form.Del("authorization_details")
			r.Form.Set("scope", "tool:send_message")
		}, oauth.InvalidRequest},
	} {
		t.Run(name, func(t *testing.T) {
			r := gatewayRequest(tt.raw)
			if tt.edit != nil {
				tt.edit(&r)
			}
			w.audit.events = nil
			w.refuseAs(t, r, tt.code)
			if len(w.audit.events) != 0 {
				t.Errorf("recorded %+v", w.audit.events)
			}
		})
	}
}

// TestNobodyButAGatewayIsVouchedFor: the same request of anybody else is answered as for
// a resource that nobody knows, and one that is not proven is no gateway.
func TestNobodyButAGatewayIsVouchedFor(t *testing.T) {
	w := newWorld(t, gateways)
	raw, _ := w.grant(t, func(s *token.AccessSpec) { s.Confirmation = bound })
	for name, edit := range map[string]func(*oauth.TokenRequest){
		"the client of the token": func(r *oauth.TokenRequest) { r.Client.ID = "agent" },
		"a namesake":              func(r *oauth.TokenRequest) { r.Client.ID = gatewayClient + "/2" },
		"by audience":             func(r *oauth.TokenRequest) { r.Form.Set("audience", upstream); r.Form.Del("resource") },
		"two upstreams":           set("resource", upstream, upstream),
		"an upstream's namesake":  set("resource", upstream+"/"),
	} {
		t.Run(name, func(t *testing.T) {
			r := gatewayRequest(raw)
			edit(&r)
			w.refuseAs(t, r, oauth.InvalidTarget)
		})
	}
	public := gatewayRequest(raw)
	public.Client.Confidential = false
	w.refuseAs(t, public, oauth.UnauthorizedClient)
	w.refuseAs(t, gatewayRequest(raw, set("resource", mail)), oauth.InvalidRequest) // for itself a gateway is a client as others are
}

func TestGatewayGetsNothingWithoutALine(t *testing.T) {
	w := newWorld(t, gateways)
	raw, _ := w.grant(t)
	tool, _ := w.tool(t)
	w.audit.err = errors.New("disk full")
	for _, r := range []oauth.TokenRequest{gatewayRequest(raw), gatewayRequest(tool, without("scope", "authorization_details"))} {
		w.fail(t, r)
	}
	w.audit.err = nil // and the tool token was not spent
	if _, err := w.Issue(t.Context(), gatewayRequest(tool, without("scope", "authorization_details"))); err != nil {
		t.Error(err)
	}
}

func TestGatewayGetsNothingForAFrozenServer(t *testing.T) {
	frozen := newWorld(t, gateways, func(c *exchange.Config) { c.Freezes = freezes{revocation.ErrFrozen} })
	raw, _ := frozen.grant(t)
	frozen.refuseAs(t, gatewayRequest(raw), oauth.InvalidTarget)
	newWorld(t, gateways, func(c *exchange.Config) { c.Freezes = freezes{token.ErrStale} }).fail(t, gatewayRequest(raw))
}

// fail wants an error of ours.
func (w *world) fail(t *testing.T, r oauth.TokenRequest) {
	t.Helper()
	resp, err := w.Issue(t.Context(), r)
	var oe *oauth.Error
	if err == nil || errors.As(err, &oe) || resp.AccessToken != "" {
		t.Errorf("Issue = %+v, %v, want an error of ours", resp, err)
	}
}

func TestGatewayGetsNothingWhereNobodyCanTellWhatWasSpent(t *testing.T) {
	w := newWorld(t, gateways, func(c *exchange.Config) {
		c.Gateways.Spend = func(context.Context, string, time.Time) (bool, error) { return false, errors.New("store away") }
	})
	raw, _ := w.tool(t)
	w.fail(t, gatewayRequest(raw, without("scope", "authorization_details")))
}
