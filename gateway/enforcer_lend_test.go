package gateway_test

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/wicketgate/wicketgate/gateway"
	"github.com/wicketgate/wicketgate/internal/audit"
	"github.com/wicketgate/wicketgate/internal/credential"
	"github.com/wicketgate/wicketgate/internal/redact"
	"github.com/wicketgate/wicketgate/internal/token"
)

// newLegacyEnforcer is one in front of a server that takes a name and a password.
func newLegacyEnforcer(t *testing.T, all bool, change ...func(*gateway.EnforcerConfig)) (*source, *beside) {
	src, _ := legacy(t, all)
	return src, newEnforcer(t, append(change, func(c *gateway.EnforcerConfig) {
		c.Credentials, c.CredentialForAll = src, all
		c.Transport = credential.NewTransport(http.DefaultTransport, http.DefaultTransport.(*http.Transport))
	})...)
}

// TestEnforcerCallsWithACredentialOnceTheTokenIsSpent: no token comes to the server, and none
// that was used before mints anything.
func TestEnforcerCallsWithACredentialOnceTheTokenIsSpent(t *testing.T) {
	src, b := newLegacyEnforcer(t, false)
	raw := b.toolToken("list_messages", limit2)
	if r := b.send(raw, listCall); !strings.Contains(r.body, "done") {
		t.Fatal(r)
	}
	src.settled()
	m, e := src.last(), b.last()
	if e.Kind != audit.Outcome || e.Lease != "database/creds/mail/1" || e.Call != m.ID || m.Call.ID() != e.TokenID || m.Call.Details().Tool != "list_messages" {
		t.Errorf("%+v; %+v", e, m.Request)
	}
	if r := b.send(raw, listCall); !strings.Contains(r.body, "has been used") || len(src.all()) != 1 {
		t.Errorf("%s; %d credentials", r, len(src.all()))
	}
	if r := b.send(b.sessionToken(), `{"jsonrpc":"2.0","id":7,"method":"tools/list","params":{}}`); !strings.Contains(r.body, "read_message") || len(src.all()) != 1 {
		t.Errorf("%s; %d credentials", r, len(src.all()))
	}
	for _, got := range b.up.everything() {
		if has := got.header.Get("X-Db-Password") != ""; has != (got.method == "tools/call") {
			t.Errorf("%s: %v", got.method, got.header)
		}
	}
	src.fails = fmt.Errorf("obtain: %w", sealed{})
	if r := b.send(b.toolToken("list_messages", limit2), listCall); !strings.Contains(r.body, "ask whoever runs it") || b.last().Reason != "vault_sealed" {
		t.Errorf("%s", r)
	}
	b.tokenless(raw)
}

// Where the server answers nothing without one, every message has one, also those by which
// definitions are read; what is kept for a session ends with it.
func TestEnforcerOfAServerThatWantsItsKeyWithEveryMessage(t *testing.T) {
	src, b := newLegacyEnforcer(t, true)
	tok := b.sessionToken()
	opened := b.send(tok, initialize)
	id := opened.header.Get("Mcp-Session-Id")
	if id == "" {
		t.Fatal(opened)
	}
	b.send(b.toolToken("list_messages", limit2), listCall, "Mcp-Session-Id", id)
	session := src.last().Session
	b.do("DELETE", b.url, tok, "", "Mcp-Session-Id", id)
	if got := src.ended(); !slices.Equal(got, []string{session}) {
		t.Errorf("%q were ended, want %q", got, session)
	}
	for _, got := range b.up.everything() {
		if got.header.Get("X-Db-Password") == "" {
			t.Errorf("%s came without a credential", got.method)
		}
	}
	if len(b.up.calls("tools/list")) != 1 || len(b.up.calls("DELETE")) != 1 {
		t.Errorf("%d lists", len(b.up.calls("tools/list")))
	}
	listed := 0
	for _, e := range b.lines() {
		if e.Action == "tools/list" && (e.Kind == audit.Intent || e.Kind == audit.Outcome && e.Lease != "") {
			listed++
		}
	}
	if listed != 2 {
		t.Errorf("the reading of definitions has %d lines", listed)
	}
	src.settled()
	b.tokenless()
}

// TestEnforcerCutsACallWithItsCredential, and with its caller.
func TestEnforcerCutsACallWithItsCredential(t *testing.T) {
	for _, ends := range []string{"credential_ended", "the caller goes"} {
		src, b := newLegacyEnforcer(t, false)
		b.send(b.toolToken("list_messages", limit2), listCall)
		d := b.up.hold(t, "tools/call")
		ctx, leave := context.WithCancel(t.Context())
		req := must(http.NewRequestWithContext(ctx, "POST", b.url, strings.NewReader(listCall)))(t)
		set(req.Header, []string{"Content-Type", "application/json", "Authorization", "Bearer " + b.toolToken("list_messages", limit2)})
		done := make(chan string, 1)
		go func() {
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				done <- err.Error()
				return
			}
			done <- read(t, resp).body
		}()
		<-d.arrived
		if ends == "credential_ended" {
			close(src.last().done)
		} else {
			leave()
		}
		said := <-done
		<-d.gone
		src.settled()
		if ends == "credential_ended" && (!strings.Contains(said, "ended with its credential") || b.last().Reason != "credential_ended") {
			t.Errorf("%s %+v", said, b.last())
		}
		leave()
	}
}

// TestEnforcerTellsNobodyTheCredential that a server says back to it.
func TestEnforcerTellsNobodyTheCredential(t *testing.T) {
	for place, put := range surfaces {
		t.Run(place, func(t *testing.T) {
			src, b := newLegacyEnforcer(t, true)
			src.secret = func(string) string { return awkward }
			b.up.onEvents("")
			b.up.onEvents("subscriptions/listen")
			put(b.up, awkward)
			var said strings.Builder
			hear := func(r reply) { fmt.Fprintln(&said, r.status, r.header, r.body) }
			tok := b.sessionToken()
			hear(b.send(tok, initialize))
			for _, m := range []string{"tools/list", "prompts/list", "resources/list", "resources/templates/list", "server/discover"} {
				hear(b.send(tok, `{"jsonrpc":"2.0","id":7,"method":"`+m+`","params":{}}`))
			}
			if place != "the name of a tool" {
				hear(b.send(b.toolToken("list_messages", limit2), listCall))
			}
			hear(b.send(b.mint(token.ResourceScope(), token.Details{Resource: "mail://inbox/1"}), `{"jsonrpc":"2.0","id":7,"method":"resources/read","params":{"uri":"mail://inbox/1"}}`))
			hear(b.do("GET", b.url, tok, ""))
			said.WriteString(fmt.Sprint(b.lines()))
			if how := leaks(said.String(), awkward); how != "" {
				t.Errorf("the secret is there, %s: %s", how, said.String())
			}
			src.settled()
		})
	}
}

// The Redactor of an enforcer looks at results, errors and what comes before them, and the
// count is in the audit log.
func TestEnforcerRedacts(t *testing.T) {
	r := must(redact.New(redact.Config{Email: redact.Mask}))(t)
	b := newEnforcer(t, func(c *gateway.EnforcerConfig) { c.Redactor = r })
	for answer, want := range map[string]string{
		event("", `{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":"from `+leaked+`"}}`) + event("", `{"jsonrpc":"2.0","id":ID,"result":{"content":[]}}`): `"data":"from [email]"`,
		event("", `{"jsonrpc":"2.0","id":ID,"result":{"content":[{"type":"text","text":"from `+leaked+`"}]}}`):                                                                              `"text":"from [email]"`,
		event("", `{"jsonrpc":"2.0","id":ID,"error":{"code":1,"message":"from `+leaked+`"}}`):                                                                                               `"message":"from [email]"`,
	} {
		b.up.onEvents("tools/call", answer)
		said := b.send(b.toolToken("list_messages", limit2), listCall)
		if strings.Contains(said.body, leaked) || !strings.Contains(said.body, want) {
			t.Errorf("%s", said)
		}
	}
	if e := b.last(); e.Redactions > 1 {
		t.Errorf("%+v", e)
	}
}
