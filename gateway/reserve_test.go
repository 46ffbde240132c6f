package gateway_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/wicketgate/wicketgate/gateway"
	"github.com/wicketgate/wicketgate/internal/keys"
	"github.com/wicketgate/wicketgate/internal/revocation"
	"github.com/wicketgate/wicketgate/internal/sqlite"
	"github.com/wicketgate/wicketgate/internal/token"
)

// late is a body that comes when something has happened.
type late struct {
	happens func()
	body    io.Reader
}

func (l *late) Read(b []byte) (int, error) {
	if l.happens != nil {
		l.happens()
		l.happens = nil
	}
	return l.body.Read(b)
}

// TestRequestHeldInReserveDiesWithItsToken: one that was admitted before a revocation,
// and whose body comes after it, reaches nobody. The margin is over by then, so that the
// call token's own iat is later than the epoch.
func TestRequestHeldInReserveDiesWithItsToken(t *testing.T) {
	var view *revocation.View
	w := newWorld(t, func(c *gateway.Config) {
		view = revocation.NewView(revocation.Config{Store: c.Pins.(revocation.Store), Issuer: issuer, Now: c.Now})
		ring := must(keys.Open(t.Context(), c.Pins.(*sqlite.Store), keys.KEK{1}, c.Now))(t)
		c.Verifier = token.NewVerifier(token.VerifierConfig{Issuer: issuer, Keys: ring, Now: c.Now, Revocations: view})
	})
	poll := func() {
		if err := view.Poll(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	for i, body := range []string{`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"list_messages","arguments":{}}}`,
		`{"jsonrpc":"2.0","id":1,"method":"tools/list"}`} {
		poll()
		raw, access := w.access(tokenSpec{subject: "alice"})
		s := session{w, raw, w.do("POST", w.url, raw, initialize).header.Get("Mcp-Session-Id")}
		if r := s.post(body); r.status != http.StatusOK {
			t.Fatalf("before: %s", r)
		}
		before := len(w.up.got)
		req := httptest.NewRequest("POST", w.url, &late{body: strings.NewReader(body), happens: func() {
			e := revocation.New([]revocation.Kind{revocation.Token, revocation.Subject}[i], []string{access.ID(), "alice"}[i], w.now.Now())
			if err := w.store.Revoke(t.Context(), e); err != nil {
				t.Error(err)
			}
			w.now.Advance(2 * revocation.Margin)
			poll()
		}})
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("Authorization", "Bearer "+raw)
		req.Header.Set("Mcp-Session-Id", s.id)
		answer := httptest.NewRecorder()
		w.handler.ServeHTTP(answer, req)
		if answer.Code != http.StatusUnauthorized || !strings.Contains(answer.Body.String(), "revoked") {
			t.Errorf("%s: %d %s", body, answer.Code, answer.Body)
		}
		if len(w.up.got) != before {
			t.Errorf("%s reached the server", body)
		}
	}
}
