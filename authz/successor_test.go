package authz_test

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/wicketgate/wicketgate/authz"
	"github.com/wicketgate/wicketgate/internal/audit"
	"github.com/wicketgate/wicketgate/internal/identity"
	"github.com/wicketgate/wicketgate/internal/token"
)

// once is a hook that does something the first time that a method is called.
func once(method string, do func()) func(context.Context, string) error {
	done := false
	return func(_ context.Context, m string) error {
		if m == method && !done {
			done = true
			do()
		}
		return nil
	}
}

// times is how often the method was called.
func (s *hookedStore) times(method string) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, m := range s.calls {
		if m == method {
			n++
		}
	}
	return n
}

// rotated is a refresh token that was rotated a moment ago, and what it was rotated to.
func (w *world) rotated(c client, changes ...change) (old, next answer) {
	w.t.Helper()
	old = w.tokens(c, changes...)
	next = w.token(&c, refreshForm(old.RefreshToken))
	w.wantOK(next)
	return old, next
}

// wantDead checks that the refresh token has ended with its family.
func (w *world) wantDead(c client, tokens ...string) {
	w.t.Helper()
	for _, token := range tokens {
		w.wantError(w.token(&c, refreshForm(token)), 400, "invalid_grant")
	}
}

// TestClaudeCodeProcessesShareOneCredentialStore: each process has the token that
// was there when it started, and writes back what it got.
func TestClaudeCodeProcessesShareOneCredentialStore(t *testing.T) {
	w := newWorld(t)
	c := w.public()
	stored := w.tokens(c).RefreshToken
	for range 3 { // hours apart
		w.clock.advance(time.Hour)
		var written []string
		for range 4 { // processes, which wake up seconds apart
			a := w.token(&c, refreshForm(stored))
			w.wantOK(a)
			if _, err := w.verifier.ParseAccess(t.Context(), a.AccessToken, w.mail(), token.Confirmation{}); err != nil {
				t.Error(err)
			}
			written = append(written, a.RefreshToken)
			w.clock.advance(9 * time.Second)
		}
		for _, next := range written {
			if next != written[0] || next == stored {
				t.Fatal("the processes got several successors, or none")
			}
		}
		stored = written[0]
	}
}

// TestLostResponseAndRetry: the client never saw the answer.
func TestLostResponseAndRetry(t *testing.T) {
	w := newWorld(t)
	c := w.confidential()
	for name, after := range map[string]time.Duration{"in the same instant": 0, "in the same second": time.Second / 2, "at the end of the grace": 30 * time.Second} {
		t.Run(name, func(t *testing.T) {
			w := w.in(t)
			old, lost := w.rotated(c)
			w.clock.advance(after)
			again := w.token(&c, refreshForm(old.RefreshToken))
			w.wantOK(again)
			if again.RefreshToken != lost.RefreshToken || again.Scope != lost.Scope || payload(t, again.AccessToken)["txn"] != payload(t, lost.AccessToken)["txn"] {
				t.Errorf("the retry got %s, and before %s", again.body, lost.body)
			}
			w.wantOK(w.token(&c, refreshForm(again.RefreshToken)))
		})
	}
}

// TestRetryAfterTheGraceRevokes: also when nobody has used the successor.
func TestRetryAfterTheGraceRevokes(t *testing.T) {
	w := newWorld(t)
	c := w.public()
	old, next := w.rotated(c)
	w.clock.advance(grace)
	w.audit.take()
	w.wantDead(c, old.RefreshToken, next.RefreshToken, old.RefreshToken)
	if n := count(w, "revoke"); n != 1 {
		t.Errorf("%d lines of the revocation, want 1: strangers could fill the log", n)
	}
}

// TestRefreshTokenThatOutlivesItsFamily is none that we make.
func TestRefreshTokenThatOutlivesItsFamily(t *testing.T) {
	w := newWorld(t)
	c := w.confidential()
	a := w.tokens(c)
	_, family, err := w.store.RefreshToken(t.Context(), sum(a.RefreshToken))
	noError(t, err)
	planted := "wg_rt_planted"
	noError(t, w.store.InsertRefreshToken(t.Context(), family.ID, authz.RefreshToken{Hash: sum(planted), Created: began, Expires: began.Add(2 * absoluteLifetime)}))
	w.clock.advance(absoluteLifetime - time.Second)
	w.wantActive(c, planted, true)
	w.clock.advance(time.Second)
	w.wantActive(c, planted, false)
	w.wantDead(c, planted)
}

func TestThiefWithAnotherClientGetsNoSuccessor(t *testing.T) {
	w := newWorld(t)
	c, public, confidential := w.public(), w.public(), w.confidential()
	old, next := w.rotated(c)
	for name, thief := range map[string]client{"a public client": public, "a confidential client": confidential, "nobody": {ID: "nobody"}} {
		a := w.token(&thief, refreshForm(old.RefreshToken))
		if a.status == http.StatusOK || strings.Contains(a.body, next.RefreshToken) {
			t.Errorf("%s got %s", name, a.body)
		}
	}
	again := w.token(&c, refreshForm(old.RefreshToken)) // nor did they end the family
	w.wantOK(again)
	w.wantOK(w.token(&c, refreshForm(again.RefreshToken)))
}

// TestGraceDoesNotResurrectAFamily that has ended within it.
func TestGraceDoesNotResurrectAFamily(t *testing.T) {
	w := newWorld(t)
	for name, end := range map[string]func(w *world, a authz.Authorization){
		"revoked": func(w *world, a authz.Authorization) {
			noError(w.t, w.store.Store.RevokeAuthorization(w.t.Context(), a.ID, w.clock.Now()))
		},
		"revoked with its client": func(w *world, a authz.Authorization) {
			noError(w.t, w.store.Store.DeleteClient(w.t.Context(), a.ClientID, w.clock.Now()))
			noError(w.t, w.store.Store.InsertClient(w.t.Context(), authz.Client{ID: a.ClientID, AuthMethod: "none", GrantTypes: []string{"refresh_token"}}))
		},
		"expired": func(w *world, a authz.Authorization) { w.clock.advance(10 * time.Second) },
	} {
		prepare := func(t *testing.T) (*world, client, string) {
			w := w.in(t)
			c := w.public()
			a := w.tokens(c)
			for range 2 {
				w.clock.advance(10 * 24 * time.Hour)
				a = w.token(&c, refreshForm(a.RefreshToken))
				w.wantOK(a)
			}
			w.clock.advance(10*24*time.Hour - 10*time.Second)
			return w, c, a.RefreshToken
		}
		t.Run(name, func(t *testing.T) {
			w, c, old := prepare(t)
			_, a, err := w.store.RefreshToken(t.Context(), sum(old))
			noError(t, err)
			next := w.token(&c, refreshForm(old))
			w.wantOK(next)
			end(w, a)
			w.wantDead(c, old, next.RefreshToken)
		})
		t.Run(name+" while somebody else refreshes", func(t *testing.T) {
			w, c, old := prepare(t)
			_, a, err := w.store.RefreshToken(t.Context(), sum(old))
			noError(t, err)
			w.store.on(once("InTx", func() {
				w.wantOK(w.token(&c, refreshForm(old)))
				end(w, a)
			}))
			w.wantError(w.token(&c, refreshForm(old)), 400, "invalid_grant")
			w.store.on(nil)
		})
	}
}

// TestLoserOfTheRaceGetsTheWinnersSuccessor makes the race of several refreshes certain.
func TestLoserOfTheRaceGetsTheWinnersSuccessor(t *testing.T) {
	w := newWorld(t)
	c := w.public()
	old := w.tokens(c).RefreshToken
	var winner answer
	w.store.on(once("InTx", func() { winner = w.token(&c, refreshForm(old)) }))
	loser := w.token(&c, refreshForm(old))
	w.wantOK(loser)
	if loser.RefreshToken != winner.RefreshToken || w.store.times("InsertRefreshToken") != 1 {
		t.Errorf("the winner got %s, the loser %s", winner.body, loser.body)
	}
}

// TestGraceNeverMintsASecondChain: however often and in whatever order the tokens of
// the last half minute come.
func TestGraceNeverMintsASecondChain(t *testing.T) {
	w := newWorld(t)
	c := w.public()
	first := w.tokens(c).RefreshToken
	w.store.on(nil)
	second := w.token(&c, refreshForm(first)).RefreshToken
	third := w.token(&c, refreshForm(second)).RefreshToken
	if third == "" || third == second {
		t.Fatal("no chain of three")
	}
	for _, ok := range [][]answer{
		parallel(w, 16, func() answer { return w.token(&c, refreshForm(first)) }),
		parallel(w, 16, func() answer { return w.token(&c, refreshForm(second)) }),
	} {
		if len(ok) != 16 {
			t.Errorf("%d of 16 within the grace", len(ok))
		}
		for _, a := range ok {
			if a.RefreshToken != second && a.RefreshToken != third {
				t.Error("a token beside the chain")
			}
		}
	}
	if n := w.store.times("InsertRefreshToken"); n != 2 {
		t.Errorf("%d refresh tokens were made, want 2", n)
	}
	w.clock.advance(grace)
	w.wantDead(c, first, third)
}

// TestRetryMayNarrow: go-sdk sends no resource with a refresh, others send scope.
func TestRetryMayNarrow(t *testing.T) {
	w := newWorld(t)
	c := w.public()
	old, next := w.rotated(c, change{"scope": {"mcp:tools mcp:resources"}})
	for name, test := range map[string]struct {
		change      change
		code, scope string
	}{
		"less scope":          {change{"scope": {"mcp:resources"}}, "", "mcp:resources"},
		"the same scope":      {change{"scope": {"mcp:tools mcp:resources"}}, "", "mcp:tools mcp:resources"},
		"nothing, as go-sdk":  {nil, "", "mcp:tools mcp:resources"},
		"the resource":        {change{"resource": {w.mail()}}, "", "mcp:tools mcp:resources"},
		"a wider scope":       {change{"scope": {"mcp:tools mcp:resources mcp:prompts"}}, "invalid_scope", ""},
		"another resource":    {change{"resource": {w.files()}}, "invalid_target", ""},
		"two resources":       {change{"resource": {w.mail(), w.files()}}, "invalid_target", ""},
		"an unknown scope":    {change{"scope": {"openid"}}, "invalid_scope", ""},
		"an internal address": {change{"resource": {upstreamURI}}, "invalid_target", ""},
	} {
		t.Run(name, func(t *testing.T) {
			w := w.in(t)
			a := w.token(&c, refreshForm(old.RefreshToken, test.change))
			if test.code != "" {
				w.wantError(a, 400, test.code)
				return
			}
			w.wantOK(a)
			if a.RefreshToken != next.RefreshToken || a.Scope != test.scope || payload(t, a.AccessToken)["scope"] != test.scope {
				t.Errorf("answer %s", a.body)
			}
		})
	}
	w.wantOK(w.token(&c, refreshForm(next.RefreshToken))) // the mistakes revoked nothing
}

func TestStorageCannotRevealTheSuccessor(t *testing.T) {
	w := newWorld(t)
	c := w.public()
	old, next := w.rotated(c)
	files := w.database()
	for what, secret := range map[string]string{"the old token": old.RefreshToken, "the successor": next.RefreshToken} {
		if strings.Contains(files, secret) || strings.Contains(files, strings.TrimPrefix(secret, "wg_rt_")) {
			t.Errorf("the database holds %s", what)
		}
	}
	sealed, _, err := w.store.RefreshToken(t.Context(), sum(old.RefreshToken))
	noError(t, err)
	if len(sealed.Successor) < len(next.RefreshToken)+28 || !strings.Contains(files, string(sealed.Successor)) {
		t.Fatalf("the successor is not at rest as it should be: %d bytes", len(sealed.Successor))
	}
	tampered := append([]byte(nil), sealed.Successor...)
	tampered[len(tampered)-1] ^= 1
	// Whoever writes to the store cannot have another token open it.
	for name, planted := range map[string][]byte{"as it is": sealed.Successor, "tampered with": tampered, "cut": sealed.Successor[:20], "empty": {}} {
		t.Run("planted beside another token, "+name, func(t *testing.T) {
			w := w.in(t)
			other := w.tokens(c)
			noError(t, w.store.RotateRefreshToken(t.Context(), sum(other.RefreshToken), planted, w.clock.Now()))
			a := w.token(&c, refreshForm(other.RefreshToken))
			w.wantError(a, 400, "invalid_grant")
			if strings.Contains(a.body, next.RefreshToken) {
				t.Error("the successor was told")
			}
		})
	}
}

func TestAuditLineOfASuccessorThatIsGivenAgain(t *testing.T) {
	w := newWorld(t)
	c := w.public()
	old, next := w.rotated(c)
	w.audit.take()
	w.wantOK(w.token(&c, refreshForm(old.RefreshToken, change{"scope": {"mcp:tools"}})))
	got := w.audit.take()
	for i := range got {
		if got[i].RequestID == "" {
			t.Error("no request id")
		}
		got[i].RequestID = ""
	}
	txn, _ := payload(t, next.AccessToken)["txn"].(string)
	if diff := cmp.Diff([]audit.Event{{Kind: audit.Token, Action: "refresh_token", Subject: "alice", Client: c.ID, Txn: txn, Resource: w.mail(), Scope: "mcp:tools",
		Source: "127.0.0.1", Decision: audit.Allow, Reason: "successor_again"}}, got); diff != "" {
		t.Errorf("audit lines (-want +got):\n%s", diff)
	}
}

// TestGraceFailsClosed, and does not take our own failure for a theft.
func TestGraceFailsClosed(t *testing.T) {
	w := newWorld(t)
	c := w.public()
	old, next := w.rotated(c)
	w.audit.setBroken(true)
	w.wantServerError(w.token(&c, refreshForm(old.RefreshToken)), errAudit)
	w.audit.setBroken(false)
	reads := 0
	w.store.on(func(_ context.Context, method string) error {
		if method == "RefreshToken" {
			if reads++; reads > 1 {
				return errDisk
			}
		}
		return nil
	})
	w.wantServerError(w.token(&c, refreshForm(old.RefreshToken)), errDisk)
	w.store.on(nil)
	if _, a, err := w.store.RefreshToken(t.Context(), sum(next.RefreshToken)); err != nil || !a.Revoked.IsZero() || a.ClientID != identity.MustClientID(c.ID) {
		t.Errorf("the family is %+v, %v", a, err)
	}
	w.wantOK(w.token(&c, refreshForm(old.RefreshToken)))
}
