package vault_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/wicketgate/wicketgate/internal/vault"
	"github.com/wicketgate/wicketgate/internal/vaulttest"
)

// house is a Vault with an Own, whose clock is moved by hand.
type house struct {
	vault  *vaulttest.Vault
	client *vault.Client
	own    *vault.Own
	audit  string
	logins atomic.Int64
	login  vault.Login // what a login is

	mu  sync.Mutex // guards now
	now time.Time
}

func newHouse(t *testing.T) *house {
	t.Helper()
	h := &house{vault: vaulttest.Start(t), now: time.Now()}
	h.audit = h.vault.Audit(t)
	h.client = client(t, h.vault.URL)
	roleID := appRole(t, h.vault)
	got := h.vault.Do(t, http.MethodPost, "auth/approle/role/gateway/secret-id", nil)
	data, _ := got["data"].(map[string]any)
	secretID, _ := data["secret_id"].(string)
	h.login = func(ctx context.Context) (vault.Auth, error) {
		return h.client.LoginAppRole(ctx, "approle", roleID, secretID)
	}
	h.own = vault.NewOwn(vault.OwnConfig{Client: h.client, Now: h.time, Login: func(ctx context.Context) (vault.Auth, error) {
		h.logins.Add(1)
		return h.login(ctx)
	}})
	t.Cleanup(func() { _ = h.own.Close(context.Background()) })
	return h
}

func (h *house) time() time.Time {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.now
}

func (h *house) pass(d time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.now = h.now.Add(d)
}

func (h *house) token(t *testing.T) vault.Token {
	t.Helper()
	token, err := h.own.Token(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// knows reports whether Vault knows a token.
func (h *house) knows(t *testing.T, token vault.Token) bool {
	t.Helper()
	err := read(t, h.client, token, "auth/token/lookup-self")
	if err != nil && !errors.Is(err, vault.ErrInvalidToken) {
		t.Fatal(err)
	}
	return err == nil
}

func (h *house) revoke(t *testing.T, token vault.Token) {
	t.Helper()
	h.vault.Do(t, http.MethodPost, "auth/token/revoke", map[string]any{"token": tokenOf(t, token)})
}

func TestOwnLogsInWhenItIsFirstAsked(t *testing.T) {
	h := newHouse(t)
	if err := h.own.State(); !errors.Is(err, vault.ErrNotYet) || h.logins.Load() != 0 {
		t.Errorf("before: State = %v, %d logins", err, h.logins.Load())
	}
	var all sync.WaitGroup
	tokens := make([]vault.Token, 50)
	for i := range tokens {
		all.Go(func() { tokens[i], _ = h.own.Token(t.Context()) })
	}
	all.Wait()
	for _, token := range tokens {
		if token.IsZero() || token != tokens[0] {
			t.Error("another token, or none")
		}
	}
	if err := h.own.State(); err != nil || h.logins.Load() != 1 || !h.knows(t, tokens[0]) {
		t.Errorf("after: State = %v, %d logins", err, h.logins.Load())
	}
}

func TestOwnRenewsAtTwoThirds(t *testing.T) {
	h := newHouse(t)
	first := h.token(t)
	h.pass(39 * time.Minute)
	h.own.Keep(t.Context())
	if n := asked(t, h.audit, "auth/token/renew-self"); n != 0 {
		t.Errorf("renewed %d times before it was due", n)
	}
	h.pass(2 * time.Minute)
	for range 3 {
		h.own.Keep(t.Context())
	}
	if n := asked(t, h.audit, "auth/token/renew-self"); n != 1 {
		t.Errorf("renewed %d times", n)
	}
	h.pass(39 * time.Minute) // an hour and more after the login
	if token := h.token(t); token != first || h.logins.Load() != 1 {
		t.Errorf("%d logins", h.logins.Load())
	}
}

// TestOwnIsReplacedBeforeItsMaximum: what was made below the old token is in use, and
// would end with it.
func TestOwnIsReplacedBeforeItsMaximum(t *testing.T) {
	h := newHouse(t)
	login := h.login
	h.login = func(ctx context.Context) (vault.Auth, error) {
		a, err := login(ctx)
		a.TTL *= 2 // so that Vault renews it to less, as at its max TTL
		return a, err
	}
	first := h.token(t)
	h.pass(81 * time.Minute)
	h.own.Keep(t.Context())
	second := h.token(t)
	if second == first || h.logins.Load() != 2 || !h.knows(t, first) || !h.knows(t, second) {
		t.Errorf("%d logins, the same token %v", h.logins.Load(), second == first)
	}
	if err := h.own.Close(t.Context()); err != nil || h.knows(t, first) || h.knows(t, second) {
		t.Errorf("Close: %v; a token is left", err)
	}
}

func TestOwnLogsInAnewAfterItsEnd(t *testing.T) {
	h := newHouse(t)
	first := h.token(t)
	h.pass(61 * time.Minute)
	if err := h.own.State(); err == nil {
		t.Error("State of an expired token is good")
	}
	if second := h.token(t); second == first || h.logins.Load() != 2 {
		t.Errorf("%d logins", h.logins.Load())
	}
}

func TestOwnLogsInAnewWhenRevoked(t *testing.T) {
	h := newHouse(t)
	first := h.token(t)
	h.revoke(t, first)
	if err := read(t, h.client, first, "auth/token/lookup-self"); !errors.Is(err, vault.ErrInvalidToken) {
		t.Fatal(err)
	}
	h.own.Refused(vault.NewToken("another"))
	if h.own.State() != nil {
		t.Error("another token's refusal took ours")
	}
	h.own.Refused(first)
	h.own.Refused(first)
	second := h.token(t)
	if second == first || !h.knows(t, second) || h.logins.Load() != 2 {
		t.Errorf("%d logins", h.logins.Load())
	}
	// Nobody used it: the renewal sees it.
	h.revoke(t, second)
	h.pass(41 * time.Minute)
	h.own.Keep(t.Context())
	if third := h.token(t); third == second || !h.knows(t, third) {
		t.Error("the renewal did not see that the token was revoked")
	}
}

// TestRefusedTokensDoNotHammerVault: a policy that is wrong, or somebody who revokes what
// we make, is not answered with a login for each call.
func TestRefusedTokensDoNotHammerVault(t *testing.T) {
	h := newHouse(t)
	for range 100 {
		token, err := h.own.Token(t.Context())
		if err == nil {
			h.own.Refused(token)
		}
	}
	if n := h.logins.Load(); n != 2 {
		t.Errorf("%d logins at once for tokens that are refused", n)
	}
	h.pass(time.Minute)
	h.token(t)
	h.pass(2 * time.Minute) // it has lived
	h.own.Refused(h.token(t))
	h.token(t)
	if n := h.logins.Load(); n != 4 {
		t.Errorf("%d logins", n)
	}
}

func TestFailedLoginsDoNotHammerVault(t *testing.T) {
	h := newHouse(t)
	h.vault.Seal(t)
	h.own.Keep(t.Context())
	for i, wait := range []time.Duration{time.Second, 2 * time.Second, 4 * time.Second, 8 * time.Second, 10 * time.Second, 10 * time.Second} {
		h.pass(wait - time.Millisecond)
		for range 20 {
			_, err := h.own.Token(t.Context())
			reason(t, "sealed", err, vault.Sealed)
			h.own.Keep(t.Context())
		}
		if n := h.logins.Load(); n != int64(i+1) {
			t.Errorf("%d logins before %v had passed", n, wait)
		}
		h.pass(time.Millisecond)
		h.own.Keep(t.Context())
	}
	if n := h.logins.Load(); n != 7 {
		t.Errorf("%d logins", n)
	}
	reason(t, "state", h.own.State(), vault.Sealed)
	h.vault.UnsealAgain(t)
	h.pass(10 * time.Second)
	h.own.Keep(t.Context())
	if err := h.own.State(); err != nil {
		t.Errorf("after it was unsealed: %v", err)
	}
}

// TestOwnOutlivesAVaultThatIsAway: a renewal that fails takes nothing while the token lives.
func TestOwnOutlivesAVaultThatIsAway(t *testing.T) {
	h := newHouse(t)
	first := h.token(t)
	h.vault.Kill()
	h.pass(41 * time.Minute)
	h.own.Keep(t.Context())
	if token := h.token(t); token != first || h.own.State() != nil {
		t.Error("a renewal that failed took the token")
	}
	if n := h.logins.Load(); n != 1 {
		t.Errorf("%d logins: Vault's being away says nothing of the token", n)
	}
	h.pass(20 * time.Minute)
	h.own.Keep(t.Context())
	reason(t, "expired while Vault is away", h.own.State(), vault.Unreachable)
	h.vault.Run(t)
	h.pass(10 * time.Second)
	if token := h.token(t); token == first {
		t.Error("the expired token is still given")
	}
}

func TestOwnRefusesBatchTokens(t *testing.T) {
	h := newHouse(t)
	h.vault.Do(t, http.MethodPost, "auth/approle/role/gateway", map[string]any{"token_type": "batch"})
	_, err := h.own.Token(t.Context())
	reason(t, "batch", err, vault.LoggedOut)
	if err == nil || !strings.Contains(err.Error(), "token_type=service") {
		t.Errorf("batch: %v", err)
	}
}

// TestCallerWhoGoesAwayDoesNotEndTheLoginOfOthers.
func TestCallerWhoGoesAwayDoesNotEndTheLoginOfOthers(t *testing.T) {
	h := newHouse(t)
	login, going, begun := h.login, make(chan struct{}), make(chan struct{})
	h.login = func(ctx context.Context) (vault.Auth, error) {
		close(begun)
		<-going
		return login(ctx)
	}
	ctx, cancel := context.WithCancel(t.Context())
	gone, stays := make(chan error, 1), make(chan error, 1)
	go func() { _, err := h.own.Token(ctx); gone <- err }()
	<-begun
	go func() { _, err := h.own.Token(t.Context()); stays <- err }()
	cancel()
	reason(t, "the caller who went away", <-gone, vault.Canceled)
	close(going)
	if err := <-stays; err != nil || h.logins.Load() != 1 {
		t.Errorf("the caller who stayed: %v, %d logins", err, h.logins.Load())
	}
}

func TestOwnIsRevokedAtClose(t *testing.T) {
	h := newHouse(t)
	h.vault.Policy(t, "default", `path "auth/token/*" { capabilities = ["read", "update"] }`)
	token := h.token(t)
	child, err := h.client.Child(t.Context(), token, vault.ChildSpec{Policies: []string{"default"}, TTL: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	if err := h.own.Close(t.Context()); err != nil || h.knows(t, token) || h.knows(t, child.Token) {
		t.Errorf("Close: %v; a token is left", err)
	}
	h.own.Keep(t.Context())
	if _, err := h.own.Token(t.Context()); !errors.Is(err, vault.ErrClosed) || !errors.Is(h.own.State(), vault.ErrClosed) || h.logins.Load() != 1 {
		t.Errorf("after Close: %v, %v, %d logins", err, h.own.State(), h.logins.Load())
	}
}
