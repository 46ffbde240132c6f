package remote_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/google/go-cmp/cmp"

	"github.com/wicketgate/wicketgate/internal/identity"
	"github.com/wicketgate/wicketgate/internal/oauth"
	"github.com/wicketgate/wicketgate/internal/remote"
	"github.com/wicketgate/wicketgate/internal/revocation"
	"github.com/wicketgate/wicketgate/internal/token"
)

const (
	issuer   = "https://as.example"
	mail     = issuer + "/mcp/mail"
	upstream = "https://mail.internal/mcp"
)

var (
	ourKey, strangerKey *ecdsa.PrivateKey
	gatewayID           = identity.MustClientID("wicketgate-gateway")
	ourID               = identity.MustClientID("spiffe://example.org/wicketgate/gateway")
)

func TestMain(m *testing.M) {
	for _, k := range []**ecdsa.PrivateKey{&ourKey, &strangerKey} {
		var err error
		if *k, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
			panic(err)
		}
	}
	os.Exit(m.Run())
}

func jwk(kid string, key any) jose.JSONWebKey {
	return jose.JSONWebKey{Key: key, KeyID: kid, Algorithm: "ES256", Use: "sig"}
}

func writeKeys(w http.ResponseWriter, keys ...jose.JSONWebKey) {
	_ = json.NewEncoder(w).Encode(jose.JSONWebKeySet{Keys: keys})
}

// signer signs as the authorization server.
type signer struct{ key *ecdsa.PrivateKey }

func (s signer) SigningKey() token.SigningKey {
	return token.SigningKey{KeyID: "k1", Algorithm: "ES256", Key: s.key}
}

// world is an authorization server that answers what a test wants, over HTTPS, and what
// a gateway has of it.
type world struct {
	t      *testing.T
	tls    *httptest.Server
	as     *remote.Server
	x      *remote.Exchanger
	minter *token.Minter
	raw    string // of parent
	parent token.Access
	tool   token.Tool

	mu     sync.Mutex // guards what follows
	answer http.HandlerFunc
	forms  []url.Values
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, minter: minter(ourKey)}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /oauth2/jwks", func(rw http.ResponseWriter, _ *http.Request) { writeKeys(rw, jwk("k1", ourKey.Public())) })
	mux.HandleFunc("POST /", func(rw http.ResponseWriter, r *http.Request) {
		if err := r.ParseForm(); err != nil {
			t.Error(err)
		}
		w.mu.Lock()
		w.forms = append(w.forms, r.PostForm)
		answer := w.answer
		w.mu.Unlock()
		answer(rw, r)
	})
	w.tls = httptest.NewTLSServer(mux)
	t.Cleanup(w.tls.Close)
	w.as = remote.New(w.config(w.tls.Client().Transport))
	verifier := token.NewVerifier(token.VerifierConfig{Issuer: issuer, Keys: w.as.Keys(), Now: time.Now})
	w.x = remote.NewExchanger(w.as, verifier)
	w.raw, _ = w.mint("alice", mail)
	var err error
	if w.parent, err = verifier.ParseAccess(t.Context(), w.raw, mail, token.Confirmation{}); err != nil {
		t.Fatal(err)
	}
	raw, _, err := w.minter.Tool(w.parent, token.ToolSpec{Child: token.Child{Audience: mail, ClientID: identity.MustClientID("agent")}, Scope: listMessages, Details: details})
	if err == nil {
		w.tool, err = verifier.ParseTool(t.Context(), raw, mail, token.Confirmation{})
	}
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *world) config(t http.RoundTripper) remote.Config {
	return remote.Config{URL: w.tls.URL, Transport: t, Now: time.Now, ClientID: func() (identity.ClientID, error) { return ourID, nil }}
}

func minter(key *ecdsa.PrivateKey) *token.Minter {
	return token.NewMinter(token.MinterConfig{Issuer: issuer, Signer: signer{key}, Now: time.Now})
}

var (
	listMessages, _ = token.ToolScope("list_messages")
	readMessage, _  = token.ToolScope("read_message")
	details         = token.Details{Server: "mail", ArgumentsDigest: "a", DefinitionDigest: "d", PolicyDigest: "p"}
	spec            = token.CallSpec{Audience: upstream, Presenter: gatewayID, Scope: listMessages, Details: details}
)

func (w *world) mint(subject, audience string) (string, token.Access) {
	w.t.Helper()
	return w.mintFor(identity.MustClientID("editor"), subject, audience)
}

func (w *world) mintFor(client identity.ClientID, subject, audience string) (string, token.Access) {
	w.t.Helper()
	s, err := identity.ParseSubject(subject)
	if err != nil {
		w.t.Fatal(err)
	}
	scope, err := token.ParseScope("mcp:tools mcp:prompts mcp:resources")
	if err != nil {
		w.t.Fatal(err)
	}
	raw, a, err := w.minter.Access(token.AccessSpec{Subject: s, ClientID: client, Audience: audience, Scope: scope, Txn: "grant-1", Lifetime: 5 * time.Minute})
	if err != nil {
		w.t.Fatal(err)
	}
	return raw, a
}

// callToken is what the authorization server mints of a parent.
func (w *world) callToken(m *token.Minter, parent token.Access, change func(*token.CallSpec)) string {
	w.t.Helper()
	s := spec
	if change != nil {
		change(&s)
	}
	c, err := m.Call(parent, s)
	if err != nil {
		w.t.Fatal(err)
	}
	return c.Bearer()
}

func (w *world) answers(h http.HandlerFunc) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.answer = h
}

// lastForm is what was asked last.
func (w *world) lastForm() url.Values {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.forms[len(w.forms)-1]
}

// text answers with a status and a body.
func text(status int, contentType, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", contentType)
		w.WriteHeader(status)
		fmt.Fprint(w, body)
	}
}

func issued(raw string) http.HandlerFunc {
	return text(200, "application/json", `{"access_token":"`+raw+`","token_type":"Bearer","issued_token_type":"`+oauth.TokenTypeAccessToken+`","expires_in":60,"scope":"tool:list_messages"}`)
}

func TestCallIsAnExchange(t *testing.T) {
	w := newWorld(t)
	want := w.callToken(w.minter, w.parent, nil)
	w.answers(issued(want))
	got, err := w.x.Call(t.Context(), w.parent, spec)
	if err != nil || got.Bearer() != want {
		t.Fatalf("Call = %v, %v", got, err)
	}
	if diff := cmp.Diff(url.Values{
		"grant_type": {oauth.GrantTokenExchange}, "client_id": {ourID.String()}, "resource": {upstream}, "scope": {"tool:list_messages"},
		"subject_token": {w.raw}, "subject_token_type": {oauth.TokenTypeAccessToken},
		"authorization_details": {`[{"type":"mcp_tool_call","server":"mail","tool":"list_messages","arguments_digest":"a","definition_digest":"d","policy_digest":"p"}]`},
	}, w.lastForm()); diff != "" {
		t.Error(diff)
	}
}

// TestEveryKindOfCallIsAnExchange, and what is answered for one is not taken for another.
func TestEveryKindOfCallIsAnExchange(t *testing.T) {
	w := newWorld(t)
	prompt, err := token.PromptScope("list_messages")
	if err != nil {
		t.Fatal(err)
	}
	kinds := map[string]token.CallSpec{
		`[{"type":"mcp_prompt_get","server":"mail","prompt":"list_messages","arguments_digest":"a"}]`: {Scope: prompt, Details: token.Details{Server: "mail", ArgumentsDigest: "a"}},
		`[{"type":"mcp_resource_read","server":"mail","resource":"file:///a"}]`:                       {Scope: token.ResourceScope(), Details: token.Details{Server: "mail", Resource: "file:///a"}},
		`[{"type":"mcp_resource_read","server":"mail","resource":"file:///b"}]`:                       {Scope: token.ResourceScope(), Details: token.Details{Server: "mail", Resource: "file:///b"}},
		`[{"type":"mcp_tool_call","server":"mail","tool":"list_messages","arguments_digest":"a"}]`:    {Scope: listMessages, Details: token.Details{Server: "mail", ArgumentsDigest: "a"}},
	}
	kinds[`[{"type":"mcp_tool_call","server":"mail","tool":"list_messages","arguments_digest":"a","approval":"AB23"}]`] = token.CallSpec{Scope: listMessages, Details: token.Details{Server: "mail", ArgumentsDigest: "a", Approval: "AB23"}}
	for details, s := range kinds {
		s.Audience, s.Presenter = upstream, gatewayID
		for answered, other := range kinds {
			w.answers(issued(w.callToken(w.minter, w.parent, func(s *token.CallSpec) { s.Scope, s.Details = other.Scope, other.Details })))
			_, err := w.x.Call(t.Context(), w.parent, s)
			if answered != details {
				w.checkError(t, err, remote.Malformed)
			} else if err != nil {
				t.Errorf("%s: %v", details, err)
			}
			if f := w.lastForm(); f.Get("scope") != s.Scope.String() || f.Get("authorization_details") != details {
				t.Errorf("sent %v, want %s", f, details)
			}
		}
	}
}

func TestReaddressSaysNothingThatTheToolTokenSays(t *testing.T) {
	w := newWorld(t)
	call, err := w.minter.Readdress(w.tool, spec)
	if err != nil {
		t.Fatal(err)
	}
	w.answers(issued(call.Bearer()))
	if got, err := w.x.Readdress(t.Context(), w.tool, upstream, gatewayID); err != nil || got.Bearer() != call.Bearer() {
		t.Fatalf("Readdress = %v, %v", got, err)
	}
	if f := w.lastForm(); f.Get("subject_token") != w.tool.SubjectToken() || f.Has("scope") || f.Has("authorization_details") {
		t.Errorf("sent %v", f)
	}
}

func TestOwnIsAnAccessTokenOfOurs(t *testing.T) {
	w := newWorld(t)
	raw, _ := w.mintFor(gatewayID, gatewayID.String(), mail)
	w.answers(issued(raw))
	if own, err := w.x.Own(t.Context(), mail, gatewayID); err != nil || own.SubjectToken() != raw {
		t.Errorf("Own = %v, %v", own, err)
	}
	if f := w.lastForm(); f.Get("grant_type") != oauth.GrantClientCredentials || f.Get("client_id") != ourID.String() || f.Get("resource") != mail {
		t.Errorf("sent %v", f)
	}
}

// TestOwnIsNobodyElsesToken: an answer that was mixed up makes the gateway read a server
// on nobody's behalf but its own.
func TestOwnIsNobodyElsesToken(t *testing.T) {
	w := newWorld(t)
	for name, raw := range map[string]func() (string, token.Access){
		"a caller's":                  func() (string, token.Access) { return w.mint("alice", mail) },
		"somebody's who acts for us":  func() (string, token.Access) { return w.mint(gatewayID.String(), mail) },
		"somebody's for whom we act":  func() (string, token.Access) { return w.mintFor(gatewayID, "alice", mail) },
		"ours, and for another place": func() (string, token.Access) { return w.mintFor(gatewayID, gatewayID.String(), upstream) },
	} {
		t.Run(name, func(t *testing.T) {
			other, _ := raw()
			w.answers(issued(other))
			_, err := w.x.Own(t.Context(), mail, gatewayID)
			w.checkError(t, err, remote.Malformed)
		})
	}
}

// TestNothingIsTakenButWhatWasAskedFor: an authorization server that is not itself, or
// mixes up its answers, gets nobody's call made with somebody else's token.
func TestNothingIsTakenButWhatWasAskedFor(t *testing.T) {
	w := newWorld(t)
	_, bob := w.mint("bob", mail)
	_, through := w.mintFor(identity.MustClientID("browser"), "alice", mail)
	other := func(change func(*token.CallSpec)) string { return w.callToken(w.minter, w.parent, change) }
	good := other(nil)
	for name, tt := range map[string]struct {
		answer http.HandlerFunc
		reason string
	}{
		"no JSON":                    {text(200, "text/html", "<p>welcome"), remote.Malformed},
		"JSON that says it is text":  {text(200, "text/plain", `{"access_token":"`+good+`","token_type":"Bearer"}`), remote.Malformed},
		"half of JSON":               {text(200, "application/json", `{"access_token":"`+good), remote.Malformed},
		"a member twice":             {text(200, "application/json", `{"access_token":"`+good+`","access_token":"`+good+`","token_type":"Bearer"}`), remote.Malformed},
		"no token":                   {text(200, "application/json", `{"token_type":"Bearer"}`), remote.Malformed},
		"a token of another type":    {text(200, "application/json", `{"access_token":"`+good+`","token_type":"DPoP"}`), remote.Malformed},
		"a body without end":         {text(200, "application/json", `{"access_token":"`+strings.Repeat("a", 1<<20)+`"}`), remote.Malformed},
		"what is no token":           {issued("garbage"), remote.Malformed},
		"the token that was sent":    {issued(w.raw), remote.Malformed},
		"signed by somebody else":    {issued(w.callToken(minter(strangerKey), w.parent, nil)), remote.Malformed},
		"for somebody else":          {issued(w.callToken(w.minter, bob, nil)), remote.Malformed},
		"by another actor":           {issued(w.callToken(w.minter, through, nil)), remote.Malformed},
		"for another server":         {issued(other(func(s *token.CallSpec) { s.Audience = "https://files.internal/mcp" })), remote.Malformed},
		"for another tool":           {issued(other(func(s *token.CallSpec) { s.Scope = readMessage })), remote.Malformed},
		"with other arguments":       {issued(other(func(s *token.CallSpec) { s.Details.ArgumentsDigest = "b" })), remote.Malformed},
		"of another definition":      {issued(other(func(s *token.CallSpec) { s.Details.DefinitionDigest = "e" })), remote.Malformed},
		"of another policy":          {issued(other(func(s *token.CallSpec) { s.Details.PolicyDigest = "q" })), remote.Malformed},
		"with another approval":      {issued(other(func(s *token.CallSpec) { s.Details.Approval = "AB23" })), remote.Malformed},
		"for another presenter":      {issued(other(func(s *token.CallSpec) { s.Presenter = identity.MustClientID("mallory") })), remote.Malformed},
		"a refusal":                  {text(400, "application/json", `{"error":"invalid_target","error_description":"no"}`), remote.Refused},
		"a refusal of who we are":    {text(401, "application/json", `{"error":"invalid_client"}`), remote.Refused},
		"a refusal for now":          {text(503, "application/json", `{"error":"temporarily_unavailable"}`), remote.Refused},
		"an error of somebody else":  {text(502, "text/html", "<h1>Bad Gateway</h1>"), remote.Malformed},
		"an error that is no OAuth":  {text(500, "application/json", `{"message":"oops"}`), remote.Malformed},
		"a good token with a status": {text(201, "application/json", `{"access_token":"`+good+`","token_type":"Bearer"}`), remote.Malformed},
		"a redirect": {func(rw http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/elsewhere" {
				t.Error("the redirect was followed")
			}
			http.Redirect(rw, r, "/elsewhere", http.StatusTemporaryRedirect)
		}, remote.Malformed},
		"the end of the connection": {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, remote.Unreachable},
	} {
		t.Run(name, func(t *testing.T) {
			w.answers(tt.answer)
			c, err := w.x.Call(t.Context(), w.parent, spec)
			w.checkError(t, err, tt.reason)
			if err == nil {
				t.Errorf("took %v", c)
			}
		})
	}
	w.answers(issued(good))
	if _, err := w.x.Call(t.Context(), w.parent, spec); err != nil {
		t.Errorf("what was asked for: %v: the test shows nothing", err)
	}
}

// checkError wants the reason, and no token.
func (w *world) checkError(t *testing.T, err error, reason string) {
	t.Helper()
	var known *remote.Failure
	if !errors.As(err, &known) || known.Reason() != reason {
		t.Errorf("%v, want %s", err, reason)
	}
	if err != nil && (strings.Contains(err.Error(), w.raw) || strings.Contains(err.Error(), "eyJ")) {
		t.Errorf("the error holds a token: %v", err)
	}
}

func TestWhoDoesNotAnswerIsToldApart(t *testing.T) {
	w := newWorld(t)
	hangs := make(chan struct{})
	w.answers(func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-hangs:
		case <-r.Context().Done():
		}
	})
	t.Run("in time", func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		_, err := w.x.Call(ctx, w.parent, spec)
		w.checkError(t, err, remote.Timeout)
	})
	close(hangs)
	t.Run("and proves to be it", func(t *testing.T) {
		_, err := remote.NewExchanger(remote.New(w.config(&http.Transport{})), nil).Call(t.Context(), w.parent, spec) // which knows no authority of the server
		w.checkError(t, err, remote.Untrusted)
	})
	t.Run("without an identity of ours", func(t *testing.T) {
		cfg := w.config(w.tls.Client().Transport)
		cfg.ClientID = func() (identity.ClientID, error) { return identity.ClientID{}, errors.New("no SVID") }
		_, err := remote.NewExchanger(remote.New(cfg), nil).Call(t.Context(), w.parent, spec)
		w.checkError(t, err, remote.Unreachable)
	})
	t.Run("at all", func(t *testing.T) {
		w.tls.CloseClientConnections()
		w.tls.Listener.Close()
		_, err := w.x.Call(t.Context(), w.parent, spec)
		w.checkError(t, err, remote.Unreachable)
	})
}

// TestWhatWasNotReceivedIsNotExchanged: a token that was minted here has no form that
// could be sent.
func TestWhatWasNotReceivedIsNotExchanged(t *testing.T) {
	w := newWorld(t)
	_, minted := w.mint("alice", mail)
	if _, err := w.x.Call(t.Context(), minted, spec); err == nil || len(w.forms) != 0 {
		t.Errorf("%v, after %d requests", err, len(w.forms))
	}
}

func TestRevocationsAreReadInOrder(t *testing.T) {
	w := newWorld(t)
	if w.as.State() == nil {
		t.Error("all is well, and nobody was asked")
	}
	now := time.Date(2026, 11, 28, 12, 0, 0, 123456000, time.UTC)
	all := []revocation.Entry{revocation.New(revocation.Grant, "g", now), {Kind: revocation.Server, Name: "mail", Frozen: true, Reason: "odd", By: "op", Created: now, Expires: now}}
	all[0].Seq, all[1].Seq = 8, 9
	body, err := json.Marshal(map[string]any{"entries": all})
	if err != nil {
		t.Fatal(err)
	}
	w.answers(text(200, "application/json", string(body)))
	got, err := w.as.Revocations(t.Context(), 7)
	if diff := cmp.Diff(all, got); err != nil || diff != "" || w.as.State() != nil {
		t.Errorf("%v, %v\n%s", err, w.as.State(), diff)
	}
	if f := w.lastForm(); f.Get("after") != "7" || f.Get("client_id") != ourID.String() {
		t.Errorf("sent %v", f)
	}
	for name, answer := range map[string]http.HandlerFunc{
		"an old one":       text(200, "application/json", `{"entries":[{"kind":"grant","name":"g","seq":7}]}`),
		"out of order":     text(200, "application/json", `{"entries":[{"kind":"grant","name":"g","seq":9},{"kind":"grant","name":"h","seq":8}]}`),
		"no entries":       text(200, "application/json", `{}`),
		"another document": text(200, "application/json", `[]`),
		"no JSON":          text(200, "text/html", ""),
		"no answer":        text(503, "application/json", `{"error":"temporarily_unavailable"}`),
	} {
		t.Run(name, func(t *testing.T) {
			w.answers(answer)
			if got, err := w.as.Revocations(t.Context(), 7); err == nil || w.as.State() == nil {
				t.Errorf("took %v, %v", got, err)
			}
		})
	}
	w.answers(text(200, "application/json", `{"entries":[]}`))
	if got, err := w.as.Revocations(t.Context(), 9); err != nil || len(got) != 0 || w.as.State() != nil {
		t.Errorf("none: %v, %v", got, err)
	}
}

func TestLearnReturnsTheDigestThatStands(t *testing.T) {
	w := newWorld(t)
	w.answers(text(200, "application/json", `{"digest":"d2"}`))
	if got, err := w.as.Learn(t.Context(), "mail", "list_messages", "d1"); err != nil || got != "d2" {
		t.Errorf("%q, %v", got, err)
	}
	w.answers(text(200, "application/json", `{}`))
	_, err := w.as.Learn(t.Context(), "mail", "list_messages", "d1")
	w.checkError(t, err, remote.Malformed)
}

// TestEachRequestHasAnAssertionOfItsOwn, and without one nobody is asked.
func TestEachRequestHasAnAssertionOfItsOwn(t *testing.T) {
	w := newWorld(t)
	made := 0
	cfg := w.config(w.tls.Client().Transport)
	cfg.Assertion = func() (string, error) {
		if made++; made == 3 {
			return "", errors.New("no key")
		}
		return fmt.Sprint("assertion ", made), nil
	}
	as := remote.New(cfg)
	w.answers(text(200, "application/json", `{"entries":[]}`))
	for _, want := range []string{"assertion 1", "assertion 2"} {
		if _, err := as.Revocations(t.Context(), 0); err != nil {
			t.Fatal(err)
		}
		if f := w.lastForm(); f.Get("client_assertion") != want || f.Get("client_assertion_type") != oauth.AssertionJWTBearer || f.Get("client_id") != ourID.String() {
			t.Errorf("asked with %v, want %s", f, want)
		}
	}
	asked := len(w.forms)
	var failure *remote.Failure
	if _, err := as.Revocations(t.Context(), 0); !errors.As(err, &failure) || failure.Reason() != remote.Unreachable || len(w.forms) != asked {
		t.Errorf("without an assertion: %v, asked %d times", err, len(w.forms)-asked)
	}
}
