package authz_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/wicketgate/wicketgate/authz"
	"github.com/wicketgate/wicketgate/internal/identity"
	"github.com/wicketgate/wicketgate/internal/token"
)

// postForm posts a form to an endpoint for clients; the client, unless nil, says who
// it is in the body.
func (w *world) postForm(path string, c *client, form url.Values) answer {
	w.t.Helper()
	f := with(url.Values{}, change(form))
	if c != nil {
		with(f, change{"client_id": {c.ID}, "client_secret": {c.Secret}})
	}
	return w.do(w.request("POST", path, "application/x-www-form-urlencoded", f.Encode()))
}

// revoke revokes a token, which must succeed.
func (w *world) revoke(c client, token string, changes ...change) {
	w.t.Helper()
	a := w.postForm("/oauth2/revoke", &c, with(url.Values{"token": {token}}, changes...))
	if a.status != http.StatusOK || a.body != "" || a.header.Get("Cache-Control") != "no-store" {
		w.t.Errorf("revoke: %d %s", a.status, a.body)
	}
}

// wantActive checks what the introspection endpoint says to the client.
func (w *world) wantActive(by client, token string, active bool) {
	w.t.Helper()
	a := w.postForm("/oauth2/introspect", &by, url.Values{"token": {token}})
	if a.status != http.StatusOK || strings.HasPrefix(a.body, `{"active":true,`) != active || !active && a.body != `{"active":false}` {
		w.t.Errorf("introspection: %d %s, want active %v", a.status, a.body, active)
	}
}

// agent is a workload of the configuration.
var agent = client{ID: "agent", Secret: agentSecret}

// workload is a token that the agent got for itself.
func (w *world) workload() string {
	w.t.Helper()
	a := w.token(&agent, url.Values{"grant_type": {"client_credentials"}, "resource": {w.files()}})
	w.wantOK(a)
	return a.AccessToken
}

// newCalls is a world whose call tokens can be minted by the test: the client
// presents what was narrowed from the parent.
func newCalls(t testing.TB) (*world, func(parent, presenter, audience string) string) {
	t.Helper()
	var minter *token.Minter
	w := newWorld(t, func(c *authz.Config) { minter = c.Minter; withResourceServers(c) })
	w.putResourceServers()
	return w, func(parent, presenter, audience string) string {
		t.Helper()
		access := must(w.verifier.ParseAccess(t.Context(), parent, w.mail(), token.Confirmation{}))(t)
		call := must(minter.Call(access, token.CallSpec{Audience: audience, Presenter: identity.MustClientID(presenter),
			Scope: must(token.ToolScope("send_message"))(t), Details: token.Details{Server: "mail", ArgumentsDigest: "sha-256:x"}}))(t)
		return call.Bearer()
	}
}

// foreign is an access token as another server, or another key, would mint it: its
// header is that of a token of ours.
func (w *world) foreign(issuer, ours string) string {
	w.t.Helper()
	return w.signed(issuer, newTestKey(w.t, header(w.t, ours)["kid"].(string)))
}

// signed is a workload's token for the agent.
func (w *world) signed(issuer string, key testKey) string {
	w.t.Helper()
	raw, _, err := token.NewMinter(token.MinterConfig{Issuer: issuer, Signer: key, Now: w.clock.Now}).Access(token.AccessSpec{Subject: subject(w.t, "agent"),
		ClientID: identity.MustClientID("agent"), Audience: w.mail(), Scope: must(token.ParseScope("mcp:tools"))(w.t), Lifetime: time.Hour})
	noError(w.t, err)
	return raw
}

// header reads the header of a token without verifying it.
func header(t testing.TB, raw string) map[string]any {
	t.Helper()
	members := map[string]any{}
	noError(t, json.Unmarshal(must(base64.RawURLEncoding.DecodeString(strings.Split(raw, ".")[0]))(t), &members))
	return members
}

// testKey is a key of the test's own, and the key set that has it.
type testKey struct{ key token.SigningKey }

func newTestKey(t testing.TB, kid string) testKey {
	t.Helper()
	return testKey{token.SigningKey{KeyID: kid, Algorithm: "ES256", Key: must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))(t)}}
}

func (k testKey) SigningKey() token.SigningKey { return k.key }

func (k testKey) Key(_ context.Context, kid string) (token.PublicKey, error) {
	if kid != k.key.KeyID {
		return token.PublicKey{}, token.ErrUnknownKey
	}
	return token.PublicKey{Algorithm: k.key.Algorithm, Key: k.key.Key.Public()}, nil
}

// unsigned is the token with alg none.
func unsigned(raw string) string {
	header := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none","typ":"at+jwt"}`))
	return header + "." + strings.Split(raw, ".")[1] + "."
}

// unknown are values that are no token, or none any more.
func (w *world) unknown(c client) map[string]string {
	w.t.Helper()
	expired := w.tokens(c).AccessToken
	w.clock.advance(accessLifetime)
	good := w.tokens(c)
	return map[string]string{
		"a refresh token that never was": "wg_rt_" + strings.Repeat("A", 43),
		"a refresh token that is cut":    good.RefreshToken[:len(good.RefreshToken)-1],
		"a refresh token without prefix": strings.TrimPrefix(good.RefreshToken, "wg_rt_"),
		"a code":                         w.approve(c).Get("code"),
		"garbage":                        "x",
		"a space":                        " ",
		"a token and a space":            good.AccessToken + " ",
		"a long one":                     strings.Repeat("x", 60_000),
		"an expired token":               expired,
		"a token with a cut signature":   good.AccessToken[:len(good.AccessToken)-2],
		"a token of another key":         w.foreign(w.url, good.AccessToken),
		"a token of another issuer":      w.foreign("https://evil.example", good.AccessToken),
		"an unsigned token":              unsigned(good.AccessToken),
		"an ID token":                    base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"ES256","kid":"x","typ":"JWT"}`)) + good.AccessToken[strings.Index(good.AccessToken, "."):],
		"the hash of a refresh token":    string(sum(good.RefreshToken)),
	}
}

var errKeys = errors.New("the keys cannot be read")

// brokenKeys is a key set that cannot tell.
type brokenKeys struct{}

func (brokenKeys) Key(context.Context, string) (token.PublicKey, error) {
	return token.PublicKey{}, errKeys
}
