package authz_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/wicketgate/wicketgate/authz"
	"github.com/wicketgate/wicketgate/internal/identity"
	"github.com/wicketgate/wicketgate/internal/oauth"
)

const goodRegistration = `{"redirect_uris":["http://127.0.0.1/cb"],"token_endpoint_auth_method":"none"}`

// from registers from an address, and returns the status and the answer.
func (w *world) from(address, body string) (*httptest.ResponseRecorder, oauth.Error) {
	w.t.Helper()
	r := httptest.NewRequest("POST", w.url+"/oauth2/register", strings.NewReader(body))
	r.RemoteAddr = address
	rec := httptest.NewRecorder()
	w.handler.ServeHTTP(rec, r)
	var e oauth.Error
	if rec.Code != http.StatusCreated {
		noError(w.t, json.Unmarshal(rec.Body.Bytes(), &e))
	}
	return rec, e
}

func perMinute(n int) func(*authz.Config) {
	return func(c *authz.Config) { c.Registration.PerMinute = n }
}

func TestRegistrationFloodFromOneSourceIsStopped(t *testing.T) {
	tests := map[string]struct {
		flood, other string
		status       int // of the other
	}{
		"an address and itself at another port":  {"192.0.2.1:1", "192.0.2.1:2", 429},
		"an address and another":                 {"192.0.2.1:1", "192.0.2.2:1", 201},
		"two addresses of one network of 64":     {"[2001:db8::1]:1", "[2001:db8::ffff:0:0:2]:1", 429},
		"two networks of 64":                     {"[2001:db8::1]:1", "[2001:db8:0:1::1]:1", 201},
		"an address and itself mapped to IPv6":   {"[2001:db8::1]:1", "[2001:db8::1]:2", 429},
		"what is no address, and the same again": {"pipe", "pipe", 429},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, perMinute(3))
			for range 3 {
				if rec, _ := w.from(test.flood, goodRegistration); rec.Code != 201 {
					t.Fatalf("within the quota: %d %s", rec.Code, rec.Body)
				}
			}
			if rec, _ := w.from(test.other, goodRegistration); rec.Code != test.status {
				t.Errorf("the fourth: %d, want %d", rec.Code, test.status)
			}
		})
	}
}

func TestOverQuotaSaysHowLongToWait(t *testing.T) {
	w := newWorld(t, perMinute(3))
	for range 3 {
		w.from("192.0.2.1:1", `{"redirect_uris":[]}`) // bad ones count too
	}
	rec, e := w.from("192.0.2.1:1", goodRegistration)
	if rec.Code != 429 || rec.Header().Get("Retry-After") != "20" || e.Code != oauth.TemporarilyUnavailable || rec.Header().Get("Cache-Control") != "no-store" {
		t.Errorf("%d %v %s", rec.Code, rec.Header(), rec.Body)
	}
	w.clock.advance(20 * time.Second)
	if rec, _ := w.from("192.0.2.1:1", goodRegistration); rec.Code != 201 {
		t.Errorf("after the wait: %d %s", rec.Code, rec.Body)
	}
	if rec, _ := w.from("192.0.2.1:1", goodRegistration); rec.Code != 429 {
		t.Errorf("after the wait, once more: %d %s", rec.Code, rec.Body)
	}
}

// claude.ai registers again at each connect, for everybody from the same addresses.
func TestQuotaLetsClaudeRegisterAtEachConnect(t *testing.T) {
	w := newWorld(t)
	ids := map[string]bool{}
	for range 60 {
		ids[w.register("https://claude.ai/api/mcp/auth_callback", nil).ID] = true
	}
	if len(ids) != 60 {
		t.Errorf("%d clients", len(ids))
	}
	if a := w.postRegister(goodRegistration); a.status != 429 {
		t.Errorf("the 61st within a minute: %d", a.status)
	}
}

func TestRegistrationFloodFromEverywhereIsStopped(t *testing.T) {
	w := newWorld(t, func(c *authz.Config) { c.Registration.MaxUnused = 3 })
	used := w.public()
	w.tokens(used)
	first, _ := w.public(), w.public()
	w.public()
	w.clock.advance(59 * time.Minute) // these may still be waiting for their person
	rec, e := w.from("192.0.2.1:1", goodRegistration)
	if rec.Code != 429 || rec.Header().Get("Retry-After") != "60" || e.Code != oauth.TemporarilyUnavailable {
		t.Errorf("%d %v %s", rec.Code, rec.Header(), rec.Body)
	}
	w.tokens(first) // which makes room
	if rec, _ := w.from("192.0.2.2:1", goodRegistration); rec.Code != 201 {
		t.Errorf("with room: %d %s", rec.Code, rec.Body)
	}
}

// The clients of a flood do not keep others out for the days that an unused client has.
func TestFloodedServerHasRoomAfterAnHour(t *testing.T) {
	w := newWorld(t, func(c *authz.Config) { c.Registration.MaxUnused = 3 })
	kept := w.public()
	w.tokens(kept)
	for range 3 {
		w.public()
	}
	w.clock.advance(time.Hour + time.Second)
	fresh := w.public()
	w.tokens(kept)
	w.tokens(fresh)
}

func TestUnusedClientsExpire(t *testing.T) {
	w := newWorld(t)
	used, unused := w.public(), w.public()
	w.tokens(used)
	w.clock.advance(7*24*time.Hour - time.Second)
	young := w.public()
	for step, want := range []int64{0, 1, 0} {
		n, err := w.server.DeleteUnused(t.Context())
		if err != nil || n != want {
			t.Errorf("step %d: DeleteUnused() = %d, %v, want %d", step, n, err, want)
		}
		w.clock.advance(2 * time.Second)
	}
	if _, err := w.store.Client(t.Context(), identity.MustClientID(unused.ID)); err == nil {
		t.Error("the unused client is still there")
	}
	w.tokens(used)
	w.tokens(young)
	if _, err := w.store.Client(t.Context(), identity.MustClientID("agent")); err != nil {
		t.Errorf("a static client: %v", err)
	}
}

func TestRegistrationTurnedOffSaysHowClientsGetIn(t *testing.T) {
	off := false
	w := newWorld(t, func(c *authz.Config) { c.Registration.Off = off })
	if !w.server.RegistrationOffered() {
		t.Error("not offered, by default")
	}
	off = true
	w = newWorld(t, func(c *authz.Config) { c.Registration.Off = off })
	if w.server.RegistrationOffered() {
		t.Error("offered, though off")
	}
	a := w.postRegister(goodRegistration)
	if a.status != 400 || a.Error != "access_denied" || !strings.Contains(a.Description, "operator") || w.store.called("InsertClient") {
		t.Errorf("%d %s", a.status, a.body)
	}
}
