package authz_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/wicketgate/wicketgate/authz"
	"github.com/wicketgate/wicketgate/internal/identity"
)

func TestDevicePollIsRefused(t *testing.T) {
	w := newWorld(t)
	c, other, plain := w.deviceClient(), w.deviceClient(), w.public()
	d := w.begin(c)
	w.allowDevice(d)
	for name, test := range map[string]struct {
		by     client
		change change
		code   string
	}{
		"another client":             {other, nil, "invalid_grant"},
		"a client without the grant": {plain, nil, "unauthorized_client"},
		"no device_code":             {c, change{"device_code": nil}, "invalid_request"},
		"an unknown device_code":     {c, change{"device_code": {"wg_dc_x"}}, "invalid_grant"},
		"the user code":              {c, change{"device_code": {d.UserCode}}, "invalid_grant"},
		"another resource":           {c, change{"resource": {w.files()}}, "invalid_target"},
		"two resources":              {c, change{"resource": {w.mail(), w.mail()}}, "invalid_target"},
		"an internal resource":       {c, change{"resource": {upstreamURI}}, "invalid_target"},
	} {
		t.Run(name, func(t *testing.T) {
			w := w.in(t)
			w.wantError(w.poll(test.by, d, test.change), 400, test.code)
		})
	}
	w.clock.advance(deviceInterval)
	w.wantError(w.token(&other, pollForm(d)), 400, "invalid_grant")
	w.wantOK(w.token(&c, pollForm(d, change{"resource": {w.mail() + "/"}}))) // it was neither burned nor slowed down
}

func TestDeviceThatPollsTooFast(t *testing.T) {
	w := newWorld(t)
	c := w.deviceClient()
	d := w.begin(c)
	w.wantError(w.token(&c, pollForm(d)), 400, "authorization_pending")
	w.wantError(w.token(&c, pollForm(d)), 400, "slow_down")
	w.clock.advance(deviceInterval - time.Microsecond)
	w.wantError(w.token(&c, pollForm(d)), 400, "slow_down")
	w.clock.advance(time.Microsecond)
	w.wantError(w.token(&c, pollForm(d)), 400, "authorization_pending")
	w.allowDevice(d)
	w.wantError(w.token(&c, pollForm(d)), 400, "slow_down")
	w.wantOK(w.poll(c, d))
}

// TestDevicePollsAreNoAuditLines: hundreds of them are the way of one login.
func TestDevicePollsAreNoAuditLines(t *testing.T) {
	w := newWorld(t)
	confidential := w.register("https://app.example/callback", map[string]any{"token_endpoint_auth_method": "client_secret_post", "grant_types": []string{deviceCode}})
	for _, c := range []client{w.deviceClient(), confidential} {
		d := w.begin(c)
		w.audit.take()
		for range 5 {
			w.wantError(w.poll(c, d), 400, "authorization_pending")
			w.wantError(w.token(&c, pollForm(d)), 400, "slow_down")
		}
		if lines := w.audit.take(); len(lines) != 0 {
			t.Errorf("audit lines %+v", lines)
		}
	}
}

func TestDeviceCodeExpires(t *testing.T) {
	w := newWorld(t)
	c := w.deviceClient()
	pending, late, denied := w.begin(c), w.begin(c), w.begin(c)
	w.allowDevice(late)
	b := w.browser()
	b.decide(b.device(denied, "alice"), "deny")
	w.wantError(w.poll(c, denied), 400, "access_denied")
	w.clock.advance(deviceLifetime - 2*deviceInterval - time.Second)
	w.wantError(w.poll(c, pending), 400, "authorization_pending")
	w.clock.advance(time.Second)
	w.wantError(w.token(&c, pollForm(late)), 400, "expired_token")
	for _, d := range []device{denied, pending} {
		w.wantError(w.poll(c, d), 400, "expired_token")
	}
}

// TestDeviceCodeReplayEndsTheGrant: somebody has a copy of it.
func TestDeviceCodeReplayEndsTheGrant(t *testing.T) {
	w := newWorld(t)
	c := w.deviceClient()
	for name, after := range map[string]time.Duration{"soon": 0, "when it has expired": deviceLifetime} {
		t.Run(name, func(t *testing.T) {
			w := w.in(t)
			d := w.begin(c)
			w.allowDevice(d)
			a := w.poll(c, d)
			w.wantOK(a)
			w.clock.advance(after)
			w.audit.take()
			w.wantError(w.poll(c, d), 400, "invalid_grant")
			w.wantDead(c, a.RefreshToken)
			w.wantError(w.poll(c, d), 400, "invalid_grant")
			if n := count(w, "revoke"); n != 1 {
				t.Errorf("%d lines of the revocation, want 1: strangers could fill the log", n)
			}
		})
	}
}

func TestDeviceCodeReplayByAnotherClientRevokesNothing(t *testing.T) {
	w := newWorld(t)
	c, other := w.deviceClient(), w.deviceClient()
	d := w.begin(c)
	w.allowDevice(d)
	a := w.poll(c, d)
	w.wantError(w.poll(other, d), 400, "invalid_grant")
	w.wantOK(w.token(&c, refreshForm(a.RefreshToken)))
}

func TestDeviceReplayerWhoHangsUp(t *testing.T) {
	w := newWorld(t)
	c := w.deviceClient()
	d := w.begin(c)
	w.allowDevice(d)
	a := w.poll(c, d)
	w.clock.advance(deviceInterval)
	ctx, hangUp := context.WithCancel(t.Context())
	w.store.on(once("Authorization", hangUp))
	r := w.request("POST", "/oauth2/token", "application/x-www-form-urlencoded", pollForm(d, change{"client_id": {c.ID}}).Encode())
	w.handler.ServeHTTP(httptest.NewRecorder(), r.WithContext(ctx))
	if ctx.Err() == nil {
		t.Fatal("nothing was revoked")
	}
	w.wantDead(c, a.RefreshToken)
}

// TestSixteenPollsAtOnce: exactly one gets the tokens, and no poll is a replay.
func TestSixteenPollsAtOnce(t *testing.T) {
	w := newWorld(t)
	c := w.deviceClient()
	d := w.begin(c)
	w.allowDevice(d)
	var ok []answer
	for _, a := range together(16, func() answer { return w.token(&c, pollForm(d)) }) {
		if a.status == http.StatusOK {
			ok = append(ok, a)
		} else {
			w.wantError(a, 400, "slow_down")
		}
	}
	if len(ok) != 1 {
		t.Fatalf("%d of 16 polls got tokens", len(ok))
	}
	w.wantOK(w.token(&c, refreshForm(ok[0].RefreshToken)))
}

// TestSixteenRedemptionsOfOneDeviceCode, as if the polls were hours long.
func TestSixteenRedemptionsOfOneDeviceCode(t *testing.T) {
	w := newWorld(t)
	c := w.deviceClient()
	d := w.begin(c)
	w.allowDevice(d)
	w.store.on(func(_ context.Context, method string) error {
		if method == "PollDeviceCode" {
			return errSkip
		}
		return nil
	})
	ok := parallel(w, 16, func() answer { return w.token(&c, pollForm(d)) })
	if len(ok) > 1 || w.store.times("InsertRefreshToken") != 1 {
		t.Errorf("%d of 16 redemptions succeeded", len(ok))
	}
	for _, a := range ok {
		w.wantDead(c, a.RefreshToken) // the losers were a replay
	}
}

// TestDeviceGrantBetweenCheckAndUse makes the races certain.
func TestDeviceGrantBetweenCheckAndUse(t *testing.T) {
	w := newWorld(t)
	c := w.deviceClient()
	for name, act := range map[string]func(hash []byte) error{
		"somebody else redeems it": func(hash []byte) error { return w.store.Store.RedeemDeviceCode(t.Context(), hash, w.clock.Now()) },
		"it is revoked": func(hash []byte) error {
			d := must(w.store.Store.DeviceCode(t.Context(), hash))(t)
			return w.store.Store.RevokeAuthorization(t.Context(), d.Authorization, w.clock.Now())
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := w.in(t)
			d := w.begin(c)
			w.allowDevice(d)
			w.store.on(once("InTx", func() { noError(t, act(sum(d.DeviceCode))) }))
			w.wantError(w.poll(c, d), 400, "invalid_grant")
			w.store.on(nil)
			at := must(w.store.DeviceCode(t.Context(), sum(d.DeviceCode)))(t)
			if a := must(w.store.Authorization(t.Context(), at.Authorization))(t); a.Revoked.IsZero() {
				t.Error("the grant lives on")
			}
			w.wantError(w.poll(c, d), 400, "invalid_grant")
		})
	}
}

func TestDeviceRefreshTokens(t *testing.T) {
	w := newWorld(t)
	t.Run("only for a client that registered for them", func(t *testing.T) {
		w := w.in(t)
		w.putStatic("tv", "", deviceCode)
		c := client{ID: "tv"}
		d := w.begin(c)
		w.allowDevice(d)
		a := w.poll(c, d)
		w.wantOK(a)
		if a.RefreshToken != "" {
			t.Error("a refresh token")
		}
	})
	t.Run("idle", func(t *testing.T) {
		w := w.in(t)
		c := w.deviceClient()
		d := w.begin(c)
		w.allowDevice(d)
		a := w.poll(c, d)
		w.clock.advance(refreshLifetime)
		w.wantDead(c, a.RefreshToken)
	})
	t.Run("absolute, from the decision", func(t *testing.T) {
		w := w.in(t)
		c := w.deviceClient()
		d := w.begin(c)
		w.allowDevice(d)
		decided := w.clock.Now()
		a := w.poll(c, d)
		for range 2 {
			w.clock.advance(10 * 24 * time.Hour)
			a = w.token(&c, refreshForm(a.RefreshToken))
			w.wantOK(a)
		}
		w.clock.advance(decided.Add(absoluteLifetime).Sub(w.clock.Now()) - time.Second)
		a = w.token(&c, refreshForm(a.RefreshToken))
		w.wantOK(a)
		w.clock.advance(time.Second)
		w.wantDead(c, a.RefreshToken)
	})
	t.Run("none outlives a grant that is shorter", func(t *testing.T) {
		w := newWorld(t, func(c *authz.Config) { c.AbsoluteLifetime = time.Hour })
		c := w.deviceClient()
		d := w.begin(c)
		w.allowDevice(d)
		a := w.poll(c, d)
		if r, _, err := w.store.RefreshToken(t.Context(), sum(a.RefreshToken)); err != nil || !r.Expires.Equal(w.clock.Now().Add(time.Hour-deviceInterval)) {
			t.Errorf("it expires %s, %v", r.Expires, err)
		}
	})
}

func TestDeviceGrantFailsClosed(t *testing.T) {
	for _, method := range []string{"Client", "DeviceCode", "PollDeviceCode", "InTx", "RedeemDeviceCode", "Authorization", "InsertRefreshToken", "the audit log"} {
		t.Run(method, func(t *testing.T) {
			w := newWorld(t)
			c := w.deviceClient()
			d := w.begin(c)
			w.allowDevice(d)
			if method == "the audit log" {
				w.audit.setBroken(true)
				w.wantServerError(w.poll(c, d), errAudit)
				w.audit.setBroken(false)
			} else {
				w.store.on(failing(method))
				w.wantServerError(w.poll(c, d), errDisk)
				w.store.on(nil)
			}
			w.wantOK(w.poll(c, d)) // nothing of it was stored
		})
	}
	t.Run("a replay", func(t *testing.T) {
		w := newWorld(t)
		c := w.deviceClient()
		d := w.begin(c)
		w.allowDevice(d)
		a := w.poll(c, d)
		for _, method := range []string{"Authorization", "RevokeAuthorization"} {
			w.store.on(failing(method))
			w.wantServerError(w.poll(c, d), errDisk)
			w.store.on(nil)
		}
		w.wantError(w.poll(c, d), 400, "invalid_grant")
		w.wantDead(c, a.RefreshToken)
	})
}

// TestDeviceOfAClientThatIsGone cannot go on, whoever deleted it and when.
func TestDeviceOfAClientThatIsGone(t *testing.T) {
	w := newWorld(t)
	for name, allowed := range map[string]bool{"before the decision": false, "after it": true} {
		t.Run(name, func(t *testing.T) {
			w := w.in(t)
			c := w.deviceClient()
			d := w.begin(c)
			if allowed {
				w.allowDevice(d)
			}
			noError(t, w.store.DeleteClient(t.Context(), identity.MustClientID(c.ID), w.clock.Now()))
			w.wantError(w.poll(c, d), 401, "invalid_client")
		})
	}
}
