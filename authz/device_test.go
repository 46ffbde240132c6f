package authz_test

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/google/go-cmp/cmp"

	"github.com/wicketgate/wicketgate/authz"
	"github.com/wicketgate/wicketgate/internal/audit"
	"github.com/wicketgate/wicketgate/internal/identity"
)

const (
	deviceCode     = "urn:ietf:params:oauth:grant-type:device_code"
	deviceLifetime = 10 * time.Minute
	deviceInterval = 5 * time.Second
)

// errSkip has the hooked store do nothing, successfully.
var errSkip = errors.New("skip")

func (s *hookedStore) Authorization(ctx context.Context, id string) (authz.Authorization, error) {
	if err := s.before(ctx, "Authorization"); err != nil {
		return authz.Authorization{}, err
	}
	return s.Store.Authorization(ctx, id)
}

func (s *hookedStore) InsertAuthorization(ctx context.Context, a authz.Authorization) error {
	if err := s.before(ctx, "InsertAuthorization"); err != nil {
		return err
	}
	return s.Store.InsertAuthorization(ctx, a)
}

func (s *hookedStore) UseClient(ctx context.Context, id identity.ClientID, now time.Time) error {
	if err := s.before(ctx, "UseClient"); err != nil {
		return err
	}
	return s.Store.UseClient(ctx, id, now)
}

func (s *hookedStore) InsertDeviceCode(ctx context.Context, d authz.DeviceCode) error {
	if err := s.before(ctx, "InsertDeviceCode"); err != nil {
		return err
	}
	return s.Store.InsertDeviceCode(ctx, d)
}

func (s *hookedStore) DeviceCode(ctx context.Context, hash []byte) (authz.DeviceCode, error) {
	if err := s.before(ctx, "DeviceCode"); err != nil {
		return authz.DeviceCode{}, err
	}
	return s.Store.DeviceCode(ctx, hash)
}

func (s *hookedStore) UserCode(ctx context.Context, hash []byte) (authz.DeviceCode, error) {
	if err := s.before(ctx, "UserCode"); err != nil {
		return authz.DeviceCode{}, err
	}
	return s.Store.UserCode(ctx, hash)
}

func (s *hookedStore) PollDeviceCode(ctx context.Context, hash []byte, now, notBefore time.Time) error {
	if err := s.before(ctx, "PollDeviceCode"); errors.Is(err, errSkip) {
		return nil
	} else if err != nil {
		return err
	}
	return s.Store.PollDeviceCode(ctx, hash, now, notBefore)
}

func (s *hookedStore) DecideDeviceCode(ctx context.Context, hash []byte, authorization string, now time.Time) error {
	if err := s.before(ctx, "DecideDeviceCode"); err != nil {
		return err
	}
	return s.Store.DecideDeviceCode(ctx, hash, authorization, now)
}

func (s *hookedStore) RedeemDeviceCode(ctx context.Context, hash []byte, now time.Time) error {
	if err := s.before(ctx, "RedeemDeviceCode"); err != nil {
		return err
	}
	return s.Store.RedeemDeviceCode(ctx, hash, now)
}

// device is what a device was told.
type device struct {
	DeviceCode      string `json:"device_code"`
	UserCode        string `json:"user_code"`
	VerificationURI string `json:"verification_uri"`
	Complete        string `json:"verification_uri_complete"`
	ExpiresIn       int    `json:"expires_in"`
	Interval        int    `json:"interval"`
}

// deviceClient registers a client for devices and browsers.
func (w *world) deviceClient() client {
	w.t.Helper()
	return w.register("http://127.0.0.1:7777/callback", map[string]any{"grant_types": []string{deviceCode, "refresh_token", "authorization_code"}})
}

// begin begins a device grant.
func (w *world) begin(c client, changes ...change) device {
	w.t.Helper()
	a := w.beginning(c, changes...)
	if a.status != http.StatusOK {
		w.t.Fatalf("device authorization: %d %s", a.status, a.body)
	}
	w.wantWellFormed(a)
	var d device
	noError(w.t, json.Unmarshal([]byte(a.body), &d))
	return d
}

func (w *world) beginning(c client, changes ...change) answer {
	w.t.Helper()
	return w.postForm("/oauth2/device_authorization", &c, with(url.Values{"resource": {w.mail()}}, changes...))
}

// poll asks for the tokens, after the interval.
func (w *world) poll(c client, d device, changes ...change) answer {
	w.t.Helper()
	w.clock.advance(deviceInterval)
	return w.token(&c, pollForm(d, changes...))
}

func pollForm(d device, changes ...change) url.Values {
	return with(url.Values{"grant_type": {deviceCode}, "device_code": {d.DeviceCode}}, changes...)
}

// enter types a code into the page.
func (b *browser) enter(code string) page {
	b.w.t.Helper()
	return b.post("/oauth2/device", url.Values{"request": {b.get("/oauth2/device").sealed(b.w.t)}, "user_code": {code}})
}

// device enters a code and logs in, up to the consent page.
func (b *browser) device(d device, user string) page {
	b.w.t.Helper()
	p := b.enter(d.UserCode)
	if !strings.Contains(p.text(), "Sign in to let") {
		return p
	}
	return b.post("/oauth2/login", url.Values{"request": {p.sealed(b.w.t)}, "user": {user}})
}

// allowDevice approves as alice.
func (w *world) allowDevice(d device) {
	w.t.Helper()
	b := w.browser()
	if p := b.decide(b.device(d, "alice"), "approve"); !strings.Contains(p.text(), "The device is connected") || p.status != http.StatusOK {
		w.t.Fatalf("approval: %d %s", p.status, p.text())
	}
}

func TestDeviceGrant(t *testing.T) {
	w := newWorld(t)
	c := w.deviceClient()
	w.audit.take()
	d := w.begin(c, change{"scope": {"mcp:tools openid"}})
	if !regexp.MustCompile(`^[BCDFGHJKLMNPQRSTVWXZ]{4}-[BCDFGHJKLMNPQRSTVWXZ]{4}$`).MatchString(d.UserCode) || !regexp.MustCompile(`^wg_dc_[A-Za-z0-9_-]{43}$`).MatchString(d.DeviceCode) {
		t.Errorf("codes %s, %s", d.UserCode, d.DeviceCode)
	}
	want := device{d.DeviceCode, d.UserCode, w.url + "/oauth2/device", w.url + "/oauth2/device?user_code=" + d.UserCode, 600, 5}
	if d != want {
		t.Errorf("answer %+v, want %+v", d, want)
	}
	if files := w.database(); strings.Contains(files, d.DeviceCode) || strings.Contains(files, d.UserCode) {
		t.Error("the database holds a code")
	}
	w.wantError(w.poll(c, d), 400, "authorization_pending")
	w.allowDevice(d)
	a := w.poll(c, d)
	w.wantOK(a)
	w.wantWellFormed(a)
	if a.TokenType != "Bearer" || a.ExpiresIn != 300 || a.Scope != "mcp:tools" || !strings.HasPrefix(a.RefreshToken, "wg_rt_") {
		t.Errorf("answer %s", a.body)
	}
	wantClaims(t, w, a.AccessToken, c, w.clock.Now().Add(-deviceInterval), "mcp:tools")
	b := w.token(&c, refreshForm(a.RefreshToken))
	w.wantOK(b)
	txn, _ := payload(t, a.AccessToken)["txn"].(string)
	if got := payload(t, b.AccessToken); got["txn"] != txn || got["sub"] != "alice" {
		t.Errorf("refreshed token %v", got)
	}
	w.wantDeviceLines(c, txn)
}

// wantDeviceLines checks the audit lines of the whole way. (A poll is no line of its own
// for a public client, see Refusals.)
func (w *world) wantDeviceLines(c client, txn string) {
	w.t.Helper()
	var got []audit.Event
	for _, e := range w.audit.take() {
		if e.RequestID == "" {
			w.t.Errorf("no request id: %+v", e)
		}
		if e.RequestID = ""; e.Kind != audit.Refusal {
			got = append(got, e)
		}
	}
	base := audit.Event{Subject: "alice", Client: c.ID, Source: "127.0.0.1", Decision: audit.Allow}
	login, consent := base, base
	login.Kind, consent.Kind, consent.Action, consent.Resource, consent.Scope = audit.Login, audit.Consent, "device", w.mail(), "mcp:tools"
	consent.Txn = txn // the transaction begins with what the person allowed
	issued := consent
	issued.Kind, issued.Action = audit.Token, deviceCode
	refreshed := issued
	refreshed.Action = "refresh_token"
	if diff := cmp.Diff([]audit.Event{login, consent, issued, refreshed}, got); diff != "" {
		w.t.Errorf("audit lines (-want +got):\n%s", diff)
	}
}

func TestDeviceAuthorizationIsRefused(t *testing.T) {
	w := newWorld(t)
	c, plain := w.deviceClient(), w.public()
	for name, test := range map[string]struct {
		by     client
		change change
		code   string
	}{
		"a client without the grant":   {plain, nil, "unauthorized_client"},
		"a workload":                   {agent, nil, "unauthorized_client"},
		"no resource":                  {c, change{"resource": nil}, "invalid_target"},
		"two resources":                {c, change{"resource": {w.mail(), w.files()}}, "invalid_target"},
		"an unknown resource":          {c, change{"resource": {w.url}}, "invalid_target"},
		"an internal resource":         {c, change{"resource": {upstreamURI}}, "invalid_target"},
		"a malformed scope":            {c, change{"scope": {`"`}}, "invalid_scope"},
		"no scope that can be granted": {c, change{"scope": {"openid"}}, "invalid_scope"},
	} {
		t.Run(name, func(t *testing.T) {
			w := w.in(t)
			w.store.on(nil)
			w.wantError(w.beginning(test.by, test.change), 400, test.code)
			if w.store.called("InsertDeviceCode") {
				t.Error("a code was stored")
			}
		})
	}
}

// TestUserCodeThatIsTaken is made anew.
func TestUserCodeThatIsTaken(t *testing.T) {
	w := newWorld(t)
	c := w.deviceClient()
	tries := 0
	w.store.on(func(_ context.Context, method string) error {
		if method == "InsertDeviceCode" {
			if tries++; tries < 3 {
				return authz.ErrExists
			}
		}
		return nil
	})
	if d := w.begin(c); d.UserCode == "" || tries != 3 {
		t.Errorf("%+v after %d tries", d, tries)
	}
	w.store.on(failing("InsertDeviceCode"))
	w.wantServerError(w.beginning(c), errDisk)
}
