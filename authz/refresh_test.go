package authz_test

import (
	"context"
	"crypto/sha256"
	"strings"
	"testing"
	"time"
)

func sum(secret string) []byte {
	s := sha256.Sum256([]byte(secret))
	return s[:]
}

func TestRefreshIsRefused(t *testing.T) {
	w := newWorld(t)
	c, other, confidential := w.public(), w.public(), w.confidential()
	tests := map[string]struct {
		by     client
		change change
		want   string
	}{
		"another public client":        {other, nil, "invalid_grant"},
		"another confidential client":  {confidential, nil, "invalid_grant"},
		"no token":                     {c, change{"refresh_token": nil}, "invalid_request"},
		"a token that never was":       {c, change{"refresh_token": {"wg_rt_" + strings.Repeat("A", 43)}}, "invalid_grant"},
		"a wider scope":                {c, change{"scope": {"mcp:tools mcp:prompts"}}, "invalid_scope"},
		"another scope":                {c, change{"scope": {"mcp:prompts"}}, "invalid_scope"},
		"a tool that mcp:tools covers": {c, change{"scope": {"tool:send_message"}}, "invalid_scope"},
		"an unknown scope":             {c, change{"scope": {"mcp:tools openid"}}, "invalid_scope"},
		"a malformed scope":            {c, change{"scope": {`mcp:tools "`}}, "invalid_scope"},
		"another resource":             {c, change{"resource": {w.files()}}, "invalid_target"},
		"the resource and another":     {c, change{"resource": {w.mail(), w.files()}}, "invalid_target"},
		"an internal resource":         {c, change{"resource": {upstreamURI}}, "invalid_target"},
		"another resource as audience": {c, change{"resource": {w.url + "/mcp/MAIL"}}, "invalid_target"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			w := w.in(t)
			a := w.tokens(c, change{"scope": {"mcp:tools mcp:resources"}})
			w.wantError(w.token(&test.by, refreshForm(a.RefreshToken, test.change)), 400, test.want)
			w.wantOK(w.token(&c, refreshForm(a.RefreshToken))) // nor did it end the family
		})
	}
}

func TestRefreshNarrowsThisTokenOnly(t *testing.T) {
	w := newWorld(t)
	c := w.public()
	a := w.tokens(c, change{"scope": {"mcp:tools mcp:resources"}})
	b := w.token(&c, refreshForm(a.RefreshToken, change{"scope": {"mcp:resources"}, "resource": {w.mail() + "/"}}))
	w.wantOK(b)
	if got := payload(t, b.AccessToken); b.Scope != "mcp:resources" || got["scope"] != "mcp:resources" || got["aud"] != w.mail() {
		t.Errorf("answer scope %q, token %v", b.Scope, got)
	}
	all := w.token(&c, refreshForm(b.RefreshToken)) // RFC 6749 §6: the grant is as wide as before
	w.wantOK(all)
	if all.Scope != "mcp:tools mcp:resources" {
		t.Errorf("scope %q after a narrowed refresh", all.Scope)
	}
}

func TestAudienceParameterIsNoResource(t *testing.T) {
	w := newWorld(t)
	c := w.public()
	a := w.tokens(c)
	b := w.token(&c, refreshForm(a.RefreshToken, change{"audience": {w.files(), upstreamURI}}))
	w.wantOK(b)
	if got := payload(t, b.AccessToken)["aud"]; got != w.mail() {
		t.Errorf("aud %v", got)
	}
}

// grace is just over the time in which a rotated token leads to its successor.
const grace = 30*time.Second + 1

func TestRefreshTokenReuseRevokesTheFamily(t *testing.T) {
	w := newWorld(t)
	c := w.public()
	first := w.tokens(c)
	second := w.token(&c, refreshForm(first.RefreshToken))
	w.wantOK(second)
	w.clock.advance(grace)
	w.audit.take()
	w.wantError(w.token(&c, refreshForm(first.RefreshToken)), 400, "invalid_grant")
	if got := count(w, "revoke"); got != 1 {
		t.Errorf("%d lines of the revocation, want 1", got)
	}
	w.wantError(w.token(&c, refreshForm(second.RefreshToken)), 400, "invalid_grant")
}

func TestRefreshTokenReuseRevokesWhateverElseIsWrong(t *testing.T) {
	w := newWorld(t)
	c := w.public()
	first := w.tokens(c)
	second := w.token(&c, refreshForm(first.RefreshToken))
	w.clock.advance(grace)
	w.wantError(w.token(&c, refreshForm(first.RefreshToken, change{"scope": {"tool:x"}, "resource": {w.files()}})), 400, "invalid_grant")
	w.wantError(w.token(&c, refreshForm(second.RefreshToken)), 400, "invalid_grant")
}

func TestReuseOfAnotherClientsRefreshTokenRevokesNothing(t *testing.T) {
	w := newWorld(t)
	c, other := w.public(), w.public()
	first := w.tokens(c)
	second := w.token(&c, refreshForm(first.RefreshToken))
	w.wantError(w.token(&other, refreshForm(first.RefreshToken)), 400, "invalid_grant")
	w.wantOK(w.token(&c, refreshForm(second.RefreshToken)))
}

func TestReuseOfOneFamilyLeavesTheOthers(t *testing.T) {
	w := newWorld(t)
	c := w.public()
	mine, theirs := w.tokens(c), w.tokens(c)
	w.wantOK(w.token(&c, refreshForm(mine.RefreshToken)))
	w.clock.advance(grace)
	w.wantError(w.token(&c, refreshForm(mine.RefreshToken)), 400, "invalid_grant")
	w.wantOK(w.token(&c, refreshForm(theirs.RefreshToken)))
}

// TestSixteenRefreshesWithOneToken is several processes that share a token: they
// all get the one successor, never a second family.
func TestSixteenRefreshesWithOneToken(t *testing.T) {
	w := newWorld(t)
	c := w.public()
	for range 4 {
		a := w.tokens(c)
		ok := parallel(w, 16, func() answer { return w.token(&c, refreshForm(a.RefreshToken)) })
		if len(ok) != 16 {
			t.Fatalf("%d of 16 refreshes with one token", len(ok))
		}
		for _, b := range ok {
			if b.RefreshToken != ok[0].RefreshToken || b.RefreshToken == a.RefreshToken {
				t.Fatal("more than one successor")
			}
		}
		w.wantOK(w.token(&c, refreshForm(ok[0].RefreshToken)))
	}
}

// TestRefreshBetweenCheckAndUse makes the race of fosite's two steps certain.
func TestRefreshBetweenCheckAndUse(t *testing.T) {
	w := newWorld(t)
	c := w.public()
	do := map[string]func(ctx context.Context, token string) error{
		"somebody else rotates it": func(ctx context.Context, token string) error {
			return w.store.Store.RotateRefreshToken(ctx, sum(token), nil, w.clock.Now())
		},
		"the family is revoked": func(ctx context.Context, token string) error {
			_, a, err := w.store.Store.RefreshToken(ctx, sum(token))
			noError(t, err)
			return w.store.Store.RevokeAuthorization(ctx, a.ID, w.clock.Now())
		},
	}
	for name, act := range do {
		t.Run(name, func(t *testing.T) {
			w := w.in(t)
			a := w.tokens(c)
			w.store.on(func(ctx context.Context, method string) error {
				if method == "InTx" {
					return act(ctx, a.RefreshToken)
				}
				return nil
			})
			w.wantError(w.token(&c, refreshForm(a.RefreshToken)), 400, "invalid_grant")
			w.store.on(nil)
		})
	}
}

func TestRefreshTokenLifetimes(t *testing.T) {
	w := newWorld(t)
	c := w.public()
	t.Run("idle", func(t *testing.T) {
		w := w.in(t)
		a := w.tokens(c)
		w.clock.advance(refreshLifetime - time.Second)
		b := w.token(&c, refreshForm(a.RefreshToken))
		w.wantOK(b)
		w.clock.advance(refreshLifetime)
		w.wantError(w.token(&c, refreshForm(b.RefreshToken)), 400, "invalid_grant")
	})
	t.Run("absolute, however often it is refreshed", func(t *testing.T) {
		w := w.in(t)
		a := w.tokens(c)
		for at := 10 * 24 * time.Hour; at < absoluteLifetime; at += 10 * 24 * time.Hour {
			w.clock.advance(10 * 24 * time.Hour)
			a = w.token(&c, refreshForm(a.RefreshToken))
			w.wantOK(a)
		}
		w.clock.advance(10*24*time.Hour - time.Second)
		a = w.token(&c, refreshForm(a.RefreshToken))
		w.wantOK(a)
		w.clock.advance(time.Second)
		w.wantError(w.token(&c, refreshForm(a.RefreshToken)), 400, "invalid_grant")
	})
}

func TestResourceAtAuthorize(t *testing.T) {
	w := newWorld(t)
	c := w.public()
	descriptions := map[string]bool{}
	for name, sent := range map[string][]string{
		"missing":                nil,
		"empty":                  {""},
		"two":                    {w.mail(), w.files()},
		"the same twice":         {w.mail(), w.mail()},
		"unknown":                {w.url + "/mcp/other"},
		"internal":               {upstreamURI},
		"internal with a slash":  {upstreamURI + "/"},
		"the issuer":             {w.url},
		"a prefix":               {w.url + "/mcp"},
		"a longer path":          {w.mail() + "/x"},
		"two slashes":            {w.mail() + "//"},
		"case":                   {w.url + "/mcp/Mail"},
		"a query":                {w.mail() + "?x"},
		"a fragment":             {w.mail() + "#x"},
		"relative":               {"/mcp/mail"},
		"user information":       {strings.Replace(w.mail(), "://", "://x@", 1)},
		"two in one, by a space": {w.mail() + " " + w.files()},
		"javascript":             {"javascript:alert(1)"},
	} {
		t.Run(name, func(t *testing.T) {
			w := w.in(t)
			q := w.browser().get(w.authorizePath(c, change{"resource": sent})).query(t, c.redirect)
			if q.Get("error") != "invalid_target" || q.Has("code") {
				t.Errorf("redirect with %v, want invalid_target", q)
			}
			descriptions[q.Get("error_description")] = true
		})
	}
	if len(descriptions) != 1 {
		t.Errorf("the answers differ, so that an internal resource can be told from an unknown one: %v", descriptions)
	}
}

func TestTrailingSlashGivesTheCanonicalAudience(t *testing.T) {
	w := newWorld(t)
	c := w.public()
	a := w.tokens(c, change{"resource": {w.mail() + "/"}})
	if got := payload(t, a.AccessToken)["aud"]; got != w.mail() {
		t.Errorf("aud %v, want %s", got, w.mail())
	}
}
