package gateway_test

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/wicketgate/wicketgate/gateway"
	"github.com/wicketgate/wicketgate/internal/audit"
	"github.com/wicketgate/wicketgate/internal/revocation"
	"github.com/wicketgate/wicketgate/internal/token"
)

// TestFrozenServerIsSentNothing, whatever the message, and the log says why.
func TestFrozenServerIsSentNothing(t *testing.T) {
	var view *revocation.View
	w := newWorld(t, func(c *gateway.Config) {
		view = revocation.NewView(revocation.Config{Store: c.Pins.(revocation.Store), Issuer: issuer, Now: c.Now})
		c.Freezes = view
	})
	poll := func() {
		if err := view.Poll(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	poll()
	s := w.session(tokenSpec{subject: "alice"})
	e := revocation.New(revocation.Server, "mail", w.now.Now())
	e.Frozen = true
	if err := w.store.Revoke(t.Context(), e); err != nil {
		t.Fatal(err)
	}
	poll()
	for _, body := range []string{initialize, `{"jsonrpc":"2.0","id":1,"method":"tools/list"}`, `{"jsonrpc":"2.0","id":1,"method":"ping"}`,
		`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"list_messages","arguments":{}}}`, `{"jsonrpc":"2.0","method":"notifications/initialized"}`} {
		if r := s.post(body); r.status != http.StatusServiceUnavailable || !strings.Contains(r.body, "stopped by an operator") {
			t.Errorf("%s: %s", body, r)
		}
		if l := w.last(); l.Kind != audit.Denial || l.Reason != "server_frozen" || l.Subject != "alice" {
			t.Errorf("%s: audit line %+v", body, l)
		}
	}
	if r := s.do("DELETE", s.url, s.bearer, "", "Mcp-Session-Id", s.id); r.status != http.StatusServiceUnavailable {
		t.Errorf("DELETE: %s", r)
	}
	w.now.Advance(revocation.MaxAge + time.Second)
	if r := s.post(`{"jsonrpc":"2.0","id":1,"method":"ping"}`); r.status != http.StatusServiceUnavailable || w.last().Reason != "revocations_stale" {
		t.Errorf("with a view that is too old: %s", r)
	}
}

// judge is a gateway.Verifier whose verdict stands.
type judge struct {
	gateway.Verifier
	verdict error
}

func (j judge) ParseAccess(context.Context, string, string, token.Confirmation) (token.Access, error) {
	return token.Access{}, j.verdict
}

// TestStaleViewDoesNotCostTheClientItsToken: 401 would have it thrown away.
func TestStaleViewDoesNotCostTheClientItsToken(t *testing.T) {
	for verdict, want := range map[error]int{token.ErrStale: 503, token.ErrRevoked: 401, revocation.ErrFrozen: 401} {
		w := newWorld(t, func(c *gateway.Config) { c.Verifier = judge{c.Verifier, verdict} })
		r := w.do("POST", w.url, "x", initialize)
		if r.status != want || (r.header.Get("WWW-Authenticate") == "") != (want == 503) {
			t.Errorf("%v: %s, WWW-Authenticate %q", verdict, r, r.header.Get("WWW-Authenticate"))
		}
	}
}
