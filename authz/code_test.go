package authz_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/wicketgate/wicketgate/authz"
	"github.com/wicketgate/wicketgate/internal/identity"
	"github.com/wicketgate/wicketgate/internal/oauth"
)

// putStatic adds a public client to the configuration.
func (w *world) putStatic(id, redirect string, grants ...string) {
	w.t.Helper()
	noError(w.t, w.server.PutStatic(w.t.Context(), authz.Client{ID: identity.MustClientID(id), AuthMethod: oauth.AuthNone,
		RedirectURIs: []string{redirect}, GrantTypes: grants}))
}

func TestCodeIsRefused(t *testing.T) {
	w := newWorld(t)
	c, other, confidential := w.public(), w.public(), w.confidential()
	tests := map[string]struct {
		from, by client
		change   change
		want     string
	}{
		"wrong verifier":                            {c, c, change{"code_verifier": {strings.Repeat("a", 43)}}, "invalid_grant"},
		"the challenge as verifier":                 {c, c, change{"code_verifier": {challenge}}, "invalid_grant"},
		"verifier one character off":                {c, c, change{"code_verifier": {verifier[:42] + "l"}}, "invalid_grant"},
		"verifier too short":                        {c, c, change{"code_verifier": {verifier[:42]}}, "invalid_grant"},
		"verifier too long":                         {c, c, change{"code_verifier": {strings.Repeat("a", 129)}}, "invalid_grant"},
		"no verifier":                               {c, c, change{"code_verifier": nil}, "invalid_grant"},
		"no verifier from a confidential client":    {confidential, confidential, change{"code_verifier": nil}, "invalid_grant"},
		"empty verifier from a confidential client": {confidential, confidential, change{"code_verifier": {""}}, "invalid_grant"},
		"wrong verifier from a confidential client": {confidential, confidential, change{"code_verifier": {strings.Repeat("a", 43)}}, "invalid_grant"},
		"another public client":                     {c, other, nil, "invalid_grant"},
		"another confidential client":               {c, confidential, nil, "invalid_grant"},
		"a public client for a confidential one":    {confidential, c, nil, "invalid_grant"},
		"another redirect_uri":                      {c, c, change{"redirect_uri": {"http://127.0.0.1:7777/callbacks"}}, "invalid_grant"},
		"another port in redirect_uri":              {c, c, change{"redirect_uri": {"http://127.0.0.1:7778/callback"}}, "invalid_grant"},
		"no redirect_uri though it was sent":        {c, c, change{"redirect_uri": nil}, "invalid_grant"},
		"no code":                                   {c, c, change{"code": nil}, "invalid_request"},
		"empty code":                                {c, c, change{"code": {""}}, "invalid_request"},
		"a code that never was":                     {c, c, change{"code": {"wg_ac_" + strings.Repeat("A", 43)}}, "invalid_grant"},
		"another resource":                          {c, c, change{"resource": {w.files()}}, "invalid_target"},
		"two resources":                             {c, c, change{"resource": {w.mail(), w.mail()}}, "invalid_target"},
		"an internal resource":                      {c, c, change{"resource": {upstreamURI}}, "invalid_target"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			w := w.in(t)
			form := codeForm(test.from, w.approve(test.from).Get("code"))
			w.wantError(w.token(&test.by, with(form, test.change)), 400, test.want)
			// Whoever tried that has not burned the code for its owner.
			w.wantOK(w.token(&test.from, codeForm(test.from, form.Get("code"), codeOnly(test.change, w, test.from))))
		})
	}
}

// codeOnly gets a fresh code where the test had changed the code itself.
func codeOnly(c change, w *world, from client) change {
	if _, ok := c["code"]; ok {
		return change{"code": {w.approve(from).Get("code")}}
	}
	return nil
}

// TestCodeWithoutVerifierAfterAWrongOne is the downgrade of fosite's own PKCE
// store: the wrong try deletes the challenge, the next has none to meet.
func TestCodeWithoutVerifierAfterAWrongOne(t *testing.T) {
	w := newWorld(t)
	c := w.confidential()
	code := w.approve(c).Get("code")
	w.wantError(w.token(&c, codeForm(c, code, change{"code_verifier": {strings.Repeat("a", 43)}})), 400, "invalid_grant")
	w.wantError(w.token(&c, codeForm(c, code, change{"code_verifier": nil})), 400, "invalid_grant")
	w.wantError(w.token(&c, codeForm(c, code, change{"code_verifier": {strings.Repeat("b", 43)}})), 400, "invalid_grant")
}

func TestCodeExpires(t *testing.T) {
	w := newWorld(t)
	c := w.public()
	code := w.approve(c).Get("code")
	late := w.approve(c).Get("code")
	w.clock.advance(codeLifetime - time.Second)
	w.wantOK(w.token(&c, codeForm(c, code)))
	w.clock.advance(time.Second)
	w.wantError(w.token(&c, codeForm(c, late)), 400, "invalid_grant")
}

func TestCodeReplayRevokesTheFamily(t *testing.T) {
	w := newWorld(t)
	c := w.public()
	code := w.approve(c).Get("code")
	first := w.token(&c, codeForm(c, code))
	w.wantOK(first)
	second := w.token(&c, refreshForm(first.RefreshToken))
	w.wantOK(second)
	w.audit.take()
	w.wantError(w.token(&c, codeForm(c, code)), 400, "invalid_grant")
	w.wantError(w.token(&c, refreshForm(second.RefreshToken)), 400, "invalid_grant")
	if got := count(w, "revoke"); got != 1 {
		t.Errorf("%d lines of the revocation, want 1", got)
	}
	w.wantError(w.token(&c, codeForm(c, code)), 400, "invalid_grant")
	if got := count(w, "revoke"); got != 0 {
		t.Errorf("%d more lines for a family that is revoked already: strangers could fill the log", got)
	}
}

// count is how many of the new audit lines have the action.
func count(w *world, action string) (n int) {
	for _, e := range w.audit.take() {
		if e.Action == action {
			n++
		}
	}
	return n
}

func TestCodeReplayByAnotherClientRevokesNothing(t *testing.T) {
	w := newWorld(t)
	c, other := w.public(), w.public()
	code := w.approve(c).Get("code")
	first := w.token(&c, codeForm(c, code))
	w.wantError(w.token(&other, codeForm(other, code)), 400, "invalid_grant")
	w.wantOK(w.token(&c, refreshForm(first.RefreshToken)))
}

func TestCodeOfARevokedFamily(t *testing.T) {
	w := newWorld(t)
	c := w.public()
	code := w.approve(c).Get("code")
	_, a, err := w.store.Code(t.Context(), sum(code))
	noError(t, err)
	noError(t, w.store.RevokeAuthorization(t.Context(), a.ID, w.clock.Now()))
	w.wantError(w.token(&c, codeForm(c, code)), 400, "invalid_grant")
}

func TestSixteenRedemptionsOfOneCode(t *testing.T) {
	w := newWorld(t)
	c := w.public()
	for range 4 {
		form := codeForm(c, w.approve(c).Get("code"))
		ok := parallel(w, 16, func() answer { return w.token(&c, form) })
		if len(ok) > 1 {
			t.Fatalf("%d redemptions of one code", len(ok))
		}
		for _, a := range ok { // the losers were a replay
			w.wantError(w.token(&c, refreshForm(a.RefreshToken)), 400, "invalid_grant")
		}
	}
}

// parallel sends n requests at once; all that do not succeed must be invalid_grant.
func parallel(w *world, n int, send func() answer) (ok []answer) {
	w.t.Helper()
	answers := make([]answer, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { answers[i] = send() })
	}
	wg.Wait()
	for _, a := range answers {
		if a.status == http.StatusOK {
			ok = append(ok, a)
		} else {
			w.wantError(a, 400, "invalid_grant")
		}
	}
	return ok
}

// TestCodeRedeemedBetweenCheckAndUse makes the race of fosite's two steps certain.
func TestCodeRedeemedBetweenCheckAndUse(t *testing.T) {
	w := newWorld(t)
	c := w.public()
	for _, step := range []string{"InTx", "RedeemCode"} {
		t.Run("before "+step, func(t *testing.T) {
			w := w.in(t)
			code := w.approve(c).Get("code")
			w.store.on(func(ctx context.Context, method string) error {
				if method == step {
					return w.store.Store.RedeemCode(ctx, sum(code), w.clock.Now())
				}
				return nil
			})
			w.wantError(w.token(&c, codeForm(c, code)), 400, "invalid_grant")
			if !w.store.called("RevokeAuthorization") {
				t.Error("the family lives on")
			}
			w.store.on(nil)
		})
	}
}

// TestReplayerWhoHangsUp: closing the connection must not save the family from
// being revoked.
func TestReplayerWhoHangsUp(t *testing.T) {
	w := newWorld(t)
	c := w.public()
	code := w.approve(c).Get("code")
	first := w.token(&c, codeForm(c, code))
	w.wantOK(first)
	ctx, hangUp := context.WithCancel(t.Context())
	w.store.on(func(_ context.Context, method string) error {
		if method == "RevokeAuthorization" {
			hangUp()
		}
		return nil
	})
	r := w.request("POST", "/oauth2/token", "application/x-www-form-urlencoded", codeForm(c, code, change{"client_id": {c.ID}}).Encode())
	w.handler.ServeHTTP(httptest.NewRecorder(), r.WithContext(ctx))
	if ctx.Err() == nil {
		t.Fatal("nothing was revoked")
	}
	w.store.on(nil)
	w.wantError(w.token(&c, refreshForm(first.RefreshToken)), 400, "invalid_grant")
}
