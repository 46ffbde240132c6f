package e2e_test

import (
	"bytes"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestUnauthorizedAnswerLeadsToTheAuthorizationServer(t *testing.T) {
	t.Parallel()
	h := startHouse(t)
	resp, _ := send(t, http.MethodPost, h.resource(), mcpHeader(""), `{"jsonrpc":"2.0","id":1,"method":"tools/list"}`)
	metadataURL := h.url + "/.well-known/oauth-protected-resource/mcp/mail"
	challenge := resp.Header.Get("WWW-Authenticate")
	if resp.StatusCode != http.StatusUnauthorized || !strings.HasPrefix(challenge, "Bearer ") ||
		!strings.Contains(challenge, fmt.Sprintf("resource_metadata=%q", metadataURL)) {
		t.Fatalf("status %d, WWW-Authenticate %q, want 401 and Bearer with resource_metadata %s", resp.StatusCode, challenge, metadataURL)
	}

	var prm resourceMetadata
	getJSON(t, metadataURL, &prm)
	wantResource := resourceMetadata{h.resource(), []string{h.url}, []string{"mcp:tools", "mcp:resources", "mcp:prompts"}}
	if diff := cmp.Diff(wantResource, prm); diff != "" {
		t.Errorf("RFC 9728 document (-want +got):\n%s", diff)
	}

	var as serverMetadata
	getJSON(t, h.url+"/.well-known/oauth-authorization-server", &as)
	if !slices.Contains(as.AuthMethods, "none") {
		t.Errorf("token_endpoint_auth_methods_supported = %v, without none", as.AuthMethods)
	}
	as.AuthMethods = nil
	wantServer := serverMetadata{
		Issuer: h.url, Authorize: h.url + "/oauth2/authorize", Token: h.url + "/oauth2/token", Registration: h.url + "/oauth2/register",
		JWKS: h.url + "/oauth2/jwks", Challenges: []string{"S256"}, Iss: true,
	}
	if diff := cmp.Diff(wantServer, as); diff != "" {
		t.Errorf("RFC 8414 document (-want +got):\n%s", diff)
	}
}

// A7.
func TestAccessTokenIsForExactlyTheResource(t *testing.T) {
	t.Parallel()
	h := startHouse(t)
	c := newRawClient(t, h)
	a := c.login(t, "alice")
	if got := part(t, a.AccessToken, 0); got["typ"] != "at+jwt" || got["alg"] != "ES256" {
		t.Errorf("header = %v, want typ at+jwt and alg ES256", got)
	}
	claims, wants := part(t, a.AccessToken, 1), object{"iss": h.url, "sub": "alice", "client_id": c.id, "aud": h.resource()}
	for name, want := range wants {
		got := claims[name]
		if list, ok := got.([]any); ok && name == "aud" && len(list) == 1 { // RFC 7519 §4.1.3 has both spellings
			got = list[0]
		}
		if got != want {
			t.Errorf("%s = %v, want %v", name, got, want)
		}
	}
	if _, ok := claims["authorization_details"]; ok {
		t.Error("the access token has authorization_details, as only a call token has")
	}
	if a.TokenType != "Bearer" || a.ExpiresIn <= 0 || time.Duration(a.ExpiresIn)*time.Second > time.Hour {
		t.Errorf("token_type %q for %d s, want Bearer for minutes", a.TokenType, a.ExpiresIn)
	}
	if resp, body := open(t, h, a.AccessToken).call(t, "list_messages", `{"limit":2}`); !bytes.Contains(body, []byte("Gale warning")) {
		t.Errorf("list_messages: status %d, %s", resp.StatusCode, body)
	}
}

func TestAuthorizeRejects(t *testing.T) {
	t.Parallel()
	h := startHouse(t)
	c := newRawClient(t, h)
	for _, test := range []struct {
		name   string
		change func(url.Values)
		want   string // the error told to the client; empty: told to the person only
	}{
		{"PKCE missing", func(q url.Values) { q.Del("code_challenge"); q.Del("code_challenge_method") }, "invalid_request"},
		{"PKCE plain", func(q url.Values) { q.Set("code_challenge_method", "plain") }, "invalid_request"},
		{"resource of the mail server behind the gateway", func(q url.Values) { q.Set("resource", h.mail) }, "invalid_target"},
		{"resource that nobody knows", func(q url.Values) { q.Set("resource", h.url+"/mcp/none") }, "invalid_target"},
		{"redirect URI off by one character", func(q url.Values) { q.Set("redirect_uri", callback+"s") }, ""},
		{"unknown client", func(q url.Values) { q.Set("client_id", "nobody") }, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			v, err := newRobot("alice", "approve").authorize(deadline(t), c.authorizeURL(newPKCE(), test.change))
			switch {
			case test.want == "" && (err == nil || v.redirect != nil || len(v.pages) != 1):
				t.Errorf("redirect %v, error %v, want one page that says what is wrong", v.redirect, err)
			case test.want == "":
			case err != nil:
				t.Errorf("no redirect: %v", err)
			case v.redirect.Query().Get("error") != test.want || v.redirect.Query().Has("code"):
				t.Errorf("redirect %s, want the error %s", v.redirect, test.want)
			}
		})
	}
}

func TestDeniedConsentGivesNoCode(t *testing.T) {
	t.Parallel()
	h := startHouse(t)
	c := newRawClient(t, h)
	v, err := newRobot("alice", "deny").authorize(deadline(t), c.authorizeURL(newPKCE(), nil))
	if err != nil {
		t.Fatal(err)
	}
	q := v.redirect.Query()
	if q.Get("error") != "access_denied" || q.Has("code") || q.Get("state") != "state-of-the-client" || q.Get("iss") != h.url {
		t.Errorf("redirect %s, want access_denied with state and iss", v.redirect)
	}
}

func TestCodeIsGoodOnceAndForItsVerifier(t *testing.T) {
	t.Parallel()
	h := startHouse(t)
	c := newRawClient(t, h)
	p := newPKCE()
	if a := c.redeem(t, c.code(t, newRobot("alice", "approve"), p), newPKCE()); a.Error != "invalid_grant" {
		t.Errorf("another code_verifier: %d %q, want invalid_grant", a.Status, a.Error)
	}
	code := c.code(t, newRobot("alice", "approve"), p)
	first := c.redeem(t, code, p)
	if first.AccessToken == "" {
		t.Fatalf("first use: %d %q", first.Status, first.Error)
	}
	if a := c.redeem(t, code, p); a.Error != "invalid_grant" {
		t.Errorf("second use: %d %q, want invalid_grant", a.Status, a.Error)
	}
	if a := c.refresh(t, first.RefreshToken); a.Error != "invalid_grant" { // RFC 6749 §4.1.2: what the code gave is revoked
		t.Errorf("refresh after the code was used twice: %d %q, want invalid_grant", a.Status, a.Error)
	}
}

func TestSecondStartKeepsClientsGrantsAndKeys(t *testing.T) {
	t.Parallel()
	first := startHouse(t)
	c := newRawClient(t, first)
	a := c.login(t, "alice")
	first.stop(t)

	second := startHouseWith(t, first.data, first.port)
	if second.url != first.url {
		t.Fatalf("second start is at %s, want %s", second.url, first.url)
	}
	c.h = second
	if _, body := open(t, second, a.AccessToken).call(t, "list_messages", `{}`); !bytes.Contains(body, []byte("Gale warning")) {
		t.Errorf("list_messages with the old access token: %s", body)
	}
	refreshed := c.refresh(t, a.RefreshToken)
	if refreshed.AccessToken == "" || refreshed.AccessToken == a.AccessToken {
		t.Fatalf("refresh after the second start: %d %q", refreshed.Status, refreshed.Error)
	}
	if old, kept := part(t, a.AccessToken, 0)["kid"], part(t, refreshed.AccessToken, 0)["kid"]; old != kept {
		t.Errorf("the second start signs with key %v, want %v as before", kept, old)
	}
	open(t, second, refreshed.AccessToken)
	c.login(t, "bob") // with the client of the first start
}

func TestAuditHasIntentAndOutcomeOfEachCallAndTheDenial(t *testing.T) {
	t.Parallel()
	h := startHouse(t)
	c := newRawClient(t, h)
	s := open(t, h, c.login(t, "alice").AccessToken)
	s.call(t, "list_messages", `{"limit":2}`)
	s.call(t, "list_messages", `{"limit":10000}`)
	s.call(t, "delete_message", `{"id":"m1"}`)
	s.call(t, "read_message", `{"id":"m2"}`)
	h.stop(t)
	lines := h.audit(t)

	for _, tool := range []string{"list_messages", "read_message"} {
		var intents, outcomes []line
		for _, l := range about(lines, "alice", tool) {
			switch l.Kind {
			case "intent":
				intents = append(intents, l)
			case "outcome":
				outcomes = append(outcomes, l)
			}
		}
		if len(intents) != 1 || len(outcomes) != 1 {
			t.Fatalf("%s has %d intents and %d outcomes, want one of each", tool, len(intents), len(outcomes))
		}
		i, o := intents[0], outcomes[0]
		if i.Call == "" || i.Call != o.Call || slices.Index(kinds(lines, i.Call), "intent") != 0 {
			t.Errorf("%s: intent %+v and outcome %+v do not belong together in this order", tool, i, o)
		}
		if i.Decision != "allow" || i.Server != "mail" || i.Client != c.id || i.ArgumentsDigest == "" || i.PolicyDigest == "" || o.Status == "" {
			t.Errorf("%s: intent %+v, outcome %+v: something is missing", tool, i, o)
		}
	}
	for tool, want := range map[string]int{"list_messages": 1, "delete_message": 1} {
		denials := slices.DeleteFunc(about(lines, "alice", tool), func(l line) bool { return l.Kind != "denial" })
		if len(denials) != want || denials[0].Decision != "deny" || denials[0].Reason == "" {
			t.Errorf("%s has the denials %+v, want %d with a reason", tool, denials, want)
		}
	}
	if secret := "GB82 WEST"; strings.Contains(readFile(t, h.auditFile()), secret) {
		t.Errorf("the audit log holds the mail's text %q", secret)
	}
}

// kinds lists the kinds of a call's lines, in their order.
func kinds(lines []line, call string) []string {
	var out []string
	for _, l := range lines {
		if l.Call == call {
			out = append(out, l.Kind)
		}
	}
	return out
}

func TestAuditVerifyNamesTheChangedLine(t *testing.T) {
	t.Parallel()
	h := startHouse(t)
	s := open(t, h, newRawClient(t, h).login(t, "alice").AccessToken)
	s.call(t, "list_messages", `{"limit":2}`)
	h.stop(t)
	if code, printed := command(t, "audit", "verify", "--data", h.data); code != 0 {
		t.Fatalf("audit verify of an untouched log: exit code %d\n%s", code, printed)
	}

	log := readFile(t, h.auditFile())
	before, after, ok := strings.Cut(log, `"subject":"alice"`)
	if !ok {
		t.Fatalf("no line about alice in\n%s", log)
	}
	if err := os.WriteFile(h.auditFile(), []byte(before+`"subject":"blice"`+after), 0o600); err != nil {
		t.Fatal(err)
	}
	named := regexp.MustCompile(fmt.Sprintf(`\bline %d\b`, strings.Count(before, "\n")+1))
	if code, printed := command(t, "audit", "verify", "--data", h.data); code == 0 || !named.MatchString(printed) {
		t.Errorf("audit verify after one byte was changed: exit code %d, want another and %s in\n%s", code, named, printed)
	}
}

func readFile(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestMailServerRejectsACallThatSkipsTheGateway(t *testing.T) {
	t.Parallel()
	h := startHouse(t)
	accessToken := newRawClient(t, h).login(t, "alice").AccessToken
	for name, token := range map[string]string{"no token": "", "the client's access token": accessToken} {
		resp, body := send(t, http.MethodPost, h.mail, mcpHeader(token),
			`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"list_messages","arguments":{}}}`)
		if resp.StatusCode != http.StatusUnauthorized {
			t.Errorf("%s: status %d, want 401\n%s", name, resp.StatusCode, body)
		}
	}
}

// null is no object, and would end an upstream that is made with the Go SDK v1.8.0.
func TestNullArgumentsAreRefusedAtTheGateway(t *testing.T) {
	t.Parallel()
	h := startHouse(t)
	s := open(t, h, newRawClient(t, h).login(t, "alice").AccessToken)
	if _, body := s.call(t, "list_messages", `null`); !bytes.Contains(body, []byte(`"code":-32602`)) {
		t.Errorf("list_messages(null) = %s, want the JSON-RPC error %d", body, invalidParams)
	}
	if _, body := s.call(t, "list_messages", `{}`); !bytes.Contains(body, []byte("Gale warning")) {
		t.Errorf("list_messages afterwards = %s", body)
	}
}

func TestSessionRejectsAnotherPersonsToken(t *testing.T) {
	t.Parallel()
	h := startHouse(t)
	c := newRawClient(t, h)
	s := open(t, h, c.login(t, "bob").AccessToken)
	s.accessToken = c.login(t, "alice").AccessToken
	if resp, body := s.call(t, "list_messages", `{}`); resp.StatusCode != http.StatusNotFound { // as for a session that there never was
		t.Errorf("alice in bob's session: status %d, want 404\n%s", resp.StatusCode, body)
	}
}
