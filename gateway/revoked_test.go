package gateway_test

import (
	"context"
	"errors"
	"fmt"
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

// TestNotKnowingDoesNotCostTheClientItsToken: 401 would have it thrown away.
func TestNotKnowingDoesNotCostTheClientItsToken(t *testing.T) {
	for verdict, want := range map[error]struct {
		status int
		reason string
	}{
		token.ErrStale: {503, "revocations_stale"}, errors.New("fetch keys: nobody answers"): {503, "keys_unavailable"},
		token.ErrRevoked: {401, "token_revoked"}, revocation.ErrFrozen: {401, "frozen"}, token.ErrSignature: {401, "token_signature"},
	} {
		w := newWorld(t, func(c *gateway.Config) { c.Verifier = judge{c.Verifier, verdict} })
		r := w.do("POST", w.url, "x", initialize)
		if r.status != want.status || (r.header.Get("WWW-Authenticate") == "") != (want.status == 503) || strings.Contains(r.body, "nobody") {
			t.Errorf("%v: %s, WWW-Authenticate %q", verdict, r, r.header.Get("WWW-Authenticate"))
		}
		if l := w.last(); l.Reason != want.reason {
			t.Errorf("%v: audit line %+v", verdict, l)
		}
	}
}

// elsewhere is an exchange at another process, which fails.
type elsewhere struct {
	gateway.Exchanger
	err error
}

func (e elsewhere) Call(context.Context, token.Access, token.CallSpec) (token.Call, error) {
	return token.Call{}, e.err
}

// because is an error that has a word for the audit log.
type because string

func (b because) Error() string  { return "secret details" }
func (b because) Reason() string { return string(b) }

// TestFailedExchangeIsRecordedWithItsReason, and the server is sent nothing.
func TestFailedExchangeIsRecordedWithItsReason(t *testing.T) {
	for _, tt := range []struct {
		err    error
		reason string
	}{
		{because("exchange_untrusted"), "exchange_untrusted"}, {fmt.Errorf("exchange: %w", because("exchange_timeout")), "exchange_timeout"},
		{fmt.Errorf("exchange: %w", token.ErrStale), "revocations_stale"}, {errors.New("secret details"), "exchange_failed"},
	} {
		w := newWorld(t, func(c *gateway.Config) { c.Exchanger = elsewhere{c.Exchanger, tt.err} })
		r := w.do("POST", w.url, w.token(tokenSpec{subject: "alice"}), initialize)
		if !strings.Contains(r.body, "the call could not be made: "+tt.reason) || strings.Contains(r.body, "secret") {
			t.Errorf("%v: %s", tt.err, r)
		}
		if l := w.last(); l.Kind != audit.Outcome || l.Status != "error" || l.Reason != tt.reason || l.Subject != "alice" {
			t.Errorf("%v: audit line %+v", tt.err, l)
		}
		if n := len(w.up.calls("initialize")); n != 0 {
			t.Errorf("%v: the server was sent %d requests", tt.err, n)
		}
	}
}
