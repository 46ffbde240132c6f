package gateway_test

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"testing"
	"time"

	"github.com/wicketgate/wicketgate/gateway"
	"github.com/wicketgate/wicketgate/internal/audit"
	"github.com/wicketgate/wicketgate/internal/keys"
	"github.com/wicketgate/wicketgate/internal/oauth"
	"github.com/wicketgate/wicketgate/internal/sqlite"
	"github.com/wicketgate/wicketgate/internal/token"
	"github.com/wicketgate/wicketgate/internal/web"
)

// beside is an Enforcer with everything real around it but the server, as world is.
type beside struct {
	*world
	parent token.Access
	now    *clock
}

// newEnforcer starts one. It was started a minute ago.
func newEnforcer(t *testing.T, change ...func(*gateway.EnforcerConfig)) *beside {
	t.Helper()
	ctx, dir := context.Background(), t.TempDir()
	now := &clock{t: time.Now()}
	w := &world{t: t, now: now, up: newUpstream(t), audit: filepath.Join(dir, "audit.jsonl")}
	w.store = must(sqlite.Open(ctx, filepath.Join(dir, "db")))(t)
	t.Cleanup(func() { w.store.Close() })
	w.ring = must(keys.Open(ctx, w.store, keys.KEK{1}, now.Now))(t)
	log := must(audit.Open(ctx, audit.Config{Path: w.audit, Signer: w.ring.AuditSigner(), Heads: w.store, Now: now.Now}))(t)
	t.Cleanup(func() { log.Close() })
	w.minter = token.NewMinter(token.MinterConfig{Issuer: issuer, Signer: w.ring, Now: now.Now})
	srv := httptest.NewUnstartedServer(nil)
	w.base = "http://" + srv.Listener.Addr().String()
	w.url = w.base + "/mcp"
	cfg := gateway.EnforcerConfig{Resource: must(oauth.ParseResource(w.url))(t), URL: w.up.URL, Single: gateway.NewSpentHere(now.Now), Since: now.Now().Add(-time.Minute),
		Verifier: token.NewVerifier(token.VerifierConfig{Issuer: issuer, Keys: w.ring, Now: now.Now}), Audit: log, Refusals: audit.NewRefusals(log, time.Minute, now.Now, 64),
		Transport: http.DefaultTransport, Log: slog.New(slog.DiscardHandler), Now: now.Now}
	for _, c := range change {
		c(&cfg)
	}
	m := web.Middleware{Hosts: []string{srv.Listener.Addr().String()}, Log: slog.New(slog.DiscardHandler)}
	mux := http.NewServeMux()
	must(gateway.NewEnforcer(cfg))(t).Register(mux, m.SameSite)
	w.handler = m.Wrap(mux)
	srv.Config.Handler = w.handler
	srv.Start()
	t.Cleanup(srv.Close)
	b := &beside{world: w, now: now}
	_, b.parent = w.access(tokenSpec{subject: "alice", scope: "mcp:tools mcp:prompts mcp:resources"})
	return b
}

// mint is a call token for the enforcer's resource; change may make it another.
func (b *beside) mint(scope token.CallScope, d token.Details, change ...func(*token.CallSpec)) string {
	b.t.Helper()
	d.Server = "mail"
	s := token.CallSpec{Audience: b.url, Presenter: gatewayClient, Scope: scope, Details: d}
	for _, c := range change {
		c(&s)
	}
	return must(b.minter.Call(b.parent, s))(b.t).Bearer()
}

func (b *beside) sessionToken() string { return b.mint(token.SessionScope(), token.Details{}) }

// toolToken is for a call of the tool, as the server defines it now.
func (b *beside) toolToken(name, arguments string, change ...func(*token.CallSpec)) string {
	b.t.Helper()
	d := token.Details{ArgumentsDigest: must(token.Digest([]byte(arguments)))(b.t), DefinitionDigest: b.definition(name)}
	return b.mint(must(token.ToolScope(name))(b.t), d, change...)
}

func (b *beside) definition(name string) string {
	b.t.Helper()
	for _, d := range toolDefinitions(b.t, b.up) {
		if d.name == name {
			return must(token.DigestDefinition([]byte(d.json)))(b.t)
		}
	}
	b.t.Fatalf("the server has no tool %s", name)
	return ""
}

// send posts a message.
func (b *beside) send(bearer, body string, headers ...string) reply {
	b.t.Helper()
	return b.do("POST", b.url, bearer, body, headers...)
}

const listCall = `{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"list_messages","arguments":{"limit":2}}}`

const limit2 = `{"limit":2}`
